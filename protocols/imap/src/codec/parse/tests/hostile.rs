//! Input that wants to do harm.

use super::*;
use crate::codec::search::{SEARCH_DEPTH_MAX, SEARCH_KEYS_MAX, SearchKey};
use crate::codec::sequence::RANGES_MAX;
use proptest::prelude::*;
use std::time::{Duration, Instant};

#[test]
fn tags_are_given_back_when_they_can_be_read() {
    let fault = |line: &[u8]| {
        let error = parse_in(line, Dialect::Ascii).unwrap_err();
        (error.tag.map(|tag| tag.to_string()), error.fault)
    };
    assert_eq!(fault(b"\r\n"), (None, Fault::Tag));
    assert_eq!(fault(b" NOOP\r\n"), (None, Fault::Tag));
    assert_eq!(fault(b"a\r\n"), (None, Fault::Tag));
    assert_eq!(fault(b"+ NOOP\r\n"), (None, Fault::Tag));
    assert_eq!(fault(b"a+b NOOP\r\n"), (None, Fault::Tag));
    assert_eq!(fault(b"\xff NOOP\r\n"), (None, Fault::Tag));
    assert_eq!(fault(format!("{} NOOP\r\n", "t".repeat(256)).as_bytes()), (None, Fault::Tag));
    assert_eq!(fault(b"a \r\n"), (Some("a".into()), Fault::Expected("a command")));
    assert_eq!(fault(b"a  NOOP\r\n"), (Some("a".into()), Fault::Expected("a command")));
    assert_eq!(fault(b"] GET\r\n"), (Some("]".into()), Fault::UnknownCommand));
    assert_eq!(fault(b"a NOOP\xff\r\n"), (Some("a".into()), Fault::Expected("the end of the command")));
    assert_eq!(fault(b"GET / HTTP/1.1\r\n").1, Fault::UnknownCommand);
}

#[test]
fn nesting_and_counts_are_bounded() {
    let search = |keys: String| match parse(&format!("SEARCH {keys}")) {
        Ok(CommandBody::Search { search, .. }) => Ok(search.key),
        Ok(other) => panic!("{other:?}"),
        Err(fault) => Err(fault),
    };
    let nested = |n| format!("{}ALL{}", "(".repeat(n), ")".repeat(n));
    assert_eq!(search(nested(SEARCH_DEPTH_MAX)), Ok(SearchKey::All));
    assert_eq!(search(nested(SEARCH_DEPTH_MAX + 1)), Err(Fault::TooMany("levels of search keys")));
    assert_eq!(search(nested(30_000)), Err(Fault::TooMany("levels of search keys")));
    assert_eq!(search("NOT ".repeat(10_000) + "ALL"), Err(Fault::TooMany("search keys")));
    assert_eq!(search("OR NOT ".repeat(5_000) + "ALL"), Err(Fault::TooMany("levels of search keys")));
    // A chain of OR does not nest, on whichever side.
    let right = "OR ALL ".repeat(SEARCH_KEYS_MAX / 2 - 1) + "ALL";
    let left = format!("{}{}", "OR ".repeat(2000), vec!["ALL"; 2001].join(" "));
    assert!(matches!(search(right), Ok(SearchKey::Or(keys)) if keys.len() == SEARCH_KEYS_MAX / 2));
    assert!(matches!(search(left), Ok(SearchKey::Or(keys)) if keys.len() == 2001));

    let ranges = |n| format!("UID EXPUNGE {}", vec!["1"; n].join(","));
    assert!(parse(&ranges(RANGES_MAX)).is_ok());
    assert_eq!(parse(&ranges(RANGES_MAX + 1)), Err(Fault::TooMany("ranges")));
    let part = format!("FETCH 1 BODY[{}1]", "1.".repeat(20_000));
    assert_eq!(parse(&part), Err(Fault::TooMany("levels")));
    let flags = format!("STORE 1 FLAGS {}", (0..300).map(|n| format!("k{n}")).collect::<Vec<_>>().join(" "));
    assert_eq!(parse(&flags), Err(Fault::TooMany("flags")));
    let patterns = format!("LIST \"\" ({})", vec!["*"; 101].join(" "));
    assert_eq!(parse(&patterns), Err(Fault::TooMany("patterns")));
}

#[test]
fn long_commands_take_linear_time() {
    let start = Instant::now();
    let fields: String =
        (0..200).map(|n| format!("BODY[HEADER.FIELDS ({})] ", format!("x{n} ").repeat(50).trim())).collect();
    let _ = parse(&format!("FETCH 1 ({})", fields.trim()));
    let _ = parse(&format!("LOGIN \"{}\" x", "\\\"".repeat(30_000)));
    let _ = parse(&format!("LOGIN \"{}", "a".repeat(60_000)));
    let _ = parse(&format!("SEARCH {}", "TEXT \"".repeat(10_000)));
    let _ = parse(&format!("SEARCH {}", "TEXT {1+}\r\nx ".repeat(900)));
    let _ = parse(&format!("NOOP{}", " ".repeat(60_000)));
    let _ = parse(&format!("STORE 1 FLAGS x{}", " ".repeat(60_000)));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn passing_spaces_at_the_end_costs_no_quadratic_time() {
    let start = Instant::now();
    let _ = parse(&format!("ENABLE {}", "x ".repeat(30_000)));
    let _ = parse(&format!("SEARCH ALL{}x", " ".repeat(60_000)));
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// Words of the grammar in any order, so that the parser is led far in.
fn soup() -> impl Strategy<Value = String> {
    let words = [
        "UID",
        "FETCH",
        "STORE",
        "SEARCH",
        "SELECT",
        "LIST",
        "STATUS",
        "APPEND",
        "COPY",
        "ID",
        "ENABLE",
        "RETURN",
        "(",
        ")",
        "[",
        "]",
        " ",
        " ",
        " ",
        "1:*",
        "$",
        "2,4:7",
        "\"a\"",
        "\"",
        "{1+}\r\nx",
        "~{1+}\r\ny",
        "BODY",
        "BODY.PEEK[",
        "HEADER.FIELDS",
        "TEXT",
        "OR",
        "NOT",
        "ALL",
        "<0.1>",
        "\\Seen",
        "FLAGS",
        "+FLAGS.SILENT",
        "NIL",
        "INBOX",
        "*",
        "%",
        "&-",
        "&",
        "QRESYNC",
        "CONDSTORE",
        "CHANGEDSINCE",
        "1.2.",
        "MIME",
        "CHARSET",
        "UTF-8",
        "UTF8",
        "\" 1-Jan-2000 00:00:00 +0000\"",
        "SUBJECT",
        "é",
        "=",
        "0",
        "99999999999999999999",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..25).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn nothing_panics(soup in soup(), verb in "(FETCH 1|SEARCH|STORE 1|SELECT|LIST|APPEND x|ID|STATUS x|UID FETCH 1)? ?") {
        for dialect in [Dialect::Ascii, Dialect::Utf8] {
            let _ = parse_in(format!("a {verb}{soup}\r\n").as_bytes(), dialect);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>().prop_filter("ends a line", |b| !matches!(b, b'\r' | b'\n' | b'}')), 0..200)) {
        let _ = parse_in(&[&bytes[..], b"\r\n"].concat(), Dialect::Utf8);
    }
}
