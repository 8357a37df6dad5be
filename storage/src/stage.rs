//! Bodies that are written while they come: large messages never lie in memory whole.
//!
//! Their hash is known only at the end, so their chunks get a random place. Until a commit takes the body
//! ([`crate::Batch::bring_body`]), nothing can find it; that commit names its place under its hash, and its sync covers
//! all chunks, which lie before it in the same write-ahead log. If an equal body is there already, that
//! one is shared, and the chunks are removed.
//!
//! The store's own family has, written with the first chunk, `0x03 ‖ place` → version, time (u64 BE, ms), as long as
//! the body is under way; and then `0x04 ‖ place` → version, length (u64 BE), hash, as long as the body is there.
//!
//! Who writes a body, and all commits that name it, share an [`Owner`]. With the last of them goes what nobody took: on
//! the committer thread, or, after a crash, at the next start. While one is there, no body of that hash is collected, so
//! that each of several commits finds what it names.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use rocksdb::WriteBatch;

use crate::body::{self, BodyHash, CHUNK_BYTES, LEN_MAX, Place, Stored};
use crate::collect::within;
use crate::committer::Shared;
use crate::database::Database;
use crate::error::Error;
use crate::family::Family;
use crate::key::{Key, prefix_range};
use crate::new_body::NewBody;
use crate::store::now_ms;
use crate::stored::Body;

pub(crate) const UNDER_WAY: u8 = 0x03;
pub(crate) const PLACED: u8 = 0x04;
const VERSION: u8 = 1;
/// Bytes of a chunk's key and of what a batch has around it, about.
const AROUND_BYTES: usize = 256;

/// A body being written. Dropped before [`Staging::finish`], it leaves nothing behind.
pub struct Staging {
    owner: Arc<Owner>,
    hasher: blake3::Hasher,
    chunk: Vec<u8>,
    len: u64,
    /// A chunk could not be written: there is a hole.
    failed: bool,
}

impl Staging {
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Staging, Error> {
        let mut place = [0; 32];
        getrandom::fill(&mut place).map_err(|_| Error::Random)?;
        Ok(Staging::at(place, shared))
    }

    pub(crate) fn at(place: [u8; 32], shared: Arc<Shared>) -> Staging {
        let owner = Owner { place: Place(place), chunks: AtomicU32::new(0), shared };
        owner.shared.owned.lock().insert(owner.place, None);
        let hasher = blake3::Hasher::new();
        Staging { owner: Arc::new(owner), hasher, chunk: Vec::new(), len: 0, failed: false }
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True before the first byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds bytes; writes the chunks that become whole, without a sync. Blocks.
    ///
    /// # Errors
    /// [`Error::Full`] if the disk is nearly full: drop it then, and the room is given back. [`Error::Failed`],
    /// [`Error::Busy`] if too much is under way; [`Error::Invalid`] if it becomes too long, or after an error.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        self.check()?;
        self.len = self.len.saturating_add(bytes.len() as u64);
        if self.len > LEN_MAX {
            return Err(Error::Invalid { reason: "body too long" });
        }
        while !bytes.is_empty() {
            self.chunk.reserve_exact(CHUNK_BYTES - self.chunk.len());
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() == CHUNK_BYTES {
                self.write_chunk()?;
            }
        }
        Ok(())
    }

    /// The whole body, for a commit. Blocks.
    ///
    /// # Errors
    /// As [`Staging::push`].
    pub fn finish(mut self) -> Result<NewBody, Error> {
        self.check()?;
        if self.owner.chunks() == 0 {
            let chunk = std::mem::take(&mut self.chunk);
            return Ok(NewBody::of(vec![chunk.into()]));
        }
        if !self.chunk.is_empty() {
            self.write_chunk()?;
        }
        let hash = BodyHash(self.hasher.finalize().into());
        self.owner.shared.owned.lock().insert(self.owner.place, Some(hash));
        Ok(NewBody::staged(hash, self.len, self.owner))
    }

    fn check(&self) -> Result<(), Error> {
        if self.failed {
            Err(Error::Invalid { reason: "a part of the body was not written" })
        } else {
            Ok(())
        }
    }

    fn write_chunk(&mut self) -> Result<(), Error> {
        self.failed = true;
        self.try_write_chunk()?;
        self.failed = false;
        Ok(())
    }

    fn try_write_chunk(&mut self) -> Result<(), Error> {
        let (shared, number) = (&self.owner.shared, self.owner.chunks());
        shared.check()?;
        if shared.space.is_short() {
            return Err(shared.space.full());
        }
        // Counted first: what is counted is removed, whether it was written or not.
        self.owner.another()?;
        let mut out = WriteBatch::with_capacity_bytes(self.chunk.len() + AROUND_BYTES);
        let (database, place) = (&shared.database, &self.owner.place);
        if number == 0 {
            out.put_cf(database.own(), own_key(UNDER_WAY, place), body::encode_u64(now_ms()));
        }
        out.put_cf(database.handle(Family::Blob), body::chunk_key(place, number), &self.chunk);
        shared.write_unsynced(out)?;
        // The chunk is still in the processor's cache.
        self.hasher.update(&self.chunk);
        self.chunk.clear();
        Ok(())
    }
}

