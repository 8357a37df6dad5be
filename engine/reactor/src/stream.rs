//! A connection, plain or under TLS, that holds no buffer of its own while it is idle.

use crate::thread::Socket;
use bytes::{Buf, Bytes, BytesMut};
use estafette_machine::Tls;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How much is thrown away in one call.
const DISCARD_BYTES: usize = 16 * 1024;

pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// Waits for bytes and appends up to about `want` of them; 0 at the end. May be dropped while it
    /// waits. While nothing is there, `input` owns no memory unless it holds bytes.
    pub(crate) async fn fill(&mut self, input: &mut BytesMut, want: usize) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.recv(input, want).await,
            Stream::Tls(tls) => {
                poll_fn(|context| {
                    input.reserve(want);
                    let polled = pin!(tls.read_buf(input)).poll(context);
                    if polled.is_pending() && input.is_empty() {
                        *input = BytesMut::new();
                    }
                    polled
                })
                .await
            }
        }
    }

    /// Sends all of `output`.
    pub(crate) async fn send(&mut self, output: &mut VecDeque<Bytes>) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.send(output).await,
            Stream::Tls(tls) => {
                send_all(tls.as_mut(), output).await?;
                tls.flush().await
            }
        }
    }

    /// Waits until all has left that was sent, and ends our direction: with a close_notify under TLS; on a plain
    /// connection, whose closing says as much, only if it is to stay for a while.
    pub(crate) async fn shutdown(&mut self, stays: bool) -> io::Result<()> {
        match self {
            Stream::Plain(socket) if stays => socket.end().await,
            Stream::Plain(socket) => socket.left().await,
            Stream::Tls(tls) => tls.shutdown().await,
        }
    }

    /// Reads and throws away what the peer still sends, until its end.
    pub(crate) async fn discard(&mut self) -> io::Result<()> {
        let socket = match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => tls.get_mut().0,
        };
        // A sink for each piece: nothing is held while the next one is waited for.
        while socket.recv(&mut BytesMut::new(), DISCARD_BYTES).await? > 0 {}
        Ok(())
    }

    /// Makes the handshake as the server on a plain connection.
    pub(crate) async fn secure(self, acceptor: &TlsAcceptor) -> io::Result<(Stream, Tls)> {
        let Stream::Plain(socket) = self else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS within TLS"));
        };
        let stream = acceptor.accept(socket).await?;
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

/// TLS makes records of what it is given, so the pieces go in one after the other.
async fn send_all<W: AsyncWrite + Unpin>(writer: &mut W, output: &mut VecDeque<Bytes>) -> io::Result<()> {
    while let Some(front) = output.front_mut() {
        let sent = writer.write(front).await?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        front.advance(sent);
        if front.is_empty() {
            output.pop_front();
        }
    }
    Ok(())
}
