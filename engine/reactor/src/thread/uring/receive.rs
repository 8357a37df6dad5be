//! Receiving: which request stands, and where its bytes go.

use super::Uring;
use super::socket::Receiving;
use super::token::Token;
use crate::thread::sockets::{BULK_BYTES, gone, remember};
use bytes::BytesMut;
use io_uring::{cqueue, opcode, squeue, types};
use std::io;
use std::task::{Context, Poll, Waker};

/// Bytes that may wait for a session that does not read; past it the kernel is asked to stop.
const INBOX_MAX: usize = 16 * 1024;

impl Uring {
    /// Appends what has come, about as much as is wanted; 0 at the end.
    pub(in crate::thread) fn poll_recv(
        &mut self,
        key: usize,
        context: &Context<'_>,
        input: &mut BytesMut,
        want: usize,
    ) -> Poll<io::Result<usize>> {
        let socket = self.lent.sockets.get_mut(key).ok_or_else(gone)?;
        if !socket.inbox.is_empty() {
            let inbox = std::mem::take(&mut socket.inbox);
            let count = inbox.len();
            if input.is_empty() {
                *input = inbox;
            } else {
                input.extend_from_slice(&inbox);
            }
            return Poll::Ready(Ok(count));
        }
        if let Some(errno) = socket.read_fault {
            return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
        }
        if socket.ended {
            return Poll::Ready(Ok(0));
        }
        remember(&mut socket.reader, context);
        self.receive(key, want >= BULK_BYTES)?;
        Poll::Pending
    }

    /// Sees to it that bytes are received, in large pieces if they come in masses.
    fn receive(&mut self, key: usize, masses: bool) -> io::Result<()> {
        let lent = &mut *self.lent;
        let Some(socket) = lent.sockets.get_mut(key) else { return Ok(()) };
        let descriptor = types::Fixed(socket.descriptor);
        let (entry, receiving) = match socket.receiving {
            Receiving::Not if masses => {
                let entry = opcode::Recv::new(descriptor, std::ptr::null_mut(), 0)
                    .buf_group(lent.large.id())
                    .build()
                    .flags(squeue::Flags::BUFFER_SELECT);
                (entry, Receiving::Bulk)
            }
            Receiving::Not => {
                (opcode::RecvMulti::new(descriptor, lent.commands.id()).build(), Receiving::Commands)
            }
            Receiving::Commands if masses && socket.crowded => {
                self.stop_receiving(key);
                return Ok(());
            }
            Receiving::Commands | Receiving::Stopping | Receiving::Bulk => return Ok(()),
        };
        // SAFETY: the kernel writes into the buffers of a group alone.
        unsafe { self.ring.push(&entry.user_data(Token::Recv(key).encode())) }?;
        socket.receiving = receiving;
        socket.in_flight += 1;
        Ok(())
    }

    fn stop_receiving(&mut self, key: usize) {
        if let Some(socket) = self.lent.sockets.get_mut(key) {
            socket.receiving = Receiving::Stopping;
            self.cancel(Token::Recv(key));
        }
    }

    pub(super) fn received(&mut self, key: usize, result: i32, flags: u32) {
        let lent = &mut *self.lent;
        let Some(socket) = lent.sockets.get_mut(key) else { return };
        let group = if socket.receiving == Receiving::Bulk { &mut lent.large } else { &mut lent.commands };
        let count = usize::try_from(result).unwrap_or(0);
        match cqueue::buffer_select(flags) {
            Some(number) if count > 0 && !socket.closing => {
                socket.crowded = group.take(number, count, &mut socket.inbox);
            }
            Some(number) => group.lend_again(number),
            None => {}
        }
        let mut again = false;
        match result {
            0 => socket.ended = true,
            1.. => {}
            error => match -error {
                libc::ECANCELED => {}
                // No buffer was left: by the next hand-over all are lent again.
                libc::ENOBUFS | libc::EINTR | libc::EAGAIN => again = true,
                errno => socket.read_fault = Some(errno),
            },
        }
        if !again {
            socket.reader.take().into_iter().for_each(Waker::wake);
        }
        let full = socket.receiving == Receiving::Commands && socket.inbox.len() >= INBOX_MAX;
        if cqueue::more(flags) {
            if full {
                self.stop_receiving(key);
            }
            return;
        }
        let masses = socket.receiving == Receiving::Bulk;
        // Who waits need not know that it goes on.
        let again = again && socket.reader.is_some() && !socket.closing;
        socket.receiving = Receiving::Not;
        self.finished(key);
        if again && let Err(error) = self.receive(key, masses) {
            self.cannot_receive(key, &error);
        }
        self.close_if_free(key);
    }

    fn cannot_receive(&mut self, key: usize, error: &io::Error) {
        if let Some(socket) = self.lent.sockets.get_mut(key) {
            socket.read_fault = Some(error.raw_os_error().unwrap_or(libc::EIO));
            socket.reader.take().into_iter().for_each(Waker::wake);
        }
    }
}
