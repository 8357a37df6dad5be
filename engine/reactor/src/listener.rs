//! Accepts connections and gives each a session.

use crate::Error;
use crate::gate::Gate;
use crate::meters::Meters;
use crate::protocol::{Limits, Peer, Protocol, Service, SessionId};
use crate::stream::Stream;
use crate::tokio_driver::Driver;
use socket2::{Domain, Protocol as Ip, Socket, Type};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{Instrument, debug, info_span, warn};

/// Connections that the kernel may hold until they are accepted.
const BACKLOG: i32 = 4096;
/// The pause after an accept failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

static SESSIONS: AtomicU64 = AtomicU64::new(1);

/// A bound socket and how its connections are to be served.
pub struct Listener {
    /// The socket, from [`bind`].
    pub socket: TcpListener,
    /// TLS, for STARTTLS or from the start.
    pub acceptor: Option<TlsAcceptor>,
    /// The connection begins with a handshake.
    pub implicit_tls: bool,
    /// The driver's limits.
    pub limits: Limits,
}

/// Binds an address for many clients.
pub fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let attempt = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Ip::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    attempt().map_err(|source| Error::Bind { address, source })
}

/// Serves until `stopping` turns true and the sessions have ended or the drain limit is over.
pub async fn serve<P: Protocol>(
    protocol: Arc<P>,
    listener: Listener,
    gate: Gate,
    mut stopping: watch::Receiver<bool>,
) {
    let listener = Arc::new(listener);
    let meters = Arc::new(Meters::new(protocol.name(), P::Service::QUESTIONS));
    let mut sessions = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => break,
            accepted = listener.socket.accept() => accepted,
        };
        match accepted {
            Ok((tcp, remote)) => {
                let work = connection(
                    Arc::clone(&protocol),
                    Arc::clone(&listener),
                    Arc::clone(&meters),
                    gate.clone(),
                    tcp,
                    remote,
                    stopping.clone(),
                );
                sessions.spawn(work);
            }
            Err(error) => {
                warn!(listener = protocol.name(), %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while sessions.try_join_next().is_some() {}
    }
    let drained = async { while sessions.join_next().await.is_some() {} };
    if tokio::time::timeout(listener.limits.drain_timeout, drained).await.is_err() {
        warn!(
            listener = protocol.name(),
            left = sessions.len(),
            "sessions were cut off after the drain limit"
        );
        sessions.abort_all();
    }
}

async fn connection<P: Protocol>(
    protocol: Arc<P>,
    listener: Arc<Listener>,
    meters: Arc<Meters>,
    gate: Gate,
    mut tcp: TcpStream,
    remote: SocketAddr,
    stopping: watch::Receiver<bool>,
) {
    let name = protocol.name();
    let pass = match gate.enter(remote.ip()) {
        Ok(pass) => pass,
        Err(why) => {
            meters.refused(why);
            if !listener.implicit_tls {
                let say = protocol.refusal(why);
                let _ = tokio::time::timeout(Duration::from_secs(1), tcp.write_all(&say)).await;
            }
            return;
        }
    };
    let Ok(local) = tcp.local_addr() else { return };
    let _ = tcp.set_nodelay(true);
    let session = SessionId(SESSIONS.fetch_add(1, Ordering::Relaxed));
    let peer = Peer { session, remote, local, implicit_tls: listener.implicit_tls };
    meters.opened();
    let mut driver = Box::new(Driver::new(
        protocol.as_ref(),
        peer,
        Stream::Plain(tcp),
        listener.acceptor.clone(),
        listener.limits,
        Arc::clone(&meters),
    ));
    let span = info_span!("session", id = %session, listener = name, peer = %remote);
    let ended = driver.run(listener.implicit_tls, stopping).instrument(span.clone()).await;
    span.in_scope(|| match ended {
        Ok(()) => debug!("the session ended"),
        Err(error) => debug!(%error, "the session was cut off"),
    });
    meters.ended(driver.traffic.received_bytes, driver.traffic.sent_bytes);
    drop(pass);
}
