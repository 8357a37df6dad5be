//! Which groups this node has: those of the shards that the directory places here, and, where it moves accounts, those of
//! the shards between which they move. Other shards are used where they are.
//!
//! The directory says what is wished, the group's own members what is so. A shard is served from here once its rows are
//! whole. A node that is to have a shard no more closes the group, and removes its rows, only once its leader says that
//! this node is no member any more.

use super::Cluster;
use crate::engine::{Engine, EngineError};
use estafette_delivery::ShardMachine;
use estafette_directory::{Move, NodeState, View};
use estafette_raft::{GroupId, NodeId};
use estafette_types::ShardId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Between two looks at the directory.
const LOOK_PAUSE: Duration = Duration::from_millis(300);

/// The shards that this node is to have.
fn wanted(engine: &Engine, placements: &BTreeMap<ShardId, Vec<NodeId>>) -> BTreeSet<ShardId> {
    let own = engine.cluster.id();
    let placed = placements.iter().filter(|(_, nodes)| nodes.contains(&own)).map(|(shard, _)| *shard);
    // Whoever moves accounts reads both sides.
    placed.chain(engine.cluster.shards_of_moves()).collect()
}

/// Opens the groups of the shards that are to be here, and those that are here still; says where the others are.
pub(crate) async fn open_present(engine: &Engine) -> Result<(), EngineError> {
    let placements = engine.directory.read().placements();
    let (wanted, raft) = (wanted(engine, &placements), engine.cluster.raft());
    for (shard, nodes) in &placements {
        let group = GroupId::shard(shard.0);
        engine.shards.is_at(*shard, nodes, || raft.far(group));
        // Its members may still count on this node.
        if !engine.shards.is_open(*shard) && (wanted.contains(shard) || raft.has(group)?) {
            open(engine, *shard).await?;
        }
    }
    Ok(())
}

async fn open(engine: &Engine, shard: ShardId) -> Result<(), EngineError> {
    let begins = engine.directory.read().beginner(shard) == Some(engine.cluster.id());
    let machine =
        Box::new(ShardMachine::new(shard, Arc::clone(&engine.watchers), Arc::clone(&engine.wakeup)));
    let (raft, id) = (engine.cluster.raft(), GroupId::shard(shard.0));
    let group = if begins { raft.open(id, machine).await? } else { raft.join(id, machine).await? };
    // Others may have more of one that does not begin here.
    if begins || !engine.cluster.is_joined() {
        engine.shards.insert(shard, group);
    } else {
        engine.shards.learn(shard, group);
    }
    Ok(())
}

/// Serves from here what has become whole.
pub(crate) async fn look_at_learned(engine: &Engine) {
    let learned = engine.shards.learned().into_iter();
    let looks = learned.map(async |(shard, group)| {
        if group.fresh().await.is_ok() {
            tracing::info!(%shard, "the shard is served from this node");
            engine.shards.insert(shard, group);
        }
    });
    futures_util::future::join_all(looks).await;
}

/// Whether this node is a member of a group, as its leader says; `None` if none of these tells.
async fn is_member(engine: &Engine, group: GroupId, nodes: &[NodeId]) -> Option<bool> {
    for node in nodes {
        if let Some(status) =
            engine.cluster.raft().status_at(*node, group).await.filter(|status| status.leads)
        {
            return Some(status.members.iter().any(|member| member.node == engine.cluster.id()));
        }
    }
    None
}

/// Closes a group that is placed elsewhere, if its members know that, and removes what is here of it.
async fn leave(engine: &Engine, shard: ShardId, replicas: &[NodeId]) -> Result<(), EngineError> {
    let group = GroupId::shard(shard.0);
    if is_member(engine, group, replicas).await != Some(false) {
        return Ok(());
    }
    tracing::info!(%shard, "the shard is elsewhere now: what this node has of it is removed");
    engine.let_go(shard);
    // It may have been taken in again as long as the group was open here.
    let is_out = async { is_member(engine, group, replicas).await == Some(false) };
    Ok(engine.cluster.raft().leave(group, is_out).await?)
}

impl Cluster {
    /// Tells the mesh who the nodes are, as the directory knows them.
    pub(crate) fn follow_directory(&self, directory: &View) {
        if !self.is_joined() {
            return;
        }
        let peers: Vec<(NodeId, String)> =
            directory.read().nodes().map(|node| (node.id, node.address.clone())).collect();
        // Before the first entries have come, the directory knows nobody; those of the token stay then.
        if !peers.is_empty() {
            self.set_peers(peers.into_iter());
        }
    }
}

/// How long all others must have said that this node was removed before it is believed.
const REMOVED_FOR: Duration = Duration::from_secs(15);

/// True if this node was on its way out when it last heard of the others, and now all of them refuse it. One that has only
/// just joined may be refused for a moment too, but knows of no leaving.
fn looks_removed(engine: &Engine) -> bool {
    let own = engine.cluster.id();
    let leaving = engine.directory.read().node(own).is_some_and(|node| node.state == NodeState::Leaving);
    let peers = engine.cluster.peers();
    let refused = |peer: &estafette_mesh::PeerStatus| {
        peer.links.iter().all(|link| link.connected_for.is_none())
            && peer.links.iter().any(|link| {
                link.last_error.as_deref().is_some_and(|words| words.contains(estafette_mesh::REMOVED))
            })
    };
    leaving
        && peers.keys().any(|node| *node != own)
        && peers.iter().filter(|(node, _)| **node != own).all(|(_, peer)| refused(peer))
}

/// Follows the directory as long as the node runs.
pub(super) async fn follow(engine: Arc<Engine>) {
    let mut removed_since: Option<Instant> = None;
    let mut before = Whereabouts::default();
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        match removed_since {
            _ if !engine.cluster.is_joined() || !looks_removed(&engine) => removed_since = None,
            None => removed_since = Some(Instant::now()),
            Some(since) if since.elapsed() > REMOVED_FOR => {
                engine.cluster.removed.store(true, Ordering::Relaxed);
            }
            Some(_) => {}
        }
        engine.cluster.follow_directory(&engine.directory);
        if let Err(error) = look(&engine).await {
            tracing::error!(%error, "a group cannot be opened or closed");
        }
        let now = whereabouts(&engine);
        if now != before {
            engine.tell_who_is_away();
            before = now;
        }
    }
}

/// By what it is seen that an account may have gone elsewhere: the shards that are here, the moves that are under way, and the
/// last that began.
type Whereabouts = (Vec<ShardId>, Vec<Move>, Option<u64>);

fn whereabouts(engine: &Engine) -> Whereabouts {
    let directory = engine.directory.read();
    (engine.shards.all(), directory.moves().copied().collect(), directory.last_move())
}

async fn look(engine: &Engine) -> Result<(), EngineError> {
    open_present(engine).await?;
    look_at_learned(engine).await;
    let placements = engine.directory.read().placements();
    let wanted = wanted(engine, &placements);
    for (shard, replicas) in placements.iter().filter(|(shard, _)| !wanted.contains(shard)) {
        if engine.shards.is_open(*shard) {
            leave(engine, *shard, replicas).await?;
        }
    }
    Ok(())
}
