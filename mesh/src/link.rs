//! A link: the connection to one peer on one lane, dialled when it is first wanted and kept from then on.
//!
//! While it is down calls fail at once, with the words of the last attempt; only the very first waits.

use crate::calls::{Answers, Calls, Failure};
use crate::connection::{self, Stop, Terms, stopped};
use crate::greet::{self, Greeted};
use crate::hello::{Hello, Purpose};
use crate::meters::{CallMeters, Traffic};
use crate::outgoing::queue;
use crate::streams::Streams;
use crate::tls::Tls;
use crate::{Lane, NodeName, Settings};
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

/// What a node is and may do, for all who dial or listen for it.
pub(crate) struct Own {
    pub(crate) settings: Settings,
    pub(crate) tls: ArcSwap<Tls>,
    pub(crate) streams: Arc<Streams>,
}

impl Own {
    /// What this node says first.
    pub(crate) fn hello(&self, purpose: Purpose) -> Hello {
        let tls = self.tls.load();
        let lane = match purpose {
            Purpose::Requests(lane) => lane,
            Purpose::Join | Purpose::Stream => Lane::Urgent,
        };
        Hello {
            versions: self.settings.versions,
            purpose,
            cluster: tls.identity.cluster(),
            node: tls.identity.node(),
            limits: self.settings.lane(lane).limits(),
        }
    }
}

/// A connection that is there.
#[derive(Clone)]
struct Up {
    calls: Arc<Calls>,
    since: Instant,
    version: u16,
}

#[derive(Clone)]
enum State {
    /// Nobody wanted it yet, or it is dialled for the first time.
    New,
    Up(Up),
    Down(Arc<str>),
}

/// How a link stands.
#[derive(Clone, Debug)]
pub struct LinkStatus {
    /// The lane.
    pub lane: Lane,
    /// How long it has been connected; none: it is not.
    pub connected_for: Option<Duration>,
    /// The version of the protocol that both sides speak; none: it is not connected.
    pub version: Option<u16>,
    /// Why it is not connected, in words; none before the first attempt.
    pub last_error: Option<Arc<str>>,
    /// How long the last sign of life took that was asked for.
    pub round_trip: Option<Duration>,
    /// Requests that wait for their answer.
    pub under_way: usize,
}

/// One peer on one lane. Dropped, its connection closes.
pub(crate) struct Link {
    to: NodeName,
    lane: Lane,
    call_timeout: Duration,
    state: watch::Receiver<State>,
    wanted: Arc<Notify>,
    stop: watch::Sender<Option<Arc<str>>>,
    meters: Arc<CallMeters>,
    round_trip_ns: Arc<AtomicU64>,
}

impl Link {
    /// Begins to keep it. `alive` is held until all has ended.
    pub(crate) fn start(
        own: Arc<Own>,
        to: NodeName,
        lane: Lane,
        address: String,
        alive: mpsc::Sender<()>,
    ) -> Arc<Link> {
        let (state, states) = watch::channel(State::New);
        let (stop, stops) = watch::channel(None);
        let (wanted, round_trip_ns) = (Arc::new(Notify::new()), Arc::default());
        let meters = Arc::new(CallMeters::new(to, lane));
        let keeper = Keeper {
            to,
            lane,
            address,
            state,
            wanted: Arc::clone(&wanted),
            meters: Arc::clone(&meters),
            round_trip_ns: Arc::clone(&round_trip_ns),
            own,
        };
        let call_timeout = keeper.own.settings.lane(lane).call_timeout();
        tokio::spawn(async move {
            keeper.keep(stops).await;
            drop(alive);
        });
        Arc::new(Link { to, lane, call_timeout, state: states, wanted, stop, meters, round_trip_ns })
    }

    pub(crate) async fn call(&self, body: Vec<Bytes>) -> Result<Bytes, crate::Error> {
        self.meters.calls.increment(1);
        let deadline = Instant::now() + self.call_timeout;
        let answer = match self.up(deadline).await {
            Ok(calls) => calls.call(body, deadline).await,
            Err(why) => Err(Failure::NotSent(why)),
        };
        answer.map_err(|failure| match failure {
            Failure::NotSent(why) => {
                self.meters.not_sent.increment(1);
                crate::Error::NotSent { to: self.to, why }
            }
            Failure::NoAnswer(why) => {
                self.meters.no_answer.increment(1);
                crate::Error::NoAnswer { to: self.to, why }
            }
            Failure::TooLarge { bytes, limit } => crate::Error::TooLarge { bytes, limit },
        })
    }

    async fn up(&self, deadline: Instant) -> Result<Arc<Calls>, Arc<str>> {
        if let State::Up(up) = &*self.state.borrow() {
            return Ok(Arc::clone(&up.calls));
        }
        let mut state = self.state.clone();
        if matches!(*state.borrow(), State::New) {
            self.wanted.notify_one();
        }
        let settled = timeout_at(deadline, state.wait_for(|state| !matches!(state, State::New)));
        match settled.await {
            Ok(Ok(state)) => match &*state {
                State::Up(up) => Ok(Arc::clone(&up.calls)),
                State::Down(why) => Err(Arc::clone(why)),
                State::New => Err("it is not connected".into()),
            },
            Ok(Err(_)) => Err("it is no longer a peer".into()),
            Err(_) => Err("connecting took too long".into()),
        }
    }

