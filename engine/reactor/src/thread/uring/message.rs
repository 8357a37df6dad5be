//! Several pieces sent by one request: the lists that the kernel reads when a request is handed over.

use crate::thread::sockets::SLICES_MAX;
use bytes::Bytes;

/// Lists that are kept for the next requests.
const SPARE_MAX: usize = 64;

struct Message {
    header: libc::msghdr,
    slices: [libc::iovec; SLICES_MAX],
}

/// Lists in use since the last hand-over, and spare ones. A list stays where it is while it is in use: hence
/// the boxes.
#[derive(Default)]
#[allow(clippy::vec_box)]
pub(super) struct Messages {
    used: Vec<Box<Message>>,
    spare: Vec<Box<Message>>,
}

impl Messages {
    /// A list of the first pieces, up to [`SLICES_MAX`]; it stays until [`Messages::handed_over`].
    pub(super) fn list<'a>(&mut self, pieces: impl IntoIterator<Item = &'a Bytes>) -> *const libc::msghdr {
        let mut message = self.spare.pop().unwrap_or_else(|| Box::new(Message::empty()));
        let mut count = 0;
        for (slice, piece) in message.slices.iter_mut().zip(pieces) {
            // The kernel only reads it.
            *slice = libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
            count += 1;
        }
        message.header.msg_iov = message.slices.as_mut_ptr();
        message.header.msg_iovlen = count;
        let header: *const libc::msghdr = &raw const message.header;
        self.used.push(message);
        header
    }

    /// The kernel has read all lists.
    pub(super) fn handed_over(&mut self) {
        self.spare.append(&mut self.used);
        self.spare.truncate(SPARE_MAX);
    }
}

impl Message {
    fn empty() -> Message {
        let nothing = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: a header of zeroes names nothing.
        let header = unsafe { std::mem::zeroed() };
        Message { header, slices: [nothing; SLICES_MAX] }
    }
}
