//! What it costs to compare bodies with their hashes when they are read: CPU time of a read of a body by size, the first
//! one (from the file, hashed), later ones (from the cache, known to fit), and of the hash alone. See decision 014.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::mpsc;
use std::{fs, hint};

use bytes::Bytes;
use estafette_storage::{Batch, BodyHash, NewBody, Settings, Store};

/// Bytes read in each measurement.
const BYTES: usize = 64 << 20;

/// Nanoseconds that this thread was on a processor.
fn cpu_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Microseconds of CPU for one of `count`.
fn each(count: usize, work: impl FnOnce()) -> f64 {
    let start = cpu_ns();
    work();
    (cpu_ns() - start) as f64 / 1000.0 / count as f64
}

fn text(number: usize, len: usize) -> Bytes {
    let line = format!("{number:09} the quick brown fox jumps over the lazy dog, again and again\r\n");
    line.into_bytes().into_iter().cycle().take(len).collect::<Vec<_>>().into()
}

fn main() {
    println!("bytes, first read, later read, hash alone (microseconds of CPU each)");
    for len in [1 << 12, 1 << 14, 1 << 16, 1 << 17, 1 << 18, 1 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { min_free_bytes: 0, ..Settings::default() };
        let store = Store::open(dir.path(), settings.clone()).unwrap();
        let count = BYTES / len;
        let hashes: Vec<BodyHash> = (0..count).map(|number| bring(&store, text(number, len))).collect();
        store.flush().unwrap();
        drop(store);
        let store = Store::open(dir.path(), settings).unwrap();
        let read = || {
            for hash in &hashes {
                hint::black_box(store.body_of(*hash, len as u64).all().unwrap());
            }
        };
        let (first, later) = (each(count, read), each(count, read));
        let pieces: Vec<[Bytes; 1]> = (0..count).map(|number| [text(number, len)]).collect();
        let hash = each(count, || {
            pieces.iter().for_each(|piece| {
                hint::black_box(BodyHash::of(piece));
            })
        });
        println!("{len:8} {first:8.1} {later:8.1} {hash:8.1}");
    }
}

fn bring(store: &Store, text: Bytes) -> BodyHash {
    let body = NewBody::of(vec![text]);
    let hash = body.hash();
    let mut batch = Batch::new();
    batch.hold_body(hash, b"log");
    batch.bring_body(body);
    let (done, wait) = mpsc::channel();
    store.commit(batch, Vec::new(), move |result| done.send(result).unwrap());
    wait.recv().unwrap().unwrap();
    hash
}
