//! STORE (RFC 9051 §6.4.6) with UNCHANGEDSINCE (RFC 7162 §3.1.3). Large sets go in batches.

use super::super::ask::{Answer, Ask};
use super::super::core::{Core, Next, Outcome, refused, sequence_numbers, uid_numbers};
use super::super::flags::Flags;
use super::Open;
use crate::codec::command::{Store, StoreAction, Tag};
use crate::codec::response::Code;
use estafette_types::{ModSeq, UidSet};

/// The engine changes flags.
#[derive(Debug)]
pub(crate) struct Storing {
    tag: Tag,
    by_uid: bool,
    /// What has not been asked for yet.
    rest: UidSet,
    /// What the open question is about.
    asked: UidSet,
    how: StoreAction,
    flags: Flags,
    unchanged_since: Option<ModSeq>,
    silent: bool,
    modified: UidSet,
    /// Some messages were not there any more.
    missing: bool,
}

pub(super) fn start(core: &mut Core, tag: Tag, what: Store) -> Next {
    let Some(view) = &core.view else { return Outcome::bad("No mailbox selected").of(tag) };
    if view.read_only {
        return Outcome::no(Some(Code::ReadOnly), "The mailbox is open for reading only").of(tag);
    }
    let Ok(rest) = view.resolve(&what.set, what.uid) else {
        return Outcome::bad("There is no message of this number").of(tag);
    };
    if what.unchanged_since.is_some() {
        core.enable_condstore();
    }
    let storing = Storing {
        tag,
        by_uid: what.uid,
        rest,
        asked: UidSet::new(),
        how: what.action,
        flags: Flags::from_list(what.flags),
        unchanged_since: what.unchanged_since,
        silent: what.silent,
        modified: UidSet::new(),
        missing: false,
    };
    storing.go_on(core)
}

impl Storing {
    /// Asks for the next batch.
    pub(super) fn go_on(mut self, core: &mut Core) -> Next {
        let Some(view) = &core.view else { return self.over(core) };
        self.asked = self.rest.split_off_first(core.config.store_batch_messages.max(1));
        if self.asked.is_empty() {
            return self.over(core);
        }
        let ask = Ask::Store {
            mailbox: view.id,
            uids: self.asked.clone(),
            how: self.how,
            flags: self.flags.clone(),
            unchanged_since: self.unchanged_since,
        };
        Next::Ask(ask, Open::Store(Box::new(self)))
    }

    pub(super) fn answered(mut self, core: &mut Core, answer: Answer) -> Next {
        let Answer::Stored { messages, modified, own_modseq, modseq } = answer else {
            return refused(self.tag, &answer);
        };
        if let Some(view) = &mut core.view {
            view.note_own(own_modseq, modseq);
        }
        let there: UidSet = messages.iter().map(|message| message.uid).collect();
        self.missing |= there.union(&modified).len() < self.asked.len();
        self.modified = self.modified.union(&modified);
        // With CONDSTORE the new MODSEQ is told even when nothing else is (RFC 7162 §3.1.3).
        if !self.silent || core.enabled.condstore {
            let uid = self.by_uid || core.enabled.rev2;
            for message in &messages {
                core.say_changed(message, uid, !self.silent);
            }
        }
        if self.rest.is_empty() { self.over(core) } else { Next::Drain(Open::Store(Box::new(self))) }
    }

    fn over(self, core: &Core) -> Next {
        let modified = match &core.view {
            Some(view) if !self.by_uid => sequence_numbers(view, &self.modified),
            _ => uid_numbers(&self.modified),
        };
        let gone = self.missing && !self.by_uid;
        let outcome = match (gone, modified.is_empty()) {
            (true, true) => Outcome::no(Some(Code::ExpungeIssued), "Some of the messages no longer exist"),
            (true, false) => {
                Outcome::no(Some(Code::Modified(modified)), "Some messages were changed or removed")
            }
            (false, true) => Outcome::ok("STORE completed"),
            (false, false) => {
                Outcome::ok("Some messages were changed by others").with(Code::Modified(modified))
            }
        };
        Next::Finish(outcome.finished(self.tag).holding_expunges(!self.by_uid))
    }
}
