//! Nodes for tests: what they answer, who they are, and a wire between two of them that can be cut or held.

use bytes::Bytes;
use estafette_mesh::{
    Authority, BoxFuture, ClusterId, Error, Identity, Lane, Mesh, NodeKey, NodeName, Serve, Settings, Stream,
    Taken,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

pub(crate) const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn identity(authority: &Authority, node: u64, valid_for: Duration) -> Result<Identity, Error> {
    let key = NodeKey::create().unwrap();
    let node = NodeName(node);
    let certificate = authority.certify(node, key.public_key().unwrap(), valid_for).unwrap();
    Identity::new(authority.cluster(), node, certificate, &key, authority.certificate().to_vec())
}

/// Answers by the first word of a request: `echo`, `who`, `never`, `panic`, `large`.
#[derive(Default)]
pub(crate) struct Answering {
    /// Requests that are being answered.
    pub(crate) under_way: Arc<AtomicUsize>,
    pub(crate) served: Arc<AtomicUsize>,
    /// The most that were being answered at once.
    pub(crate) most: Arc<AtomicUsize>,
    /// Streams that are held.
    pub(crate) streams: Arc<AtomicUsize>,
}

struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Serve for Answering {
    fn serve(&self, from: NodeName, lane: Lane, request: Bytes) -> BoxFuture<'static, Vec<Bytes>> {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(under_way, Ordering::SeqCst);
        self.served.fetch_add(1, Ordering::SeqCst);
        let under_way = UnderWay(Arc::clone(&self.under_way));
        Box::pin(async move {
            let _under_way = under_way;
            match &request[..request.len().min(5)] {
                b"who.." => vec![format!("{from} on {lane:?}").into()],
                b"never" => std::future::pending().await,
                b"panic" => panic!("as the test wants"),
                b"large" => vec![Bytes::from(vec![0; 1 << 20]); 3],
                _ => vec![request.slice(..request.len() / 2), request.slice(request.len() / 2..)],
            }
        })
    }

    fn join(&self, _: SocketAddr, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
        Box::pin(async move {
            match &request[..] {
                b"secret" => Ok("welcome".into()),
                b"slow" => std::future::pending().await,
                _ => Err("the token is not known".to_owned()),
            }
        })
    }

    /// By its head: `echo`, `talk` (speaks first), `deaf` (never reads); `slow` never decides, others are refused.
    fn stream(&self, from: NodeName, head: Bytes) -> BoxFuture<'static, Result<Taken, String>> {
        let streams = Arc::clone(&self.streams);
        Box::pin(async move {
            let hold: fn(Stream) -> BoxFuture<'static, ()> = match &head[..] {
                b"echo" => |stream| Box::pin(echo(stream, b"")),
                b"talk" => |stream| Box::pin(echo(stream, b"first")),
                b"deaf" => |stream| {
                    Box::pin(async move {
                        std::future::pending::<()>().await;
                        drop(stream);
                    })
                },
                b"slow" => std::future::pending().await,
                _ => return Err("not this one".to_owned()),
            };
            let hold = move |stream| -> BoxFuture<'static, ()> {
                streams.fetch_add(1, Ordering::SeqCst);
                let held = UnderWay(streams);
                Box::pin(async move {
                    let _held = held;
                    hold(stream).await;
                })
            };
            Ok(Taken { answer: format!("hello {from}").into(), hold: Box::new(hold) })
        })
    }
}

async fn echo(stream: Stream, first: &[u8]) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let echoing = async {
        writer.write_all(first).await?;
        writer.flush().await?;
        tokio::io::copy(&mut reader, &mut writer).await?;
        writer.shutdown().await
    };
    // An error: it was ended.
    _ = echoing.await;
}

pub(crate) struct Node {
    pub(crate) mesh: Mesh,
    pub(crate) name: NodeName,
    pub(crate) answering: Arc<Answering>,
}

impl Node {
    pub(crate) async fn start(authority: &Authority, node: u64, settings: Settings) -> Node {
        Node::at(authority, node, settings, "127.0.0.1:0").await
    }

    pub(crate) async fn at(authority: &Authority, node: u64, settings: Settings, address: &str) -> Node {
        let listener = TcpListener::bind(address).await.unwrap();
        let answering = Arc::new(Answering::default());
        let identity = identity(authority, node, HOUR).unwrap();
        let serve: Arc<dyn Serve> = Arc::clone(&answering) as _;
        let mesh = Mesh::start(identity, listener, settings, serve).await.unwrap();
        Node { mesh, name: NodeName(node), answering }
    }

