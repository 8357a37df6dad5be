//! The SMTP client against any server: one outcome for each recipient of each message, whatever is
//! said; the same however the replies are cut; nothing of the server's words in our commands.
#![no_main]

use bytes::{Bytes, BytesMut};
use estafette_fuzz::{Dice, bounded, driver::HANDSHAKE, head, wire};
use estafette_smtp::Secret;
use estafette_smtp::client::{
    Client, ClientAction, ClientConfig, Event, Failure, Login, Outcome, Outgoing, TlsPolicy,
};
use estafette_types::{
    Address, BodyType, DsnNotify, DsnReturn, Envelope, ForwardPath, Recipient, ReversePath,
};
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use std::sync::Arc;

const MEMORY: usize = 1024 * 1024;

fn config(settings: u8) -> ClientConfig {
    let mut config = ClientConfig::new("client.example.org");
    config.tls = [TlsPolicy::Never, TlsPolicy::Opportunistic, TlsPolicy::Required, TlsPolicy::Implicit]
        [usize::from(settings & 3)];
    config.lmtp = settings & 4 != 0;
    config.prefer_chunking = settings & 8 != 0;
    config.login_without_tls = true;
    if settings & 16 != 0 {
        config.login = Some(Login { username: "test".into(), password: Secret("1234".into()) });
    }
    config
}

fn mails() -> Vec<Outgoing> {
    let address = |text: &str| Address::parse(text).unwrap();
    let recipient =
        |to: &str, notify, original| Recipient { path: ForwardPath::Address(address(to)), notify, original };
    let simple = Envelope {
        reverse_path: ReversePath::Address(address("\"a b\"@example.org")),
        recipients: vec![
            recipient("b@example.net", Some(DsnNotify::Never), Some(("rfc822".into(), "b+c@x".into()))),
            recipient("c@bücher.example", None, None),
            Recipient { path: ForwardPath::Postmaster, notify: None, original: None },
        ],
        declared_size: None,
        body_type: BodyType::SevenBit,
        smtputf8: false,
        require_tls: false,
        dsn_return: Some(DsnReturn::Headers),
        dsn_envelope_id: Some("1=2".into()),
        auth: None,
    };
    let wide = Envelope {
        reverse_path: ReversePath::Null,
        recipients: vec![recipient("δοκιμή@example.net", None, None)],
        body_type: BodyType::BinaryMime,
        smtputf8: true,
        ..simple.clone()
    };
    let body = |text: &'static [u8]| vec![Bytes::from_static(text)];
    vec![
        Outgoing::new(simple.clone(), body(b"Subject: x\r\n\r\n.\r\n..two\r\n")),
        Outgoing::new(wide, body(b"Subject: y\r\n\r\n\0\nbinary")),
        Outgoing::new(Envelope { recipients: Vec::new(), ..simple.clone() }, Vec::new()),
        Outgoing::new(simple, body(b"Subject: z\r\n\r\nlast")),
    ]
}

#[derive(Debug, Default, PartialEq)]
struct Report {
    said: Vec<u8>,
    finished: Vec<Vec<Outcome>>,
    failed: Option<Failure>,
    closed: bool,
}

struct Run {
    client: Client,
    mails: VecDeque<Outgoing>,
    /// How many recipients the message on its way has.
    open: Option<usize>,
    securing: bool,
    report: Report,
}

impl Run {
    fn step(&mut self, event: Event<'_>) {
        let mut actions: VecDeque<_> = self.client.step(event).into();
        while let Some(action) = actions.pop_front() {
            assert!(!self.report.closed, "{action:?} after the close");
            match action {
                ClientAction::Send(bytes) => {
                    assert!(!self.securing, "something was sent in the handshake");
                    self.report.said.extend_from_slice(&bytes);
                    actions.extend(self.client.step(Event::Drained));
                }
                ClientAction::StartTls => self.securing = true,
                ClientAction::Arm(_) => {}
                ClientAction::Read | ClientAction::Look => panic!("the whole text is at hand"),
                ClientAction::Ready => {
                    assert!(self.open.is_none());
                    let event = match self.mails.pop_front() {
                        Some(mail) => {
                            self.open = Some(mail.envelope.recipients.len());
                            Event::Mail(Box::new(mail))
                        }
                        None => Event::Quit,
                    };
                    actions.extend(self.client.step(event));
                }
                ClientAction::Finished(outcomes) => {
                    assert_eq!(self.open.take(), Some(outcomes.len()));
                    self.report.finished.push(outcomes);
                }
                ClientAction::Failed(failure) => assert!(self.report.failed.replace(failure).is_none()),
                ClientAction::Close => self.report.closed = true,
            }
        }
    }
}

/// How what the server says is cut into segments.
enum Cut {
    /// Line by line.
    Lines,
    /// Lines into smaller pieces.
    WithinLines(Dice),
    /// Anyhow: a reply may come before its command, and is then out of place.
    Anyhow(Dice),
}

impl Cut {
    fn pieces<'a>(&mut self, section: &'a [u8]) -> Vec<&'a [u8]> {
        let lines = section.split_inclusive(|byte| *byte == b'\n');
        match self {
            Cut::Lines => lines.collect(),
            Cut::WithinLines(dice) => lines.flat_map(|line| dice.cut(line)).collect(),
            Cut::Anyhow(dice) => dice.cut(section),
        }
    }
}

fn run(config: &Arc<ClientConfig>, input: &[u8], mut cut: Cut, end: u8) -> Report {
    let client = Client::new(Arc::clone(config));
    let (mails, report) = (mails().into(), Report::default());
    let mut run = Run { client, mails, open: None, securing: false, report };
    if config.tls == TlsPolicy::Implicit {
        run.step(Event::Secured);
    }
    run.step(Event::Connected);
    let (mut rest, mut buffer) = (Some(input), BytesMut::new());
    while let Some(data) = rest {
        let at = data.windows(HANDSHAKE.len()).position(|window| window == HANDSHAKE);
        let section = &data[..at.unwrap_or(data.len())];
        rest = at.map(|at| &data[at + HANDSHAKE.len()..]);
        for piece in cut.pieces(section) {
            if !run.securing && !run.report.closed {
                buffer.extend_from_slice(piece);
                run.step(Event::Received(&mut buffer));
                assert!(buffer.len() <= 16 * 1024, "{} bytes are held", buffer.len());
            }
        }
        if rest.is_some() && std::mem::take(&mut run.securing) {
            run.step(if end == 3 { Event::TlsFailed } else { Event::Secured });
        }
    }
    if !run.report.closed {
        run.step(if end == 0 { Event::TimedOut } else { Event::Closed });
    }
    assert!(run.report.closed && run.open.is_none());
    run.report
}

fuzz_target!(|data: &[u8]| {
    let (settings, dice, input) = head(data);
    let config = Arc::new(config(settings));
    let end = settings >> 6;
    let run = |cut| run(&config, input, cut, end);
    bounded(MEMORY + 200 * input.len(), || {
        let lines = run(Cut::Lines);
        assert_eq!(run(Cut::WithinLines(dice.clone())), lines);
        run(Cut::Anyhow(dice));
        if !lines.said.contains(&0) {
            wire::assert_line_ends(&lines.said);
        }
    });
});
