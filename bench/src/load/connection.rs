//! A connection of lines.
//!
//! What it costs is taken from the server that is measured beside it: nothing is allocated for a command
//! or a line, and no timer is set for an answer. Instead, [`READS`] counts what arrives anywhere, and
//! `run` ends a load in which it stands still.

use crate::error::BenchError;
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Reads that brought something, on all connections together.
pub(super) static READS: AtomicU64 = AtomicU64::new(0);

/// Room for what arrives at first; it doubles whenever one read fills it.
const INPUT_BYTES: usize = 4 * 1024;
/// Room for what arrives at most, unless a line is longer.
const INPUT_BYTES_MAX: usize = 256 * 1024;
/// What ends an answer of many lines, but for one without any.
const DOTTED_END: &[u8] = b"\r\n.\r\n";
/// How much of the last command stands in an error.
const SHOWN_BYTES: usize = 60;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// In a handshake that failed.
    Gone,
}

/// A connection to a server, read line by line.
pub(super) struct Connection {
    stream: Stream,
    input: Vec<u8>,
    /// What of the input has arrived and was not taken yet.
    waiting: Range<usize>,
    /// The line that was read last, without its end, in the input.
    line: Range<usize>,
    output: Vec<u8>,
}

impl Connection {
    /// In plain.
    pub(super) fn new(stream: TcpStream) -> Connection {
        Connection {
            stream: Stream::Plain(stream),
            input: Vec::new(),
            waiting: 0..0,
            line: 0..0,
            output: Vec::new(),
        }
    }

