//! The selected mailbox as the client sees it.
//!
//! Duty: sequence numbers. The view changes only when the client is told so: what the engine says of
//! vanished messages waits until EXPUNGE may be sent (RFC 9051 §7.5.1), and until then they keep
//! their numbers. The UIDs are shared with the engine as long as they are the same.
//! Must not: ask the engine, write responses.

use super::ask::{Changed, Changes, Selected};
use crate::codec::command::Mailbox;
use crate::codec::flag::Keyword;
use crate::codec::sequence::SequenceSet;
use estafette_types::{MailboxId, ModSeq, Uid, UidSet};
use std::sync::Arc;

/// A set names a sequence number that no message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoSuchMessage;

/// The selected mailbox.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) id: MailboxId,
    pub(crate) name: Mailbox,
    pub(crate) read_only: bool,
    /// What SEARCH RETURN (SAVE) kept: `$` (RFC 5182).
    pub(crate) saved: UidSet,
    pub(crate) keywords: Vec<Keyword>,
    pub(crate) keywords_grow: bool,
    /// The messages that have sequence numbers.
    uids: Arc<UidSet>,
    /// Those of them that are no more, which the client does not know yet.
    gone: UidSet,
    /// How many messages the client knows of.
    exists: u32,
    /// All changes up to here have been taken in.
    told: ModSeq,
    /// The newest moment that the engine has spoken of.
    latest: ModSeq,
    /// Moments after `told` of which the session has told the client by itself.
    own: Vec<ModSeq>,
    notified: bool,
}

impl View {
    pub(crate) fn new(selected: &Selected, read_only: bool) -> View {
        View {
            id: selected.id,
            name: selected.name.clone(),
            read_only: read_only || selected.read_only,
            saved: UidSet::new(),
            keywords: selected.keywords.clone(),
            keywords_grow: selected.keywords_grow,
            exists: selected.uids.len(),
            uids: selected.uids.clone(),
            gone: UidSet::new(),
            told: selected.highest_modseq,
            latest: selected.highest_modseq,
            own: Vec::new(),
            notified: false,
        }
    }

    /// The messages that have sequence numbers.
    pub(crate) fn uids(&self) -> &Arc<UidSet> {
        &self.uids
    }

    /// The highest MODSEQ up to which the client has been told everything.
    pub(crate) fn told(&self) -> ModSeq {
        self.told
    }

    /// The messages that a set of the client means; by UID, or by sequence number, of which each
    /// must exist. `$` never fails (RFC 5182 §2.1).
    pub(crate) fn resolve(&self, set: &SequenceSet, by_uid: bool) -> Result<UidSet, NoSuchMessage> {
        let uids = &*self.uids;
        if by_uid {
            let Some(numbers) = set.resolve(uids.last().map_or(0, Uid::value)) else {
                return Ok(self.saved());
            };
            let ranges = numbers.ranges().iter();
            let runs = ranges.filter_map(|(from, to)| Some((Uid::new(*from)?, Uid::new(*to)?)));
            return Ok(UidSet::from_runs(runs).intersection(uids));
        }
        if set.exceeds(uids.len()) {
            return Err(NoSuchMessage);
        }
        let Some(numbers) = set.resolve(uids.len()) else { return Ok(self.saved()) };
        let ranges = numbers.ranges().iter();
        let runs = ranges.filter_map(|(from, to)| Some((uids.uid_at(*from)?, uids.uid_at(*to)?)));
        Ok(UidSet::from_runs(runs).intersection(uids))
    }

    fn saved(&self) -> UidSet {
        self.saved.intersection(&self.uids)
    }

    /// The engine has spoken of this moment.
    pub(crate) fn note(&mut self, latest: ModSeq) {
        self.latest = self.latest.max(latest);
    }

    /// Something may have changed.
    pub(crate) fn notify(&mut self) {
        self.notified = true;
    }

    /// The session's own change happened at `own`, and the client has been told of it.
    pub(crate) fn note_own(&mut self, own: Option<ModSeq>, latest: ModSeq) {
        self.note(latest);
        let Some(own) = own else { return };
        if own.0 == self.told.0.saturating_add(1) {
            self.told = own;
        } else if own > self.told {
            self.own.push(own);
        }
    }

    /// The session's own change removed messages.
    pub(crate) fn note_removed(&mut self, uids: &UidSet, latest: ModSeq) {
        self.gone = self.gone.union(&uids.intersection(&self.uids));
        let alone = latest.0 == self.told.0.saturating_add(1) && !uids.is_empty();
        self.note_own(alone.then_some(latest), latest);
    }

    /// True when the engine knows of changes that the view has not taken in.
    pub(crate) fn behind(&self) -> bool {
        self.notified || self.latest > self.told
    }

    /// Takes in what happened; gives back the flags that the client does not know.
    pub(crate) fn take_in(&mut self, changes: Changes) -> Vec<Changed> {
        self.notified = false;
        if changes.more {
            self.note(ModSeq(changes.through.0.saturating_add(1)));
        } else {
            self.latest = changes.through.max(self.told);
        }
        self.told = self.told.max(changes.through);
        let mut changed = changes.changed;
        changed.retain(|one| !self.own.contains(&one.modseq) && self.uids.contains(one.uid));
        let told = self.told;
        self.own.retain(|own| *own > told);
        self.gone = self.gone.union(&changes.vanished.intersection(&self.uids));
        if !changes.arrived.is_empty() {
            self.uids = Arc::new(self.uids.union(&changes.arrived));
        }
        changed
    }

