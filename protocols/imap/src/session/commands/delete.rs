//! DELETE (RFC 9051 §6.3.5).

use super::super::ask::{Answer, Ask};
use super::super::core::{Core, Next, Outcome, refused};
use super::{Open, list};
use crate::codec::command::{Mailbox, Tag};
use crate::codec::response::{Code, MailboxAttribute};

/// The engine deletes.
#[derive(Debug)]
pub(crate) struct Deleting {
    tag: Tag,
    name: Mailbox,
    given: Mailbox,
}

pub(super) fn start(tag: Tag, given: Mailbox) -> Next {
    let name = given.normalized();
    if name.is_inbox() {
        return Outcome::no(Some(Code::Cannot), "INBOX cannot be deleted").of(tag);
    }
    Next::Ask(Ask::Delete { name: name.clone() }, Open::Delete(Deleting { tag, name, given }))
}

impl Deleting {
    pub(super) fn answered(self, core: &mut Core, answer: &Answer) -> Next {
        let Answer::Done = answer else { return refused(self.tag, answer) };
        // A session that has deleted what it had selected has nothing selected after that.
        if core.view.as_ref().is_some_and(|view| view.name == self.name) {
            core.view = None;
        }
        list::tell_normalized(core, self.name, &[MailboxAttribute::NonExistent], &self.given);
        Outcome::ok("DELETE completed").of(self.tag)
    }
}
