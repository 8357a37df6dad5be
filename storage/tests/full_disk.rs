//! A real disk that is full: a small one in memory (mounting it needs root; without, the tests skip).
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use estafette_storage::{
    Batch, BodyHash, Error, Family, Health, MIN_FREE_BYTES_MIN, Mark, Read, Settings, Store,
};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

const MIB: u64 = 1 << 20;

struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(size: &str) -> Option<Disk> {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk(dir);
        let done = disk.run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        if !done {
            println!("skipped: mounting a small disk is not allowed here");
        }
        done.then_some(disk)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        Command::new(program)
            .args(arguments)
            .arg(self.0.path())
            .output()
            .is_ok_and(|done| done.status.success())
    }

    fn grow(&self, size: &str) {
        assert!(self.run("mount", &["-o", &format!("remount,size={size}")]));
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn free(&self) -> u64 {
        let stat = statvfs(self.0.path()).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Takes all but so many bytes, as fast as it goes; ends when there is nothing more to take.
    fn fill(&self, left: u64) {
        let file = File::create(self.0.path().join("filler")).unwrap();
        let mut filled = 0;
        loop {
            let bytes = self.free().saturating_sub(left) / 4096 * 4096;
            if bytes == 0 {
                return;
            }
            // Less each time: the store writes meanwhile.
            let part = [bytes, bytes / 2, 4096];
            filled += part
                .into_iter()
                .find(|part| fallocate(&file, FallocateFlags::empty(), filled, *part).is_ok())
                .unwrap_or(0);
        }
    }

    fn relieve(&self) {
        std::fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.run("umount", &[]);
    }
}

fn settings(min_free_bytes: u64) -> Settings {
    Settings { cache_bytes: 8 << 20, min_free_bytes, ..Settings::default() }
}

fn body(number: u64) -> Vec<Bytes> {
    vec![Bytes::from(number.to_be_bytes().repeat(12_500))]
}

fn delivery(number: u64) -> Batch {
    let pieces = body(number);
    let mut batch = Batch::new();
    batch.put_body(BodyHash::of(&pieces), &pieces);
    batch.hold_body(BodyHash::of(&pieces), b"log");
    batch.put(Family::Row, number.to_be_bytes(), b"there");
    batch
}

fn commit(store: &Store, batch: Batch, marks: Vec<Mark>) -> Result<(), Error> {
    let (tell, told) = mpsc::channel();
    store.commit(batch, marks, move |result| tell.send(result).unwrap());
    told.recv().unwrap()
}

fn mark(last_index: u64) -> Mark {
    Mark { group: 16, last_index, ..Mark::default() }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn all_there(store: &Store, acknowledged: u64) {
    for number in 1..=acknowledged {
        let pieces = body(number);
        let found = store.body(&BodyHash::of(&pieces)).unwrap().unwrap();
        assert_eq!(found.all().unwrap().concat(), pieces.concat());
        assert!(store.read(Family::Row, &number.to_be_bytes()).unwrap().is_some());
    }
}

/// Without care for room: a write of RocksDB itself that fails is the end of all writes.
#[test]
fn a_log_without_room_is_a_failure() {
    let Some(disk) = Disk::mount("24m") else { return };
    let store = Store::open(&disk.data(), settings(0)).unwrap();
    let mut acknowledged = 0;
    let error = loop {
        match commit(&store, delivery(acknowledged + 1), vec![mark(acknowledged + 1)]) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(acknowledged > 10 && matches!(error, Error::Failed { .. }), "{acknowledged} {error}");
    assert_eq!(store.health(), Health::Failed);
    all_there(&store, acknowledged);
    drop(store);
    disk.grow("96m");
    let store = Store::open(&disk.data(), settings(0)).unwrap();
    assert_eq!(store.marks(), [mark(acknowledged)]);
    all_there(&store, acknowledged);
    commit(&store, delivery(1 << 40), vec![]).unwrap();
}

/// Delivers while the store says that it may, and removes all the time; gives the number of the last acknowledged.
fn load(store: &Store, stop: &AtomicU64, delivered: &AtomicU64, removed: &AtomicU64) {
    while stop.load(Ordering::SeqCst) == 0 {
        let mut waiting = Vec::new();
        for _ in 0..8 {
            let number = delivered.load(Ordering::SeqCst) + 1 + waiting.len() as u64;
            let (tell, told) = mpsc::channel();
            if store.health() == Health::Good {
                store.commit(delivery(number), vec![mark(number)], move |result| tell.send(result).unwrap());
                waiting.push(told);
            }
        }
        for told in waiting {
            told.recv().unwrap().unwrap();
            delivered.fetch_add(1, Ordering::SeqCst);
        }
        let mut batch = Batch::new();
        batch.delete(Family::Queue, b"x");
        commit(store, batch, Vec::new()).unwrap();
        let mut tx = store.transaction();
        tx.put(Family::Structure, b"y", vec![7; 200]);
        while let Err(Error::Full { .. }) = store.try_apply(&tx) {
            thread::sleep(Duration::from_millis(5));
        }
        removed.fetch_add(1, Ordering::SeqCst);
    }
}

/// Ends the load with the scope, however that ends.
struct Stop<'a>(&'a AtomicU64);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(1, Ordering::SeqCst);
    }
}

