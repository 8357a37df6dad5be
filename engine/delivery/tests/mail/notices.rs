//! What senders hear of their messages.

use crate::node::*;
use crate::relay::{Part, Relay};
use estafette_delivery::outbound::{RelayTls, Schedule};
use estafette_types::{DsnNotify, DsnReturn};
use mail_parser::{MessageParser, MimeHeaders};
use std::time::Duration;

const BODY: &str = "Message-ID: <m@example.org>\r\nSubject: hello\r\n\r\nSecret text\r\n";

fn field(notice: &str, name: &str) -> Option<String> {
    let parsed = MessageParser::default().parse(notice.as_bytes()).unwrap();
    assert_eq!(parsed.content_type().unwrap().attribute("report-type"), Some("delivery-status"));
    let found = notice.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    found.map(str::to_owned)
}

fn refusing() -> Part {
    let rcpt = ("x@example.net".into(), vec!["550 5.1.1 no such user".into(); 9]);
    Part { rcpt: [rcpt].into(), ..Part::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_at_rcpt_comes_back_to_its_sender_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(refusing()).await;
    let working = node.work(Some(target(relay.address, RelayTls::None)));
    let mut envelope = envelope("a@example.org", &["x@example.net", "y@example.net"]);
    envelope.dsn_envelope_id = Some("ENV1".into());
    assert!(all_done(&node.accept(envelope, BODY, true).await));
    node.sent().await;
    assert_eq!(relay.mails.lock()[0].to, ["RCPT TO:<y@example.net>"]);
    let inbox = node.inbox("a");
    assert_eq!(inbox.len(), 1);
    let get = |name| field(&inbox[0], name);
    assert_eq!(get("Final-Recipient").as_deref(), Some("rfc822; x@example.net"));
    assert_eq!((get("Action").as_deref(), get("Status").as_deref()), (Some("failed"), Some("5.1.1")));
    assert_eq!(get("Diagnostic-Code").as_deref(), Some("smtp; 550 5.1.1 no such user"));
    assert_eq!(get("Remote-MTA").as_deref(), Some("dns; 127.0.0.1"));
    assert_eq!(get("Original-Envelope-Id").as_deref(), Some("ENV1"));
    assert_eq!(get("In-Reply-To").as_deref(), Some("<m@example.org>"));
    assert!(inbox[0].contains("Secret text") && !inbox[0].contains("y@example.net"));
    working.stop().await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_the_message_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay =
        Relay::start(Part { message: vec!["554 5.7.1 looks like spam".into()], ..Part::default() }).await;
    let working = node.work(Some(target(relay.address, RelayTls::None)));
    let mut envelope = envelope("a@example.org", &["x@example.net", "y@example.net"]);
    envelope.dsn_return = Some(DsnReturn::Headers);
    node.accept(envelope, BODY, true).await;
    node.sent().await;
    let inbox = node.inbox("a");
    assert_eq!((inbox.len(), relay.mails.lock().len()), (1, 0));
    assert_eq!(inbox[0].matches("Action: failed\r\nStatus: 5.7.1\r\n").count(), 2);
    assert!(inbox[0].contains("Subject: hello\r\n") && !inbox[0].contains("Secret text"));
    working.stop().await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn null_senders_and_those_who_do_not_want_it_hear_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(refusing()).await;
    let working = node.work(Some(target(relay.address, RelayTls::None)));
    node.accept(envelope("", &["x@example.net"]), BODY, true).await;
    let mut never = envelope("a@example.org", &["x@example.net"]);
    never.recipients[0].notify = Some(DsnNotify::Never);
    node.accept(never, BODY, true).await;
    let mut only_success = envelope("a@example.org", &["x@example.net"]);
    notify(&mut only_success, true, false, true);
    node.accept(only_success, BODY, true).await;
    node.sent().await;
    assert!(node.inbox("a").is_empty() && node.inbox("admin").is_empty() && relay.mails.lock().is_empty());
    working.stop().await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_then_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay =
        Relay::start(Part { mail: vec!["451 4.7.1 greylisted".into(); 1000], ..Part::default() }).await;
    let schedule = Schedule {
        lifetime: Duration::from_millis(1500),
        delay_notice: Some(Duration::from_millis(400)),
        ..quick()
    };
    let working = node.work_by(Some(target(relay.address, RelayTls::None)), schedule);
    node.submit(&["x@example.net"], BODY).await;
    until("the sender heard that it is late", || node.inbox("a").len() == 1).await;
    let late = node.inbox("a").remove(0);
    assert_eq!(
        (field(&late, "Action").as_deref(), field(&late, "Status").as_deref()),
        (Some("delayed"), Some("4.7.1"))
    );
    assert!(field(&late, "Will-Retry-Until").is_some() && !late.contains("Secret text"));
    node.sent().await;
    let inbox = node.inbox("a");
    assert_eq!(inbox.len(), 2, "one notice of each kind");
    let given_up = (field(&inbox[1], "Action"), field(&inbox[1], "Status"));
    assert_eq!(given_up, (Some("failed".into()), Some("5.4.7".into())));
    assert!(inbox[1].contains("451 4.7.1 greylisted") && inbox[1].contains("Secret text"));
    working.stop().await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_relay_senders_hear_too() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let schedule = Schedule {
        lifetime: Duration::from_millis(900),
        delay_notice: Some(Duration::from_millis(300)),
        ..quick()
    };
    let working = node.work_by(None, schedule);
    node.submit(&["x@example.net"], BODY).await;
    node.sent().await;
    let actions: Vec<_> = node.inbox("a").iter().map(|notice| field(notice, "Action").unwrap()).collect();
    assert_eq!(actions, ["delayed", "failed"]);
    working.stop().await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_forwarded_comes_back_to_its_first_sender() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let rcpt = ("out@example.net".into(), vec!["550 5.2.1 gone".into()]);
    let relay = Relay::start(Part { rcpt: [rcpt].into(), ..Part::default() }).await;
    let working = node.work(Some(target(relay.address, RelayTls::None)));
    assert!(all_done(&node.accept(envelope("z@example.com", &["both@example.org"]), BODY, false).await));
    node.sent().await;
    let mails = relay.mails.lock().clone();
    assert_eq!(mails.len(), 1, "the notice goes out too");
    assert_eq!(
        (mails[0].from.as_str(), mails[0].to[0].as_str()),
        ("MAIL FROM:<>", "RCPT TO:<z@example.com>")
    );
    assert_eq!(field(&mails[0].body, "Original-Recipient").as_deref(), Some("rfc822; both@example.org"));
    assert_eq!(field(&mails[0].body, "Final-Recipient").as_deref(), Some("rfc822; out@example.net"));
    assert!(mails[0].body.starts_with("Date: "), "Return-Path is for the last server");
    assert_eq!(node.inbox("a").len(), 1, "the mailbox of the alias has it");
    working.stop().await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_is_told_to_who_asks() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let relay = Relay::start(Part::default()).await;
    let working = node.work(Some(target(relay.address, RelayTls::None)));
    let mut asks = envelope("a@example.org", &["b@example.org", "c@example.org", "x@example.net"]);
    notify(&mut asks, true, true, false);
    asks.recipients[1].notify = None;
    assert!(all_done(&node.accept(asks.clone(), BODY, true).await));
    node.sent().await;
    assert_eq!((node.inbox("b").len(), node.inbox("c").len()), (1, 1), "the mailbox has it once");
    let inbox = node.inbox("a").concat();
    assert_eq!(inbox.matches("Final-Recipient").count(), 2);
    assert!(inbox.contains("Final-Recipient: rfc822; b@example.org\r\nAction: delivered\r\n"));
    assert!(inbox.contains("Final-Recipient: rfc822; x@example.net\r\nAction: relayed\r\n"));
    assert!(!inbox.contains("Secret text"));

    // A server that knows DSN is asked to tell, and we say nothing.
    relay.part.lock().offers = vec!["DSN"];
    working.stop().await;
    let working = node.work(Some(target(relay.address, RelayTls::None)));
    let told = node.inbox("a").len();
    let mut asks = envelope("a@example.org", &["x@example.net"]);
    notify(&mut asks, true, true, false);
    asks.recipients[0].original = Some(("rfc822".into(), "o@example.net".into()));
    (asks.dsn_return, asks.dsn_envelope_id) = (Some(DsnReturn::Headers), Some("E=1".into()));
    node.accept(asks, BODY, true).await;
    node.sent().await;
    let mail = relay.mails.lock().last().unwrap().clone();
    assert_eq!(mail.from, "MAIL FROM:<a@example.org> RET=HDRS ENVID=E+3D1");
    assert_eq!(mail.to, ["RCPT TO:<x@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o@example.net"]);
    assert_eq!(node.inbox("a").len(), told);
    working.stop().await;
    node.close().await;
}

/// The notice was delivered, but that was not written down: the same one is made again, and adds nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_comes_once_over_crashes() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::open(folder.path()).await;
    let relay = Relay::start(Part {
        rcpt: (0..12).map(|n| (format!("x{n}@example.net"), vec!["550 5.1.1 no".to_owned(); 99])).collect(),
        ..Part::default()
    })
    .await;
    for number in 0..12 {
        node.submit(&[&format!("x{number}@example.net")], BODY).await;
    }
    let mut deaths = 0;
    while !node.items().is_empty() {
        let working = node.work(Some(target(relay.address, RelayTls::None)));
        tokio::time::sleep(Duration::from_millis(10 + deaths * 3)).await;
        working.kill();
        node.raft.shutdown().await;
        drop(node);
        tokio::time::sleep(Duration::from_millis(100)).await;
        node = Node::open(folder.path()).await;
        deaths += 1;
    }
    let mut told: Vec<_> =
        node.inbox("a").iter().map(|notice| field(notice, "Final-Recipient").unwrap()).collect();
    told.sort();
    let mut want: Vec<_> = (0..12).map(|number| format!("rfc822; x{number}@example.net")).collect();
    want.sort();
    assert_eq!(told, want, "{deaths} deaths");
    node.close().await;
}
