//! Rows through the store, views, transactions and the committer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use proptest::prelude::*;

use super::{commit, mark, open, settings};
use crate::{
    Batch, Direction, Error, FORMAT, Family, Health, Mark, Read, Settings, Store, Transaction, count,
};

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn all(read: &dyn Read, family: Family, range: Range<Vec<u8>>, direction: Direction) -> Rows {
    let scan = read.scan(family, range, direction).unwrap();
    scan.map(Result::unwrap).map(|row| (row.key.to_vec(), row.value.to_vec())).collect()
}

#[test]
fn view_does_not_move() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut batch = Batch::new();
    batch.put(Family::Row, b"a", b"1");
    store.apply_batch(batch.clone()).unwrap();
    let view = store.view();
    batch.put(Family::Row, b"a", b"2");
    batch.put(Family::Row, b"b", b"2");
    store.apply_batch(batch).unwrap();
    assert_eq!(&*view.read(Family::Row, b"a").unwrap().unwrap(), b"1");
    let keys = [b"b".to_vec(), b"a".to_vec()];
    let many = |read: &dyn Read| {
        read.read_many(Family::Row, &keys)
            .unwrap()
            .iter()
            .map(|v| v.as_deref().map(<[u8]>::to_vec))
            .collect::<Vec<_>>()
    };
    assert_eq!(many(&view), [None, Some(b"1".to_vec())]);
    assert_eq!(many(&store), [Some(b"2".to_vec()), Some(b"2".to_vec())]);
    assert_eq!(all(&view, Family::Row, vec![]..vec![], Direction::Backward).len(), 1);
    // A view and a pinned value outlive the store's last handle.
    let pinned = store.read(Family::Row, b"b").unwrap().unwrap();
    drop(store);
    let elsewhere = std::thread::spawn(move || {
        (view.read(Family::Row, b"a").unwrap().unwrap().into_bytes(), pinned.into_bytes())
    });
    assert_eq!(elsewhere.join().unwrap(), ("1".into(), "2".into()));
}

#[test]
fn pinned_values_of_files_survive_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut batch = Batch::new();
    for i in 0..1000_u32 {
        batch.put(Family::Row, i.to_be_bytes(), [7; 100]);
    }
    store.apply_batch(batch).unwrap();
    store.flush().unwrap();
    let pinned = store.read(Family::Row, &5_u32.to_be_bytes()).unwrap().unwrap().into_bytes();
    let mut batch = Batch::new();
    batch.delete_range(Family::Row, vec![]..vec![]);
    store.apply_batch(batch).unwrap();
    store.flush().unwrap();
    let db = store.database();
    db.db().compact_range_cf(db.handle(Family::Row), None::<&[u8]>, None::<&[u8]>);
    assert!(all(&store, Family::Row, vec![]..vec![], Direction::Forward).is_empty());
    assert_eq!(pinned, [7_u8; 100].as_slice());
}

#[test]
fn commits_keep_their_order_and_are_joined() {
    const COMMITS: u64 = 500;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let told = Arc::new(AtomicU64::new(0));
    let (finish, finished) = mpsc::channel();
    for number in 1..=COMMITS {
        let mut batch = Batch::new();
        batch.put(Family::RaftLog, b"last", number.to_be_bytes());
        batch.merge_add(Family::Traffic, b"sum", 1);
        let (told, finish) = (Arc::clone(&told), finish.clone());
        store.commit(batch, vec![mark(number)], move |result| {
            result.unwrap();
            assert_eq!(told.fetch_add(1, Ordering::SeqCst) + 1, number);
            if number == COMMITS {
                finish.send(()).unwrap();
            }
        });
    }
    finished.recv().unwrap();
    assert_eq!(&*store.read(Family::RaftLog, b"last").unwrap().unwrap(), COMMITS.to_be_bytes());
    let sum = store.read(Family::Traffic, b"sum").unwrap().unwrap();
    assert_eq!(count::decode(&sum), Some(500));
    assert_eq!(store.marks(), [mark(COMMITS)]);
    let number = store.read_commit();
    assert!(number < COMMITS, "{number} syncs for {COMMITS} commits");
}

#[test]
fn closing_waits_for_what_was_handed_over() {
    let dir = tempfile::tempdir().unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let store = open(dir.path());
    for number in 0..100_u64 {
        let mut batch = Batch::new();
        batch.put(Family::Row, number.to_be_bytes(), b"");
        let told = Arc::clone(&told);
        store.commit(batch, Vec::new(), move |result| {
            result.unwrap();
            told.fetch_add(1, Ordering::SeqCst);
        });
    }
    drop(store);
    assert_eq!(told.load(Ordering::SeqCst), 100);
    assert_eq!(all(&open(dir.path()), Family::Row, vec![]..vec![], Direction::Forward).len(), 100);
}

