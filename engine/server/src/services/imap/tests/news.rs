//! What a session hears of what others do.

use super::*;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const A_WHILE: Duration = Duration::from_millis(150);

impl Client {
    async fn hears(&mut self, within: Duration) -> bool {
        tokio::time::timeout(within, self.0.changed()).await.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_woken_and_oneself_not() {
    let world = World::new().await;
    let (mut client, mut other) = (world.session(), world.session());
    assert!(!client.hears(A_WHILE).await);
    client.append("INBOX", Flags::default(), "x").await;
    client.select("INBOX").await;
    other.select("INBOX").await;
    client.store(set(&[1]), StoreAction::Add, seen()).await;
    assert!(other.hears(SOON).await);
    assert!(!client.hears(A_WHILE).await);
    // Another mailbox is watched from the next SELECT on.
    other.select("Sent").await;
    client.store(set(&[1]), StoreAction::Remove, seen()).await;
    assert!(!other.hears(A_WHILE).await);
    client.append("Sent", Flags::default(), "x").await;
    assert!(other.hears(SOON).await);
    assert_eq!(world.engine.watchers.count(), 2);
    drop((client, other));
    assert_eq!(world.engine.watchers.count(), 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn news_tell_flags_arrivals_and_what_is_gone() {
    let world = World::new().await;
    let (mut client, mut other) = (world.session(), world.session());
    for _ in 0..4 {
        client.append("INBOX", Flags::default(), "x").await;
    }
    let selected = client.select("INBOX").await;
    let (known, since) = (&*selected.uids, selected.highest_modseq);
    let nothing = client.changes(since, known, 100).await;
    assert_eq!((nothing.changed.len(), nothing.through, nothing.more), (0, since, false));
    other.select("INBOX").await;
    other.store(set(&[1, 2]), StoreAction::Add, seen()).await;
    other.store(set(&[3]), StoreAction::Add, deleted()).await;
    other.expunge(range(1, 9)).await;
    other.append("INBOX", seen(), "y").await;
    let news = client.changes(since, known, 100).await;
    let changed: Vec<u32> = news.changed.iter().map(|one| one.uid.value()).collect();
    assert_eq!(changed, [1, 2]);
    assert_eq!((news.vanished, news.arrived, news.more), (set(&[3]), set(&[5]), false));
    assert_eq!(news.through, other.select("INBOX").await.highest_modseq);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_news_come_in_whole_moments() {
    let world = World::new().await;
    world.fill(1).await;
    let (mut client, mut other) = (world.session(), world.session());
    let selected = client.select("INBOX").await;
    other.select("INBOX").await;
    other.store(range(11, 20), StoreAction::Add, seen()).await;
    other.store(range(1, 4), StoreAction::Add, seen()).await;
    other.store(range(5, 6), StoreAction::Add, deleted()).await;
    other.expunge(set(&[6])).await;
    let (mut since, mut told) = (selected.highest_modseq, Vec::new());
    loop {
        let news = client.changes(since, &selected.uids, 7).await;
        told.push(news.changed.iter().map(|one| one.uid.value()).collect::<Vec<_>>());
        assert_eq!(news.vanished, set(&[6]));
        since = news.through;
        if !news.more {
            break;
        }
    }
    assert_eq!(told, [(11..=20).collect::<Vec<_>>(), vec![1, 2, 3, 4, 5]]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_news_are_told_is_told_last() {
    let world = World::new().await;
    world.fill(1).await;
    let (mut client, mut other) = (world.session(), world.session());
    let selected = client.select("INBOX").await;
    other.select("INBOX").await;
    for moment in [range(11, 14), range(1, 4)] {
        other.store(moment, StoreAction::Add, seen()).await;
    }
    let mut since = selected.highest_modseq;
    for expected in [vec![11, 12, 13, 14], vec![1, 3, 4, 2]] {
        let news = client.changes(since, &selected.uids, 4).await;
        assert_eq!(news.changed.iter().map(|one| one.uid.value()).collect::<Vec<_>>(), expected);
        assert_eq!(news.more, since == selected.highest_modseq);
        assert!(news.arrived.is_empty() || !news.more);
        if since == selected.highest_modseq {
            other.store(set(&[2]), StoreAction::Add, deleted()).await;
            other.append("INBOX", seen(), "new").await;
        }
        since = news.through;
    }
    assert_eq!(client.changes(since, &range(1, 2048), 4).await.through, since);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_mailbox_is_told() {
    let world = World::new().await;
    let (mut client, mut other) = (world.session(), world.session());
    other.done(Ask::Create { name: mailbox("short"), special_use: Vec::new() }).await;
    let selected = client.select("short").await;
    other.done(Ask::Rename { from: mailbox("short"), to: mailbox("shorter") }).await;
    assert!(!client.hears(A_WHILE).await);
    other.done(Ask::Delete { name: mailbox("shorter") }).await;
    assert!(client.hears(SOON).await);
    let (since, known) = (selected.highest_modseq, Arc::clone(&selected.uids));
    let changes = |mailbox| Ask::Changes { mailbox, since, known: Arc::clone(&known), limit: 9, fresh: true };
    assert_eq!(client.failure(changes(selected.id)).await, Failure::MailboxGone);
    let fetch = Ask::Fetch { mailbox: selected.id, uids: set(&[1]), want: Want::default(), budget_bytes: 1 };
    assert_eq!(client.failure(fetch).await, Failure::MailboxGone);

    // RENAME of INBOX moves its messages; those who have it open see them go.
    other.append("INBOX", seen(), "one").await;
    let inbox = client.select("INBOX").await;
    other.done(Ask::Rename { from: mailbox("INBOX"), to: mailbox("old") }).await;
    assert!(client.hears(SOON).await);
    let news = client.changes(inbox.highest_modseq, &inbox.uids, 9).await;
    assert_eq!((news.vanished, news.arrived), (set(&[1]), UidSet::new()));
    assert_eq!(client.select("INBOX").await.id, inbox.id);
    assert_eq!(client.select("old").await.uids.len(), 1);
    world.end().await;
}
