//! Speaks to the running server: HTTP over the local socket in the data folder.

use super::CliError;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{handshake, SendRequest};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// The longest answer that is read.
const ANSWER_MAX_BYTES: usize = 256 * 1024 * 1024;

/// A connection to the server.
pub(crate) struct Client {
    socket: PathBuf,
    sender: SendRequest<Full<Bytes>>,
}

/// The path of the local socket of a data folder.
pub(crate) fn socket_path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

impl Client {
    /// Connects to the server that serves the data folder.
    pub(crate) async fn connect(data: &Path) -> Result<Client, CliError> {
        let socket = socket_path(data);
        let sender = Self::open(&socket).await?;
        Ok(Client { socket, sender })
    }

    async fn open(socket: &Path) -> Result<SendRequest<Full<Bytes>>, CliError> {
        let absent = |source| CliError::NotRunning { socket: socket.to_owned(), source };
        let stream = UnixStream::connect(socket).await.map_err(absent)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(CliError::Talk)?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// A request with a JSON body or none; the answer's JSON (null when it has none).
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        let (bytes, kind) = match body {
            Some(value) => (Bytes::from(value.to_string()), "application/json"),
            None => (Bytes::new(), "application/octet-stream"),
        };
        self.send(method, path, kind, bytes).await
    }

    /// A request with a body of bytes.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Value, CliError> {
        if self.sender.is_closed() {
            self.sender = Self::open(&self.socket).await?;
        }
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", content_type)
            .body(Full::new(body))
            .map_err(|_| CliError::Argument("the request has characters that cannot be sent".to_owned()))?;
        self.sender.ready().await.map_err(CliError::Talk)?;
        let answer = self.sender.send_request(request).await.map_err(CliError::Talk)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES);
        let bytes = body.collect().await.map_err(|_| CliError::Answer)?.to_bytes();
        let value: Value = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).map_err(|_| CliError::Answer)?
        };
        if status.is_success() { Ok(value) } else { Err(refused(status, &value)) }
    }
}

fn refused(status: StatusCode, value: &Value) -> CliError {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    CliError::Refused {
        code: text("code").unwrap_or_else(|| status.as_u16().to_string()),
        message: text("message").unwrap_or_else(|| status.to_string()),
    }
}

/// A text as a part of a path or a query.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
