//! A large message on its way in: it goes into the store while it comes, so that no more than a part of it lies in memory.
//!
//! Each part is looked at while it is in the processor's cache: it is scanned for the structure, copied into a chunk, and
//! the chunk hashed and written. What is dropped before the message is proposed leaves nothing behind (`storage`'s
//! `Staging`).
//!
//! Must not: know of envelopes, or run on the thread of a session, for it writes to the disk.

use crate::Error;
use bytes::Bytes;
use estafette_mailbox::Structures;
use estafette_mime::Scanner;
use estafette_raft::NewBody;
use estafette_storage::{Staging, Store};

/// A message that is being written into the store.
#[derive(Debug)]
pub struct Intake {
    staging: Staging,
    scanner: Scanner,
}

impl Intake {
    /// Nothing of it yet.
    ///
    /// # Errors
    /// [`estafette_storage::Error::Random`].
    pub fn new(store: &Store) -> Result<Intake, Error> {
        Ok(Intake { staging: store.stage()?, scanner: Scanner::new() })
    }

    /// Takes what comes next. Blocks.
    ///
    /// # Errors
    /// [`Error::is_disk_full`], and other errors of the store.
    pub fn push(&mut self, pieces: &[Bytes]) -> Result<(), Error> {
        for piece in pieces {
            self.scanner.feed(piece);
            self.staging.push(piece)?;
        }
        Ok(())
    }

    /// The whole message, to be proposed, with its structure. Blocks.
    ///
    /// # Errors
    /// As [`Intake::push`].
    pub fn finish(self) -> Result<NewBody, Error> {
        let structure = Structures::row(&self.scanner.finish());
        Ok(self.staging.finish()?.with_structure(structure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use estafette_mime::Structure;
    use estafette_storage::{Batch, CHUNK_BYTES, Settings};
    use std::sync::mpsc;

    #[test]
    fn a_message_comes_with_its_structure() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Settings::default()).unwrap();
        let text = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(CHUNK_BYTES / 8));
        let pieces: Vec<Bytes> = text.as_bytes().chunks(100_000).map(Bytes::copy_from_slice).collect();
        let mut intake = Intake::new(&store).unwrap();
        pieces.chunks(2).for_each(|part| intake.push(part).unwrap());
        let body = intake.finish().unwrap();
        let hash = body.hash();
        let mut batch = Batch::new();
        batch.hold_body(hash, b"log");
        batch.bring_body(body);
        let (done, wait) = mpsc::channel();
        store.commit(batch, Vec::new(), move |result| done.send(result).unwrap());
        wait.recv().unwrap().unwrap();
        assert_eq!(store.body(&hash).unwrap().unwrap().all().unwrap().concat(), text.as_bytes());
        // The structure is there without the body: nobody has to read it for that.
        let structures = Structures::default();
        let mut batch = Batch::new();
        batch.delete_range(estafette_storage::Family::Blob, Vec::new()..Vec::new());
        store.apply_batch(batch).unwrap();
        let found = structures.read(&store, &hash).unwrap().unwrap();
        assert_eq!(*found, Structure::of([text.as_bytes()]));
    }
}
