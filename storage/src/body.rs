//! Message bodies: stored once under the hash of their bytes, in chunks, read in part.
//!
//! Rows in `blob`: `place ‖ chunk (u32 BE)` → up to [`CHUNK_BYTES`] bytes, as they are. The place is the hash, or, of
//! a body that was written while it came ([`crate::Staging`]), random.
//! Rows in `blob_ref`, all beginning with the hash:
//! - `hash` → version, length in bytes (u64 BE), and in version 2 the place: there exactly when the body is;
//! - `hash ‖ scope (u32 BE)` → counter: references of a shard;
//! - `hash ‖ 0xFFFFFFFE` → version, time (u64 BE, ms): when the body last became a candidate;
//! - `hash ‖ 0xFFFFFFFF ‖ holder` → version: a hold.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use rocksdb::WriteBatch;

use crate::database::Database;
use crate::error::Error;
use crate::family::Family;
use crate::read::Pinned;

/// Bytes of one chunk.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// Longer bodies pass by the cache: a few of them would push all others out.
const CACHED_MAX_BYTES: u64 = 128 * 1024;
/// Scopes from here on are not shards.
pub const SCOPE_LIMIT: u32 = CANDIDATE_SCOPE;

pub(crate) const CANDIDATE_SCOPE: u32 = 0xFFFF_FFFE;
pub(crate) const HOLD_SCOPE: u32 = 0xFFFF_FFFF;
const VERSION: u8 = 1;
/// Of the row that says where a body is, when it is not under its hash.
const VERSION_PLACED: u8 = 2;
pub(crate) const HOLD_VALUE: [u8; 1] = [VERSION];

/// BLAKE3-256 of a body.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BodyHash(pub [u8; 32]);

impl BodyHash {
    /// The hash of a body that lies in pieces.
    #[must_use]
    pub fn of(pieces: &[Bytes]) -> BodyHash {
        let mut hasher = blake3::Hasher::new();
        for piece in pieces {
            hasher.update(piece);
        }
        BodyHash(hasher.finalize().into())
    }

    /// Reads a hash from a key or a row; `None` unless it is 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<BodyHash> {
        bytes.try_into().ok().map(BodyHash)
    }
}

impl AsRef<[u8]> for BodyHash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyHash({self})")
    }
}

/// Where the chunks of a body are: what their keys begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place(pub(crate) [u8; 32]);

impl From<BodyHash> for Place {
    fn from(hash: BodyHash) -> Place {
        Place(hash.0)
    }
}

/// What the row of a body says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) len: u64,
    pub(crate) place: Place,
}

impl Stored {
    /// Under its hash, as version 1 has it.
    pub(crate) fn encode(&self, hash: &BodyHash) -> Vec<u8> {
        if self.place == Place::from(*hash) {
            return encode_u64(self.len).to_vec();
        }
        [&[VERSION_PLACED], &self.len.to_be_bytes()[..], &self.place.0].concat()
    }

    pub(crate) fn decode(hash: &BodyHash, value: &[u8]) -> Option<Stored> {
        if let Some(len) = decode_u64(value) {
            return Some(Stored { len, place: Place::from(*hash) });
        }
        let (len, place) = value.strip_prefix(&[VERSION_PLACED])?.split_first_chunk::<8>()?;
        Some(Stored { len: u64::from_be_bytes(*len), place: Place(place.try_into().ok()?) })
    }

    /// `None` if there is no such body.
    pub(crate) fn find(database: &Database, hash: &BodyHash) -> Result<Option<Stored>, Error> {
        let row = database.db().get_pinned_cf(database.handle(Family::BlobRef), hash.0)?;
        let unreadable = || Error::damaged(format!("body {hash}"), "unreadable length");
        row.map(|value| Stored::decode(hash, &value).ok_or_else(unreadable)).transpose()
    }
}

pub(crate) fn chunk_key(place: &Place, chunk: u32) -> [u8; 36] {
    join(&place.0, chunk)
}

/// Key of the counter of references from `scope`.
pub(crate) fn ref_key(hash: &BodyHash, scope: u32) -> [u8; 36] {
    join(&hash.0, scope)
}

pub(crate) fn candidate_key(hash: &BodyHash) -> [u8; 36] {
    join(&hash.0, CANDIDATE_SCOPE)
}

pub(crate) fn hold_key(hash: &BodyHash, holder: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(36 + holder.len());
    key.extend_from_slice(&join(&hash.0, HOLD_SCOPE));
    key.extend_from_slice(holder);
    key
}

fn join(name: &[u8; 32], number: u32) -> [u8; 36] {
    let mut key = [0; 36];
    let (left, right) = key.split_at_mut(32);
    left.copy_from_slice(name);
    right.copy_from_slice(&number.to_be_bytes());
    key
}

/// A version byte and a number: lengths and times in `blob_ref`.
pub(crate) fn encode_u64(number: u64) -> [u8; 9] {
    let mut value = [VERSION; 9];
    let (_, right) = value.split_at_mut(1);
    right.copy_from_slice(&number.to_be_bytes());
    value
}

pub(crate) fn decode_u64(value: &[u8]) -> Option<u64> {
    let (version, rest) = value.split_first()?;
    (*version == VERSION).then_some(())?;
    rest.try_into().ok().map(u64::from_be_bytes)
}

/// Number of chunks of a body of this length.
pub(crate) fn chunks(len: u64) -> u32 {
    u32::try_from(len.div_ceil(CHUNK_BYTES as u64)).unwrap_or(u32::MAX)
}

