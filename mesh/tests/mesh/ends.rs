//! Peers that are not there, go, stop, and come back.

use crate::world::{Flow, Node, cluster, soon, wired};
use estafette_mesh::{Error, Lane, Settings};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout};

#[tokio::test]
async fn a_node_that_is_not_there_is_not_asked_and_that_is_known_at_once() {
    let (authority, nodes) = cluster(1, Settings::default()).await;
    let one = &nodes[0];
    let two = Node::start(&authority, 2, Settings::default()).await;
    let address = two.address();
    one.knows(&[(&two, &address)]);
    two.mesh.shutdown().await;
    for _ in 0..100 {
        let began = Instant::now();
        let error = one.ask(&two, Lane::Entries, "echo").await.unwrap_err();
        assert!(matches!(error, Error::NotSent { .. }), "{error}");
        assert!(began.elapsed() < Duration::from_secs(1));
    }
    // The listener comes back at the same address.
    let two = Node::at(&authority, 2, Settings::default(), &address).await;
    two.knows(&[(one, &one.address())]);
    one.ask_until(&two, Lane::Entries, Result::is_ok).await;
}

#[tokio::test]
async fn a_peer_that_goes_in_the_middle_leaves_no_answer() {
    let (nodes, _wire) = wired(Settings::default()).await;
    let [one, two] = &nodes[..] else { panic!() };
    let call = tokio::spawn(one.mesh.call(two.name, Lane::Bulk, vec!["never".into()]));
    soon("the request", || two.answering.under_way.load(Ordering::SeqCst) == 1).await;
    _wire.set(Flow::Cut);
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::NoAnswer { .. }), "{error}");
    // What nobody waits for any more is no longer worked on.
    soon("the end of the work", || two.answering.under_way.load(Ordering::SeqCst) == 0).await;
    _wire.set(Flow::Open);
    one.ask_until(two, Lane::Bulk, Result::is_ok).await;
}

#[tokio::test]
async fn a_peer_that_stands_still_is_noticed() {
    let mut settings = Settings::default();
    settings.bulk.silent_max_ms = 500;
    settings.bulk.keepalive_ms = 100;
    let (nodes, wire) = wired(settings).await;
    let [one, two] = &nodes[..] else { panic!() };
    one.ask(two, Lane::Bulk, "echo").await.unwrap();
    let waits = tokio::spawn(one.mesh.call(two.name, Lane::Bulk, vec!["never".into()]));
    soon("the request", || two.answering.under_way.load(Ordering::SeqCst) == 1).await;
    wire.set(Flow::Held);
    // Much is written meanwhile: that the system takes it is no sign of life.
    let mut writes = Vec::new();
    for _ in 0..8 {
        let large = vec![0; 4 << 20].into();
        writes.push(tokio::spawn(one.mesh.call(two.name, Lane::Bulk, vec![large])));
    }
    let ended = timeout(Duration::from_secs(5), waits).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(&ended, Error::NoAnswer { why, .. } if why.contains("no sign of life")), "{ended}");
    for write in writes {
        write.await.unwrap().unwrap_err();
    }
    soon("the other side's notice", || two.answering.under_way.load(Ordering::SeqCst) == 0).await;
    wire.set(Flow::Open);
    one.ask_until(two, Lane::Bulk, Result::is_ok).await;
}

#[tokio::test]
async fn a_peer_that_works_long_is_not_taken_for_dead() {
    let mut settings = Settings::default();
    settings.urgent.silent_max_ms = 200;
    settings.urgent.keepalive_ms = 50;
    settings.urgent.call_timeout_ms = 700;
    let (nodes, _wire) = wired(settings).await;
    let error = nodes[0].ask(&nodes[1], Lane::Urgent, "never").await.unwrap_err();
    assert!(matches!(&error, Error::NoAnswer { why, .. } if &**why == "it took too long"), "{error}");
    assert!(nodes[0].mesh.peers()[0].links[0].connected_for.unwrap() > Duration::from_millis(600));
}

#[tokio::test]
async fn a_process_that_stood_still_does_not_take_others_for_dead() {
    let mut settings = Settings::default();
    settings.urgent.silent_max_ms = 200;
    settings.urgent.keepalive_ms = 50;
    let (nodes, _wire) = wired(settings).await;
    nodes[0].ask(&nodes[1], Lane::Urgent, "echo").await.unwrap();
    // The one thread of this test, and so all that runs on it.
    std::thread::sleep(Duration::from_millis(500));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(nodes[0].mesh.peers()[0].links[0].connected_for.unwrap() > Duration::from_millis(600));
    assert!(nodes[1].mesh.peers()[0].connected_here.contains(&Lane::Urgent));
}

#[tokio::test]
async fn what_never_left_is_told_from_what_may_have() {
    let mut settings = Settings::default();
    settings.bulk.silent_max_ms = 600;
    settings.bulk.keepalive_ms = 100;
    let (nodes, wire) = wired(settings).await;
    let [one, two] = &nodes[..] else { panic!() };
    one.ask(two, Lane::Bulk, "echo").await.unwrap();
    wire.set(Flow::Held);
    // The first fills what the system takes, so those behind it never leave.
    let large = tokio::spawn(one.mesh.call(two.name, Lane::Bulk, vec![vec![0; 30 << 20].into()]));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let behind = tokio::spawn(one.mesh.call(two.name, Lane::Bulk, vec!["echo".into()]));
    assert!(matches!(large.await.unwrap().unwrap_err(), Error::NoAnswer { .. }));
    assert!(matches!(behind.await.unwrap().unwrap_err(), Error::NotSent { .. }));
}

#[tokio::test]
async fn shutting_down_is_said_and_ends_all() {
    let (_, nodes) = cluster(2, Settings::default()).await;
    let [one, two] = &nodes[..] else { panic!() };
    one.ask(two, Lane::Urgent, "echo").await.unwrap();
    two.ask(one, Lane::Urgent, "echo").await.unwrap();
    let began = Instant::now();
    two.mesh.shutdown().await;
    assert!(began.elapsed() < Duration::from_millis(700), "nobody had to be waited for");
    two.mesh.shutdown().await;
    assert!(matches!(two.ask(one, Lane::Urgent, "echo").await, Err(Error::NotSent { .. })));
    let words = "the other side says: the node shuts down";
    soon("the goodbye", || one.mesh.peers()[0].links[0].last_error.is_some()).await;
    let status = one.mesh.peers();
    let error = status[0].links[0].last_error.as_deref().unwrap();
    assert!(error == words || error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_mesh_that_is_dropped_lets_go_of_its_port() {
    let (authority, mut nodes) = cluster(2, Settings::default()).await;
    nodes[0].ask(&nodes[1], Lane::Urgent, "echo").await.unwrap();
    let two = nodes.remove(1);
    let address = two.address();
    drop(two);
    soon("the port", || std::net::TcpListener::bind(&address).is_ok()).await;
    let two = Node::at(&authority, 2, Settings::default(), &address).await;
    two.knows(&[(&nodes[0], &nodes[0].address())]);
    nodes[0].ask_until(&two, Lane::Urgent, Result::is_ok).await;
}
