//! Bytes in pieces: what a literal arrives as, and what a response leaves as.
//!
//! Large pieces are kept by reference, small ones are copied together, so that neither a message
//! of many megabytes is copied nor one that comes byte by byte costs an allocation for each.

use bytes::{Bytes, BytesMut};
use std::ops::Range;

/// Pieces of at least this many bytes are kept by reference.
pub const SHARE_MIN: usize = 4 * 1024;
/// Copied bytes are closed into a piece when there are this many.
const PIECE: usize = 64 * 1024;

/// Room that the first copied bytes are given: most responses are shorter.
const FIRST: usize = 512;

/// Bytes in pieces; only grows at its end.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    pieces: Vec<Bytes>,
    tail: Vec<u8>,
    len: usize,
}

/// A place in a rope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pieces: usize,
    at: usize,
}

impl Rope {
    /// Without bytes.
    pub fn new() -> Rope {
        Rope::default()
    }

    /// Adds a copy.
    pub fn copy(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        if self.tail.capacity() == 0 {
            self.tail.reserve_exact(bytes.len().max(FIRST));
        }
        self.tail.extend_from_slice(bytes);
        if self.tail.len() >= PIECE {
            self.close_tail();
        }
    }

    /// Where the next bytes will stand; for [`Rope::repeat`].
    pub(super) fn place(&self) -> Place {
        Place { pieces: self.pieces.len(), at: self.tail.len() }
    }

    /// What was added since a place; `None` when that is not in one piece any more.
    pub(super) fn since(&self, place: Place) -> Option<&[u8]> {
        self.tail.get(place.at..).filter(|_| place.pieces == self.pieces.len())
    }

    /// Adds a copy of what was added between two places. False, and nothing is added, when that is not in
    /// one piece any more.
    pub(super) fn repeat(&mut self, of: Range<Place>) -> bool {
        let here = self.pieces.len();
        let whole = of.start.pieces == here && of.end.pieces == here && of.end.at <= self.tail.len();
        if whole && of.start.at <= of.end.at {
            self.tail.extend_from_within(of.start.at..of.end.at);
            self.len += of.end.at - of.start.at;
        }
        whole
    }

    /// Adds bytes by reference, or a copy when they are few.
    pub fn share(&mut self, bytes: Bytes) {
        if bytes.len() < SHARE_MIN {
            return self.copy(&bytes);
        }
        self.close_tail();
        self.len += bytes.len();
        self.pieces.push(bytes);
    }

    /// Adds the pieces of another.
    pub fn append(&mut self, other: Rope) {
        for piece in other.into_pieces() {
            self.share(piece);
        }
    }

    /// Makes clones cheap: all bytes are shared from here on.
    pub(super) fn seal(&mut self) {
        self.close_tail();
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(std::mem::take(&mut self.tail).into());
        }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order; none is empty.
    pub fn into_pieces(mut self) -> Vec<Bytes> {
        self.close_tail();
        self.pieces
    }

    /// The pieces in order; none is empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let tail = Some(self.tail.as_slice()).filter(|tail| !tail.is_empty());
        self.pieces.iter().map(Bytes::as_ref).chain(tail)
    }

    /// All in one; copies when there are several pieces.
    pub fn to_bytes(&self) -> Bytes {
        if let ([piece], true) = (self.pieces.as_slice(), self.tail.is_empty()) {
            return piece.clone();
        }
        let mut all = BytesMut::with_capacity(self.len);
        self.pieces().for_each(|piece| all.extend_from_slice(piece));
        all.freeze()
    }
}

/// Equal when the bytes are, however they are cut.
impl PartialEq for Rope {
    fn eq(&self, other: &Rope) -> bool {
        self.len == other.len && self.pieces().flatten().eq(other.pieces().flatten())
    }
}

impl Eq for Rope {}

impl From<&[u8]> for Rope {
    fn from(bytes: &[u8]) -> Rope {
        let mut rope = Rope::new();
        rope.copy(bytes);
        rope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pieces_are_shared_and_small_ones_joined() {
        let large = Bytes::from(vec![b'x'; SHARE_MIN]);
        let mut rope = Rope::new();
        for _ in 0..1000 {
            rope.copy(b"ab");
        }
        rope.share(large.clone());
        rope.share(Bytes::from_static(b"end"));
        assert_eq!(rope.len(), 2000 + SHARE_MIN + 3);
        assert_eq!(rope.to_bytes().len(), rope.len());
        let pieces = rope.clone().into_pieces();
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[1].as_ptr(), large.as_ptr());
        assert_eq!(rope, Rope::from(&rope.to_bytes()[..]));
        assert_ne!(rope, Rope::new());
    }

    #[test]
    fn what_stands_in_one_piece_is_repeated() {
        let mut rope = Rope::from(&b"ab"[..]);
        let start = rope.place();
        rope.copy(b"cd");
        let end = rope.place();
        rope.copy(b"-");
        assert!(rope.repeat(start..end));
        assert_eq!((rope.len(), &rope.to_bytes()[..]), (7, &b"abcd-cd"[..]));
        rope.share(Bytes::from(vec![b'x'; SHARE_MIN]));
        assert!(!rope.repeat(start..end));
        assert_eq!(rope.len(), 7 + SHARE_MIN);
    }
}
