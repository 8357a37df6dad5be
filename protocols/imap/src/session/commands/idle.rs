//! IDLE (RFC 2177, RFC 9051 §6.3.13): news are told as they come, until DONE.

use super::super::core::{Core, Look, Next, Outcome};
use super::super::sync::{self, Then};
use crate::codec::command::Tag;
use crate::codec::parse;

pub(super) fn start(core: &mut Core, tag: Tag) -> Next {
    core.encoder.continuation("idling");
    tell(core, tag, Look::Everywhere)
}

/// Looks for news and tells them.
pub(crate) fn news(core: &mut Core, tag: Tag) -> Next {
    tell(core, tag, Look::Here)
}

fn tell(core: &mut Core, tag: Tag, look: Look) -> Next {
    match sync::begin(core, Then::Idle(tag), true, look) {
        Ok(next) => next,
        Err(Then::Idle(tag)) => Next::Idle(tag),
        Err(Then::Finish(finished)) => Next::Done(finished),
    }
}

/// The line that ends it.
pub(crate) fn line(tag: Tag, line: &[u8]) -> Next {
    if parse::is_done(line) {
        Outcome::ok("IDLE completed").of(tag)
    } else {
        Outcome::bad("Expected DONE").of(tag)
    }
}
