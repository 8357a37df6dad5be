//! LOGOUT (RFC 9051 §6.1.3).

use super::super::core::Next;
use crate::codec::command::Tag;

pub(super) fn start(tag: Tag) -> Next {
    Next::Logout(tag)
}
