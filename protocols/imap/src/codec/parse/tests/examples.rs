//! Examples of the standards, and what is made of them.

use super::*;
use crate::codec::command::*;
use crate::codec::date::{Date, DateTime};
use crate::codec::fetch::*;
use crate::codec::flag::{Flag, SpecialUse};
use crate::codec::mailbox::*;
use crate::codec::search::*;
use crate::codec::sequence::SequenceSet;
use estafette_types::{ModSeq, UidValidity};
use std::num::NonZeroU32;

fn set(text: &str) -> SequenceSet {
    match parse(&format!("UID EXPUNGE {text}")) {
        Ok(CommandBody::Expunge(Some(set))) => set,
        other => panic!("{other:?}"),
    }
}

fn mailbox(name: &str) -> Mailbox {
    Mailbox::new(name).unwrap()
}

fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn keyword(text: &str) -> Flag {
    Flag::parse(text).unwrap()
}

#[test]
fn plain_commands() {
    for verb in [
        "CAPABILITY",
        "NOOP",
        "LOGOUT",
        "STARTTLS",
        "NAMESPACE",
        "IDLE",
        "CHECK",
        "CLOSE",
        "UNSELECT",
        "EXPUNGE",
    ] {
        assert_eq!(parse(verb).unwrap().verb(), verb);
        assert_eq!(parse(&format!("{} ", verb.to_lowercase())).unwrap().verb(), verb);
        assert_eq!(parse(&format!("{verb} x")), Err(Fault::Expected("the end of the command")));
    }
    for name in ["inbox", "\"INBOX\"", "{5+}\r\nInBoX"] {
        assert_eq!(parse(&format!("DELETE {name}")), Ok(CommandBody::Delete(mailbox("INBOX"))));
    }
    assert_eq!(
        parse("RENAME blurdybloop \"sarasoop x\""),
        Ok(CommandBody::Rename { from: mailbox("blurdybloop"), to: mailbox("sarasoop x") })
    );
    assert_eq!(parse("SUBSCRIBE #news.comp]x"), Ok(CommandBody::Subscribe(mailbox("#news.comp]x"))));
    assert_eq!(parse("GETQUOTA \"\""), Ok(CommandBody::GetQuota(String::new())));
    assert_eq!(
        parse("SETQUOTA \"\" (STORAGE 512 message 3)"),
        Ok(CommandBody::SetQuota {
            root: String::new(),
            limits: vec![("STORAGE".into(), 512), ("MESSAGE".into(), 3)]
        })
    );
}

#[test]
fn logins() {
    let login = |user: &str, password: &'static str| {
        let (username, password) =
            (Bytes::copy_from_slice(user.as_bytes()), Secret(Bytes::from_static(password.as_bytes())));
        Ok(CommandBody::Login { username, password })
    };
    assert_eq!(parse("LOGIN SMITH SESAME"), login("SMITH", "SESAME"));
    assert_eq!(parse("LOGIN {11}\r\nFRED FOOBAR {7}\r\nfat man"), login("FRED FOOBAR", "fat man"));
    assert_eq!(parse("LOGIN \"a\\\"b\\\\\" \"\""), login("a\"b\\", ""));
    assert_eq!(parse("LOGIN u \"pä\""), login("u", "pä"));
    assert!(!format!("{:?}", parse("LOGIN u hunter2")).contains("hunter2"));
    let authenticate = |text: &str| match parse(&format!("AUTHENTICATE {text}")) {
        Ok(CommandBody::Authenticate(a)) => Ok((a.mechanism, a.initial_response.map(|r| r.0))),
        other => Err(other),
    };
    assert_eq!(authenticate("plain"), Ok(("PLAIN".into(), None)));
    assert_eq!(
        authenticate("PLAIN dGVzdAB0ZXN0AHRlc3Q="),
        Ok(("PLAIN".into(), Some(Bytes::from_static(b"test\0test\0test"))))
    );
    assert_eq!(authenticate("EXTERNAL ="), Ok(("EXTERNAL".into(), Some(Bytes::new()))));
    for bad in ["PLAIN x", "PLAIN =dGVzdA==", "PLAIN dGVzdA= =", "PLAIN dGVzdA==\u{e9}"] {
        assert!(authenticate(bad).is_err(), "{bad}");
    }
    assert_eq!(authenticate_response(b"*"), Ok(None));
    assert_eq!(authenticate_response(b"AA=="), Ok(Some(Secret(Bytes::from_static(b"\0")))));
    assert_eq!(authenticate_response(b""), Ok(Some(Secret(Bytes::new()))));
    assert_eq!(authenticate_response(b"A"), Err(Fault::Base64));
    assert!(is_done(b"done") && is_done(b"DONE ") && !is_done(b"DONEX") && !is_done(b""));
}

