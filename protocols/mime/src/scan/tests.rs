//! Scans of odd and hostile messages.

use crate::{
    HEADER_KEPT_MAX_BYTES, HeaderBlock, Kind, NESTING_MAX, PARAMETERS_MAX, PARTS_MAX, Scanner, Structure,
};
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

/// A structure as text: type, header, body and lines of each part, indented by depth.
fn outline(message: &str) -> Vec<String> {
    let structure = Structure::of([message.as_bytes()]);
    assert_pieces_make_no_difference(message.as_bytes(), &structure);
    let mut ends: Vec<u32> = Vec::new();
    let mut lines = Vec::new();
    for (part, index) in structure.parts().iter().zip(0u32..) {
        while ends.last().is_some_and(|end| *end <= index) {
            ends.pop();
        }
        let body =
            &message[usize::try_from(part.body_start).unwrap()..usize::try_from(part.body_end).unwrap()];
        let body = if part.kind == Kind::Single { format!(" {body:?}") } else { String::new() };
        lines.push(format!(
            "{}{}/{} {}+{} {}{body}",
            "  ".repeat(ends.len()),
            String::from_utf8_lossy(&part.media_type),
            String::from_utf8_lossy(&part.subtype),
            part.header_start,
            part.body_start - part.header_start,
            part.lines,
        ));
        ends.push(part.subtree_end);
    }
    lines
}

fn assert_pieces_make_no_difference(message: &[u8], whole: &Structure) {
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(&Structure::of(message.chunks(size)), whole, "in pieces of {size}");
    }
}

const MIXED: &str = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";

#[test]
fn plain_messages() {
    assert_eq!(outline(""), ["text/plain 0+0 0 \"\""]);
    assert_eq!(outline("\r\n"), ["text/plain 0+2 0 \"\""]);
    assert_eq!(outline("Subject: x"), ["text/plain 0+10 0 \"\""]);
    assert_eq!(outline("A: b\r\n\r\nbody\r\n.\r\nno end"), ["text/plain 0+8 2 \"body\\r\\n.\\r\\nno end\""]);
    assert_eq!(outline("A: b\n\nbody\n"), ["text/plain 0+6 1 \"body\\n\""]);
    assert_eq!(outline("no colon\r\nA: b\r\n\r\nx"), ["text/plain 0+18 0 \"x\""]);
}

#[test]
fn content_fields_count_only_with_mime() {
    let part = |header: &str| Structure::of([header.as_bytes()]).parts()[0].clone();
    assert_eq!(part("Content-Transfer-Encoding: base64\r\n\r\n").encoding, None);
    let with = part("Content-Transfer-Encoding: base64\r\nMime-Version: 1.0\r\n\r\n");
    assert_eq!(with.encoding.as_deref(), Some(&b"base64"[..]));
}

#[test]
fn preamble_parts_and_epilogue() {
    let message =
        format!("{MIXED}pre\r\n--b\r\n\r\none\r\n--b  \r\nX: y\r\n\r\n\r\n--b--\r\nepilogue\r\n--b\r\n");
    assert_eq!(
        outline(&message),
        ["multipart/mixed 0+45 11", "  text/plain 55+2 0 \"one\"", "  text/plain 69+8 0 \"\""]
    );
}

#[test]
fn broken_boundaries() {
    // Not closed; the last boundary without a line end, and with one.
    let open = outline(&format!("{MIXED}--b\r\n\r\none\r\ntwo\r\n"));
    assert_eq!(open, ["multipart/mixed 0+45 4", "  text/plain 50+2 2 \"one\\r\\ntwo\\r\\n\""]);
    assert_eq!(outline(&format!("{MIXED}--b")), ["multipart/mixed 0+45 0"]);
    assert_eq!(outline(&format!("{MIXED}--b\r\n")), ["multipart/mixed 0+45 1", "  text/plain 50+0 0 \"\""]);
    // No parameter, no boundary in the body, closed at once.
    assert_eq!(outline("Content-Type: multipart/mixed\r\n\r\n--b\r\n"), ["multipart/mixed 0+33 1"]);
    assert_eq!(outline(&format!("{MIXED}text\r\n")), ["multipart/mixed 0+45 1"]);
    assert_eq!(outline(&format!("{MIXED}--b--\r\ntext\r\n")), ["multipart/mixed 0+45 2"]);
    // A header that a boundary cuts: the line end goes with the boundary.
    let cut = outline(&format!("{MIXED}--b\r\nX: y\r\n--b\r\n--b--\r\n"));
    assert_eq!(cut, ["multipart/mixed 0+45 4", "  text/plain 50+4 0 \"\"", "  text/plain 61+0 0 \"\""]);
}