impl fmt::Debug for Staging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Staging({} bytes)", self.len)
    }
}

/// Keeps a body that is under way. The last to go has what nobody took removed.
pub(crate) struct Owner {
    place: Place,
    chunks: AtomicU32,
    shared: Arc<Shared>,
}

/// What was written of a body that has no owner any more.
pub(crate) struct Left {
    pub(crate) place: Place,
    /// Unknown after a crash.
    pub(crate) chunks: Option<u32>,
}

impl Left {
    /// About how many bytes it has.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.chunks.map(bytes_of)
    }
}

fn bytes_of(chunks: u32) -> u64 {
    u64::from(chunks) * CHUNK_BYTES as u64
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner({:?})", self.place)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let chunks = self.chunks();
        self.shared.under_way_bytes.fetch_sub(bytes_of(chunks), Ordering::Relaxed);
        self.shared.let_go(Left { place: self.place, chunks: Some(chunks) });
    }
}

impl Owner {
    /// How many there are. Only who writes the body adds to them.
    fn chunks(&self) -> u32 {
        self.chunks.load(Ordering::Relaxed)
    }

    /// One more is to be written.
    fn another(&self) -> Result<(), Error> {
        let (one, most) = (bytes_of(1), self.shared.under_way_max_bytes);
        let before = self.shared.under_way_bytes.fetch_add(one, Ordering::Relaxed);
        if before.saturating_add(one) > most {
            self.shared.under_way_bytes.fetch_sub(one, Ordering::Relaxed);
            return Err(Error::Busy { bytes: before, most_bytes: most });
        }
        self.chunks.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the body into a batch under its hash, of which there is none yet.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the chunks are not there: that cannot be while there is an owner.
    pub(crate) fn take(
        &self,
        database: &Database,
        out: &mut WriteBatch,
        hash: &BodyHash,
        stored: &Stored,
    ) -> Result<(), Error> {
        let under_way = own_key(UNDER_WAY, &self.place);
        if database.db().get_pinned_cf(database.own(), under_way)?.is_none() {
            return Err(Error::damaged(format!("body {hash}"), "what was written of it is gone"));
        }
        let placed = Placed { len: stored.len, hash: *hash };
        out.delete_cf(database.own(), under_way);
        out.put_cf(database.own(), own_key(PLACED, &self.place), placed.encode());
        out.put_cf(database.handle(Family::BlobRef), hash.0, stored.encode(hash));
        Ok(())
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// What was written, whether it was taken or not.
    pub(crate) fn body(&self, hash: BodyHash, len: u64) -> Body {
        Body::at(&self.shared.database, hash, len, self.place)
    }
}

/// Bodies that have an owner, with their hashes once these are known.
pub(crate) type Owned = Mutex<HashMap<Place, Option<BodyHash>>>;

/// What the store's own row of a place says once its body was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) len: u64,
    pub(crate) hash: BodyHash,
}

impl Placed {
    fn encode(&self) -> Vec<u8> {
        [&[VERSION], &self.len.to_be_bytes()[..], &self.hash.0].concat()
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Placed> {
        let (len, hash) = value.strip_prefix(&[VERSION])?.split_first_chunk::<8>()?;
        Some(Placed { len: u64::from_be_bytes(*len), hash: BodyHash::from_slice(hash)? })
    }
}

pub(crate) fn own_key(kind: u8, place: &Place) -> [u8; 33] {
    let mut key = [kind; 33];
    let (_, right) = key.split_at_mut(1);
    right.copy_from_slice(&place.0);
    key
}

/// Bodies that were under way when the store was last closed.
pub(crate) fn left_behind(database: &Database) -> Result<Vec<Left>, Error> {
    let range = prefix_range(&Key::new().u8(UNDER_WAY).build());
    let mut rows = database.db().raw_iterator_cf_opt(database.own(), within(range));
    rows.seek_to_first();
    let mut left = Vec::new();
    while let Some(key) = rows.key() {
        let place = key.get(1..).and_then(|place| place.try_into().ok()).map(Place);
        left.extend(place.map(|place| Left { place, chunks: None }));
        rows.next();
    }
    rows.status()?;
    Ok(left)
}

/// Removes what is under way at a place; false if nothing is. None of it is read.
pub(crate) fn remove(database: &Database, out: &mut WriteBatch, left: &Left) -> Result<bool, Error> {
    let under_way = own_key(UNDER_WAY, &left.place);
    if database.db().get_pinned_cf(database.own(), under_way)?.is_none() {
        return Ok(false);
    }
    let blob = database.handle(Family::Blob);
    match left.chunks {
        Some(chunks) => {
            (0..chunks).for_each(|number| out.delete_cf(blob, body::chunk_key(&left.place, number)));
        }
        // Its key would hide a range from every reader; after a crash alone that is worth it.
        None => {
            let range = prefix_range(&left.place.0);
            out.delete_range_cf(blob, range.start, range.end);
        }
    }
    out.delete_cf(database.own(), under_way);
    Ok(true)
}
