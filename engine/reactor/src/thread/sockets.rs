//! The sockets of a thread, by io_uring or by epoll: the same calls, the same promises.
//!
//! A call that cannot be answered now is answered after the waker was called, of which there is one for each
//! direction. Who lets a socket go (`remove`) need not wait for anything.

use super::epoll::Epoll;
use super::uring::Uring;
use crate::io::Io;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

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
