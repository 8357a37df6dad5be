//! COPY and MOVE (RFC 9051 §6.4.7, §6.4.8) with COPYUID.

use super::super::ask::{Answer, Ask};
use super::super::core::{Core, Finished, Look, Next, Outcome, refused_target, uid_numbers};
use super::Open;
use crate::codec::command::{Mailbox, Tag};
use crate::codec::response::{Code, Condition};
use crate::codec::sequence::SequenceSet;
use estafette_types::UidSet;

/// The engine copies.
#[derive(Debug)]
pub(crate) struct Copying {
    tag: Tag,
    by_uid: bool,
    asked: UidSet,
    remove: bool,
    to: Mailbox,
}

pub(super) fn start(
    core: &mut Core,
    tag: Tag,
    by_uid: bool,
    set: &SequenceSet,
    to: Mailbox,
    remove: bool,
) -> Next {
    let Some(view) = &core.view else { return Outcome::bad("No mailbox selected").of(tag) };
    if remove && view.read_only {
        return Outcome::no(Some(Code::ReadOnly), "The mailbox is open for reading only").of(tag);
    }
    let Ok(uids) = view.resolve(set, by_uid) else {
        return Outcome::bad("There is no message of this number").of(tag);
    };
    if uids.is_empty() {
        return Outcome::ok("No messages").of(tag);
    }
    let ask = Ask::Copy { mailbox: view.id, uids: uids.clone(), to: to.clone(), remove };
    Next::Ask(ask, Open::Copy(Copying { tag, by_uid, asked: uids, remove, to }))
}

impl Copying {
    pub(super) fn answered(self, core: &mut Core, answer: Answer) -> Next {
        let Answer::Copied { uid_validity, source, target, modseq } = answer else {
            return refused_target(self.tag, &answer);
        };
        let some = !source.is_empty();
        let code = Code::CopyUid(uid_validity, uid_numbers(&source), uid_numbers(&target));
        let Some(view) = &mut core.view else { return Outcome::ok("Completed").of(self.tag) };
        let here = view.name == self.to;
        let missing = source.len() < self.asked.len() && !self.by_uid;
        if self.remove {
            view.note_removed(&source, modseq);
        } else {
            view.note(modseq);
        }
        // Of a MOVE the client learns the new UIDs before the old messages go (RFC 6851 §4.3).
        if some && self.remove {
            core.encoder.untagged(Condition::Ok, Some(&code), "Messages moved");
        }
        let outcome = match (missing, some, self.remove) {
            (true, ..) => Outcome::no(Some(Code::ExpungeIssued), "Some of the messages no longer exist"),
            (_, _, true) => Outcome::ok("MOVE completed"),
            (_, true, false) => Outcome::ok("COPY completed").with(code),
            (_, false, false) => Outcome::ok("No messages copied"),
        };
        Next::Finish(Finished {
            look: if here { Look::Here } else { Look::Known },
            ..outcome.finished(self.tag)
        })
    }
}
