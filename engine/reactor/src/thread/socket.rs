//! A connection and a listening socket, as the tasks of a thread see them.

use super::Core;
use super::epoll::gone;
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
    /// What TLS wants to read, in the size that it wants.
    read: BytesMut,
    /// What TLS has written and the kernel has not taken.
    written: VecDeque<Bytes>,
}

/// Bytes of TLS that may wait for the kernel.
const WRITTEN_MAX: usize = 64 * 1024;

impl Socket {
    /// Takes over a connection; it must not block.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Socket> {
        let core = Core::current();
        let key = core.sockets.borrow_mut().add(fd)?;
        Ok(Socket { core, key, read: BytesMut::new(), written: VecDeque::new() })
    }

    /// Our end.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        let sockets = self.core.sockets.borrow();
        let address = rustix::net::getsockname(sockets.fd(self.key).ok_or_else(gone)?)?;
        SocketAddr::try_from(address).map_err(|_| gone())
    }

    /// What is sent leaves at once.
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        let sockets = self.core.sockets.borrow();
        Ok(rustix::net::sockopt::set_tcp_nodelay(sockets.fd(self.key).ok_or_else(gone)?, true)?)
    }

    /// Waits for bytes and appends up to about `want` of them; 0 at the end.
    pub(crate) async fn recv(&mut self, input: &mut BytesMut, want: usize) -> io::Result<usize> {
        poll_fn(|context| self.core.sockets.borrow_mut().poll_recv(self.key, context, input, want)).await
    }

    /// Sends all of `output`.
    pub(crate) async fn send(&mut self, output: &mut VecDeque<Bytes>) -> io::Result<()> {
        poll_fn(|context| self.core.sockets.borrow_mut().poll_send(self.key, context, output)).await
    }

    /// Ends our direction.
    pub(crate) fn end(&self) -> io::Result<()> {
        let sockets = self.core.sockets.borrow();
        let fd = sockets.fd(self.key).ok_or_else(gone)?;
        Ok(rustix::net::shutdown(fd, rustix::net::Shutdown::Write)?)
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
        Poll::Ready(this.end())
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
        let key = core.sockets.borrow_mut().add(socket.into())?;
        Ok(Listening { core, key })
    }

    /// The next connection; `None` when the program stops.
    pub(crate) async fn accept(&mut self) -> Option<io::Result<(OwnedFd, SocketAddr)>> {
        poll_fn(|context| {
            if self.core.is_stopping() {
                return Poll::Ready(None);
            }
            self.core.sockets.borrow_mut().poll_accept(self.key, context).map(Some)
        })
        .await
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.core.sockets.borrow_mut().remove(self.key);
    }
}
