//! Calls and their answers, few and many, small and large.

use crate::world::{Node, Wire, cluster, soon};
use bytes::Bytes;
use estafette_mesh::{Error, Lane, NodeName, Settings};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

#[tokio::test]
async fn every_node_asks_every_other_on_every_lane() {
    let (_, nodes) = cluster(3, Settings::default()).await;
    for asking in &nodes {
        for asked in nodes.iter().filter(|node| node.name != asking.name) {
            for lane in Lane::ALL {
                let answer = asking.ask(asked, lane, "who..").await.unwrap();
                assert_eq!(answer, format!("{} on {lane:?}", asking.name));
                assert_eq!(asking.ask(asked, lane, "").await.unwrap(), "");
            }
        }
    }
    let peers = nodes[0].mesh.peers();
    assert_eq!(peers.iter().map(|peer| peer.node.0).collect::<Vec<_>>(), [2, 3]);
    for peer in &peers {
        assert_eq!(peer.connected_here, Lane::ALL);
        assert!(peer.links.iter().all(|link| link.connected_for.is_some() && link.last_error.is_none()));
    }
    soon("a sign of life", || {
        let peers = nodes[0].mesh.peers();
        peers.iter().flat_map(|peer| &peer.links).all(|link| link.round_trip.is_some())
    })
    .await;
}

#[tokio::test]
async fn nobody_asks_itself_or_a_stranger() {
    let (_, nodes) = cluster(2, Settings::default()).await;
    for to in [1, 9] {
        let error = nodes[0].mesh.call(NodeName(to), Lane::Urgent, Vec::new()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("node {to} was not asked: it is not among the peers of this node")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_and_a_large_transfer_all_come_back() {
    let (_, nodes) = cluster(2, Settings::default()).await;
    let [one, two] = &nodes[..] else { panic!() };
    let mut calls = JoinSet::new();
    for part in 0..64u8 {
        let large = Bytes::from(vec![part; 1 << 20]);
        let call = one.mesh.call(two.name, Lane::Bulk, vec![large.clone()]);
        calls.spawn(async move { assert_eq!(call.await.unwrap(), large) });
    }
    for number in 0..10_000u32 {
        let lane = if number % 2 == 0 { Lane::Urgent } else { Lane::Entries };
        let call = one.mesh.call(two.name, lane, vec![number.to_string().into(), "!".into()]);
        calls.spawn(async move { assert_eq!(call.await.unwrap(), format!("{number}!")) });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    assert_eq!(two.answering.served.load(Ordering::SeqCst), 10_064);
    let peers = one.mesh.peers();
    assert!(peers[0].links.iter().all(|link| link.under_way == 0), "{peers:?}");
}

fn narrow() -> Settings {
    let mut settings = Settings::default();
    settings.entries.requests_max = 4;
    settings.entries.under_way_max_bytes = 1000;
    settings.entries.frame_max_bytes = 2 << 20;
    settings.entries.call_timeout_ms = 300;
    settings
}

#[tokio::test]
async fn who_has_too_much_under_way_waits_and_is_told_in_time() {
    let (_, nodes) = cluster(2, narrow()).await;
    let [one, two] = &nodes[..] else { panic!() };
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        calls.spawn(one.mesh.call(two.name, Lane::Entries, vec!["never".into()]));
    }
    let (mut unsent, mut unanswered) = (0, 0);
    while let Some(done) = calls.join_next().await {
        match done.unwrap().unwrap_err() {
            Error::NotSent { why, .. } if &*why == "too much is under way to it" => unsent += 1,
            Error::NoAnswer { why, .. } if &*why == "it took too long" => unanswered += 1,
            other => panic!("{other}"),
        }
    }
    // Some may find room in the last moment, which those before them left.
    assert!(unanswered >= 4 && unanswered + unsent == 10, "{unanswered} {unsent}");
    assert_eq!(two.answering.most.load(Ordering::SeqCst), 4);
    assert!(two.answering.served.load(Ordering::SeqCst) <= unanswered, "what was not sent was not served");
    // All room is free again, on both sides.
    soon("the end of the work", || two.answering.under_way.load(Ordering::SeqCst) == 0).await;
    assert_eq!(one.ask(two, Lane::Entries, "echo").await.unwrap(), "echo");
}

#[tokio::test]
async fn a_call_that_is_dropped_is_withdrawn_at_the_other_side() {
    let (_, nodes) = cluster(2, narrow()).await;
    let [one, two] = &nodes[..] else { panic!() };
    let under_way = || two.answering.under_way.load(Ordering::SeqCst);
    for _ in 0..20 {
        let call = one.mesh.call(two.name, Lane::Entries, vec!["never".into()]);
        assert!(timeout(Duration::from_millis(20), call).await.is_err());
    }
    soon("the end of the work", || under_way() == 0).await;
    assert_eq!(one.ask(two, Lane::Entries, "echo").await.unwrap(), "echo");
    assert_eq!(one.mesh.peers()[0].links[1].under_way, 0);
}

#[tokio::test]
async fn a_frame_may_be_larger_than_what_is_under_way_but_not_than_its_limit() {
    let (_, nodes) = cluster(2, narrow()).await;
    let [one, two] = &nodes[..] else { panic!() };
    let body = Bytes::from(vec![1; 2 << 20]);
    let answer = one.mesh.call(two.name, Lane::Entries, vec![body.clone()]).await;
    assert_eq!(answer.unwrap(), body);
    let error = one.mesh.call(two.name, Lane::Entries, vec![body, "x".into()]).await.unwrap_err();
    assert_eq!(error, Error::TooLarge { bytes: (2 << 20) + 1, limit: 2 << 20 });
}

#[tokio::test]
async fn an_answer_that_cannot_be_is_told_in_words() {
    let mut settings = narrow();
    // To panic takes long, with its trace.
    settings.entries.call_timeout_ms = 10_000;
    let (_, nodes) = cluster(2, settings).await;
    let [one, two] = &nodes[..] else { panic!() };
    for (text, words) in [("large", "larger than a frame may be"), ("panic", "failed while it answered")] {
        let error = one.ask(two, Lane::Entries, text).await.unwrap_err();
        assert!(matches!(&error, Error::NoAnswer { why, .. } if why.contains(words)), "{error}");
    }
    assert_eq!(one.ask(two, Lane::Entries, "echo").await.unwrap(), "echo");
}

#[tokio::test]
async fn both_sides_keep_to_the_lower_limit() {
    let (authority, mut nodes) = cluster(1, Settings::default()).await;
    let one = nodes.remove(0);
    let two = Node::start(&authority, 2, narrow()).await;
    let wire = Wire::to(two.address()).await;
    one.knows(&[(&two, &wire.address)]);
    two.knows(&[(&one, &one.address())]);
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        calls.spawn(one.mesh.call(two.name, Lane::Entries, vec!["never".into()]));
    }
    soon("four requests", || two.answering.under_way.load(Ordering::SeqCst) == 4).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(two.answering.under_way.load(Ordering::SeqCst), 4);
    assert_eq!(one.mesh.peers()[0].links[1].under_way, 4);
}