/// Longest body: its chunks must be countable.
pub(crate) const LEN_MAX: u64 = u32::MAX as u64 * CHUNK_BYTES as u64;

/// Appends the chunks and the length of a body to a batch. Bytes that make up a chunk in one piece are copied once, into
/// the batch; others are joined before.
pub(crate) fn write(
    database: &Database,
    out: &mut WriteBatch,
    hash: &BodyHash,
    pieces: &[Bytes],
) -> Result<(), Error> {
    let len: u64 = pieces.iter().map(|p| p.len() as u64).sum();
    if len > LEN_MAX {
        return Err(Error::Invalid { reason: "body too long" });
    }
    let (blob, stored) = (database.handle(Family::Blob), Stored { len, place: Place::from(*hash) });
    let (mut number, mut left) = (0_u32, offset(len));
    let mut joined: Vec<u8> = Vec::new();
    for piece in pieces {
        let mut rest: &[u8] = piece;
        while !rest.is_empty() {
            let wanted = left.min(CHUNK_BYTES);
            let (now, later) = rest.split_at(rest.len().min(wanted - joined.len()));
            rest = later;
            let whole = joined.is_empty() && now.len() == wanted;
            if !whole {
                joined.reserve_exact(wanted - joined.len());
                joined.extend_from_slice(now);
            }
            if whole || joined.len() == wanted {
                out.put_cf(blob, chunk_key(&stored.place, number), if whole { now } else { &joined });
                (number, left) = (number.saturating_add(1), left - wanted);
                joined.clear();
            }
        }
    }
    out.put_cf(database.handle(Family::BlobRef), hash.0, stored.encode(hash));
    Ok(())
}

/// A stored body. Nothing of it is read until it is asked for.
#[derive(Clone)]
pub struct Body {
    database: Arc<Database>,
    hash: BodyHash,
    len: u64,
    /// Where it is, once that is known.
    place: OnceLock<Place>,
}

impl Body {
    pub(crate) fn find(database: &Arc<Database>, hash: &BodyHash) -> Result<Option<Body>, Error> {
        let stored = Stored::find(database, hash)?;
        Ok(stored.map(|stored| Body {
            database: Arc::clone(database),
            hash: *hash,
            len: stored.len,
            place: OnceLock::from(stored.place),
        }))
    }

    /// The body of this name and length, which is not looked for.
    pub(crate) fn named(database: &Arc<Database>, hash: BodyHash, len: u64) -> Body {
        // What is shorter than a chunk was not staged, so it is under its hash.
        let known = len < CHUNK_BYTES as u64;
        let place = if known { OnceLock::from(Place::from(hash)) } else { OnceLock::new() };
        Body { database: Arc::clone(database), hash, len, place }
    }

    fn place(&self) -> Result<Place, Error> {
        if let Some(place) = self.place.get() {
            return Ok(*place);
        }
        let stored =
            Stored::find(&self.database, &self.hash)?.ok_or_else(|| self.damaged("it is missing"))?;
        Ok(*self.place.get_or_init(|| stored.place))
    }

    /// Its name.
    #[must_use]
    pub fn hash(&self) -> BodyHash {
        self.hash
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True for the body without bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes of a range, in pieces that pin RocksDB's memory; only the chunks needed are read.
    /// What lies past the end is left out.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a chunk is missing or has a wrong length or checksum.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<Bytes>, Error> {
        let end = range.end.min(self.len);
        let mut at = range.start;
        let mut pieces = Vec::new();
        while at < end {
            let number = at / CHUNK_BYTES as u64;
            let chunk_start = number * CHUNK_BYTES as u64;
            let chunk = self.chunk(number)?;
            let from = offset(at - chunk_start);
            let to = offset(end - chunk_start).min(chunk.len());
            pieces.push(chunk.slice(from..to));
            at = chunk_start + chunk.len() as u64;
        }
        Ok(pieces)
    }

    /// All bytes, in pieces.
    ///
    /// # Errors
    /// As [`Body::read`].
    pub fn all(&self) -> Result<Vec<Bytes>, Error> {
        self.read(0..self.len)
    }

    /// Reads the body, chunk by chunk, and compares it with its hash.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it does not fit.
    pub fn verify(&self) -> Result<(), Error> {
        let mut hasher = blake3::Hasher::new();
        for number in 0..u64::from(chunks(self.len)) {
            hasher.update(&self.chunk(number)?);
        }
        if BodyHash(hasher.finalize().into()) == self.hash {
            Ok(())
        } else {
            Err(self.damaged("its bytes do not fit its hash"))
        }
    }

    fn chunk(&self, number: u64) -> Result<Bytes, Error> {
        let key = chunk_key(&self.place()?, u32::try_from(number).unwrap_or(u32::MAX));
        let options = (self.len > CACHED_MAX_BYTES).then(|| self.database.past_cache());
        let chunk = Pinned::find(&self.database, Family::Blob, &key, options)?
            .ok_or_else(|| self.damaged(&format!("chunk {number} is missing")))?
            .into_bytes();
        let expected = (self.len - number * CHUNK_BYTES as u64).min(CHUNK_BYTES as u64);
        if chunk.len() as u64 == expected {
            Ok(chunk)
        } else {
            Err(self.damaged(&format!("chunk {number} has a wrong length")))
        }
    }

    fn damaged(&self, reason: &str) -> Error {
        Error::damaged(format!("body {}", self.hash), reason)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("hash", &self.hash).field("len", &self.len).finish()
    }
}

/// An offset within a chunk.
fn offset(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
