//! What clients were told, and what anybody saw: kept while the run goes on, and breaches that show at once.
//!
//! A message is known by the hash of its bytes, which no other message has.

use super::breach::{Breach, Rule};
use super::trace::Trace;
use estafette_delivery::queue::ItemId;
use estafette_mailbox::{AccountRef, MailboxRef, MailboxRow, SystemFlags};
use estafette_storage::BodyHash;
use estafette_types::{ModSeq, Uid, UidValidity};
use std::collections::BTreeMap;

/// Breaches that are kept of a run; the first ones tell most.
const BREACHES_MAX: usize = 20;

/// What is known of something that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    /// It was refused, or never asked for: it has not happened.
    #[default]
    No,
    /// There was no clear answer: it may happen, or have happened.
    Maybe,
    /// It has happened.
    Yes,
}

impl Told {
    /// Together with what is known of another attempt.
    pub(super) fn or(&mut self, other: Told) {
        *self = (*self).max(other);
    }
}

/// A message.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) account: AccountRef,
    pub(super) there: Told,
    /// Removed by a client.
    pub(super) gone: Told,
    /// Removals under way.
    pub(super) removals: u32,
    /// Flags that it has for ever.
    pub(super) flags: SystemFlags,
}

/// An item of the queue.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queued {
    pub(super) there: Told,
    pub(super) gone: Told,
}

/// What a mailbox has reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) uid_next: u32,
    pub(super) modseq: u64,
}

impl Reached {
    pub(super) fn of(row: &MailboxRow) -> Reached {
        Reached { uid_next: row.uid_next.value(), modseq: row.highest_modseq.0 }
    }

    fn join(&mut self, other: Reached) {
        self.uid_next = self.uid_next.max(other.uid_next);
        self.modseq = self.modseq.max(other.modseq);
    }

    fn is_behind(self, other: Reached) -> bool {
        self.uid_next < other.uid_next || self.modseq < other.modseq
    }
}

/// One life of a node, from its start to its crash.
pub(super) type Life = (u64, u32);

/// How often something was asked for, by what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Counts {
    pub(super) acknowledged: u64,
    pub(super) unanswered: u64,
    pub(super) refused: u64,
    pub(super) reads: u64,
    /// Answers of nodes that could not yet show what they had answered for.
    pub(super) lagging: u64,
    /// Bodies of messages that could not yet be read where the message was seen.
    pub(super) absent: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.acknowledged += other.acknowledged;
        self.unanswered += other.unanswered;
        self.refused += other.refused;
        self.reads += other.reads;
        self.lagging += other.lagging;
        self.absent += other.absent;
    }
}

/// See the head of this module.
pub(super) struct History {
    trace: Trace,
    pub(super) messages: BTreeMap<BodyHash, Sent>,
    pub(super) items: BTreeMap<ItemId, Queued>,
    /// Mailboxes that were created, by their names.
    pub(super) folders: BTreeMap<(AccountRef, String), Told>,
    /// Accounts that were created, by their names.
    pub(super) accounts: BTreeMap<String, Told>,
    pub(super) counts: Counts,
    seen: BTreeMap<(MailboxRef, Uid), BodyHash>,
    validity: BTreeMap<MailboxRef, UidValidity>,
    reached: BTreeMap<MailboxRef, Reached>,
    reached_by: BTreeMap<(Life, MailboxRef), Reached>,
    pub(super) breaches: Vec<Breach>,
}

impl History {
    pub(super) fn new(trace: Trace) -> History {
        History {
            trace,
            messages: BTreeMap::new(),
            items: BTreeMap::new(),
            folders: BTreeMap::new(),
            accounts: BTreeMap::new(),
            counts: Counts::default(),
            seen: BTreeMap::new(),
            validity: BTreeMap::new(),
            reached: BTreeMap::new(),
            reached_by: BTreeMap::new(),
            breaches: Vec::new(),
        }
    }

    pub(super) fn breach(&mut self, rule: Rule, what: String) {
        self.trace.say(format_args!("BREACH {rule:?}: {what}"));
        if self.breaches.len() < BREACHES_MAX {
            self.breaches.push(Breach { rule, what });
        }
    }

    /// A request was answered, or was not.
    pub(super) fn count(&mut self, told: Told) {
        match told {
            Told::Yes => self.counts.acknowledged += 1,
            Told::Maybe => self.counts.unanswered += 1,
            Told::No => self.counts.refused += 1,
        }
    }

    /// What all mailboxes have reached as far as anybody knows.
    pub(super) fn reached(&self) -> BTreeMap<MailboxRef, Reached> {
        self.reached.clone()
    }

    /// A message stands under this UID.
    pub(super) fn uid(&mut self, at: MailboxRef, uid: Uid, message: BodyHash) {
        let before = *self.seen.entry((at, uid)).or_insert(message);
        if before != message {
            self.breach(Rule::UidReused, format!("UID {uid:?} of {at:?} was {before} and is {message}"));
        }
    }

