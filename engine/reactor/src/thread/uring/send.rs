//! Sending: answers leave at once or wait for room; large ones are taken by the kernel from where they lie, if
//! it can.
//!
//! A request to send at once is done when it is handed over. The kernel says nothing about it if all has left,
//! so that the thread is not woken only to hear that; else it says how much has, and the rest is sent patiently.
//!
//! Bytes that the kernel takes from their place are kept until it says that it has done with them, which may
//! be long after they count as sent: that is when a slice of the database's memory is let go. The connection is
//! closed without waiting for it, so that a peer which never reads cannot hold it.

use super::Uring;
use super::socket::Sending;
use super::token::Token;
use crate::thread::sockets::{SLICES_MAX, gone, remember};
use bytes::Bytes;
use io_uring::{cqueue, opcode, types};
use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, Waker};

/// What may be on its way while a session goes on as if it had left.
const EARLY_MAX: usize = 16 * 1024;
/// From here on the kernel is asked to send without a copy.
const ZERO_COPY_BYTES: usize = 32 * 1024;
/// What it may have of one socket, a chunk of a body and what stands around it; past it it has to copy: a peer
/// that does not read keeps no more of our memory.
const IN_PLACE_MAX: usize = 320 * 1024;
/// The kernel tells how it went (`IORING_SEND_ZC_REPORT_USAGE`).
const REPORT_USAGE: u16 = 1 << 3;
/// It had to copy after all (`IORING_NOTIF_USAGE_ZC_COPIED`).
const COPIED: u32 = 1 << 31;

/// A request that sends bytes from where they lie.
pub(super) struct ZeroCopy {
    /// None when the socket has been closed and only the kernel still reads.
    socket: Option<usize>,
    bytes: usize,
    _pieces: Vec<Bytes>,
}

pub(super) struct Meters {
    in_place: metrics::Counter,
    copied: metrics::Counter,
}

impl Meters {
    pub(super) fn new() -> Meters {
        let counter = |how| metrics::counter!("estafette_zero_copy_sends_total", "outcome" => how);
        Meters { in_place: counter("in-place"), copied: counter("copied") }
    }
}

impl Uring {
    /// Takes over all of `output`; ready when little enough of it is on its way.
    pub(in crate::thread) fn poll_send(
        &mut self,
        key: usize,
        context: &Context<'_>,
        output: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        let socket = self.lent.sockets.get_mut(key).ok_or_else(gone)?;
        if let Some(errno) = socket.outbox.fault {
            return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
        }
        if !output.is_empty() && socket.outbox.bytes() <= EARLY_MAX {
            socket.outbox.put(output);
            if socket.outbox.sending == Sending::Nothing && socket.outbox.bytes() > 0 {
                socket.outbox.sending = Sending::Listed;
                self.at_once.push(key);
            }
        }
        if output.is_empty() && socket.outbox.bytes() <= EARLY_MAX {
            return Poll::Ready(Ok(()));
        }
        remember(&mut socket.writer, context);
        self.awaited = true;
        Poll::Pending
    }

    /// Ready once all has left that was sent.
    pub(in crate::thread) fn poll_left(&mut self, key: usize, context: &Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.lent.sockets.get_mut(key).ok_or_else(gone)?;
        match socket.outbox.fault {
            Some(errno) => Poll::Ready(Err(io::Error::from_raw_os_error(errno))),
            None if socket.outbox.bytes() == 0 => Poll::Ready(Ok(())),
            None => {
                remember(&mut socket.writer, context);
                self.awaited = true;
                Poll::Pending
            }
        }
    }

