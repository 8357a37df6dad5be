//! The messages of a session: the snapshot of its login and the marks that it has set since.
//!
//! A million messages take four bytes each, which sessions of one account share, and a bit each once one is marked. Message numbers count from 1 and do not change
//! within a session (RFC 1939 §5).

use crate::Snapshot;
use estafette_types::{Uid, UidSet, UidValidity};
use std::sync::Arc;

/// Why a message number names no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoMessage {
    /// The number is not that of a message.
    Unknown,
    /// The message is marked as deleted.
    Marked,
}

/// A message that is not marked as deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) number: u32,
    pub(crate) uid: Uid,
    pub(crate) octets: u32,
}

/// A maildrop as one session sees it.
#[derive(Clone, Debug)]
pub(crate) struct Maildrop {
    pub(crate) uid_validity: UidValidity,
    uids: Arc<UidSet>,
    sizes: Arc<[u32]>,
    /// One bit for each message; empty as long as none is marked.
    marks: Vec<u64>,
    marked: u32,
    /// Bytes of the messages that are not marked.
    octets: u64,
}

impl Maildrop {
    /// `None` when there is not a size for each message.
    pub(crate) fn new(snapshot: Snapshot) -> Option<Maildrop> {
        let Snapshot { uid_validity, uids, sizes } = snapshot;
        if u32::try_from(sizes.len()) != Ok(uids.len()) {
            return None;
        }
        let octets = sizes.iter().map(|size| u64::from(*size)).sum();
        Some(Maildrop { uid_validity, uids, sizes, marks: Vec::new(), marked: 0, octets })
    }

    /// The highest message number.
    pub(crate) fn last(&self) -> u32 {
        self.uids.len()
    }

    /// How many messages are not marked.
    pub(crate) fn count(&self) -> u32 {
        self.uids.len().saturating_sub(self.marked)
    }

    /// How many messages are marked.
    pub(crate) fn marked(&self) -> u32 {
        self.marked
    }

    /// Bytes of the messages that are not marked.
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// The message of a number.
    pub(crate) fn message(&self, number: u32) -> Result<Message, NoMessage> {
        let uid = self.uids.uid_at(number).ok_or(NoMessage::Unknown)?;
        let index = number.checked_sub(1).and_then(|i| usize::try_from(i).ok()).ok_or(NoMessage::Unknown)?;
        let octets = *self.sizes.get(index).ok_or(NoMessage::Unknown)?;
        let word = self.marks.get(index / 64).copied().unwrap_or(0);
        if word >> (index % 64) & 1 == 1 {
            Err(NoMessage::Marked)
        } else {
            Ok(Message { number, uid, octets })
        }
    }

    /// Marks a message as deleted.
    pub(crate) fn mark(&mut self, number: u32) -> Result<(), NoMessage> {
        let message = self.message(number)?;
        if self.marks.is_empty() {
            self.marks = vec![0; self.sizes.len().div_ceil(64)];
        }
        let index = number.checked_sub(1).and_then(|i| usize::try_from(i).ok()).ok_or(NoMessage::Unknown)?;
        let word = self.marks.get_mut(index / 64).ok_or(NoMessage::Unknown)?;
        *word |= 1 << (index % 64);
        self.marked = self.marked.saturating_add(1);
        self.octets = self.octets.saturating_sub(u64::from(message.octets));
        Ok(())
    }

    /// Takes all marks away.
    pub(crate) fn reset(&mut self) {
        self.marks = Vec::new();
        self.marked = 0;
        self.octets = self.sizes.iter().map(|size| u64::from(*size)).sum();
    }

    /// The UIDs of the marked messages.
    pub(crate) fn marked_uids(&self) -> UidSet {
        let mut found = UidSet::new();
        for (uid, index) in self.uids.iter().zip(0usize..) {
            if self.marks.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1) {
                found.insert(uid);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(value: u32) -> Uid {
        Uid::new(value).unwrap()
    }

    fn maildrop(runs: &[(u32, u32)]) -> Maildrop {
        let uids = UidSet::from_runs(runs.iter().map(|(a, b)| (uid(*a), uid(*b))));
        let sizes = (0..uids.len()).map(|n| n + 10).collect();
        Maildrop::new(Snapshot { uid_validity: UidValidity(7.try_into().unwrap()), uids: uids.into(), sizes })
            .unwrap()
    }

    #[test]
    fn marks_count() {
        let mut drop = maildrop(&[(3, 4), (70, 200)]);
        assert_eq!((drop.count(), drop.last()), (133, 133));
        let all = drop.octets();
        assert_eq!(drop.message(3).map(|m| (m.uid, m.octets)), Ok((uid(70), 12)));
        assert_eq!(drop.mark(3), Ok(()));
        assert_eq!(drop.mark(133), Ok(()));
        assert_eq!(drop.mark(3), Err(NoMessage::Marked));
        for number in [0, 134, u32::MAX] {
            assert_eq!(drop.mark(number), Err(NoMessage::Unknown));
        }
        assert_eq!((drop.count(), drop.octets()), (131, all - 12 - 142));
        assert_eq!(drop.marked_uids().iter().collect::<Vec<_>>(), [uid(70), uid(200)]);
        drop.reset();
        assert_eq!((drop.count(), drop.octets(), drop.marked_uids().len()), (133, all, 0));
    }

    #[test]
    fn sizes_must_fit() {
        let snapshot = Snapshot {
            uid_validity: UidValidity(1.try_into().unwrap()),
            uids: UidSet::range(uid(1), uid(3)).into(),
            sizes: [1, 2].into(),
        };
        assert!(Maildrop::new(snapshot).is_none());
    }
}
