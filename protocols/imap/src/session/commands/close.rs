//! CLOSE (RFC 9051 §6.4.1): removes what is `\Deleted` without a word. UNSELECT (§6.4.2): does not.

use super::super::ask::{Answer, Ask, Failure};
use super::super::core::{Core, Next, Outcome, refused};
use super::Open;
use crate::codec::command::Tag;

/// The engine removes messages.
#[derive(Debug)]
pub(crate) struct Closing {
    tag: Tag,
}

pub(super) fn start(core: &mut Core, tag: Tag) -> Next {
    match core.view.take() {
        Some(view) if !view.read_only && !view.uids().is_empty() => {
            let ask = Ask::Expunge { mailbox: view.id, uids: (**view.uids()).clone() };
            Next::Ask(ask, Open::Close(Closing { tag }))
        }
        _ => Outcome::ok("CLOSE completed").of(tag),
    }
}

pub(super) fn start_unselect(core: &mut Core, tag: Tag) -> Next {
    core.view = None;
    Outcome::ok("UNSELECT completed").of(tag)
}

impl Closing {
    pub(super) fn answered(self, answer: Answer) -> Next {
        match answer {
            // A mailbox that was deleted meanwhile has nothing left to remove.
            Answer::Expunged { .. } | Answer::Failed(Failure::MailboxGone) => {
                Outcome::ok("CLOSE completed").of(self.tag)
            }
            other => refused(self.tag, &other),
        }
    }
}
