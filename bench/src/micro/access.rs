//! What clients say over IMAP and POP3, and what they are answered.

use super::arrival::{arrives, arriving};
use super::driver::Driver;
use super::{Case, Turn};
use crate::message::Messages;
use bytes::{Bytes, BytesMut};
use estafette_imap::codec::Dialect;
use estafette_imap::codec::date::DateTime;
use estafette_imap::codec::encode::Encoder;
use estafette_imap::codec::fetch::Section;
use estafette_imap::codec::flag::Flag;
use estafette_imap::codec::framer::{Framed, Framer, Limits};
use estafette_imap::codec::parse;
use estafette_mime::Structure;
use estafette_pop3::{Answer, Ask, Config, Failure, Session, Snapshot};
use estafette_types::{AccountId, Uid, UidSet, UidValidity};
use std::cell::RefCell;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;

pub(super) const CASES: [Case; 10] = [
    Case { name: "imap read: NOOP", sized: false, prepare: |_, _| read(b"a1 NOOP\r\n") },
    Case { name: "imap read: SELECT", sized: false, prepare: |_, _| read(b"a1 SELECT INBOX\r\n") },
    Case { name: "imap read: FETCH of headers", sized: false, prepare: |_, _| read(FETCH) },
    Case { name: "imap read: STORE", sized: false, prepare: |_, _| read(STORE) },
    Case { name: "imap read: SEARCH", sized: false, prepare: |_, _| read(SEARCH) },
    Case { name: "imap read: APPEND", sized: true, prepare: append },
    Case { name: "imap write: flags of 50", sized: false, prepare: |_, _| write_flags() },
    Case { name: "imap write: envelopes of 50", sized: false, prepare: |_, _| write_envelopes() },
    Case { name: "imap write: body", sized: true, prepare: write_body },
    Case { name: "pop3: session, RETR", sized: true, prepare: retrieve },
];

const FETCH: &[u8] = b"a1 UID FETCH 1:50 (UID FLAGS RFC822.SIZE INTERNALDATE \
    BODY.PEEK[HEADER.FIELDS (From To Cc Subject Date Message-ID)])\r\n";
const STORE: &[u8] = b"a1 UID STORE 17,19:23 +FLAGS.SILENT (\\Seen $Forwarded)\r\n";
const SEARCH: &[u8] =
    b"a1 UID SEARCH RETURN (MIN COUNT) UNSEEN SINCE 1-Nov-2026 OR FROM \"a\" SUBJECT \"b\"\r\n";

/// Messages of a command that lists them.
const LISTED: u32 = 50;

fn read(command: &'static [u8]) -> Turn {
    let mut framer = Framer::new(Limits::after_login(1 << 30));
    Box::new(move || {
        let mut input = BytesMut::from(command);
        if let Framed::Frame(frame) = framer.next(&mut input) {
            black_box(parse::command(&frame, Dialect::Ascii).is_ok());
        }
    })
}

fn append(size: usize, turns: usize) -> Turn {
    let message = Messages::new(0).message(size);
    let command = format!("a1 APPEND Sent (\\Seen) {{{size}+}}\r\n");
    let text = [command.as_bytes(), &message, b"\r\n"].concat();
    let mut waiting = arriving(&text, turns);
    let mut framer = Framer::new(Limits::after_login(1 << 30));
    Box::new(move || {
        let mut input = BytesMut::new();
        for read in waiting.pop().unwrap_or_default() {
            arrives(&mut input, read);
            if let Framed::Frame(frame) = framer.next(&mut input) {
                black_box(parse::command(&frame, Dialect::Ascii).is_ok());
            }
        }
    })
}

fn write_flags() -> Turn {
    let flags = [Flag::Seen, Flag::Answered];
    Box::new(move || {
        let mut encoder = Encoder::new(Dialect::Ascii);
        for number in 1..=LISTED {
            let mut writer = encoder.fetch(number);
            writer.uid(uid(number + 1000));
            writer.flags(black_box(&flags).iter().map(Flag::as_str), false);
            writer.finish();
        }
        black_box(encoder.into_pieces());
    })
}

