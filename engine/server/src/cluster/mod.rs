//! This node's part in a cluster: who it is, how it reaches the others, which groups it has.
//!
//! - `identity`: what lies in `cluster/` of the data folder, and the token by which a node joins.
//! - `link`: gives the mesh to the groups as their transport, and their answers to the mesh.
//! - `found` and `admit`: how a cluster begins, and how it takes nodes in.
//! - `groups`: opens and closes groups as the directory says.
//! - `keeper`: on the leader of the control group alone; changes members of groups until they are where they are to be;
//!   `members` has the steps of one.
//! - `mover`: likewise; sees to the moves of accounts to other shards, each carried out by `moving`, at the rate
//!   that `pace` keeps. `rebalance` plans some.
//! - `replicas`: whether replicas can be relied on.
//! - `mender`: fetches bodies that are missing or damaged here, likewise at a rate.
//! - `crowds`: what the others know of the sessions here, for the limit of one address.
//! - `farewell`: nodes that stop together wait for each other.
//! - `failure`: what is said of a store that failed, and whether the node ends.
//! - `questions`: what is read of shards, wherever they are.
//! - `report`: how the cluster stands, and who may be stopped.
//!
//! A node that never heard of a cluster is one of one: none of this runs, and the groups have no peers.

mod admit;
mod crowds;
mod failure;
mod farewell;
mod found;
mod groups;
mod identity;
mod keeper;
mod link;
mod members;
mod mender;
mod mover;
mod moving;
mod pace;
mod questions;
mod rebalance;
mod replicas;
mod report;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use admit::join;
pub(crate) use failure::{Failure, is_dispensable};
pub(crate) use found::TOKEN_VALID_MS;
pub(crate) use groups::{look_at_learned, open_present};
pub(crate) use identity::{ClusterError, JoinToken, Kept, was_removed};
pub(crate) use link::{Doorway, Link};
pub(crate) use mender::bring;
#[cfg(test)]
pub(crate) use mover::run as move_accounts;
pub(crate) use questions::Usage;
pub(crate) use rebalance::plan;
pub(crate) use report::{Comparison, Report};

use crate::config::ClusterConfig;
use crate::engine::Engine;
use crate::sweep;
use bytes::Bytes;
use estafette_directory::View;
use estafette_mesh::{Mesh, NodeName, PeerStatus, Stream};
use estafette_raft::{GroupId, Node as RaftNode, NodeId, Status};
use estafette_types::{AccountId, ShardId};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The identifier of a node that is alone, and of the first one of a cluster.
pub(crate) const SOLE_NODE: NodeId = NodeId(1);

/// See the head of this module.
pub(crate) struct Cluster {
    data: PathBuf,
    settings: ClusterConfig,
    raft: Arc<RaftNode>,
    link: Arc<Link>,
    kept: RwLock<Option<Arc<Kept>>>,
    /// All others say that this node was removed.
    removed: AtomicBool,
    /// Why accounts do not move, in words; only where the mover is.
    move_troubles: Mutex<BTreeMap<AccountId, String>>,
    /// What the mover needs here; only where the mover is.
    shards_of_moves: Mutex<BTreeSet<ShardId>>,
    /// Sessions at other nodes.
    crowds: crowds::Crowds,
    ending: farewell::Ending,
    /// Counts those who were sent to other nodes.
    turns: AtomicUsize,
}

impl Cluster {
    /// Of a node that is about to start. `kept`: who it is, if it belongs to a cluster.
    pub(crate) fn new(
        data: PathBuf,
        settings: ClusterConfig,
        raft: Arc<RaftNode>,
        link: Arc<Link>,
        kept: Option<Kept>,
    ) -> Cluster {
        let kept = RwLock::new(kept.map(Arc::new));
        let removed = AtomicBool::new(false);
        Cluster {
            data,
            settings,
            raft,
            link,
            kept,
            removed,
            move_troubles: Mutex::default(),
            shards_of_moves: Mutex::default(),
            crowds: crowds::Crowds::default(),
            ending: farewell::Ending::default(),
            turns: AtomicUsize::new(0),
        }
    }

