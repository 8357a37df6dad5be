//! Writes and syncs that fail: by failpoints, and on a real disk that is full.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use bytes::Bytes;
use estafette_storage::{Batch, BodyHash, Error, Family, Health, Mark, Read, Settings, Store};
use fail::FailScenario;

fn settings() -> Settings {
    Settings { cache_bytes: 8 << 20, min_free_bytes: 0, ..Settings::default() }
}

fn commit(store: &Store, batch: Batch, marks: Vec<Mark>) -> Result<(), Error> {
    let (tell, told) = mpsc::channel();
    store.commit(batch, marks, move |result| tell.send(result).unwrap());
    told.recv().unwrap()
}

fn put(key: &[u8], value: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put(Family::Row, key, value);
    batch
}

fn mark(last_index: u64) -> Mark {
    Mark { group: 16, last_index, ..Mark::default() }
}

/// After `point` failed once, nothing is written any more, though the point would let it.
fn refuses_after(point: &str) {
    let scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), settings()).unwrap();
    commit(&store, put(b"a", b"1"), vec![mark(1)]).unwrap();
    fail::cfg(point, "1*return").unwrap();
    let error = commit(&store, put(b"a", b"2"), vec![mark(2)]).unwrap_err();
    assert!(
        matches!(&error, Error::Failed { .. }) && error.is_fatal() && error.to_string().contains("failpoint"),
        "{error}"
    );
    assert_eq!(store.health(), Health::Failed);
    assert!(matches!(commit(&store, put(b"a", b"3"), vec![mark(3)]), Err(Error::Failed { .. })));
    assert!(matches!(store.apply_batch(put(b"a", b"4")), Err(Error::Failed { .. })));
    let mut tx = store.transaction();
    tx.put(Family::Row, b"a", b"5");
    assert!(matches!(store.apply(tx), Err(Error::Failed { .. })));
    assert!(matches!(store.collect(1), Err(Error::Failed { .. })));
    assert!(matches!(store.flush(), Err(Error::Failed { .. })));
    assert_eq!(store.marks(), [mark(1)]);
    assert!(store.read(Family::Row, b"a").unwrap().is_some(), "reads go on");
    drop(store);
    scenario.teardown();
    let store = Store::open(dir.path(), settings()).unwrap();
    assert_eq!(store.health(), Health::Good);
    let value = store.read(Family::Row, b"a").unwrap().unwrap();
    assert!(&*value == b"1" || &*value == b"2", "nothing after the failure was written");
    assert_eq!(store.marks(), [mark(1)]);
}

#[test]
fn failed_sync() {
    refuses_after("storage::sync");
}

#[test]
fn failed_watermark() {
    refuses_after("storage::watermark");
}

#[test]
fn failed_apply() {
    let scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), settings()).unwrap();
    fail::cfg("storage::write", "1*return").unwrap();
    assert!(matches!(store.apply_batch(put(b"a", b"1")), Err(Error::Failed { .. })));
    assert!(matches!(commit(&store, put(b"a", b"2"), vec![]), Err(Error::Failed { .. })));
    scenario.teardown();
}

#[test]
fn everyone_who_waited_is_told() {
    let scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), settings()).unwrap();
    fail::cfg("storage::sync", "return").unwrap();
    let (tell, told) = mpsc::channel();
    for number in 0..100_u8 {
        let tell = tell.clone();
        store.commit(put(&[number], b""), vec![], move |result| tell.send(result.is_err()).unwrap());
    }
    drop(tell);
    let failed: Vec<bool> = told.iter().collect();
    assert_eq!(failed, [true; 100]);
    scenario.teardown();
}

/// Mounts a small file system in memory; `None` if that is not allowed here.
fn small_disk(dir: &Path, size: &str) -> Option<()> {
    let options = format!("size={size}");
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir).output().ok()?;
    done.status.success().then_some(())
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn disk_that_fills_up() {
    // Failpoints are one for the whole process: no other test may set them meanwhile.
    let _scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    if small_disk(dir.path(), "24m").is_none() {
        println!("skipped: mounting a small disk is not allowed here");
        return;
    }
    let _unmount = Unmount(dir.path());
    let body = |number: u64| vec![Bytes::from(number.to_be_bytes().repeat(12_500))];
    let store = Store::open(dir.path(), settings()).unwrap();
    let mut acknowledged = 0;
    let error = loop {
        let pieces = body(acknowledged + 1);
        let mut batch = Batch::new();
        batch.put_body(BodyHash::of(&pieces), &pieces);
        batch.hold_body(BodyHash::of(&pieces), b"log");
        match commit(&store, batch, vec![mark(acknowledged + 1)]) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(acknowledged > 10 && matches!(error, Error::Failed { .. }), "{acknowledged} {error}");
    assert_eq!(store.health(), Health::Failed);
    let all_there = |store: &Store| {
        for number in 1..=acknowledged {
            let pieces = body(number);
            let found = store.body(&BodyHash::of(&pieces)).unwrap().unwrap();
            assert_eq!(found.all().unwrap().concat(), pieces.concat());
        }
    };
    all_there(&store);
    drop(store);
    let done = Command::new("mount").args(["-o", "remount,size=96m"]).arg(dir.path()).status().unwrap();
    assert!(done.success());
    let store = Store::open(dir.path(), settings()).unwrap();
    assert_eq!(store.marks(), [mark(acknowledged)]);
    all_there(&store);
    commit(&store, put(b"a", b"again"), vec![]).unwrap();
}
