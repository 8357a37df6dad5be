//! The texts of notices, read by another parser.

use super::*;
use crate::queue::tests::{address, item, recipient};
use crate::queue::{ItemId, LastReply, Recipient as Queued, State};
use estafette_smtp::Reply;
use estafette_types::{DsnReturn, ShardId};
use mail_parser::{MessageParser, MimeHeaders, PartType};
use std::collections::BTreeMap;

const ORIGINAL: &str = "Return-Path: <sender@example.org>\r\nReceived: from x\r\nMessage-ID: <m1@example.org>\r\n\
                        Subject: hello\r\n\r\nThe text.\r\n";

fn key() -> ItemKey {
    ItemKey { shard: ShardId(2), id: ItemId([5; 16]) }
}

fn failed(text: &str) -> Queued {
    let reply = Reply::new(550, (5, 1, 1), "no such\r\nuser \u{1}here".to_owned());
    Queued {
        state: State::Failed,
        last: Some(LastReply::new("mx.example.net", &reply)),
        last_ms: 1_800_000_060_000,
        ..recipient(text)
    }
}

fn facts<'a>(kind: NoticeKind, item: &'a Item, places: &'a [u32]) -> Facts<'a> {
    Facts {
        kind,
        key: key(),
        item,
        places,
        hostname: "mx.example.org",
        now_ms: 1_800_000_100_000,
        retry_until_ms: 1_800_432_000_000,
    }
}

fn pieces(text: &str) -> Vec<Bytes> {
    vec![Bytes::copy_from_slice(text.as_bytes())]
}

fn whole() -> Returned {
    Returned::Whole(without_return_path(pieces(ORIGINAL)))
}

