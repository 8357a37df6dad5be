//! Speaks to the running server: HTTP over the local socket in the data folder.

use super::CliError;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// The longest answer that is read.
const ANSWER_MAX_BYTES: usize = 256 * 1024 * 1024;
/// Entries asked for at once.
const PAGE: usize = 1000;

/// A connection to the server.
pub(crate) struct Client {
    data: PathBuf,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects to the server that serves the data folder.
    pub(crate) async fn connect(data: &Path) -> Result<Client, CliError> {
        let sender = Self::open(data).await?;
        Ok(Client { data: data.to_owned(), sender })
    }

    async fn open(data: &Path) -> Result<SendRequest<Full<Bytes>>, CliError> {
        let absent = |source| CliError::NotRunning { socket: crate::api::socket_path(data), source };
        let stream = crate::api::connect(data).await.map_err(absent)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(CliError::Talk)?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Reads a resource.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Value, CliError> {
        self.call(Method::GET, path, None).await
    }

    /// A request with a JSON body or none; the answer's JSON (null when it has none).
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CliError> {
        let (bytes, kind) = match body {
            Some(value) => (Bytes::from(value.to_string()), "application/json"),
            None => (Bytes::new(), "application/octet-stream"),
        };
        self.send(method, path, kind, bytes).await
    }

    /// All entries of a list, page by page. `path` may have a query.
    pub(crate) async fn list(&mut self, path: &str) -> Result<Vec<Value>, CliError> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let mut items: Vec<Value> = Vec::new();
        loop {
            let after = items.last().and_then(|last| last.get("id")).and_then(Value::as_u64);
            let after = after.map_or_else(String::new, |id| format!("&after={id}"));
            let mut page = self.get(&format!("{path}{mark}limit={PAGE}{after}")).await?;
            let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) else {
                return Err(CliError::Answer);
            };
            let last = more.is_empty() || page.get("more") != Some(&Value::Bool(true));
            items.extend(more);
            if last {
                return Ok(items);
            }
        }
    }

    /// A request with a body of bytes. `path` is below `/api/v1`.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Value, CliError> {
        if self.sender.is_closed() {
            self.sender = Self::open(&self.data).await?;
        }
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", "localhost")
            .header("content-type", content_type)
            .body(Full::new(body))
            .map_err(|error| CliError::argument("the request cannot be sent", error))?;
        self.sender.ready().await.map_err(CliError::Talk)?;
        let answer = self.sender.send_request(request).await.map_err(CliError::Talk)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES);
        let collected = body.collect().await.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => CliError::Talk(*error),
            // It is longer than an answer is.
            Err(_) => CliError::Answer,
        });
        let bytes = collected?.to_bytes();
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
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
