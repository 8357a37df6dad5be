//! Sockets by io_uring.
//!
//! Commands are received by one standing request into small buffers that all sockets share, and go back to the
//! kernel as soon as their bytes are with the socket; messages by a request each into large buffers, which
//! leave with their bytes. An idle socket has no buffer. Answers are put down and handed over together, when
//! the thread has nothing more to do; that the small ones leave at once is not waited for.
//!
//! Cancellation is safe by construction: whatever the kernel may read or write (`Lent`) belongs to the driver,
//! not to a task, and stays until the last completion of the request. A task that goes away only says so.

mod accept;
mod adopt;
mod buffers;
mod message;
mod probe;
mod receive;
mod ring;
mod send;
mod socket;
mod token;

use super::sockets::{BULK_BYTES, gone, remember};
use accept::{Accept, Listener, accepts_at_once};
use adopt::Adoption;
use buffers::Group;
use io_uring::{cqueue, opcode, types};
use message::Messages;
pub(super) use probe::probe;
use ring::Ring;
use send::ZeroCopy;
use slab::Slab;
use socket::{Receiving, Sending, Socket};
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use token::Token;

/// Buffers for commands. They are lent again at once, so a few serve any number of sockets.
const COMMAND_BUFFERS: u16 = 256;
/// A command fits in one. The kernel fills up to 32 of them for one socket before it lets us look: so much, and
/// not more, may a peer leave that sends without end.
const COMMAND_BYTES: usize = 2 * 1024;
/// Buffers for messages, of `BULK_BYTES`; one that is at least half full leaves with its bytes, from any other
/// they are copied, so that memory held is at most twice what was received.
const LARGE_BUFFERS: u16 = 16;
/// How long the end of a thread waits for the kernel to give back what it was lent.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) struct Uring {
    ring: Ring,
    lent: ManuallyDrop<Lent>,
    listeners: Slab<Listener>,
    /// How many connections the ring has places for.
    places: usize,
    /// The listener that had the last place that became free.
    turn: usize,
    messages: Messages,
    completed: Vec<cqueue::Entry>,
    /// Sockets from which something leaves at once with the next hand-over.
    at_once: Vec<usize>,
    /// Somebody waits for what leaves at once.
    awaited: bool,
    bell: RawFd,
    meters: send::Meters,
}

/// All memory that the kernel may read or write.
struct Lent {
    commands: Group,
    large: Group,
    sockets: Slab<Socket>,
    accepts: Slab<Box<Accept>>,
    adoptions: Slab<Box<Adoption>>,
    copies: Slab<ZeroCopy>,
}

impl Lent {
    /// Places of connections, those that are to come among them.
    fn places_taken(&self) -> usize {
        self.sockets.len() + self.accepts.len() + self.adoptions.len()
    }
}

impl Uring {
    /// For a thread: a ring with places for so many connections, and a bell that wakes it.
    pub(super) fn new(bell: BorrowedFd<'_>, connections: u32) -> io::Result<Uring> {
        let ring = Ring::open(connections)?;
        let commands = Group::lend(&ring, 0, COMMAND_BUFFERS, COMMAND_BYTES)?;
        let large = Group::lend(&ring, 1, LARGE_BUFFERS, BULK_BYTES)?;
        let (sockets, accepts, adoptions, copies) = (Slab::new(), Slab::new(), Slab::new(), Slab::new());
        let lent = ManuallyDrop::new(Lent { commands, large, sockets, accepts, adoptions, copies });
        let mut uring = Uring {
            ring,
            lent,
            listeners: Slab::new(),
            places: connections.try_into().unwrap_or(usize::MAX),
            turn: 0,
            messages: Messages::default(),
            completed: Vec::new(),
            at_once: Vec::new(),
            awaited: false,
            bell: bell.as_raw_fd(),
            meters: send::Meters::new(),
        };
        uring.hear_bell()?;
        Ok(uring)
    }

    fn hear_bell(&mut self) -> io::Result<()> {
        let readable = u32::from(rustix::event::PollFlags::IN.bits());
        let hear = opcode::PollAdd::new(types::Fd(self.bell), readable).multi(true).build();
        // SAFETY: it names no memory.
        unsafe { self.ring.push(&hear.user_data(Token::Bell.encode())) }
    }

    /// Takes over a listening socket.
    pub(super) fn add_listener(&mut self, fd: OwnedFd) -> io::Result<usize> {
        // The ring waits, so the socket may block: requests of one that may not are not waited for.
        rustix::io::ioctl_fionbio(&fd, false)?;
        Ok(self.listeners.insert(Listener::new(fd)))
    }

    pub(super) fn remove_listener(&mut self, key: usize) {
        let Some(listener) = self.listeners.get_mut(key) else { return };
        listener.closing = true;
        let ready = std::mem::take(&mut listener.ready);
        let waiting: Vec<usize> =
            self.lent.accepts.iter().filter(|(_, accept)| accept.listener == key).map(|(at, _)| at).collect();
        waiting.into_iter().for_each(|at| self.cancel(Token::Accept(at)));
        ready.into_iter().flatten().for_each(|(socket, _)| self.remove(socket));
        self.forget_listener(key);
    }

