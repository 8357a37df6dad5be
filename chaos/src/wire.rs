//! A connection of lines, with a limit of time and size on everything.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest wait for one answer. A node that is paused or busy is not one that is gone.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(60);
/// The longest line.
const LINE_MAX_BYTES: u64 = 64 * 1024;
/// The largest literal or message.
const LITERAL_MAX_BYTES: usize = 8 * 1024 * 1024;

pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    patience: Duration,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Result<Connection> {
        Connection::open_with(address, ANSWER_WAIT).await
    }

    /// With another limit on the wait for each answer.
    pub(crate) async fn open_with(address: &str, patience: Duration) -> Result<Connection> {
        let stream = timed(patience, TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::with_capacity(64 * 1024, stream), patience })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        timed(self.patience, self.stream.get_mut().write_all(bytes)).await
    }

    /// A line without its end.
    pub(crate) async fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LINE_MAX_BYTES);
        timed(self.patience, limited.read_until(b'\n', &mut line)).await?;
        if line.last() != Some(&b'\n') {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
    }

    /// So many bytes.
    pub(crate) async fn exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        if count > LITERAL_MAX_BYTES {
            return Err(Error::new(ErrorKind::InvalidData, "a literal that is too large"));
        }
        let mut bytes = vec![0; count];
        timed(self.patience, self.stream.read_exact(&mut bytes)).await?;
        Ok(bytes)
    }

    /// All that comes until the server closes, up to the limit of a literal.
    pub(crate) async fn rest(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.stream).take(LITERAL_MAX_BYTES as u64);
        timed(self.patience, limited.read_to_end(&mut bytes)).await?;
        Ok(bytes)
    }

    /// An SMTP reply: its code and its last line.
    pub(crate) async fn reply(&mut self) -> Result<(u16, String)> {
        loop {
            let line = self.line().await?;
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code = code.ok_or_else(|| Error::new(ErrorKind::InvalidData, line.clone()))?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok((code, line));
            }
        }
    }
}

async fn timed<T>(patience: Duration, what: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(patience, what).await.map_err(|_| Error::from(ErrorKind::TimedOut))?
}

/// An HTTP page with its head, as text; the error where there is none.
pub(crate) async fn page(address: &str, path: &str) -> String {
    let fetch = async {
        let mut connection = Connection::open(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        connection.send(request.as_bytes()).await?;
        connection.rest().await
    };
    fetch.await.map_or_else(|error| error.to_string(), |text| String::from_utf8_lossy(&text).into_owned())
}
