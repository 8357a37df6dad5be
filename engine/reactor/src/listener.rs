//! Accepts connections and gives each a session, on every thread of sessions.

use crate::Error;
use crate::balancer::read_header;
use crate::driver::Driver;
use crate::gate::{Gate, Pass};
use crate::meters::Meters;
use crate::protocol::{Limits, Peer, Protocol, Service, SessionId};
use crate::stream::Stream;
use crate::thread::{Core, Listening, Socket, Threads, within};
use estafette_proxy::Addresses;
use estafette_types::Networks;
use socket2::{Domain, Protocol as Ip, Socket as Socket2, Type};
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{Instrument, debug, info_span, warn};

/// Connections that the kernel may hold until they are accepted.
const BACKLOG: i32 = 4096;
/// The pause after an accept failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The longest that a refused client is waited for.
const REFUSAL_LONGEST: Duration = Duration::from_secs(1);

static SESSIONS: AtomicU64 = AtomicU64::new(1);

/// The sockets of an address and how their connections are to be served.
pub struct Listener {
    /// From [`bind`].
    pub sockets: Vec<TcpListener>,
    /// TLS, for STARTTLS or from the start.
    pub acceptor: Option<TlsAcceptor>,
    /// The connection begins with a handshake.
    pub implicit_tls: bool,
    /// The driver's limits.
    pub limits: Limits,
    /// Balancers: their connections begin with a header that says who is behind them.
    pub proxy_from: Arc<Networks>,
}