    fn forget_listener(&mut self, key: usize) {
        if self.listeners.get(key).is_some_and(|listener| listener.closing && listener.waiting == 0) {
            self.listeners.remove(key);
        }
    }

    /// The next connection, as a socket of this driver.
    pub(super) fn poll_accept(
        &mut self,
        key: usize,
        context: &Context<'_>,
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let listener = self.listeners.get_mut(key).ok_or_else(gone)?;
        let polled = match listener.ready.pop_front() {
            Some(accepted) => Poll::Ready(accepted),
            None => {
                remember(&mut listener.reader, context);
                Poll::Pending
            }
        };
        match polled {
            // After an error there is a pause.
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            // Whoever has come is served; what is wrong is told to the next call.
            Poll::Ready(Ok(_)) => _ = self.accept_more(key),
            Poll::Pending => self.accept_more(key)?,
        }
        polled
    }

    /// Waits for connections, for as many as there are places: others wait in the queue of the listener.
    fn accept_more(&mut self, key: usize) -> io::Result<()> {
        let most = accepts_at_once(self.places, self.lent.sockets.len(), self.listeners.len());
        let Some(listener) = self.listeners.get_mut(key) else { return Ok(()) };
        while listener.waiting + listener.ready.len() < most && self.lent.places_taken() < self.places {
            let at = self.lent.accepts.insert(Box::new(Accept::new(key)));
            let Some(accept) = self.lent.accepts.get_mut(at) else { return Ok(()) };
            let (address, length) = ((&raw mut accept.storage).cast(), &raw mut accept.length);
            let entry = opcode::Accept::new(types::Fd(listener.fd.as_raw_fd()), address, length)
                .file_index(Some(types::DestinationSlot::auto_target()))
                .build()
                .user_data(Token::Accept(at).encode());
            // SAFETY: the place for the address is in a box that stays in `accepts` until the completion.
            if let Err(error) = unsafe { self.ring.push(&entry) } {
                self.lent.accepts.remove(at);
                return Err(error);
            }
            listener.waiting += 1;
        }
        Ok(())
    }

    fn accepted(&mut self, at: usize, result: i32) {
        self.ring.finished();
        let Some(accept) = self.lent.accepts.try_remove(at) else { return };
        let key = accept.listener;
        let accepted = match u32::try_from(result) {
            Ok(descriptor) => {
                let socket = self.lent.sockets.insert(Socket::new(descriptor));
                match accept.peer() {
                    Ok(peer) => Ok((socket, peer)),
                    Err(error) => {
                        self.remove(socket);
                        Err(error)
                    }
                }
            }
            Err(_) => {
                self.place_is_free();
                Err(io::Error::from_raw_os_error(-result))
            }
        };
        let Some(listener) = self.listeners.get_mut(key) else { return };
        listener.waiting -= 1;
        if !listener.closing {
            listener.ready.push_back(accepted);
            listener.reader.take().into_iter().for_each(Waker::wake);
            return;
        }
        if let Ok((socket, _)) = accepted {
            self.remove(socket);
        }
        self.forget_listener(key);
    }

    /// Lets a socket go; it is closed when the kernel has done with it.
    pub(super) fn remove(&mut self, key: usize) {
        let Some(socket) = self.lent.sockets.get_mut(key) else { return };
        socket.closing = true;
        (socket.reader, socket.writer) = (None, None);
        socket.inbox = bytes::BytesMut::new();
        let (receiving, sending) = (socket.receiving, socket.outbox.sending);
        if receiving != Receiving::Not {
            self.cancel(Token::Recv(key));
        }
        match sending {
            Sending::Patiently => {
                self.cancel(Token::Send(key));
                let copies: Vec<usize> = self.copies_of(key);
                copies.into_iter().for_each(|at| self.cancel(Token::ZeroCopy(at)));
            }
            // What was put down leaves before the end.
            Sending::Listed | Sending::AtOnce(_) => self.awaited = true,
            Sending::Nothing => {}
        }
        self.close_if_free(key);
    }

    fn close_if_free(&mut self, key: usize) {
        let Some(socket) = self.lent.sockets.get(key) else { return };
        if !socket.closing || socket.in_flight > 0 || socket.outbox.sending != Sending::Nothing {
            return;
        }
        let close = opcode::Close::new(types::Fixed(socket.descriptor)).build();
        if socket.in_place > 0 {
            self.detach_copies(key);
        }
        self.lent.sockets.remove(key);
        // SAFETY: it names no memory.
        let closed = unsafe { self.ring.push_silent(close.user_data(Token::Nobody.encode())) };
        if let Err(error) = closed {
            tracing::error!(%error, "a connection could not be closed");
        }
        self.place_is_free();
    }

