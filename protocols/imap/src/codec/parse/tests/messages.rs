//! Examples of the standards: messages.

use super::examples::{mailbox, number, set};
use super::*;
use crate::codec::command::*;
use crate::codec::date::{Date, DateTime};
use crate::codec::fetch::*;
use crate::codec::flag::{Flag, Keyword};
use crate::codec::search::*;
use crate::codec::sequence::SequenceSet;
use estafette_types::ModSeq;

fn keyword(text: &str) -> Flag {
    Flag::parse(text).unwrap()
}

fn fetch(text: &str) -> Result<Vec<FetchAttribute>, Fault> {
    match parse(&format!("FETCH {text}")) {
        Ok(CommandBody::Fetch(fetch)) => Ok(fetch.attributes),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault),
    }
}

fn search(text: &str) -> Result<Search, Fault> {
    match parse(&format!("SEARCH {text}")) {
        Ok(CommandBody::Search { search, .. }) => Ok(search),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault),
    }
}

fn key(text: &str) -> Result<SearchKey, Fault> {
    search(text).map(|search| search.key)
}

#[test]
fn fetches() {
    use FetchAttribute as A;
    let section = |part: &[u32], text: Option<SectionText>| Section {
        part: Part(part.iter().map(|n| number(*n)).collect()),
        text,
    };
    let body = |section, partial: Option<(u64, u64)>, peek| {
        let partial = partial.map(|(offset, length)| Partial { offset, length });
        A::Section(SectionFetch { section, partial, peek })
    };
    assert_eq!(fetch("1 fast"), Ok(vec![A::Flags, A::InternalDate, A::Rfc822Size]));
    assert_eq!(fetch("1 FULL").map(|a| a.len()), Ok(5));
    assert_eq!(fetch("1 (FLAGS UID flags)"), Ok(vec![A::Flags, A::Uid]));
    let fields = SectionText::HeaderFields(vec!["DATE".into(), "From".into()]);
    assert_eq!(
        fetch("2:4 (FLAGS BODY[HEADER.FIELDS (DATE \"From\")])"),
        Ok(vec![A::Flags, body(section(&[], Some(fields)), None, false)])
    );
    for (text, expected) in [
        ("BODY", A::Body),
        ("BODY[]", body(section(&[], None), None, false)),
        ("body.peek[]<0.2048>", body(section(&[], None), Some((0, 2048)), true)),
        ("BODY[4.1.MIME]", body(section(&[4, 1], Some(SectionText::Mime)), None, false)),
        ("BODY[1.2.header]", body(section(&[1, 2], Some(SectionText::Header)), None, false)),
        ("BODY[TEXT]<9.1>", body(section(&[], Some(SectionText::Text)), Some((9, 1)), false)),
        ("BODY[1]", body(section(&[1], None), None, false)),
        (
            "BODY.PEEK[3.HEADER.FIELDS.NOT ({2}\r\nTo)]",
            body(section(&[3], Some(SectionText::HeaderFieldsNot(vec!["To".into()]))), None, true),
        ),
        (
            "BINARY.PEEK[1.2]<0.9>",
            A::Binary(BinaryFetch {
                part: Part(vec![number(1), number(2)]),
                partial: Some(Partial { offset: 0, length: 9 }),
                peek: true,
            }),
        ),
        ("BINARY[]", A::Binary(BinaryFetch { part: Part::default(), partial: None, peek: false })),
        ("BINARY.SIZE[1]", A::BinarySize(Part(vec![number(1)]))),
        ("PREVIEW (LAZY)", A::Preview { lazy: true }),
        ("PREVIEW", A::Preview { lazy: false }),
        ("RFC822.HEADER", A::Rfc822Header),
    ] {
        assert_eq!(fetch(&format!("1 {text}")), Ok(vec![expected.clone()]), "{text}");
        assert_eq!(fetch(&format!("1 (UID {text})")), Ok(vec![A::Uid, expected]), "{text}");
    }
}

