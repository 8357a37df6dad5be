//! What the driver knows of a connection: what was read and not taken, what is to be sent, and what the
//! kernel holds of it.
//!
//! Invariant: it stays, with all that the kernel was told of, until `in_flight` is zero; only then is its
//! descriptor closed.

use crate::thread::sockets::advance;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::task::Waker;

/// How bytes are being received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receiving {
    /// Not at all.
    Not,
    /// Into small buffers, on and on.
    Commands,
    /// As before, but the kernel was asked to stop.
    Stopping,
    /// Into one large buffer.
    Bulk,
}

pub(super) struct Socket {
    /// A direct descriptor of the ring.
    pub(super) descriptor: u32,
    pub(super) receiving: Receiving,
    /// The last read filled its buffer: there is more where it came from.
    pub(super) crowded: bool,
    /// The peer sends nothing more.
    pub(super) ended: bool,
    /// The kernel copies for this peer whatever it is asked for.
    pub(super) copied: bool,
    /// Bytes that count as sent and that the kernel may still read from where they lie.
    pub(super) in_place: usize,
    /// Nobody uses it any more.
    pub(super) closing: bool,
    /// Requests whose last completion has not come.
    pub(super) in_flight: u32,
    pub(super) inbox: BytesMut,
    pub(super) read_fault: Option<i32>,
    pub(super) reader: Option<Waker>,
    pub(super) outbox: Outbox,
    pub(super) writer: Option<Waker>,
}

impl Socket {
    pub(super) fn new(descriptor: u32) -> Socket {
        Socket {
            descriptor,
            receiving: Receiving::Not,
            crowded: false,
            ended: false,
            copied: false,
            in_place: 0,
            closing: false,
            in_flight: 0,
            inbox: BytesMut::new(),
            read_fault: None,
            reader: None,
            outbox: Outbox::default(),
            writer: None,
        }
    }

    /// One that is no connection of TCP: the kernel sends nothing of it from its place.
    pub(super) fn adopted(descriptor: u32) -> Socket {
        Socket { copied: true, ..Socket::new(descriptor) }
    }
}

/// What the kernel was asked to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sending {
    /// Nothing.
    #[default]
    Nothing,
    /// Nothing yet, but it will be with the next hand-over.
    Listed,
    /// So many bytes at once: if it says nothing when it is handed over, they have left.
    AtOnce(usize),
    /// As much as it can, and to say when it is done.
    Patiently,
}

/// What is to be sent, in order. The kernel works on the front of it, at most one request at a time.
#[derive(Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    pub(super) sending: Sending,
    /// Nothing can be sent any more.
    pub(super) fault: Option<i32>,
}

impl Outbox {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn pieces(&self) -> &VecDeque<Bytes> {
        &self.pieces
    }

    /// Takes over all of `output`.
    pub(super) fn put(&mut self, output: &mut VecDeque<Bytes>) {
        self.bytes += output.iter().map(Bytes::len).sum::<usize>();
        if self.pieces.is_empty() {
            std::mem::swap(&mut self.pieces, output);
        } else {
            self.pieces.append(output);
        }
    }

    /// So many bytes have left.
    pub(super) fn sent(&mut self, count: usize) {
        assert!(count <= self.bytes, "no more leaves than there was");
        self.bytes -= count;
        advance(&mut self.pieces, count);
        if self.bytes == 0 {
            // Empty pieces may be left.
            self.pieces.clear();
        }
    }

    pub(super) fn fail(&mut self, errno: i32) {
        self.fault = Some(errno);
        self.pieces = VecDeque::new();
        self.bytes = 0;
    }
}