    pub(crate) fn address(&self) -> String {
        self.mesh.address().to_string()
    }

    pub(crate) fn knows(&self, peers: &[(&Node, &str)]) {
        self.mesh.set_peers(peers.iter().map(|(node, at)| (node.name, (*at).to_owned())).collect());
    }

    pub(crate) async fn ask(&self, to: &Node, lane: Lane, text: &'static str) -> Result<Bytes, Error> {
        self.mesh.call(to.name, lane, vec![Bytes::from_static(text.as_bytes())]).await
    }

    pub(crate) async fn stream(&self, to: &Node, head: &'static str) -> Result<(Bytes, Stream), Error> {
        self.mesh.stream(to.name, Bytes::from_static(head.as_bytes())).await
    }

    pub(crate) fn streams(&self) -> usize {
        self.answering.streams.load(Ordering::SeqCst)
    }

    pub(crate) async fn ask_until(
        &self,
        to: &Node,
        lane: Lane,
        wanted: impl Fn(&Result<Bytes, Error>) -> bool,
    ) {
        for _ in 0..500 {
            if wanted(&self.ask(to, lane, "echo").await) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came: {:?}", self.ask(to, lane, "echo").await);
    }
}

/// Nodes 1 to `count` of one cluster, that know each other.
pub(crate) async fn cluster(count: u64, settings: Settings) -> (Authority, Vec<Node>) {
    let authority = Authority::create(CLUSTER).unwrap();
    let mut nodes = Vec::new();
    for number in 1..=count {
        nodes.push(Node::start(&authority, number, settings).await);
    }
    let peers: BTreeMap<NodeName, String> = nodes.iter().map(|n| (n.name, n.address())).collect();
    nodes.iter().for_each(|node| node.mesh.set_peers(peers.clone()));
    (authority, nodes)
}

/// Node 1 of a cluster, whose other member, node 2, is not there.
pub(crate) async fn lone(settings: Settings) -> (Authority, Node) {
    let authority = Authority::create(CLUSTER).unwrap();
    let one = Node::start(&authority, 1, settings).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    one.mesh.set_peers(BTreeMap::from([(NodeName(2), nobody.to_string())]));
    (authority, one)
}

/// Waits for what happens soon.
pub(crate) async fn soon(what: &str, happened: impl Fn() -> bool) {
    for _ in 0..1000 {
        if happened() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came: {what}");
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Open,
    /// Bytes are taken no more, and stay.
    Held,
    Cut,
}

/// A wire to `to`: connections through it behave as [`Wire::set`] says.
pub(crate) struct Wire {
    pub(crate) address: String,
    flow: watch::Sender<Flow>,
}

impl Wire {
    pub(crate) async fn to(to: String) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (flow, flows) = watch::channel(Flow::Open);
        tokio::spawn(async move {
            while let Ok((here, _)) = listener.accept().await {
                if *flows.borrow() == Flow::Cut {
                    continue;
                }
                let Ok(there) = TcpStream::connect(&to).await else { continue };
                let ((a, b), (c, d)) = (here.into_split(), there.into_split());
                tokio::spawn(carry(a, d, flows.clone()));
                tokio::spawn(carry(c, b, flows.clone()));
            }
        });
        Wire { address, flow }
    }

    pub(crate) fn set(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut flows: watch::Receiver<Flow>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let flow = *flows.borrow_and_update();
        let read = async {
            match flow {
                Flow::Held => std::future::pending().await,
                _ => from.read(&mut buffer).await,
            }
        };
        tokio::select! {
            changed = flows.changed() => {
                if changed.is_err() || *flows.borrow() == Flow::Cut {
                    return;
                }
            }
            read = read => match read {
                Ok(count @ 1..) => if to.write_all(&buffer[..count]).await.is_err() { return },
                _ => return,
            }
        }
    }
}

/// Two nodes, and a wire from the first to the second.
pub(crate) async fn wired(settings: Settings) -> (Vec<Node>, Wire) {
    let (_, nodes) = cluster(2, settings).await;
    let wire = Wire::to(nodes[1].address()).await;
    nodes[0].knows(&[(&nodes[1], &wire.address)]);
    (nodes, wire)
}
