//! Where the rows of the queue lie: shard, kind, the rest. Numbers big-endian.

use super::ItemId;
use estafette_storage::{Key, prefix_range};
use estafette_types::ShardId;
use std::ops::Range;

/// Kinds of rows. Numbers are on disk: never change or reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The counters of the shard's queue.
    Counters = 1,
    /// `id` → the item.
    Item = 2,
    /// `time (u64) ‖ id` → nothing: when there is something to be done.
    Due = 3,
    /// `period (u32) ‖ id` → nothing: an item that was here.
    Known = 4,
    /// `id` → who works on the item.
    Claim = 5,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Counters => "counters",
            Kind::Item => "item",
            Kind::Due => "due time",
            Kind::Known => "known item",
            Kind::Claim => "claim",
        }
    }
}

fn start(shard: ShardId, kind: Kind) -> Key {
    Key::new().u32(shard.0).u8(kind as u8)
}

/// The rows of a shard's queue.
pub fn shard_range(shard: ShardId) -> Range<Vec<u8>> {
    prefix_range(&shard.0.to_be_bytes())
}

pub(crate) fn kind_range(shard: ShardId, kind: Kind) -> Range<Vec<u8>> {
    prefix_range(&start(shard, kind).build())
}

pub(crate) fn counters(shard: ShardId) -> Vec<u8> {
    start(shard, Kind::Counters).build()
}

pub(crate) fn item(shard: ShardId, id: ItemId) -> Vec<u8> {
    start(shard, Kind::Item).bytes(&id.0).build()
}

pub(crate) fn due(shard: ShardId, time_ms: u64, id: ItemId) -> Vec<u8> {
    start(shard, Kind::Due).u64(time_ms).bytes(&id.0).build()
}

/// Due rows from a time on.
pub(crate) fn due_from(shard: ShardId, time_ms: u64) -> Range<Vec<u8>> {
    start(shard, Kind::Due).u64(time_ms).build()..kind_range(shard, Kind::Due).end
}

pub(crate) fn known(shard: ShardId, period: u32, id: ItemId) -> Vec<u8> {
    start(shard, Kind::Known).u32(period).bytes(&id.0).build()
}

/// Known items of all periods before one.
pub(crate) fn known_before(shard: ShardId, period: u32) -> Range<Vec<u8>> {
    start(shard, Kind::Known).build()..start(shard, Kind::Known).u32(period).build()
}

pub(crate) fn claim(shard: ShardId, id: ItemId) -> Vec<u8> {
    start(shard, Kind::Claim).bytes(&id.0).build()
}

/// A key taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    Counters,
    Item(ItemId),
    Due { time_ms: u64, id: ItemId },
    Known { period: u32 },
    Claim(ItemId),
}

impl Parsed {
    pub(crate) fn of(key: &[u8]) -> Option<Parsed> {
        let (_, rest) = key.split_first_chunk::<4>()?;
        let (kind, tail) = rest.split_first()?;
        match *kind {
            kind if kind == Kind::Counters as u8 => tail.is_empty().then_some(Parsed::Counters),
            kind if kind == Kind::Item as u8 => Some(Parsed::Item(ItemId(tail.try_into().ok()?))),
            kind if kind == Kind::Claim as u8 => Some(Parsed::Claim(ItemId(tail.try_into().ok()?))),
            kind if kind == Kind::Due as u8 => {
                let (time, id) = tail.split_first_chunk::<8>()?;
                Some(Parsed::Due { time_ms: u64::from_be_bytes(*time), id: ItemId(id.try_into().ok()?) })
            }
            kind if kind == Kind::Known as u8 => {
                let (period, id) = tail.split_first_chunk::<4>()?;
                (id.len() == 16).then_some(Parsed::Known { period: u32::from_be_bytes(*period) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_layout_of_version_one() {
        let (shard, id) = (ShardId(0x0102), ItemId([9; 16]));
        assert_eq!(counters(shard), [0, 0, 1, 2, 1]);
        let key = due(shard, 0x0A0B, id);
        assert_eq!(key.get(..13), Some(&[0, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0x0A, 0x0B][..]));
        assert_eq!(Parsed::of(&key), Some(Parsed::Due { time_ms: 0x0A0B, id }));
        assert_eq!(Parsed::of(&item(shard, id)), Some(Parsed::Item(id)));
        assert_eq!(Parsed::of(&claim(shard, id)), Some(Parsed::Claim(id)));
        assert_eq!(claim(shard, id).get(..6), Some(&[0, 0, 1, 2, 5, 9][..]));
        assert_eq!(Parsed::of(&known(shard, 3, id)), Some(Parsed::Known { period: 3 }));
        assert!(shard_range(shard).contains(&key) && !shard_range(ShardId(0x0103)).contains(&key));
        assert!(due_from(shard, 0x0A0B).contains(&key) && !due_from(shard, 0x0A0C).contains(&key));
        assert!(known_before(shard, 4).contains(&known(shard, 3, id)));
        assert!(!known_before(shard, 3).contains(&known(shard, 3, id)));
        for bad in [&[][..], &[0, 0, 0, 1], &[0, 0, 0, 1, 9], &[0, 0, 0, 1, 2, 3], &[0, 0, 0, 1, 3, 3]] {
            assert_eq!(Parsed::of(bad), None);
        }
    }
}