    /// Puts down a request for what is to be sent, unless one is on its way.
    fn send(&mut self, key: usize, at_once: bool) -> io::Result<()> {
        let lent = &mut *self.lent;
        let Some(socket) = lent.sockets.get_mut(key) else { return Ok(()) };
        let outbox = &mut socket.outbox;
        if !matches!(outbox.sending, Sending::Nothing | Sending::Listed) {
            return Ok(());
        }
        outbox.sending = Sending::Nothing;
        if outbox.bytes() == 0 {
            return Ok(());
        }
        let descriptor = types::Fixed(socket.descriptor);
        let room = IN_PLACE_MAX.saturating_sub(socket.in_place);
        let worth_it = !socket.copied && outbox.bytes() >= ZERO_COPY_BYTES;
        let pieces = if worth_it { in_place(outbox.pieces(), room) } else { Vec::new() };
        if !pieces.is_empty() {
            let list = self.messages.list(&pieces);
            let bytes = pieces.iter().map(Bytes::len).sum();
            let at = lent.copies.insert(ZeroCopy { socket: Some(key), bytes, _pieces: pieces });
            let entry = opcode::SendMsgZc::new(descriptor, list)
                .ioprio(REPORT_USAGE)
                .flags((libc::MSG_NOSIGNAL | libc::MSG_WAITALL).cast_unsigned())
                .build()
                .user_data(Token::ZeroCopy(at).encode());
            // SAFETY: the list stays until it is handed over, the pieces in `copies` until the last completion.
            if let Err(error) = unsafe { self.ring.push(&entry) } {
                lent.copies.remove(at);
                return Err(error);
            }
            outbox.sending = Sending::Patiently;
            socket.in_place += bytes;
            socket.in_flight += 1;
            return Ok(());
        }
        let how = libc::MSG_NOSIGNAL | libc::MSG_WAITALL | if at_once { libc::MSG_DONTWAIT } else { 0 };
        let entry = match outbox.pieces().front() {
            Some(piece) if outbox.pieces().len() == 1 => {
                let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
                opcode::Send::new(descriptor, piece.as_ptr(), length).flags(how).build()
            }
            _ => {
                let list = self.messages.list(outbox.pieces());
                opcode::SendMsg::new(descriptor, list).flags(how.cast_unsigned()).build()
            }
        };
        let entry = entry.user_data(Token::Send(key).encode());
        // SAFETY, of both: the list stays until it is handed over; the pieces stay in the outbox, which only the
        // end of the request shortens, and the outbox with its socket until then.
        if at_once {
            let bytes = outbox.pieces().iter().take(SLICES_MAX).map(Bytes::len).sum();
            // SAFETY: see above.
            unsafe { self.ring.push_silent(entry) }?;
            outbox.sending = Sending::AtOnce(bytes);
        } else {
            // SAFETY: see above.
            unsafe { self.ring.push(&entry) }?;
            outbox.sending = Sending::Patiently;
        }
        socket.in_flight += 1;
        Ok(())
    }

    /// Before a hand-over: what the tasks have put down becomes requests, one for each socket.
    pub(super) fn leave_at_once(&mut self) {
        let keys = std::mem::take(&mut self.at_once);
        for key in &keys {
            if let Err(error) = self.send(*key, true) {
                self.cannot_send(*key, &error);
                self.close_if_free(*key);
            }
        }
        self.at_once = keys;
    }

    fn cannot_send(&mut self, key: usize, error: &io::Error) {
        if let Some(socket) = self.lent.sockets.get_mut(key) {
            socket.outbox.sending = Sending::Nothing;
            socket.outbox.fail(error.raw_os_error().unwrap_or(libc::EIO));
            socket.writer.take().into_iter().for_each(Waker::wake);
            // Whoever was woken is not to wait until something else happens.
            self.awaited = true;
        }
    }

    /// After a hand-over and its completions: what was to leave at once and was not told of has left.
    pub(super) fn left_at_once(&mut self) {
        let mut keys = std::mem::take(&mut self.at_once);
        for key in keys.drain(..) {
            if let Some(socket) = self.lent.sockets.get(key)
                && let Sending::AtOnce(bytes) = socket.outbox.sending
            {
                self.sent(key, i32::try_from(bytes).unwrap_or(i32::MAX));
            }
        }
        self.at_once = keys;
    }

    /// The end of a request that sends.
    pub(super) fn sent(&mut self, key: usize, result: i32) {
        let Some(socket) = self.lent.sockets.get_mut(key) else { return };
        assert!(socket.outbox.sending != Sending::Nothing, "no word comes of what was taken to have left");
        if socket.outbox.sending == Sending::Patiently {
            self.ring.finished();
        }
        self.ended(key);
        self.account(key, result);
        self.close_if_free(key);
    }