    /// The number of messages, when the client believes in another one; it is told now.
    pub(crate) fn take_exists(&mut self) -> Option<u32> {
        let now = self.uids.len();
        (now != std::mem::replace(&mut self.exists, now)).then_some(now)
    }

    /// True when there are messages that the client does not know to be gone.
    pub(crate) fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Takes messages that are gone out of the view, the highest first and no more than `limit`, and
    /// gives back the sequence numbers to be told, in this order.
    pub(crate) fn take_gone(&mut self, limit: u32) -> Vec<u32> {
        let count = self.gone.len();
        let kept = self.gone.split_off_first(count.saturating_sub(limit));
        let leaving = std::mem::replace(&mut self.gone, kept);
        let mut numbers: Vec<u32> = leaving.iter().filter_map(|uid| self.uids.sequence_of(uid)).collect();
        numbers.reverse();
        self.uids = Arc::new(self.uids.difference(&leaving));
        self.exists = self.exists.saturating_sub(leaving.len());
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::sequence::{SequenceNumber, SequenceRange};
    use estafette_types::UidValidity;
    use std::num::NonZeroU32;

    fn uid(value: u32) -> Uid {
        Uid::new(value).unwrap()
    }

    fn set(uids: &[u32]) -> UidSet {
        uids.iter().map(|value| uid(*value)).collect()
    }

    fn view(uids: &[u32]) -> View {
        let selected = Selected {
            id: MailboxId(1),
            name: Mailbox::inbox(),
            uid_validity: UidValidity(NonZeroU32::MIN),
            uid_next: uid(100),
            highest_modseq: ModSeq(10),
            uids: Arc::new(set(uids)),
            first_unseen: None,
            keywords: Vec::new(),
            keywords_grow: true,
            read_only: false,
            special_use: Vec::new(),
        };
        View::new(&selected, false)
    }

    fn numbers(from: u32, to: Option<u32>) -> SequenceSet {
        let number = |n: u32| SequenceNumber::Value(NonZeroU32::new(n).unwrap());
        let to = to.map_or(SequenceNumber::Last, number);
        SequenceSet::Ranges(vec![SequenceRange { from: number(from), to }])
    }

    #[test]
    fn sets_are_resolved() {
        let mut view = view(&[3, 4, 9, 20]);
        assert_eq!(view.resolve(&numbers(2, Some(3)), false), Ok(set(&[4, 9])));
        assert_eq!(view.resolve(&numbers(3, None), false), Ok(set(&[9, 20])));
        assert_eq!(view.resolve(&numbers(2, Some(5)), false), Err(NoSuchMessage));
        assert_eq!(view.resolve(&numbers(1, Some(9)), true), Ok(set(&[3, 4, 9])));
        // `n:*` with an n past the last UID means the last message (RFC 9051 §6.4.9).
        assert_eq!(view.resolve(&numbers(500, None), true), Ok(set(&[20])));
        assert_eq!(view.resolve(&numbers(500, Some(600)), true), Ok(set(&[])));
        view.saved = set(&[4, 5]);
        assert_eq!(view.resolve(&SequenceSet::Saved, false), Ok(set(&[4])));
    }

    #[test]
    fn vanished_messages_keep_their_numbers_until_told() {
        let mut view = view(&[1, 2, 3, 4]);
        let vanished = set(&[2, 4, 50]);
        let changes = Changes { vanished, arrived: set(&[7]), through: ModSeq(12), ..Changes::default() };
        assert!(view.take_in(changes).is_empty());
        assert_eq!(view.take_exists(), Some(5));
        assert_eq!(view.uids().sequence_of(uid(3)), Some(3));
        assert_eq!(view.take_gone(1), [4]);
        assert_eq!(view.take_gone(9), [2]);
        assert_eq!(**view.uids(), set(&[1, 3, 7]));
        assert_eq!(view.take_exists(), None);
        assert!(!view.has_gone() && !view.behind());
    }

    #[test]
    fn own_changes_are_not_told_again() {
        let mut view = view(&[1, 2, 3]);
        view.note_own(Some(ModSeq(11)), ModSeq(11));
        assert!(!view.behind());
        // Someone else came between.
        view.note_own(Some(ModSeq(13)), ModSeq(13));
        assert!(view.behind());
        let change =
            |value, modseq| Changed { uid: uid(value), flags: Default::default(), modseq: ModSeq(modseq) };
        let changed = vec![change(1, 12), change(2, 13)];
        let told = view.take_in(Changes { changed, through: ModSeq(13), ..Changes::default() });
        assert_eq!(told, [change(1, 12)]);
        assert!(!view.behind());
    }

    #[test]
    fn a_part_of_the_changes_leaves_the_view_behind() {
        let mut view = view(&[1]);
        view.notify();
        view.take_in(Changes { through: ModSeq(11), more: true, ..Changes::default() });
        assert!(view.behind());
        view.take_in(Changes { through: ModSeq(15), ..Changes::default() });
        assert!(!view.behind());
    }
}
