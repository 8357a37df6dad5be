//! Writes that are gathered in memory, seen by the transaction's own reads, and written at once.
//!
//! There is no locking: whoever applies to a range of keys is the only one who writes there.

use std::ops::Range;

use bytes::Bytes;
use rocksdb::WriteBatch;

use crate::batch;
use crate::body::{self, BodyHash, SCOPE_LIMIT};
use crate::collect;
use crate::database::Database;
use crate::error::Error;
use crate::family::Family;
use crate::overlay::{self, Entry, Overlay};
use crate::read::{Cursor, Direction, Pinned, Read, Scan};
use crate::recent::Recent;
use crate::store::Store;

/// Reads see the store and the transaction's own writes. Dropping it leaves nothing behind.
pub struct Transaction {
    store: Store,
    /// What the writer of these rows lately read.
    recent: Option<Recent>,
    overlays: [Overlay; Family::ALL.len()],
    undo: Vec<Undo>,
    /// Bodies that lost a hold or a reference.
    loosened: Vec<BodyHash>,
    /// What cannot be written, told by [`Store::apply`], and the number of writes before it.
    fault: Option<(usize, Error)>,
    /// Rows that it writes over.
    rewritten: u64,
}

/// What takes one write back.
enum Undo {
    Row { family: Family, key: Vec<u8>, before: Option<Entry> },
    Range { family: Family },
    Nothing,
}

/// A point to which a transaction can go back.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint {
    undo: usize,
    loosened: usize,
}

impl Transaction {
    pub(crate) fn new(store: Store, recent: Option<Recent>) -> Transaction {
        Transaction {
            store,
            recent,
            overlays: Default::default(),
            undo: Vec::new(),
            loosened: Vec::new(),
            fault: None,
            rewritten: 0,
        }
    }

    /// Says that a row that it sets is written over, as happens again and again to rows of its kind.
    pub fn rewrites_row(&mut self) {
        self.rewritten += 1;
    }

    pub(crate) fn rewritten(&self) -> u64 {
        self.rewritten
    }

    /// Sets a row.
    pub fn put(&mut self, family: Family, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.set(family, key.as_ref().to_vec(), Some(Entry::Put(Bytes::copy_from_slice(value.as_ref()))));
    }

    /// Removes a row; removing one that is not there is no error.
    pub fn delete(&mut self, family: Family, key: impl AsRef<[u8]>) {
        self.set(family, key.as_ref().to_vec(), Some(Entry::Delete));
    }