    /// One listener that could not wait for connections may again; they take turns.
    fn place_is_free(&mut self) {
        let waits = |listener: &Listener| listener.waiting == 0 && listener.reader.is_some();
        let mut waiting = self.listeners.iter().filter(|(_, listener)| waits(listener)).map(|(key, _)| key);
        let first = waiting.next();
        let Some(key) =
            first.filter(|key| *key > self.turn).or(waiting.find(|key| *key > self.turn)).or(first)
        else {
            return;
        };
        self.turn = key;
        if let Some(listener) = self.listeners.get_mut(key) {
            listener.reader.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Ends our direction of a socket, after all that was sent.
    pub(super) fn poll_end(&mut self, key: usize, context: &Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_left(key, context))?;
        let socket = self.lent.sockets.get_mut(key).ok_or_else(gone)?;
        let end = opcode::Shutdown::new(types::Fixed(socket.descriptor), libc::SHUT_WR).build();
        // SAFETY: it names no memory.
        unsafe { self.ring.push(&end.user_data(Token::End(key).encode())) }?;
        socket.in_flight += 1;
        Poll::Ready(Ok(()))
    }

    /// Asks the kernel to give up a request. Its completion comes in any case.
    fn cancel(&mut self, token: Token) {
        let entry = opcode::AsyncCancel::new(token.encode()).build().user_data(Token::Nobody.encode());
        // SAFETY: it names no memory.
        if let Err(error) = unsafe { self.ring.push_silent(entry) } {
            tracing::error!(%error, "a request could not be cancelled");
        }
    }

    /// Hands over what the tasks have put down and waits for completions, no longer than this.
    pub(super) fn wait(&mut self, longest: Option<Duration>) -> io::Result<()> {
        self.leave_at_once();
        let awaited = std::mem::take(&mut self.awaited) && !self.at_once.is_empty();
        self.ring.enter(if awaited { Some(Duration::ZERO) } else { longest })?;
        self.messages.handed_over();
        let mut completed = std::mem::take(&mut self.completed);
        // All of them: that nothing was said about a request has a meaning.
        while self.ring.completed(&mut completed)? {}
        let mut heard = Ok(());
        for entry in completed.drain(..) {
            heard = heard.and(self.complete(&entry));
        }
        self.completed = completed;
        self.left_at_once();
        heard
    }

    /// Fails when the thread would not hear others any more.
    fn complete(&mut self, entry: &cqueue::Entry) -> io::Result<()> {
        let (result, flags) = (entry.result(), entry.flags());
        match Token::decode(entry.user_data()) {
            Token::Bell if cqueue::more(flags) => {}
            Token::Bell => {
                self.ring.finished();
                return match result {
                    0.. => self.hear_bell(),
                    error => Err(io::Error::from_raw_os_error(-error)),
                };
            }
            Token::Accept(at) => self.accepted(at, result),
            Token::Adopt(at) => self.adopted(at, result),
            Token::Recv(key) => self.received(key, result, flags),
            Token::Send(key) => self.sent(key, result),
            Token::ZeroCopy(at) => self.sent_from_place(at, result, flags),
            Token::End(key) => {
                self.finished(key);
                self.close_if_free(key);
            }
            Token::Nobody => {}
        }
        Ok(())
    }

    /// The last completion of a request of a socket.
    fn finished(&mut self, key: usize) {
        self.ring.finished();
        self.ended(key);
    }

    /// A request is done with its socket.
    fn ended(&mut self, key: usize) {
        if let Some(socket) = self.lent.sockets.get_mut(key) {
            assert!(socket.in_flight > 0, "a socket stays until the last completion");
            socket.in_flight -= 1;
        }
    }
}

impl Drop for Uring {
    /// Takes everything back from the kernel before the memory goes. What it does not give back in time is
    /// left to it for ever.
    fn drop(&mut self) {
        let sockets: Vec<usize> = self.lent.sockets.iter().map(|(key, _)| key).collect();
        let listeners: Vec<usize> = self.listeners.iter().map(|(key, _)| key).collect();
        listeners.into_iter().for_each(|key| self.remove_listener(key));
        sockets.into_iter().for_each(|key| self.remove(key));
        self.cancel(Token::Bell);
        let began = Instant::now();
        while self.ring.in_flight() > 0 && began.elapsed() < FAREWELL {
            if let Err(error) = self.wait(Some(Duration::from_millis(20)))
                // That of the bell.
                && error.raw_os_error() != Some(libc::ECANCELED)
            {
                tracing::warn!(%error, "a ring failed at its end");
                break;
            }
        }
        if self.ring.in_flight() > 0 {
            tracing::warn!(requests = self.ring.in_flight(), "the kernel keeps memory of a thread that ends");
            return;
        }
        // SAFETY: not used any more, and dropped once.
        unsafe { ManuallyDrop::drop(&mut self.lent) };
    }
}
