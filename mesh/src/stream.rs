//! A stream to another node: bytes both ways over a TLS connection of its own.
//!
//! - Each direction ends by itself: `shutdown` ends ours, the other side then reads 0.
//! - An end without that is an error: the other node, or the way to it, has gone.
//! - It also ends with an error when the peer is removed, cannot be reached for long, or this node's mesh ends.
//! - What was written leaves at the latest with `flush`.

use crate::streams::{At, Place};
use bytes::{Buf, BytesMut};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsStream;

/// See the head of this file. Closes when it is dropped.
pub struct Stream {
    tls: TlsStream<TcpStream>,
    /// What was read behind the frames at its beginning.
    front: BytesMut,
    place: Place,
    /// Held until it has ended.
    _alive: mpsc::Sender<()>,
}

impl Stream {
    pub(crate) fn new(
        tls: TlsStream<TcpStream>,
        front: BytesMut,
        place: Place,
        alive: mpsc::Sender<()>,
    ) -> Stream {
        Stream { tls, front, place, _alive: alive }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream(…)")
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.place.cord.check(At::Reading, context)?;
        let before = to.filled().len();
        if this.front.is_empty() {
            ready!(Pin::new(&mut this.tls).poll_read(context, to))?;
        } else {
            let count = this.front.len().min(to.remaining());
            to.put_slice(this.front.get(..count).unwrap_or_default());
            this.front.advance(count);
            if this.front.is_empty() {
                this.front = BytesMut::new();
            }
        }
        this.place.meters.received(to.filled().len().saturating_sub(before));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.place.cord.check(At::Writing, context)?;
        let written = ready!(Pin::new(&mut this.tls).poll_write(context, from))?;
        this.place.meters.sent(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.place.cord.check(At::Writing, context)?;
        let written = ready!(Pin::new(&mut this.tls).poll_write_vectored(context, from))?;
        this.place.meters.sent(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.place.cord.check(At::Writing, context)?;
        Pin::new(&mut this.tls).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.place.cord.check(At::Writing, context)?;
        Pin::new(&mut this.tls).poll_shutdown(context)
    }
}
