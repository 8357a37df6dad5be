//! Sockets by epoll, for places where io_uring is not to be had.
//!
//! Each socket is registered once, for edges; whether it can be read or written is remembered here. An idle
//! socket has no buffer: all sockets of the thread read through one that they share, which leaves with its bytes
//! when it is at least half full.

use super::sockets::{BULK_BYTES, SLICES_MAX, advance, gone, remember};
use bytes::{Bytes, BytesMut};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags};
use slab::Slab;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 256;
/// The thread's bell, which is no socket: all it does is to end the sleep.
const BELL: u64 = u64::MAX;

pub(super) struct Epoll {
    epoll: OwnedFd,
    sockets: Slab<Socket>,
    events: Vec<Event>,
    scratch: BytesMut,
}

struct Socket {
    fd: OwnedFd,
    readable: bool,
    writable: bool,
    /// The peer sends nothing more, or all is over: it stays readable to its end.
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Epoll {
    pub(super) fn new(bell: BorrowedFd<'_>) -> io::Result<Epoll> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, bell, EventData::new_u64(BELL), EventFlags::IN | EventFlags::ET)?;
        let scratch = BytesMut::with_capacity(BULK_BYTES);
        Ok(Epoll { epoll, sockets: Slab::new(), events: Vec::with_capacity(EVENTS_MAX), scratch })
    }

    /// Takes over a socket that does not block: a connection or one that listens.
    pub(super) fn add(&mut self, fd: OwnedFd) -> io::Result<usize> {
        let place = self.sockets.vacant_entry();
        let key = place.key();
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &fd, EventData::new_u64(key as u64), flags)?;
        let socket = Socket { fd, readable: true, writable: true, ended: false, reader: None, writer: None };
        place.insert(socket);
        Ok(key)
    }

    /// Takes over a connected socket.
    pub(super) fn adopt(&mut self, fd: OwnedFd) -> io::Result<usize> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        self.add(fd)
    }

    /// Closing takes it out of the epoll too.
    pub(super) fn remove(&mut self, key: usize) {
        self.sockets.try_remove(key);
    }

    /// Ends our direction of a socket.
    pub(super) fn end(&self, key: usize) -> io::Result<()> {
        let socket = self.sockets.get(key).ok_or_else(gone)?;
        Ok(rustix::net::shutdown(&socket.fd, rustix::net::Shutdown::Write)?)
    }

    /// The next connection, as a socket of this driver.
    pub(super) fn poll_accept(
        &mut self,
        key: usize,
        context: &Context<'_>,
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let socket = self.sockets.get_mut(key).ok_or_else(gone)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::acceptfrom_with(&socket.fd, flags) {
            Ok((fd, peer)) => {
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or_else(gone);
                Poll::Ready(peer.and_then(|peer| Ok((self.add(fd)?, peer))))
            }
            Err(Errno::AGAIN) => {
                remember(&mut socket.reader, context);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// Appends what is there, up to about `want` bytes; 0 at the end.
    pub(super) fn poll_recv(
        &mut self,
        key: usize,
        context: &Context<'_>,
        input: &mut BytesMut,
        want: usize,
    ) -> Poll<io::Result<usize>> {
        let socket = self.sockets.get_mut(key).ok_or_else(gone)?;
        if !socket.readable {
            remember(&mut socket.reader, context);
            return Poll::Pending;
        }
        loop {
            self.scratch.clear();
            let spare = self.scratch.spare_capacity_mut();
            let room = want.min(spare.len());
            let buffer = spare.get_mut(..room).unwrap_or_default();
            match rustix::net::recv(&socket.fd, buffer, RecvFlags::DONTWAIT) {
                Ok((_, count)) => {
                    // SAFETY: the kernel has written so many bytes, which are no more than there is room for.
                    unsafe { self.scratch.set_len(count.min(room)) };
                    if input.is_empty() && count * 2 >= BULK_BYTES {
                        *input = std::mem::replace(&mut self.scratch, BytesMut::with_capacity(BULK_BYTES));
                    } else {
                        input.extend_from_slice(&self.scratch);
                    }
                    // Less than there was room for: it was all, and the next bytes make a new edge.
                    socket.readable = count == room || socket.ended || count == 0;
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    socket.readable = false;
                    remember(&mut socket.reader, context);
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Sends from the front of `output`, until it is empty or the peer takes no more.
    pub(super) fn poll_send(
        &mut self,
        key: usize,
        context: &Context<'_>,
        output: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        let socket = self.sockets.get_mut(key).ok_or_else(gone)?;
        while !output.is_empty() {
            if !socket.writable {
                remember(&mut socket.writer, context);
                return Poll::Pending;
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count =
                slices.iter_mut().zip(&*output).map(|(slice, piece)| *slice = IoSlice::new(piece)).count();
            match rustix::io::writev(&socket.fd, slices.get(..count).unwrap_or_default()) {
                Ok(sent) => advance(output, sent),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => socket.writable = false,
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for events, no longer than this. The bell rings anew with every call, so it is never read.
    pub(super) fn wait(&mut self, longest: Option<Duration>) -> io::Result<()> {
        let longest = longest.map(|longest| rustix::event::Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: longest.subsec_nanos().into(),
        });
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), longest.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let key = event.data.u64();
            let Some(socket) = usize::try_from(key).ok().and_then(|key| self.sockets.get_mut(key)) else {
                continue;
            };
            let flags = event.flags;
            if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
                socket.ended = true;
            }
            if socket.ended || flags.contains(EventFlags::IN) {
                socket.readable = true;
                socket.reader.take().into_iter().for_each(Waker::wake);
            }
            if flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR) {
                socket.writable = true;
                socket.writer.take().into_iter().for_each(Waker::wake);
            }
        }
        Ok(())
    }
}
