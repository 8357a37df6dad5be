//! The POP3 session: however the input is cut and however late the engine is, it says the same; lines
//! end with CR LF; a message that is fetched is the message.
#![no_main]

use bytes::Bytes;
use estafette_fuzz::{Driver, End, Engine, Pace, bounded, head, play, play_wildly, wire};
use estafette_pop3::{Answer, Ask, Config, Failure, Refusal, Session, Snapshot};
use estafette_types::{AccountId, Uid, UidSet, UidValidity};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What follows is the first message.
const MESSAGE: &[u8] = b"<MSG>";

#[derive(Clone, Default)]
struct Maildrop {
    messages: BTreeMap<u32, Bytes>,
    deleted: Vec<UidSet>,
    delete_fails: bool,
    reads_left: Option<u32>,
}

impl Engine<Session> for Maildrop {
    fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Authenticate { authcid, .. } if authcid == "down" => Answer::Failed(Failure::Temporary),
            Ask::Authenticate { authcid, password, .. } if authcid == "u" && password.0 == "p" => {
                Answer::LoggedIn(AccountId(1))
            }
            Ask::Authenticate { .. } => Answer::Refused(Refusal::Credentials),
            Ask::Open { .. } => {
                let uids: UidSet = self.messages.keys().filter_map(|uid| Uid::new(*uid)).collect();
                let sizes = self.messages.values().map(|text| text.len() as u32).collect();
                Answer::Opened(Snapshot { uid_validity: UidValidity(7.try_into().unwrap()), uids: uids.into(), sizes })
            }
            Ask::Read { uid, range } => {
                if self.reads_left == Some(0) {
                    return Answer::Gone;
                }
                self.reads_left = self.reads_left.map(|left| left - 1);
                let Some(text) = self.messages.get(&uid.value()) else { return Answer::Gone };
                let end = (range.end as usize).min(text.len());
                let start = (range.start as usize).min(end);
                let middle = start + (end - start) / 2;
                Answer::Data(vec![text.slice(start..middle), text.slice(middle..end)])
            }
            Ask::Delete { .. } if self.delete_fails => Answer::Failed(Failure::Permanent),
            Ask::Delete { uids } => {
                self.messages.retain(|uid, _| !Uid::new(*uid).is_some_and(|uid| uids.contains(uid)));
                self.deleted.push(uids);
                Answer::Deleted
            }
        }
    }
}

/// A message as a client gets it: lines ended by CR LF.
fn as_lines(message: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for byte in message {
        if *byte == b'\n' && out.last() != Some(&b'\r') {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    if !out.is_empty() && !out.ends_with(b"\n") {
        out.extend_from_slice(if out.ends_with(b"\r") { b"\n" } else { b"\r\n" });
    }
    out
}

/// What the client makes of the response to RETR, and what comes behind it.
fn retrieved(said: &[u8]) -> (Vec<u8>, &[u8]) {
    let (mut text, mut rest) = (Vec::new(), said);
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').expect("a response has no end") + 1;
        let (line, after) = rest.split_at(end);
        rest = after;
        match line.strip_prefix(b".") {
            Some(b"\r\n") => return (text, rest),
            Some(line) => text.extend_from_slice(line),
            None => text.extend_from_slice(line),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let (settings, dice, input) = head(data);
    let at = input.windows(MESSAGE.len()).position(|window| window == MESSAGE);
    let (talk, first) = at.map_or((input, &b""[..]), |at| (&input[..at], &input[at + MESSAGE.len()..]));
    let prelude: &[u8] = if settings & 1 == 0 { b"" } else { b"USER u\r\nPASS p\r\n" };
    let talk = [prelude, talk].concat();
    let config =
        Arc::new(Config { require_tls_for_auth: settings & 2 != 0, errors_max: 5, ..Config::default() });
    let end = End::of(settings >> 3 & 3);
    let texts = [first, b"Subject: x\r\n\r\n.\r\n..a\r\nb\n\n.c", b"A: b\r\n"];
    let messages = (1..).zip(texts).map(|(uid, text)| (uid * 3, Bytes::copy_from_slice(text))).collect();
    let delete_fails = settings & 32 != 0;
    let reads_left = (settings & 64 != 0).then_some(2);
    let maildrop = Maildrop { messages, deleted: Vec::new(), delete_fails, reads_left };
    let driver = || Driver::new(Session::new(Arc::clone(&config)), maildrop.clone(), false);

    bounded(1024 * 1024 + 300 * input.len(), || {
        let late = play(driver(), &talk, Some(dice.clone()), Pace::Late(dice.clone()), end);
        let whole = play(driver(), &talk, None, Pace::AtOnce, end);
        assert_eq!(String::from_utf8_lossy(&late.said), String::from_utf8_lossy(&whole.said));
        assert_eq!((late.closed, &late.engine.deleted), (whole.closed, &whole.engine.deleted));
        assert!(whole.said.starts_with(b"+OK "));
        if settings & 128 != 0 {
            play_wildly(driver(), &talk, dice);
        }
    });
    let fetch =
        play(driver(), b"UTF8\r\nUSER u\r\nPASS p\r\nRETR 1\r\nQUIT\r\n", None, Pace::AtOnce, End::Nothing);
    if settings & 2 == 0 {
        let at = fetch.said.windows(8).position(|window| window == b" octets\r").expect("an answer to RETR");
        let (text, rest) = retrieved(&fetch.said[at + 9..]);
        assert_eq!(text, as_lines(first));
        assert_eq!(rest, b"+OK bye\r\n");
    }
    wire::assert_ends(&fetch.said);
});
