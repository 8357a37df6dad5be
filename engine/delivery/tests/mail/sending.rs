//! Messages out: to a relay that takes, puts off and refuses.

use crate::node::*;
use crate::relay::{Part, Relay};
use estafette_delivery::outbound::RelayTls;
use estafette_delivery::queue::ItemKey;
use estafette_storage::{Batch, Direction, Family, Read};
use estafette_types::BodyType;
use std::time::Duration;

fn text(name: &str) -> String {
    format!("Subject: {name}\r\n\r\n.dots\r\n..\r\n.\r\nText\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_sent_once_and_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(Part { offers: vec!["PIPELINING", "SIZE 1000000"], ..Part::default() }).await;
    let mut target = target(relay.address, RelayTls::None);
    target.connections_max = 3;
    let working = node.work(Some(target));
    let mut want = Vec::new();
    for number in 0..40 {
        let body = text(&format!("{number:03}"));
        assert!(all_done(&node.submit(&["x@example.net", "y@example.com"], &body).await));
        want.push(body);
    }
    node.sent().await;
    assert_eq!(relay.bodies(), want, "without the Return-Path field, and each once");
    for mail in relay.mails.lock().iter() {
        assert!(mail.from.starts_with("MAIL FROM:<a@example.org> SIZE="), "{}", mail.from);
        assert_eq!(mail.to, ["RCPT TO:<x@example.net>", "RCPT TO:<y@example.com>"]);
    }
    assert!(*relay.connections.lock() <= 6, "connections are used for several messages");
    assert!(node.inbox("a").is_empty(), "nothing to tell");
    working.stop().await;
    node.close().await;
}

/// Read from the store chunk by chunk as the relay takes it, whether it was staged or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_are_sent_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(Part { offers: vec!["PIPELINING", "SIZE 9000000"], ..Part::default() }).await;
    let working = node.work(Some(target(relay.address, RelayTls::None)));
    let large = |name: &str| format!("{}{}", text(name), ".a line and a dot\r\n".repeat(100_000));
    assert!(all_done(&node.submit(&["x@example.net"], &large("1")).await));
    assert!(all_done(&node.submit_staged("x@example.net", &large("2"), BodyType::SevenBit).await));
    node.sent().await;
    assert_eq!(relay.bodies(), [large("1"), large("2")]);
    // What is declared is looked for where the relay has not 8BITMIME.
    assert!(all_done(&node.submit_staged("x@example.net", &large("3"), BodyType::EightBitMime).await));
    node.sent().await;
    assert_eq!(relay.bodies(), [large("1"), large("2"), large("3")]);
    assert!(node.inbox("a").is_empty());
    let eight_bit = format!("{}é\r\n", large("4"));
    assert!(all_done(&node.submit_staged("x@example.net", &eight_bit, BodyType::EightBitMime).await));
    until("it was returned", || node.inbox("a").len() == 1).await;
    assert!(node.inbox("a")[0].contains("8BITMIME is needed"));
    assert_eq!(relay.bodies().len(), 3);
    working.stop().await;
    node.close().await;
}

