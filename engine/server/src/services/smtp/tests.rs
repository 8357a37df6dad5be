//! What other nodes know of senders and recipients, and this one does not.

use super::*;
use crate::config::LoginConfig;
use crate::login::tests::World;
use crate::trouble::Hindrance;
use estafette_directory::{Actor, AliasOptions, Change, Destination, NewAlias, Origin};
use estafette_reactor::SessionId;
use estafette_smtp::server::Peer as Client;
use estafette_types::{Address, ForwardPath, LocalPart};

fn service(world: &World) -> SmtpService {
    let engine = Arc::clone(&world.engine);
    let acceptor = Acceptor::new(engine.homes());
    let config = Arc::new(ServerConfig::new(Kind::Mx, "mail.example.org"));
    let protocol = SmtpProtocol { name: "smtp", engine, acceptor, config };
    let address = "127.0.0.1:1".parse().unwrap();
    let peer = Peer { session: SessionId(1), remote: address, local: address, implicit_tls: false };
    protocol.open(peer).1
}

fn rcpt(to: &str) -> Ask {
    let path = ForwardPath::Address(Address::parse(to).unwrap());
    let envelope = Envelope::new(ReversePath::Null, Vec::new());
    let recipient = Recipient::new(path);
    Ask::Rcpt { recipient, envelope: Arc::new(envelope), peer: Arc::new(Client::default()) }
}

async fn said(service: &mut SmtpService, to: &str) -> String {
    match service.answer(rcpt(to)).await {
        Answer::Accepted => "accepted".to_owned(),
        Answer::Refused(reply) => reply.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_of_which_only_others_know_is_taken() {
    let hindrance = Arc::new(Hindrance::default());
    let world = World::hindered(LoginConfig::default(), &hindrance).await;
    let mut service = service(&world);
    assert_eq!(said(&mut service, "admin@example.org").await, "accepted");
    assert_eq!(*hindrance.asked.lock(), 0, "who is known is not asked for");
    let new = NewAlias {
        domain: world.domain,
        local: LocalPart::parse("new").unwrap(),
        destinations: vec![Destination::Address(Address::parse("admin@example.org").unwrap())],
        options: AliasOptions::default(),
    };
    let engine = Arc::clone(&world.engine);
    let elsewhere = async move {
        engine.change(Actor::System, Origin::Internal, Change::CreateAlias(new)).await.unwrap();
        Ok(())
    };
    *hindrance.news.lock() = Some(Box::pin(elsewhere));
    assert_eq!(said(&mut service, "new@example.org").await, "accepted");
    assert!(said(&mut service, "newer@example.org").await.starts_with("550 5.1.1"));
    *hindrance.cut_off.lock() = true;
    assert!(said(&mut service, "newer@example.org").await.starts_with("451 4.4.3"));
    assert_eq!(said(&mut service, "new@example.org").await, "accepted");
    world.end().await;
}
