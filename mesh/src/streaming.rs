//! How a stream begins, on both sides: after the hellos one frame with its head, and one that answers it.
//!
//! - The side that dialled knows before its first byte whether the other one takes the stream, or why not.
//! - Until then all is bounded: bytes of head and answer, time, how many are opened at once.

use crate::connection::said;
use crate::frame::{self, Kind};
use crate::greet::{self, Greeted, finish, receive, refuse, send};
use crate::hello::Purpose;
use crate::listener::Met;
use crate::members::{Shared, Way};
use crate::stream::Stream;
use crate::streams::Place;
use crate::{Error, NodeName, meters};
use bytes::{Bytes, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

/// A stream may be silent for hours: that the other side is there at all is for the system to ask, after so long.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
/// And again after so long, so often, until the stream ends.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// See [`KEEPALIVE_EVERY`].
const KEEPALIVE_TRIES: u32 = 3;

/// Opens a stream to a peer, and says what it answered to `head`.
pub(crate) async fn open(
    shared: Arc<Shared>,
    alive: Option<mpsc::Sender<()>>,
    to: NodeName,
    head: Bytes,
) -> Result<(Bytes, Stream), Error> {
    let not_sent = |why: &str| Error::NotSent { to, why: why.into() };
    let alive = alive.ok_or_else(|| not_sent("this node shuts down"))?;
    let settings = &shared.own.settings;
    let limit = settings.stream_head_max();
    if head.len() > limit {
        return Err(Error::TooLarge { bytes: head.len(), limit });
    }
    let Way { place, address, dials } = shared.stream_to(to).map_err(|why| Error::NotSent { to, why })?;
    let dialling = async {
        let _place = dials.acquire().await.map_err(|e| e.to_string())?;
        dial(&shared, to, &address).await
    };
    let dialled = tokio::select! {
        dialled = timeout(settings.connect_timeout(), dialling) => dialled,
        why = place.cord.pulled() => return Err(Error::NotSent { to, why }),
    };
    let mut greeted = match dialled {
        Ok(greeted) => greeted.map_err(|why| not_sent(&why))?,
        Err(_) => return Err(not_sent("connecting took too long")),
    };
    let answering = timeout(settings.stream_answer_timeout(), ask(&mut greeted, &head, limit));
    let answer = tokio::select! {
        answer = answering => answer.unwrap_or_else(|_| Err(Unanswered::Silent("it took too long".to_owned()))),
        why = place.cord.pulled() => Err(Unanswered::Silent(why.to_string())),
    };
    let answer = answer.map_err(|unanswered| match unanswered {
        Unanswered::Silent(why) => Error::NoAnswer { to, why: why.into() },
        Unanswered::Refused(why) => Error::Refused { address, why: why.into() },
    })?;
    Ok((answer, Stream::new(greeted.stream.into(), greeted.buffer, place, alive)))
}

async fn dial(shared: &Shared, to: NodeName, address: &str) -> Result<Greeted<TlsStream<TcpStream>>, String> {
    let tls = shared.own.tls.load_full();
    let name = tls.server_name(to).map_err(|e| e.to_string())?;
    let ours = shared.own.hello(Purpose::Stream);
    let greeted = greet::dial(address, (tls.connector.clone(), name), &ours).await;
    let greeted = greeted.map_err(greet::Unheard::words)?;
    keep_alive(greeted.stream.get_ref().0);
    Ok(greeted)
}

/// Why a head has no answer.
enum Unanswered {
    Silent(String),
    Refused(String),
}

async fn ask(
    greeted: &mut Greeted<TlsStream<TcpStream>>,
    head: &[u8],
    limit: usize,
) -> Result<Bytes, Unanswered> {
    send(&mut greeted.stream, Kind::Request, head).await.map_err(Unanswered::Silent)?;
    let answer = receive(&mut greeted.stream, &mut greeted.buffer, limit).await;
    let answer = answer.map_err(Unanswered::Silent)?;
    match answer.kind {
        Kind::Answer => Ok(answer.body),
        Kind::Failed | Kind::Bye => Err(Unanswered::Refused(said(&answer.body))),
        other => Err(Unanswered::Silent(format!("it answered with {other:?}"))),
    }
}

/// Not to be able to set it is no reason to do without the stream.
fn keep_alive(stream: &TcpStream) {
    let often = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_TRIES);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&often) {
        tracing::debug!(%error, "a stream is not kept alive by the system");
    }
}

/// Takes a stream of a member, if it is wanted here, and holds it until its end.
pub(crate) async fn take(
    shared: &Shared,
    mut met: Met,
    place: Place,
    from: NodeName,
    alive: mpsc::Sender<()>,
) {
    let settings = &shared.own.settings;
    let cord = Arc::clone(&place.cord);
    let head = match timeout(settings.connect_timeout(), head(shared, &mut met)).await {
        Err(_) => return meters::refused("too_slow"),
        Ok(Err(why)) => return refuse(met.stream, &why, settings.goodbye()).await,
        Ok(Ok(head)) => head,
    };
    let deciding = timeout(settings.stream_answer_timeout(), shared.serve.stream(from, head));
    let decided = tokio::select! {
        decided = deciding => decided.unwrap_or_else(|_| Err("it took too long to decide".to_owned())),
        why = cord.pulled() => Err(why.to_string()),
    };
    let answer = decided.and_then(|taken| match taken.answer.len() > settings.stream_head_max() {
        true => Err("the answer to the stream is larger than it may be".to_owned()),
        false => Ok(taken),
    });
    match answer {
        Ok(taken) => {
            let answered = send(&mut met.stream, Kind::Answer, &taken.answer);
            if !matches!(timeout(settings.connect_timeout(), answered).await, Ok(Ok(()))) {
                return tracing::debug!(peer = from.0, "a stream ended before it began");
            }
            keep_alive(met.stream.get_ref().0);
            let stream = Stream::new(met.stream.into(), met.buffer, place, alive);
            tokio::select! {
                () = (taken.hold)(stream) => {}
                why = cord.pulled() => tracing::info!(peer = from.0, %why, "a stream of another node was ended"),
            }
        }
        Err(why) => {
            meters::refused("stream");
            tracing::info!(peer = from.0, why, "a stream of another node was refused");
            let words = frame::words(&why).as_bytes();
            finish(met.stream, Kind::Failed, words, settings.goodbye()).await;
        }
    }
}

async fn head(shared: &Shared, met: &mut Met) -> Result<Bytes, String> {
    let ours = shared.own.hello(Purpose::Stream);
    send(&mut met.stream, Kind::Hello, &ours.encode()).await?;
    let buffer: &mut BytesMut = &mut met.buffer;
    let head = receive(&mut met.stream, buffer, shared.own.settings.stream_head_max()).await?;
    match head.kind {
        Kind::Request => Ok(head.body),
        other => Err(format!("{other:?} is no head of a stream")),
    }
}