#[test]
fn id_and_enable() {
    let id = |text: &str| parse(&format!("ID {text}"));
    let field = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    assert_eq!(id("NIL"), Ok(CommandBody::Id(vec![])));
    assert_eq!(id("()"), Ok(CommandBody::Id(vec![])));
    assert_eq!(
        id("(\"name\" \"sodr\" \"os\" NIL)"),
        Ok(CommandBody::Id(vec![field("name", Some("sodr")), field("os", None)]))
    );
    assert!(id("(\"name\")").is_err());
    assert_eq!(id(&format!("({})", vec!["\"a\" \"b\""; 31].join(" "))), Err(Fault::TooMany("fields")));
    assert_eq!(
        parse("ENABLE imap4rev2 CONDSTORE qresync UTF8=ACCEPT x-good-idea"),
        Ok(CommandBody::Enable(vec![
            Enable::Imap4Rev2,
            Enable::CondStore,
            Enable::QResync,
            Enable::Utf8Accept,
            Enable::Other("X-GOOD-IDEA".into())
        ]))
    );
    assert!(parse("ENABLE").is_err());
}

#[test]
fn names_follow_the_dialect() {
    let name = |bytes: &[u8], dialect| match parse_in(&[b"a SELECT ", bytes, b"\r\n"].concat(), dialect) {
        Ok(Command { body: CommandBody::Select(select), .. }) => Ok(select.mailbox.as_str().to_owned()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.fault),
    };
    assert_eq!(name(b"&U,BTFw-/x", Dialect::Ascii).as_deref(), Ok("台北/x"));
    assert_eq!(name(b"&U,BTFw-", Dialect::Utf8).as_deref(), Ok("&U,BTFw-"));
    assert_eq!(name("\"台北\"".as_bytes(), Dialect::Ascii), Err(Fault::EightBit));
    assert_eq!(name("\"台北\"".as_bytes(), Dialect::Utf8).as_deref(), Ok("台北"));
    assert_eq!(name("{6}\r\n台北".as_bytes(), Dialect::Utf8).as_deref(), Ok("台北"));
    assert_eq!(name("{6}\r\n台北".as_bytes(), Dialect::Ascii), Err(Fault::Mailbox));
    assert_eq!(name(b"\"\xff\"", Dialect::Utf8), Err(Fault::Utf8));
    assert_eq!(name(b"{1}\r\n\xff", Dialect::Utf8), Err(Fault::Mailbox));
    assert_eq!(name(b"A&B", Dialect::Ascii), Err(Fault::Mailbox));
    assert_eq!(name(b"\"a\tb\"", Dialect::Utf8), Err(Fault::Mailbox));
    assert_eq!(name("x".repeat(1001).as_bytes(), Dialect::Utf8), Err(Fault::Mailbox));
    assert_eq!(name("caf\u{e9}".as_bytes(), Dialect::Utf8), Err(Fault::Expected("a space")));
}

#[test]
fn selects_with_parameters() {
    let plain = Select { mailbox: mailbox("x"), condstore: false, qresync: None };
    assert_eq!(parse("SELECT x"), Ok(CommandBody::Select(plain.clone())));
    assert_eq!(
        parse("EXAMINE x (CONDSTORE)"),
        Ok(CommandBody::Examine(Select { condstore: true, ..plain.clone() }))
    );
    let qresync = |known: Option<&str>, matched: Option<(&str, &str)>| QResync {
        uid_validity: UidValidity(number(67_890_007)),
        mod_seq: ModSeq(20_050_715_194_045_000),
        known_uids: known.map(set),
        seq_match: matched.map(|(a, b)| (set(a), set(b))),
    };
    for (text, expected) in [
        ("", qresync(None, None)),
        (" 41,43:211", qresync(Some("41,43:211"), None)),
        (" (1,3 5,7)", qresync(None, Some(("1,3", "5,7")))),
        (" 1:9 (1,3 5,7)", qresync(Some("1:9"), Some(("1,3", "5,7")))),
    ] {
        let command = format!("SELECT x (QRESYNC (67890007 20050715194045000{text}))");
        assert_eq!(
            parse(&command),
            Ok(CommandBody::Select(Select { qresync: Some(expected), ..plain.clone() }))
        );
    }
    for bad in [
        "()",
        "(FOO)",
        "(QRESYNC)",
        "(QRESYNC (0 1))",
        "(QRESYNC (1 2 1:*))",
        "(QRESYNC (1 2 $))",
        "(CONDSTORE",
    ] {
        assert!(parse(&format!("SELECT x {bad}")).is_err(), "{bad}");
    }
    let create = |special_use| Ok(CommandBody::Create(Create { mailbox: mailbox("MySpecial"), special_use }));
    assert_eq!(
        parse("CREATE MySpecial (USE (\\Drafts \\sent))"),
        create(vec![SpecialUse::Drafts, SpecialUse::Sent])
    );
    assert_eq!(parse("CREATE MySpecial"), create(vec![]));
    assert!(parse("CREATE x (USE (\\Bad))").is_err());
}