    /// Goes on with TLS.
    pub(super) async fn handshake(
        &mut self,
        connector: &TlsConnector,
        name: &ServerName<'static>,
    ) -> Result<(), BenchError> {
        if let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Gone) {
            let stream = connector.connect(name.clone(), stream).await?;
            READS.fetch_add(1, Ordering::Relaxed);
            self.stream = Stream::Tls(Box::new(stream));
        }
        Ok(())
    }

    /// The handshake resumed an earlier session.
    pub(super) fn is_resumed(&self) -> bool {
        match &self.stream {
            Stream::Tls(stream) => stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed),
            _ => false,
        }
    }

    /// The next command, empty, to be written into; [`Connection::flush`] sends it.
    pub(super) fn command(&mut self) -> &mut Vec<u8> {
        self.output.clear();
        &mut self.output
    }

    /// Sends the command.
    pub(super) async fn flush(&mut self) -> Result<(), BenchError> {
        write(&mut self.stream, &self.output).await
    }

    /// Sends bytes as they are.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), BenchError> {
        let shown = bytes.get(..bytes.len().min(SHOWN_BYTES)).unwrap_or_default();
        self.command().extend_from_slice(shown);
        write(&mut self.stream, bytes).await
    }

    /// Reads a line; [`Connection::line`] is what it was.
    pub(super) async fn read_line(&mut self) -> Result<(), BenchError> {
        let mut seen = 0;
        loop {
            let waiting = self.input.get(self.waiting.clone()).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', waiting.get(seen..).unwrap_or_default()) {
                let end = seen + at;
                let cr = end.checked_sub(1).and_then(|last| waiting.get(last)) == Some(&b'\r');
                self.line = self.waiting.start..self.waiting.start + end - usize::from(cr);
                self.waiting.start += end + 1;
                return Ok(());
            }
            seen = waiting.len();
            self.fill().await?;
        }
    }

    /// The line that was read last, without its end.
    pub(super) fn line(&self) -> &[u8] {
        self.input.get(self.line.clone()).unwrap_or_default()
    }

    /// Reads and forgets so many bytes.
    pub(super) async fn skip(&mut self, count: usize) -> Result<(), BenchError> {
        let mut left = count;
        loop {
            let here = self.waiting.len().min(left);
            self.waiting.start += here;
            left -= here;
            if left == 0 {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    /// Reads and forgets lines up to the one with a single dot.
    pub(super) async fn skip_dotted(&mut self) -> Result<(), BenchError> {
        loop {
            let waiting = self.input.get(self.waiting.clone()).unwrap_or_default();
            if waiting.starts_with(b".\r\n") {
                self.waiting.start += 3;
                return Ok(());
            }
            if !b".\r\n".starts_with(waiting) {
                break;
            }
            self.fill().await?;
        }
        loop {
            let waiting = self.input.get(self.waiting.clone()).unwrap_or_default();
            if let Some(at) = memchr::memmem::find(waiting, DOTTED_END) {
                self.waiting.start += at + DOTTED_END.len();
                return Ok(());
            }
            // The end may have arrived in part.
            self.waiting.start += waiting.len().saturating_sub(DOTTED_END.len() - 1);
            self.fill().await?;
        }
    }

    /// An error: the last line is not what was expected.
    pub(super) fn unexpected(&self) -> BenchError {
        self.failed(&String::from_utf8_lossy(self.line()))
    }

    /// Gives back memory, before a long wait.
    pub(super) fn shrink(&mut self) {
        if self.waiting.is_empty() {
            (self.input, self.waiting, self.line) = (Vec::new(), 0..0, 0..0);
        }
        self.output = Vec::new();
    }

    fn failed(&self, answer: &str) -> BenchError {
        let sent = self.output.get(..self.output.len().min(SHOWN_BYTES)).unwrap_or_default();
        BenchError::Answer { sent: String::from_utf8_lossy(sent).into_owned(), answer: answer.to_owned() }
    }

    /// Reads more behind what waits.
    async fn fill(&mut self) -> Result<(), BenchError> {
        if self.waiting.is_empty() {
            self.waiting = 0..0;
        } else if self.waiting.start > 0 && self.waiting.end == self.input.len() {
            self.input.copy_within(self.waiting.clone(), 0);
            self.waiting = 0..self.waiting.len();
        }
        if self.waiting.end == self.input.len() {
            self.input.resize((self.input.len() * 2).max(INPUT_BYTES), 0);
        }
        let room = self.input.get_mut(self.waiting.end..).unwrap_or_default();
        let size = room.len();
        let count = match &mut self.stream {
            Stream::Plain(stream) => stream.read(room).await?,
            Stream::Tls(stream) => stream.read(room).await?,
            Stream::Gone => 0,
        };
        if count == 0 {
            return Err(self.failed("the connection ended"));
        }
        READS.fetch_add(1, Ordering::Relaxed);
        self.waiting.end += count;
        if count == size && self.input.len() < INPUT_BYTES_MAX {
            self.input.resize(self.input.len() * 2, 0);
        }
        Ok(())
    }
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> Result<(), BenchError> {
    match stream {
        Stream::Plain(stream) => stream.write_all(bytes).await?,
        Stream::Tls(stream) => {
            stream.write_all(bytes).await?;
            stream.flush().await?;
        }
        Stream::Gone => return Err(BenchError::Io(std::io::ErrorKind::NotConnected.into())),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A connection whose server says these pieces, one after the other.
    async fn told(pieces: Vec<Vec<u8>>) -> Connection {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            for piece in pieces {
                server.write_all(&piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Connection::new(stream)
    }

    #[tokio::test]
    async fn lines_literals_and_dotted_answers_are_read_however_they_are_cut() {
        let long = [b"x".repeat(10_000), b"\r\n".to_vec()].concat();
        let whole = [b"one\r\n", long.as_slice(), b"12345two\n", b"a\r\n..b\r\n.\r\n.\r\nlast\r\n"].concat();
        for size in [1, 2, 3, 7, whole.len()] {
            let size = if size == 1 { 97 } else { size.max(whole.len() / 200) };
            let mut connection = told(whole.chunks(size).map(<[u8]>::to_vec).collect()).await;
            connection.read_line().await.unwrap();
            assert_eq!(connection.line(), b"one");
            connection.read_line().await.unwrap();
            assert_eq!(connection.line().len(), 10_000);
            connection.skip(5).await.unwrap();
            connection.read_line().await.unwrap();
            assert_eq!(connection.line(), b"two");
            connection.skip_dotted().await.unwrap();
            connection.skip_dotted().await.unwrap();
            connection.read_line().await.unwrap();
            assert_eq!(connection.line(), b"last");
            assert!(connection.read_line().await.is_err(), "the connection has ended");
        }
    }

    #[tokio::test]
    async fn the_end_of_a_dotted_answer_is_found_byte_by_byte() {
        let pieces = b"a\r\n.\r\n.\r\nb.\r\n\r\n.\r\nend\r\n".iter().map(|byte| vec![*byte]).collect();
        let mut connection = told(pieces).await;
        for _ in 0..3 {
            connection.skip_dotted().await.unwrap();
        }
        connection.read_line().await.unwrap();
        assert_eq!(connection.line(), b"end");
    }
}
