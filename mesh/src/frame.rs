//! Frames: where one ends, and which kind it is. Pure: bytes in, frames out.
//!
//! Length of what follows (u32), kind (u8), number of the request (u64), body; numbers in big-endian order. What a
//! body means is decided later. The protocol's version is agreed upon in the hello, so a frame carries none.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes in front of a body.
pub const HEADER_BYTES: usize = 13;
/// Bytes that the length counts beside the body: kind and number.
const COUNTED_BYTES: usize = 9;
/// The largest body of a hello or of words.
pub const WORDS_MAX_BYTES: usize = 1024;
/// A body up to this size is copied out of the receive buffer: whoever keeps it keeps no more than it.
const COPY_MAX_BYTES: usize = 16 * 1024;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first of each side: see `hello.rs`.
    Hello = 1,
    /// The last: the body says in words why.
    Bye = 2,
    /// The question of one who has no certificate.
    Join = 3,
    /// A question.
    Request = 4,
    /// The answer to the question of this number.
    Answer = 5,
    /// There is no answer to the question of this number; words why.
    Failed = 6,
    /// Nobody waits any more for the answer of this number.
    Cancel = 7,
    /// To be returned as a pong of this number.
    Ping = 8,
    /// The answer to a ping.
    Pong = 9,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        use Kind::{Answer, Bye, Cancel, Failed, Hello, Join, Ping, Pong, Request};
        [Hello, Bye, Join, Request, Answer, Failed, Cancel, Ping, Pong].into_iter().find(|k| *k as u8 == byte)
    }

    /// The largest body of this kind, if those with content may have `content_max_bytes`.
    fn body_max_bytes(self, content_max_bytes: usize) -> usize {
        match self {
            Kind::Join | Kind::Request | Kind::Answer => content_max_bytes,
            Kind::Hello | Kind::Bye | Kind::Failed => WORDS_MAX_BYTES,
            Kind::Cancel | Kind::Ping | Kind::Pong => 0,
        }
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub kind: Kind,
    /// The number of the request; 0 where there is none.
    pub number: u64,
    /// What it says.
    pub body: Bytes,
}

/// Why bytes are no frame: the peer's fault, and the end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Less than kind and number.
    #[error("a frame of {0} bytes is too short")]
    Short(usize),
    /// A kind that no version knows which was agreed upon.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    /// Larger than what may be.
    #[error("a body of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Bytes of the body.
        bytes: usize,
        /// How many there may be.
        limit: usize,
    },
}

/// What stands in front of a body of `body_bytes`. None: no length can say so much.
#[must_use]
pub fn header(kind: Kind, number: u64, body_bytes: usize) -> Option<[u8; HEADER_BYTES]> {
    let length = u32::try_from(body_bytes.checked_add(COUNTED_BYTES)?).ok()?;
    let [a, b, c, d] = length.to_be_bytes();
    let [n0, n1, n2, n3, n4, n5, n6, n7] = number.to_be_bytes();
    Some([a, b, c, d, kind as u8, n0, n1, n2, n3, n4, n5, n6, n7])
}

/// A frame's kind, number, and bytes of its body, from its first bytes; none while they have not come.
fn parse_header(buffer: &[u8], content_max_bytes: usize) -> Result<Option<(Kind, u64, usize)>, FrameError> {
    let Some(mut header) = buffer.get(..HEADER_BYTES) else { return Ok(None) };
    let length = usize::try_from(header.get_u32()).unwrap_or(usize::MAX);
    let kind = header.get_u8();
    let bytes = length.checked_sub(COUNTED_BYTES).ok_or(FrameError::Short(length))?;
    let kind = Kind::from_byte(kind).ok_or(FrameError::Kind(kind))?;
    let limit = kind.body_max_bytes(content_max_bytes);
    if bytes > limit {
        return Err(FrameError::TooLarge { bytes, limit });
    }
    Ok(Some((kind, header.get_u64(), bytes)))
}

/// Takes the first frame out of `buffer`; none while it is not whole. Never takes memory for what has not come.
pub fn decode(buffer: &mut BytesMut, content_max_bytes: usize) -> Result<Option<Frame>, FrameError> {
    let Some((kind, number, bytes)) = parse_header(buffer, content_max_bytes)? else { return Ok(None) };
    if buffer.len() - HEADER_BYTES < bytes {
        return Ok(None);
    }
    buffer.advance(HEADER_BYTES);
    let body = if bytes <= COPY_MAX_BYTES {
        let body = Bytes::copy_from_slice(buffer.get(..bytes).unwrap_or_default());
        buffer.advance(bytes);
        body
    } else {
        buffer.split_to(bytes).freeze()
    };
    Ok(Some(Frame { kind, number, body }))
}

