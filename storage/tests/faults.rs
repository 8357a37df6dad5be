//! Writes and syncs that fail, and writes that find no room, by failpoints.
#![allow(clippy::unwrap_used)]

use std::sync::mpsc;
use std::time::Duration;

use estafette_storage::{Batch, BodyHash, Error, Family, Health, Mark, Problem, Read, Settings, Store};
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
/// Failures of its own, and an empty store in a folder that goes with the test.
fn opened() -> (FailScenario<'static>, tempfile::TempDir, Store) {
    let (scenario, dir) = (FailScenario::setup(), tempfile::tempdir().unwrap());
    let store = Store::open(dir.path(), settings()).unwrap();
    (scenario, dir, store)
}

fn refuses_after(point: &str) {
    let (scenario, dir, store) = opened();
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
    let (scenario, _dir, store) = opened();
    fail::cfg("storage::write", "1*return").unwrap();
    assert!(matches!(store.apply_batch(put(b"a", b"1")), Err(Error::Failed { .. })));
    assert!(matches!(commit(&store, put(b"a", b"2"), vec![]), Err(Error::Failed { .. })));
    scenario.teardown();
}

#[test]
fn everyone_who_waited_is_told() {
    let (scenario, _dir, store) = opened();
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

/// No room is no failure: what was handed over waits, in its order, and is written when there is room.
#[test]
fn without_room_commits_wait_and_the_rest_is_told() {
    let (scenario, _dir, store) = opened();
    fail::cfg("storage::room", "return").unwrap();
    let (tell, told) = mpsc::channel();
    for number in 1..=3_u8 {
        let tell = tell.clone();
        let marks = vec![mark(u64::from(number))];
        store.commit(put(b"last", &[number]), marks, move |result| {
            tell.send((number, result.is_ok())).unwrap()
        });
    }
    assert!(told.recv_timeout(Duration::from_millis(300)).is_err(), "nothing is told");
    assert_eq!(store.health(), Health::Full);
    let mut tx = store.transaction();
    tx.put(Family::Row, b"applied", b"1");
    let error = store.try_apply(&tx).unwrap_err();
    assert!(matches!(error, Error::Full { .. }) && !error.is_fatal());
    assert!(matches!(store.apply_batch(put(b"x", b"1")), Err(Error::Full { .. })));
    assert!(store.marks().is_empty() && store.read(Family::Row, b"last").unwrap().is_none());
    fail::remove("storage::room");
    let all: Vec<_> = (0..3).map(|_| told.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
    assert_eq!(all, [(1, true), (2, true), (3, true)]);
    assert_eq!(store.health(), Health::Good);
    store.try_apply(&tx).unwrap();
    assert_eq!(store.marks(), [mark(3)]);
    assert_eq!(&*store.read(Family::Row, b"last").unwrap().unwrap(), [3]);
    assert_eq!(&*store.read(Family::Row, b"applied").unwrap().unwrap(), b"1");
    scenario.teardown();
}

/// A store that is closed does not wait on: it tells that nothing was written.
#[test]
fn a_store_that_is_closed_without_room_tells_so() {
    let (scenario, dir, store) = opened();
    commit(&store, put(b"a", b"1"), vec![mark(1)]).unwrap();
    fail::cfg("storage::room", "return").unwrap();
    let (tell, told) = mpsc::channel();
    store.commit(put(b"a", b"2"), vec![mark(2)], move |result| tell.send(result).unwrap());
    drop(store);
    assert!(matches!(told.recv().unwrap(), Err(Error::Full { .. })));
    scenario.teardown();
    let store = Store::open(dir.path(), settings()).unwrap();
    assert_eq!(store.marks(), [mark(1)]);
    assert_eq!(&*store.read(Family::Row, b"a").unwrap().unwrap(), b"1");
}

/// The references of a scope, ended by a failed sync after each number of commits: the next call makes up for it.
#[test]
fn references_made_anew_after_an_end_anywhere() {
    const SCOPE: u32 = 20;
    let hash = |number: u32| {
        let mut hash = [0x5a; 32];
        hash[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B9).to_be_bytes());
        BodyHash(hash)
    };
    let rows = |numbers: std::ops::Range<u32>| {
        let rows = numbers.flat_map(move |number| (0..=number % 2).map(move |_| (hash(number), 9)));
        rows.map(Ok).collect::<Vec<_>>()
    };
    for commits in 0..4 {
        let (scenario, dir, store) = opened();
        store.replace_references(SCOPE, rows(0..2000)).unwrap();
        fail::cfg("storage::sync", &format!("{commits}*off->1*return")).unwrap();
        let ended = store.replace_references(SCOPE, rows(1000..4500));
        assert!(matches!(ended, Err(Error::Failed { .. })), "{ended:?}");
        drop(store);
        fail::remove("storage::sync");
        let store =
            Store::open(dir.path(), Settings { collect_after: Duration::ZERO, ..settings() }).unwrap();
        store.replace_references(SCOPE, rows(1000..4500)).unwrap();
        while store.collect(10_000).unwrap().more {}
        let references = rows(1000..4500).into_iter().map(|row| row.map(|(hash, _)| (SCOPE, hash)));
        let report = store.verify(references, &mut |_| {}).unwrap();
        assert!(
            report.problems.iter().all(|problem| matches!(problem, Problem::ToFetch { .. })),
            "{report:?}"
        );
        assert_eq!((report.problem_count, report.missing), (3500, 3500));
        scenario.teardown();
    }
}

/// A power loss within a second of a truncated log found a mark that asked for what was taken back.
#[test]
fn a_mark_goes_back_before_the_entries_do() {
    let (scenario, dir, store) = opened();
    commit(&store, put(b"a", b"1"), vec![mark(5)]).unwrap();
    fail::cfg("storage::sync", "1*return").unwrap();
    commit(&store, put(b"a", b"2"), vec![mark(3)]).unwrap_err();
    drop(store);
    scenario.teardown();
    assert_eq!(Store::open(dir.path(), settings()).unwrap().marks(), [mark(3)]);
}
