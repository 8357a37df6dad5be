//! A connection after its hello: frames in, frames out, signs of life, and an end in words.
//!
//! Both sides run the same; what a frame means is for its [`Inbox`]: `calls.rs` on the side that dialled, `serving.rs`
//! on the other. Reading and writing are two loops of one task, so neither waits for the other and both end together.
//!
//! - The writer takes all that waits and writes it at once.
//! - The reader never waits for the writer: else two sides that both wait could wait for each other.

use crate::frame::{self, Frame, HEADER_BYTES, Kind};
use crate::greet::part;
use crate::life::Life;
use crate::meters::Traffic;
use crate::outgoing::{Outgoing, Queue, Rope};
use crate::settings::LaneSettings;
use crate::tls;
use bytes::{Buf, BytesMut};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Frames that are written at once.
const BATCH_FRAMES_MAX: usize = 256;
/// Bytes of a new receive buffer, beyond which it grows for a frame alone.
const READ_BYTES: usize = 64 * 1024;
/// With less room than this, a receive buffer is replaced.
const READ_MIN_BYTES: usize = 4096;

/// Who takes the frames that come, but for signs of life and the goodbye.
pub(crate) trait Inbox: Send {
    /// Takes one; may wait, and nothing more is read while it does. An error ends the connection.
    fn take(&mut self, frame: Frame) -> impl Future<Output = Result<(), String>> + Send;
}

/// Tells a connection to end: with words for the other side, or without when the sender is dropped.
pub(crate) type Stop = watch::Receiver<Option<Arc<str>>>;

/// What a connection needs beside its stream.
pub(crate) struct Terms {
    pub(crate) lane: LaneSettings,
    pub(crate) goodbye: Duration,
    /// Whether this side asks for signs of life at all times, or only while there are none.
    pub(crate) dialled: bool,
    pub(crate) traffic: Traffic,
    /// Requests up to this number have left, or may have.
    pub(crate) left: Arc<AtomicU64>,
    /// Nanoseconds that the last ping took; 0 before the first.
    pub(crate) round_trip_ns: Arc<AtomicU64>,
}

/// Why a connection ends.
struct End {
    why: Arc<str>,
    /// Whether the other side is to be told.
    say: bool,
}

impl End {
    fn silent(why: impl Into<Arc<str>>) -> End {
        End { why: why.into(), say: false }
    }
}

/// Runs a connection until it ends, and says why it did. `buffer` is what was read already.
pub(crate) async fn run<S: AsyncRead + AsyncWrite + Send>(
    stream: S,
    buffer: BytesMut,
    inbox: &mut impl Inbox,
    (out, mut queue): Queue,
    terms: &Terms,
    mut stop: Stop,
) -> Arc<str> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let life = Life::new();
    let end = {
        let mut writing = pin!(write(&mut writer, &mut queue, &life, terms));
        let end = tokio::select! {
            end = &mut writing => end,
            end = read(&mut reader, buffer, inbox, &out, &life, terms) => end,
            why = life.watch(&out, &terms.lane, terms.dialled) => End::silent(why),
            words = stopped(&mut stop) => match words {
                Some(why) => End { why, say: true },
                None => End::silent("closed"),
            },
        };
        // Behind what was begun, for the words could not be told from the rest of a frame that is cut short.
        if end.say && out.try_send(Outgoing::words(Kind::Bye, 0, &end.why)).is_ok() {
            _ = timeout(terms.goodbye, &mut writing).await;
        }
        end
    };
    if end.say {
        _ = timeout(terms.goodbye, part(&mut reader, &mut writer)).await;
    }
    end.why
}

async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    queue: &mut mpsc::Receiver<Outgoing>,
    life: &Life,
    terms: &Terms,
) -> End {
    let mut batch = Vec::with_capacity(BATCH_FRAMES_MAX);
    let mut rope = Rope::default();
    loop {
        batch.clear();
        if queue.recv_many(&mut batch, BATCH_FRAMES_MAX).await == 0 {
            return End::silent("closed");
        }
        let requests = batch.iter().filter(|frame| frame.kind == Kind::Request);
        if let Some(number) = requests.map(|frame| frame.number).max() {
            terms.left.store(number, Ordering::Release);
        }
        let last = batch.iter().any(|frame| frame.kind == Kind::Bye);
        for frame in &batch {
            if !rope.push(frame) {
                return End::silent("a frame was too large to be written");
            }
        }
        terms.traffic.sent(batch.len(), rope.remaining());
        if let Err(e) = write_all(writer, &mut rope, life).await {
            return End::silent(tls::words(&e));
        }
        if last {
            return End::silent("closed");
        }
    }
}

async fn write_all(
    writer: &mut (impl AsyncWrite + Unpin),
    rope: &mut Rope,
    life: &Life,
) -> std::io::Result<()> {
    while rope.has_remaining() {
        let mut writing = pin!(writer.write_buf(rope));
        let written = match poll_fn(|cx| Poll::Ready(writing.as_mut().poll(cx))).await {
            Poll::Ready(written) => written?,
            Poll::Pending => {
                let written = writing.await?;
                life.sign();
                written
            }
        };
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
    }
    writer.flush().await
}

async fn read(
    reader: &mut (impl AsyncRead + Unpin),
    mut buffer: BytesMut,
    inbox: &mut impl Inbox,
    out: &mpsc::Sender<Outgoing>,
    life: &Life,
    terms: &Terms,
) -> End {
    let content_max_bytes = usize::try_from(terms.lane.frame_max_bytes).unwrap_or(usize::MAX);
    loop {
        loop {
            match frame::decode(&mut buffer, content_max_bytes) {
                Ok(Some(frame)) => {
                    terms.traffic.received(HEADER_BYTES + frame.body.len());
                    if let Err(end) = take(frame, inbox, out, life, terms).await {
                        return end;
                    }
                }
                Ok(None) => break,
                Err(e) => return End { why: e.to_string().into(), say: true },
            }
        }
        let wanted = match frame::wanted_bytes(&buffer, content_max_bytes) {
            0 => READ_MIN_BYTES,
            wanted => wanted,
        };
        // Seldom, for what is there of the frame may have to move.
        if buffer.capacity() - buffer.len() < wanted {
            buffer.reserve(wanted.max(READ_BYTES));
        }
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return End::silent("the other side closed the connection"),
            Ok(_) => life.sign(),
            Err(e) => return End::silent(tls::words(&e)),
        }
    }
}

async fn take(
    frame: Frame,
    inbox: &mut impl Inbox,
    out: &mpsc::Sender<Outgoing>,
    life: &Life,
    terms: &Terms,
) -> Result<(), End> {
    match frame.kind {
        // If the queue is full, what is in it is a sign of life as good.
        Kind::Ping => _ = out.try_send(Outgoing::bare(Kind::Pong, frame.number)),
        Kind::Pong => {
            if let Some(took_ns) = life.pong(frame.number) {
                terms.round_trip_ns.store(took_ns, Ordering::Relaxed);
            }
        }
        Kind::Bye => return Err(End::silent(said(&frame.body))),
        _ => inbox.take(frame).await.map_err(|why| End { why: why.into(), say: true })?,
    }
    Ok(())
}

/// The last words of the other side.
pub(crate) fn said(body: &[u8]) -> String {
    format!("the other side says: {}", String::from_utf8_lossy(body))
}

/// Waits until the connection is to end. None: without words.
pub(crate) async fn stopped(stop: &mut Stop) -> Option<Arc<str>> {
    match stop.wait_for(Option::is_some).await {
        Ok(words) => words.clone(),
        Err(_) => None,
    }
}
