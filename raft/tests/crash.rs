//! What is left after a process is killed, a log is cut, or a folder is lost in part.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod counter;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use counter::*;
use estafette_raft::{Class, Error, GroupId, Node, NodeId};
use estafette_storage::{Batch, Family, Read};

const FOLDER: &str = "ESTAFETTE_CRASH_FOLDER";
const FIRST: &str = "ESTAFETTE_CRASH_FIRST";
const CALLERS: u64 = 16;

/// Not a test of its own: the process that [`a_killed_process_loses_nothing`] kills. Says each identifier before it
/// proposes it, and again after it was acknowledged.
#[test]
#[ignore = "runs only as a child"]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let folder = Path::new(&folder);
    let mut settings = settings(folder);
    settings.compact_entries = 50;
    settings.keep_entries = 3;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (_store, _node, group) = one(folder, settings).await;
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let group = group.clone();
                tokio::spawn(async move {
                    for round in 0.. {
                        let id = first + round * CALLERS + caller;
                        let body = format!("body of {id}");
                        group.propose(with_body(id, body.as_bytes())).await.unwrap();
                        println!("acknowledged {id}");
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
    });
}

#[test]
fn a_killed_process_loses_nothing() {
    let rounds: u64 = std::env::var("ESTAFETTE_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<u64> = Vec::new();
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(FIRST, (round * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || -> Vec<u64> {
            lines
                .map_while(Result::ok)
                .filter_map(|line| line.rsplit_once("acknowledged ")?.1.parse().ok())
                .collect()
        });
        std::thread::sleep(Duration::from_millis(150 + round * 97 % 400));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(reader.join().unwrap());
        check(folder.path(), &acknowledged);
    }
    assert!(acknowledged.len() > 50, "only {} were acknowledged", acknowledged.len());
}

/// Every acknowledged identifier is there exactly once, and with its body; no other is there more than once.
fn check(folder: &Path, acknowledged: &[u64]) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (store, node, group) = one(folder, settings(folder)).await;
        for id in acknowledged {
            assert_eq!(count(&store, 7, *id), 1, "identifier {id}");
            let hash = with_body(*id, format!("body of {id}").as_bytes()).bodies[0].hash();
            let body = store.body(&hash).unwrap().unwrap_or_else(|| panic!("body of {id} is missing"));
            body.verify().unwrap();
        }
        let range = estafette_storage::prefix_range(&7_u32.to_be_bytes());
        for row in store.scan(Family::Row, range, estafette_storage::Direction::Forward).unwrap() {
            assert_eq!(number(&row.unwrap().value), 1);
        }
        // All holds of applied entries are gone.
        for row in store.scan(Family::BlobRef, vec![]..vec![], estafette_storage::Direction::Forward).unwrap()
        {
            let row = row.unwrap();
            assert!(
                row.key.get(32..36) != Some(&[0xff; 4]) || row.key.len() == 36,
                "a hold is left: {row:?}"
            );
        }
        assert!(group.status().leads);
        node.shutdown().await;
    });
}

/// The tasks are dropped where they stand, as when a runtime is torn down.
#[test]
fn dropped_without_shutdown_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5_u64 {
        let ids = round * 100..round * 100 + 100;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let acknowledged = runtime.block_on(async {
            let (_store, _node, group) = one(folder.path(), settings(folder.path())).await;
            propose_all(&group, ids.clone()).await;
            // These are under way when the end comes.
            for id in 10_000..10_050 {
                let group = group.clone();
                tokio::spawn(async move { group.propose(command(id + round * 100)).await });
            }
            ids
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        unlocked(folder.path());
        check_counts(folder.path(), 0..acknowledged.end);
    }
}

/// Waits until the last write that was under way has let go of the store.
fn unlocked(folder: &Path) {
    for _ in 0..500 {
        match estafette_storage::Store::open(folder, estafette_storage::Settings::default()) {
            Err(estafette_storage::Error::Locked { .. }) => std::thread::sleep(Duration::from_millis(10)),
            other => return drop(other.unwrap()),
        }
    }
    panic!("the store stays locked");
}

fn check_counts(folder: &Path, ids: std::ops::Range<u64>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (store, node, _group) = one(folder, settings(folder)).await;
        ids.for_each(|id| assert_eq!(count(&store, 7, id), 1, "identifier {id}"));
        node.shutdown().await;
    });
}

/// Rows that were applied but not synced may be lost: the log makes them again, from the record that was lost with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_rows_are_applied_again() {
    let folder = tempfile::tempdir().unwrap();
    let before: BTreeMap<Vec<u8>, Vec<u8>>;
    let applied_key = [0, 0, 0, 16, 3];
    {
        let (store, node, group) = one(folder.path(), settings(folder.path())).await;
        propose_all(&group, 0..20).await;
        let early = store.read(Family::RaftMeta, &applied_key).unwrap().unwrap().to_vec();
        let rows = rows(&store);
        for id in 20..60 {
            group.propose(command(id % 30 + 100)).await.unwrap();
        }
        before = self::rows(&store);
        node.shutdown().await;
        // As if the writes since had been lost.
        let mut batch = Batch::new();
        before.keys().filter(|key| !rows.contains_key(*key)).for_each(|key| batch.delete(Family::Row, key));
        batch.put(Family::RaftMeta, applied_key, early);
        store.apply_batch(batch).unwrap();
    }
    let (store, node, _group) = one(folder.path(), settings(folder.path())).await;
    assert_eq!(rows(&store), before);
    node.shutdown().await;
}

