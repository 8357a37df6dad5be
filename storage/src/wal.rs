//! A strict reader of RocksDB's write-ahead logs: says up to where they are whole.
//!
//! RocksDB's own recovery is not enough, in any of its modes (seen with 11.8): a flipped bit in the
//! length of a record of the last block passes for a torn end; a zeroed header in the middle is skipped
//! with the rest of its block, which leaves a hole; a flipped bit in a record's type can make it loop
//! for ever. So every byte is looked at here before RocksDB sees the logs: checksums, the order of
//! fragments, and that sequence numbers follow each other without a gap, over all logs.
//!
//! The format is that of `log_format.h`: blocks of 32 KiB; records of a masked CRC-32C (u32 LE), length
//! (u16 LE), type and bytes; a write batch begins with its sequence number (u64 LE) and its number of
//! entries (u32 LE). Compressed and recycled logs are not used by the store, and are not whole here.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::body;
use crate::committer::COMMIT_KEY;
use crate::error::Error;

const BLOCK_BYTES: usize = 32 * 1024;
const HEAD_BYTES: usize = 7;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
/// Sequence number and number of entries.
const BATCH_HEAD_BYTES: usize = 12;
/// The entry that a commit's batch begins with, up to its value: a put into the store's own family.
const COMMIT_ENTRY: [u8; 4] = [0x01, 1, COMMIT_KEY[0], COMMIT_VALUE_BYTES];
const COMMIT_VALUE_BYTES: u8 = 9;
/// As much of a batch as is kept to look at.
const KEPT_BYTES: usize = BATCH_HEAD_BYTES + COMMIT_ENTRY.len() + COMMIT_VALUE_BYTES as usize;

/// Where a log stops being whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Break {
    pub(crate) log: PathBuf,
    /// Where the last whole batch of that log ends.
    pub(crate) offset: u64,
    pub(crate) reason: &'static str,
}

/// What the logs hold, up to the first break.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Number of the last commit.
    pub(crate) commit: Option<u64>,
    pub(crate) broken: Option<Break>,
    next_sequence: Option<u64>,
}

/// Reads all logs of a database, in their order.
pub(crate) fn scan(db_dir: &Path) -> Result<Scan, Error> {
    let mut scan = Scan::default();
    for log in logs(db_dir)? {
        let mut reader = Reader::open(&log)?;
        if let Err(reason) = scan.read(&mut reader).map_err(|e| Error::io(&log, e))? {
            scan.broken = Some(Break { log, offset: reader.whole_to, reason });
            break;
        }
    }
    Ok(scan)
}

/// The logs in a folder, oldest first.
pub(crate) fn logs(db_dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(db_dir).map_err(|e| Error::io(db_dir, e))? {
        let path = entry.map_err(|e| Error::io(db_dir, e))?.path();
        if let Some(number) = number(&path) {
            logs.push((number, path));
        }
    }
    logs.sort();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()
}

/// `Err` with a reason if a log is not whole; errors of reading apart.
type Whole<T> = std::io::Result<Result<T, &'static str>>;

impl Scan {
    /// Takes in all batches of a log.
    fn read(&mut self, reader: &mut Reader) -> Whole<()> {
        loop {
            match reader.batch()? {
                Ok(Some(batch)) => {
                    if let Err(reason) = self.take(&batch) {
                        return Ok(Err(reason));
                    }
                    reader.whole_to = reader.offset();
                }
                Ok(None) => return Ok(Ok(())),
                Err(reason) => return Ok(Err(reason)),
            }
        }
    }

    fn take(&mut self, batch: &[u8]) -> Result<(), &'static str> {
        let (sequence, rest) = batch.split_first_chunk::<8>().ok_or("a batch without a head")?;
        let (count, entries) = rest.split_first_chunk::<4>().ok_or("a batch without a head")?;
        let sequence = u64::from_le_bytes(*sequence);
        if self.next_sequence.is_some_and(|next| next != sequence) {
            return Err("batches are missing");
        }
        self.next_sequence = Some(sequence.saturating_add(u64::from(u32::from_le_bytes(*count))));
        if let Some(value) = entries.strip_prefix(&COMMIT_ENTRY) {
            self.commit = Some(body::decode_u64(value).ok_or("an unreadable number of a commit")?);
        }
        Ok(())
    }
}

/// Reads a log block by block.
struct Reader {
    file: BufReader<File>,
    block: Vec<u8>,
    /// Where the block begins in the file.
    block_start: u64,
    /// Where the next record begins in the block.
    at: usize,
    /// Where the last whole batch ends in the file.
    whole_to: u64,
}

impl Reader {
    fn open(log: &Path) -> Result<Reader, Error> {
        let file = File::open(log).map_err(|e| Error::io(log, e))?;
        Ok(Reader {
            file: BufReader::with_capacity(8 * BLOCK_BYTES, file),
            block: Vec::new(),
            block_start: 0,
            at: 0,
            whole_to: 0,
        })
    }

    fn offset(&self) -> u64 {
        self.block_start + self.at as u64
    }

    /// The beginning of the next batch; `None` at the end of the log.
    fn batch(&mut self) -> Whole<Option<Vec<u8>>> {
        let mut kept = Vec::with_capacity(KEPT_BYTES);
        let mut within = false;
        loop {
            let (kind, bytes) = match self.record()? {
                Ok(Some(record)) => record,
                Ok(None) if within => return Ok(Err("a batch is cut short")),
                Ok(None) => return Ok(Ok(None)),
                Err(reason) => return Ok(Err(reason)),
            };
            let room = KEPT_BYTES.saturating_sub(kept.len()).min(bytes.len());
            kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
            within = match (kind, within) {
                (FULL, false) | (LAST, true) => return Ok(Ok(Some(kept))),
                (FIRST, false) | (MIDDLE, true) => true,
                _ => return Ok(Err("a fragment of a batch is missing")),
            };
        }
    }

    /// The type and the bytes of the next record; `None` at the end of the log.
    fn record(&mut self) -> Whole<Option<(u8, &[u8])>> {
        if BLOCK_BYTES.saturating_sub(self.at) < HEAD_BYTES || self.block.is_empty() {
            self.next_block()?;
        }
        if self.at == self.block.len() {
            return Ok(Ok(None));
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        let record = parse(rest);
        if let Ok((_, bytes)) = record {
            self.at += HEAD_BYTES + bytes.len();
        }
        Ok(record.map(Some))
    }

    fn next_block(&mut self) -> std::io::Result<()> {
        self.block_start += self.block.len() as u64;
        self.block.clear();
        self.at = 0;
        self.file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut self.block)?;
        Ok(())
    }
}

fn parse(block: &[u8]) -> Result<(u8, &[u8]), &'static str> {
    let ([c0, c1, c2, c3, l0, l1, kind], rest) =
        block.split_first_chunk::<HEAD_BYTES>().ok_or("a record is cut short")?;
    let len = usize::from(u16::from_le_bytes([*l0, *l1]));
    let bytes = rest.get(..len).ok_or("a record is cut short")?;
    if !(FULL..=LAST).contains(kind) {
        return Err("a record of unknown type");
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&[*kind]), bytes);
    let masked = crc.rotate_right(15).wrapping_add(0xa282_ead8);
    if masked != u32::from_le_bytes([*c0, *c1, *c2, *c3]) {
        return Err("a record does not fit its checksum");
    }
    Ok((*kind, bytes))
}