    /// The peer is there: an attempt to connect waits no longer.
    pub(crate) fn hurry(&self) {
        if !matches!(*self.state.borrow(), State::Up(..)) {
            self.wanted.notify_one();
        }
    }

    /// Closes it with words for the other side.
    pub(crate) fn close(&self, why: &Arc<str>) {
        self.stop.send_replace(Some(Arc::clone(why)));
    }

    pub(crate) fn status(&self) -> LinkStatus {
        let round_trip_ns = self.round_trip_ns.load(Ordering::Relaxed);
        let mut status = LinkStatus {
            lane: self.lane,
            connected_for: None,
            version: None,
            last_error: None,
            round_trip: (round_trip_ns > 0).then(|| Duration::from_nanos(round_trip_ns)),
            under_way: 0,
        };
        match &*self.state.borrow() {
            State::New => (),
            State::Down(why) => status.last_error = Some(Arc::clone(why)),
            State::Up(up) => {
                status.connected_for = Some(up.since.elapsed());
                status.version = Some(up.version);
                status.under_way = up.calls.under_way();
            }
        }
        status
    }
}

/// The task that keeps a link.
struct Keeper {
    own: Arc<Own>,
    to: NodeName,
    lane: Lane,
    address: String,
    state: watch::Sender<State>,
    wanted: Arc<Notify>,
    meters: Arc<CallMeters>,
    round_trip_ns: Arc<AtomicU64>,
}

impl Keeper {
    async fn keep(self, mut stop: Stop) {
        tokio::select! {
            () = self.wanted.notified() => (),
            _ = stopped(&mut stop) => return,
        }
        let settings = &self.own.settings;
        let (shortest, longest) = (settings.redial_min_ms, settings.redial_max_ms);
        let mut pause_ms = shortest;
        let mut last_heard = Instant::now();
        loop {
            let began = Instant::now();
            let dialled = tokio::select! {
                dialled = self.dial() => dialled,
                _ = stopped(&mut stop) => return,
            };
            let why = match dialled {
                Ok(greeted) => self.speak(greeted, stop.clone()).await,
                Err(why) => why,
            };
            let lasted_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            if matches!(*self.state.borrow(), State::Up(..)) {
                last_heard = Instant::now();
                if lasted_ms > longest {
                    pause_ms = shortest;
                }
            }
            self.end_streams(last_heard);
            self.down(why);
            tokio::select! {
                () = sleep(Duration::from_millis(pause_ms)) => (),
                () = self.wanted.notified() => (),
                _ = stopped(&mut stop) => return,
            }
            pause_ms = pause_ms.saturating_mul(2).min(longest);
        }
    }

    async fn dial(&self) -> Result<Greeted<TlsStream<TcpStream>>, Arc<str>> {
        let tls = self.own.tls.load_full();
        let name = tls.server_name(self.to).map_err(|e| e.to_string())?;
        let ours = self.own.hello(Purpose::Requests(self.lane));
        let dialling = greet::dial(&self.address, (tls.connector.clone(), name), &ours);
        match timeout(self.own.settings.connect_timeout(), dialling).await {
            Ok(greeted) => greeted.map_err(|unheard| unheard.words().into()),
            Err(_) => Err("connecting took too long".into()),
        }
    }

    /// Carries calls until the connection ends, and says why it did.
    async fn speak(&self, greeted: Greeted<TlsStream<TcpStream>>, stop: Stop) -> Arc<str> {
        let lane = *self.own.settings.lane(self.lane);
        let limits = lane.limits().both(greeted.theirs.limits);
        let (out, queue) = queue(limits.requests_max);
        let left: Arc<AtomicU64> = Arc::default();
        let calls = Calls::new(limits, out.clone(), Arc::clone(&left));
        let terms = Terms {
            lane,
            goodbye: self.own.settings.goodbye(),
            dialled: true,
            traffic: Traffic::new(self.to, self.lane),
            left,
            round_trip_ns: Arc::clone(&self.round_trip_ns),
        };
        let (lane, version) = (self.lane.label(), greeted.version);
        tracing::info!(peer = self.to.0, lane, address = self.address, version, "connected");
        self.meters.connected.set(1.0);
        let up = Up { calls: Arc::clone(&calls), since: Instant::now(), version };
        self.state.send_replace(State::Up(up));
        let mut answers = Answers(Arc::clone(&calls));
        let running =
            connection::run(greeted.stream, greeted.buffer, &mut answers, (out, queue), &terms, stop);
        let why = running.await;
        self.meters.connected.set(0.0);
        calls.end(&why);
        why
    }

    /// Streams ask for no signs of life themselves; this lane does.
    fn end_streams(&self, last_heard: Instant) {
        let silent_ms = u64::try_from(last_heard.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.lane == Lane::Urgent && silent_ms > self.own.settings.stream_silent_max_ms {
            let why = format!("{} could not be reached for {silent_ms} ms", self.to).into();
            self.own.streams.end_of(self.to, &why);
        }
    }

    fn down(&self, why: Arc<str>) {
        let known = matches!(&*self.state.borrow(), State::Down(before) if *before == why);
        if !known {
            let (peer, lane) = (self.to.0, self.lane.label());
            tracing::warn!(peer, lane, address = self.address, %why, "not connected");
        }
        self.state.send_replace(State::Down(why));
    }
}
