//! A node's place in the mesh: what the program holds.

use crate::link::Own;
use crate::listener::listen;
use crate::members::{PeerStatus, Shared};
use crate::stream::Stream;
use crate::streams::Streams;
use crate::tls::Tls;
use crate::{Error, Identity, Lane, NodeName, Settings, streaming};
use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// A future whose type does not matter.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a node answers to others.
///
/// `serve` is called in the order in which the requests of a lane came, and must not block; its futures then run
/// beside each other. They are dropped where they stand once nobody waits any more: what must go on is for a task of
/// its own.
pub trait Serve: Send + Sync + 'static {
    /// Answers a request of another node, known by its certificate. The pieces are one after the other the answer.
    fn serve(&self, from: NodeName, lane: Lane, request: Bytes) -> BoxFuture<'static, Vec<Bytes>>;

    /// Answers a request of one who has no certificate and wants to join, or says in words why not. Anybody who
    /// reaches the port can ask; size, number and time are bounded.
    fn join(&self, from: SocketAddr, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>>;

    /// Decides by its head on a stream that another node wants to open, or says in words why not.
    fn stream(&self, _from: NodeName, _head: Bytes) -> BoxFuture<'static, Result<Taken, String>> {
        Box::pin(async { Err("this node takes no streams".to_owned()) })
    }
}

/// A stream that is taken.
pub struct Taken {
    /// What the other side is told.
    pub answer: Bytes,
    /// Who holds the stream from then on: it ends with this future, which is dropped where it stands when the mesh ends or
    /// the other node is removed. Dropped without a call when the other side has gone already.
    pub hold: Box<dyn FnOnce(Stream) -> BoxFuture<'static, ()> + Send>,
}

/// A node's place in the mesh. When the last copy is dropped, all connections close.
#[derive(Clone)]
pub struct Mesh(Arc<Running>);

struct Running {
    shared: Arc<Shared>,
    address: SocketAddr,
    listening: AbortHandle,
    /// Held by every connection as well; none after the end.
    alive: Mutex<Option<mpsc::Sender<()>>>,
    /// Ends when nobody holds the other side.
    ended: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Mesh {
    /// Begins to answer at `listener`. Nobody is a peer before [`Mesh::set_peers`]. Needs a tokio runtime.
    pub async fn start(
        identity: Identity,
        listener: TcpListener,
        settings: Settings,
        serve: Arc<dyn Serve>,
    ) -> Result<Mesh, Error> {
        let address = listener.local_addr().map_err(|e| Error::Identity(e.to_string()))?;
        let streams = Streams::new(settings.streams_max);
        let own = Arc::new(Own { settings, tls: ArcSwap::from_pointee(Tls::new(identity)?), streams });
        let shared = Arc::new(Shared::new(own, serve));
        let (alive, ended) = mpsc::channel(1);
        let listening = tokio::spawn(listen(listener, Arc::clone(&shared), alive.clone())).abort_handle();
        let (alive, ended) = (Mutex::new(Some(alive)), Mutex::new(Some(ended)));
        Ok(Mesh(Arc::new(Running { shared, address, listening, alive, ended })))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Says who the other members are, and where (host and port). This node itself may be among them.
    ///
    /// Connections with those who are not are closed, and they are refused from now on. A peer is dialled when it is
    /// called for the first time or has dialled this node, and is kept dialled.
    pub fn set_peers(&self, peers: BTreeMap<NodeName, String>) {
        if let Some(alive) = &*self.0.alive.lock() {
            self.0.shared.set_peers(peers, alive);
        }
    }

    /// Asks a peer, and waits for its answer as long as the lane's limit says. The pieces are one after the other
    /// the request. A call whose future is dropped is withdrawn.
    pub fn call(
        &self,
        to: NodeName,
        lane: Lane,
        request: Vec<Bytes>,
    ) -> impl Future<Output = Result<Bytes, Error>> + Send + 'static {
        let link = self.0.shared.link(to, lane);
        async move {
            match link {
                Some(link) => link.call(request).await,
                None => Err(Error::NotSent { to, why: "it is not among the peers of this node".into() }),
            }
        }
    }

    /// Opens a stream to a peer, on a connection of its own, and says what it answered to `head`. Every wait is bounded by
    /// the settings.
    pub fn stream(
        &self,
        to: NodeName,
        head: Bytes,
    ) -> impl Future<Output = Result<(Bytes, Stream), Error>> + Send + 'static {
        let alive = self.0.alive.lock().clone();
        streaming::open(Arc::clone(&self.0.shared), alive, to, head)
    }

    /// How the peers stand.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.0.shared.status()
    }

    /// Shows another certificate from now on. Connections that are there stay.
    pub fn renew(&self, identity: Identity) -> Result<(), Error> {
        let own = &self.0.shared.own;
        let before = own.tls.load();
        if (identity.cluster(), identity.node()) != (before.identity.cluster(), before.identity.node()) {
            return Err(Error::Identity(format!("{identity:?} is not of this node")));
        }
        own.tls.store(Arc::new(Tls::new(identity)?));
        Ok(())
    }

    /// Ends all connections, says so to the other sides, and waits until that is done, for a bounded time.
    pub async fn shutdown(&self) {
        self.0.listening.abort();
        self.0.shared.end(&"the node shuts down".into());
        self.0.alive.lock().take();
        let ended = self.0.ended.lock().take();
        if let Some(mut ended) = ended {
            let goodbye_ms = self.0.shared.own.settings.goodbye_ms;
            let within = Duration::from_millis(goodbye_ms.saturating_mul(3));
            _ = timeout(within, ended.recv()).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.listening.abort();
        self.shared.end(&"the node shuts down".into());
    }
}
