//! A connection, plain or under TLS, that holds no buffer of its own while it is idle.

use bytes::{Buf, Bytes, BytesMut};
use estafette_machine::Tls;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::pin;
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How many pieces go to the kernel in one call.
const SLICES_MAX: usize = 64;
/// How much is thrown away in one call.
const DISCARD_BYTES: usize = 16 * 1024;

pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Waits for bytes and appends up to about `want` of them; 0 at the end. May be dropped while it
    /// waits. While nothing is there, `input` owns no memory unless it holds bytes.
    pub(crate) async fn fill(&mut self, input: &mut BytesMut, want: usize) -> io::Result<usize> {
        loop {
            input.reserve(want);
            let attempt = match self {
                Stream::Plain(tcp) => poll_once(tcp.read_buf(input)).await,
                Stream::Tls(tls) => poll_once(tls.read_buf(input)).await,
            };
            if let Some(result) = attempt {
                return result;
            }
            if input.is_empty() {
                *input = BytesMut::new();
            }
            self.tcp().readable().await?;
        }
    }

    /// Sends all of `output`.
    pub(crate) async fn send(&mut self, output: &mut VecDeque<Bytes>) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => send_all(tcp, output).await,
            Stream::Tls(tls) => {
                send_all(tls.as_mut(), output).await?;
                tls.flush().await
            }
        }
    }

    /// Ends our direction, with a close_notify under TLS.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.shutdown().await,
            Stream::Tls(tls) => tls.shutdown().await,
        }
    }

    /// Reads and throws away what the peer still sends, until its end.
    pub(crate) async fn discard(&mut self) -> io::Result<()> {
        let tcp = match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_mut().0,
        };
        let mut sink = vec![0; DISCARD_BYTES];
        while tcp.read(&mut sink).await? > 0 {}
        Ok(())
    }

    /// Makes the handshake as the server on a plain connection.
    pub(crate) async fn secure(self, acceptor: &TlsAcceptor) -> io::Result<(Stream, Tls)> {
        let Stream::Plain(tcp) = self else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS within TLS"));
        };
        let stream = acceptor.accept(tcp).await?;
        let connection = stream.get_ref().1;
        let tls = Tls {
            version: connection.protocol_version().and_then(|v| v.as_str()).unwrap_or("").replace('_', "."),
            cipher: connection
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("")
                .to_owned(),
            server_name: connection.server_name().map(str::to_owned),
        };
        Ok((Stream::Tls(Box::new(stream)), tls))
    }
}

async fn send_all<W: AsyncWrite + Unpin>(writer: &mut W, output: &mut VecDeque<Bytes>) -> io::Result<()> {
    while !output.is_empty() {
        let slices: Vec<IoSlice<'_>> =
            output.iter().take(SLICES_MAX).map(|piece| IoSlice::new(piece)).collect();
        let mut sent = writer.write_vectored(&slices).await?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(front) = output.front_mut() {
            if sent < front.len() {
                front.advance(sent);
                break;
            }
            sent -= front.len();
            output.pop_front();
        }
    }
    Ok(())
}

/// Polls a future a single time; `None` when it is not ready.
pub(crate) async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}
