//! The watermark: what this node has acknowledged, kept apart from RocksDB.
//!
//! A file of two slots of fixed size, written in turn in place, so one whole slot is always there.
//! It is written after every synced batch and before anyone is told; it is itself synced about once
//! a second, because it guards against damage, not against power loss: docs/decisions/002-watermark.md. Only what takes
//! entries back from a log waits until a mark that says so is synced.
//! Its blocks are written when it is made, so it needs no room on a full disk.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Bytes of a slot: room for [`MARKS_MAX`] groups.
const SLOT_BYTES: usize = 64 * 1024;
const SLOTS: u64 = 2;
const MAGIC: [u8; 4] = *b"EWM1";
/// Magic, CRC-32 of what follows, commit, number of marks.
const HEAD_BYTES: usize = 4 + 4 + 8 + 4;
const MARK_BYTES: usize = 4 + 8 + 8 + 1 + 8;
/// Most groups that a node can have marks of.
pub const MARKS_MAX: usize = (SLOT_BYTES - HEAD_BYTES) / MARK_BYTES;

/// The last acknowledged log index and vote of a Raft group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The group.
    pub group: u32,
    /// Term of the vote.
    pub term: u64,
    /// The node voted for.
    pub voted_for: u64,
    /// True if a majority granted that vote.
    pub voted_committed: bool,
    /// Last log index that was acknowledged as durable.
    pub last_index: u64,
}

/// What a slot says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watermark {
    /// Number of the last acknowledged commit of the store; 0 before the first.
    pub(crate) commit: u64,
    /// The mark of each group.
    pub(crate) marks: BTreeMap<u32, Mark>,
}

impl Watermark {
    /// The same with no mark of a log ahead of what the next watermark says; none if there is none.
    pub(crate) fn lowered(&self, next: &Watermark) -> Option<Watermark> {
        let mut lowered = self.clone();
        for mark in lowered.marks.values_mut() {
            let last = next.marks.get(&mark.group).map_or(mark.last_index, |next| next.last_index);
            mark.last_index = mark.last_index.min(last);
        }
        (lowered != *self).then_some(lowered)
    }
}

/// The open file.
pub(crate) struct WatermarkFile {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
}

impl WatermarkFile {
    /// Makes the file of a new data folder, durably.
    pub(crate) fn create(path: &Path) -> Result<(), Error> {
        let io = |e| Error::io(path, e);
        let mut whole = encode(&Watermark::default());
        whole.resize(SLOT_BYTES * 2, 0);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path).map_err(io)?;
        file.write_all_at(&whole, 0).map_err(io)?;
        file.sync_all().map_err(io)
    }

    /// Opens the file and reads the newest whole slot.
    ///
    /// # Errors
    /// [`Error::Damaged`] if neither slot is whole.
    pub(crate) fn open(path: &Path) -> Result<(WatermarkFile, Watermark), Error> {
        let io = |e| Error::io(path, e);
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
        let mut newest: Option<Watermark> = None;
        let mut broken = 0;
        for slot in 0..SLOTS {
            match decode(&read_slot(&file, slot).map_err(io)?) {
                Slot::Whole(found) if newest.as_ref().is_none_or(|n| n.commit < found.commit) => {
                    newest = Some(found)
                }
                Slot::Whole(_) | Slot::Empty => {}
                Slot::Broken => broken += 1,
            }
        }
        let newest = newest.ok_or_else(|| {
            Error::damaged(
                path.display().to_string(),
                "both slots of the watermark are damaged, so it cannot be told whether the store is whole; \
                 restore a backup, or let the node catch up from its cluster",
            )
        })?;
        if broken > 0 {
            tracing::warn!(path = %path.display(), commit = newest.commit, "one slot of the watermark is damaged, the other is used");
        }
        Ok((WatermarkFile { file, path: path.to_owned(), buffer: Vec::new() }, newest))
    }

    /// Writes the slot whose turn it is. Not synced.
    pub(crate) fn write(&mut self, watermark: &Watermark) -> Result<(), Error> {
        fail::fail_point!("storage::watermark", |_| Err(Error::io(
            &self.path,
            std::io::Error::other("failpoint")
        )));
        self.buffer = encode(watermark);
        let place = (watermark.commit % SLOTS) * SLOT_BYTES as u64;
        self.file.write_all_at(&self.buffer, place).map_err(|e| Error::io(&self.path, e))
    }

    /// Syncs what was written.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(|e| Error::io(&self.path, e))
    }
}

fn read_slot(file: &File, slot: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; SLOT_BYTES];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, slot * SLOT_BYTES as u64 + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(bytes)
}