    /// Removes all rows of a range; an empty end means up to the end of the family.
    pub fn delete_range(&mut self, family: Family, range: Range<Vec<u8>>) {
        if !range.end.is_empty() && range.start >= range.end {
            return;
        }
        let within = overlay::bounds(&range);
        let keys: Vec<Vec<u8>> =
            self.overlay(family).rows.range::<[u8], _>(within).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.set(family, key, None);
        }
        self.overlay_mut(family).gone.push(range);
        self.undo.push(Undo::Range { family });
    }

    /// Adds to a counter; one that is not there counts as zero. What is not a counter, or a sum that does
    /// not fit, is told by [`Store::apply`].
    pub fn merge_add(&mut self, family: Family, key: impl AsRef<[u8]>, delta: i64) {
        match self.overlay(family).added(key.as_ref(), delta) {
            Ok(entry) => self.set(family, key.as_ref().to_vec(), Some(entry)),
            Err(error) => self.refuse(error),
        }
    }

    /// Changes the number of references that `scope` (a shard, under [`SCOPE_LIMIT`]) has to a body.
    /// A scope that cannot be is told by [`Store::apply`].
    pub fn add_body_ref(&mut self, hash: BodyHash, scope: u32, delta: i64) {
        if scope >= SCOPE_LIMIT {
            return self.refuse(Error::Invalid { reason: "scope of a body reference" });
        }
        self.merge_add(Family::BlobRef, body::ref_key(&hash, scope), delta);
        if delta < 0 {
            self.loosened.push(hash);
        }
    }

    /// Ends the hold that a log entry had on a body ([`crate::Batch::hold_body`]).
    pub fn release_body(&mut self, hash: BodyHash, holder: &[u8]) {
        self.set(Family::BlobRef, body::hold_key(&hash, holder), Some(Entry::Delete));
        self.loosened.push(hash);
    }

    /// A point to which [`Transaction::rollback_to`] can go back.
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        Savepoint { undo: self.undo.len(), loosened: self.loosened.len() }
    }

    /// Takes back every write made since the savepoint.
    pub fn rollback_to(&mut self, savepoint: Savepoint) {
        while self.undo.len() > savepoint.undo {
            match self.undo.pop() {
                Some(Undo::Row { family, key, before: Some(entry) }) => {
                    self.overlay_mut(family).rows.insert(key, entry);
                }
                Some(Undo::Row { family, key, before: None }) => {
                    self.overlay_mut(family).rows.remove(&key);
                }
                Some(Undo::Range { family }) => {
                    self.overlay_mut(family).gone.pop();
                }
                Some(Undo::Nothing) => {}
                None => break,
            }
        }
        self.loosened.truncate(savepoint.loosened);
        self.fault.take_if(|(writes, _)| *writes > savepoint.undo);
    }

    /// True if there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fault.is_none() && self.overlays.iter().all(Overlay::is_empty)
    }

    /// The store that it reads.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Counts as a write, so that going back to a savepoint before it forgets it.
    fn refuse(&mut self, error: Error) {
        self.undo.push(Undo::Nothing);
        self.fault.get_or_insert((self.undo.len(), error));
    }

    fn set(&mut self, family: Family, key: Vec<u8>, entry: Option<Entry>) {
        let rows = &mut self.overlay_mut(family).rows;
        let before = match entry {
            Some(entry) => rows.insert(key.clone(), entry),
            None => rows.remove(&key),
        };
        self.undo.push(Undo::Row { family, key, before });
    }

    fn overlay(&self, family: Family) -> &Overlay {
        static EMPTY: Overlay = Overlay { rows: std::collections::BTreeMap::new(), gone: Vec::new() };
        self.overlays.get(family.index()).unwrap_or(&EMPTY)
    }

    fn overlay_mut(&mut self, family: Family) -> &mut Overlay {
        let [
            blob,
            blob_ref,
            row,
            structure,
            search,
            queue,
            directory,
            traffic,
            raft_log,
            raft_meta,
            quarantine,
        ] = &mut self.overlays;
        match family {
            Family::Blob => blob,
            Family::BlobRef => blob_ref,
            Family::Row => row,
            Family::Structure => structure,
            Family::Search => search,
            Family::Queue => queue,
            Family::Directory => directory,
            Family::Traffic => traffic,
            Family::RaftLog => raft_log,
            Family::RaftMeta => raft_meta,
            Family::Quarantine => quarantine,
        }
    }

    /// The store has what this transaction did.
    pub(crate) fn written(&self) {
        let Some(recent) = &self.recent else { return };
        for (family, overlay) in Family::ALL.into_iter().zip(&self.overlays) {
            if !overlay.is_empty() {
                recent.written(family, overlay);
            }
        }
    }

    /// A row as it was before the transaction.
    fn stored(&self, family: Family, key: &[u8]) -> Result<Option<Pinned>, Error> {
        let Some(recent) = &self.recent else { return self.store.read(family, key) };
        if let Some(value) = recent.find(family, key) {
            return Ok(Some(Pinned::owned(value)));
        }
        let found = self.store.read(family, key)?;
        if let Some(value) = &found {
            recent.keep(family, key, value);
        }
        Ok(found)
    }

    /// All writes as one batch of RocksDB.
    pub(crate) fn to_write(&self, database: &Database, now_ms: u64) -> Result<WriteBatch, Error> {
        if let Some((_, error)) = &self.fault {
            return Err(error.clone());
        }
        let mut out = WriteBatch::default();
        for (family, overlay) in Family::ALL.into_iter().zip(&self.overlays) {
            let handle = database.handle(family);
            for range in &overlay.gone {
                batch::delete_range(database, &mut out, family, &range.start, &range.end)?;
            }
            for (key, entry) in &overlay.rows {
                match entry {
                    Entry::Put(value) => out.put_cf(handle, key, value),
                    Entry::Delete => out.delete_cf(handle, key),
                    Entry::Add(delta) => out.merge_cf(handle, key, crate::count::encode(*delta)),
                }
            }
        }
        for hash in &self.loosened {
            if !self.adds_ref(hash) {
                collect::write_candidate(database, &mut out, hash, now_ms);
            }
        }
        Ok(out)
    }

    /// True if this transaction itself adds a reference, so the body is surely no candidate.
    fn adds_ref(&self, hash: &BodyHash) -> bool {
        let range = hash.0.to_vec()..body::ref_key(hash, SCOPE_LIMIT).to_vec();
        let mut entries = self.overlay(Family::BlobRef).rows.range::<[u8], _>(overlay::bounds(&range));
        entries.any(|(_, entry)| matches!(entry, Entry::Add(delta) if *delta > 0))
    }
}

impl Read for Transaction {
    fn read(&self, family: Family, key: &[u8]) -> Result<Option<Pinned>, Error> {
        let overlay = self.overlay(family);
        match overlay.rows.get(key) {
            None if overlay.hides(key) => Ok(None),
            None => self.stored(family, key),
            Some(entry @ Entry::Add(_)) => {
                let stored = self.store.read(family, key)?;
                Ok(overlay::value(key, entry, stored.as_deref())?.map(Pinned::owned))
            }
            Some(entry) => Ok(overlay::value(key, entry, None)?.map(Pinned::owned)),
        }
    }

    fn read_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Pinned>>, Error> {
        if self.overlay(family).is_empty() {
            return self.store.read_many(family, keys);
        }
        keys.iter().map(|key| self.read(family, key)).collect()
    }

    fn scan(&self, family: Family, range: Range<Vec<u8>>, direction: Direction) -> Result<Scan<'_>, Error> {
        let overlay = self.overlay(family);
        let cursor = Cursor::new(self.store.database(), family, range.clone(), direction, None);
        if overlay.is_empty() {
            return Ok(Scan::disk(cursor));
        }
        Ok(Scan::merged(overlay.scan(cursor, &range, direction)))
    }
}
