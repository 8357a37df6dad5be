use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    line: 100,
    command: 300,
    literal: 50,
    append: 200,
    part_from: u64::MAX,
    non_sync: 150,
    literals: 4,
    swallow: 1000,
};

/// What comes out when the input arrives in pieces that end at `cuts`. A continuation is taken as
/// given at once.
fn run(bytes: &[u8], cuts: &[usize], limits: Limits) -> Vec<Framed> {
    let mut framer = Framer::new(limits);
    let mut input = BytesMut::new();
    let mut found = Vec::new();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
    ends.sort_unstable();
    let mut start = 0;
    for end in ends {
        input.extend_from_slice(&bytes[start..end]);
        start = end;
        loop {
            let framed = framer.next(&mut input);
            match framed {
                Framed::Incomplete => {
                    assert!(input.len() <= framer.input_limit());
                    break;
                }
                Framed::Fatal(_) => return [found, vec![framed]].concat(),
                framed => found.push(framed),
            }
        }
    }
    found
}

fn all(bytes: &[u8]) -> Vec<Framed> {
    run(bytes, &[], LIMITS)
}

fn show(found: &[Framed]) -> String {
    let show = |framed: &Framed| match framed {
        Framed::Incomplete => "…".to_owned(),
        Framed::Continue(announced) => format!("+{}", announced.size),
        Framed::Part { first, pieces, .. } => {
            format!("part {first} {}", pieces.iter().map(Bytes::len).sum::<usize>())
        }
        Framed::Frame(frame) => frame.pieces.iter().map(piece).collect(),
        Framed::Refused(error) => {
            format!("refused {:?} {:?}", error.tag.as_ref().map(Tag::as_str), error.fault)
        }
        Framed::Fatal(error) => format!("fatal {:?}", error.fault),
    };
    found.iter().map(show).collect::<Vec<_>>().join(" | ")
}

fn piece(piece: &Piece) -> String {
    match piece {
        Piece::Line(line) => format!("{line:?}")[1..].to_owned(),
        Piece::Literal(literal) => format!("<{}>", literal.body.to_bytes().escape_ascii()),
    }
}

