//! NOOP (RFC 9051 §6.1.2): tells what is new.

use super::super::core::{Next, Outcome};
use crate::codec::command::Tag;

pub(super) fn start(tag: Tag) -> Next {
    Next::Finish(Outcome::ok("NOOP completed").finished(tag).looking())
}
