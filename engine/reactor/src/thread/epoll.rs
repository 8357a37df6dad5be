//! Sockets by epoll, for places where io_uring is not to be had.
//!
//! Each socket is registered once, for edges; whether it can be read or written is remembered here. An idle
//! socket has no buffer: commands are read through one that all sockets of the thread share.

use bytes::{Buf, Bytes, BytesMut};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags};
use slab::Slab;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 256;
/// What is read at a time; the thread's one buffer.
const READ_BYTES: usize = 64 * 1024;
/// How many pieces go to the kernel in one call.
const SLICES_MAX: usize = 64;
/// The thread's bell, which is no socket.
const BELL: u64 = u64::MAX;

pub(super) struct Epoll {
    epoll: OwnedFd,
    sockets: Slab<Socket>,
    events: Vec<Event>,
    scratch: Box<[u8]>,
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
        let scratch = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Epoll { epoll, sockets: Slab::new(), events: Vec::with_capacity(EVENTS_MAX), scratch })
    }

    pub(super) fn add(&mut self, fd: OwnedFd) -> io::Result<usize> {
        let place = self.sockets.vacant_entry();
        let key = place.key();
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &fd, EventData::new_u64(key as u64), flags)?;
        let socket = Socket { fd, readable: true, writable: true, ended: false, reader: None, writer: None };
        place.insert(socket);
        Ok(key)
    }

    /// Closing takes it out of the epoll too.
    pub(super) fn remove(&mut self, key: usize) {
        self.sockets.try_remove(key);
    }

    pub(super) fn fd(&self, key: usize) -> Option<BorrowedFd<'_>> {
        self.sockets.get(key).map(|socket| socket.fd.as_fd())
    }

    pub(super) fn poll_accept(
        &mut self,
        key: usize,
        context: &Context<'_>,
    ) -> Poll<io::Result<(OwnedFd, SocketAddr)>> {
        let socket = self.sockets.get_mut(key).ok_or_else(gone)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::acceptfrom_with(&socket.fd, flags) {
            Ok((fd, peer)) => {
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                Poll::Ready(peer.map(|peer| (fd, peer)).ok_or_else(gone))
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
        let room = want.min(self.scratch.len());
        let Some(buffer) = self.scratch.get_mut(..room).filter(|_| socket.readable) else {
            remember(&mut socket.reader, context);
            return Poll::Pending;
        };
        loop {
            match rustix::net::recv(&socket.fd, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((count, _)) => {
                    input.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    // Less than there was room for: it was all, and the next bytes make a new edge.
                    socket.readable = count == buffer.len() || socket.ended || count == 0;
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

    /// Waits for events, no longer than this; true when the bell rang.
    pub(super) fn wait(&mut self, longest: Option<Duration>) -> io::Result<bool> {
        let longest = longest.map(|longest| rustix::event::Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: longest.subsec_nanos().into(),
        });
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), longest.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut rang = false;
        for event in &self.events {
            let key = event.data.u64();
            if key == BELL {
                rang = true;
                continue;
            }
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
        Ok(rang)
    }
}

fn remember(place: &mut Option<Waker>, context: &Context<'_>) {
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
