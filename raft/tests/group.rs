//! What a group promises while it runs and over restarts in order.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod counter;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use counter::*;
use estafette_raft::{Class, Error, GroupId, Node, NodeId, Proposal};
use estafette_storage::{BodyHash, Direction, Family, Read, prefix_range};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_are_answered_in_order_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (store, node, group) = one(folder.path(), settings(folder.path())).await;
        let answer = group.propose(command(1)).await.unwrap();
        assert_eq!(number(&answer), 1);
        assert_eq!(number(&group.propose(command(1)).await.unwrap()), 2);
        propose_all(&group, 10..500).await;
        assert!((10..500).all(|id| count(&store, 7, id) == 1));
        let status = group.status();
        assert!(status.leads && status.running && status.voters == 1, "{status:?}");
        assert_eq!(status.applied, status.last);
        assert!(status.last.unwrap() < 400, "proposals that wait together are joined: {status:?}");
        node.shutdown().await;
        let after = group.propose(command(2)).await.unwrap_err();
        assert_eq!(after.class(), Class::Passing, "{after}");
    }
    let started = Instant::now();
    let (store, node, group) = one(folder.path(), settings(folder.path())).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(count(&store, 7, 1), 2);
    assert!((10..500).all(|id| count(&store, 7, id) == 1));
    assert_eq!(number(&group.propose(command(1)).await.unwrap()), 3);
    node.shutdown().await;
}

