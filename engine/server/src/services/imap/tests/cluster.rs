//! Sessions whose shard is led elsewhere: answers get lost, leaders go, and other nodes know more.

use super::*;
use crate::trouble::{Hindrance, lost, past, refused};
use std::time::Instant;

impl World {
    /// From now on, something may be in the way of the shard.
    fn hindered(&self) -> Arc<Hindrance> {
        let hindrance = Arc::new(Hindrance::default());
        let group = self.engine.shards.group(AT.shard).unwrap();
        self.engine.shards.put(AT.shard, past(group, &hindrance));
        hindrance
    }
}

fn status(name: &str) -> Ask {
    Ask::Status { name: mailbox(name), deleted_bytes: false }
}

fn append(name: &str) -> Ask {
    let body = vec![Bytes::from_static(b"Subject: x\r\n\r\nx\r\n")];
    Ask::Append { name: mailbox(name), flags: deleted(), date: None, deposit: None, body }
}

fn changes(selected: &Selected, fresh: bool) -> Ask {
    let (since, known) = (selected.highest_modseq, Arc::clone(&selected.uids));
    Ask::Changes { mailbox: selected.id, since, known, limit: 9, fresh }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_says_so_and_goes_on_reading_what_is_open() {
    let world = World::new().await;
    let mut client = world.session();
    client.append("INBOX", seen(), "x").await;
    let selected = client.select("INBOX").await;
    let hindrance = world.hindered();
    *hindrance.cut_off.lock() = true;
    let since = Instant::now();
    for ask in [
        status("INBOX"),
        Ask::Mailboxes { counts: true, deleted_bytes: false },
        Ask::Mailboxes { counts: false, deleted_bytes: false },
        Ask::Quota { of_mailbox: None },
        changes(&selected, true),
        append("nowhere"),
    ] {
        assert_eq!(client.failure(ask).await, Failure::Unavailable);
    }
    assert!(since.elapsed().as_secs() < 10, "quickly: {:?}", since.elapsed());
    let asked = *hindrance.asked.lock();
    assert!(matches!(client.ask(changes(&selected, false)).await, Answer::Changed(_)));
    assert_eq!(client.fetch(set(&[1]), Want::default(), 1000).await.0.len(), 1);
    assert_eq!(*hindrance.asked.lock(), asked, "who reads what is open asks nobody");
    // It closes the mailbox that was open (RFC 9051 §6.3.2).
    let select = Ask::Select { name: mailbox("INBOX"), read_only: true };
    assert_eq!(client.failure(select).await, Failure::Unavailable);
    *hindrance.cut_off.lock() = false;
    client.select("INBOX").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_elsewhere_is_seen_here() {
    let world = World::new().await;
    let mut client = world.session();
    let hindrance = world.hindered();
    let elsewhere = |ask: Ask| {
        let mut other = world.session();
        let done = async move {
            let answer = other.ask(ask).await;
            assert!(!matches!(answer, Answer::Failed(_)), "{answer:?}");
            Ok(())
        };
        *hindrance.news.lock() = Some(Box::pin(done));
    };
    elsewhere(append("INBOX"));
    let selected = client.select("INBOX").await;
    assert_eq!(selected.uids.len(), 1);
    elsewhere(append("INBOX"));
    let Answer::Changed(news) = client.ask(changes(&selected, true)).await else { panic!() };
    assert_eq!(news.arrived, set(&[2]));
    elsewhere(append("INBOX"));
    let Answer::Status(_, counts) = client.ask(status("INBOX")).await else { panic!() };
    assert_eq!(counts.messages, 3);
    // A mailbox of which this node has not heard yet.
    elsewhere(Ask::Create { name: mailbox("new"), special_use: Vec::new() });
    assert!(matches!(client.ask(append("new")).await, Answer::Appended { .. }));
    elsewhere(Ask::Create { name: mailbox("newer"), special_use: Vec::new() });
    let (to, uids) = (mailbox("newer"), set(&[1]));
    let copy = Ask::Copy { mailbox: selected.id, uids, to, remove: false };
    assert!(matches!(client.ask(copy).await, Answer::Copied { .. }));
    // And none that is there nowhere.
    assert_eq!(client.failure(append("newest")).await, Failure::NonExistent);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_repeated_is_done_once() {
    let world = World::new().await;
    let mut client = world.session();
    let hindrance = world.hindered();
    let bad_way = || hindrance.mishaps.lock().extend([refused(), lost(), refused(), lost()]);
    bad_way();
    let answer = client.ask(append("INBOX")).await;
    assert!(matches!(answer, Answer::Appended { uid: first, .. } if first == uid(1)), "{answer:?}");
    let selected = client.select("INBOX").await;
    assert_eq!(selected.uids.len(), 1);
    for (remove, target) in [(false, 1), (true, 2)] {
        bad_way();
        let (to, uids, mailbox) = (mailbox("Sent"), set(&[1]), selected.id);
        let answer = client.ask(Ask::Copy { mailbox, uids, to, remove }).await;
        let Answer::Copied { source, target: there, .. } = answer else { panic!("{answer:?}") };
        assert_eq!((source, there), (set(&[1]), set(&[target])));
    }
    client.select("Sent").await;
    bad_way();
    assert_eq!(client.expunge(range(1, 9)).await, range(1, 2));
    for ask in [
        Ask::Create { name: mailbox("a"), special_use: Vec::new() },
        Ask::Rename { from: mailbox("a"), to: mailbox("b") },
        Ask::Delete { name: mailbox("b") },
        Ask::Subscribe { name: mailbox("c"), subscribed: true },
    ] {
        bad_way();
        client.done(ask).await;
    }
    assert!(hindrance.mishaps.lock().is_empty());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_changes_are_put_off() {
    let world = World::new().await;
    let mut client = world.session();
    let hindrance = world.hindered();
    *hindrance.always.lock() = refused();
    let since = Instant::now();
    assert_eq!(client.failure(append("INBOX")).await, Failure::Unavailable);
    assert!(since.elapsed().as_millis() < 2_000, "{:?}", since.elapsed());
    *hindrance.always.lock() = lost();
    assert_eq!(client.failure(append("INBOX")).await, Failure::Unavailable);
    *hindrance.always.lock() = None;
    // None, and one of which nobody knew; however often it was proposed.
    assert_eq!(client.select("INBOX").await.uids.len(), 1);
    world.end().await;
}
