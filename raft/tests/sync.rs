//! A sync that fails: nothing is acknowledged from then on, and nothing acknowledged before is lost.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod counter;

use counter::*;
use estafette_raft::Class;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_stops_all_groups_until_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (store, node, group) = one(folder.path(), settings(folder.path())).await;
    propose_all(&group, 0..50).await;
    let scenario = fail::FailScenario::setup();
    fail::cfg("storage::sync", "return").unwrap();
    let error = group.propose(command(1000)).await.unwrap_err();
    assert_eq!(error.class(), Class::Fatal, "{error}");
    scenario.teardown();
    // The disk is well again, but that sync is not tried once more.
    let error = group.propose(command(1001)).await.unwrap_err();
    assert_eq!(error.class(), Class::Fatal, "{error}");
    assert!(!group.status().running);
    assert!((0..50).all(|id| count(&store, 7, id) == 1), "reads go on");
    node.shutdown().await;
    drop((store, node, group));
    let (store, node, group) = one(folder.path(), settings(folder.path())).await;
    assert!((0..50).all(|id| count(&store, 7, id) == 1));
    assert_eq!(count(&store, 7, 1001), 0);
    group.propose(command(1002)).await.unwrap();
    node.shutdown().await;
}