#[test]
fn an_outer_boundary_closes_what_is_within() {
    let inner = "Content-Type: multipart/alternative; boundary=bb\r\n\r\n--bb\r\n\r\nx\r\n";
    let message = format!("{MIXED}--b\r\n{inner}--b\r\n\r\ny\r\n--b--\r\n");
    assert_eq!(
        outline(&message),
        [
            "multipart/mixed 0+45 10",
            "  multipart/alternative 50+52 2",
            "    text/plain 108+2 0 \"x\"",
            "  text/plain 118+2 0 \"y\"",
        ]
    );
}

#[test]
fn digests_and_messages_within() {
    let digest = "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: a\r\n\r\nx\r\n--d\r\n\
        Content-Type: text/html\r\n\r\ny\r\n--d--\r\n";
    assert_eq!(
        outline(digest),
        [
            "multipart/digest 0+46 10",
            "  message/rfc822 51+2 2",
            "    text/plain 53+14 0 \"x\"",
            "  text/html 75+27 0 \"y\"",
        ]
    );
    let structure = Structure::of([digest.as_bytes()]);
    let subject = structure.at(2).and_then(|p| p.part().envelope.as_ref()?.subject.clone());
    assert_eq!(subject.as_deref(), Some(&b"a"[..]));
    // A message part that is cut off still has its message.
    let cut = outline(&format!("{MIXED}--b\r\nContent-Type: message/rfc822\r\n--b--"));
    assert_eq!(cut, ["multipart/mixed 0+45 2", "  message/rfc822 50+28 0", "    text/plain 78+0 0 \"\""]);
}

#[test]
fn long_headers_are_not_kept() {
    let long = format!("X: {}\r\n\r\nbody", "y".repeat(HEADER_KEPT_MAX_BYTES));
    let structure = Structure::of([long.as_bytes()]);
    assert_eq!(structure.header(), &HeaderBlock::InMessage);
    assert_eq!(structure.octets(), long.len() as u64);
    let short = Structure::of([b"A: b\r\nC: d\n\r\nbody"]);
    assert_eq!(short.header(), &HeaderBlock::Kept(bytes::Bytes::from_static(b"A: b\r\nC: d\n\r\n")));
}

/// Every one of these takes far less than this in a build without optimisation.
const LIMIT: Duration = Duration::from_secs(20);

fn scan_hostile(name: &str, pieces: impl Iterator<Item = String>) -> Structure {
    let started = Instant::now();
    let mut scanner = Scanner::new();
    for piece in pieces {
        scanner.feed(piece.as_bytes());
    }
    let structure = scanner.finish();
    assert!(started.elapsed() < LIMIT, "{name} took {:?}", started.elapsed());
    assert!(structure.parts().len() <= PARTS_MAX, "{name}");
    let encoded = structure.encode();
    assert_eq!(Structure::decode(encoded).as_ref(), Ok(&structure), "{name}");
    structure
}

fn start(text: &str) -> impl Iterator<Item = String> + use<> {
    std::iter::once(text.to_owned())
}

