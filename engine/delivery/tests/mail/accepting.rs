//! Messages in: to mailboxes of several shards, and to addresses elsewhere.

use crate::node::*;
use estafette_delivery::queue::ItemId;
use estafette_delivery::{Outcome, Problem};
use estafette_directory::{Change, QuotaChoice};
use estafette_raft::GroupId;
use estafette_types::ForwardPath;

const BODY: &str = "Subject: x\r\n\r\nText\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recipients_of_all_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let to = [
        "a@example.org",
        "b@example.org",
        "nobody@example.org",
        "x@example.com",
        "both@example.org",
        "A@EXAMPLE.org",
    ];
    let outcomes = node.submit(&to, BODY).await;
    for (place, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Outcome::Done => assert_ne!(place, 2),
            Outcome::Failed(problem) => assert!(place == 2 && matches!(problem, Problem::Unknown)),
        }
    }
    assert_eq!((node.inbox("a").len(), node.inbox("b").len(), node.inbox("c").len()), (1, 1, 0));
    let items = node.items();
    assert_eq!(items.len(), 1);
    assert_eq!(
        (items[0].sender.as_str(), items[0].submitter),
        ("a@example.org", Some(node.account("a").0.0))
    );
    assert!(items[0].id.starts_with("1-"), "its submitter's shard has it");
    let addresses: Vec<_> = items[0].recipients.iter().map(|recipient| recipient.address.as_str()).collect();
    assert_eq!(addresses, ["x@example.com", "out@example.net"]);
    assert!(items[0].recipients.iter().all(|recipient| recipient.state == "waiting"));
    serde_json::to_string(&items).unwrap();

    // From elsewhere, mail for elsewhere is not taken; an alias may lead there.
    let outcomes =
        node.accept(envelope("z@example.com", &["x@example.com", "both@example.org"]), BODY, false).await;
    assert!(matches!(&outcomes[..], [Outcome::Failed(Problem::NotLocal), Outcome::Done]));
    assert_eq!((node.inbox("a").len(), node.items().len()), (2, 2));
    let counters = node.queue.count(&node.store).unwrap();
    assert_eq!((counters.items, counters.recipients), (2, 3));
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_message_is_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let incoming = || {
        node.incoming(
            envelope("a@example.org", &["b@example.org", "c@example.org", "x@example.com"]),
            BODY,
            true,
        )
    };
    for _ in 0..3 {
        assert!(all_done(&node.acceptor.accept_as(ItemId([1; 16]), incoming()).await));
    }
    // Another way to the same mailbox makes no second one of it.
    let mut other = incoming();
    other.envelope.recipients.remove(0);
    other.envelope.recipients.reverse();
    assert!(all_done(&node.acceptor.accept_as(ItemId([1; 16]), other).await));
    assert_eq!((node.inbox("b").len(), node.inbox("c").len(), node.items().len()), (1, 1, 1));
    assert!(all_done(&node.acceptor.accept_as(ItemId([2; 16]), incoming()).await));
    assert_eq!((node.inbox("b").len(), node.inbox("c").len(), node.items().len()), (2, 2, 2));
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_quota_is_told_to_a_sole_recipient() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let account = node.account("b").0;
    let change =
        estafette_directory::AccountChange { quota: Some(QuotaChoice::Bytes(60)), ..Default::default() };
    node.change(Change::ChangeAccount { account, change }).await;
    assert!(all_done(&node.submit(&["b@example.org"], BODY).await));
    let full = node.submit(&["b@example.org"], BODY).await;
    assert!(matches!(&full[..], [Outcome::Failed(Problem::OverQuota)]), "{full:?}");
    // With others, it is held at RCPT only; over LMTP here too.
    assert!(all_done(&node.submit(&["b@example.org", "c@example.org"], BODY).await));
    let mut incoming = node.incoming(envelope("", &["b@example.org", "c@example.org"]), BODY, false);
    incoming.strict_quota = true;
    let outcomes = node.acceptor.accept(incoming).await;
    assert!(matches!(&outcomes[..], [Outcome::Failed(Problem::OverQuota), Outcome::Done]), "{outcomes:?}");
    node.close().await;
}

/// DESIGN 3.5: what a shard cannot take now goes to the queue of another, and from there once into the mailbox.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_fails_gets_its_part_later() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let good = node.shards.group(SHARDS[1]).unwrap();
    // A group that was shut down, in the place of shard 2.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = raft(&store(elsewhere.path()), elsewhere.path(), 1);
    let bad = open_shard(&other, SHARDS[1], &node.wakeup).await;
    other.shutdown().await;
    assert_eq!(bad.id(), GroupId::shard(2));

    // Before it failed, it had taken this one, but nobody could know.
    let to = ["a@example.org", "b@example.org"];
    let incoming = |to: &[&str]| node.incoming(envelope("z@example.com", to), BODY, false);
    assert!(all_done(&node.acceptor.accept_as(ItemId([1; 16]), incoming(&["b@example.org"])).await));
    node.shards.insert(SHARDS[1], bad);
    assert!(all_done(&node.acceptor.accept_as(ItemId([1; 16]), incoming(&to)).await));
    assert!(all_done(&node.acceptor.accept_as(ItemId([2; 16]), incoming(&to)).await));
    let items = node.items();
    assert_eq!((items.len(), node.inbox("a").len(), node.inbox("b").len()), (2, 2, 1));
    assert!(items.iter().all(|item| item.id.starts_with("1-") && item.recipients.len() == 1));
    assert!(items.iter().all(|item| item.recipients[0].account == Some(node.account("b").0.0)));

    let working = node.work(None);
    until("it was tried", || node.items().iter().all(|item| item.attempts > 1)).await;
    assert_eq!(
        node.items()[0].recipients[0].last_reply.as_deref(),
        Some("451 4.3.0 the mailbox cannot be reached now")
    );
    node.shards.insert(SHARDS[1], good);
    node.sent().await;
    assert_eq!((node.inbox("a").len(), node.inbox("b").len()), (2, 2));
    assert!(node.inbox("a").iter().chain(&node.inbox("b")).all(|text| text.ends_with(BODY)));
    working.stop().await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_when_no_shard_can() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    node.raft.shutdown().await;
    let outcomes = node.submit(&["a@example.org", "b@example.org", "x@example.com"], BODY).await;
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Outcome::Failed(problem) if problem.is_passing()))
    );
    node.check();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_postmaster_without_a_domain_is_reached_through_the_queue_too() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let mut incoming = node.incoming(envelope("", &["a@example.org"]), BODY, false);
    incoming.envelope.recipients[0].path = ForwardPath::Postmaster;
    assert!(all_done(&node.acceptor.accept(incoming).await));
    assert_eq!(node.inbox("admin").len(), 1);
    node.close().await;
}
