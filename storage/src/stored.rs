//! Reading a stored body, whole or in part.
//!
//! A body that is read whole is compared with its hash, the first time since the start; one of a single chunk always is
//! read whole. Every read is covered by RocksDB's checksums where it comes from a file. What does not fit is an error that
//! names the body, and is noted ([`crate::Store::damaged`]); other bytes are never handed out for it. See decision 014.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::body::{BodyHash, CHUNK_BYTES, Known, Place, chunk_key, chunks, offset};
use crate::database::Database;
use crate::error::{self, Error};
use crate::family::Family;
use crate::read::Pinned;

/// Longer bodies pass by the cache: a few of them would push all others out.
const CACHED_MAX_BYTES: u64 = 128 * 1024;

/// A stored body. Nothing of it is read until it is asked for.
#[derive(Clone)]
pub struct Body {
    database: Arc<Database>,
    hash: BodyHash,
    len: u64,
    /// Where it is, once that is known.
    place: OnceLock<Place>,
    /// Whether what is read of it goes into the cache.
    is_cached: bool,
}

impl Body {
    pub(crate) fn find(database: &Arc<Database>, hash: &BodyHash) -> Result<Option<Body>, Error> {
        let known = Known::find(database, hash)?;
        Ok(known.stored().map(|stored| Body::at(database, *hash, stored.len, stored.place)))
    }

    /// The body of this name and length, which is not looked for.
    pub(crate) fn named(database: &Arc<Database>, hash: BodyHash, len: u64) -> Body {
        // What is shorter than a chunk was not staged, so it is under its hash.
        let known = len < CHUNK_BYTES as u64;
        let place = if known { OnceLock::from(Place::from(hash)) } else { OnceLock::new() };
        Body { database: Arc::clone(database), hash, len, place, is_cached: len <= CACHED_MAX_BYTES }
    }

    /// The body of this name and length whose chunks are at a known place.
    pub(crate) fn at(database: &Arc<Database>, hash: BodyHash, len: u64, place: Place) -> Body {
        Body { place: OnceLock::from(place), ..Body::named(database, hash, len) }
    }

    /// The same, which leaves the cache to others.
    pub(crate) fn past_cache(self) -> Body {
        Body { is_cached: false, ..self }
    }

    fn place(&self) -> Result<Place, Error> {
        if let Some(place) = self.place.get() {
            return Ok(*place);
        }
        let stored = Known::find(&self.database, &self.hash)?.stored();
        let place = stored.ok_or(Error::Missing { hash: self.hash })?.place;
        Ok(*self.place.get_or_init(|| place))
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
    /// [`Error::Damaged`] if a chunk is missing or has a wrong length or checksum, or if the body is read whole, or has
    /// one chunk, and does not fit its hash; [`Error::Missing`] if there is no such body (any more, or yet).
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
            at = chunk_start + chunk.len() as u64;
            if chunk.len() as u64 == self.len {
                self.prove(std::slice::from_ref(&chunk))?;
            }
            pieces.push(chunk.slice(from..to));
        }
        if range.start == 0 && end == self.len && pieces.len() > 1 {
            self.prove(&pieces)?;
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

    /// Reads the body, chunk by chunk, and compares it with its hash, whatever was found out before.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it does not fit.
    pub fn verify(&self) -> Result<(), Error> {
        let mut hasher = blake3::Hasher::new();
        for number in 0..u64::from(chunks(self.len)) {
            hasher.update(&self.chunk(number)?);
        }
        self.judge(BodyHash(hasher.finalize().into()))
    }

    /// Compares all its bytes with its hash, unless they were proven since the start.
    fn prove(&self, pieces: &[Bytes]) -> Result<(), Error> {
        if self.database.findings().is_proven(&self.place()?) {
            Ok(())
        } else {
            self.judge(BodyHash::of(pieces))
        }
    }

    /// `found`: the hash of the bytes that are stored.
    pub(crate) fn judge(&self, found: BodyHash) -> Result<(), Error> {
        if found != self.hash {
            return Err(self.damaged("its bytes do not fit its hash"));
        }
        self.database.findings().prove(&self.place()?);
        Ok(())
    }

    pub(crate) fn chunk(&self, number: u64) -> Result<Bytes, Error> {
        let place = self.place()?;
        let chunk = match self.chunk_at(&place, number)? {
            Some(chunk) => chunk,
            None => self.chunk_elsewhere(number)?,
        };
        let expected = (self.len - number * CHUNK_BYTES as u64).min(CHUNK_BYTES as u64);
        if chunk.len() as u64 == expected {
            Ok(chunk)
        } else {
            Err(self.damaged(&format!("chunk {number} has a wrong length")))
        }
    }

    fn chunk_at(&self, place: &Place, number: u64) -> Result<Option<Bytes>, Error> {
        let key = chunk_key(place, u32::try_from(number).unwrap_or(u32::MAX));
        let options = (!self.is_cached).then(|| self.database.past_cache());
        match Pinned::find(&self.database, Family::Blob, &key, options) {
            Ok(chunk) => Ok(chunk.map(Pinned::into_bytes)),
            Err(Error::Damaged { reason, .. }) => Err(self.damaged(&format!("chunk {number}: {reason}"))),
            Err(Error::Database { reason }) if error::is_lost(&reason) => {
                Err(self.damaged(&format!("chunk {number}: {reason}")))
            }
            Err(error) => Err(error),
        }
    }

    /// It is not where it was thought to be: the body may have gone since, or have come again.
    fn chunk_elsewhere(&self, number: u64) -> Result<Bytes, Error> {
        let stored = Known::find(&self.database, &self.hash)?.stored();
        let place = stored.ok_or(Error::Missing { hash: self.hash })?.place;
        let found = self.chunk_at(&place, number)?;
        found.ok_or_else(|| self.damaged(&format!("chunk {number} is missing")))
    }

    /// Notes that it is damaged.
    fn damaged(&self, reason: &str) -> Error {
        self.database.findings().damaged(&self.hash, self.place.get(), reason);
        Error::damaged(format!("body {}", self.hash), reason)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("hash", &self.hash).field("len", &self.len).finish()
    }
}
