//! A plain list of writes, in order. Knows no store: it can be made anywhere and sent to the committer.

use std::ops::Range;

use bytes::Bytes;
use rocksdb::WriteBatch;

use crate::body::{self, BodyHash};
use crate::count;
use crate::database::Database;
use crate::error::Error;
use crate::family::Family;
use crate::new_body::NewBody;

/// Writes that become visible together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Keys and values, one after the other.
    arena: Vec<u8>,
    rows: Vec<Op>,
    pub(crate) bodies: Vec<NewBody>,
    /// Bodies that lost a hold or a reference: they may have become candidates for collection.
    loosened: Vec<BodyHash>,
    /// Bodies that this batch itself names.
    named: Vec<BodyHash>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Put,
    Delete,
    DeleteRange,
    Add,
}

/// A write whose key (or start) and value (or end) lie at these places of the arena.
#[derive(Clone, Debug)]
struct Op {
    kind: Kind,
    family: Family,
    key: Range<usize>,
    value: Range<usize>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Sets a row.
    pub fn put(&mut self, family: Family, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.push(Kind::Put, family, key.as_ref(), value.as_ref());
    }

    /// Removes a row; removing one that is not there is no error.
    pub fn delete(&mut self, family: Family, key: impl AsRef<[u8]>) {
        self.push(Kind::Delete, family, key.as_ref(), &[]);
    }

    /// Removes all rows of a range; an empty end means up to the end of the family.
    pub fn delete_range(&mut self, family: Family, range: Range<Vec<u8>>) {
        self.push(Kind::DeleteRange, family, &range.start, &range.end);
    }

    /// Adds to a counter ([`count::encode`]); one that is not there counts as zero.
    pub fn merge_add(&mut self, family: Family, key: impl AsRef<[u8]>, delta: i64) {
        self.push(Kind::Add, family, key.as_ref(), &count::encode(delta));
    }

    /// Stores a body under its hash, unless it is there already. It must be held or referenced by
    /// this batch, else it is collected after the grace period.
    pub fn put_body(&mut self, hash: BodyHash, pieces: &[Bytes]) {
        self.bodies.push(NewBody::named(hash, pieces.to_vec()));
    }

    /// The same for a body wherever its bytes are.
    pub fn bring_body(&mut self, body: NewBody) {
        self.bodies.push(body);
    }

    /// Keeps a body as long as `holder` (a log entry that is not yet applied) holds it.
    pub fn hold_body(&mut self, hash: BodyHash, holder: &[u8]) {
        self.push(Kind::Put, Family::BlobRef, &body::hold_key(&hash, holder), &body::HOLD_VALUE);
        self.named.push(hash);
    }

    /// Ends a hold.
    pub fn release_body(&mut self, hash: BodyHash, holder: &[u8]) {
        self.push(Kind::Delete, Family::BlobRef, &body::hold_key(&hash, holder), &[]);
        self.loosened.push(hash);
    }

    /// Changes the number of references that `scope` (a shard) has to a body.
    pub fn add_body_ref(&mut self, hash: BodyHash, scope: u32, delta: i64) {
        self.merge_add(Family::BlobRef, body::ref_key(&hash, scope), delta);
        if delta < 0 {
            self.loosened.push(hash);
        } else {
            self.named.push(hash);
        }
    }

    /// Sets that number, whatever it was. For who knows that nobody else changes it meanwhile.
    pub(crate) fn set_body_refs(&mut self, hash: BodyHash, scope: u32, number: i64) {
        let key = body::ref_key(&hash, scope);
        if number == 0 {
            self.delete(Family::BlobRef, key);
            self.loosened.push(hash);
        } else {
            self.put(Family::BlobRef, key, count::encode(number));
            self.named.push(hash);
        }
    }

    /// True if nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.bodies.is_empty()
    }

    /// True if the batch brings bodies: such a batch is for [`crate::Store::commit`] alone.
    #[must_use]
    pub fn brings_bodies(&self) -> bool {
        !self.bodies.is_empty()
    }

    /// Bytes of all keys, values and bodies.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        let bodies: usize = self.bodies.iter().map(NewBody::bytes_held).sum();
        self.arena.len() + bodies
    }

    fn push(&mut self, kind: Kind, family: Family, key: &[u8], value: &[u8]) {
        let start = self.arena.len();
        let middle = start + key.len();
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(value);
        self.rows.push(Op { kind, family, key: start..middle, value: middle..middle + value.len() });
    }

    /// Bodies that nothing may name after this batch.
    pub(crate) fn unnamed(&self) -> impl Iterator<Item = BodyHash> {
        let brought = self.bodies.iter().map(NewBody::hash).filter(|hash| !self.named.contains(hash));
        self.loosened.iter().copied().chain(brought)
    }

    /// Appends the rows (not the bodies) to a batch of RocksDB.
    pub(crate) fn write_rows(&self, database: &Database, out: &mut WriteBatch) -> Result<(), Error> {
        for op in &self.rows {
            let handle = database.handle(op.family);
            let key = self.arena.get(op.key.clone()).unwrap_or_default();
            let value = self.arena.get(op.value.clone()).unwrap_or_default();
            match op.kind {
                Kind::Put => out.put_cf(handle, key, value),
                Kind::Delete => out.delete_cf(handle, key),
                Kind::DeleteRange => delete_range(database, out, op.family, key, value)?,
                Kind::Add => out.merge_cf(handle, key, value),
            }
        }
        Ok(())
    }
}

/// RocksDB has no range without an end: the keys past any that we make are removed one by one.
pub(crate) fn delete_range(
    database: &Database,
    out: &mut WriteBatch,
    family: Family,
    start: &[u8],
    end: &[u8],
) -> Result<(), Error> {
    let handle = database.handle(family);
    if !end.is_empty() {
        if start < end {
            out.delete_range_cf(handle, start, end);
        }
        return Ok(());
    }
    let mut rows = database.db().raw_iterator_cf(handle);
    rows.seek_to_last();
    if let Some(last) = rows.key().filter(|last| *last >= start) {
        out.delete_range_cf(handle, start, last);
        out.delete_cf(handle, last);
    }
    rows.status().map_err(|error| database.read_error(family, error))
}
