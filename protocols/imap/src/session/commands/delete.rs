//! DELETE (RFC 9051 §6.3.5).

use super::super::ask::Ask;
use super::super::core::{Core, Next, Outcome};
use super::Open;
use crate::codec::command::{Mailbox, Tag};
use crate::codec::response::Code;

pub(super) fn start(core: &mut Core, tag: Tag, name: Mailbox) -> Next {
    if name.is_inbox() {
        return Outcome::no(Some(Code::Cannot), "INBOX cannot be deleted").of(tag);
    }
    // A session that deletes what it has selected has nothing selected after that.
    if core.view.as_ref().is_some_and(|view| view.name == name) {
        core.view = None;
    }
    Next::Ask(Ask::Delete { name }, Open::Plain(Outcome::ok("DELETE completed").finished(tag)))
}
