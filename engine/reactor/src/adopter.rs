//! Sessions over connections that are not accepted here, but made elsewhere in the program and handed in.
//!
//! They go through the same driver, meters and limits as others, and are told and drained with them at the end; their
//! clients are counted where they are connected. Such a connection is plain: what it is worth is for who hands it in.

use crate::Error;
use crate::gate::Gate;
use crate::listener::{Serving, driver, next_session, session};
use crate::meters::Meters;
use crate::protocol::{Limits, Peer, Protocol, Service};
use crate::thread::{Socket, Threads};
use estafette_types::Networks;
use parking_lot::Mutex;
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

/// Takes connections over for the sessions of one protocol.
pub struct Adopter<P> {
    serving: Arc<Serving<P>>,
    /// None once the program stops.
    open: Mutex<Option<Open>>,
    next_thread: AtomicUsize,
}

struct Open {
    threads: Arc<Threads>,
    /// A copy is held by every session.
    alive: mpsc::Sender<()>,
}

impl<P: Protocol> Adopter<P> {
    /// Ready to take connections over. The future beside it ends when `stopping` has turned true and the sessions have ended
    /// or the drain limit is over.
    pub fn new(
        threads: Arc<Threads>,
        protocol: Arc<P>,
        limits: Limits,
        gate: Gate,
        mut stopping: watch::Receiver<bool>,
    ) -> (Arc<Adopter<P>>, impl Future<Output = ()> + Send + 'static) {
        let name = protocol.name();
        let meters = Arc::new(Meters::new(name, P::Service::QUESTIONS));
        let (acceptor, proxy_from) = (None, Arc::new(Networks::default()));
        let serving = Serving { protocol, acceptor, implicit_tls: false, limits, proxy_from, meters, gate };
        let (alive, mut ended) = mpsc::channel::<()>(1);
        let adopter = Arc::new(Adopter {
            serving: Arc::new(serving),
            open: Mutex::new(Some(Open { threads, alive })),
            next_thread: AtomicUsize::new(0),
        });
        let stopped = Arc::clone(&adopter);
        let drained = async move {
            let _ = stopping.wait_for(|stop| *stop).await;
            let open = stopped.open.lock().take();
            if let Some(Open { threads, .. }) = &open {
                threads.tell_stopping();
            }
            drop(open.map(|open| open.alive));
            if tokio::time::timeout(limits.drain_timeout, ended.recv()).await.is_err() {
                warn!(listener = name, "sessions of other nodes were cut off after the drain limit");
            }
        };
        (adopter, drained)
    }

    /// The name under which its sessions are counted.
    pub fn name(&self) -> &'static str {
        self.serving.protocol.name()
    }

    /// What makes its sessions.
    pub fn protocol(&self) -> &P {
        &self.serving.protocol
    }

    /// Serves the session that `open` makes over one end of a pair of sockets; `remote` and `local` are the ends of its client's
    /// connection. When it returns, the session has begun.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Stopping`]; [`Error::Connection`] when the system refuses.
    pub async fn adopt(
        &self,
        socket: UnixStream,
        (remote, local): (SocketAddr, SocketAddr),
        open: impl FnOnce(Peer) -> (P::Machine, P::Service) + Send + 'static,
    ) -> Result<(), Error> {
        let (threads, alive) = match &*self.open.lock() {
            Some(Open { threads, alive }) => (Arc::clone(threads), alive.clone()),
            None => return Err(Error::Stopping),
        };
        let pass = self.serving.gate.enter_adopted().map_err(|why| {
            self.serving.meters.refused(why);
            Error::Full
        })?;
        let peer = Peer { session: next_session(), remote, local, implicit_tls: false };
        let (serving, socket) = (Arc::clone(&self.serving), OwnedFd::from(socket));
        let (begun, outcome) = oneshot::channel();
        let thread = self.next_thread.fetch_add(1, Ordering::Relaxed);
        threads.spawn(thread, move || async move {
            match Socket::adopt(socket).await {
                Ok(socket) => {
                    // Who asked may have gone: then the other end is closed, which the session sees.
                    let _ = begun.send(Ok(()));
                    let driver = driver(&serving, open(peer), socket);
                    session(&serving, driver, peer, pass).await;
                }
                Err(error) => _ = begun.send(Err(error)),
            }
            drop(alive);
        });
        drop(threads);
        match outcome.await {
            Ok(begun) => Ok(begun?),
            // The thread has ended.
            Err(_) => Err(Error::Stopping),
        }
    }
}