/// Binds an address for many clients: as many sockets as there are threads, between which the kernel
/// divides the connections.
///
/// `patience`: how long the kernel waits for a peer that takes nothing of what was sent, also when the session is over.
///
/// # Errors
/// [`Error::Bind`].
pub fn bind(address: SocketAddr, count: usize, patience: Duration) -> Result<Vec<TcpListener>, Error> {
    let attempt = |address: SocketAddr, shared: bool| {
        let socket = Socket2::new(Domain::for_address(address), Type::STREAM, Some(Ip::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        if shared {
            // Handed down to its connections: what is sent leaves at once.
            socket.set_tcp_nodelay(true)?;
            socket.set_tcp_user_timeout(Some(patience))?;
            socket.listen(BACKLOG)?;
        }
        std::io::Result::Ok(TcpListener::from(socket))
    };
    let bind = || {
        // Alone first: a port that another program shares with its own threads must not be taken for free.
        drop(attempt(address, false)?);
        let mut sockets = vec![attempt(address, true)?];
        let address = match sockets.first() {
            Some(first) => first.local_addr()?,
            None => address,
        };
        for _ in 1..count.max(1) {
            sockets.push(attempt(address, true)?);
        }
        std::io::Result::Ok(sockets)
    };
    bind().map_err(|source| Error::Bind { address, source })
}

/// What the sessions of a listener share.
pub(crate) struct Serving<P> {
    pub(crate) protocol: Arc<P>,
    pub(crate) acceptor: Option<TlsAcceptor>,
    pub(crate) implicit_tls: bool,
    pub(crate) limits: Limits,
    pub(crate) proxy_from: Arc<Networks>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) gate: Gate,
}

/// Serves until `stopping` turns true and the sessions have ended or the drain limit is over.
pub async fn serve<P: Protocol>(
    threads: Arc<Threads>,
    protocol: Arc<P>,
    listener: Listener,
    gate: Gate,
    mut stopping: watch::Receiver<bool>,
) {
    let Listener { sockets, acceptor, implicit_tls, limits, proxy_from } = listener;
    let meters = Arc::new(Meters::new(protocol.name(), P::Service::QUESTIONS));
    let name = protocol.name();
    let serving = Arc::new(Serving { protocol, acceptor, implicit_tls, limits, proxy_from, meters, gate });
    // Every task holds a clone; when the last has gone, all sessions have ended.
    let (alive, mut ended) = mpsc::channel::<()>(1);
    for (thread, socket) in sockets.into_iter().enumerate() {
        let (serving, alive) = (Arc::clone(&serving), alive.clone());
        threads.spawn(thread, move || accept(serving, socket, alive));
    }
    drop(alive);
    let _ = stopping.wait_for(|stop| *stop).await;
    threads.tell_stopping();
    if tokio::time::timeout(limits.drain_timeout, ended.recv()).await.is_err() {
        warn!(listener = name, "sessions were cut off after the drain limit");
    }
}

async fn accept<P: Protocol>(serving: Arc<Serving<P>>, socket: TcpListener, alive: mpsc::Sender<()>) {
    let listening = socket.local_addr().and_then(|local| Ok((Listening::new(socket)?, local)));
    let (mut listening, local) = match listening {
        Ok(listening) => listening,
        Err(error) => {
            tracing::error!(listener = serving.protocol.name(), %error, "a thread cannot listen");
            return;
        }
    };
    let core = Core::current();
    while let Some(accepted) = listening.accept().await {
        match accepted {
            Ok((socket, remote)) => {
                let (serving, alive) = (Arc::clone(&serving), alive.clone());
                core.spawn(async move {
                    connection(&serving, socket, remote, local).await;
                    drop(alive);
                });
            }
            Err(error) => {
                warn!(listener = serving.protocol.name(), %error, "a connection could not be accepted");
                let _ = within(ACCEPT_PAUSE, std::future::pending::<()>()).await;
            }
        }
    }
}

async fn connection<P: Protocol>(
    serving: &Serving<P>,
    mut socket: Socket,
    mut remote: SocketAddr,
    mut local: SocketAddr,
) {
    let name = serving.protocol.name();
    if serving.proxy_from.contain(remote.ip()) {
        // Before the gate, which counts who is behind the balancer.
        let core = Core::current();
        let header = core.unless_stopping(read_header(&mut socket));
        let header = Box::pin(within(serving.limits.handshake_timeout, header)).await.flatten();
        match header.unwrap_or(Err(Error::TooSlow("the PROXY header"))) {
            Ok(Some(Addresses { source, destination })) => (remote, local) = (source, destination),
            Ok(None) => {}
            Err(error) => {
                debug!(listener = name, balancer = %remote, %error, "a connection without its header");
                return;
            }
        }
    }
    let pass = match serving.gate.enter(remote.ip()) {
        Ok(pass) => pass,
        Err(why) => {
            serving.meters.refused(why);
            if !serving.implicit_tls {
                let mut say = VecDeque::from([serving.protocol.refusal(why)]);
                let _ = Box::pin(within(REFUSAL_LONGEST, socket.send(&mut say))).await;
            }
            return;
        }
    };
    let peer = Peer { session: next_session(), remote, local, implicit_tls: serving.implicit_tls };
    let driver = driver(serving, serving.protocol.open(peer), socket);
    session(serving, driver, peer, pass).await;
}

/// The number of one more session.
pub(crate) fn next_session() -> SessionId {
    SessionId(SESSIONS.fetch_add(1, Ordering::Relaxed))
}

/// What runs a session.
pub(crate) fn driver<P: Protocol>(
    serving: &Serving<P>,
    opened: (P::Machine, P::Service),
    socket: Socket,
) -> Box<Driver<P>> {
    let (stream, acceptor) = (Stream::Plain(socket), serving.acceptor.clone());
    Box::new(Driver::new(opened, stream, acceptor, serving.limits, Arc::clone(&serving.meters)))
}

/// Runs a session from its beginning to its end. Takes nothing large by value: a future has room for what it was given as
/// long as it lasts, and an idle session is to have that once.
pub(crate) async fn session<P: Protocol>(
    serving: &Serving<P>,
    mut driver: Box<Driver<P>>,
    peer: Peer,
    pass: Pass,
) {
    let name = serving.protocol.name();
    let _open = serving.meters.opened();
    let span = info_span!("session", id = %peer.session, listener = name, peer = %peer.remote);
    let ended = driver.run(serving.implicit_tls).instrument(span.clone()).await;
    span.in_scope(|| match ended {
        Ok(()) => debug!("the session ended"),
        Err(error) => debug!(%error, "the session was cut off"),
    });
    serving.meters.moved(driver.traffic.received_bytes, driver.traffic.sent_bytes);
    drop(pass);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Refusal, Service};
    use bytes::{Bytes, BytesMut};
    use estafette_machine::{Actions, Machine, Now, Tls};

    /// A session of this size.
    const BYTES: usize = 64 * 1024;

    struct Large([u8; BYTES]);

    impl Machine for Large {
        type Ask = ();
        type Answer = ();
        fn opened(&mut self, _: Now, _: &mut Actions<()>) {}
        fn input_limit(&self) -> usize {
            self.0.len()
        }
        fn received(&mut self, _: Now, _: &mut BytesMut, _: &mut Actions<()>) {}
        fn overflowed(&mut self, _: Now, _: &mut BytesMut, _: &mut Actions<()>) {}
        fn answered(&mut self, _: Now, (): (), _: &mut Actions<()>) {}
        fn timed_out(&mut self, _: Now, _: &mut Actions<()>) {}
        fn secured(&mut self, _: Now, _: Tls, _: &mut Actions<()>) {}
        fn closed(&mut self, _: Now, _: &mut Actions<()>) {}
        fn shutdown(&mut self, _: Now, _: &mut Actions<()>) {}
    }

    impl Service<Large> for () {
        const QUESTIONS: &'static [&'static str] = &[];
        fn question((): &()) -> usize {
            0
        }
        async fn answer(&mut self, (): ()) {}
    }

    struct OfLarge;

    impl Protocol for OfLarge {
        type Machine = Large;
        type Service = ();
        fn name(&self) -> &'static str {
            "large"
        }
        fn open(&self, _: Peer) -> (Large, ()) {
            (Large([0; BYTES]), ())
        }
        fn refusal(&self, _: Refusal) -> Bytes {
            Bytes::new()
        }
    }

    fn size_of_future<S, F>(
        _: impl FnOnce(&'static Serving<OfLarge>, S, SocketAddr, SocketAddr) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// What a session is made from once stayed in the future of its connection beside the session itself, which cost every
    /// idle one half as much again.
    #[test]
    fn the_future_of_a_connection_does_not_hold_the_session_itself() {
        let bytes = size_of_future(|serving, socket: Socket, remote, local| {
            connection::<OfLarge>(serving, socket, remote, local)
        });
        assert!(bytes < BYTES / 16, "{bytes} bytes");
    }
}
