//! Frames on their way out: the queue in which they wait, and the rope of bytes that they become.
//!
//! Nothing here waits or writes.

use crate::frame::{self, HEADER_BYTES, Kind};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Frames that may wait beside the requests: signs of life, cancellations, the goodbye.
const SPARE_FRAMES: usize = 64;

/// A piece of a body up to this size is copied behind its header; a larger one is written from where it lies.
const COPY_MAX_BYTES: usize = 2048;
/// Small pieces are joined up to about this size.
const JOINED_BYTES: usize = 64 * 1024;

/// Room of a request under way; given back when the last who holds it is done.
pub(crate) struct Held {
    pub(crate) _request: OwnedSemaphorePermit,
    pub(crate) _bytes: OwnedSemaphorePermit,
}

/// A frame to be written.
pub(crate) struct Outgoing {
    pub(crate) kind: Kind,
    pub(crate) number: u64,
    pub(crate) body: Vec<Bytes>,
    pub(crate) _held: Option<Arc<Held>>,
}

impl Outgoing {
    /// One without content.
    pub(crate) fn bare(kind: Kind, number: u64) -> Outgoing {
        Outgoing { kind, number, body: Vec::new(), _held: None }
    }

    /// One of words.
    pub(crate) fn words(kind: Kind, number: u64, text: &str) -> Outgoing {
        let body = vec![Bytes::copy_from_slice(frame::words(text).as_bytes())];
        Outgoing { kind, number, body, _held: None }
    }

    fn body_bytes(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }
}

/// Where frames wait to be written.
pub(crate) type Queue = (mpsc::Sender<Outgoing>, mpsc::Receiver<Outgoing>);

/// A queue of frames for a connection with so many requests under way.
pub(crate) fn queue(requests_max: u32) -> Queue {
    // A request may be followed by its cancellation.
    let requests = usize::try_from(requests_max).unwrap_or(usize::MAX).saturating_mul(2);
    mpsc::channel(requests.saturating_add(SPARE_FRAMES).min(Semaphore::MAX_PERMITS))
}

/// What is to be written: pieces one after the other, small ones joined.
#[derive(Default)]
pub(crate) struct Rope {
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    bytes: usize,
}

impl Rope {
    /// Puts a frame at the end; false if no header can say how large it is.
    pub(crate) fn push(&mut self, frame: &Outgoing) -> bool {
        let body_bytes = frame.body_bytes();
        let Some(header) = frame::header(frame.kind, frame.number, body_bytes) else { return false };
        self.tail.extend_from_slice(&header);
        for piece in &frame.body {
            if piece.len() <= COPY_MAX_BYTES {
                self.tail.extend_from_slice(piece);
            } else {
                self.seal();
                self.pieces.push_back(piece.clone());
            }
        }
        if self.tail.len() >= JOINED_BYTES {
            self.seal();
        }
        self.bytes += HEADER_BYTES + body_bytes;
        true
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&self.tail, |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = self.pieces.iter().map(|piece| &piece[..]);
        let all = pieces.chain(std::iter::once(&self.tail[..]).filter(|tail| !tail.is_empty()));
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(all) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while count > 0 {
            let Some(front) = self.pieces.front_mut() else { return self.tail.advance(count) };
            let here = count.min(front.len());
            front.advance(here);
            count -= here;
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, decode};
    use proptest::prelude::*;

    fn body() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let piece = prop_oneof![4 => 0usize..200, 2 => 2040..2056usize, 1 => 30_000..70_000usize];
        let piece = (piece, any::<u8>()).prop_map(|(bytes, fill)| vec![fill; bytes]);
        prop::collection::vec(piece, 0..4)
    }

    proptest! {
        #[test]
        fn a_rope_is_its_frames_however_it_is_taken(
            bodies in prop::collection::vec(body(), 1..20), step in 1usize..100_000, slices_max in 1usize..70,
        ) {
            let mut rope = Rope::default();
            for (number, body) in (1u64..).zip(&bodies) {
                let body = body.iter().cloned().map(Bytes::from).collect();
                let frame = Outgoing { kind: Kind::Answer, number, body, _held: None };
                prop_assert!(rope.push(&frame));
            }
            let mut written = BytesMut::new();
            while rope.has_remaining() {
                let mut slices = vec![IoSlice::new(&[]); slices_max];
                let filled = rope.chunks_vectored(&mut slices);
                let seen: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
                prop_assert!(!seen.is_empty() && seen.len() <= rope.remaining());
                prop_assert!(seen.starts_with(rope.chunk()) && !rope.chunk().is_empty());
                let taken = step.min(seen.len());
                written.extend_from_slice(&seen[..taken]);
                rope.advance(taken);
            }
            for (number, body) in (1u64..).zip(bodies) {
                let frame = Frame { kind: Kind::Answer, number, body: body.concat().into() };
                prop_assert_eq!(decode(&mut written, 1 << 20).unwrap(), Some(frame));
            }
            prop_assert!(written.is_empty());
        }
    }
}
