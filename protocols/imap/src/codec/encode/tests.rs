use super::super::date::DateTime;
use super::super::fetch::{Part, Partial, Section, SectionText};
use super::super::flag::SpecialUse;
use super::super::response::MailboxAttribute;
use super::*;
use estafette_types::{Uid, UidValidity};
use std::num::NonZeroU32;

fn printed(dialect: Dialect, print: impl FnOnce(&mut Encoder)) -> String {
    let mut encoder = Encoder::new(dialect);
    print(&mut encoder);
    let length = encoder.len();
    let all = encoder.into_pieces().concat();
    assert_eq!(all.len(), length);
    String::from_utf8(all).unwrap()
}

fn ascii(print: impl FnOnce(&mut Encoder)) -> String {
    printed(Dialect::Ascii, print)
}

fn set(text: &[u32]) -> NumberSet {
    text.iter().copied().collect()
}

fn validity(n: u32) -> UidValidity {
    UidValidity(NonZeroU32::new(n).unwrap())
}

#[test]
fn conditions_and_codes() {
    let tag = Tag::new("A003").unwrap();
    let code = |code: Code| ascii(|e| e.tagged(&tag, Condition::Ok, Some(&code), "done"));
    for (value, expected) in [
        (Code::AppendUid(validity(38505), set(&[3955])), "APPENDUID 38505 3955"),
        (
            Code::CopyUid(validity(9), set(&[304, 319, 320]), set(&[3956, 3957, 3958])),
            "COPYUID 9 304,319:320 3956:3958",
        ),
        (Code::HighestModSeq(ModSeq(715_194_045_007)), "HIGHESTMODSEQ 715194045007"),
        (Code::Modified(set(&[7, 9])), "MODIFIED 7,9"),
        (Code::UidNext(Uid::MIN), "UIDNEXT 1"),
        (Code::UidValidity(validity(5)), "UIDVALIDITY 5"),
        (Code::ReadWrite, "READ-WRITE"),
        (Code::Capability(vec!["IMAP4rev2".into(), "IDLE".into()]), "CAPABILITY IMAP4rev2 IDLE"),
        (Code::PermanentFlags { flags: vec![Flag::Seen], new_keywords: true }, "PERMANENTFLAGS (\\Seen \\*)"),
        (Code::PermanentFlags { flags: vec![], new_keywords: false }, "PERMANENTFLAGS ()"),
        (Code::BadCharset(vec!["UTF-8".into()]), "BADCHARSET (UTF-8)"),
        (Code::MailboxId("F2212ea87".into()), "MAILBOXID (F2212ea87)"),
    ] {
        assert_eq!(code(value), format!("A003 OK [{expected}] done\r\n"));
    }
    assert_eq!(ascii(|e| e.untagged(Condition::Bye, None, "a\r\nb é\0")), "* BYE a??b ??\r\n");
    assert_eq!(ascii(|e| e.untagged(Condition::No, None, "")), "* NO -\r\n");
    assert_eq!(ascii(|e| e.untagged(Condition::Ok, None, "[x] y")), "* OK -[x] y\r\n");
    assert_eq!(ascii(|e| e.challenge(b"")), "+ \r\n");
    assert_eq!(ascii(|e| e.challenge(b"Password:")), "+ UGFzc3dvcmQ6\r\n");
}

#[test]
fn names_and_strings_take_the_form_they_need() {
    let list = |name: &str, dialect| {
        let entry = ListEntry {
            attributes: vec![MailboxAttribute::HasNoChildren, MailboxAttribute::Use(SpecialUse::Sent)],
            delimiter: '/',
            mailbox: Mailbox::new(name).unwrap(),
            child_info: false,
            old_name: None,
        };
        let line = printed(dialect, |e| e.list(&entry));
        line.strip_prefix("* LIST (\\HasNoChildren \\Sent) \"/\" ").unwrap().trim_end().to_owned()
    };
    for (name, ascii, utf8) in [
        ("inbox", "INBOX", "INBOX"),
        ("Sent Items", "\"Sent Items\"", "\"Sent Items\""),
        ("a\"b\\c", "\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\""),
        ("Entwürfe", "Entw&APw-rfe", "\"Entwürfe\""),
        ("A&B", "A&-B", "A&B"),
        ("nil", "\"nil\"", "\"nil\""),
        ("", "\"\"", "\"\""),
        ("a%*(", "\"a%*(\"", "\"a%*(\""),
        ("x]", "x]", "x]"),
    ] {
        assert_eq!(list(name, Dialect::Ascii), ascii, "{name}");
        assert_eq!(list(name, Dialect::Utf8), utf8, "{name}");
    }
    let string = |text: &[u8]| ascii(|e| e.string(text));
    assert_eq!(string(b"a\r\nb"), "{4}\r\na\r\nb");
    assert_eq!(string("é".as_bytes()), "{2}\r\né");
    assert_eq!(string(&[b'x'; 1025]), format!("{{1025}}\r\n{}", "x".repeat(1025)));
    assert_eq!(printed(Dialect::Utf8, |e| e.string("é\n".as_bytes())), "{3}\r\né\n");
}