    pub(super) fn validity(&mut self, at: MailboxRef, now: UidValidity) {
        let before = *self.validity.entry(at).or_insert(now);
        if before != now {
            self.breach(Rule::UidValidity, format!("{at:?} had {before:?} and has {now:?}"));
        }
    }

    /// A client was told that a mailbox has reached this; `here`: what the node that told it shows. It may lag, and says so
    /// in its log; what is fresh must show it from now on.
    pub(super) fn told_reached(&mut self, at: MailboxRef, reached: Reached, here: Reached) {
        self.reached.entry(at).or_default().join(reached);
        self.counts.lagging += u64::from(here.is_behind(reached));
    }

    /// A message was added under a UID.
    pub(super) fn arrived(&mut self, at: MailboxRef, uid: Uid, message: BodyHash, here: Reached) {
        self.uid(at, uid, message);
        let uid_next = uid.value().saturating_add(1);
        self.told_reached(at, Reached { uid_next, modseq: 0 }, here);
    }

    /// A change was acknowledged with this ModSeq; `before` is what the mailbox had reached when it was asked for.
    pub(super) fn changed(&mut self, at: MailboxRef, modseq: ModSeq, before: Option<Reached>, here: Reached) {
        if before.is_some_and(|before| modseq.0 <= before.modseq) {
            self.breach(
                Rule::NoNewModSeq,
                format!("{at:?} was changed under {modseq:?}, as was known before"),
            );
        }
        self.told_reached(at, Reached { uid_next: 0, modseq: modseq.0 }, here);
    }

    /// A mailbox was read. `fresh`: what must be seen at least, because it was known before the reader asked.
    pub(super) fn read_row(&mut self, life: Life, at: MailboxRef, row: &MailboxRow, fresh: Option<Reached>) {
        let now = Reached::of(row);
        self.validity(at, row.uid_validity);
        let own = self.reached_by.entry((life, at)).or_default();
        let before = *own;
        own.join(now);
        self.reached.entry(at).or_default().join(now);
        if now.is_behind(before) {
            self.breach(
                Rule::WentBack,
                format!("{at:?} on node {life:?} was at {before:?} and is at {now:?}"),
            );
        }
        if let Some(floor) = fresh.filter(|floor| now.is_behind(*floor)) {
            self.breach(
                Rule::Stale,
                format!("{at:?} on node {life:?} is at {now:?}; {floor:?} was known before"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use estafette_types::{AccountId, MailboxId, ShardId};

    const LIFE: Life = (1, 0);

    fn at() -> MailboxRef {
        AccountRef { shard: ShardId(1), account: AccountId(1) }.mailbox(MailboxId(1))
    }

    fn rules(history: &History) -> Vec<Rule> {
        history.breaches.iter().map(|breach| breach.rule).collect()
    }

    #[tokio::test]
    async fn uids_and_numbers_are_watched() {
        let mut history = History::new(Trace::new(false));
        let uid = |number| Uid::new(number).unwrap();
        history.arrived(at(), uid(3), BodyHash([1; 32]), Reached { uid_next: 4, modseq: 2 });
        assert_eq!((rules(&history), history.counts.lagging), (vec![], 0));
        history.arrived(at(), uid(4), BodyHash([2; 32]), Reached { uid_next: 4, modseq: 2 });
        assert_eq!((rules(&history), history.counts.lagging), (vec![], 1));
        history.uid(at(), uid(3), BodyHash([2; 32]));
        assert_eq!(rules(&history), [Rule::UidReused]);
        let mut row = MailboxRow {
            uid_validity: UidValidity(std::num::NonZeroU32::MIN),
            uid_next: uid(5),
            highest_modseq: ModSeq(7),
            exists: 0,
            unseen: 0,
            deleted: 0,
            bytes: 0,
            created_ms: 0,
            expunged_modseq: ModSeq(0),
            expunge_floor: ModSeq(0),
            expunge_rows: 0,
        };
        let floor = Some(Reached { uid_next: 5, modseq: 7 });
        history.read_row(LIFE, at(), &row, floor);
        assert_eq!(rules(&history).len(), 1);
        row.highest_modseq = ModSeq(6);
        // Another node may lag, unless it was asked for what is fresh.
        history.read_row((2, 0), at(), &row, None);
        assert_eq!(rules(&history).len(), 1);
        history.read_row((2, 0), at(), &row, floor);
        history.read_row(LIFE, at(), &row, None);
        history.changed(at(), ModSeq(7), floor, Reached { uid_next: 9, modseq: 9 });
        let expected = [Rule::UidReused, Rule::Stale, Rule::WentBack, Rule::NoNewModSeq];
        assert_eq!(rules(&history), expected);
    }
}
