//! A driver and an engine for tests, and what they show of a session.

mod hostile;
mod limits;
mod parts;
mod transcripts;

use super::*;
use crate::Reply;
use bytes::BytesMut;
use estafette_machine::{Action, Deposit, Machine, Now, Tls};
use estafette_types::{AccountId, ForwardPath, ReversePath, Username};
use std::sync::Arc;

/// What the engine keeps of a message.
#[derive(Default)]
struct Kept {
    text: Vec<u8>,
    alive: Option<Arc<()>>,
}

/// A session with its driver: what was said, what was delivered, how it ended.
pub(super) struct Driver {
    pub(super) session: Session,
    input: BytesMut,
    asked: Option<Ask>,
    /// Questions wait until `answer` is called.
    pub(super) slow: bool,
    pub(super) said: Vec<u8>,
    pub(super) sends: usize,
    pub(super) delivered: Vec<Delivery>,
    /// Parts that were asked to be kept.
    pub(super) parts: usize,
    /// Held by whatever the engine keeps.
    pub(super) alive: Arc<()>,
    pub(super) armed: Option<std::time::Duration>,
    pub(super) closed: bool,
    pub(super) now: Now,
}

impl Driver {
    pub(super) fn new(config: ServerConfig) -> Driver {
        let implicit = config.tls == TlsMode::Implicit;
        let mut driver = Driver {
            session: Session::new(Arc::new(config)),
            input: BytesMut::new(),
            asked: None,
            slow: false,
            said: Vec::new(),
            sends: 0,
            delivered: Vec::new(),
            parts: 0,
            alive: Arc::default(),
            armed: None,
            closed: false,
            now: Now::default(),
        };
        if implicit {
            driver.step(|session, _, out| session.secured(Now::default(), Tls::default(), out));
        }
        driver.step(|session, _, out| session.opened(Now::default(), out));
        driver
    }

    pub(super) fn step(&mut self, act: impl FnOnce(&mut Session, &mut BytesMut, &mut Vec<Action<Ask>>)) {
        assert!(!self.closed, "a step after the close");
        let mut out = Vec::new();
        act(&mut self.session, &mut self.input, &mut out);
        for action in out {
            assert!(!self.closed, "an action after the close");
            match action {
                Action::Send(bytes) => {
                    assert!(!bytes.is_empty());
                    self.sends += 1;
                    self.said.extend_from_slice(&bytes);
                }
                Action::StartTls => {
                    assert!(self.input.is_empty(), "input was kept over STARTTLS");
                    self.said.extend_from_slice(b"[TLS]\r\n");
                }
                Action::Ask(ask) => assert!(self.asked.replace(ask).is_none(), "two questions"),
                Action::Arm(time) => self.armed = Some(time),
                Action::Close => self.closed = true,
            }
        }
    }