#[test]
fn extended_list_responses() {
    let entry = |child_info, old: Option<&str>| ListEntry {
        attributes: vec![MailboxAttribute::NonExistent],
        delimiter: '/',
        mailbox: Mailbox::new("New").unwrap(),
        child_info,
        old_name: old.and_then(Mailbox::new),
    };
    let list = |entry: ListEntry| ascii(|e| e.list(&entry));
    let start = "* LIST (\\NonExistent) \"/\" New";
    assert_eq!(list(entry(true, None)), format!("{start} (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n"));
    assert_eq!(list(entry(false, Some("Old"))), format!("{start} (\"OLDNAME\" (Old))\r\n"));
    assert_eq!(
        list(entry(true, Some("Old"))),
        format!("{start} (\"CHILDINFO\" (\"SUBSCRIBED\") \"OLDNAME\" (Old))\r\n")
    );
    assert_eq!(ascii(|e| e.list_delimiter("LIST", '/')), "* LIST (\\Noselect) \"/\" \"\"\r\n");
    assert_eq!(
        ascii(|e| e.namespace([&[("", '/')], &[], &[("#s/", '/')]])),
        "* NAMESPACE ((\"\" \"/\")) NIL ((\"#s/\" \"/\"))\r\n"
    );
}

#[test]
fn data_responses() {
    let tag = Tag::new("A\"1").unwrap_or(Tag::new("A1").unwrap());
    let found = ESearch {
        min: Some(2),
        max: Some(11),
        all: Some(set(&[2, 10, 11])),
        count: Some(3),
        mod_seq: Some(ModSeq(9)),
    };
    let inbox = Mailbox::inbox();
    let items = [
        (StatusItem::Messages, StatusValue::Number(231)),
        (StatusItem::AppendLimit, StatusValue::Nil),
        (StatusItem::MailboxId, StatusValue::Id("F1".into())),
    ];
    let quota = [QuotaResource { name: "STORAGE", usage: 10, limit: 512 }];
    for (line, expected) in [
        (
            ascii(|e| e.esearch(&tag, true, &found)),
            "* ESEARCH (TAG \"A1\") UID MIN 2 MAX 11 COUNT 3 MODSEQ 9 ALL 2,10:11",
        ),
        (ascii(|e| e.esearch(&tag, false, &ESearch::default())), "* ESEARCH (TAG \"A1\")"),
        (ascii(|e| e.search([2, 84], Some(ModSeq(5)))), "* SEARCH 2 84 (MODSEQ 5)"),
        (ascii(|e| e.search([], None)), "* SEARCH"),
        (ascii(|e| e.status(&inbox, &items)), "* STATUS INBOX (MESSAGES 231 APPENDLIMIT NIL MAILBOXID (F1))"),
        (ascii(|e| e.quota("", &quota)), "* QUOTA \"\" (STORAGE 10 512)"),
        (ascii(|e| e.quota_root(&inbox, &["", "a"])), "* QUOTAROOT INBOX \"\" a"),
        (ascii(|e| e.vanished(true, &set(&[1, 2, 5]))), "* VANISHED (EARLIER) 1:2,5"),
        (ascii(|e| e.id(&[("name", Some("x")), ("os", None)])), "* ID (\"name\" \"x\" \"os\" NIL)"),
        (ascii(|e| e.id(&[])), "* ID NIL"),
        (ascii(|e| e.flags(&[Flag::Seen, Flag::parse("$Junk").unwrap()])), "* FLAGS (\\Seen $Junk)"),
        (ascii(|e| e.enabled(&[])), "* ENABLED"),
        (ascii(|e| e.exists(3)), "* 3 EXISTS"),
    ] {
        assert_eq!(line, format!("{expected}\r\n"));
    }
    assert_eq!(ascii(|e| e.vanished(false, &set(&[]))), "");
}

#[test]
fn fetch_responses_carry_bodies_by_reference() {
    let body = Bytes::from(vec![b'x'; 100_000]);
    let mut encoder = Encoder::new(Dialect::Ascii);
    let mut writer = encoder.fetch(12);
    writer.uid(Uid::new(7).unwrap());
    writer.flags(["\\Seen"], true);
    writer.internal_date(DateTime::utc(0));
    writer.size(100_000);
    writer.mod_seq(ModSeq(3));
    let part = Part(vec![NonZeroU32::MIN, NonZeroU32::MAX]);
    let fields = SectionText::HeaderFields(vec!["From".into(), "X y".into()]);
    let section = Section { part: part.clone(), text: Some(fields) };
    writer.section(&section, Some(Partial { offset: 5, length: 9 }), Some(Rope::from(&b"ab"[..])));
    writer.section(&Section::default(), None, Some(body.clone().into()));
    writer.binary(&part, None, Some(Rope::from(&b"\0"[..])));
    writer.binary(&Part::default(), None, None);
    writer.binary_size(&part, 4);
    writer.rfc822("RFC822.TEXT", Some(Rope::new()));
    writer.email_id("M1");
    writer.thread_id(None);
    writer.save_date(None);
    writer.preview(Some("hi"));
    writer.finish();
    let pieces = encoder.into_pieces();
    assert!(pieces.iter().any(|piece| piece.as_ptr() == body.as_ptr() && piece.len() == body.len()));
    let small: Vec<&[u8]> =
        pieces.iter().map(|p| if p.len() == body.len() { &b"..."[..] } else { p }).collect();
    assert_eq!(
        String::from_utf8(small.concat()).unwrap(),
        "* 12 FETCH (UID 7 FLAGS (\\Seen \\Recent) INTERNALDATE \" 1-Jan-1970 00:00:00 +0000\" RFC822.SIZE 100000 \
         MODSEQ (3) BODY[1.4294967295.HEADER.FIELDS (From \"X y\")]<5> {2}\r\nab BODY[] {100000}\r\n... \
         BINARY[1.4294967295] ~{1}\r\n\0 BINARY[] NIL BINARY.SIZE[1.4294967295] 4 RFC822.TEXT {0}\r\n EMAILID (M1) \
         THREADID NIL SAVEDATE NIL PREVIEW \"hi\")\r\n"
    );
}
