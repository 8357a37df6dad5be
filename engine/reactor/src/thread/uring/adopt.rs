//! Sockets that were made elsewhere and become connections of the ring: the kernel puts them among the direct descriptors.
//!
//! It reads the number of the file, and writes the place that it chose where it has read it.

use super::Uring;
use super::socket::Socket;
use super::token::Token;
use crate::thread::sockets::{gone, remember};
use io_uring::opcode;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::task::{Context, Poll, Waker};

/// In place of a place: the kernel is to choose one (`IORING_FILE_INDEX_ALLOC`).
const ANY_PLACE: i32 = -1;

/// A socket on its way into the table.
pub(super) struct Adoption {
    /// The file, and in the end the place that it has.
    slot: RawFd,
    /// Not needed any more once it is in the table.
    fd: Option<OwnedFd>,
    outcome: Option<io::Result<usize>>,
    waiting: Option<Waker>,
    abandoned: bool,
}

impl Uring {
    /// Begins to take over a connected socket, if there is a place for it.
    pub(in crate::thread) fn adopt(&mut self, fd: OwnedFd) -> io::Result<usize> {
        if self.lent.places_taken() >= self.places {
            return Err(io::Error::from_raw_os_error(libc::ENFILE));
        }
        // As in `add_listener`.
        rustix::io::ioctl_fionbio(&fd, false)?;
        let slot = fd.as_raw_fd();
        let adoption = Adoption { slot, fd: Some(fd), outcome: None, waiting: None, abandoned: false };
        let at = self.lent.adoptions.insert(Box::new(adoption));
        let Some(adoption) = self.lent.adoptions.get_mut(at) else { return Err(gone()) };
        let entry = opcode::FilesUpdate::new((&raw mut adoption.slot).cast_const(), 1)
            .offset(ANY_PLACE)
            .build()
            .user_data(Token::Adopt(at).encode());
        // SAFETY: the slot is in a box that stays in `adoptions` until the completion, and is not looked at before.
        if let Err(error) = unsafe { self.ring.push(&entry) } {
            self.lent.adoptions.remove(at);
            return Err(error);
        }
        Ok(at)
    }

    pub(super) fn adopted(&mut self, at: usize, result: i32) {
        self.ring.finished();
        let lent = &mut *self.lent;
        let Some(adoption) = lent.adoptions.get_mut(at) else { return };
        adoption.fd = None;
        let outcome = match (result, u32::try_from(adoption.slot)) {
            (1, Ok(descriptor)) => Ok(lent.sockets.insert(Socket::adopted(descriptor))),
            (0.., _) => Err(gone()),
            (error, _) => Err(io::Error::from_raw_os_error(-error)),
        };
        adoption.outcome = Some(outcome);
        adoption.waiting.take().into_iter().for_each(Waker::wake);
        if adoption.abandoned {
            self.abandon(at);
        }
    }

    /// The connection that it has become.
    pub(in crate::thread) fn poll_adopted(
        &mut self,
        at: usize,
        context: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let adoption = self.lent.adoptions.get_mut(at).ok_or_else(gone)?;
        let Some(outcome) = adoption.outcome.take() else {
            remember(&mut adoption.waiting, context);
            return Poll::Pending;
        };
        self.lent.adoptions.remove(at);
        // Those of the adoption and of the socket were two.
        self.place_is_free();
        Poll::Ready(outcome)
    }

    /// Nobody waits for it any more.
    pub(in crate::thread) fn abandon(&mut self, at: usize) {
        let Some(adoption) = self.lent.adoptions.get_mut(at) else { return };
        adoption.abandoned = true;
        let Some(outcome) = adoption.outcome.take() else { return };
        self.lent.adoptions.remove(at);
        match outcome {
            Ok(socket) => self.remove(socket),
            Err(_) => self.place_is_free(),
        }
    }
}