fn write_envelopes() -> Turn {
    let structure = Structure::of([Messages::new(0).message(4096)]);
    Box::new(move || {
        let mut encoder = Encoder::new(Dialect::Ascii);
        for number in 1..=LISTED {
            let mut writer = encoder.fetch(number);
            writer.flags([Flag::Seen.as_str()], false);
            writer.internal_date(DateTime::utc(1_795_000_000));
            writer.size(black_box(4096));
            writer.envelope(black_box(&structure));
            writer.finish();
        }
        black_box(encoder.into_pieces());
    })
}

fn write_body(size: usize, _: usize) -> Turn {
    let body: Bytes = Messages::new(0).message(size).into();
    let section = Section::default();
    Box::new(move || {
        let mut encoder = Encoder::new(Dialect::Ascii);
        let mut writer = encoder.fetch(1);
        writer.section(&section, None, Some(black_box(&body).clone().into()));
        writer.finish();
        black_box(encoder.into_pieces());
    })
}

/// The first UID stands in for what cannot be one.
fn uid(number: u32) -> Uid {
    Uid::new(number).unwrap_or(Uid::MIN)
}

thread_local! {
    /// The message of the maildrop.
    static MESSAGE: RefCell<Bytes> = RefCell::default();
}

/// A maildrop with one message.
fn maildrop(ask: Ask) -> Answer {
    let message = MESSAGE.with_borrow(Bytes::clone);
    match ask {
        Ask::Authenticate { .. } => Answer::LoggedIn(AccountId(1)),
        Ask::Open { .. } => Answer::Opened(Snapshot {
            uid_validity: UidValidity(NonZeroU32::MIN),
            uids: UidSet::from_iter([uid(1)]).into(),
            sizes: [u32::try_from(message.len()).unwrap_or(u32::MAX)].into(),
        }),
        Ask::Read { range, .. } => {
            let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(message.len());
            Answer::Data(vec![message.slice(at(range.start)..at(range.end))])
        }
        Ask::Delete { .. } => Answer::Failed(Failure::Permanent),
    }
}

fn retrieve(size: usize, _: usize) -> Turn {
    MESSAGE.set(Messages::new(0).message(size).into());
    let config = Config { require_tls_for_auth: false, ..Config::default() };
    let mut driver = Driver::new(Session::new(Arc::new(config)), maildrop);
    driver.receive(BytesMut::from(&b"USER u\r\n"[..]));
    driver.receive(BytesMut::from(&b"PASS p\r\n"[..]));
    Box::new(move || {
        driver.receive(BytesMut::from(&b"RETR 1\r\n"[..]));
        black_box(driver.sent);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_one_that_is_understood() {
        for command in [FETCH, STORE, SEARCH] {
            let mut input = BytesMut::from(command);
            let Framed::Frame(frame) = Framer::new(Limits::after_login(1 << 20)).next(&mut input) else {
                panic!("no frame: {}", String::from_utf8_lossy(command));
            };
            assert!(parse::command(&frame, Dialect::Ascii).is_ok(), "{}", String::from_utf8_lossy(command));
        }
    }

    #[test]
    fn a_retrieval_sends_the_whole_message() {
        MESSAGE.set(Messages::new(0).message(1_000_000).into());
        let config = Config { require_tls_for_auth: false, ..Config::default() };
        let mut driver = Driver::new(Session::new(Arc::new(config)), maildrop);
        driver.receive(BytesMut::from(&b"USER u\r\n"[..]));
        driver.receive(BytesMut::from(&b"PASS p\r\n"[..]));
        let before = driver.sent;
        driver.receive(BytesMut::from(&b"RETR 1\r\n"[..]));
        assert!(driver.sent - before > 1_000_000, "{} bytes were sent", driver.sent - before);
    }
}