/// Bytes that the frame which begins in `buffer` still lacks; 0 if that is not known yet.
#[must_use]
pub fn wanted_bytes(buffer: &[u8], content_max_bytes: usize) -> usize {
    match parse_header(buffer, content_max_bytes) {
        Ok(Some((_, _, bytes))) => (HEADER_BYTES + bytes).saturating_sub(buffer.len()),
        Ok(None) | Err(_) => 0,
    }
}

/// A frame as bytes, for those that are sent one at a time. None: no length can say so much.
#[must_use]
pub fn encode(kind: Kind, number: u64, body: &[u8]) -> Option<Bytes> {
    let header = header(kind, number, body.len())?;
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(body);
    Some(bytes.freeze())
}

/// Words cut to what a frame of words may hold.
#[must_use]
pub fn words(text: &str) -> &str {
    text.get(..text.floor_char_boundary(WORDS_MAX_BYTES)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONTENT_MAX_BYTES: usize = 40_000;

    fn all(buffer: &mut BytesMut) -> Result<Vec<Frame>, FrameError> {
        let mut frames = Vec::new();
        while let Some(frame) = decode(buffer, CONTENT_MAX_BYTES)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn the_layout_is_as_documented() {
        let bytes = encode(Kind::Request, 0x0102, b"hi").unwrap();
        assert_eq!(&bytes[..], [0, 0, 0, 11, 4, 0, 0, 0, 0, 0, 0, 1, 2, b'h', b'i']);
        assert_eq!(header(Kind::Answer, 1, usize::MAX), None);
    }

    #[test]
    fn what_is_no_frame_is_refused_at_its_header() {
        let refuse = |bytes: &[u8]| decode(&mut BytesMut::from(bytes), 100).unwrap_err();
        assert_eq!(refuse(&[0, 0, 0, 8, 4, 0, 0, 0, 0, 0, 0, 0, 0]), FrameError::Short(8));
        assert_eq!(refuse(&[0, 0, 0, 9, 99, 0, 0, 0, 0, 0, 0, 0, 0]), FrameError::Kind(99));
        let large = header(Kind::Request, 1, 101).unwrap();
        assert_eq!(refuse(&large), FrameError::TooLarge { bytes: 101, limit: 100 });
        let loud = header(Kind::Ping, 1, 1).unwrap();
        assert_eq!(refuse(&loud), FrameError::TooLarge { bytes: 1, limit: 0 });
        assert_eq!(refuse(b"GET / HTTP/1.1\r\n\r\n"), FrameError::Kind(b'/'));
    }

    #[test]
    fn words_are_cut_between_characters() {
        let text = "ü".repeat(WORDS_MAX_BYTES);
        assert_eq!(words(&text).len(), WORDS_MAX_BYTES);
        assert_eq!(words(&format!("a{text}")).len(), WORDS_MAX_BYTES - 1);
        assert_eq!(words("short"), "short");
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let content =
            prop_oneof![4 => 0usize..300, 1 => 16_000..17_000usize, 1 => 39_990..=CONTENT_MAX_BYTES];
        (1u8..=9, any::<u64>(), content, any::<u8>()).prop_map(|(kind, number, bytes, fill)| {
            let kind = Kind::from_byte(kind).unwrap();
            let bytes = bytes.min(kind.body_max_bytes(CONTENT_MAX_BYTES));
            Frame { kind, number, body: vec![fill; bytes].into() }
        })
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            frames in prop::collection::vec(frame(), 0..8), piece in 1usize..5000,
        ) {
            let sent: Vec<u8> =
                frames.iter().flat_map(|f| encode(f.kind, f.number, &f.body).unwrap()).collect();
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for part in sent.chunks(piece) {
                let before = wanted_bytes(&buffer, CONTENT_MAX_BYTES);
                prop_assert!(before <= HEADER_BYTES + CONTENT_MAX_BYTES);
                buffer.extend_from_slice(part);
                found.extend(all(&mut buffer).unwrap());
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(found, frames);
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            let mut rest = bytes.len();
            while let Ok(Some(frame)) = decode(&mut buffer, CONTENT_MAX_BYTES) {
                rest -= HEADER_BYTES + frame.body.len();
                prop_assert_eq!(buffer.len(), rest);
            }
        }
    }
}