    /// Bytes come; what is left is given again after each answer, as the contract has it.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        self.input.extend_from_slice(bytes);
        if self.asked.is_none() {
            let now = self.now;
            self.step(|session, input, out| session.received(now, input, out));
        }
        while !self.slow && self.asked.is_some() && !self.closed {
            self.answer();
        }
        // What is left is less than the driver may hold, so it never calls `overflowed`.
        assert!(self.input.len() < self.session.input_limit() || self.asked.is_some());
    }

    pub(super) fn answer(&mut self) {
        let answer = self.engine();
        let now = self.now;
        self.step(|session, _, out| session.answered(now, answer, out));
        if !self.closed && self.asked.is_none() && !self.input.is_empty() {
            self.step(|session, input, out| session.received(now, input, out));
        }
    }

    pub(super) fn secure(&mut self) {
        let tls = Tls { version: "TLSv1.3".into(), ..Tls::default() };
        self.step(|session, _, out| session.secured(Now::default(), tls, out));
    }

    /// What an engine may say; local parts choose.
    fn engine(&mut self) -> Answer {
        match self.asked.take().expect("a question") {
            Ask::Authenticate { authcid, password, .. } if authcid == "test" && password.0 == "1234" => {
                let username = Username::parse("test").unwrap();
                Answer::LoggedIn(Identity { account: AccountId(1), username })
            }
            Ask::Authenticate { .. } => Answer::Refused(Reply::login_failed()),
            Ask::Mail { envelope, .. } => match &envelope.reverse_path {
                ReversePath::Address(from) if from.local.as_str() == "full" => {
                    Answer::Refused(Reply::new(452, (4, 3, 1), "insufficient system storage"))
                }
                _ => Answer::Accepted,
            },
            Ask::Rcpt { recipient, envelope, .. } => {
                assert!(envelope.recipients.len() <= 40);
                match local(&recipient.path) {
                    "unknown" => Answer::Refused(Reply::new(550, (5, 1, 1), "no such user")),
                    "over" => {
                        let text = "temporary failure: user overquota";
                        Answer::Refused(Reply::new(452, (4, 2, 2), text))
                    }
                    _ => Answer::Accepted,
                }
            }
            Ask::Data { envelope, .. } => {
                match envelope.recipients.iter().any(|to| local(&to.path) == "nodisk") {
                    true => Answer::Refused(Reply::new(452, (4, 3, 1), "insufficient system storage")),
                    false => Answer::Accepted,
                }
            }
            Ask::Part(part) => {
                let text: Vec<u8> = part.pieces.concat();
                assert!(text.len() >= PART_BYTES, "a part is worth a question");
                self.parts += 1;
                let mut kept =
                    part.deposit.map_or_else(Default::default, |deposit| deposit.open::<Kept>().unwrap());
                kept.text.extend_from_slice(&text);
                kept.alive.get_or_insert_with(|| Arc::clone(&self.alive));
                match part.envelope.recipients.iter().any(|to| local(&to.path) == "fills")
                    && kept.text.len() > 2 * PART_BYTES
                {
                    true => Answer::Refused(Reply::new(452, (4, 3, 1), "insufficient system storage")),
                    false => Answer::Taken(Deposit::new(*kept)),
                }
            }
            Ask::Deliver(mut delivery) => {
                if let Some(kept) = delivery.deposit.take().and_then(Deposit::open::<Kept>) {
                    delivery.body.insert(0, kept.text.into());
                }
                let replies = delivery.envelope.recipients.iter().map(|to| match local(&to.path) {
                    "later" => Reply::new(451, (4, 3, 0), "later"),
                    name => Reply::new(250, (2, 0, 0), format!("taken for {name}")),
                });
                let replies = replies.collect();
                self.delivered.push(*delivery);
                Answer::Delivered(replies)
            }
        }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.said.clone()).unwrap()
    }
}

fn local(path: &ForwardPath) -> &str {
    match path {
        ForwardPath::Postmaster => "postmaster",
        ForwardPath::Address(address) => address.local.as_str(),
    }
}

pub(super) fn config(kind: Kind) -> ServerConfig {
    ServerConfig::new(kind, "mx.example.org")
}

/// Submission where a login needs no TLS.
pub(super) fn open_submission() -> ServerConfig {
    ServerConfig { require_tls_for_auth: false, ..config(Kind::Submission) }
}

/// Feeds all of the input in pieces of `step` bytes.
pub(super) fn run(config: &ServerConfig, input: &[u8], step: usize) -> Driver {
    let mut driver = Driver::new(config.clone());
    input.chunks(step.max(1)).for_each(|piece| driver.feed(piece));
    driver
}

/// The codes of all replies, one per line: `220 250-250 354`.
pub(super) fn codes(driver: &Driver) -> String {
    let text = driver.text();
    let lines =
        text.lines().map(|line| if line.as_bytes().get(3) == Some(&b'-') { &line[..4] } else { &line[..3] });
    lines.collect::<Vec<_>>().join(" ").replace("- ", "-")
}

/// Plays a transcript: lines `C: …` are sent, lines `S: …` must be what the server says. It is
/// played line by line, byte by byte, and all at once, and has to give the same each time.
pub(super) fn play(config: &ServerConfig, transcript: &str) -> Driver {
    let lines = || transcript.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut input = Vec::new();
    let mut want = String::new();
    let mut driver = Driver::new(config.clone());
    for line in lines() {
        match line.split_at_checked(2) {
            Some(("C:", text)) => {
                assert_eq!(driver.text(), want, "before {line}");
                let text = format!("{}\r\n", text.strip_prefix(' ').unwrap_or(text));
                input.extend_from_slice(text.as_bytes());
                driver.feed(text.as_bytes());
            }
            // An underscore at the end stands for nothing, so that a blank can stand before it.
            Some(("S:", text)) => want.push_str(&format!("{}\r\n", text.trim_start().trim_end_matches('_'))),
            _ => panic!("neither C: nor S: {line}"),
        }
    }
    assert_eq!(driver.text(), want);
    for step in [1, 2, 3, 7, 64, input.len()] {
        let again = run(config, &input, step);
        assert_eq!(again.text(), want, "in pieces of {step}");
        assert_eq!(again.closed, driver.closed);
        let bodies =
            |driver: &Driver| -> Vec<Vec<u8>> { driver.delivered.iter().map(|d| d.body.concat()).collect() };
        assert_eq!(bodies(&again), bodies(&driver));
    }
    driver
}
