//! TLS and logins at the relay.

use crate::node::*;
use crate::relay::{Part, Relay};
use estafette_delivery::Error;
use estafette_delivery::outbound::{RelayTls, Sender, Settings};
use rustls_pki_types::PrivateKeyDer;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

const BODY: &str = "Subject: x\r\n\r\nText\r\n";

/// A server's side for 127.0.0.1, and the file of the authority that it is checked by.
fn tls(folder: &Path, name: &str) -> (TlsAcceptor, PathBuf) {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, certified.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_ways_of_tls() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let (acceptor, authority) = tls(folder.path(), "ca.pem");
    for (way, implicit, checked) in [
        (RelayTls::StartTls, false, false),
        (RelayTls::StartTls, false, true),
        (RelayTls::Required, false, true),
        (RelayTls::Implicit, true, true),
        (RelayTls::Implicit, true, false),
    ] {
        let relay = Relay::start(Part { tls: Some(acceptor.clone()), implicit, ..Part::default() }).await;
        let mut target = target(relay.address, way);
        target.authorities = checked.then(|| authority.clone());
        let working = node.work(Some(target));
        node.submit(&["x@example.net"], BODY).await;
        node.submit(&["x@example.net"], BODY).await;
        node.sent().await;
        assert!(relay.mails.lock().iter().all(|mail| mail.tls), "{way:?}");
        assert_eq!(relay.bodies(), [BODY, BODY]);
        working.stop().await;
    }
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_certificate_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let (acceptor, _) = tls(folder.path(), "ca.pem");
    let (_, other) = tls(folder.path(), "other.pem");
    for (way, tls, implicit) in [
        (RelayTls::Required, Some(acceptor.clone()), false),
        (RelayTls::Required, None, false),
        (RelayTls::Implicit, Some(acceptor.clone()), true),
    ] {
        let relay = Relay::start(Part { tls, implicit, ..Part::default() }).await;
        let mut target = target(relay.address, way);
        target.authorities = Some(other.clone());
        let working = node.work(Some(target));
        node.submit(&["x@example.net"], BODY).await;
        until("it was tried", || node.items()[0].attempts > 1).await;
        let reply = node.items()[0].recipients[0].last_reply.clone().unwrap();
        assert!(reply.starts_with("454 4.7."), "{reply}");
        assert!(relay.mails.lock().is_empty(), "{way:?}");
        working.stop().await;
        node.queue.cancel(node.items()[0].id.parse().unwrap(), false).await.unwrap();
    }
    // Where TLS is only better than nothing, any certificate is taken, and plain when nothing else works.
    for broken_tls in [false, true] {
        let relay = Relay::start(Part { tls: Some(acceptor.clone()), broken_tls, ..Part::default() }).await;
        let mut target = target(relay.address, RelayTls::StartTls);
        target.authorities = Some(other.clone());
        let working = node.work(Some(target));
        node.submit(&["x@example.net"], BODY).await;
        node.sent().await;
        assert_eq!(relay.mails.lock()[0].tls, !broken_tls);
        working.stop().await;
    }
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let (acceptor, _) = tls(folder.path(), "ca.pem");
    let login = Some(("us".to_owned(), "pass word".to_owned()));
    let relay = Relay::start(Part { tls: Some(acceptor), login, ..Part::default() }).await;
    let mut target = target(relay.address, RelayTls::Required);
    let as_us = |password: &str| Some(("us".to_owned(), password.to_owned()));
    target.login = as_us("wrong");
    let working = node.work(Some(target.clone()));
    node.submit(&["x@example.net"], BODY).await;
    until("it was tried", || node.items()[0].attempts > 1).await;
    // A refused login says nothing about the message: it waits.
    assert_eq!(node.items()[0].recipients[0].last_reply.as_deref(), Some("535 5.7.8 no"));
    working.stop().await;
    target.login = as_us("pass word");
    let working = node.work(Some(target));
    node.sent().await;
    assert!(relay.mails.lock()[0].login);
    working.stop().await;
    node.close().await;
}

#[tokio::test]
async fn settings_that_cannot_be_are_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path()).await;
    let start = |change: &dyn Fn(&mut estafette_delivery::outbound::RelayTarget)| {
        let mut relay = target("127.0.0.1:1".parse().unwrap(), RelayTls::Required);
        change(&mut relay);
        let settings = Settings {
            hostname: "h".into(),
            relay: Some(relay),
            schedule: quick(),
            claims: Default::default(),
        };
        let sender =
            Sender::new(node.store.clone(), node.acceptor.clone(), Arc::clone(&node.wakeup), settings);
        sender.err().map(|error| (error.to_string(), error))
    };
    assert!(start(&|_| {}).is_none());
    let (text, error) = start(&|relay| relay.host = "not a host".into()).unwrap();
    assert!(matches!(error, Error::RelayHost(_)) && text.contains("not a host"), "{text}");
    let file = folder.path().join("empty.pem");
    std::fs::write(&file, "nothing").unwrap();
    for path in [file, folder.path().join("missing.pem")] {
        let (text, error) = start(&|relay| relay.authorities = Some(path.clone())).unwrap();
        assert!(matches!(error, Error::Authorities { .. }) && text.contains(".pem"), "{text}");
        assert!(error.is_fatal());
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    node.close().await;
}
