//! What is printed must be read by another parser (imap-codec), and names and strings by our own.

use super::super::command::CommandBody;
use super::super::date::DateTime;
use super::super::fetch::{Section, SectionText};
use super::super::framer::{Framed, Framer, Limits};
use super::super::parse;
use super::super::response::MailboxAttribute;
use super::*;
use bytes::BytesMut;
use estafette_mime::Structure;
use estafette_types::Uid;
use imap_codec::ResponseCodec;
use imap_codec::decode::Decoder;
use proptest::prelude::*;

fn check(print: impl FnOnce(&mut Encoder)) {
    let mut encoder = Encoder::new(Dialect::Ascii);
    print(&mut encoder);
    let bytes = encoder.into_pieces().concat();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        match ResponseCodec::default().decode(rest) {
            Ok((after, _)) => rest = after,
            Err(error) => panic!("{error:?}: {}", rest.escape_ascii()),
        }
    }
}

#[test]
fn responses_are_read_by_the_other() {
    let tag = Tag::new("a1").unwrap();
    let set = NumberSet::from_ranges(vec![(1, 3), (7, 7)]);
    for code in [
        None,
        Some(Code::Alert),
        Some(Code::TooBig),
        Some(Code::UidNext(Uid::MIN)),
        Some(Code::HighestModSeq(ModSeq(7))),
        Some(Code::PermanentFlags { flags: Flag::SYSTEM.to_vec(), new_keywords: true }),
    ] {
        check(|e| e.tagged(&tag, Condition::Ok, code.as_ref(), "done"));
        check(|e| e.untagged(Condition::No, code.as_ref(), "[strange] text"));
    }
    check(|e| {
        e.capability(&["IMAP4rev1".into(), "IDLE".into(), "APPENDLIMIT=5".into(), "AUTH=PLAIN".into()]);
        e.continuation("go on");
        e.challenge(b"Password:");
        e.flags(&[Flag::Seen, Flag::parse("$x").unwrap()]);
        e.exists(3);
        e.recent(0);
        e.expunge(1);
        e.vanished(true, &set);
        e.search([1, 2, 3], Some(ModSeq(9)));
        e.search([], None);
        e.namespace([&[("", '/')], &[], &[("#s \"/", '/')]]);
        e.status(
            &Mailbox::inbox(),
            &[
                (StatusItem::Messages, StatusValue::Number(1)),
                (StatusItem::HighestModSeq, StatusValue::Number(9)),
            ],
        );
        e.quota("", &[QuotaResource { name: "STORAGE", usage: 1, limit: 2 }]);
        e.quota_root(&Mailbox::inbox(), &[""]);
    });
}

#[test]
fn fetches_are_read_by_the_other() {
    let message = "From: \"A \\\" B\" <a@example.org>, =?utf-8?q?x?= <b@example.org>\r\nTo: group: c@example.org;\r\n\
        Subject: Grüße\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\nx\r\n\
        --b\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment; filename=\"a b\"\r\n\r\nSubject: y\r\n\r\nz\r\n\
        --b\r\nContent-Type: image/png\r\nContent-Language: de\r\nContent-Location: x\r\n\r\n\r\n--b--\r\n";
    let structure = Structure::of([message]);
    check(|e| {
        let mut fetch = e.fetch(1);
        fetch.uid(Uid::MIN);
        fetch.flags(["\\Seen"], true);
        fetch.internal_date(DateTime::utc(1_700_000_000));
        fetch.size(9);
        fetch.mod_seq(ModSeq(4));
        fetch.envelope(&structure);
        fetch.body(&structure);
        fetch.body_structure(&structure);
        fetch.rfc822("RFC822.HEADER", Some(Rope::from(&b"a: b\r\n\r\n"[..])));
        let text = Some(SectionText::HeaderFields(vec!["Date".into(), "To".into()]));
        fetch.section(&Section { text, ..Section::default() }, None, Some(Rope::from(&b"x"[..])));
        fetch.section(&Section::default(), None, None);
        fetch.finish();
    });
}

/// The one argument of `a DELETE …`, as our parser reads it.
fn read_back(argument: &[u8], dialect: Dialect) -> Option<Mailbox> {
    let mut input = BytesMut::from(&[b"a DELETE ", argument, b"\r\n"].concat()[..]);
    let mut framer = Framer::new(Limits::after_login(1000));
    loop {
        match framer.next(&mut input) {
            Framed::Continue(_) => {}
            Framed::Frame(frame) => match parse::command(&frame, dialect).ok()?.body {
                CommandBody::Delete(mailbox) => return Some(mailbox),
                _ => return None,
            },
            _ => return None,
        }
    }
}

proptest! {
    #[test]
    fn names_round_trip(name in "(\\PC|[ \"\\\\&(){}%*]){0,40}", utf8 in any::<bool>()) {
        let dialect = if utf8 { Dialect::Utf8 } else { Dialect::Ascii };
        let mailbox = Mailbox::new(&name);
        prop_assume!(mailbox.is_some());
        let mailbox = mailbox.unwrap();
        let mut encoder = Encoder::new(dialect);
        encoder.mailbox(&mailbox);
        let printed = encoder.into_pieces().concat();
        prop_assert_eq!(read_back(&printed, dialect), Some(mailbox.clone()));
        let entry = ListEntry { attributes: vec![MailboxAttribute::NoSelect], delimiter: '/', mailbox, child_info: false, old_name: None };
        if !utf8 {
            check(|e| e.list(&entry));
            check(|e| e.lsub(&entry));
        }
    }

    #[test]
    fn any_string_is_well_formed(text in prop::collection::vec(1u8.., 0..40)) {
        let mut encoder = Encoder::new(Dialect::Ascii);
        encoder.string(&text);
        let printed = encoder.into_pieces().concat();
        let line = [b"* 1 FETCH (PREVIEW ", &printed[..], b")\r\n"].concat();
        let line = String::from_utf8_lossy(&line).replace("PREVIEW", "RFC822");
        if text.is_ascii() {
            prop_assert!(ResponseCodec::default().decode(line.as_bytes()).is_ok(), "{}", line);
        }
    }
}