#[test]
fn commands_are_lines_and_literals() {
    for (bytes, expected) in [
        (&b"a NOOP\r\nb NOOP\r\n"[..], r#""a NOOP" | "b NOOP""#),
        (b"a LOGIN {2}\r\nxy {0}\r\n\r\n", r#"+2 | +0 | "a LOGIN "<xy>" "<>"""#),
        (b"a LOGIN {2+}\r\nxy {0+}\r\n\r\nb", r#""a LOGIN "<xy>" "<>"""#),
        (b"a APPEND x ~{3}\r\n\0\r\n\r\n", r#"+3 | "a APPEND x "<\x00\r\n>"""#),
        (b"a APPEND x UTF8 (~{1+}\r\nx)\r\n", r#""a APPEND x UTF8 ("<x>")""#),
        (b"\r\n", r#""""#),
        (
            b"a {}\r\nb {x}\r\nc {+}\r\nd 1}\r\ne {1-}\r\n",
            r#""a {}" | "b {x}" | "c {+}" | "d 1}" | "e {1-}""#,
        ),
    ] {
        assert_eq!(show(&all(bytes)), expected);
    }
}

#[test]
fn line_ends_are_judged_here() {
    for (bytes, expected) in [
        (&b"a NOOP\nb NOOP\r\n"[..], r#"refused Some("a") BareLineFeed | "b NOOP""#),
        (b"a NO\rOP\r\nb NOOP\r\n", r#"refused Some("a") BareCarriageReturn | "b NOOP""#),
        (b"a NOOP\r\r\n", r#"refused Some("a") BareCarriageReturn"#),
        (b"a NO\0OP\r\n", r#"refused Some("a") Nul"#),
        (b"a LOGIN {3+}\nb c d\r\n", "fatal BareLineFeed"),
        (b"a LOGIN {3+}\r\nx\0y z\r\nb NOOP\r\n", r#"refused Some("a") Nul | "b NOOP""#),
        (b"a LOGIN x {3}\r\nabc\nb NOOP\r\n", r#"+3 | refused Some("a") BareLineFeed | "b NOOP""#),
        (b"\n", "refused None BareLineFeed"),
    ] {
        assert_eq!(show(&all(bytes)), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn too_big_literals_are_not_asked_for_or_thrown_away() {
    let late = format!("a LOGIN {{60+}}\r\n{} {{51}}\r\nb NOOP\r\n", "x".repeat(60));
    let message = format!("a APPEND x {{150+}}\r\n{}\r\n", "x".repeat(150));
    let two = format!("a APPEND x {{120+}}\r\n{} {{120}}\r\n", "x".repeat(120));
    let non_sync = format!("a APPEND x {{151+}}\r\n{}\r\nb NOOP\r\n", "x".repeat(151));
    for (bytes, expected) in [
        ("a LOGIN {51}\r\nb NOOP\r\n", r#"refused Some("a") LiteralTooBig | "b NOOP""#),
        ("a APPEND x {4294967296}\r\nb NOOP\r\n", r#"refused Some("a") MessageTooBig | "b NOOP""#),
        ("a APPEND x {4294967296+}\r\nabc", "fatal MessageTooBig"),
        ("a APPEND x {99999999999999999999999+}\r\nabc", "fatal MessageTooBig"),
        ("a APPEND {51}\r\n", r#"refused Some("a") LiteralTooBig"#),
        ("a APPEND {1}\r\nx {60}\r\n", "+1 | +60"),
        (&late, r#"refused Some("a") LiteralTooBig | "b NOOP""#),
        (&two, r#"refused Some("a") MessageTooBig"#),
        (&non_sync, r#"refused Some("a") LiteralTooBig | "b NOOP""#),
        ("a X {1+}\r\n {1+}\r\n {1+}\r\n {1+}\r\n {1}\r\n", r#"refused Some("a") TooManyLiterals"#),
        ("a X {50+}\r\n", ""),
    ] {
        assert_eq!(show(&all(bytes.as_bytes())), expected, "{bytes}");
    }
    assert!(matches!(&all(message.as_bytes())[..], [Framed::Frame(_)]));
}

#[test]
fn long_lines_and_commands_are_thrown_away() {
    let long = |n| format!("a NOOP {}\r\nb NOOP\r\n", "x".repeat(n));
    assert!(matches!(&all(long(93).as_bytes())[..], [Framed::Frame(_), Framed::Frame(_)]));
    assert_eq!(show(&all(long(94).as_bytes())), r#"refused Some("a") LineTooLong | "b NOOP""#);
    assert_eq!(show(&all(long(900).as_bytes())), r#"refused Some("a") LineTooLong | "b NOOP""#);
    assert_eq!(show(&run(long(2000).as_bytes(), &[50, 120, 500], LIMITS)), "fatal LineTooLong");
    let literal = format!("a NOOP {}{{6+}}\r\nb NOOP {{3}}\r\nc NOOP\r\n", "x".repeat(200));
    assert_eq!(show(&all(literal.as_bytes())), r#"refused Some("a") LineTooLong | "c NOOP""#);
    let (x, y, z) = ("x".repeat(90), "y".repeat(50), "z".repeat(80));
    let many = format!("a X {{50+}}\r\n{y}{x} {{50+}}\r\n{y}{z}\r\n");
    assert!(matches!(&all(many.as_bytes())[..], [Framed::Frame(_)]));
    let more = many.replacen("zz\r\n", "zz {50+}\r\n", 1) + &y + "\r\nb NOOP\r\n";
    assert_eq!(show(&all(more.as_bytes())), r#"refused Some("a") CommandTooLong | "b NOOP""#);
}

/// Found by fuzzing: of a line that is too long, more was seen when it came at once.
#[test]
fn too_long_lines_are_judged_the_same_however_they_come() {
    let digits = format!("a {}{{{}3+}}\r\nabcb NOOP\r\n", "x".repeat(60), "0".repeat(60));
    let endless = format!("a {}{{3}}\n", "x".repeat(1014));
    for text in [digits, endless] {
        let cut = |size| (0..=text.len()).step_by(size).collect::<Vec<_>>();
        let whole = run(text.as_bytes(), &cut(90), LIMITS);
        for size in [1, 7, 50] {
            assert_eq!(run(text.as_bytes(), &cut(size), LIMITS), whole, "{text:?} in pieces of {size}");
        }
    }
}

#[test]
fn plain_lines_do_not_know_literals() {
    let mut framer = Framer::new(LIMITS);
    let mut input = BytesMut::from(&b"PDw+ {5}\r\nDONE\nDONE\r\nx"[..]);
    let line = |line: &[u8]| Line::Line(Bytes::copy_from_slice(line));
    assert!(framer.line(&mut input) == line(b"PDw+ {5}"));
    assert!(framer.line(&mut input) == Line::Refused(Fault::BareLineFeed));
    assert!(framer.line(&mut input) == line(b"DONE"));
    assert!(framer.line(&mut input) == Line::Incomplete);
    input.extend_from_slice(&[b'y'; 500]);
    assert!(framer.line(&mut input) == Line::Incomplete);
    input.extend_from_slice(b"\r\na NOOP\r\n");
    assert!(framer.line(&mut input) == Line::Refused(Fault::LineTooLong));
    assert_eq!(show(&[framer.next(&mut input)]), r#""a NOOP""#);
    input.extend_from_slice(&[b'y'; 5000]);
    assert!(framer.line(&mut input) == Line::Fatal(Fault::LineTooLong));
}

#[test]
fn a_large_message_byte_by_byte_is_linear_and_shares_large_chunks() {
    let limits = Limits { part_from: u64::MAX, ..Limits::after_login(64 * 1024 * 1024) };
    let mut framer = Framer::new(limits);
    let size = 2_000_000;
    let mut input = BytesMut::from(format!("a APPEND x {{{size}+}}\r\n").as_bytes());
    for _ in 0..size {
        assert_eq!(framer.next(&mut input), Framed::Incomplete);
        input.extend_from_slice(b"x");
    }
    input.extend_from_slice(b"\r\n");
    let Framed::Frame(frame) = framer.next(&mut input) else { panic!("no frame") };
    let [_, Piece::Literal(literal), _] = frame.pieces() else { panic!("no literal") };
    assert_eq!(literal.body.len(), size);
    assert!(literal.body.pieces().count() <= size / 65_536 + 1);

    // A line of 60,000 bytes, byte by byte: the scan does not start again.
    for _ in 0..60_000 {
        input.extend_from_slice(b"x");
        assert_eq!(framer.next(&mut input), Framed::Incomplete);
    }
    // 10 MB without a line end: bounded memory, then an answer.
    for _ in 0..160 {
        input.extend_from_slice(&[b'x'; 65_536]);
        assert_eq!(framer.next(&mut input), Framed::Incomplete);
        assert!(input.len() <= limits.line);
    }
    input.extend_from_slice(b"\r\n");
    assert!(matches!(framer.next(&mut input), Framed::Refused(_)));
}

/// Text like that of commands, with literals that are sometimes right.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => "[a-c] (NOOP|LOGIN|APPEND x) ".prop_map(String::into_bytes),
        4 => Just(b"\r\n".to_vec()),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"\r".to_vec()),
        1 => Just(b"\0".to_vec()),
        4 => (0usize..70, any::<bool>(), any::<bool>()).prop_map(|(n, plus, eight)| {
            let head = format!("{}{{{n}{}}}\r\n", if eight { "~" } else { "" }, if plus { "+" } else { "" });
            [head.into_bytes(), vec![b'l'; n]].concat()
        }),
        1 => (0usize..300).prop_map(|n| vec![b'z'; n]),
        1 => "\\{[0-9]{0,22}\\+?\\}".prop_map(String::into_bytes),
    ];
    prop::collection::vec(part, 0..20).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn any_cut_gives_the_same(bytes in stream(), cuts in prop::collection::vec(any::<usize>(), 0..20)) {
        let whole = run(&bytes, &[], LIMITS);
        prop_assert_eq!(&whole, &run(&bytes, &cuts, LIMITS));
        let each: Vec<usize> = (0..bytes.len()).collect();
        prop_assert_eq!(&whole, &run(&bytes, &each, LIMITS));
    }

    #[test]
    fn anything_can_come(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        run(&bytes, &[], LIMITS);
    }
}
