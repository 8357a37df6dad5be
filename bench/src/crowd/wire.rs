//! A connection that can be ended in every way, in plain and in TLS.

use super::source;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How TLS is begun.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
}

impl Tls {
    /// The first flight of a client.
    pub(super) fn hello(&self) -> io::Result<Vec<u8>> {
        let mut client = rustls::ClientConnection::new(self.connector.config().clone(), self.name.clone())
            .map_err(io::Error::other)?;
        let mut hello = Vec::new();
        client.write_tls(&mut hello)?;
        Ok(hello)
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a server said in place of what was awaited.
#[derive(Debug)]
pub(super) enum Heard {
    /// It refused.
    Refusal(String),
    /// The connection ended.
    End(String),
    /// Nothing came, neither answers nor an end.
    Silence,
}

impl From<io::Error> for Heard {
    fn from(error: io::Error) -> Heard {
        Heard::End(error.kind().to_string())
    }
}

/// How a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is closed; without a close_notify under TLS, and with a reset if something was not read.
    Close,
    /// It is reset.
    Reset,
    /// Our direction is closed (with a close_notify), and what comes is read to its end.
    HalfClose,
}

/// How long what comes after a half-close is read. Much may have been asked for before.
const END_READ: Duration = Duration::from_secs(3);
/// The longest that nothing comes after a half-close, neither answers nor the end.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// A connection.
pub(super) struct Wire {
    stream: Stream,
    input: Vec<u8>,
}

impl Wire {
    /// Connects, from an address that belongs to this number.
    pub(super) async fn open(address: SocketAddr, number: usize) -> io::Result<Wire> {
        let stream = source::connect(address, number).await?;
        Ok(Wire { stream: Stream::Plain(stream), input: Vec::new() })
    }

    /// Shakes hands.
    pub(super) async fn handshake(self, tls: &Tls) -> io::Result<Wire> {
        let stream = match self.stream {
            Stream::Plain(stream) => Box::new(tls.connector.connect(tls.name.clone(), stream).await?),
            Stream::Tls(stream) => stream,
        };
        Ok(Wire { stream: Stream::Tls(stream), input: Vec::new() })
    }

    /// Sends.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes).await,
            Stream::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Reads up to a line that begins with this.
    pub(super) async fn line(&mut self, awaited: &str) -> Result<(), Heard> {
        loop {
            while let Some(at) = memchr::memchr(b'\n', &self.input) {
                let rest = self.input.split_off(at + 1);
                let line = std::mem::replace(&mut self.input, rest);
                if line.starts_with(awaited.as_bytes()) {
                    return Ok(());
                }
                if refuses(&line) {
                    return Err(Heard::Refusal(String::from_utf8_lossy(&line).trim_end().to_owned()));
                }
            }
            // Lines that are not awaited are many in large answers: only what may be one is kept.
            let mut room = vec![0; 16 * 1024];
            let count = self.read(&mut room).await?;
            if count == 0 {
                return Err(Heard::End("closed by the server".to_owned()));
            }
            self.keep(room.get(..count).unwrap_or_default(), awaited)?;
        }
    }

    /// Keeps what of these bytes begins at a line that is awaited or refuses.
    fn keep(&mut self, bytes: &[u8], awaited: &str) -> Result<(), Heard> {
        self.input.extend_from_slice(bytes);
        let mut start = 0;
        for at in memchr::memchr_iter(b'\n', &self.input) {
            let line = self.input.get(start..=at).unwrap_or_default();
            if line.starts_with(awaited.as_bytes()) || refuses(line) {
                break;
            }
            start = at + 1;
        }
        self.input.drain(..start);
        Ok(())
    }

    /// What comes next, little of it; nothing is held while it is waited for.
    pub(super) async fn chunk(&mut self) -> Result<Vec<u8>, Heard> {
        if let Stream::Plain(stream) = &self.stream {
            stream.readable().await?;
        }
        let mut room = [0; 256];
        let count = self.read(&mut room).await?;
        if count == 0 {
            return Err(Heard::End("closed by the server".to_owned()));
        }
        Ok(room.get(..count).unwrap_or_default().to_vec())
    }

    async fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.read(room).await,
            Stream::Tls(stream) => stream.read(room).await,
        }
    }

    /// Ends it.
    pub(super) async fn end(self, ending: Ending) -> io::Result<()> {
        let tcp = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        };
        match ending {
            Ending::Close => {}
            Ending::Reset => tcp.set_zero_linger()?,
            Ending::HalfClose => match self.stream {
                Stream::Plain(stream) => half_close(stream).await?,
                Stream::Tls(stream) => half_close(stream).await?,
            },
        }
        Ok(())
    }
}

/// Closes our direction and reads what comes, both at once: a server that waits for us to read takes nothing.
async fn half_close(stream: impl AsyncRead + AsyncWrite) -> io::Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    let close = async {
        // One that has ended on the other side already cannot be closed.
        let _ = to.shutdown().await;
        std::future::pending().await
    };
    let read = async {
        let (began, mut room) = (Instant::now(), vec![0; 64 * 1024]);
        while began.elapsed() < END_READ {
            let read = tokio::time::timeout(SILENCE_MAX, from.read(&mut room));
            if read.await.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
                break;
            }
        }
        Ok(())
    };
    tokio::select! { read = read => read, () = close => Ok(()) }
}

/// This line refuses, in any of the protocols. The messages of a soak have no line that looks so.
fn refuses(line: &[u8]) -> bool {
    let by_code = matches!(line.first(), Some(b'4' | b'5')) && matches!(line.get(3), Some(b' ' | b'-'));
    by_code || [&b"a NO"[..], b"a BAD", b"* BYE", b"-ERR"].iter().any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_all_protocols_are_known() {
        for line in ["a NO full", "a BAD what", "* BYE", "-ERR", "451 later", "550-no", "550 no"] {
            assert!(refuses(line.as_bytes()), "{line}");
        }
        for line in ["a OK", "* 4 EXISTS", "+OK 451 octets", "250 yes", "354 go on", "5", ""] {
            assert!(!refuses(line.as_bytes()), "{line}");
        }
    }
}