#[test]
fn lists() {
    let list = |text: &str| match parse(&format!("LIST {text}")) {
        Ok(CommandBody::List(list)) => Ok(list),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault),
    };
    let patterns = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
    let plain = |reference: &str, pattern: &str| List {
        reference: reference.into(),
        patterns: patterns(&[pattern]),
        ..List::default()
    };
    assert_eq!(list("\"\" \"\""), Ok(plain("", "")));
    assert_eq!(list("/usr/staff/ *%]"), Ok(plain("/usr/staff/", "*%]")));
    assert_eq!(list("\"\" Entw&APw-%"), Ok(plain("", "Entwü%")));
    assert_eq!(list("() \"\" a").map(|l| (l.extended, l.selection)), Ok((true, ListSelection::default())));
    assert_eq!(list("\"\" (\"INBOX\" Drafts)").map(|l| l.patterns), Ok(patterns(&["INBOX", "Drafts"])));
    let full = list(
        "(SUBSCRIBED REMOTE RECURSIVEMATCH special-use) \"\" \"*\" RETURN (CHILDREN SPECIAL-USE SUBSCRIBED STATUS (MESSAGES UNSEEN))",
    );
    assert_eq!(
        full,
        Ok(List {
            selection: ListSelection {
                subscribed: true,
                remote: true,
                recursive_match: true,
                special_use: true
            },
            returns: ListReturn {
                subscribed: true,
                children: true,
                special_use: true,
                status: Some(vec![StatusItem::Messages, StatusItem::Unseen])
            },
            extended: true,
            ..plain("", "*")
        })
    );
    assert!(list("\"\" \"*\" RETURN ()").is_ok_and(|l| l.extended));
    for bad in [
        "(RECURSIVEMATCH) \"\" *",
        "(RECURSIVEMATCH REMOTE) \"\" *",
        "(X) \"\" *",
        "\"\" ()",
        "\"\" * RETURN",
        "\"\" * RETURN (X)",
        "\"\"",
        "",
    ] {
        assert!(list(bad).is_err(), "{bad}");
    }
    assert_eq!(
        parse("LSUB \"#news.\" \"comp.mail.*\""),
        Ok(CommandBody::Lsub { reference: "#news.".into(), pattern: "comp.mail.*".into() })
    );
    assert_eq!(
        parse("STATUS blurdybloop (UIDNEXT messages UIDNEXT HIGHESTMODSEQ DELETED-STORAGE)"),
        Ok(CommandBody::Status {
            mailbox: mailbox("blurdybloop"),
            items: vec![
                StatusItem::UidNext,
                StatusItem::Messages,
                StatusItem::HighestModSeq,
                StatusItem::DeletedStorage
            ]
        })
    );
    assert!(parse("STATUS x ()").is_err() && parse("STATUS x (FOO)").is_err());
}

#[test]
fn fetches() {
    let fetch = |text: &str| match parse(&format!("FETCH {text}")) {
        Ok(CommandBody::Fetch(fetch)) => Ok(fetch.attributes),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault),
    };
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
    let Ok(CommandBody::Fetch(fetch)) =
        parse("UID FETCH 300:500,$x (FLAGS)").or(parse("UID FETCH $ FLAGS (CHANGEDSINCE 12345 VANISHED)"))
    else {
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
    let search = |text: &str| match parse(&format!("SEARCH {text}")) {
        Ok(CommandBody::Search { search, .. }) => Ok(search),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault),
    };
    let key = |text: &str| search(text).map(|s| s.key);
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
            K::Keyword(crate::codec::flag::Keyword::new("$x").unwrap())
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
