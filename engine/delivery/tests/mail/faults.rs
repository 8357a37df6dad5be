//! Connections that break, and a node that does: every message arrives, and none twice because of us.

use crate::node::*;
use crate::relay::{Part, Relay, Stage};
use estafette_delivery::outbound::RelayTls;
use std::time::Duration;

fn text(name: &str) -> String {
    format!("Subject: {name}\r\n\r\nText\r\nof some\r\nlines\r\n")
}

async fn broken_at(stage: Stage, pipelining: bool) {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let offers = if pipelining { vec!["PIPELINING"] } else { vec![] };
    let relay = Relay::start(Part { drops: [(stage, 2)].into(), offers, ..Part::default() }).await;
    let working = node.work(Some(target(relay.address, RelayTls::None)));
    let want: Vec<String> = (0..6).map(|number| text(&number.to_string())).collect();
    for body in &want {
        node.submit(&["x@example.net"], body).await;
    }
    node.sent().await;
    assert_eq!(relay.bodies(), want, "{stage:?}");
    assert!(node.inbox("a").is_empty());
    working.stop().await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_before_the_message() {
    for stage in [Stage::Connect, Stage::Greeting, Stage::Ehlo, Stage::Mail, Stage::Rcpt] {
        broken_at(stage, false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_break_in_the_message() {
    for stage in [Stage::Data, Stage::Body, Stage::Dot] {
        broken_at(stage, true).await;
    }
}

/// The server took a message, said so, and closed: it must not be sent again, nor the next be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_end_after_the_message() {
    broken_at(Stage::Taken, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_that_was_closed_costs_no_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(Part::default()).await;
    let mut schedule = quick();
    // A failed attempt would not be repeated within this test.
    (schedule.retry_first, schedule.retry_max) = (Duration::from_secs(500), Duration::from_secs(500));
    let working = node.work_by(Some(target(relay.address, RelayTls::None)), schedule);
    // The close may be seen at the next message only, or before.
    for (number, drop) in
        [None, Some(Stage::Mail), Some(Stage::Mail), Some(Stage::Taken), None].into_iter().enumerate()
    {
        relay.part.lock().drops = drop.into_iter().map(|stage| (stage, 1)).collect();
        node.submit(&["x@example.net"], &text(&number.to_string())).await;
        node.sent().await;
    }
    assert_eq!(relay.bodies().len(), 5);
    working.stop().await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_is_stopped_ends_what_it_sends() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(Part { slow_ms: 500, ..Part::default() }).await;
    for number in 0..4 {
        node.submit(&["x@example.net"], &text(&number.to_string())).await;
    }
    let mut target = target(relay.address, RelayTls::None);
    target.connections_max = 2;
    for _ in 0..4 {
        let working = node.work(Some(target.clone()));
        tokio::time::sleep(Duration::from_millis(200)).await;
        working.stop().await;
    }
    let working = node.work(Some(target));
    node.sent().await;
    assert_eq!(relay.bodies(), (0..4).map(|number| text(&number.to_string())).collect::<Vec<_>>());
    working.stop().await;
    node.close().await;
}

/// A crash at any moment: each message arrives, and twice at most those whose 250 was under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    let relay = Relay::start(Part { slow_ms: 20, ..Part::default() }).await;
    let mut target = target(relay.address, RelayTls::None);
    target.connections_max = 2;
    let want: Vec<String> = (0..30).map(|number| text(&format!("{number:02}"))).collect();
    for body in &want {
        node.submit(&["x@example.net"], body).await;
    }
    let mut deaths = 0;
    while !node.items().is_empty() {
        let working = node.work(Some(target.clone()));
        tokio::time::sleep(Duration::from_millis(90 + deaths * 7)).await;
        working.kill();
        deaths += 1;
        node.raft.shutdown().await;
        drop(node);
        // The aborted tasks have let go of the store when it can be opened.
        tokio::time::sleep(Duration::from_millis(100)).await;
        node = Node::open(folder.path()).await;
        node.check();
    }
    let mut bodies = relay.bodies();
    let sent = bodies.len();
    bodies.dedup();
    assert_eq!(bodies, want);
    assert!(deaths > 1 && sent <= want.len() + 2 * usize::try_from(deaths).unwrap(), "{sent} {deaths}");
    node.close().await;
}
