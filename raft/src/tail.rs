//! The end of a group's log in memory.
//!
//! Invariant: what was appended but is not yet written is here, so that it can be read at once; and no index is missing
//! between the first and the last entry here. Entries leave from the front, once they are written, and either applied
//! or too many; or when the log is purged up to them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::settings::TAIL_BYTES;
use crate::types::{Brought, Commands, Entry, Joined, LogId, Membership, Payload};

/// An entry as it is kept here: cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Slim {
    Blank,
    Commands(Arc<Commands>),
    Membership(Membership),
}

#[derive(Debug)]
struct Kept {
    log_id: LogId,
    payload: Slim,
    /// For peers, who are sent them with the entry. None where there is no peer.
    bodies: Vec<Brought>,
    bytes: usize,
}

/// See the head of this module.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    entries: VecDeque<Kept>,
    bytes: usize,
    written: Option<u64>,
    applied: Option<u64>,
}

impl Tail {
    /// Adds an appended entry; it must follow the last one.
    pub(crate) fn push(&mut self, log_id: LogId, payload: Slim, bodies: Vec<Brought>) {
        let bytes = match &payload {
            Slim::Commands(commands) => commands.bytes(),
            Slim::Blank | Slim::Membership(_) => 64,
        };
        let bytes = bytes + bodies.iter().map(|brought| brought.body.bytes_held()).sum::<usize>();
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries.push_back(Kept { log_id, payload, bodies, bytes });
    }

    /// Index of the first entry here.
    pub(crate) fn first(&self) -> Option<u64> {
        self.entries.front().map(|kept| kept.log_id.index)
    }

    /// Entries of `range` that are here, in order.
    pub(crate) fn read(&self, range: &Range<u64>) -> Vec<Entry> {
        let Some(first) = self.first() else { return Vec::new() };
        let place = |index: u64| {
            usize::try_from(index.saturating_sub(first)).unwrap_or(usize::MAX).min(self.entries.len())
        };
        let (from, until) = (place(range.start), place(range.end));
        self.entries.range(from..until.max(from)).map(Kept::entry).collect()
    }

    /// All up to `index` are in the store.
    pub(crate) fn written(&mut self, index: u64) {
        self.written = self.written.max(Some(index));
        self.shrink();
    }

    /// All up to `index` are applied.
    pub(crate) fn applied(&mut self, index: u64) {
        self.applied = self.applied.max(Some(index));
        self.shrink();
    }

    /// Forgets all entries after `index`, or all; the log was cut there.
    pub(crate) fn cut(&mut self, index: Option<u64>) {
        while let Some(last) = self.entries.back() {
            if index.is_some_and(|index| last.log_id.index <= index) {
                break;
            }
            self.bytes = self.bytes.saturating_sub(last.bytes);
            self.entries.pop_back();
        }
        self.written = self.written.min(index);
    }

    /// Forgets all entries up to `index`, written or not: they went from the front of the log.
    pub(crate) fn purged(&mut self, index: u64) {
        while let Some(first) = self.entries.front().filter(|first| first.log_id.index <= index) {
            self.bytes = self.bytes.saturating_sub(first.bytes);
            self.entries.pop_front();
        }
    }

    fn shrink(&mut self) {
        while let Some(first) = self.entries.front() {
            let index = Some(first.log_id.index);
            let free = index <= self.written && (index <= self.applied || self.bytes > TAIL_BYTES);
            if !free {
                break;
            }
            self.bytes = self.bytes.saturating_sub(first.bytes);
            self.entries.pop_front();
        }
    }
}

impl Kept {
    fn entry(&self) -> Entry {
        let payload = match &self.payload {
            Slim::Blank => Payload::Blank,
            Slim::Membership(membership) => Payload::Membership(membership.clone()),
            Slim::Commands(commands) => {
                Payload::Normal(Joined { commands: Arc::clone(commands), bodies: self.bodies.clone() })
            }
        };
        Entry { log_id: self.log_id, payload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::log_id;

    fn indexes(tail: &Tail, range: Range<u64>) -> Vec<u64> {
        tail.read(&range).iter().map(|entry| entry.log_id.index).collect()
    }

    fn tail(range: Range<u64>) -> Tail {
        let mut tail = Tail::default();
        range.for_each(|index| tail.push(log_id(1, 1, index), Slim::Blank, Vec::new()));
        tail
    }

    #[test]
    fn entries_stay_until_written_and_applied() {
        let mut tail = tail(5..10);
        assert_eq!(indexes(&tail, 0..100), [5, 6, 7, 8, 9]);
        assert_eq!(indexes(&tail, 6..8), [6, 7]);
        tail.applied(7);
        assert_eq!(tail.first(), Some(5));
        tail.written(6);
        assert_eq!(indexes(&tail, 0..100), [7, 8, 9]);
        assert_eq!(indexes(&tail, 0..6), Vec::<u64>::new());
        assert_eq!(indexes(&tail, 20..30), Vec::<u64>::new());
    }

    #[test]
    fn a_purged_log_forgets_its_front() {
        let mut tail = tail(5..10);
        tail.purged(6);
        assert_eq!(indexes(&tail, 0..100), [7, 8, 9]);
        tail.purged(50);
        tail.push(log_id(2, 1, 51), Slim::Blank, Vec::new());
        assert_eq!(indexes(&tail, 0..100), [51]);
    }

    #[test]
    fn a_cut_log_forgets_its_end() {
        let mut tail = tail(5..10);
        tail.written(9);
        tail.cut(Some(6));
        assert_eq!(indexes(&tail, 0..100), [5, 6]);
        tail.push(log_id(2, 1, 7), Slim::Blank, Vec::new());
        tail.applied(9);
        assert_eq!(indexes(&tail, 0..100), [7], "not written since the cut");
        tail.cut(None);
        assert_eq!(tail.first(), None);
    }
}
