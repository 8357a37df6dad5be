//! Messages by DATA and BDAT: however they are cut, the same text or the same fault; and what the
//! client writes for DATA the server reads as it was.
#![no_main]

use bytes::{Bytes, BytesMut};
use estafette_fuzz::{Dice, head, wire};
use estafette_smtp::codec::{BodyLimits, DotEncoder, Framing, Progress, Receiver};
use libfuzzer_sys::fuzz_target;

/// What came of a message: its text or fault, and what was left behind it.
type Outcome = (Option<Result<Vec<u8>, String>>, Vec<u8>);

fn receive(framing: Framing, limits: BodyLimits, input: &[u8], cut: Option<Dice>) -> Outcome {
    let mut receiver = Receiver::new(framing, limits);
    let mut pieces = cut.map_or(vec![input], |mut dice| dice.cut(input));
    pieces.push(&[]);
    let (mut buffer, mut remaining) = (BytesMut::new(), input.len() as u64);
    let mut pieces = pieces.into_iter();
    while let Some(piece) = pieces.next() {
        buffer.extend_from_slice(piece);
        let progress = match framing {
            Framing::Dots => receiver.data(&mut buffer),
            _ => receiver.chunk(&mut buffer, &mut remaining),
        };
        assert!(progress != Progress::More || buffer.len() <= 2, "{} bytes are left", buffer.len());
        match progress {
            Progress::More => {}
            Progress::Flood => return (None, Vec::new()),
            Progress::End => {
                pieces.for_each(|piece| buffer.extend_from_slice(piece));
                let result = receiver.finish().map_err(|error| error.to_string());
                let text = result.map(|message| {
                    let text = message.pieces.concat();
                    assert_eq!(text.len() as u64, message.size);
                    assert!(message.size <= limits.size);
                    text
                });
                return (Some(text), buffer.to_vec());
            }
        }
    }
    (None, Vec::new())
}

/// The text with every line ended by CR LF, as DATA sends it.
fn with_line_ends(text: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for byte in text {
        let after_cr = out.last() == Some(&b'\r');
        if after_cr && *byte != b'\n' {
            out.push(b'\n');
        } else if *byte == b'\n' && !after_cr {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    if !out.is_empty() && !out.ends_with(b"\n") {
        out.extend_from_slice(if out.ends_with(b"\r") { b"\n" } else { b"\r\n" });
    }
    out
}

fuzz_target!(|data: &[u8]| {
    let (settings, mut dice, input) = head(data);
    let framing = [Framing::Dots, Framing::Text, Framing::Binary][usize::from(settings % 3)];
    let limits = match settings & 4 {
        0 => BodyLimits {
            size: 1 << 20,
            header: 1 << 16,
            line: 1 << 16,
            swallow: 1 << 20,
            allow_nul: settings & 8 != 0,
        },
        _ => BodyLimits { size: 200, header: 60, line: 30, swallow: 50, allow_nul: false },
    };
    let whole = receive(framing, limits, input, None);
    for _ in 0..2 {
        dice.below(2);
        assert_eq!(receive(framing, limits, input, Some(dice.clone())), whole);
    }
    if let (Some(Ok(text)), true) = (&whole.0, framing != Framing::Binary) {
        wire::assert_line_ends(text);
    }

    let pieces = dice.cut(input).into_iter().map(Bytes::copy_from_slice).collect();
    let sent: Vec<u8> = DotEncoder::new(pieces).flatten().collect();
    wire::assert_line_ends(&sent);
    let roomy = BodyLimits { size: 1 << 30, header: 1 << 30, line: 1 << 30, swallow: 0, allow_nul: true };
    let (read, rest) = receive(Framing::Dots, roomy, &sent, None);
    assert!(rest.is_empty(), "the message ended early");
    assert_eq!(read, Some(Ok(with_line_ends(input))));
});