#[tokio::test]
async fn a_group_runs_on_a_runtime_with_one_thread() {
    let folder = tempfile::tempdir().unwrap();
    let (store, node, group) = one(folder.path(), settings(folder.path())).await;
    propose_all(&group, 0..100).await;
    assert!((0..100).all(|id| count(&store, 7, id) == 1));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_stored_with_the_entry_and_held_until_it_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let (store, node, group) = one(folder.path(), settings(folder.path())).await;
    let proposals: Vec<_> = (0..20)
        .map(|id| {
            let group = group.clone();
            // Half of them have the same body.
            let text = format!("body {}", id % 10);
            tokio::spawn(async move { group.propose(with_body(id, text.as_bytes())).await.unwrap() })
        })
        .collect();
    for proposal in proposals {
        proposal.await.unwrap();
    }
    for number in 0..10 {
        let hash = BodyHash::of(&[Bytes::from(format!("body {number}"))]);
        let body = store.body(&hash).unwrap().unwrap();
        assert_eq!(body.all().unwrap().concat(), format!("body {number}").into_bytes());
        let rows: Vec<_> = store
            .scan(Family::BlobRef, prefix_range(hash.as_ref()), Direction::Forward)
            .unwrap()
            .map(|row| row.unwrap())
            .collect();
        // The length and the references of scope 7; no hold is left.
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert_eq!(estafette_storage::count::decode(&rows[1].value), Some(2));
    }
    // The log itself is slim.
    let log = store.scan(Family::RaftLog, Vec::new()..Vec::new(), Direction::Forward).unwrap();
    assert!(log.map(|row| row.unwrap()).all(|row| !row.value.windows(5).any(|window| window == b"body ")));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_do_not_meet() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let node = Node::start(store.clone(), NodeId(1), settings(folder.path())).unwrap();
    let mut groups = Vec::new();
    for number in 0..4 {
        groups.push(node.open(GroupId::shard(number), Box::new(Counter::new(number))).await.unwrap());
    }
    let again = node.open(GroupId::shard(1), Box::new(Counter::new(1))).await;
    assert!(matches!(again, Err(Error::AlreadyOpen { .. })));
    for group in &groups {
        group.ready().await.unwrap();
    }
    for (number, group) in (0_u64..).zip(&groups) {
        propose_all(group, number * 1000..number * 1000 + 100).await;
    }
    for number in 0..4_u32 {
        let rows = store.scan(Family::Row, prefix_range(&number.to_be_bytes()), Direction::Forward).unwrap();
        assert_eq!(rows.count(), 100);
        assert_eq!(count(&store, number, u64::from(number) * 1000 + 5), 1);
    }
    assert_eq!(node.groups().len(), 4);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_and_seeds_come_from_the_entry() {
    let folder = tempfile::tempdir().unwrap();
    let (store, node, group) = one(folder.path(), settings(folder.path())).await;
    propose_all(&group, 0..200).await;
    let rows = store.scan(Family::Row, prefix_range(&7_u32.to_be_bytes()), Direction::Forward).unwrap();
    let mut rows: Vec<_> = rows.map(|row| row.unwrap().value).collect();
    rows.sort_by_key(|row| (number(&row[16..]), u32::from_be_bytes(row[24..28].try_into().unwrap())));
    let times: Vec<u64> = rows.iter().map(|row| number(&row[8..])).collect();
    assert!(times.is_sorted());
    assert!(times[0] > 1_600_000_000_000);
    let seeds: std::collections::HashSet<_> = rows.iter().map(|row| row[28..44].to_vec()).collect();
    assert_eq!(seeds.len(), 200);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_command_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (store, node, group) = one(folder.path(), settings(folder.path())).await;
    assert_eq!(&group.propose(command(REFUSED)).await.unwrap()[..], b"refused");
    assert_eq!(count(&store, 7, REFUSED), 0);
    group.propose(command(5)).await.unwrap();
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_fails_or_panics_stops_its_group_alone() {
    for poison in [POISON, PANIC] {
        let folder = tempfile::tempdir().unwrap();
        let (store, node, group) = one(folder.path(), settings(folder.path())).await;
        let other = node.open(GroupId::shard(1), Box::new(Counter::new(8))).await.unwrap();
        other.ready().await.unwrap();
        group.propose(command(1)).await.unwrap();
        let error = group.propose(command(poison)).await.unwrap_err();
        assert!(error.is_fatal() && matches!(error, Error::Machine { .. }), "{error}");
        let later = group.propose(command(2)).await.unwrap_err();
        assert!(later.is_fatal(), "{later}");
        assert!(!group.status().running);
        // All that anybody was told of is here, and can still be read.
        group.fresh().await.unwrap();
        assert_eq!(count(&store, 7, poison), 0);
        other.propose(command(3)).await.unwrap();
        node.shutdown().await;
        drop((node, group, other));
        // The poison is in the log: the group does not come back, and says why.
        let node = Node::start(store.clone(), NodeId(1), settings(folder.path())).unwrap();
        let ready = match node.open(GroupId::shard(0), Box::new(Counter::new(7))).await {
            Ok(group) => group.ready().await,
            Err(error) => Err(error),
        };
        assert!(matches!(ready, Err(Error::Machine { .. })), "{ready:?}");
        assert_eq!(count(&store, 7, 1), 1);
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_taken_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.max_command_bytes = 100;
    let (store, node, group) = one(folder.path(), settings.clone()).await;
    let large = Proposal { command: Bytes::from(vec![0; 101]), bodies: Vec::new() };
    let error = group.propose(large).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { bytes: 101, limit: 100 }) && error.class() == Class::Caller);
    node.shutdown().await;
    let other = Node::start(store, NodeId(2), settings);
    assert!(matches!(other.err(), Some(Error::OtherNode { found: NodeId(1), given: NodeId(2) })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nearly_full_disk_takes_small_commands_only() {
    let folder = tempfile::tempdir().unwrap();
    let tuning = estafette_storage::Settings { min_free_bytes: u64::MAX / 4, ..Default::default() };
    let store = estafette_storage::Store::open(folder.path(), tuning).unwrap();
    let node = Node::start(store, NodeId(1), settings(folder.path())).unwrap();
    let group = node.open(GroupId::shard(0), Box::new(Counter::new(7))).await.unwrap();
    group.ready().await.unwrap();
    let error = group.propose(with_body(1, b"mail")).await.unwrap_err();
    assert!(matches!(error, Error::Full) && error.class() == Class::Passing);
    group.propose(command(2)).await.unwrap();
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_bounded_by_count_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.max_entry_commands = 3;
    settings.max_entry_bytes = 64;
    settings.queue = 4;
    let (store, node, group) = one(folder.path(), settings).await;
    let before = group.status().last.unwrap();
    propose_all(&group, 0..60).await;
    assert!((0..60).all(|id| count(&store, 7, id) == 1));
    assert!(group.status().last.unwrap() - before >= 20);
    node.shutdown().await;
}

/// While a command is applied, what comes meanwhile is appended and synced, up to the limit of entries without an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_appended_while_one_is_applied_up_to_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    (settings.company_wait_ms, settings.entries_unanswered) = (0, 3);
    let (store, node, group) = one(folder.path(), settings).await;
    let before = group.status().last.unwrap();
    let propose = |proposal| {
        let group = group.clone();
        tokio::spawn(async move { group.propose(proposal).await.unwrap() })
    };
    let slow = propose(command(SLOW));
    let mut others = Vec::new();
    for id in 0..6 {
        tokio::time::sleep(SLOW_TIME / 16).await;
        others.push(propose(command(id)));
    }
    tokio::time::sleep(SLOW_TIME / 16).await;
    let (appended, finished) = (group.status().last.unwrap() - before, slow.is_finished());
    assert_eq!((appended, finished), (3, false), "entries while the slow one is applied");
    for one in others {
        one.await.unwrap();
    }
    slow.await.unwrap();
    assert!((0..6).all(|id| count(&store, 7, id) == 1));
    // Those that had to wait went together.
    assert_eq!(group.status().last.unwrap() - before, 4);
    node.shutdown().await;
}

/// The narrowest settings: no wait, one command in an entry, one place in the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_narrowest_settings_work() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    (settings.company_wait_ms, settings.max_entry_commands, settings.queue) = (0, 1, 1);
    let (store, node, group) = one(folder.path(), settings).await;
    propose_all(&group, 0..100).await;
    assert!((0..100).all(|id| count(&store, 7, id) == 1));
    node.shutdown().await;
}

/// Callers that come again as soon as they are answered split into groups of half of them, each with syncs of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_come_again_go_together() {
    const CALLERS: u64 = 6;
    const COMMANDS: u64 = 600;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.company_wait_ms = 1_000;
    let (store, node, group) = one(folder.path(), settings).await;
    let before = group.status().last.unwrap();
    let last = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (group, last) = (group.clone(), Arc::clone(&last));
            tokio::spawn(async move {
                loop {
                    let id = last.fetch_add(1, Ordering::Relaxed);
                    if id >= COMMANDS {
                        return;
                    }
                    group.propose(command(id)).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert!((0..COMMANDS).all(|id| count(&store, 7, id) == 1));
    let entries = group.status().last.unwrap() - before;
    // Halves of them would go three by three.
    assert!(entries <= COMMANDS / 4, "{entries} entries");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_compacted_by_count_and_the_state_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.compact_entries = 40;
    settings.keep_entries = 5;
    {
        let (store, node, group) = one(folder.path(), settings.clone()).await;
        for id in 0..200 {
            group.propose(command(id)).await.unwrap();
        }
        let purged = wait_for(|| group.status().purged.filter(|purged| *purged > 100)).await;
        let log =
            store.scan(Family::RaftLog, Vec::new()..Vec::new(), Direction::Forward).unwrap().count() as u64;
        assert!(log <= group.status().last.unwrap() - purged + 1, "{log} entries left");
        node.shutdown().await;
    }
    let (store, node, group) = one(folder.path(), settings).await;
    assert!((0..200).all(|id| count(&store, 7, id) == 1));
    group.propose(command(300)).await.unwrap();
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_file_is_written_and_the_one_before_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.keep_entries = 0;
    {
        let (_store, node, group) = one(folder.path(), settings.clone()).await;
        propose_all(&group, 0..50).await;
        group.snapshot().await.unwrap();
        propose_all(&group, 50..100).await;
        group.snapshot().await.unwrap();
        let files: Vec<_> = std::fs::read_dir(folder.path().join("snapshots")).unwrap().collect();
        assert_eq!(files.len(), 1, "{files:?}");
        wait_for(|| group.status().purged).await;
        node.shutdown().await;
    }
    // With an empty log.
    let (store, node, group) = one(folder.path(), settings).await;
    assert!((0..100).all(|id| count(&store, 7, id) == 1));
    group.propose(command(300)).await.unwrap();
    node.shutdown().await;
}

async fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> T {
    for _ in 0..500 {
        if let Some(found) = what() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain");
}
