//! The sockets of a thread, by io_uring or by epoll: the same calls, the same promises.
//!
//! A call that cannot be answered now is answered after the waker was called, of which there is one for each
//! direction. Who lets a socket go (`remove`) need not wait for anything.

use super::epoll::Epoll;
use super::uring::Uring;
use crate::io::Io;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What is received at a time while a message comes: who wants so much gets it, if it is there.
pub(crate) const BULK_BYTES: usize = 64 * 1024;
/// How many pieces go to the kernel in one call.
pub(super) const SLICES_MAX: usize = 64;

pub(super) enum Sockets {
    Uring(Box<Uring>),
    Epoll(Epoll),
}

impl Sockets {
    /// For this thread, which sleeps until the bell rings or one of the sockets has something.
    pub(super) fn open(io: Io, bell: BorrowedFd<'_>, connections: u32) -> io::Result<Sockets> {
        Ok(match io {
            Io::Uring => Sockets::Uring(Box::new(Uring::new(bell, connections)?)),
            Io::Epoll => Sockets::Epoll(Epoll::new(bell)?),
        })
    }

    /// Takes over a listening socket.
    pub(super) fn add_listener(&mut self, fd: OwnedFd) -> io::Result<usize> {
        match self {
            Sockets::Uring(uring) => uring.add_listener(fd),
            Sockets::Epoll(epoll) => epoll.add(fd),
        }
    }

    /// Closes a listening socket.
    pub(super) fn remove_listener(&mut self, key: usize) {
        match self {
            Sockets::Uring(uring) => uring.remove_listener(key),
            Sockets::Epoll(epoll) => epoll.remove(key),
        }
    }

    /// The next connection of a listening socket, and who it is.
    pub(super) fn poll_accept(
        &mut self,
        key: usize,
        context: &Context<'_>,
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        match self {
            Sockets::Uring(uring) => uring.poll_accept(key, context),
            Sockets::Epoll(epoll) => epoll.poll_accept(key, context),
        }
    }

    /// Begins to take over a connected socket. Its place is that of the adoption, until it is a connection.
    pub(super) fn adopt(&mut self, fd: OwnedFd) -> io::Result<usize> {
        match self {
            Sockets::Uring(uring) => uring.adopt(fd),
            Sockets::Epoll(epoll) => epoll.adopt(fd),
        }
    }

    /// The connection that an adopted socket has become.
    pub(super) fn poll_adopted(&mut self, at: usize, context: &Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Sockets::Uring(uring) => uring.poll_adopted(at, context),
            Sockets::Epoll(_) => Poll::Ready(Ok(at)),
        }
    }

    /// Nobody waits for an adoption any more.
    pub(super) fn abandon(&mut self, at: usize) {
        match self {
            Sockets::Uring(uring) => uring.abandon(at),
            Sockets::Epoll(epoll) => epoll.remove(at),
        }
    }

    /// Closes a connection.
    pub(super) fn remove(&mut self, key: usize) {
        match self {
            Sockets::Uring(uring) => uring.remove(key),
            Sockets::Epoll(epoll) => epoll.remove(key),
        }
    }

    /// Appends what has come, about as much as is wanted; 0 at the end.
    pub(super) fn poll_recv(
        &mut self,
        key: usize,
        context: &Context<'_>,
        input: &mut BytesMut,
        want: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Sockets::Uring(uring) => uring.poll_recv(key, context, input, want),
            Sockets::Epoll(epoll) => epoll.poll_recv(key, context, input, want),
        }
    }

    /// Sends all of `output`. A little may be on its way still when it is ready.
    pub(super) fn poll_send(
        &mut self,
        key: usize,
        context: &Context<'_>,
        output: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        match self {
            Sockets::Uring(uring) => uring.poll_send(key, context, output),
            Sockets::Epoll(epoll) => epoll.poll_send(key, context, output),
        }
    }

    /// Ready once all has left that was sent.
    pub(super) fn poll_left(&mut self, key: usize, context: &Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Sockets::Uring(uring) => uring.poll_left(key, context),
            Sockets::Epoll(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ends our direction, once all has left that was sent.
    pub(super) fn poll_end(&mut self, key: usize, context: &Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Sockets::Uring(uring) => uring.poll_end(key, context),
            Sockets::Epoll(epoll) => Poll::Ready(epoll.end(key)),
        }
    }

    /// Sleeps until something has happened, no longer than this, and calls the wakers.
    pub(super) fn wait(&mut self, longest: Option<Duration>) -> io::Result<()> {
        match self {
            Sockets::Uring(uring) => uring.wait(longest),
            Sockets::Epoll(epoll) => epoll.wait(longest),
        }
    }
}

pub(super) fn remember(place: &mut Option<Waker>, context: &Context<'_>) {
    if !place.as_ref().is_some_and(|old| old.will_wake(context.waker())) {
        *place = Some(context.waker().clone());
    }
}

/// Takes what was sent from the front.
pub(super) fn advance(output: &mut VecDeque<Bytes>, mut sent: usize) {
    while let Some(front) = output.front_mut() {
        if sent < front.len() {
            front.advance(sent);
            return;
        }
        sent -= front.len();
        output.pop_front();
    }
}

pub(super) fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}