    /// This node.
    pub(crate) fn id(&self) -> NodeId {
        self.kept.read().as_ref().map_or(SOLE_NODE, |kept| kept.node)
    }

    /// True if the node belongs to a cluster.
    pub(crate) fn is_joined(&self) -> bool {
        self.kept.read().is_some()
    }

    pub(crate) fn raft(&self) -> &Arc<RaftNode> {
        &self.raft
    }

    fn mesh(&self) -> Option<Mesh> {
        self.link.mesh()
    }

    /// Begins to speak to the others, with those that the node knew when it joined.
    pub(crate) async fn connect(&self) -> Result<(), ClusterError> {
        let Some(kept) = self.kept.read().clone() else { return Ok(()) };
        let listener = self.listener().await?;
        self.link.start(kept.identity()?, listener, Arc::clone(&self.raft)).await?;
        self.set_peers(kept.peers.iter().cloned());
        Ok(())
    }

    /// Listens for other nodes; of all addresses IPv6 and IPv4 together where the system has both.
    async fn listener(&self) -> Result<TcpListener, ClusterError> {
        let address = self.settings.listen;
        let mut problem = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        for candidate in address.candidates() {
            match TcpListener::bind(candidate).await {
                Ok(listener) => return Ok(listener),
                Err(source) => problem = source,
            }
        }
        Err(ClusterError::Listen { address, source: problem })
    }

    fn set_peers(&self, peers: impl Iterator<Item = (NodeId, String)>) {
        if let Some(mesh) = self.mesh() {
            mesh.set_peers(peers.map(|(node, address)| (NodeName(node.0), address)).collect());
        }
    }

    /// How the other nodes are reached.
    pub(crate) fn peers(&self) -> BTreeMap<NodeId, PeerStatus> {
        let peers = self.mesh().map(|mesh| mesh.peers()).unwrap_or_default();
        peers.into_iter().map(|peer| (NodeId(peer.node.0), peer)).collect()
    }

    /// True if a node is this one, or a connection to it stands.
    pub(crate) fn reaches(&self, node: NodeId) -> bool {
        node == self.id()
            || self
                .peers()
                .get(&node)
                .is_some_and(|peer| peer.links.iter().any(|link| link.connected_for.is_some()))
    }

    /// The other nodes that have a shard and are reached, those first that are to be asked first.
    pub(crate) fn hosts_of(&self, directory: &View, shard: ShardId) -> Vec<NodeId> {
        let mut placed = directory.read().placement(shard);
        // In turns, so that all of them have about as much to do.
        let turn = self.turns.fetch_add(1, Ordering::Relaxed).checked_rem(placed.len());
        placed.rotate_left(turn.unwrap_or(0));
        placed.retain(|node| *node != self.id() && self.reaches(*node));
        placed
    }

    /// Opens a stream to another node, which says by its answer to `head` that it takes it.
    pub(crate) async fn stream(&self, to: NodeId, head: Bytes) -> Result<(Bytes, Stream), ClusterError> {
        let mesh = self.mesh().ok_or(ClusterError::Alone)?;
        // What it takes to be believed is not for the thread of a session. It is given up with this future.
        let mut opening = JoinSet::new();
        opening.spawn(mesh.stream(NodeName(to.0), head));
        match opening.join_next().await {
            Some(Ok(opened)) => Ok(opened?),
            _ => Err(ClusterError::Cut),
        }
    }

    /// Streams of other nodes are taken there from now on, as long as it is held elsewhere.
    pub(crate) fn open_doorway(&self, doorway: Weak<dyn Doorway>) {
        self.link.open_doorway(doorway);
    }

    /// Why an account cannot be moved, in words; known where the mover is.
    pub(crate) fn move_trouble(&self, account: AccountId) -> Option<String> {
        self.move_troubles.lock().get(&account).cloned()
    }

    /// The shards that this node needs to move accounts, whoever else has them.
    fn shards_of_moves(&self) -> BTreeSet<ShardId> {
        self.shards_of_moves.lock().clone()
    }