fn encode(watermark: &Watermark) -> Vec<u8> {
    let mut body = Vec::with_capacity(HEAD_BYTES + watermark.marks.len() * MARK_BYTES);
    body.extend_from_slice(&watermark.commit.to_be_bytes());
    body.extend_from_slice(&u32::try_from(watermark.marks.len()).unwrap_or(u32::MAX).to_be_bytes());
    for mark in watermark.marks.values() {
        body.extend_from_slice(&mark.group.to_be_bytes());
        body.extend_from_slice(&mark.term.to_be_bytes());
        body.extend_from_slice(&mark.voted_for.to_be_bytes());
        body.push(u8::from(mark.voted_committed));
        body.extend_from_slice(&mark.last_index.to_be_bytes());
    }
    let mut slot = Vec::with_capacity(body.len() + 8);
    slot.extend_from_slice(&MAGIC);
    slot.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
    slot.extend_from_slice(&body);
    slot
}

enum Slot {
    /// Never written.
    Empty,
    Whole(Watermark),
    Broken,
}

fn decode(slot: &[u8]) -> Slot {
    if slot.iter().all(|byte| *byte == 0) {
        return Slot::Empty;
    }
    decode_whole(slot).map_or(Slot::Broken, Slot::Whole)
}

fn decode_whole(slot: &[u8]) -> Option<Watermark> {
    let mut head = Fields(slot);
    if head.take::<4>()? != MAGIC {
        return None;
    }
    let crc = u32::from_be_bytes(head.take()?);
    let body = head.0;
    let mut fields = Fields(body);
    let commit = u64::from_be_bytes(fields.take()?);
    let count =
        usize::try_from(u32::from_be_bytes(fields.take()?)).ok().filter(|count| *count <= MARKS_MAX)?;
    if crc32fast::hash(body.get(..8 + 4 + count * MARK_BYTES)?) != crc {
        return None;
    }
    let mut marks = BTreeMap::new();
    for _ in 0..count {
        let mark = Mark {
            group: u32::from_be_bytes(fields.take()?),
            term: u64::from_be_bytes(fields.take()?),
            voted_for: u64::from_be_bytes(fields.take()?),
            voted_committed: fields.take::<1>()? == [1],
            last_index: u64::from_be_bytes(fields.take()?),
        };
        marks.insert(mark.group, mark);
    }
    Some(Watermark { commit, marks })
}

/// Fields of fixed size, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(commit: u64) -> Watermark {
        let mark = Mark { group: 7, term: 3, voted_for: 1, voted_committed: true, last_index: commit * 10 };
        Watermark { commit, marks: BTreeMap::from([(7, mark)]) }
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watermark");
        WatermarkFile::create(&path).unwrap();
        (dir, path)
    }

    #[test]
    fn newest_slot_is_read() {
        let (_dir, path) = file();
        assert_eq!(WatermarkFile::open(&path).unwrap().1, Watermark::default());
        for commit in 1..6 {
            WatermarkFile::open(&path).unwrap().0.write(&at(commit)).unwrap();
            assert_eq!(WatermarkFile::open(&path).unwrap().1, at(commit));
        }
    }

    #[test]
    fn every_flipped_bit_leaves_the_other_slot() {
        let (_dir, path) = file();
        let (mut open, _) = WatermarkFile::open(&path).unwrap();
        open.write(&at(1)).unwrap();
        open.write(&at(2)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for place in 0..HEAD_BYTES + MARK_BYTES {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[place] ^= 1 << bit;
                std::fs::write(&path, &bytes).unwrap();
                assert_eq!(WatermarkFile::open(&path).unwrap().1, at(1), "byte {place}");
                bytes[SLOT_BYTES + place] ^= 1 << bit;
                std::fs::write(&path, &bytes).unwrap();
                assert!(matches!(WatermarkFile::open(&path), Err(Error::Damaged { .. })), "byte {place}");
            }
        }
    }

    #[test]
    fn a_cut_file_is_damaged_or_older() {
        let (_dir, path) = file();
        let (mut open, _) = WatermarkFile::open(&path).unwrap();
        open.write(&at(1)).unwrap();
        open.write(&at(2)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for len in [0, 3, 20, HEAD_BYTES + MARK_BYTES - 1] {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(WatermarkFile::open(&path).is_err(), "{len}");
        }
        std::fs::write(&path, &whole[..SLOT_BYTES + 5]).unwrap();
        assert_eq!(WatermarkFile::open(&path).unwrap().1, at(2));
    }

    #[test]
    fn room_for_many_groups() {
        let mut watermark = Watermark { commit: 4, ..Watermark::default() };
        for group in 0..u32::try_from(MARKS_MAX).unwrap() {
            watermark.marks.insert(group, Mark { group, ..Mark::default() });
        }
        let bytes = encode(&watermark);
        assert!(bytes.len() <= SLOT_BYTES);
        assert_eq!(decode_whole(&bytes).unwrap(), watermark);
    }
}