/// Over and over: the disk loses its last byte in a moment, at any moment; removals go on; with room again, mail.
#[test]
fn a_disk_that_fills_up_in_a_moment_is_a_passing_thing() {
    let Some(disk) = Disk::mount("700m") else { return };
    let store = Store::open(&disk.data(), settings(MIN_FREE_BYTES_MIN)).unwrap();
    let [stop, delivered, removed] = [(); 3].map(|()| AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| load(&store, &stop, &delivered, &removed));
        let _stop = Stop(&stop);
        for round in 0..6_u64 {
            let before = delivered.load(Ordering::SeqCst);
            wait_until("deliveries", || delivered.load(Ordering::SeqCst) > before + 50);
            thread::sleep(Duration::from_millis(round * 37));
            // The last round is of a disk that does not lose all.
            let begin = Instant::now();
            disk.fill(if round == 5 { 40 * MIB } else { 0 });
            let took = begin.elapsed();
            let before = removed.load(Ordering::SeqCst);
            wait_until("removals on a full disk", || removed.load(Ordering::SeqCst) > before + 20);
            wait_until("the store to say so", || store.health() == Health::Full);
            println!("round {round}: filled in {took:?}, {} MiB free then", disk.free() / MIB);
            disk.relieve();
            wait_until("service again", || store.health() == Health::Good);
            wait_until("all that is kept back", || reserve(&disk) == 4);
        }
    });
    let delivered = delivered.load(Ordering::SeqCst);
    all_there(&store, delivered);
    drop(store);
    let store = Store::open(&disk.data(), settings(MIN_FREE_BYTES_MIN)).unwrap();
    assert_eq!(store.marks(), [mark(delivered)]);
    all_there(&store, delivered);
}

fn reserve(disk: &Disk) -> usize {
    std::fs::read_dir(disk.data().join("reserve")).unwrap().count()
}

/// What was kept back is there for a start too.
#[test]
fn a_store_opens_on_a_full_disk() {
    let Some(disk) = Disk::mount("600m") else { return };
    let store = Store::open(&disk.data(), settings(MIN_FREE_BYTES_MIN)).unwrap();
    for number in 1..=300 {
        commit(&store, delivery(number), vec![mark(number)]).unwrap();
    }
    drop(store);
    disk.fill(0);
    let store = Store::open(&disk.data(), settings(MIN_FREE_BYTES_MIN)).unwrap();
    assert_eq!(store.health(), Health::Full);
    all_there(&store, 300);
    let mut batch = Batch::new();
    batch.delete(Family::Row, 1_u64.to_be_bytes());
    commit(&store, batch, Vec::new()).unwrap();
    disk.relieve();
    wait_until("service again", || store.health() == Health::Good);
    drop(store);
    assert!(Path::new(&disk.data().join("FORMAT")).exists());
}
