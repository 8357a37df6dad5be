//! The side that is dialled: accepts, shakes hands, and answers members; others may only ask to join.
//!
//! - Who a node is, is read from its certificate.
//! - Until it is known who is there, time, bytes and connections are bounded; past the bound the oldest goes.
//! - A member has one connection on each lane; a newer takes the place of the older.

use crate::connection::{self, Terms};
use crate::frame::{Kind, WORDS_MAX_BYTES};
use crate::greet::{finish, receive, refuse, same_cluster, send};
use crate::hello::{Hello, Purpose};
use crate::members::{Admitted, Shared};
use crate::meters::{self, Traffic};
use crate::outgoing::queue;
use crate::serving::Serving;
use crate::{NodeName, streaming, tls};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;

/// After an accept that failed (no descriptors left) it is tried again so much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until it is dropped. `alive` is held by each connection.
pub(crate) async fn listen(listener: TcpListener, shared: Arc<Shared>, alive: mpsc::Sender<()>) {
    let unknown = Arc::new(Unknown::default());
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let (shared, alive) = (Arc::clone(&shared), alive.clone());
                unknown.enter(shared.own.settings.handshakes_max, |place| {
                    let task = tokio::spawn(async move {
                        meet(&shared, stream, from, place, alive).await;
                    });
                    task.abort_handle()
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection of another node can be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Connections of which it is not known yet who is there, oldest first.
#[derive(Default)]
struct Unknown(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    last: u64,
    /// None for a task that is about to begin.
    oldest_first: VecDeque<(u64, Option<AbortHandle>)>,
}

impl Unknown {
    /// Begins a task in a place of its own; if there are too many, the oldest ends.
    fn enter(self: &Arc<Self>, max: usize, begin: impl FnOnce(Place) -> AbortHandle) {
        let number = {
            let mut waiting = self.0.lock();
            waiting.last += 1;
            let number = waiting.last;
            waiting.oldest_first.push_back((number, None));
            number
        };
        let task = begin(Place { unknown: Arc::clone(self), number });
        let mut waiting = self.0.lock();
        // Gone, if it is known already.
        if let Some((_, place)) = waiting.oldest_first.iter_mut().rfind(|(n, _)| *n == number) {
            *place = Some(task);
        }
        let too_many = waiting.oldest_first.len() > max.max(1);
        let oldest = if too_many { waiting.oldest_first.pop_front() } else { None };
        drop(waiting);
        if let Some((_, Some(oldest))) = oldest {
            meters::refused("too_many");
            oldest.abort();
        }
    }
}

/// A place among those who are not known; given back when dropped.
struct Place {
    unknown: Arc<Unknown>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.unknown.0.lock().oldest_first.retain(|(number, _)| *number != self.number);
    }
}

/// A connection after TLS and the hello of the other side.
pub(crate) struct Met {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) buffer: BytesMut,
    /// By its certificate.
    node: Option<NodeName>,
    hello: Result<Hello, String>,
}

/// Finds out who is there and what they want, and does it. `alive` is held until all has ended.
async fn meet(
    shared: &Arc<Shared>,
    stream: TcpStream,
    from: SocketAddr,
    place: Place,
    alive: mpsc::Sender<()>,
) {
    let settings = &shared.own.settings;
    let met = match timeout(settings.connect_timeout(), shake_hands(shared, stream)).await {
        Ok(Ok(met)) => met,
        Ok(Err(why)) => {
            meters::refused("handshake");
            return tracing::debug!(%from, why, "a connection of another node came to nothing");
        }
        Err(_) => return meters::refused("too_slow"),
    };
    let refused = match (&met.hello, met.node) {
        (Err(why), _) => why.clone(),
        (Ok(Hello { purpose: Purpose::Join, .. }), _) => return join(shared, met, from, place).await,
        (Ok(hello @ Hello { purpose: Purpose::Requests(lane), .. }), Some(node)) => {
            match shared.admit(node, *lane) {
                Ok(admitted) => {
                    drop(place);
                    let (hello, lane) = (*hello, lane.label());
                    let why = answer(shared, met, admitted, &hello).await;
                    return tracing::info!(peer = node.0, lane, %from, %why, "a node has gone");
                }
                Err(why) => why,
            }
        }
        (Ok(Hello { purpose: Purpose::Stream, .. }), Some(node)) => match shared.admit_stream(node) {
            Ok(admitted) => {
                drop(place);
                return Box::pin(streaming::take(shared, met, admitted, node, alive)).await;
            }
            Err(why) => why,
        },
        (Ok(_), None) => "without a certificate of the cluster a node may only ask to join it".to_owned(),
    };
    meters::refused("not_welcome");
    tracing::warn!(%from, node = met.node.map(|node| node.0), why = refused, "a node was refused");
    refuse(met.stream, &refused, settings.goodbye()).await;
}

async fn shake_hands(shared: &Shared, stream: TcpStream) -> Result<Met, String> {
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let tls = shared.own.tls.load_full();
    let mut stream = tls.acceptor.accept(stream).await.map_err(|e| tls::words(&e))?;
    let node = tls::peer(stream.get_ref().1);
    let mut buffer = BytesMut::new();
    let first = receive(&mut stream, &mut buffer, WORDS_MAX_BYTES).await?;
    if first.kind != Kind::Hello {
        return Err(format!("it began with {:?}", first.kind));
    }
    let hello = Hello::decode(&first.body, shared.own.settings.versions).and_then(|(hello, _)| {
        same_cluster(tls.identity.cluster(), hello.cluster)?;
        match node {
            Some(node) if node != hello.node => {
                Err(format!("the certificate is of {node}, not of {}", hello.node))
            }
            _ => Ok(hello),
        }
    });
    Ok(Met { stream, buffer, node, hello })
}

/// Answers a member's requests until the connection ends, and says why it did.
async fn answer(shared: &Shared, mut met: Met, admitted: Admitted, theirs: &Hello) -> Arc<str> {
    let (node, lane, stop) = (admitted.node, admitted.lane, admitted.stop.clone());
    let settings = shared.own.settings.lane(lane);
    let ours = shared.own.hello(Purpose::Requests(lane));
    if let Err(why) = send(&mut met.stream, Kind::Hello, &ours.encode()).await {
        return why.into();
    }
    let (out, queue) = queue(settings.requests_max);
    let answer_max_bytes = ours.limits.both(theirs.limits).frame_max_bytes;
    let serve = Arc::clone(&shared.serve);
    let mut serving = Serving::new((node, lane), serve, ours.limits, answer_max_bytes, out.clone());
    let terms = Terms {
        lane: *settings,
        goodbye: shared.own.settings.goodbye(),
        dialled: false,
        traffic: Traffic::new(node, lane),
        left: Arc::default(),
        round_trip_ns: Arc::default(),
    };
    connection::run(met.stream, met.buffer, &mut serving, (out, queue), &terms, stop).await
}

/// Answers one request to join.
async fn join(shared: &Shared, mut met: Met, from: SocketAddr, place: Place) {
    let settings = &shared.own.settings;
    let answer = match timeout(settings.connect_timeout(), join_request(shared, &mut met)).await {
        Err(_) => return meters::refused("too_slow"),
        Ok(Err(why)) => Err(why),
        Ok(Ok(request)) => match shared.joins.try_acquire() {
            Err(_) => Err("too many ask to join at the moment; try again".to_owned()),
            Ok(_permit) => {
                drop(place);
                let within = Duration::from_millis(settings.join_timeout_ms);
                let answer = timeout(within, shared.serve.join(from, request)).await;
                answer.unwrap_or_else(|_| Err("it took too long to let the node in".to_owned()))
            }
        },
    };
    match answer {
        Ok(body) => finish(met.stream, Kind::Answer, &body, settings.connect_timeout()).await,
        Err(why) => {
            meters::refused("join");
            tracing::warn!(%from, why, "a request to join was refused");
            refuse(met.stream, &why, settings.goodbye()).await;
        }
    }
}

async fn join_request(shared: &Shared, met: &mut Met) -> Result<Bytes, String> {
    let ours = shared.own.hello(Purpose::Join);
    send(&mut met.stream, Kind::Hello, &ours.encode()).await?;
    let max = usize::try_from(shared.own.settings.join_max_bytes).unwrap_or(usize::MAX);
    let request = receive(&mut met.stream, &mut met.buffer, max).await?;
    match request.kind {
        Kind::Join => Ok(request.body),
        other => Err(format!("{other:?} is no request to join")),
    }
}