    /// A completion of a request that sends from the place: first how much has been sent, then, unless it was
    /// nothing, that the kernel has done with the bytes.
    pub(super) fn sent_from_place(&mut self, at: usize, result: i32, flags: u32) {
        let Some(copy) = self.lent.copies.get(at) else { return };
        let (key, bytes) = (copy.socket, copy.bytes);
        let notice = cqueue::notif(flags);
        let copied = notice && result.cast_unsigned() & COPIED != 0;
        if notice {
            let meter = if copied { &self.meters.copied } else { &self.meters.in_place };
            meter.increment(1);
        }
        if !cqueue::more(flags) {
            self.lent.copies.remove(at);
            self.ring.finished();
            if let Some(socket) = key.and_then(|key| self.lent.sockets.get_mut(key)) {
                socket.in_place -= bytes;
                socket.copied |= copied;
            }
        }
        if let (false, Some(key)) = (notice, key) {
            self.ended(key);
            self.account(key, result);
            self.close_if_free(key);
        }
    }

    /// A socket goes while the kernel reads what was sent from its place: nobody waits for that.
    pub(super) fn detach_copies(&mut self, key: usize) {
        for (_, copy) in self.lent.copies.iter_mut().filter(|(_, copy)| copy.socket == Some(key)) {
            copy.socket = None;
        }
    }

    /// What a request has sent.
    fn account(&mut self, key: usize, result: i32) {
        let Some(socket) = self.lent.sockets.get_mut(key) else { return };
        let outbox = &mut socket.outbox;
        outbox.sending = Sending::Nothing;
        match usize::try_from(result) {
            Ok(count) => outbox.sent(count),
            Err(_) => match -result {
                // There was no room at once; or sending from the place is not possible, so that a copy is tried.
                libc::EAGAIN | libc::EINTR => {}
                libc::ENOBUFS | libc::ENOMEM | libc::EOPNOTSUPP | libc::EINVAL if !socket.copied => {
                    socket.copied = true;
                }
                errno => outbox.fail(errno),
            },
        }
        if socket.closing {
            return;
        }
        if socket.outbox.bytes() <= EARLY_MAX {
            socket.writer.take().into_iter().for_each(Waker::wake);
        }
        if let Err(error) = self.send(key, false) {
            self.cannot_send(key, &error);
        }
    }

    /// The requests that send from their place for a socket.
    pub(super) fn copies_of(&self, key: usize) -> Vec<usize> {
        self.lent.copies.iter().filter(|(_, copy)| copy.socket == Some(key)).map(|(at, _)| at).collect()
    }
}

/// The first pieces that have room in so many bytes; none when it is not worth it to send those from their place.
fn in_place(pieces: &VecDeque<Bytes>, room: usize) -> Vec<Bytes> {
    let mut bytes = 0usize;
    let fits = |piece: &&Bytes| {
        bytes = bytes.saturating_add(piece.len());
        bytes <= room
    };
    let first: Vec<&Bytes> = pieces.iter().take(SLICES_MAX).take_while(fits).collect();
    let bytes: usize = first.iter().map(|piece| piece.len()).sum();
    if bytes < ZERO_COPY_BYTES { Vec::new() } else { first.into_iter().cloned().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_does_not_read_keeps_no_more_than_its_share_in_place() {
        let pieces =
            |sizes: &[usize]| sizes.iter().map(|size| Bytes::from(vec![0; *size])).collect::<VecDeque<_>>();
        let count = |sizes: &[usize], room| in_place(&pieces(sizes), room).len();
        let chunk = 256 * 1024;
        assert_eq!(count(&[60, chunk, 1], IN_PLACE_MAX), 3);
        assert_eq!(count(&[60, chunk, chunk], IN_PLACE_MAX), 2);
        assert_eq!(count(&[chunk], chunk - 1), 0);
        // What is small is copied.
        assert_eq!(count(&[60, 4096], IN_PLACE_MAX), 0);
        assert_eq!(count(&[60, chunk], 1000), 0);
        assert_eq!(count(&[ZERO_COPY_BYTES; 100], usize::MAX), SLICES_MAX);
    }
}
