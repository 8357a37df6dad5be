//! Our client and our server talk to each other, over a wire that cuts as it likes.

use super::*;
use crate::Reply;
use crate::server::{Answer, Ask, Delivery, Kind, ServerConfig, Session};
use estafette_machine::{Action, Machine, Now, Tls};
use proptest::prelude::*;
use std::collections::VecDeque;

struct Pair {
    client: Client,
    server: Session,
    to_client: BytesMut,
    to_server: BytesMut,
    mails: VecDeque<Outgoing>,
    /// Bytes of a text that are at hand from the start, and that are read at a time.
    at_hand: usize,
    text: BytesMut,
    finished: Vec<Vec<Outcome>>,
    delivered: Vec<Delivery>,
    ended: bool,
}

fn now() -> Now {
    Now::default()
}

impl Pair {
    fn new(client: ClientConfig, server: ServerConfig, mails: Vec<Outgoing>) -> Pair {
        Pair {
            client: Client::new(Arc::new(client)),
            server: Session::new(Arc::new(server)),
            to_client: BytesMut::new(),
            to_server: BytesMut::new(),
            mails: mails.into(),
            at_hand: usize::MAX,
            text: BytesMut::new(),
            finished: Vec::new(),
            delivered: Vec::new(),
            ended: false,
        }
    }

    fn on_server(&mut self, act: impl FnOnce(&mut Session, &mut Vec<Action<Ask>>)) {
        let mut out = Vec::new();
        act(&mut self.server, &mut out);
        let mut queue = VecDeque::from(out);
        while let Some(action) = queue.pop_front() {
            let mut more = Vec::new();
            match action {
                Action::Send(bytes) => self.to_client.extend_from_slice(&bytes),
                Action::StartTls => self.server.secured(now(), Tls::default(), &mut more),
                Action::Ask(ask) => {
                    let answer = self.engine(ask);
                    self.server.answered(now(), answer, &mut more);
                }
                Action::Arm(_) => {}
                Action::Close => self.ended = true,
            }
            queue.extend(more);
        }
    }

    fn engine(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Rcpt { recipient, .. } if recipient.path.to_string().starts_with("no") => {
                Answer::Refused(Reply::new(550, (5, 1, 1), "unknown"))
            }
            Ask::Deliver(delivery) => {
                self.delivered.push(*delivery);
                let count = self.delivered.last().map_or(0, |delivery| delivery.envelope.recipients.len());
                Answer::Delivered(vec![Reply::accepted("x1"); count])
            }
            _ => Answer::Accepted,
        }
    }

    fn on_client(&mut self, event: Event<'_>) {
        let mut queue = VecDeque::from(self.client.step(event));
        while let Some(action) = queue.pop_front() {
            match action {
                ClientAction::Send(bytes) => {
                    self.to_server.extend_from_slice(&bytes);
                    queue.extend(self.client.step(Event::Drained));
                }
                ClientAction::Read => {
                    let next = self.text.split_to(self.at_hand.max(1).min(self.text.len())).freeze();
                    queue.extend(self.client.step(Event::Text(vec![next])));
                }
                ClientAction::Look => {
                    let mut looking = Looked::begin();
                    looking.see(&self.text);
                    queue.extend(self.client.step(Event::Looked(Some(looking.end()))));
                }
                ClientAction::StartTls => queue.extend(self.client.step(Event::Secured)),
                ClientAction::Arm(_) => {}
                ClientAction::Ready => {
                    let event = match self.mails.pop_front() {
                        None => Event::Quit,
                        Some(mail) => Event::Mail(Box::new(self.keep_back(mail))),
                    };
                    queue.extend(self.client.step(event));
                }
                ClientAction::Finished(outcomes) => self.finished.push(outcomes),
                ClientAction::Failed(failure) => panic!("{failure:?}"),
                ClientAction::Close => {}
            }
        }
    }

    /// All but the beginning of a text, which is read as it can be sent.
    fn keep_back(&mut self, mut mail: Outgoing) -> Outgoing {
        self.text = BytesMut::from(&mail.body.concat()[..]);
        let first = self.text.split_to(self.at_hand.min(self.text.len())).freeze();
        (mail.body, mail.rest) = (vec![first], self.text.len() as u64);
        mail
    }

    fn run(mut self, step: usize) -> Pair {
        self.on_client(Event::Connected);
        self.on_server(|server, out| server.opened(now(), out));
        let (mut client_has, mut server_has) = (BytesMut::new(), BytesMut::new());
        while !self.to_client.is_empty() || !self.to_server.is_empty() {
            let count = step.min(self.to_client.len());
            client_has.extend_from_slice(&self.to_client.split_to(count));
            self.on_client(Event::Received(&mut client_has));
            let count = step.min(self.to_server.len());
            server_has.extend_from_slice(&self.to_server.split_to(count));
            let mut before = usize::MAX;
            while !self.ended && server_has.len() < before {
                before = server_has.len();
                self.on_server(|server, out| server.received(now(), &mut server_has, out));
            }
        }
        self
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn mail_arrives_as_it_was_sent(
        bodies in prop::collection::vec("([.a]{0,5}\r\n){0,8}", 1..4),
        names in prop::collection::vec(prop::sample::select(vec!["b", "c", "no", "ü"]), 1..5),
        lmtp in any::<bool>(), chunked in any::<bool>(), binary in any::<bool>(), step in 1_usize..200,
        at_hand in prop::sample::select(vec![0, 1, 3, 20, usize::MAX]),
    ) {
        let to: Vec<String> = names.iter().map(|name| format!("{name}@example.com")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let mails: Vec<Outgoing> = bodies.iter().map(|body| {
            let mut mail = outgoing(&to, body);
            mail.envelope.body_type = if binary { BodyType::BinaryMime } else { BodyType::EightBitMime };
            mail
        }).collect();
        let client = ClientConfig { lmtp, prefer_chunking: chunked, ..ClientConfig::new("c.example.net") };
        let server = ServerConfig::new(if lmtp { Kind::Lmtp } else { Kind::Mx }, "mx.example.com");
        let mut pair = Pair::new(client, server, mails);
        pair.at_hand = at_hand;
        let done = pair.run(step);
        prop_assert!(done.ended);
        let want: Vec<&str> = names.iter().map(|name| if *name == "no" { "P550" } else { "D250" }).collect();
        prop_assert_eq!(done.finished.len(), bodies.len());
        for outcomes in &done.finished {
            prop_assert_eq!(brief(outcomes), want.join(" "));
        }
        let taken = if names.iter().all(|name| *name == "no") { 0 } else { bodies.len() };
        prop_assert_eq!(done.delivered.len(), taken);
        for (delivery, body) in done.delivered.iter().zip(&bodies) {
            prop_assert_eq!(delivery.body.concat(), body.as_bytes());
            prop_assert!(delivery.peer.tls.is_some());
        }
    }
}