fn rows(store: &estafette_storage::Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let range = estafette_storage::prefix_range(&7_u32.to_be_bytes());
    let rows = store.scan(Family::Row, range, estafette_storage::Direction::Forward).unwrap();
    rows.map(|row| row.unwrap()).map(|row| (row.key.to_vec(), row.value.to_vec())).collect()
}

/// The same log on two stores: the same state, to the bit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_log_makes_the_same_state() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, node, group) = one(first.path(), settings(first.path())).await;
    propose_all(&group, 0..300).await;
    propose_all(&group, 200..400).await;
    group.propose(command(REFUSED)).await.unwrap();
    let one_sum = group.checksum().await.unwrap();
    // The status is told a moment after the rows are there.
    let told = async {
        while group.status().applied != one_sum.index {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), told).await.unwrap();
    assert_eq!(one_sum.rows, 400);
    node.shutdown().await;
    {
        let copy = counter::store(second.path());
        let mut batch = Batch::new();
        for family in [Family::RaftLog, Family::RaftMeta] {
            for row in store.scan(family, vec![]..vec![], estafette_storage::Direction::Forward).unwrap() {
                let row = row.unwrap();
                if row.key[..] != [0, 0, 0, 16, 3] {
                    batch.put(family, &row.key, &row.value);
                }
            }
        }
        copy.apply_batch(batch).unwrap();
    }
    let (other_store, other_node, other) = one(second.path(), settings(second.path())).await;
    assert_eq!(rows(&store), rows(&other_store));
    let sum = other.checksum().await.unwrap();
    assert_eq!((sum.rows, sum.hash), (one_sum.rows, one_sum.hash));
    other.propose(command(5000)).await.unwrap();
    assert_ne!(other.checksum().await.unwrap().hash, sum.hash);
    other_node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_behind_its_mark_is_refused_and_says_what_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let group = GroupId::shard(0);
    let (store, node, opened) = one(folder.path(), settings(folder.path())).await;
    for id in 0..10 {
        opened.propose(command(id)).await.unwrap();
    }
    let last = opened.status().last.unwrap();
    node.shutdown().await;
    // The last entry goes.
    let mut batch = Batch::new();
    batch.delete(Family::RaftLog, [&16_u32.to_be_bytes()[..], &last.to_be_bytes()].concat());
    store.apply_batch(batch).unwrap();
    let Err(error) = Node::start(store.clone(), NodeId(1), settings(folder.path())) else {
        panic!("started")
    };
    assert!(
        matches!(error, Error::LogBehind { group: g, found, acknowledged } if g == group && found == last - 1 && acknowledged == last),
        "{error}"
    );
    assert_eq!(error.class(), Class::Fatal);
    let text = error.to_string();
    assert!(
        text.contains("shard-0") && text.contains("1 entries are lost") && text.contains("copy"),
        "{text}"
    );
    // The operator has no copy.
    drop((node, opened));
    let mut settings = settings(folder.path());
    settings.accept_loss = true;
    let node = Node::start(store.clone(), NodeId(1), settings).unwrap();
    let opened = node.open(group, Box::new(Counter::new(7))).await.unwrap();
    opened.ready().await.unwrap();
    opened.propose(command(77)).await.unwrap();
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_behind_its_mark_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (store, node, opened) = one(folder.path(), settings(folder.path())).await;
    opened.propose(command(1)).await.unwrap();
    let term = opened.status().term;
    node.shutdown().await;
    let mut batch = Batch::new();
    batch.delete(Family::RaftMeta, [0, 0, 0, 16, 1]);
    store.apply_batch(batch).unwrap();
    let Err(error) = Node::start(store.clone(), NodeId(1), settings(folder.path())) else {
        panic!("started")
    };
    assert!(
        matches!(error, Error::VoteBehind { found_term: 0, acknowledged_term, .. } if acknowledged_term == term)
    );
    drop((node, opened));
    let mut settings = settings(folder.path());
    settings.accept_loss = true;
    let node = Node::start(store, NodeId(1), settings).unwrap();
    let opened = node.open(GroupId::shard(0), Box::new(Counter::new(7))).await.unwrap();
    opened.ready().await.unwrap();
    assert!(opened.status().term > term, "no term is used twice");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_in_the_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (store, node, opened) = one(folder.path(), settings(folder.path())).await;
    propose_all(&opened, 0..5).await;
    node.shutdown().await;
    let mut batch = Batch::new();
    batch.delete(Family::RaftLog, [&16_u32.to_be_bytes()[..], &0_u64.to_be_bytes()].concat());
    store.apply_batch(batch).unwrap();
    let error = Node::start(store, NodeId(1), settings(folder.path())).err().unwrap();
    assert!(matches!(error, Error::Hole { index: 0, .. }), "{error}");
}
