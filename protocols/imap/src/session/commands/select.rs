//! SELECT and EXAMINE (RFC 9051 §6.3.2, §6.3.3; RFC 3501 §6.3.1; CONDSTORE of RFC 7162 §3.1.8).

use super::super::ask::{Answer, Ask, Selected};
use super::super::core::{Core, DELIMITER, Next, Outcome, refused};
use super::super::view::View;
use super::{Open, list};
use crate::codec::command::{Mailbox, Select, Tag};
use crate::codec::response::{Code, Condition, ListEntry};
use estafette_types::ModSeq;

/// The engine opens a mailbox.
#[derive(Debug)]
pub(crate) struct Selecting {
    tag: Tag,
    given: Mailbox,
    read_only: bool,
}

pub(super) fn start(core: &mut Core, tag: Tag, what: Select, read_only: bool) -> Next {
    if what.qresync.is_some() {
        return Outcome::bad("QRESYNC is not enabled").of(tag);
    }
    // Whatever comes of it, the mailbox that was selected is so no more.
    if core.view.take().is_some() {
        core.encoder.untagged(Condition::Ok, Some(&Code::Closed), "Previous mailbox is now closed");
    }
    if what.condstore {
        core.enable_condstore();
    }
    let given = what.mailbox;
    let ask = Ask::Select { name: given.normalized(), read_only };
    Next::Ask(ask, Open::Select(Selecting { tag, given, read_only }))
}

impl Selecting {
    pub(super) fn answered(self, core: &mut Core, answer: Answer) -> Next {
        let selected = match answer {
            Answer::Selected(selected) => selected,
            other => return refused(self.tag, &other),
        };
        let view = View::new(&selected, self.read_only);
        let code = if view.read_only { Code::ReadOnly } else { Code::ReadWrite };
        core.view = Some(view);
        core.say_flags();
        tell(core, &selected, self.given);
        let text = if self.read_only { "EXAMINE completed" } else { "SELECT completed" };
        Outcome::ok(text).with(code).of(self.tag)
    }
}

fn tell(core: &mut Core, selected: &Selected, given: Mailbox) {
    let rev2 = core.enabled.rev2;
    let encoder = &mut core.encoder;
    encoder.exists(selected.uids.len());
    if !rev2 {
        encoder.recent(0);
        if let Some(number) = selected.first_unseen.and_then(|uid| selected.uids.sequence_of(uid)) {
            encoder.untagged(Condition::Ok, Some(&Code::Unseen(number)), "First unseen message");
        }
    }
    // A mailbox in which nothing has happened yet: the value must not be 0 (RFC 7162 §3.1.2.1).
    let modseq = selected.highest_modseq.max(ModSeq(1));
    let codes = [
        (Code::UidValidity(selected.uid_validity), "UIDs are valid"),
        (Code::UidNext(selected.uid_next), "Predicted next UID"),
        (Code::HighestModSeq(modseq), "Highest modification sequence"),
        (Code::MailboxId(list::mailbox_id(selected.id)), "Mailbox identifier"),
    ];
    for (code, text) in &codes {
        encoder.untagged(Condition::Ok, Some(code), text);
    }
    if rev2 {
        let attributes = Vec::new();
        let (mailbox, old_name) = (selected.name.clone(), (given != selected.name).then_some(given));
        let child_info = false;
        encoder.list(&ListEntry { attributes, delimiter: DELIMITER, mailbox, child_info, old_name });
    }
}