#[test]
fn fetches_that_are_none_and_modifiers() {
    for bad in [
        "BODY[0]",
        "BODY[MIME]",
        "BODY[1.]",
        "BODY[.1]",
        "BODY[1TEXT]",
        "BODY[1.FOO]",
        "BODY[",
        "BODY.PEEK",
        "BODY[]<0>",
        "BODY[]<0.0>",
        "BODY[HEADER.FIELDS ()]",
        "BODY[HEADER.FIELDS]",
        "BINARY[1.]",
        "BINARY[TEXT]",
        "()",
        "(UID",
        "FLAGSX",
        "UID FLAGS",
        "",
    ] {
        assert!(fetch(&format!("1 {bad}")).is_err(), "{bad}");
    }
    let Ok(CommandBody::Fetch(fetch)) = parse("UID FETCH $ FLAGS (CHANGEDSINCE 12345 VANISHED)") else {
        panic!("no fetch")
    };
    assert!(
        fetch.uid
            && fetch.vanished
            && fetch.changed_since == Some(ModSeq(12345))
            && fetch.set == SequenceSet::Saved
    );
    assert!(parse("FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)").is_err());
    assert!(parse("UID FETCH 1 FLAGS (VANISHED)").is_err());
    assert!(parse("UID FETCH 1 FLAGS (CHANGEDSINCE 9223372036854775808)").is_err());
}

#[test]
fn stores_and_copies() {
    let store = |text: &str| match parse(&format!("STORE {text}")) {
        Ok(CommandBody::Store(s)) => Ok((s.set, s.unchanged_since.map(|m| m.0), s.action, s.silent, s.flags)),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault),
    };
    use StoreAction::{Add, Remove, Replace};
    assert_eq!(store("2:4 +FLAGS (\\Deleted)"), Ok((set("2:4"), None, Add, false, vec![Flag::Deleted])));
    assert_eq!(
        store("7,5,9 (UNCHANGEDSINCE 320162338) -flags.silent \\Deleted $x"),
        Ok((set("7,5,9"), Some(320_162_338), Remove, true, vec![Flag::Deleted, keyword("$x")]))
    );
    assert_eq!(store("1 FLAGS ()"), Ok((set("1"), None, Replace, false, vec![])));
    assert_eq!(store("* FLAGS (\\Recent a A)"), Ok((set("*"), None, Replace, false, vec![keyword("a")])));
    for bad in [
        "1 FLAGS",
        "1 FLAGS (\\Foo)",
        "1 FLAGS (\\*)",
        "1 ++FLAGS (a)",
        "1 (FOO 1) FLAGS (a)",
        "0 FLAGS (a)",
        "1, FLAGS (a)",
        "1:2:3 FLAGS (a)",
        "4294967296 FLAGS (a)",
    ] {
        assert!(store(bad).is_err(), "{bad}");
    }
    assert_eq!(
        parse("COPY 2:4 MEETING"),
        Ok(CommandBody::Copy { uid: false, set: set("2:4"), mailbox: mailbox("MEETING") })
    );
    assert_eq!(
        parse("UID MOVE 42:69 foo"),
        Ok(CommandBody::Move { uid: true, set: set("42:69"), mailbox: mailbox("foo") })
    );
    assert_eq!(parse("UID NOOP"), Err(Fault::UnknownCommand));
    assert_eq!(parse("EXPUNGE 1"), Err(Fault::Expected("the end of the command")));
}

#[test]
fn appends() {
    let append = |text: &str| match parse(&format!("APPEND {text}")) {
        Ok(CommandBody::Append(append)) => Ok(append),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault),
    };
    let message = |bytes: &[u8]| AppendMessage {
        flags: vec![],
        date: None,
        message: bytes.into(),
        parts: None,
        utf8: false,
        binary: false,
    };
    let one = append("saved-messages (\\Seen) \" 7-Feb-1994 21:52:25 -0800\" {5+}\r\nab\r\nc").unwrap();
    assert_eq!(one.mailbox, mailbox("saved-messages"));
    let date = DateTime::parse(" 7-Feb-1994 21:52:25 -0800");
    assert_eq!(one.messages, [AppendMessage { flags: vec![Flag::Seen], date, ..message(b"ab\r\nc") }]);
    assert_eq!(
        append("x ~{2}\r\n\0a").unwrap().messages,
        [AppendMessage { binary: true, ..message(b"\0a") }]
    );
    assert_eq!(
        append("x UTF8 (~{2}\r\nab)").unwrap().messages,
        [AppendMessage { utf8: true, ..message(b"ab") }]
    );
    assert_eq!(append("x {1}\r\na (\\Draft) {1}\r\nb").unwrap().messages.len(), 2);
    assert_eq!(
        append("{5}\r\nInbox {0}\r\n").unwrap(),
        Append { mailbox: mailbox("INBOX"), messages: vec![message(b"")] }
    );
    for bad in [
        "x",
        "x \"abc\"",
        "x (\\Seen)",
        "x abc",
        "x UTF8 ({1}\r\na)",
        "x UTF8 (~{1}\r\na",
        "x \"bad date\" {1}\r\na",
        "x {1}\r\nab",
    ] {
        assert!(append(bad).is_err(), "{bad}");
    }
}