#[test]
fn a_callback_may_hold_the_last_handle_or_panic() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.commit(Batch::new(), Vec::new(), |_| panic!("planted"));
    commit(&store, Batch::new(), Vec::new()).unwrap();
    let (tell, told) = mpsc::channel();
    let last = store.clone();
    store.commit(Batch::new(), Vec::new(), move |_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        drop(last);
        tell.send(()).unwrap();
    });
    drop(store);
    told.recv().unwrap();
}

#[test]
fn marks_are_joined_by_group_and_survive() {
    let dir = tempfile::tempdir().unwrap();
    let other = Mark { group: 1, last_index: 70, ..Mark::default() };
    {
        let store = open(dir.path());
        assert!(store.marks().is_empty() && store.behind().is_none());
        commit(&store, Batch::new(), vec![mark(5), other]).unwrap();
        commit(&store, Batch::new(), vec![mark(4)]).unwrap();
    }
    assert_eq!(open(dir.path()).marks(), [other, mark(4)]);
}

/// A process that ended while it made the database, before all families were there.
#[test]
fn a_folder_that_was_half_made_is_made_whole() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    for known in [vec!["default"], vec!["default", "blob", "row"]] {
        std::fs::remove_dir_all(dir.path().join("db")).unwrap();
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        drop(rocksdb::DB::open_cf(&options, dir.path().join("db"), &known).unwrap());
        let store = open(dir.path());
        store.transaction().read(Family::Queue, b"x").unwrap();
    }
    let store = open(dir.path());
    commit(&store, Batch::new(), vec![mark(1)]).unwrap();
}

#[test]
fn newer_format_and_second_opener_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = Store::open(dir.path(), settings()).unwrap_err();
    assert!(
        matches!(&error, Error::Locked { .. }) && error.to_string().contains("another process"),
        "{error}"
    );
    drop(store);
    std::fs::write(dir.path().join("FORMAT"), format!("{}\n", FORMAT + 1)).unwrap();
    assert!(
        matches!(Store::open(dir.path(), settings()), Err(Error::NewerFormat { found, known, .. }) if found == known + 1)
    );
    std::fs::write(dir.path().join("FORMAT"), "what").unwrap();
    assert!(matches!(Store::open(dir.path(), settings()), Err(Error::Damaged { .. })));
}

/// The store says so, and leaves it to others what they still bring.
#[test]
fn a_nearly_full_disk_is_told_and_takes_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Settings { min_free_bytes: u64::MAX, ..settings() }).unwrap();
    assert_eq!(store.health(), Health::Full);
    let pieces = [bytes::Bytes::from_static(b"mail")];
    let mut batch = Batch::new();
    batch.put_body(crate::BodyHash::of(&pieces), &pieces);
    batch.delete(Family::Row, b"x");
    commit(&store, batch, vec![mark(9)]).unwrap();
    assert_eq!(store.marks(), [mark(9)]);
    store.apply(store.transaction()).unwrap();
    store.collect(1).unwrap();
}

#[test]
fn what_is_not_a_counter_is_told_at_apply() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut tx = store.transaction();
    tx.put(Family::Row, b"a", b"text");
    let before = tx.savepoint();
    tx.merge_add(Family::Row, b"a", 1);
    tx.rollback_to(before);
    tx.merge_add(Family::Row, b"b", 1);
    store.apply(tx).unwrap();
    let mut tx = store.transaction();
    tx.put(Family::Row, b"a", b"other");
    tx.merge_add(Family::Row, b"a", 1);
    assert!(store.apply(tx).is_err());
    assert_eq!(&*store.read(Family::Row, b"a").unwrap().unwrap(), b"text");
    assert_eq!(store.health(), Health::Good);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    DeleteRange(u8, u8),
    DeleteFrom(u8),
    Add(u8, i8),
    Save,
    Rollback,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..24_u8;
    prop_oneof![
        4 => (key.clone(), any::<u8>()).prop_map(|(k, v)| Step::Put(k, v)),
        2 => key.clone().prop_map(Step::Delete),
        1 => (key.clone(), key.clone()).prop_map(|(a, b)| Step::DeleteRange(a, b)),
        1 => (20..24_u8).prop_map(Step::DeleteFrom),
        3 => (key, any::<i8>()).prop_map(|(k, d)| Step::Add(k, d)),
        1 => Just(Step::Save),
        1 => Just(Step::Rollback),
    ]
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn take(model: &mut Model, tx: &mut Transaction, step: &Step) {
    match *step {
        Step::Put(key, value) => {
            let value = count::encode(i64::from(value));
            tx.put(Family::Row, [key], value);
            model.insert(vec![key], value.to_vec());
        }
        Step::Delete(key) => {
            tx.delete(Family::Row, [key]);
            model.remove(&vec![key]);
        }
        Step::DeleteRange(from, to) => {
            tx.delete_range(Family::Row, vec![from]..vec![to]);
            model.retain(|key, _| !(key[0] >= from && key[0] < to));
        }
        Step::DeleteFrom(from) => {
            tx.delete_range(Family::Row, vec![from]..vec![]);
            model.retain(|key, _| key[0] < from);
        }
        Step::Add(key, delta) => {
            tx.merge_add(Family::Row, [key], i64::from(delta));
            let before = model.get(&vec![key]).map_or(0, |value| count::decode(value).unwrap());
            model.insert(vec![key], count::encode(before + i64::from(delta)).to_vec());
        }
        Step::Save | Step::Rollback => {}
    }
}

