//! DATA and BDAT bodies: the smuggling corpus, limits, and independence of segmentation.

use super::*;
use proptest::prelude::*;

const LIMITS: BodyLimits =
    BodyLimits { size: 10_000, header: 1000, line: 200, swallow: 5000, allow_nul: false };

type Outcome = (Progress, Result<Vec<u8>, Error>, Vec<u8>);

fn data(bytes: &[u8], step: usize, limits: BodyLimits) -> Outcome {
    let (mut receiver, mut input) = (Receiver::new(Framing::Dots, limits), BytesMut::new());
    let mut at = 0;
    let mut progress = Progress::More;
    while at < bytes.len() && progress == Progress::More {
        let end = (at + step).min(bytes.len());
        input.extend_from_slice(&bytes[at..end]);
        at = end;
        progress = receiver.data(&mut input);
    }
    input.extend_from_slice(&bytes[at..]);
    let message = receiver.finish().map(|message| {
        assert_eq!(message.size, message.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>());
        message.pieces.concat()
    });
    (progress, message, input.to_vec())
}

/// The plain definition: cut at the first CRLF.CRLF (or .CRLF at the start), refuse bare CR or LF.
fn reference(bytes: &[u8]) -> Outcome {
    let framed = [b"\r\n", bytes].concat();
    let Some(end) = framed.windows(5).position(|window| window == b"\r\n.\r\n") else {
        return (Progress::More, Ok(Vec::new()), Vec::new());
    };
    let text = &framed[..end + 2];
    let rest = framed[end + 5..].to_vec();
    let mut plain = Vec::new();
    let mut at = 2;
    while at < text.len() {
        let starts_line = text[at - 2..at] == *b"\r\n";
        if !(starts_line && text[at] == b'.') {
            plain.push(text[at]);
        }
        at += 1;
    }
    let bare = (0..text.len()).any(|at| match text[at] {
        b'\n' => at == 0 || text[at - 1] != b'\r',
        b'\r' => text.get(at + 1) != Some(&b'\n'),
        _ => false,
    });
    let nul = text.contains(&0);
    let message = match (bare, nul) {
        (true, _) => Err(Error::BodyBareNewline),
        (false, true) => Err(Error::BodyNul),
        _ => Ok(plain),
    };
    (Progress::End, message, rest)
}

/// Every text of CR, LF, dot and a letter up to eight characters long, between two lines.
#[test]
fn smuggling_corpus() {
    const ALPHABET: [u8; 4] = *b"\r\n.x";
    for length in 0..=8_u32 {
        for number in 0..4_usize.pow(length) {
            let middle: Vec<u8> = (0..length).map(|at| ALPHABET[(number >> (2 * at)) & 3]).collect();
            let bytes = [b"a: b", middle.as_slice(), b"\r\n.\r\nQUIT\r\n"].concat();
            let want = reference(&bytes);
            assert_eq!(data(&bytes, bytes.len(), LIMITS), want, "{:?}", middle.escape_ascii().to_string());
            if length < 7 {
                assert_eq!(data(&bytes, 1, LIMITS), want, "{:?}", middle.escape_ascii().to_string());
            }
        }
    }
}

#[test]
fn well_known_smuggling_sequences_end_nothing() {
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r.\r",
        "\r\n.\n",
        "\r\n.\r",
        "\r.\r\n",
        "\r\n\0.\r\n",
        "\n.\r",
        "\r\r\n.\r\r\n",
    ] {
        let bytes = format!("a{end}MAIL FROM:<evil@example.com>\r\n.\r\n");
        let (progress, message, rest) = data(bytes.as_bytes(), bytes.len(), LIMITS);
        assert_eq!(progress, Progress::End);
        assert!(message.is_err() && rest.is_empty(), "{end:?}");
    }
}

#[test]
fn dots_are_unstuffed() {
    let (_, message, rest) = data(b"..a\r\n.b\r\n...\r\nc.\r\n.\r\nNOOP\r\n", 100, LIMITS);
    assert_eq!(message.unwrap(), b".a\r\nb\r\n..\r\nc.\r\n");
    assert_eq!(rest, b"NOOP\r\n");
    assert_eq!(data(b".\r\n", 1, LIMITS).1.unwrap(), b"");
}