#[test]
fn hostile_messages_stay_within_limits() {
    let part = "--b\r\nContent-Type: text/plain; a=b; c=d\r\nContent-ID: <x>\r\n\r\nx\r\n";
    let many = scan_hostile("parts", start(MIXED).chain((0..100_000).map(|_| part.to_owned())));
    assert_eq!(many.parts().len(), PARTS_MAX);

    let nest = |n: u32| format!("Content-Type: multipart/mixed; boundary=n{n:06}\r\n\r\n--n{n:06}\r\n");
    let nested = scan_hostile("nesting", (0..100_000).map(nest));
    assert_eq!(nested.parts().len(), NESTING_MAX);
    let prefix = |n: usize| {
        format!("Content-Type: multipart/mixed; boundary={0}\r\n\r\n--{0}\r\n", "a".repeat(n % 99 + 1))
    };
    scan_hostile("prefixes", (0..100_000).map(prefix));
    let message = |_| "Content-Type: message/rfc822\r\n\r\n".to_owned();
    assert_eq!(scan_hostile("messages", (0..100_000).map(message)).parts().len(), NESTING_MAX);

    let kilobyte = "b".repeat(1000);
    let boundary =
        start("Content-Type: multipart/mixed; boundary=\"").chain((0..10_000).map(|_| kilobyte.clone()));
    scan_hostile("boundary", boundary.chain(start("\"\r\n\r\n--b\r\n")));
    let header = (0..200_000).map(|n| format!("To: a@b, c@d, e@f{n},,,,,,,,,,,,,,,,,,,,,,,,\r\n"));
    scan_hostile("header", header);
    let to = start("To: ").chain((0..200_000).map(|_| "a,b:;,".to_owned()));
    scan_hostile("addresses", to);
    let to = |n: u32| {
        format!("--b\r\nContent-Type: message/rfc822\r\n\r\nTo: {}\r\n\r\n{n}\r\n", "a,".repeat(2000))
    };
    scan_hostile("addresses of many messages", start(MIXED).chain((0..4000).map(to)));
    let parameters = start("Content-Type: a/b").chain((0..200_000).map(|n| format!(";\r\n x{n}=y")));
    assert!(scan_hostile("parameters", parameters).parts()[0].parameters.len() <= PARAMETERS_MAX);
    scan_hostile("folds", start("Subject: x").chain((0..1_000_000).map(|_| "\r\n ".to_owned())));
    scan_hostile("dashes", start(MIXED).chain((0..300_000).map(|_| "--\r\n--b--\r\n--".to_owned())));
    scan_hostile("nothing", (0..300_000).map(|_| "\0\r\u{e9}\n".to_owned()));
}

proptest! {
    #[test]
    fn every_message_has_a_structure(
        pieces in proptest::collection::vec(prop_oneof![
            Just("Content-Type: multipart/mixed; boundary=a\r\n"),
            Just("Content-Type: multipart/digest; boundary=ab\n"),
            Just("Content-Type: message/rfc822\r\n"),
            Just("Subject: x"), Just("\r\n"), Just("\n"), Just("\r"), Just(" "), Just("--a"), Just("--ab"),
            Just("--"), Just("-"), Just("\0"), Just("To: a, b"), Just("--a\r\n"), Just("--ab--\r\n"),
        ], 0..40)
    ) {
        let message = pieces.concat();
        let structure = Structure::of([message.as_bytes()]);
        prop_assert_eq!(structure.octets(), message.len() as u64);
        for part in structure.parts() {
            prop_assert!(part.header_start <= part.body_start && part.body_start <= part.body_end);
            if let Some(parent) = part.parent {
                let parent = &structure.parts()[parent as usize];
                prop_assert!(parent.body_start <= part.header_start && part.body_end <= parent.body_end);
            }
            let body = &message.as_bytes()[place(part.body_start)..place(part.body_end)];
            let lines = body.iter().filter(|b| **b == b'\n').count() as u64;
            prop_assert_eq!(part.lines, lines);
        }
        prop_assert_eq!(&Structure::of(message.as_bytes().chunks(1)), &structure);
        prop_assert_eq!(Structure::decode(structure.encode()), Ok(structure));
    }
}