/// What reads say, in every way, must be what the model says. A counter that is zero because nothing was
/// ever there may be missing from the store.
fn same(read: &dyn Read, model: &Model) {
    let expected: Rows = model.clone().into_iter().collect();
    assert_eq!(all(read, Family::Row, vec![]..vec![], Direction::Forward), expected);
    let reversed: Rows = expected.iter().rev().cloned().collect();
    assert_eq!(all(read, Family::Row, vec![]..vec![], Direction::Backward), reversed);
    for (from, to) in [(3_u8, 9_u8), (9, 3), (5, 5), (0, 23)] {
        let within: Rows =
            expected.iter().filter(|(key, _)| key[0] >= from && key[0] < to).cloned().collect();
        assert_eq!(all(read, Family::Row, vec![from]..vec![to], Direction::Forward), within);
        let reversed: Rows = within.into_iter().rev().collect();
        assert_eq!(all(read, Family::Row, vec![from]..vec![to], Direction::Backward), reversed);
    }
    let keys: Vec<Vec<u8>> = (0..24).map(|key| vec![key]).collect();
    let many = read.read_many(Family::Row, &keys).unwrap();
    for (key, found) in keys.iter().zip(many) {
        assert_eq!(found.as_deref(), model.get(key).map(Vec::as_slice));
        assert_eq!(read.read(Family::Row, key).unwrap().as_deref(), model.get(key).map(Vec::as_slice));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn transaction_reads_what_will_be_written(transactions in proptest::collection::vec(proptest::collection::vec(step(), 0..24), 1..5), flush in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let mut model = Model::new();
        for steps in transactions {
            let mut tx = store.transaction();
            let mut saved = (tx.savepoint(), model.clone());
            for step in &steps {
                take(&mut model, &mut tx, step);
                match step {
                    Step::Save => saved = (tx.savepoint(), model.clone()),
                    Step::Rollback => {
                        tx.rollback_to(saved.0);
                        model = saved.1.clone();
                    }
                    _ => {}
                }
            }
            same(&tx, &model);
            store.apply(tx).unwrap();
            same(&store, &model);
            if flush {
                store.flush().unwrap();
            }
        }
        same(&store.view(), &model);
    }
}

/// Rows that were written again and again made every listing pass over all their versions.
#[test]
fn versions_of_rows_written_over_leave_memory() {
    const LOOKS_MAX: u32 = 500;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let in_memory = || store.database().number(Family::Row, "rocksdb.num-entries-active-mem-table");
    let write = |rewrites: bool| {
        let mut transaction = store.transaction();
        for key in 0..64u8 {
            transaction.put(Family::Row, [key], [7]);
            if rewrites {
                transaction.rewrites_row();
            }
        }
        store.apply(transaction).unwrap();
    };
    // What is new is left in memory, however much it is.
    (0..128).for_each(|_| write(false));
    commit(&store, Batch::new(), Vec::new()).unwrap();
    assert_eq!(in_memory(), 128 * 64);

    (0..128).for_each(|_| write(true));
    for _ in 0..LOOKS_MAX {
        commit(&store, Batch::new(), Vec::new()).unwrap();
        if in_memory() == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(in_memory(), 0);
    assert_eq!(all(&store, Family::Row, Vec::new()..Vec::new(), Direction::Forward).len(), 64);
}
