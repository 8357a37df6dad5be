//! The client against scripts, and against our own server session.

mod pair;
mod scripts;
mod second_opinion;
mod unreadable;

use super::*;
use bytes::{Bytes, BytesMut};
use estafette_types::{Address, BodyType, Envelope, ForwardPath, Recipient, ReversePath};
use std::sync::Arc;

/// What a client did.
pub(super) struct Scripted {
    pub(super) client: Client,
    pub(super) said: String,
    pub(super) finished: Vec<Vec<Outcome>>,
    pub(super) failed: Option<Failure>,
    pub(super) closed: bool,
    pub(super) mails: Vec<Outgoing>,
    input: BytesMut,
}

impl Scripted {
    pub(super) fn new(config: ClientConfig, mut mails: Vec<Outgoing>) -> Scripted {
        mails.reverse();
        let client = Client::new(Arc::new(config));
        let mut scripted = Scripted {
            client,
            said: String::new(),
            finished: Vec::new(),
            failed: None,
            closed: false,
            mails,
            input: BytesMut::new(),
        };
        scripted.step(Event::Connected);
        scripted
    }

    pub(super) fn step(&mut self, event: Event<'_>) {
        assert!(!self.closed, "a step after the close");
        let mut actions: std::collections::VecDeque<_> = self.client.step(event).into();
        while let Some(action) = actions.pop_front() {
            assert!(!self.closed, "{action:?} after the close");
            match action {
                ClientAction::Send(bytes) => self.said.push_str(std::str::from_utf8(&bytes).unwrap()),
                ClientAction::StartTls => {
                    self.said.push_str("[TLS]\r\n");
                    actions.extend(self.client.step(Event::Secured));
                }
                ClientAction::Arm(_) => {}
                ClientAction::Read | ClientAction::Look => panic!("the whole text is at hand"),
                ClientAction::Ready => {
                    let event = self.mails.pop().map_or(Event::Quit, |mail| Event::Mail(Box::new(mail)));
                    actions.extend(self.client.step(event));
                }
                ClientAction::Finished(outcomes) => self.finished.push(outcomes),
                ClientAction::Failed(failure) => assert!(self.failed.replace(failure).is_none()),
                ClientAction::Close => self.closed = true,
            }
        }
    }

    pub(super) fn feed(&mut self, text: &str, step: usize) {
        for piece in text.as_bytes().chunks(step) {
            self.input.extend_from_slice(piece);
            let mut input = std::mem::take(&mut self.input);
            self.step(Event::Received(&mut input));
            self.input = input;
        }
    }
}

/// Plays a transcript: what stands after `S:` is said to the client, which must say what stands after
/// `C:`. Replies come whole and byte by byte.
pub(super) fn play(config: &ClientConfig, mails: &[Outgoing], transcript: &str) -> Scripted {
    let run = |step| {
        let mut scripted = Scripted::new(config.clone(), mails.to_vec());
        let mut want = String::new();
        for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("S:", text) => {
                    assert_eq!(scripted.said, want, "before {line}");
                    scripted.feed(&format!("{text}\r\n"), step);
                }
                ("C:", text) => want.push_str(&format!("{text}\r\n")),
                _ => panic!("neither C: nor S: {line}"),
            }
        }
        assert_eq!(scripted.said, want);
        scripted
    };
    run(1);
    run(4096)
}

pub(super) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(super) fn outgoing(to: &[&str], body: &str) -> Outgoing {
    let recipients = to.iter().map(|to| Recipient::new(ForwardPath::Address(address(to)))).collect();
    let envelope = Envelope::new(ReversePath::Address(address("a@example.org")), recipients);
    Outgoing::new(envelope, vec![Bytes::copy_from_slice(body.as_bytes())])
}

/// One letter and the code for each outcome: `D250 T452 P550`.
pub(super) fn brief(outcomes: &[Outcome]) -> String {
    let brief = |outcome: &Outcome| match outcome {
        Outcome::Delivered(reply) => format!("D{}", reply.code),
        Outcome::Transient(reply) => format!("T{}", reply.code),
        Outcome::Permanent(reply) => format!("P{}", reply.code),
    };
    outcomes.iter().map(brief).collect::<Vec<_>>().join(" ")
}
