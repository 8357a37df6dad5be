//! Nodes in one process, and a network between them that can be cut.
#![allow(dead_code, unreachable_pub)] // Not every test uses all of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use estafette_raft::{Call, Group, GroupId, Lane, Node, NodeId, Order, Settings, Transport, Unreached};
use estafette_storage::Store;

use crate::counter::{self, Counter};

pub const GROUP: GroupId = GroupId::shard(0);
/// Longest wait for anything.
pub const LONG: Duration = Duration::from_secs(30);

/// Who is there, and between whom nothing passes.
#[derive(Default)]
pub struct Net {
    nodes: Mutex<BTreeMap<NodeId, Arc<Node>>>,
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
    /// Requests with entries come so many milliseconds late, in turns.
    pub late_ms: Mutex<Vec<u64>>,
    turn: AtomicUsize,
    /// After so many milliseconds the next bulk request is given up while it is served; the last one goes first.
    pub impatient_ms: Mutex<Vec<u64>>,
    /// Bytes of requests, by who sent them to whom.
    sent: Mutex<BTreeMap<(NodeId, NodeId), u64>>,
}

/// A node's end of the net.
struct End(NodeId, Arc<Net>);

impl Transport for End {
    fn call(&self, to: NodeId, lane: Lane, request: Vec<Bytes>) -> Call {
        let (from, net) = (self.0, Arc::clone(&self.1));
        let request = Bytes::from(request.concat());
        *net.sent.lock().unwrap().entry((from, to)).or_default() += request.len() as u64;
        Box::pin(async move {
            if lane == Lane::Entries {
                tokio::time::sleep(net.late()).await;
            }
            let node = net.nodes.lock().unwrap().get(&to).cloned();
            let node = node.filter(|_| net.passes(from, to)).ok_or(Unreached::NotSent)?;
            let patience = (lane == Lane::Bulk).then(|| net.impatient_ms.lock().unwrap().pop()).flatten();
            let served = tokio::spawn(async move {
                let patience = patience.map_or(LONG, Duration::from_millis);
                tokio::time::timeout(patience, node.serve(from, request)).await
            });
            let answer = tokio::time::timeout(Duration::from_secs(5), served).await;
            let answer = answer.map_err(|_| Unreached::NoAnswer)?.map_err(|_| Unreached::NoAnswer)?;
            let answer = answer.map_err(|_| Unreached::NoAnswer)?;
            if net.passes(to, from) { Ok(answer) } else { Err(Unreached::NoAnswer) }
        })
    }
}

impl Net {
    fn passes(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.lock().unwrap().contains(&(from, to))
    }

    fn late(&self) -> Duration {
        let late_ms = self.late_ms.lock().unwrap();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(late_ms.len());
        Duration::from_millis(turn.map_or(0, |turn| late_ms[turn]))
    }

    /// Bytes that went from one node to another so far.
    pub fn sent(&self, from: u64, to: u64) -> u64 {
        self.sent.lock().unwrap().get(&(NodeId(from), NodeId(to))).copied().unwrap_or(0)
    }

    /// Cuts a node off from these, in both directions.
    pub fn cut(&self, node: u64, others: &[u64]) {
        let mut cut = self.cut.lock().unwrap();
        for other in others {
            cut.extend([(NodeId(node), NodeId(*other)), (NodeId(*other), NodeId(node))]);
        }
    }

    pub fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }
}

/// A node of the cluster with its one group.
pub struct Member {
    pub id: u64,
    pub folder: PathBuf,
    pub store: Store,
    pub node: Arc<Node>,
    pub group: Group,
    net: Arc<Net>,
}

impl Member {
    pub async fn start(
        net: &Arc<Net>,
        folder: PathBuf,
        id: u64,
        founder: bool,
        settings: Settings,
    ) -> Member {
        let store = counter::store(&folder);
        let end = Arc::new(End(NodeId(id), Arc::clone(net)));
        let node = Arc::new(Node::connected(store.clone(), NodeId(id), end, settings).unwrap());
        let machine = Box::new(Counter::new(7));
        let group = if founder { node.open(GROUP, machine).await } else { node.join(GROUP, machine).await };
        net.nodes.lock().unwrap().insert(NodeId(id), Arc::clone(&node));
        Member { id, folder, store, node, group: group.unwrap(), net: Arc::clone(net) }
    }

    /// A node of the net without the group.
    pub fn outside(net: &Arc<Net>, folder: PathBuf, id: u64) -> Arc<Node> {
        let end = Arc::new(End(NodeId(id), Arc::clone(net)));
        let settings = Settings { propose_wait_ms: 3_000, ..settings(&folder) };
        Arc::new(Node::connected(counter::store(&folder), NodeId(id), end, settings).unwrap())
    }

    /// Ends the node; its folder stays.
    pub async fn stop(self) -> PathBuf {
        self.net.nodes.lock().unwrap().remove(&NodeId(self.id));
        self.node.shutdown().await;
        self.folder
    }

    pub fn count(&self, id: u64) -> u64 {
        counter::count(&self.store, 7, id)
    }
}

pub fn settings(folder: &std::path::Path) -> Settings {
    Settings { heartbeat_ms: 100, ..counter::settings(folder) }
}

/// Nodes 1 to `nodes`, all voting, led by one of them.
pub async fn cluster(root: &std::path::Path, nodes: u64) -> (Arc<Net>, Vec<Member>) {
    cluster_with(root, nodes, |settings| settings).await
}

pub async fn cluster_with(
    root: &std::path::Path,
    nodes: u64,
    change: impl Fn(Settings) -> Settings,
) -> (Arc<Net>, Vec<Member>) {
    let net = Arc::new(Net::default());
    let mut members = Vec::new();
    for id in 1..=nodes {
        let folder = root.join(id.to_string());
        let settings = change(settings(&folder));
        members.push(Member::start(&net, folder, id, id == 1, settings).await);
    }
    members[0].group.ready().await.unwrap();
    for id in 2..=nodes {
        members[0].group.order(Order::AddLearner(NodeId(id))).await.unwrap();
    }
    members[0].group.order(Order::Voters((1..=nodes).map(NodeId).collect())).await.unwrap();
    for member in &members {
        member.group.fresh().await.unwrap();
    }
    (net, members)
}

/// Waits until it holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "{what}: not within {LONG:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The one who leads, according to himself.
pub async fn leader(members: &[Member]) -> usize {
    let start = Instant::now();
    loop {
        let leads = members.iter().position(|member| member.group.status().leads);
        if let Some(leads) = leads {
            return leads;
        }
        assert!(start.elapsed() < LONG, "nobody leads");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// All replicas are at the same index and have the same rows.
pub async fn equal(members: &[Member]) {
    let mut sums = Vec::new();
    for member in members {
        member.group.fresh().await.unwrap();
        sums.push(member.group.checksum().await.unwrap());
    }
    assert!(sums.windows(2).all(|two| two[0] == two[1]), "{sums:?}");
}