fn text(facts: &Facts<'_>, returned: &Returned) -> String {
    let (envelope, body) = compose(facts, returned).unwrap();
    assert_eq!(envelope.reverse_path, ReversePath::Null);
    let text = String::from_utf8(body.concat()).unwrap();
    assert_eq!(text.is_ascii(), envelope.body_type == BodyType::SevenBit);
    assert!(text.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n', '\0'])), "{text}");
    text
}

/// The groups of fields of the delivery status.
fn status(text: &str) -> Vec<BTreeMap<String, String>> {
    let start = text.find("Content-Type: message/delivery-status").unwrap();
    let part = &text[start..];
    let part = &part[part.find("\r\n\r\n").unwrap() + 4..];
    let part = &part[..part.find("\r\n--=_report_").unwrap()];
    let unfolded = part.replace("\r\n\t", " ");
    let groups = unfolded.split("\r\n\r\n");
    let fields = |group: &str| {
        let field =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        group.lines().map(|line| field(line).unwrap_or_else(|| panic!("{line:?}"))).collect()
    };
    groups.map(fields).collect()
}

#[test]
fn a_failure() {
    let mut item =
        item(vec![recipient("waiting@example.net"), failed("bob@example.net"), failed("eve@example.com")]);
    item.dsn_envelope_id = Some("QQ\r\n1".into());
    item.created_ms = 1_800_000_000_000;
    item.recipients[1].original = Some(("rfc822".into(), "alias@example.org".into()));
    let places = [1, 2];
    let text = text(&facts(NoticeKind::Failure, &item, &places), &whole());
    assert!(text.starts_with("Return-Path: <>\r\nDate: "));
    let parsed = MessageParser::default().parse(text.as_bytes()).unwrap();
    let content = parsed.content_type().unwrap();
    assert_eq!((content.ctype(), content.subtype()), ("multipart", Some("report")));
    assert_eq!(content.attribute("report-type"), Some("delivery-status"));
    assert_eq!(parsed.header_raw("Auto-Submitted").map(str::trim), Some("auto-replied"));
    assert_eq!(parsed.from().unwrap().first().unwrap().address(), Some("postmaster@mx.example.org"));
    assert_eq!(parsed.to().unwrap().first().unwrap().address(), Some("sender@example.org"));
    assert_eq!(parsed.references().as_text(), Some("m1@example.org"));
    assert_eq!(parsed.date().unwrap().to_timestamp(), 1_800_000_100);
    let id = key().id.derived("failure", &places).to_string();
    assert_eq!(parsed.message_id(), Some(format!("{id}@mx.example.org").as_str()));

    assert_eq!(parsed.parts.len(), 4, "the whole and its three parts");
    let words = parsed.body_text(0).unwrap();
    assert!(words.contains("<bob@example.net>:") && words.contains("mx.example.net said: 550 5.1.1 no such"));
    assert!(!words.contains("waiting@"));
    let PartType::Message(returned) = &parsed.parts[3].body else { panic!("{:?}", parsed.parts[3]) };
    assert_eq!(returned.subject(), Some("hello"));
    assert!(!text.contains("Return-Path: <sender@"), "that was for us");
    assert!(text.contains("\r\n\r\nReceived: from x\r\n"));

    let groups = status(&text);
    assert_eq!(groups.len(), 3);
    let field = |group: usize, name: &str| groups[group].get(name).map(String::as_str);
    assert_eq!(field(0, "Original-Envelope-Id"), Some("QQ??1"));
    assert_eq!(field(0, "Reporting-MTA"), Some("dns; mx.example.org"));
    assert_eq!(field(0, "Arrival-Date"), Some("Fri, 15 Jan 2027 08:00:00 +0000"));
    assert_eq!(field(1, "Original-Recipient"), Some("rfc822; alias@example.org"));
    assert_eq!(field(1, "Final-Recipient"), Some("rfc822; bob@example.net"));
    assert_eq!((field(1, "Action"), field(1, "Status")), (Some("failed"), Some("5.1.1")));
    assert_eq!(field(1, "Remote-MTA"), Some("dns; mx.example.net"));
    assert_eq!(field(1, "Diagnostic-Code"), Some("smtp; 550 5.1.1 no such user here"));
    assert_eq!(field(1, "Last-Attempt-Date"), Some("Fri, 15 Jan 2027 08:01:00 +0000"));
    assert_eq!(field(1, "Will-Retry-Until"), None);
    assert_eq!(field(2, "Final-Recipient"), Some("rfc822; eve@example.com"));
    assert_eq!(field(2, "Original-Recipient"), None);
}

#[test]
fn other_kinds() {
    let one = |state, kind| {
        let mut item = item(vec![Queued { state, ..failed("bob@example.net") }]);
        item.created_ms = 1_800_000_000_000;
        let text =
            text(&facts(kind, &item, &[0]), &Returned::Header(Bytes::from_static(b"Subject: hello\r\n")));
        assert!(text.contains("Content-Type: text/rfc822-headers\r\n"));
        let group = status(&text).pop().unwrap();
        (group["Action"].clone(), group["Status"].clone(), group.contains_key("Will-Retry-Until"))
    };
    let say = |action: &str, status: &str, retry| (action.to_owned(), status.to_owned(), retry);
    assert_eq!(one(State::Pending, NoticeKind::Delay), say("delayed", "4.1.1", true));
    assert_eq!(one(State::Expired, NoticeKind::Failure), say("failed", "5.4.7", false));
    assert_eq!(one(State::Delivered, NoticeKind::Success), say("delivered", "2.1.1", false));
    assert_eq!(one(State::Relayed, NoticeKind::Success), say("relayed", "2.1.1", false));
}

#[test]
fn other_alphabets() {
    let mut item = item(vec![failed("δοκιμή@παράδειγμα.δοκιμή")]);
    item.recipients[0].original = Some(("utf-8".into(), "ü\\@example.org".into()));
    item.reverse_path = ReversePath::Address(address("jürgen@example.org"));
    item.smtputf8 = true;
    let original = Returned::Whole(pieces("Subject: Grüße\r\n\r\nText\r\n"));
    let (envelope, body) = compose(&facts(NoticeKind::Failure, &item, &[0]), &original).unwrap();
    assert!(envelope.smtputf8 && envelope.body_type == BodyType::EightBitMime);
    let text = String::from_utf8(body.concat()).unwrap();
    assert!(text.contains("Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n"));
    let group = status(&text).pop().unwrap();
    assert!(group["Final-Recipient"].starts_with("utf-8; \\x{3B4}\\x{3BF}"), "{group:?}");
    assert_eq!(group["Original-Recipient"], "utf-8; \\x{FC}\\x{5C}@example.org");
    assert!(group["Final-Recipient"].is_ascii());
}

#[test]
fn nobody_is_told_of_a_notice() {
    let item = Item { reverse_path: ReversePath::Null, ..item(vec![failed("bob@example.net")]) };
    assert!(compose(&facts(NoticeKind::Failure, &item, &[0]), &whole()).is_none());
}

#[test]
fn hostile_replies_and_headers_stay_in_their_place() {
    let reply = Reply::new(599, (5, 999, 999), format!("--=_report_\r\n\r\n{}\u{0}é", "x".repeat(5000)));
    let mut hostile = failed("bob@example.net");
    hostile.last = Some(LastReply::new("a\r\nb", &reply));
    hostile.original = Some(("x\r\ny: z".into(), "a\r\n\r\nb".into()));
    let item = item(vec![hostile]);
    let header = "Message-ID: <a\u{0}b>\r\n";
    let text =
        text(&facts(NoticeKind::Failure, &item, &[0]), &Returned::Header(header.replace('\0', "").into()));
    assert_eq!(status(&text).len(), 2);
    let odd = Returned::Header(Bytes::from_static(b"Message-ID: <a b>\r\n"));
    let (_, body) = compose(&facts(NoticeKind::Failure, &item, &[0]), &odd).unwrap();
    assert!(!String::from_utf8(body.concat()).unwrap().contains("In-Reply-To"));
}

#[test]
fn what_is_returned() {
    assert_eq!(header(b"A: b\r\nC: d\r\n\r\nbody".to_vec()), "A: b\r\nC: d\r\n");
    assert_eq!(header(b"\r\nbody".to_vec()), "");
    assert_eq!(header(b"A: b\r\nC: cut o".to_vec()), "A: b\r\n");
    assert_eq!(header(b"cut off".to_vec()), "");
    assert_eq!(without_return_path(pieces("return-PATH: <>\r\nA: b\r\n")).concat(), b"A: b\r\n");
    assert_eq!(without_return_path(pieces("A: b\r\n")).concat(), b"A: b\r\n");
    assert!(without_return_path(Vec::new()).is_empty());

    let folder = tempfile::tempdir().unwrap();
    let settings = estafette_storage::Settings { min_free_bytes: 0, ..Default::default() };
    let store = estafette_storage::Store::open(folder.path(), settings).unwrap();
    let put = |text: String| {
        let text = [Bytes::from(text)];
        let hash = estafette_storage::BodyHash::of(&text);
        let mut batch = estafette_storage::Batch::default();
        batch.put_body(hash, &text);
        batch.hold_body(hash, b"test");
        let (done, wait) = std::sync::mpsc::channel();
        store.commit(batch, vec![], move |result| done.send(result.is_ok()).unwrap());
        assert!(wait.recv().unwrap());
        store.body(&hash).unwrap().unwrap()
    };
    let (small, large) = (put(ORIGINAL.to_owned()), put(format!("{ORIGINAL}{}", "x".repeat(100_000))));
    let is_whole = |kind, dsn_return, body: &Body| {
        let item = Item { dsn_return, ..item(vec![]) };
        matches!(Returned::of(kind, &item, body).unwrap(), Returned::Whole(_))
    };
    let (full, headers) = (Some(DsnReturn::Full), Some(DsnReturn::Headers));
    assert!(is_whole(NoticeKind::Failure, None, &small) && !is_whole(NoticeKind::Failure, None, &large));
    assert!(is_whole(NoticeKind::Failure, full, &large) && !is_whole(NoticeKind::Failure, headers, &small));
    assert!(!is_whole(NoticeKind::Delay, full, &small) && !is_whole(NoticeKind::Success, full, &small));
    let binary = Item { body_type: BodyType::BinaryMime, ..item(vec![]) };
    let Returned::Header(header) = Returned::of(NoticeKind::Failure, &binary, &small).unwrap() else {
        panic!()
    };
    assert!(header.starts_with(b"Received: from x\r\n") && header.ends_with(b"Subject: hello\r\n"));
}
