//! Examples of the standards: sessions and mailboxes.

use super::*;
use crate::codec::command::*;
use crate::codec::flag::SpecialUse;
use crate::codec::mailbox::*;
use crate::codec::sequence::SequenceSet;
use estafette_types::{ModSeq, UidValidity};
use std::num::NonZeroU32;

pub(super) fn set(text: &str) -> SequenceSet {
    match parse(&format!("UID EXPUNGE {text}")) {
        Ok(CommandBody::Expunge(Some(set))) => set,
        other => panic!("{other:?}"),
    }
}

pub(super) fn mailbox(name: &str) -> Mailbox {
    Mailbox::new(name).unwrap()
}

pub(super) fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
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
        other => Err(format!("{other:?}")),
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
