//! The structure of messages, scanned once and kept: in memory for what is being looked at, in a row
//! beside the body for later.
//!
//! A fetch of headers, envelopes or structures so reads one row and never the body. The row is written
//! without a sync when it is first needed: what is lost is scanned again. The storage removes it with
//! its body.

use crate::error::{Error, HexKey};
use estafette_mime::{DecodeError, PRINTED_MAX_BYTES, Scanner, Structure};
use estafette_storage::{Batch, Body, BodyHash, Family, Read, Store};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;

/// Bytes that the structures in memory may take, unless it is set otherwise.
pub const STRUCTURES_BYTES: u64 = 64 << 20;
/// Bytes of a body that are held at once while it is scanned.
const SCAN_BYTES: u64 = 1 << 20;
/// Bytes of a usual structure, for the first size of the cache's table.
const USUAL_BYTES: u64 = 4096;

#[derive(Clone, Debug)]
struct Known {
    structure: Arc<Structure>,
    bytes: u64,
}

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<BodyHash, Known> for Bytes {
    fn weight(&self, _: &BodyHash, known: &Known) -> u64 {
        known.bytes
    }
}

/// A bounded cache of structures over the rows of a store.
#[derive(Debug)]
pub struct Structures {
    cache: Cache<BodyHash, Known, Bytes>,
}

impl Default for Structures {
    fn default() -> Structures {
        Structures::new(STRUCTURES_BYTES)
    }
}

impl Structures {
    /// An empty cache of at most so many bytes.
    pub fn new(bytes: u64) -> Structures {
        let items = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX);
        Structures { cache: Cache::with_weighter(items, bytes, Bytes) }
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// The structure of a body; `None` when there is no such body. Reads the body only when it was
    /// never scanned before; who asks for the same at that time waits for it.
    ///
    /// # Errors
    /// When the store cannot be read. That the row cannot be written is no error.
    pub fn read(&self, store: &Store, hash: &BodyHash) -> Result<Option<Arc<Structure>>, Error> {
        let found = self
            .cache
            .get_or_insert_with(hash, || load(store, hash).and_then(|known| known.ok_or(Miss::None)));
        match found {
            Ok(known) => Ok(Some(known.structure)),
            Err(Miss::None) => Ok(None),
            Err(Miss::Error(error)) => Err(error),
        }
    }

    /// The structure of a body, when it is in memory.
    pub fn at_hand(&self, hash: &BodyHash) -> Option<Arc<Structure>> {
        self.cache.get(hash).map(|known| known.structure)
    }

    /// The row of a structure, for a message that was scanned while it came in: comes with its body
    /// (`NewBody::with_structure`), and saves reading that again.
    pub fn row(structure: &Structure) -> bytes::Bytes {
        structure.encode()
    }
}

enum Miss {
    None,
    Error(Error),
}

impl From<estafette_storage::Error> for Miss {
    fn from(error: estafette_storage::Error) -> Miss {
        Miss::Error(Error::Storage(error))
    }
}

fn load(store: &Store, hash: &BodyHash) -> Result<Option<Known>, Miss> {
    // A row that cannot be read is no loss: the body is there.
    if let Some(row) = store.read(Family::Structure, hash.as_ref())?
        && let Ok(known) = known(&row)
    {
        return Ok(Some(known));
    }
    let Some(body) = store.body(hash)? else { return Ok(None) };
    let row = scan(&body)?.encode();
    let mut batch = Batch::new();
    batch.put(Family::Structure, hash, &row);
    // A store that takes no writes still answers.
    let _unwritten = store.apply_batch(batch);
    let damaged = |_| Error::Damaged { what: "structure", key: HexKey(hash.as_ref().to_vec()) };
    known(&row).map(Some).map_err(|error| Miss::Error(damaged(error)))
}

/// Decoded from a copy of its row: what stays in memory must not pin the database's, and has no room to
/// grow as what comes from a scan has.
fn known(row: &[u8]) -> Result<Known, DecodeError> {
    let structure = Structure::decode(bytes::Bytes::copy_from_slice(row))?;
    // Its envelope will be printed later: as much as that may take is counted now.
    let bytes = row.len().saturating_add(structure.list_bytes()).saturating_add(PRINTED_MAX_BYTES);
    Ok(Known { structure: Arc::new(structure), bytes: bytes as u64 })
}

fn scan(body: &Body) -> Result<Structure, estafette_storage::Error> {
    let mut scanner = Scanner::new();
    let mut at = 0;
    while at < body.len() {
        let end = at.saturating_add(SCAN_BYTES).min(body.len());
        body.read(at..end)?.iter().for_each(|piece| scanner.feed(piece));
        at = end;
    }
    Ok(scanner.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use estafette_storage::Settings;
    use std::sync::mpsc;

    #[test]
    fn a_body_is_scanned_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Settings::default()).unwrap();
        let text = bytes::Bytes::from_static(b"Subject: one\r\n\r\nbody\r\n");
        let hash = BodyHash::of(std::slice::from_ref(&text));
        let structures = Structures::default();
        assert!(structures.read(&store, &hash).unwrap().is_none());

        let mut batch = Batch::new();
        batch.put_body(hash, &[text]);
        let (done, wait) = mpsc::channel();
        store.commit(batch, Vec::new(), move |result| done.send(result).unwrap());
        wait.recv().unwrap().unwrap();
        let first = structures.read(&store, &hash).unwrap().unwrap();
        assert_eq!(first.octets(), 22);
        assert!(Arc::ptr_eq(&first, &structures.read(&store, &hash).unwrap().unwrap()));
        // It weighs what it takes: lists too, which grew without bound in memory once.
        let least = first.encode().len() + first.list_bytes() + PRINTED_MAX_BYTES;
        assert_eq!(structures.bytes(), least as u64);
        assert_eq!(first.list_bytes(), size_of_val(first.parts()) + size_of::<estafette_mime::Envelope>());

        // Another cache finds the row; without the body there is nothing else to find.
        let mut batch = Batch::new();
        batch.delete_range(Family::Blob, Vec::new()..Vec::new());
        store.apply_batch(batch).unwrap();
        assert_eq!(Structures::default().read(&store, &hash).unwrap().unwrap(), first);

        // A row that cannot be read is made again, or here: missed.
        let mut batch = Batch::new();
        batch.put(Family::Structure, hash, [0xFF]);
        store.apply_batch(batch).unwrap();
        assert!(Structures::default().read(&store, &hash).is_err());
    }
}
