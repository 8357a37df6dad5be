//! Frames between nodes: the same frames come out however the bytes are cut, they are the bytes that went in, and
//! no more is waited for than a frame may hold.
#![no_main]
#![allow(dead_code)]

#[path = "../../mesh/src/frame.rs"]
mod frame;

use bytes::BytesMut;
use frame::{Frame, FrameError, HEADER_BYTES, decode, encode, wanted_bytes};
use libfuzzer_sys::fuzz_target;

/// What a body may hold: small, so that the limit is met.
const CONTENT_MAX_BYTES: usize = 2000;

fn frames(pieces: impl Iterator<Item = impl AsRef<[u8]>>) -> (Vec<Frame>, Option<FrameError>, usize) {
    let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece.as_ref());
        loop {
            match decode(&mut buffer, CONTENT_MAX_BYTES) {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(e) => return (found, Some(e), 0),
            }
        }
        let wanted = wanted_bytes(&buffer, CONTENT_MAX_BYTES);
        assert!(wanted + buffer.len() <= HEADER_BYTES + CONTENT_MAX_BYTES);
        assert!(wanted > 0 || buffer.len() < HEADER_BYTES);
    }
    (found, None, buffer.len())
}

fuzz_target!(|data: &[u8]| {
    let whole = frames(std::iter::once(data));
    // Byte by byte where that is quick.
    for bytes in [1 + data.len() / 300, 17 + data.len() / 40] {
        assert_eq!(frames(data.chunks(bytes)), whole, "in pieces of {bytes} bytes");
    }
    let (found, error, rest) = whole;
    let again: Vec<u8> = found.iter().flat_map(|f| encode(f.kind, f.number, &f.body).unwrap()).collect();
    assert!(data.starts_with(&again));
    assert!(error.is_some() || again.len() + rest == data.len());
});
