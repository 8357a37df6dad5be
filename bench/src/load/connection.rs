//! A connection of lines, with a limit of time on every answer.

use crate::error::BenchError;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest wait for one answer.
const ANSWER_SECONDS_MAX: u64 = 60;

pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    sent: String,
}

impl Connection {
    pub(super) async fn open(address: &str) -> Result<Connection, BenchError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::new(stream), sent: String::new() })
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), BenchError> {
        self.sent =
            String::from_utf8_lossy(bytes.get(..bytes.len().min(60)).unwrap_or_default()).into_owned();
        self.stream.get_mut().write_all(bytes).await?;
        Ok(())
    }

    pub(super) async fn line(&mut self) -> Result<String, BenchError> {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line);
        let count = timeout(Duration::from_secs(ANSWER_SECONDS_MAX), read)
            .await
            .map_err(|_| BenchError::Slow(ANSWER_SECONDS_MAX))??;
        if count == 0 {
            return Err(self.unexpected("the connection ended"));
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    pub(super) async fn skip(&mut self, count: usize) -> Result<(), BenchError> {
        let mut left = count;
        while left > 0 {
            let here = self.stream.buffer().len().min(left);
            if here > 0 {
                self.stream.consume(here);
                left -= here;
                continue;
            }
            let mut byte = [0; 1];
            timeout(Duration::from_secs(ANSWER_SECONDS_MAX), self.stream.read_exact(&mut byte))
                .await
                .map_err(|_| BenchError::Slow(ANSWER_SECONDS_MAX))??;
            left -= 1;
        }
        Ok(())
    }

    /// Reads and forgets lines up to the one with a single dot.
    pub(super) async fn skip_dotted(&mut self) -> Result<(), BenchError> {
        let stream = &mut self.stream;
        let lines = async {
            let mut line = Vec::new();
            while line != b".\r\n" {
                line.clear();
                if stream.read_until(b'\n', &mut line).await? == 0 {
                    return Err(BenchError::Io(std::io::ErrorKind::UnexpectedEof.into()));
                }
            }
            Ok(())
        };
        timeout(Duration::from_secs(ANSWER_SECONDS_MAX), lines)
            .await
            .map_err(|_| BenchError::Slow(ANSWER_SECONDS_MAX))?
    }

    /// The last line of an SMTP reply with this code.
    pub(super) async fn reply(&mut self, code: &str) -> Result<(), BenchError> {
        loop {
            let line = self.line().await?;
            if !line.starts_with(code) {
                return Err(self.unexpected(&line));
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }

    /// An IMAP command up to its OK; literals are skipped. The number of untagged lines.
    pub(super) async fn imap(&mut self, command: &str) -> Result<u64, BenchError> {
        self.send(format!("a {command}\r\n").as_bytes()).await?;
        self.imap_done().await
    }

    pub(super) async fn imap_done(&mut self) -> Result<u64, BenchError> {
        let mut untagged = 0;
        loop {
            let line = self.line().await?;
            if let Some(rest) = line.strip_prefix("a ") {
                return if rest.starts_with("OK") { Ok(untagged) } else { Err(self.unexpected(&line)) };
            }
            untagged += u64::from(line.starts_with('*'));
            let literal = line.strip_suffix('}').and_then(|rest| rest.rsplit_once('{'));
            if let Some(size) = literal.and_then(|(_, size)| size.parse().ok()) {
                self.skip(size).await?;
            }
        }
    }

    pub(super) fn unexpected(&self, answer: &str) -> BenchError {
        BenchError::Answer { sent: self.sent.clone(), answer: answer.to_owned() }
    }
}
