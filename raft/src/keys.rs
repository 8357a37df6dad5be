//! Keys of the rows in `RaftLog` and `RaftMeta`.
//!
//! `RaftLog`: group (u32 BE) ‖ index (u64 BE). `RaftMeta`: group (u32 BE) ‖ what (u8).

use std::ops::Range;

use crate::GroupId;

/// A row about a group's log.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Meta {
    /// The vote; written with a sync.
    Vote = 1,
    /// The last entry that was removed from the front.
    Purged = 2,
    /// What is applied; written with the rows that it describes.
    Applied = 3,
    /// What was applied, and is known to be durable.
    Durable = 4,
    /// A snapshot is being installed; the rows are not whole until this is gone.
    Installing = 5,
    /// The last entry that this node ever had, before all that it has of the group was removed.
    Had = 6,
    /// All that this node has of the group is being removed: the scope of its references, whose counters are still to go.
    Leaving = 7,
}

/// The row that names the node whose folder this is; no group has this number.
pub(crate) const NODE: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 1];

pub(crate) fn meta(group: GroupId, what: Meta) -> [u8; 5] {
    let mut key = [0; 5];
    let (front, back) = key.split_at_mut(4);
    front.copy_from_slice(&group.0.to_be_bytes());
    back.fill(what as u8);
    key
}

/// The keys of all rows about a group's log.
pub(crate) fn metas(group: GroupId) -> Range<Vec<u8>> {
    group.0.to_be_bytes().to_vec()..group.0.saturating_add(1).to_be_bytes().to_vec()
}

/// Key of an entry. Also the name under which the entry holds its bodies.
pub(crate) fn entry(group: GroupId, index: u64) -> [u8; 12] {
    let mut key = [0; 12];
    let (front, back) = key.split_at_mut(4);
    front.copy_from_slice(&group.0.to_be_bytes());
    back.copy_from_slice(&index.to_be_bytes());
    key
}

/// The keys of entries `from..until`; all to the end of the group without `until`.
pub(crate) fn entries(group: GroupId, from: u64, until: Option<u64>) -> Range<Vec<u8>> {
    let end = match until {
        Some(until) => entry(group, until).to_vec(),
        None => group.0.saturating_add(1).to_be_bytes().to_vec(),
    };
    entry(group, from).to_vec()..end
}

/// The index in the key of an entry.
pub(crate) fn index(key: &[u8]) -> Option<u64> {
    key.get(4..).and_then(|index| index.try_into().ok()).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_group_and_index() {
        assert!(entry(GroupId(1), u64::MAX) < entry(GroupId(2), 0));
        assert!(entry(GroupId(2), 255) < entry(GroupId(2), 256));
        assert_eq!(index(&entry(GroupId(7), 123_456_789_012)), Some(123_456_789_012));
        assert_eq!(index(b"short"), None);
        let all = entries(GroupId(7), 0, None);
        assert!(all.contains(&entry(GroupId(7), u64::MAX).to_vec()));
        assert!(!all.contains(&entry(GroupId(8), 0).to_vec()));
        assert_eq!(meta(GroupId(1), Meta::Vote), [0, 0, 0, 1, 1]);
    }
}
