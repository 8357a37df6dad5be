//! The framer: however the input is cut, the same commands, refusals and questions; no more is held
//! than the limits say.
#![no_main]

use bytes::BytesMut;
use estafette_fuzz::{Dice, bounded, head};
use estafette_imap::codec::framer::{Framed, Framer, Limits, Line};
use libfuzzer_sys::fuzz_target;

const SMALL: Limits =
    Limits { line: 40, command: 100, literal: 30, append: 120, part_from: u64::MAX, non_sync: 60, literals: 3, swallow: 200 };

#[derive(Debug, PartialEq)]
enum Found {
    Framed(Framed),
    Line(Vec<u8>),
    Other(String),
}

/// Reads until the input ends or the connection would, in pieces that the session would be given. The choices (when
/// a single line is awaited) follow from what was found so far alone.
fn read(limits: Limits, pieces: Vec<&[u8]>, mut choices: Dice) -> Vec<Found> {
    let (mut framer, mut buffer, mut found) = (Framer::new(limits), BytesMut::new(), Vec::new());
    let mut single = false;
    let most = framer.input_limit() - limits.line - 1;
    'pieces: for piece in pieces.into_iter().flat_map(|piece| piece.chunks(most)) {
        buffer.extend_from_slice(piece);
        loop {
            if single {
                match framer.line(&mut buffer) {
                    Line::Incomplete => break,
                    Line::Line(line) => found.push(Found::Line(line.to_vec())),
                    Line::Refused(fault) => found.push(Found::Other(fault.to_string())),
                    Line::Fatal(fault) => {
                        found.push(Found::Other(fault.to_string()));
                        break 'pieces;
                    }
                }
                single = false;
                continue;
            }
            let framed = framer.next(&mut buffer);
            match &framed {
                Framed::Incomplete => break,
                Framed::Fatal(_) => {
                    found.push(Found::Framed(framed));
                    break 'pieces;
                }
                Framed::Continue(announced) => {
                    assert!(announced.size <= limits.append.max(limits.literal));
                    found.push(Found::Framed(framed));
                }
                Framed::Part { .. } => panic!("no message is so large"),
                Framed::Frame(_) | Framed::Refused(_) => {
                    single = choices.one_in(8);
                    found.push(Found::Framed(framed));
                }
            }
        }
        assert!(buffer.len() <= limits.line + 1, "{} bytes are held", buffer.len());
    }
    found
}

fuzz_target!(|data: &[u8]| {
    let (settings, mut dice, input) = head(data);
    let limits = match settings & 3 {
        0 => Limits::BEFORE_LOGIN,
        1 => Limits::after_login(1 << 20),
        _ => SMALL,
    };
    let choices = Dice::new(u64::from(settings));
    // What came of the last line shows only once it has ended.
    let input = &[input, b"\r\nz NOOP\r\n"].concat()[..];
    bounded(1024 * 1024 + 40 * input.len(), || {
        let whole = read(limits, vec![input], choices.clone());
        for _ in 0..2 {
            let pieces = dice.cut(input);
            assert_eq!(read(limits, pieces, choices.clone()), whole);
        }
    });
});
