//! The SMTP server session, of all kinds: however the input is cut and however late the engine is,
//! it says and delivers the same; what it says is well-formed; what it holds is bounded.
#![no_main]

use estafette_fuzz::{Driver, End, Engine, Pace, bounded, head, play, play_wildly, wire};
use estafette_machine::Deposit;
use estafette_smtp::Reply;
use estafette_smtp::codec::BodyLimits;
use estafette_smtp::server::{Answer, Ask, Delivery, Identity, Kind, Limits, ServerConfig, Session, TlsMode};
use estafette_types::{AccountId, BodyType, ForwardPath, ReversePath, Username};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

/// A session before its login may hold this, and for the rest a multiple of what was sent.
const MEMORY: usize = 1024 * 1024;

struct Mailer {
    limits: Limits,
    delivered: Vec<Delivery>,
}

impl Engine<Session> for Mailer {
    fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Authenticate { authcid, .. } if authcid == "late" => Answer::Accepted,
            Ask::Authenticate { authcid, password, .. } if authcid == "test" && password.0 == "1234" => {
                let username = Username::parse("test").unwrap();
                Answer::LoggedIn(Identity { account: AccountId(1), username })
            }
            Ask::Authenticate { .. } => Answer::Refused(Reply::login_failed()),
            Ask::Mail { envelope, .. } => match &envelope.reverse_path {
                ReversePath::Address(from) => verdict(from.local.as_str()),
                ReversePath::Null => Answer::Accepted,
            },
            Ask::Rcpt { recipient, envelope, .. } => {
                assert!(envelope.recipients.len() < self.limits.recipients);
                verdict(local(&recipient.path))
            }
            Ask::Data { envelope, .. } => {
                assert!(!envelope.recipients.is_empty());
                match envelope.recipients.iter().any(|to| local(&to.path) == "disk") {
                    true => Answer::Refused(Reply::new(452, (4, 3, 1), "insufficient system storage")),
                    false => Answer::Accepted,
                }
            }
            Ask::Part(part) => {
                let mut kept = part.deposit.and_then(Deposit::open::<Vec<u8>>).unwrap_or_default();
                kept.extend_from_slice(&part.pieces.concat());
                Answer::Taken(Deposit::new(*kept))
            }
            Ask::Deliver(mut delivery) => {
                if let Some(kept) = delivery.deposit.take().and_then(Deposit::open::<Vec<u8>>) {
                    delivery.body.insert(0, (*kept).into());
                }
                self.check(&delivery);
                let replies = delivery.envelope.recipients.iter().map(|to| match local(&to.path) {
                    "later" => Reply::new(451, (4, 3, 0), "later"),
                    "last" => Reply::new(421, (4, 3, 0), "going\r\n250 down"),
                    name => Reply::new(250, (2, 0, 0), format!("taken for {name}")),
                });
                let replies = replies.collect();
                self.delivered.push(*delivery);
                Answer::Delivered(replies)
            }
        }
    }
}

impl Mailer {
    fn check(&self, delivery: &Delivery) {
        let (envelope, limits) = (&delivery.envelope, &self.limits.body);
        assert!((1..=self.limits.recipients).contains(&envelope.recipients.len()));
        let body = delivery.body.concat();
        assert_eq!(body.len() as u64, delivery.size);
        assert!(delivery.size <= limits.size);
        if envelope.body_type != BodyType::BinaryMime {
            wire::assert_line_ends(&body);
            assert!(!body.contains(&0));
            assert!(body.split(|byte| *byte == b'\n').all(|line| line.len() <= limits.line + 1));
        }
    }
}

fn verdict(local: &str) -> Answer {
    match local {
        "unknown" => Answer::Refused(Reply::new(550, (5, 1, 1), "no such user\nnowhere")),
        "full" => Answer::Refused(Reply::new(452, (4, 2, 2), "temporary failure: user overquota")),
        "odd" => Answer::Delivered(Vec::new()),
        "gone" => Answer::Refused(Reply::new(421, (4, 3, 2), "closing")),
        _ => Answer::Accepted,
    }
}

fn local(path: &ForwardPath) -> &str {
    match path {
        ForwardPath::Postmaster => "postmaster",
        ForwardPath::Address(address) => address.local.as_str(),
    }
}

fn config(settings: u8) -> ServerConfig {
    let mut config = match settings & 3 {
        0 => ServerConfig::new(Kind::Mx, "mx.example.org"),
        1 => ServerConfig::new(Kind::Submission, "mx.example.org"),
        2 => ServerConfig::new(Kind::Lmtp, "mx.example.org"),
        _ => ServerConfig { require_tls: true, ..ServerConfig::new(Kind::Mx, "mx.example.org") },
    };
    config.require_tls_for_auth = settings & 4 == 0;
    if settings & 8 != 0 {
        config.tls = TlsMode::Implicit;
    }
    if settings & 16 != 0 {
        let body = BodyLimits { size: 300, header: 80, line: 40, swallow: 100, allow_nul: false };
        config.limits = Limits {
            command_line: 60,
            body,
            part_from: 0,
            recipients: 3,
            mails: 2,
            bad_commands: 4,
            idle_commands: 5,
            auth_failures: 2,
        };
    }
    config
}

fuzz_target!(|data: &[u8]| {
    let (settings, dice, input) = head(data);
    let config = Arc::new(config(settings));
    let end = End::of(settings >> 5 & 3);
    let driver = || {
        let mailer = Mailer { limits: config.limits, delivered: Vec::new() };
        Driver::new(Session::new(Arc::clone(&config)), mailer, config.tls == TlsMode::Implicit)
    };
    let mut others = Vec::new();
    let whole = bounded(MEMORY + 3 * 40 * input.len(), || {
        others.push(play(driver(), input, Some(dice.clone()), Pace::Late(dice.clone()), end));
        match settings & 128 {
            0 => others.push(play(driver(), input, Some(dice.clone()), Pace::AtOnce, end)),
            _ => play_wildly(driver(), input, dice),
        }
        play(driver(), input, None, Pace::AtOnce, end)
    });
    wire::assert_line_ends(&whole.said);
    assert!(whole.said.is_ascii());
    for line in whole.said.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        assert!(
            line.len() <= 512 && (line.starts_with(b"[TLS]") || line[..3].iter().all(u8::is_ascii_digit))
        );
    }
    for other in &others {
        assert_eq!(String::from_utf8_lossy(&other.said), String::from_utf8_lossy(&whole.said));
        assert_eq!(other.closed, whole.closed);
        assert_eq!(other.engine.delivered.len(), whole.engine.delivered.len());
        for (one, two) in other.engine.delivered.iter().zip(&whole.engine.delivered) {
            assert_eq!(one.body.concat(), two.body.concat());
            assert_eq!((&one.envelope, one.protocol), (&two.envelope, two.protocol));
        }
    }
});