#[test]
fn searches() {
    use SearchKey as K;
    let flag = K::Flag;
    let not = |key| K::Not(Box::new(key));
    assert_eq!(
        key("FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\""),
        Ok(K::And(vec![
            flag(SearchFlag::Flagged),
            K::Internal(When::Since, Date::new(1994, 2, 1).unwrap()),
            not(K::Envelope(EnvelopeField::From, "Smith".into()))
        ]))
    );
    assert_eq!(key("CHARSET UTF-8 TEXT {6}\r\nПри"), Ok(K::Text("При".into())));
    assert_eq!(key("CHARSET KOI8-R ALL"), Err(Fault::Charset));
    assert_eq!(key("TEXT {1}\r\n\u{e9}").map(|_| ()), Err(Fault::Utf8));
    assert_eq!(key("(ALL)"), Ok(K::All));
    assert_eq!(key("NOT NOT NOT SEEN"), Ok(not(flag(SearchFlag::Seen))));
    assert_eq!(key("UNSEEN"), Ok(not(flag(SearchFlag::Seen))));
    for text in ["OR NEW OR OLD RECENT", "OR OR NEW OLD RECENT"] {
        assert_eq!(key(text), Ok(K::Or(vec![K::New, K::Old, K::Recent])));
    }
    assert_eq!(
        key("OR (NEW ALL) NOT OR OLD ALL"),
        Ok(K::Or(vec![K::And(vec![K::New, K::All]), not(K::Or(vec![K::Old, K::All]))]))
    );
    assert_eq!(key("1:9,* UID $"), Ok(K::And(vec![K::Sequence(set("1:9,*")), K::Uid(SequenceSet::Saved)])));
    assert_eq!(key("$ SMALLER 10"), Ok(K::And(vec![K::Sequence(SequenceSet::Saved), K::Smaller(10)])));
    assert_eq!(
        key("HEADER Message-ID \"\" KEYWORD $x"),
        Ok(K::And(vec![
            K::Header("Message-ID".into(), String::new()),
            K::Keyword(Keyword::new("$x").unwrap())
        ]))
    );
    assert_eq!(key("MODSEQ \"/flags/\\\\draft\" all 620162338"), Ok(K::ModSeq(ModSeq(620_162_338))));
    assert_eq!(
        key("MODSEQ 0 YOUNGER 60 SENTON \"1-Jan-2000\" EMAILID M6d99ac3275bb4e"),
        Ok(K::And(vec![
            K::ModSeq(ModSeq(0)),
            K::Younger(60),
            K::Sent(When::On, Date::new(2000, 1, 1).unwrap()),
            K::EmailId("M6d99ac3275bb4e".into())
        ]))
    );
}

#[test]
fn searches_with_returns_and_searches_that_are_none() {
    let returns = |text: &str| search(&format!("RETURN {text} ALL")).map(|s| s.returns);
    assert_eq!(search("ALL").map(|s| s.returns), Ok(None));
    assert_eq!(returns("()"), Ok(Some(SearchReturn { all: true, ..SearchReturn::default() })));
    assert_eq!(
        returns("(MIN COUNT save)"),
        Ok(Some(SearchReturn { min: true, count: true, save: true, ..SearchReturn::default() }))
    );
    assert!(key("NOT (OR MODSEQ 3 SEEN ALL)").is_ok_and(|k| k.uses_mod_seq()));
    for bad in [
        "",
        "()",
        "NOT",
        "OR ALL",
        "FOO",
        "FROM",
        "BEFORE 1-Foo-2000",
        "OLDER 0",
        "LARGER x",
        "RETURN (FOO) ALL",
        "ALL)",
        "(ALL",
        "MODSEQ \"x\" foo 1",
        "EMAILID a.b",
        "KEYWORD \"a b\"",
    ] {
        assert!(key(bad).is_err(), "{bad}");
    }
}
