//! Two nodes that both believe that they lead a shard, as two senders over one store: nothing is sent twice.

use crate::node::*;
use crate::relay::{Part, Relay};
use estafette_delivery::outbound::{ClaimSettings, RelayTarget, RelayTls, Settings};
use estafette_delivery::queue::read;
use estafette_delivery::{Mishap, Patience, Reach, Shards, Trouble};
use estafette_raft::{Error, GroupId, NodeId};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn text(name: &str) -> String {
    format!("Subject: {name}\r\n\r\nText\r\n")
}

fn claims(node: u64, lease_ms: u64) -> ClaimSettings {
    ClaimSettings { node: NodeId(node), lease: Duration::from_millis(lease_ms), always: true }
}

fn plain(relay: &Relay) -> Option<RelayTarget> {
    Some(target(relay.address, RelayTls::None))
}

/// No group takes anything from the moment it is told so, as on a node that was cut off.
#[derive(Default)]
struct Cut(AtomicBool);

impl Trouble for Cut {
    fn mishap(&self) -> Option<Mishap> {
        let cut = self.0.load(Ordering::Relaxed);
        cut.then_some(Mishap::Refused(Error::NotLeader { group: GroupId::shard(1), leader: None }))
    }

    fn freshen(&self) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_send_at_once_send_each_message_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(Part { slow_ms: 30, ..Part::default() }).await;
    let want: Vec<String> = (0..60).map(|number| text(&format!("{number:02}"))).collect();
    for body in &want[..30] {
        node.submit(&["x@example.net"], body).await;
    }
    let working = [1, 2].map(|id| node.work_with(plain(&relay), quick(), claims(id, 60_000)));
    for body in &want[30..] {
        node.submit(&["x@example.net"], body).await;
    }
    node.sent().await;
    assert_eq!(relay.bodies(), want);
    for working in working {
        working.stop().await;
    }
    node.close().await;
}

/// What a dead node had claimed waits until nobody can be sending it; the rest does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_had_claimed_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(Part { slow_data_ms: vec![60_000], ..Part::default() }).await;
    node.submit(&["x@example.net"], &text("claimed")).await;
    let dying = node.work_with(plain(&relay), quick(), claims(1, 2_000));
    until("it is claimed", || node.claims() == 1).await;
    until("it is being sent", || *relay.connections.lock() == 1).await;
    dying.kill();
    node.submit(&["x@example.net"], &text("free")).await;
    let working = node.work_with(plain(&relay), quick(), claims(2, 2_000));
    until("the other is sent", || relay.bodies() == [text("free")]).await;
    node.sent().await;
    assert_eq!(relay.bodies(), [text("claimed"), text("free")]);
    working.stop().await;
    node.close().await;
}

/// A node that is cut off, or was stopped, in the middle of a message breaks it off when its claim has run out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_cut_off_does_not_end_what_another_may_send() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(Part { slow_data_ms: vec![4_000], ..Part::default() }).await;
    let cut = Arc::new(Cut::default());
    let patience = Patience { leader: Duration::from_millis(100), ..Patience::default() };
    let shards = Shards::new(patience);
    for shard in SHARDS {
        let reach = Reach::new(node.shards.group(shard).unwrap(), patience);
        shards.put(shard, reach.troubled(Arc::clone(&cut) as _));
    }
    node.submit(&["x@example.net"], &text("once")).await;
    let settings = Settings {
        hostname: "mx.example.org".into(),
        relay: plain(&relay),
        schedule: quick(),
        claims: claims(1, 1_000),
    };
    let slow = node.work_by_way_of(&shards, settings);
    until("it is claimed", || node.claims() == 1).await;
    until("it is being sent", || *relay.connections.lock() == 1).await;
    cut.0.store(true, Ordering::Relaxed);
    let other = node.work_with(plain(&relay), quick(), claims(2, 1_000));
    node.sent().await;
    assert_eq!(relay.bodies(), [text("once")]);
    // The slow server says now that the text may come: it is not sent any more.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(relay.bodies(), [text("once")]);
    assert_eq!(*relay.connections.lock(), 2);
    slow.kill();
    other.stop().await;
    node.close().await;
}

/// Who takes over from a node that was stopped in order need not wait for the end of its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_gives_back_what_it_did_not_begin() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(Part { slow_ms: 100, ..Part::default() }).await;
    let want: Vec<String> = (0..40).map(|number| text(&format!("{number:02}"))).collect();
    for body in &want {
        node.submit(&["x@example.net"], body).await;
    }
    let first = node.work_with(plain(&relay), quick(), claims(1, 600_000));
    until("they are claimed", || node.claims() >= 30).await;
    first.stop().await;
    assert_eq!(node.claims(), 0);
    let second = node.work_with(plain(&relay), quick(), claims(2, 600_000));
    node.sent().await;
    let mut sent = relay.bodies();
    sent.sort_unstable();
    assert_eq!(sent, want);
    second.stop().await;
    node.close().await;
}

/// A message that takes longer than a claim is good for is renewed meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_long_stays_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(Part { slow_data_ms: vec![4_500], ..Part::default() }).await;
    node.submit(&["x@example.net"], &text("long")).await;
    let slow = node.work_with(plain(&relay), quick(), claims(1, 3_000));
    until("it is being sent", || *relay.connections.lock() == 1).await;
    let other = node.work_with(plain(&relay), quick(), claims(2, 3_000));
    node.sent().await;
    assert_eq!((relay.bodies(), *relay.connections.lock()), (vec![text("long")], 1));
    slow.stop().await;
    other.stop().await;
    node.close().await;
}

impl Node {
    fn claims(&self) -> usize {
        let claimed = |shard| {
            let due = read::list(&self.store, shard, None, 100).unwrap();
            due.iter().filter(|(id, _)| read::claim(&self.store, shard, *id).unwrap().is_some()).count()
        };
        SHARDS.map(claimed).iter().sum()
    }
}

/// What claims cost: messages a second to a relay that answers at once, in turns without and with them. On a node of its
/// own: the entries go to one disk only. `cargo test --release -p estafette-delivery --test mail cost -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn cost_of_claims() {
    const MESSAGES: usize = 2_000;
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    for round in 0..6 {
        let relay = Relay::start(Part { offers: vec!["PIPELINING"], ..Part::default() }).await;
        for number in 0..MESSAGES {
            node.submit(&["x@example.net"], &text(&format!("{number:04}"))).await;
        }
        let entries = || SHARDS.map(|shard| node.shards.group(shard).unwrap().status().last.unwrap_or(0));
        let (before, since) = (entries().iter().sum::<u64>(), std::time::Instant::now());
        let always = round % 2 == 1;
        let working = node.work_with(plain(&relay), quick(), ClaimSettings { always, ..claims(1, 60_000) });
        node.sent().await;
        let (seconds, after) = (since.elapsed().as_secs_f64(), entries().iter().sum::<u64>());
        let rate = MESSAGES as f64 / seconds;
        println!("claims {always}: {rate:.0} messages/s, {} entries", after - before);
        assert_eq!(relay.bodies().len(), MESSAGES);
        working.stop().await;
    }
    node.close().await;
}
