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

use crate::{Batch, Error, Mark, Settings, Store};

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