/// A message whose text could not be looked through was returned, as if it needed 8BITMIME.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_now_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(Part::default()).await;
    let large = format!("{}{}", text("1"), "a line\r\n".repeat(100_000));
    assert!(all_done(&node.submit_staged("x@example.net", &large, BodyType::EightBitMime).await));
    // All chunks but the first are gone.
    let rows = node.store.scan(Family::Blob, Vec::new()..Vec::new(), Direction::Forward).unwrap();
    let lost: Vec<_> = rows.map(|row| row.unwrap()).filter(|row| !row.key.ends_with(&[0, 0, 0, 0])).collect();
    assert!(!lost.is_empty());
    let mut batch = Batch::new();
    lost.iter().for_each(|row| batch.delete(Family::Blob, &row.key));
    node.store.apply_batch(batch).unwrap();
    let working = node.work(Some(target(relay.address, RelayTls::None)));
    until("it was tried twice", || node.items().first().is_none_or(|item| item.attempts >= 2)).await;
    working.stop().await;
    let item = node.items().remove(0);
    let reply = item.recipients[0].last_reply.as_ref().unwrap();
    assert!(reply.starts_with("451 4.3.0 the message cannot be read"), "{reply}");
    assert!(node.inbox("a").is_empty() && relay.bodies().is_empty());
    // It goes out once it can be read again.
    let mut batch = Batch::new();
    lost.iter().for_each(|row| batch.put(Family::Blob, &row.key, &row.value));
    node.store.apply_batch(batch).unwrap();
    let working = node.work(Some(target(relay.address, RelayTls::None)));
    node.sent().await;
    assert_eq!(relay.bodies(), [large]);
    working.stop().await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_off_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let part = Part {
        mail: vec!["421 4.3.2 not now".into(), "450 4.7.1 try later".into()],
        rcpt: [("x@example.net".into(), vec!["450 4.2.1 busy".into(), "452 4.2.2 full".into()])].into(),
        message: vec!["451 4.3.0 later".into()],
        ..Part::default()
    };
    let relay = Relay::start(part).await;
    let working = node.work(Some(target(relay.address, RelayTls::None)));
    node.submit(&["x@example.net", "y@example.net"], &text("1")).await;
    node.sent().await;
    let mails = relay.mails.lock().clone();
    let mut to: Vec<_> = mails.iter().flat_map(|mail| mail.to.clone()).collect();
    to.sort();
    assert_eq!(to, ["RCPT TO:<x@example.net>", "RCPT TO:<y@example.net>"], "each once");
    assert!(mails.iter().all(|mail| mail.body == text("1")));
    working.stop().await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_relay_mail_waits_and_goes_out_when_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let working = node.work(None);
    node.submit(&["x@example.net"], &text("1")).await;
    until("it was looked at", || node.items()[0].attempts == 1).await;
    let item = node.items().remove(0);
    assert_eq!(item.next_ms, item.created_ms + 600_000, "nothing is tried until its end");
    assert!(item.recipients[0].last_reply.as_ref().unwrap().contains("no relay is configured"));
    working.stop().await;
    node.close().await;

    let node = Node::open(folder.path()).await;
    assert_eq!(node.items().len(), 1);
    let relay = Relay::start(Part::default()).await;
    let working = node.work(Some(target(relay.address, RelayTls::None)));
    node.sent().await;
    assert_eq!(relay.bodies(), [text("1")]);
    working.stop().await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_away_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(Part::default()).await;
    let address = relay.address;
    drop(relay);
    let working = node.work(Some(target(address, RelayTls::None)));
    for number in 0..10 {
        node.submit(&["x@example.net"], &text(&number.to_string())).await;
    }
    until("it was tried", || node.items().iter().any(|item| item.attempts > 2)).await;
    let reply = node.items().iter().find_map(|item| item.recipients[0].last_reply.clone()).unwrap();
    assert!(reply.starts_with("451 4.4.1 the relay cannot be reached"), "{reply}");
    let relay = Relay::start_at(address, Part::default()).await;
    node.sent().await;
    assert_eq!(relay.bodies(), (0..10).map(|number| text(&number.to_string())).collect::<Vec<_>>());
    working.stop().await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_recipients_than_a_server_takes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(Part { offers: vec!["PIPELINING"], ..Part::default() }).await;
    let working = node.work(Some(target(relay.address, RelayTls::None)));
    let addresses: Vec<String> = (0..1250).map(|number| format!("r{number:04}@example.net")).collect();
    let to: Vec<&str> = addresses.iter().map(String::as_str).collect();
    assert!(all_done(&node.submit(&to, &text("1")).await));
    node.sent().await;
    let mails = relay.mails.lock().clone();
    assert!(mails.iter().all(|mail| mail.to.len() <= 100));
    let mut reached: Vec<_> = mails.iter().flat_map(|mail| mail.to.clone()).collect();
    reached.sort();
    assert_eq!(reached, addresses.iter().map(|to| format!("RCPT TO:<{to}>")).collect::<Vec<_>>());
    working.stop().await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_look_try_and_remove() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    for number in 0..5 {
        node.submit(&["x@example.net"], &text(&number.to_string())).await;
    }
    let mut seen = Vec::new();
    let mut after: Option<ItemKey> = None;
    loop {
        let page = node.queue.list(&node.store, after, 2).unwrap();
        seen.extend(page.items.into_iter().map(|item| item.id));
        match page.next {
            Some(next) => after = Some(next.parse().unwrap()),
            None => break,
        }
    }
    let mut all: Vec<_> = node.items().into_iter().map(|item| item.id).collect();
    assert_eq!(seen, all);
    let keys: Vec<ItemKey> = all.drain(..).map(|id| id.parse().unwrap()).collect();
    assert_eq!(node.queue.item(&node.store, keys[1]).unwrap().unwrap().id, keys[1].to_string());
    assert!(node.queue.cancel(keys[0], false).await.unwrap());
    assert!(!node.queue.cancel(keys[0], false).await.unwrap() && !node.queue.retry(keys[0]).await.unwrap());
    assert!(node.queue.cancel(keys[1], true).await.unwrap());

    // Put off for long, then tried at once by hand.
    let relay = Relay::start(Part { mail: vec!["450 4.7.1 later".into(); 3], ..Part::default() }).await;
    let mut schedule = quick();
    (schedule.retry_first, schedule.retry_max) = (Duration::from_secs(500), Duration::from_secs(500));
    let working = node.work_by(Some(target(relay.address, RelayTls::None)), schedule);
    until("all were tried", || node.items().len() == 3 && node.items().iter().all(|item| item.attempts == 1))
        .await;
    assert_eq!(node.inbox("a").len(), 1, "the sender of the second was told");
    assert!(node.inbox("a")[0].contains("removed from the queue by an operator"));
    for key in &keys[2..] {
        assert!(node.queue.retry(*key).await.unwrap());
    }
    node.sent().await;
    assert_eq!(relay.bodies().len(), 3);
    working.stop().await;
    node.close().await;
}
