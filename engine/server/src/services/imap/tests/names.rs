//! Names of mailboxes and counts.

use super::*;
use estafette_imap::codec::flag::SpecialUse;
use estafette_imap::session::ask::{Counts, MailboxInfo, Quota};

impl Client {
    async fn list(&mut self) -> Vec<MailboxInfo> {
        match self.ask(Ask::Mailboxes { counts: true, deleted_bytes: true }).await {
            Answer::Mailboxes(list) => list,
            other => panic!("{other:?}"),
        }
    }

    async fn status(&mut self, name: &str) -> Counts {
        match self.ask(Ask::Status { name: mailbox(name), deleted_bytes: true }).await {
            Answer::Status(_, counts) => counts,
            other => panic!("{other:?}"),
        }
    }
}

fn create(name: &str) -> Ask {
    Ask::Create { name: mailbox(name), special_use: Vec::new() }
}

fn delete(name: &str) -> Ask {
    Ask::Delete { name: mailbox(name) }
}

fn rename(from: &str, to: &str) -> Ask {
    Ask::Rename { from: mailbox(from), to: mailbox(to) }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_listed_with_what_stands_behind_them() {
    let world = World::new().await;
    let mut client = world.session();
    for name in ["Entwürfe/日本語", "a b/.. &~"] {
        client.done(create(name)).await;
    }
    client.done(delete("a b")).await;
    client.done(Ask::Subscribe { name: mailbox("no/such"), subscribed: true }).await;
    let list = client.list().await;
    let told = |name: &str| list.iter().find(|info| info.name.as_str() == name).unwrap();
    let names: Vec<&str> = list.iter().map(|info| info.name.as_str()).collect();
    let expected = [
        "Drafts",
        "Entwürfe",
        "Entwürfe/日本語",
        "INBOX",
        "Junk",
        "Sent",
        "Trash",
        "a b",
        "a b/.. &~",
        "no/such",
    ];
    assert_eq!(names, expected);
    assert!(told("a b").no_select && told("a b").id.is_some() && told("a b").counts.is_none());
    assert!(told("no/such").subscribed && told("no/such").id.is_none());
    assert_eq!(told("Junk").special_use, [SpecialUse::Junk]);
    assert!(told("INBOX").counts.is_some());
    client.done(Ask::Subscribe { name: mailbox("no/such"), subscribed: false }).await;
    assert_eq!(client.list().await.len(), expected.len() - 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_its_reason() {
    let world = World::new().await;
    let mut client = world.session();
    client.done(create("a/b")).await;
    let junk = Ask::Create { name: mailbox("Spam"), special_use: vec![SpecialUse::Junk] };
    let all = Ask::Create { name: mailbox("Everything"), special_use: vec![SpecialUse::All] };
    let nowhere = Ask::Append {
        name: mailbox("nowhere"),
        flags: seen(),
        date: None,
        deposit: None,
        body: vec![Bytes::from_static(b"x")],
    };
    let cases = [
        (create("a/b"), Failure::AlreadyExists),
        (create("a//b"), Failure::Cannot),
        (create("#news"), Failure::Cannot),
        (create(&"x".repeat(300)), Failure::Cannot),
        (delete("INBOX"), Failure::Cannot),
        (delete("nowhere"), Failure::NonExistent),
        (delete("a//b"), Failure::NonExistent),
        (rename("nowhere", "b"), Failure::NonExistent),
        (rename("a", "a/b"), Failure::AlreadyExists),
        (rename("a", "a/c"), Failure::Cannot),
        (rename("a", "b//c"), Failure::Cannot),
        (junk, Failure::UseAttribute),
        (all, Failure::UseAttribute),
        (Ask::Status { name: mailbox("nowhere"), deleted_bytes: false }, Failure::NonExistent),
        (Ask::Select { name: mailbox("nowhere"), read_only: true }, Failure::NonExistent),
        (Ask::Quota { of_mailbox: Some(mailbox("nowhere")) }, Failure::NonExistent),
        (nowhere, Failure::NonExistent),
    ];
    for (ask, failure) in cases {
        let asked = format!("{ask:?}");
        assert_eq!(client.failure(ask).await, failure, "{asked}");
    }
    client.done(delete("a")).await;
    assert_eq!(client.failure(delete("a")).await, Failure::HasChildren);
    assert_eq!(
        client.failure(Ask::Select { name: mailbox("a"), read_only: true }).await,
        Failure::NonExistent
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_tell_sizes_of_deleted_messages() {
    let world = World::new().await;
    let mut client = world.session();
    client.append("INBOX", seen(), "12345").await;
    client.append("INBOX", deleted(), "1234567").await;
    let counts = client.status("INBOX").await;
    assert_eq!((counts.messages, counts.unseen, counts.deleted), (2, 1, 1));
    assert_eq!((counts.size_bytes, counts.deleted_bytes), (12, 7));
    client.select("INBOX").await;
    client.store(set(&[1]), StoreAction::Add, deleted()).await;
    assert_eq!(client.status("INBOX").await.deleted_bytes, 12);
    let Answer::Quota(quota) = client.ask(Ask::Quota { of_mailbox: None }).await else { panic!() };
    assert_eq!(quota, Quota { used_bytes: 12, used_messages: 2, limit_bytes: None, limit_messages: None });
    world.end().await;
}