    /// Starts what goes on as long as the node runs.
    pub(crate) fn start(self: &Arc<Self>, engine: &Arc<Engine>, tasks: &mut JoinSet<()>) {
        self.link.open_door(Arc::downgrade(engine));
        tasks.spawn(groups::follow(Arc::clone(engine)));
        tasks.spawn(greet(Arc::clone(self)));
        tasks.spawn(crowds::tell(Arc::clone(engine)));
        tasks.spawn(keeper::keep(Arc::clone(engine)));
        tasks.spawn(mover::run(Arc::clone(engine)));
        tasks.spawn(sweep::keep(Arc::clone(engine)));
        tasks.spawn(mender::mend(Arc::clone(engine)));
        tasks.spawn(mender::repair(Arc::clone(engine)));
        tasks.spawn(mender::scrub(Arc::clone(engine)));
        tasks.spawn(renew(Arc::downgrade(engine)));
    }

    /// True once all others have said for a while that this node was removed from the cluster.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    /// Leaves a mark that this node was removed, for whoever waits until it has left.
    pub(crate) fn mark_removed(&self) {
        if let Err(error) = identity::mark_removed(&self.data) {
            tracing::error!(%error, "that this node was removed cannot be noted in its data folder");
        }
    }

    /// How a group stands, as its leader knows it; found by way of any node if this one has none of the group.
    async fn status(&self, directory: &View, group: GroupId) -> Option<Status> {
        if let Some(here) = self.raft.group(group)
            && let Ok(status) = here.status_of_leader().await
        {
            return Some(status);
        }
        for node in self.likely(directory, group).into_iter().filter(|node| self.reaches(*node)) {
            let Some(status) = self.raft.status_at(node, group).await else { continue };
            if status.leads {
                return Some(status);
            }
            let Some(leader) = status.leader.filter(|leader| *leader != node) else { continue };
            if let Some(status) = self.raft.status_at(leader, group).await.filter(|status| status.leads) {
                return Some(status);
            }
        }
        None
    }

    /// All nodes, those first that are said to have a group.
    fn likely(&self, directory: &View, group: GroupId) -> Vec<NodeId> {
        let directory = directory.read();
        let shard = directory.shards().iter().find(|shard| GroupId::shard(shard.0) == group);
        let mut nodes = shard.map(|shard| directory.placement(*shard)).unwrap_or_default();
        let others: Vec<NodeId> =
            directory.nodes().map(|node| node.id).filter(|node| !nodes.contains(node)).collect();
        nodes.extend(others);
        nodes
    }

    /// Has the other nodes that are reached know the directory as it is; one that takes long is not waited for.
    pub(crate) async fn have_others_catch_up(&self) {
        let others = self.peers().into_keys().filter(|node| self.reaches(*node));
        let told = others.map(|node| tokio::time::timeout(CATCH_UP_WAIT, self.link.have_catch_up(node)));
        futures_util::future::join_all(told).await;
    }

    /// Ends all connections.
    pub(crate) async fn shutdown(&self) {
        if let Some(mesh) = self.mesh() {
            mesh.shutdown().await;
        }
    }
}

/// How long a change of the directory waits for one other node to know it.
const CATCH_UP_WAIT: std::time::Duration = std::time::Duration::from_millis(250);

/// Between two greetings.
const GREET_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// Calls those who are not reached: a node that is new has nothing to say to the others by itself, and the keeper takes
/// in whom it reaches.
async fn greet(cluster: Arc<Cluster>) {
    loop {
        tokio::time::sleep(GREET_PAUSE).await;
        let away: Vec<NodeId> = cluster.peers().into_keys().filter(|node| !cluster.reaches(*node)).collect();
        futures_util::future::join_all(away.iter().map(|node| cluster.raft.is_whole(*node))).await;
    }
}

/// Between two looks at how long the certificate is still good.
const RENEW_PAUSE: std::time::Duration = std::time::Duration::from_secs(6 * 3600);

/// Makes a new certificate in good time: the authority's key is a record that every node has.
async fn renew(engine: Weak<Engine>) {
    loop {
        tokio::time::sleep(RENEW_PAUSE).await;
        let Some(engine) = engine.upgrade() else { return };
        match engine.cluster.renew(&engine) {
            Ok(true) => tracing::info!("this node has a new certificate for the mesh"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the certificate for the mesh cannot be renewed"),
        }
    }
}
