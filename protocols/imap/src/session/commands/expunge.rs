//! EXPUNGE (RFC 9051 §6.4.3) and UID EXPUNGE (§6.4.9).

use super::super::ask::{Answer, Ask};
use super::super::core::{Core, Next, Outcome, refused};
use super::Open;
use crate::codec::command::Tag;
use crate::codec::response::Code;
use crate::codec::sequence::SequenceSet;

pub(super) fn start(core: &mut Core, tag: Tag, set: Option<&SequenceSet>) -> Next {
    let Some(view) = &core.view else { return Outcome::bad("No mailbox selected").of(tag) };
    if view.read_only {
        return Outcome::no(Some(Code::ReadOnly), "The mailbox is open for reading only").of(tag);
    }
    let uids = match set.map(|set| view.resolve(set, true)) {
        None => (**view.uids()).clone(),
        Some(uids) => uids.unwrap_or_default(),
    };
    if uids.is_empty() {
        return Next::Finish(Outcome::ok("EXPUNGE completed").finished(tag).looking());
    }
    Next::Ask(Ask::Expunge { mailbox: view.id, uids }, Open::Expunge(tag))
}

pub(super) fn answered(core: &mut Core, tag: Tag, answer: Answer) -> Next {
    let Answer::Expunged { uids, modseq } = answer else { return refused(tag, &answer) };
    if let Some(view) = &mut core.view {
        view.note_removed(&uids, modseq);
    }
    Outcome::ok("EXPUNGE completed").of(tag)
}