#[test]
fn limits_hold() {
    let case = |text: String| {
        let bytes = text + "\r\n.\r\n";
        let results: Vec<_> = [1, 7, 64, 100_000].map(|step| data(bytes.as_bytes(), step, LIMITS)).into();
        assert!(results.windows(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].1 == pair[1].1));
        (results[0].0, results[0].1.clone())
    };
    let line = "y".repeat(199);
    assert!(case(format!("a: b\r\n\r\n{line}z")).1.is_ok());
    assert_eq!(case(format!("a: b\r\n\r\n{line}zz")), (Progress::End, Err(Error::BodyLineTooLong)));
    assert_eq!(case("a: b\r\n".repeat(170)), (Progress::End, Err(Error::HeaderTooLarge)));
    assert!(case(format!("\r\n{}", "a: b\r\n".repeat(170))).1.is_ok());
    assert_eq!(
        case(format!("\r\n{}", "a: b\r\n".repeat(1700))),
        (Progress::End, Err(Error::MessageTooLarge))
    );
    assert_eq!(case(format!("\r\n{}", "a: b\r\n".repeat(5000))).0, Progress::Flood);
}

#[test]
fn chunks_keep_the_state_of_lines_between_them() {
    let run = |framing, chunks: &[&[u8]]| {
        let mut receiver = Receiver::new(framing, LIMITS);
        for chunk in chunks {
            let (mut input, mut remaining) = (BytesMut::from(*chunk), chunk.len() as u64);
            assert_eq!(receiver.chunk(&mut input, &mut remaining), Progress::End);
        }
        receiver.finish().map(|message| message.pieces.concat())
    };
    assert_eq!(run(Framing::Text, &[b"a\r", b"\n.\r\n", b".b\r\n"]).unwrap(), b"a\r\n.\r\n.b\r\n");
    assert_eq!(run(Framing::Text, &[b"a\r"]), Err(Error::BodyBareNewline));
    assert_eq!(run(Framing::Text, &[b"a\r", b"b\n"]), Err(Error::BodyBareNewline));
    assert_eq!(run(Framing::Text, &[b"a\n"]), Err(Error::BodyBareNewline));
    assert_eq!(run(Framing::Binary, &[b"a\r\0", b"\n"]).unwrap(), b"a\r\0\n");
    assert_eq!(run(Framing::Text, &[]).unwrap(), b"");
}

#[test]
fn long_runs_are_not_copied_and_short_ones_are_joined() {
    let line = format!("{}\r\n", "z".repeat(98));
    let limits = BodyLimits { header: 100_000, size: 100_000, ..LIMITS };
    let mut input = BytesMut::from(format!("\r\n{}.\r\n", line.repeat(300)).as_bytes());
    let start = input.as_ptr();
    let mut receiver = Receiver::new(Framing::Dots, limits);
    assert_eq!(receiver.data(&mut input), Progress::End);
    let message = receiver.finish().unwrap();
    assert_eq!(message.pieces.len(), 1);
    assert_eq!(message.pieces[0].as_ptr(), start);
    let bytes = "..\r\n".repeat(3000) + ".\r\n";
    let mut receiver = Receiver::new(Framing::Dots, limits);
    let mut input = BytesMut::from(bytes.as_bytes());
    assert_eq!(receiver.data(&mut input), Progress::End);
    assert_eq!(receiver.finish().unwrap().pieces.len(), 1);
}

proptest! {
    #[test]
    fn any_split_gives_the_same(
        bytes in prop::collection::vec(prop::sample::select(b"\r\r\n\n..ab\0".to_vec()), 0..200),
        step in 1_usize..50,
    ) {
        let bytes = [bytes, b"\r\n.\r\n".to_vec()].concat();
        prop_assert_eq!(data(&bytes, step, LIMITS), data(&bytes, bytes.len(), LIMITS));
    }

    #[test]
    fn what_the_client_sends_is_what_the_server_reads(
        lines in prop::collection::vec("[.a\\PC]{0,20}", 0..20), step in 1_usize..50, cut in 1_usize..50,
    ) {
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let pieces = text.as_bytes().chunks(cut).map(Bytes::copy_from_slice).collect();
        let wire: Vec<u8> = crate::codec::DotEncoder::new(pieces).flatten().collect();
        let (progress, message, rest) = data(&wire, step, BodyLimits { line: 1000, header: 10_000, ..LIMITS });
        prop_assert_eq!(progress, Progress::End);
        prop_assert_eq!(message.unwrap(), text.into_bytes());
        prop_assert!(rest.is_empty());
    }
}
