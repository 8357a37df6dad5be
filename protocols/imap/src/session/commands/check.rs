//! CHECK (RFC 3501 §6.4.1): all is on disk already, so it does what NOOP does.

use super::super::core::{Next, Outcome};
use crate::codec::command::Tag;

pub(super) fn start(tag: Tag) -> Next {
    Next::Finish(Outcome::ok("CHECK completed").finished(tag).looking())
}
