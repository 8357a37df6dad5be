//! Tests of the whole store, with real files.

mod bodies;
mod check;
mod damage;
mod fixtures;
mod kill;
mod missing;
mod references;
mod repair;
mod rows;
mod staged;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use crate::{Batch, BodyHash, Error, Mark, NewBody, Settings, Store};

/// Small, and bodies are collected at once.
fn settings() -> Settings {
    Settings { cache_bytes: 8 << 20, min_free_bytes: 0, collect_after: Duration::ZERO, ..Settings::default() }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, settings()).unwrap()
}

/// Commits and waits.
fn commit(store: &Store, batch: Batch, marks: Vec<Mark>) -> Result<(), Error> {
    let (tell, told) = mpsc::channel();
    store.commit(batch, marks, move |result| tell.send(result).unwrap());
    told.recv().unwrap()
}

/// A commit that names bodies and brings them, as far as they have bytes.
fn bring(store: &Store, bodies: &[NewBody], holder: &[u8]) {
    let mut batch = Batch::new();
    for body in bodies {
        batch.bring_body(body.clone());
        batch.hold_body(body.hash(), holder);
    }
    commit(store, batch, Vec::new()).unwrap();
}

/// Ends a hold, which makes a body a candidate.
fn release(store: &Store, hash: BodyHash, holder: &[u8]) {
    let mut batch = Batch::new();
    batch.release_body(hash, holder);
    store.apply_batch(batch).unwrap();
}

fn mark(last_index: u64) -> Mark {
    Mark { group: 16, term: 1, voted_for: 1, voted_committed: true, last_index }
}

/// Copies a folder with all that is in it, as it is now.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
