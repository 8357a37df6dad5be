//! Rows of message bodies, which are stored once under the hash of their bytes, in chunks.
//!
//! Rows in `blob`: `place ‖ chunk (u32 BE)` → up to [`CHUNK_BYTES`] bytes, as they are. The place is the hash, or, of
//! a body that was written while it came ([`crate::Staging`]), random.
//! Rows in `blob_ref`, all beginning with the hash:
//! - `hash` → version, length in bytes (u64 BE), and in version 2 the place: there exactly when the body is. Version 3
//!   has nothing else: the body is missing, see [`crate::missing`];
//! - `hash ‖ scope (u32 BE)` → counter: references of a shard;
//! - `hash ‖ 0xFFFFFFFE` → version, time (u64 BE, ms): when the body last became a candidate;
//! - `hash ‖ 0xFFFFFFFF ‖ holder` → version: a hold.

use std::fmt;

use bytes::Bytes;
use rocksdb::WriteBatch;

use crate::database::Database;
use crate::error::Error;
use crate::family::Family;

/// Bytes of one chunk.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// Scopes from here on are not shards.
pub const SCOPE_LIMIT: u32 = CANDIDATE_SCOPE;

pub(crate) const CANDIDATE_SCOPE: u32 = 0xFFFF_FFFE;
pub(crate) const HOLD_SCOPE: u32 = 0xFFFF_FFFF;
const VERSION: u8 = 1;
/// Of the row that says where a body is, when it is not under its hash.
const VERSION_PLACED: u8 = 2;
/// Of the same row, when the body is to be fetched.
const VERSION_MISSING: u8 = 3;
pub(crate) const MISSING_VALUE: [u8; 1] = [VERSION_MISSING];
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

    fn decode(hash: &BodyHash, value: &[u8]) -> Option<Stored> {
        if let Some(len) = decode_u64(value) {
            return Some(Stored { len, place: Place::from(*hash) });
        }
        let (len, place) = value.strip_prefix(&[VERSION_PLACED])?.split_first_chunk::<8>()?;
        Some(Stored { len: u64::from_be_bytes(*len), place: Place(place.try_into().ok()?) })
    }
}

/// What the store knows of a hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Known {
    /// There is no such body.
    #[default]
    Nothing,
    /// There is none, and it is to be fetched.
    Missing,
    Stored(Stored),
}

impl Known {
    pub(crate) fn decode(hash: &BodyHash, value: &[u8]) -> Option<Known> {
        if value == MISSING_VALUE {
            return Some(Known::Missing);
        }
        Stored::decode(hash, value).map(Known::Stored)
    }

    pub(crate) fn find(database: &Database, hash: &BodyHash) -> Result<Known, Error> {
        let found = database.db().get_pinned_cf(database.handle(Family::BlobRef), hash.0);
        let row = found.map_err(|error| database.read_error(Family::BlobRef, error))?;
        let unreadable = || Error::damaged(format!("body {hash}"), "unreadable length");
        row.map_or(Ok(Known::Nothing), |value| Known::decode(hash, &value).ok_or_else(unreadable))
    }

    pub(crate) fn stored(self) -> Option<Stored> {
        match self {
            Known::Stored(stored) => Some(stored),
            Known::Nothing | Known::Missing => None,
        }
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

/// Appends the chunks of a body, and its row, to a batch. Bytes that make up a chunk in one piece are copied once, into
/// the batch; others are joined before.
pub(crate) fn write(
    database: &Database,
    out: &mut WriteBatch,
    hash: &BodyHash,
    stored: &Stored,
    pieces: &[Bytes],
) -> Result<(), Error> {
    if stored.len > LEN_MAX {
        return Err(Error::Invalid { reason: "body too long" });
    }
    let blob = database.handle(Family::Blob);
    let (mut number, mut left) = (0_u32, offset(stored.len));
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

/// An offset within bytes that lie in memory.
pub(crate) fn offset(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
