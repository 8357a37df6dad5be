//! A log whose end is cut off and written anew, and whose front goes, over starts of the node.

use std::path::Path;
use std::time::{Duration, Instant};

use estafette_storage::{Direction, Error, Family, Mark, Read, Store};
use openraft::storage::RaftLogStorage;

use super::{GROUP, all, append, body, entry, open};
use crate::codec::log_id;
use crate::counter;
use crate::types::{LogId, Vote};
use crate::{Node, NodeId};

fn id(term: u64, index: u64) -> LogId {
    log_id(term, 1, index)
}

fn terms(term: u64, indexes: std::ops::RangeInclusive<u64>) -> Vec<(u64, u64)> {
    indexes.map(|index| (term, index)).collect()
}

/// Whether the store keeps the body that an entry brought.
fn held(store: &Store, term: u64, index: u64) -> bool {
    store.body(&body(term, index).hash()).unwrap().is_some()
}

/// A store that collects at once what nothing names. The one before may be let go by a callback, a moment later.
fn store(dir: &Path) -> Store {
    let settings = estafette_storage::Settings {
        cache_bytes: 8 << 20,
        min_free_bytes: 0,
        collect_after: Duration::ZERO,
        ..Default::default()
    };
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match Store::open(dir, settings.clone()) {
            Err(Error::Locked { .. }) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            opened => return opened.unwrap(),
        }
    }
}

fn rows(store: &Store) -> usize {
    store.scan(Family::RaftLog, Vec::new()..Vec::new(), Direction::Forward).unwrap().count()
}

/// What the node checks before it starts: nothing acknowledged is missing.
fn starts(store: &Store) {
    Node::start(store.clone(), NodeId(1), counter::settings(store.dir())).unwrap();
}

fn mark(term: u64, last_index: u64) -> Mark {
    let voted_for = u64::from(term > 0);
    Mark { group: GROUP.0, term, voted_for, voted_committed: false, last_index }
}

#[tokio::test]
async fn a_conflicting_end_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path());
    let mut log = open(&first);
    log.save_vote(&Vote::new(1, 1)).await.unwrap();
    append(&mut log, (0..=9).map(|index| entry(1, index))).await;
    assert_eq!(first.marks(), [mark(1, 9)]);
    log.save_vote(&Vote::new(2, 1)).await.unwrap();
    log.truncate_after(Some(id(1, 5))).await.unwrap();
    assert_eq!(all(&mut log).await, terms(1, 0..=5));
    // Acknowledged anew: the log is shorter now, and that is no loss.
    assert_eq!(first.marks(), [mark(2, 5)]);
    append(&mut log, (6..=7).map(|index| entry(2, index))).await;
    let expected = [terms(1, 0..=5), terms(2, 6..=7)].concat();
    assert_eq!(all(&mut log).await, expected);
    drop((log, first));

    let again = store(dir.path());
    starts(&again);
    let mut log = open(&again);
    assert_eq!(all(&mut log).await, expected);
    assert_eq!((rows(&again), again.marks()), (8, vec![mark(2, 7)]));
    while again.collect(100).unwrap().more {}
    for index in 0..=5 {
        assert!(held(&again, 1, index), "{index}");
    }
    for index in 6..=9 {
        assert!(!held(&again, 1, index), "the body of {index} went with it");
    }
    assert!(held(&again, 2, 6) && held(&again, 2, 7));
    // And it goes on.
    append(&mut log, [entry(2, 8)]).await;
    assert_eq!(all(&mut log).await.last(), Some(&(2, 8)));
}

/// The node ends between the cut and the next append.
#[tokio::test]
async fn a_start_after_a_cut_finds_the_cut_log() {
    for (kept, left) in [(Some(id(1, 3)), terms(1, 0..=3)), (None, Vec::new())] {
        let dir = tempfile::tempdir().unwrap();
        let first = store(dir.path());
        let mut log = open(&first);
        append(&mut log, (0..=9).map(|index| entry(1, index))).await;
        log.truncate_after(kept).await.unwrap();
        drop((log, first));
        let again = store(dir.path());
        starts(&again);
        let mut log = open(&again);
        assert_eq!(all(&mut log).await, left);
        let next = left.len() as u64;
        append(&mut log, (next..next + 3).map(|index| entry(4, index))).await;
        assert_eq!(all(&mut log).await, [left, terms(4, next..=next + 2)].concat());
    }
}

/// Entries that were read back from disk are cut and purged like those in memory.
#[tokio::test]
async fn a_log_is_cut_and_purged_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path());
    append(&mut open(&first), (0..=19).map(|index| entry(1, index))).await;
    drop(first);

    let second = store(dir.path());
    let mut log = open(&second);
    append(&mut log, [entry(1, 20)]).await;
    log.truncate_after(Some(id(1, 14))).await.unwrap();
    log.purge(id(1, 4)).await.unwrap();
    append(&mut log, [entry(2, 15)]).await;
    let expected = [terms(1, 5..=14), terms(2, 15..=15)].concat();
    assert_eq!(all(&mut log).await, expected);
    drop((log, second));

    let third = store(dir.path());
    starts(&third);
    let mut log = open(&third);
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(id(1, 4)));
    assert_eq!(all(&mut log).await, expected);
    assert_eq!(rows(&third), expected.len());
    log.purge(id(1, 9)).await.unwrap();
    log.truncate_after(Some(id(1, 12))).await.unwrap();
    assert_eq!(all(&mut log).await, terms(1, 10..=12));
    drop((log, third));

    let fourth = store(dir.path());
    starts(&fourth);
    assert_eq!(all(&mut open(&fourth)).await, terms(1, 10..=12));
    while fourth.collect(100).unwrap().more {}
    assert!((13..=20).all(|index| !held(&fourth, 1, index)) && !held(&fourth, 2, 15));
    assert!((10..=12).all(|index| held(&fourth, 1, index)));
}

/// After a snapshot was installed: all goes, and the log begins behind the last entry of the snapshot.
#[tokio::test]
async fn a_log_purged_past_its_end_begins_there() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path());
    let mut log = open(&first);
    append(&mut log, (0..=5).map(|index| entry(1, index))).await;
    log.purge(id(3, 100)).await.unwrap();
    assert_eq!(all(&mut log).await, []);
    append(&mut log, [entry(3, 101)]).await;
    drop((log, first));
    let again = store(dir.path());
    starts(&again);
    let mut log = open(&again);
    assert_eq!(all(&mut log).await, [(3, 101)]);
    log.purge(id(3, 101)).await.unwrap();
    append(&mut log, [entry(3, 102)]).await;
    drop((log, again));
    let last = store(dir.path());
    starts(&last);
    assert_eq!(all(&mut open(&last)).await, [(3, 102)]);
}
