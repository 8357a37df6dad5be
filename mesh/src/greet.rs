//! The first words of a connection, of the side that dials: TCP, TLS, one hello each way.

use crate::connection::said;
use crate::frame::{self, Frame, Kind, WORDS_MAX_BYTES};
use crate::hello::Hello;
use crate::{ClusterId, tls};
use bytes::BytesMut;
use rustls_pki_types::ServerName;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client};

/// A connection whose hellos fit.
pub(crate) struct Greeted<S> {
    pub(crate) stream: S,
    /// What was read behind the hello.
    pub(crate) buffer: BytesMut,
    pub(crate) theirs: Hello,
    /// The version that both speak.
    pub(crate) version: u16,
}

/// Why there is no connection.
pub(crate) enum Unheard {
    /// Nobody who could be believed.
    Unreached(String),
    /// Somebody said no.
    Refused(String),
}

impl Unheard {
    pub(crate) fn words(self) -> String {
        match self {
            Unheard::Unreached(words) | Unheard::Refused(words) => words,
        }
    }
}

/// Connects and says `ours`. Bounded in time by the caller.
pub(crate) async fn dial(
    address: &str,
    (connector, name): (TlsConnector, ServerName<'static>),
    ours: &Hello,
) -> Result<Greeted<client::TlsStream<TcpStream>>, Unheard> {
    let unreached = |e: std::io::Error| Unheard::Unreached(tls::words(&e));
    let stream = TcpStream::connect(address).await.map_err(unreached)?;
    stream.set_nodelay(true).map_err(unreached)?;
    let mut stream = connector.connect(name, stream).await.map_err(unreached)?;
    send(&mut stream, Kind::Hello, &ours.encode()).await.map_err(Unheard::Unreached)?;
    let mut buffer = BytesMut::new();
    let first = receive(&mut stream, &mut buffer, WORDS_MAX_BYTES).await.map_err(Unheard::Unreached)?;
    let body = match first.kind {
        Kind::Hello => first.body,
        Kind::Bye => return Err(Unheard::Refused(said(&first.body))),
        other => return Err(Unheard::Unreached(format!("it began with {other:?}"))),
    };
    let fits = Hello::decode(&body, ours.versions);
    match fits.and_then(|fits| same_cluster(ours.cluster, fits.0.cluster).map(|()| fits)) {
        Ok((theirs, version)) => Ok(Greeted { stream, buffer, theirs, version }),
        Err(words) => {
            _ = send(&mut stream, Kind::Bye, words.as_bytes()).await;
            Err(Unheard::Refused(words))
        }
    }
}

/// Whether both sides are of one cluster; or words.
pub(crate) fn same_cluster(ours: ClusterId, theirs: ClusterId) -> Result<(), String> {
    let words = || format!("this node belongs to cluster {ours}, the other side to cluster {theirs}");
    (ours == theirs).then_some(()).ok_or_else(words)
}

/// Writes one frame.
pub(crate) async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    kind: Kind,
    body: &[u8],
) -> Result<(), String> {
    let frame = frame::encode(kind, 0, body).ok_or("the frame is too large")?;
    let writing = async {
        stream.write_all(&frame).await?;
        stream.flush().await
    };
    writing.await.map_err(|e| tls::words(&e))
}

/// Reads one frame; what comes behind it stays in `buffer`.
pub(crate) async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    content_max_bytes: usize,
) -> Result<Frame, String> {
    loop {
        if let Some(frame) = frame::decode(buffer, content_max_bytes).map_err(|e| e.to_string())? {
            return Ok(frame);
        }
        match stream.read_buf(buffer).await {
            Ok(0) => return Err("the other side closed the connection".to_owned()),
            Ok(_) => (),
            Err(e) => return Err(tls::words(&e)),
        }
    }
}

/// Says one last thing and closes, within a time.
pub(crate) async fn finish(stream: impl AsyncRead + AsyncWrite, kind: Kind, body: &[u8], within: Duration) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let saying = async {
        _ = send(&mut writer, kind, body).await;
        part(&mut reader, &mut writer).await;
    };
    // An error: the other side does not listen.
    _ = timeout(within, saying).await;
}

/// Closes so that the last words arrive: what still comes is read, else the system would take them back. Bounded in
/// time by the caller.
pub(crate) async fn part(reader: &mut (impl AsyncRead + Unpin), writer: &mut (impl AsyncWrite + Unpin)) {
    let mut rest = [0; 4096];
    _ = writer.shutdown().await;
    while matches!(reader.read(&mut rest).await, Ok(1..)) {}
}

/// Says why not, and closes.
pub(crate) async fn refuse(stream: impl AsyncRead + AsyncWrite, words: &str, within: Duration) {
    finish(stream, Kind::Bye, frame::words(words).as_bytes(), within).await;
}
