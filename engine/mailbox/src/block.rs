//! Which UIDs of a mailbox exist, in rows of [`BLOCK_UIDS`] numbers each.
//!
//! A block is written as runs, or as a bitmap when that is shorter; so a delivery writes some ten
//! bytes here, whatever the mailbox holds, and a mailbox of a million messages is read from a few
//! hundred rows. A block without UIDs has no row.

use crate::codec::{Reader, Writer};
use crate::key::{Kind, MailboxRef, Parsed};
use crate::rows::MailboxRow;
use estafette_types::{Uid, UidSet};

/// UIDs of a block.
pub(crate) const BLOCK_UIDS: u32 = 2048;
const BITMAP_BYTES: usize = BLOCK_UIDS as usize / 8;
const RUNS: u8 = 0;
const BITMAP: u8 = 1;
/// Blocks further apart than this are read by a scan, which passes over those that have no row.
const BLOCKS_BY_KEY: u32 = 16;

/// The block that a UID lies in.
pub(crate) fn block_of(uid: Uid) -> u32 {
    uid.value() / BLOCK_UIDS
}

/// All UIDs that lie in a block.
pub(crate) fn span(block: u32) -> UidSet {
    let start = block.saturating_mul(BLOCK_UIDS);
    let first = Uid::new(start).unwrap_or(Uid::MIN);
    UidSet::range(first, Uid::new(start.saturating_add(BLOCK_UIDS - 1)).unwrap_or(Uid::MAX))
}

/// The blocks that a set touches, ascending.
pub(crate) fn blocks(set: &UidSet) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::new();
    for (first, last) in set.runs() {
        let start = found.last().map_or(0, |last| last + 1).max(block_of(first));
        found.extend(start..=block_of(last));
    }
    found
}

/// The value of a block's row. The UIDs must all lie in it.
pub(crate) fn encode(block: u32, uids: &UidSet) -> Vec<u8> {
    let base = block.saturating_mul(BLOCK_UIDS);
    let runs = Writer::new(1).byte(RUNS).runs(uids, base);
    if runs.len() <= BITMAP_BYTES {
        return runs.done();
    }
    let mut bitmap = [0u8; BITMAP_BYTES];
    for uid in uids.iter() {
        let bit = uid.value().saturating_sub(base);
        if let Some(byte) = bitmap.get_mut((bit / 8) as usize) {
            *byte |= 1 << (bit % 8);
        }
    }
    Writer::new(1).byte(BITMAP).raw(&bitmap).done()
}

/// The UIDs of a block.
pub(crate) fn decode(block: u32, bytes: &[u8]) -> Option<UidSet> {
    let base = block.checked_mul(BLOCK_UIDS)?;
    let mut reader = Reader::new(bytes, 1)?;
    if reader.byte()? == RUNS {
        let uids = reader.runs(base)?;
        let inside = uids.last().is_none_or(|last| block_of(last) == block);
        return inside.then_some(uids);
    }
    let bitmap = reader.raw(BITMAP_BYTES)?;
    let mut uids = Vec::new();
    for (bit, at) in (base..).zip(0..BLOCK_UIDS) {
        if bitmap.get((at / 8) as usize)? >> (at % 8) & 1 == 1 {
            let uid = Uid::new(bit)?;
            uids.push((uid, uid));
        }
    }
    reader.end(UidSet::from_runs(uids))
}

/// The UIDs of one block of a mailbox.
pub(crate) fn read<R>(rows: &R, at: MailboxRef, block: u32) -> Result<UidSet, crate::Error>
where
    R: estafette_storage::Read + ?Sized,
{
    let key = at.block(block);
    let set = crate::read::row(rows, Kind::Block, key, |bytes| decode(block, bytes))?;
    Ok(set.unwrap_or_default())
}

/// The UIDs of all blocks from one on.
pub(crate) fn read_from<R>(rows: &R, at: MailboxRef, block: u32) -> Result<UidSet, crate::Error>
where
    R: estafette_storage::Read + ?Sized,
{
    let mut runs: Vec<(Uid, Uid)> = Vec::new();
    for row in crate::read::scan(rows, at.kind_from(Kind::Block, &block.to_be_bytes()))? {
        let row = row?;
        let number = Parsed::of(&row.key).and_then(|key| key.number());
        let set = number.and_then(|number| decode(number, &row.value));
        runs.extend(set.ok_or_else(|| crate::read::damaged(Kind::Block, &row.key))?.runs());
    }
    Ok(UidSet::from_runs(runs))
}

/// Of these UIDs, those that exist.
pub(crate) fn existing<R>(
    rows: &R,
    at: MailboxRef,
    row: &MailboxRow,
    wanted: &UidSet,
) -> Result<UidSet, crate::Error>
where
    R: estafette_storage::Read + ?Sized,
{
    let wanted = wanted.intersection(&UidSet::range(Uid::MIN, row.uid_next));
    let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else { return Ok(UidSet::new()) };
    if block_of(last) - block_of(first) > BLOCKS_BY_KEY {
        return Ok(read_from(rows, at, block_of(first))?.intersection(&wanted));
    }
    let mut runs: Vec<(Uid, Uid)> = Vec::new();
    for block in blocks(&wanted) {
        runs.extend(read(rows, at, block)?.intersection(&wanted).runs());
    }
    Ok(UidSet::from_runs(runs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(uids: impl IntoIterator<Item = u32>) -> UidSet {
        uids.into_iter().filter_map(Uid::new).collect()
    }

    #[test]
    fn full_and_young_blocks_are_short() {
        assert_eq!(encode(0, &set(1..=100)), [1, 0, 1, 99]);
        assert_eq!(encode(1, &set(2048..4096)), [1, 0, 0, 0xFF, 0x0F]);
        // Version 1 of a bitmap; that of runs is in the fixtures of the tests.
        let bitmap = [&[1, 1][..], &[0xAA; 256]].concat();
        assert_eq!(encode(0, &set((1..2048).step_by(2))), bitmap);
        assert_eq!(decode(0, &bitmap), Some(set((1..2048).step_by(2))));
        assert_eq!(blocks(&set([1, 2047, 2048, 9000])), [0, 1, 4]);
        assert_eq!(span(0), set(1..2048));
        assert_eq!(span(1), set(2048..4096));
        assert_eq!(span(u32::MAX / BLOCK_UIDS).last(), Some(Uid::MAX));
    }

    proptest! {
        #[test]
        fn blocks_round_trip(block in 0..=u32::MAX / BLOCK_UIDS, bits in proptest::collection::vec(0..BLOCK_UIDS, 0..700)) {
            let uids = set(bits.iter().map(|bit| block * BLOCK_UIDS + bit));
            prop_assert_eq!(decode(block, &encode(block, &uids)), Some(uids));
        }

        #[test]
        fn decoding_is_total(block: u32, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(block, &bytes);
        }
    }
}
