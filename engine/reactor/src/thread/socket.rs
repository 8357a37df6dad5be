//! A connection and a listening socket, as the tasks of a thread see them.

use super::Core;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection. Closed when it is dropped.
pub(crate) struct Socket {
    core: Rc<Core>,
    key: usize,
    /// What was read and not taken yet: TLS takes it in the size that it wants.
    read: BytesMut,
    /// What TLS has written and the kernel has not taken.
    written: VecDeque<Bytes>,
}

/// Bytes of TLS that may wait for the kernel.
const WRITTEN_MAX: usize = 64 * 1024;

impl Socket {
    fn new(core: Rc<Core>, key: usize) -> Socket {
        Socket { core, key, read: BytesMut::new(), written: VecDeque::new() }
    }

    /// Takes over a connected socket of the system for this thread.
    pub(crate) async fn adopt(fd: OwnedFd) -> io::Result<Socket> {
        let core = Core::current();
        let at = core.sockets.borrow_mut().adopt(fd)?;
        let mut adoption = Adoption { core, at: Some(at) };
        let key = poll_fn(|context| adoption.core.sockets.borrow_mut().poll_adopted(at, context)).await;
        adoption.at = None;
        Ok(Socket::new(Rc::clone(&adoption.core), key?))
    }

    /// Waits for bytes and appends up to about `want` of them; 0 at the end.
    pub(crate) async fn recv(&mut self, input: &mut BytesMut, want: usize) -> io::Result<usize> {
        if !self.read.is_empty() {
            let read = std::mem::take(&mut self.read);
            input.extend_from_slice(&read);
            return Ok(read.len());
        }
        poll_fn(|context| self.core.sockets.borrow_mut().poll_recv(self.key, context, input, want)).await
    }

    /// Has these bytes read next.
    pub(crate) fn put_back(&mut self, bytes: BytesMut) {
        self.read = bytes;
    }

    /// Sends all of `output`.
    pub(crate) async fn send(&mut self, output: &mut VecDeque<Bytes>) -> io::Result<()> {
        poll_fn(|context| self.core.sockets.borrow_mut().poll_send(self.key, context, output)).await
    }

    /// Ends our direction, once all has left that was sent.
    pub(crate) async fn end(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_end(context)).await
    }

    /// Waits until all has left that was sent.
    pub(crate) async fn left(&self) -> io::Result<()> {
        poll_fn(|context| self.core.sockets.borrow_mut().poll_left(self.key, context)).await
    }

    fn poll_end(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.core.sockets.borrow_mut().poll_end(self.key, context)
    }

    fn poll_written(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.core.sockets.borrow_mut().poll_send(self.key, context, &mut self.written)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.core.sockets.borrow_mut().remove(self.key);
    }
}

/// A socket that is being taken over; given up when this is dropped before it is done.
struct Adoption {
    core: Rc<Core>,
    at: Option<usize>,
}

impl Drop for Adoption {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            self.core.sockets.borrow_mut().abandon(at);
        }
    }
}

/// For TLS.
impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read.is_empty() {
            let mut sockets = this.core.sockets.borrow_mut();
            ready!(sockets.poll_recv(this.key, context, &mut this.read, to.remaining()))?;
        }
        let some = this.read.split_to(this.read.len().min(to.remaining()));
        to.put_slice(&some);
        if this.read.is_empty() {
            this.read = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

/// For TLS.
impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.written.iter().map(Bytes::len).sum::<usize>() >= WRITTEN_MAX {
            ready!(this.poll_written(context))?;
        }
        this.written.push_back(Bytes::copy_from_slice(from));
        Poll::Ready(Ok(from.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_written(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_written(context))?;
        this.poll_end(context)
    }
}

/// A listening socket of this thread.
pub(crate) struct Listening {
    core: Rc<Core>,
    key: usize,
}

impl Listening {
    pub(crate) fn new(socket: TcpListener) -> io::Result<Listening> {
        let core = Core::current();
        let key = core.sockets.borrow_mut().add_listener(socket.into())?;
        Ok(Listening { core, key })
    }

    /// The next connection and who it is; `None` when the program stops.
    pub(crate) async fn accept(&mut self) -> Option<io::Result<(Socket, SocketAddr)>> {
        poll_fn(|context| {
            if self.core.is_stopping() {
                return Poll::Ready(None);
            }
            let accepted = ready!(self.core.sockets.borrow_mut().poll_accept(self.key, context));
            Poll::Ready(Some(accepted.map(|(key, peer)| (Socket::new(Rc::clone(&self.core), key), peer))))
        })
        .await
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.core.sockets.borrow_mut().remove_listener(self.key);
    }
}
