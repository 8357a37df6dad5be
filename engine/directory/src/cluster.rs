//! The records of a cluster, and finding them: its nodes, who may join, where shards are to be, which
//! accounts move.
//!
//! - They say what is wished. What is so, the groups know; the keeper of the server brings one to the other.
//! - The number of a node, and of a shard, is never given out twice: nodes that were removed stay known.
//! - Before a cluster is founded there are none of these, and every shard is on the node that is alone.

use crate::tables::Directory;
use estafette_raft::NodeId;
use estafette_types::{AccountId, ShardId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The node that a cluster begins with, before it is one.
const SOLE_NODE: NodeId = NodeId(1);

/// The rate of moves unless something else was said: some ten thousand messages a second.
const MOVE_RATE_KIB: u32 = 4 * 1024;

/// The key that signs the certificates of nodes. Is shown nowhere, in no log either.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityKey(Vec<u8>);

impl AuthorityKey {
    /// As the maker of certificates writes it.
    pub fn new(bytes: Vec<u8>) -> AuthorityKey {
        AuthorityKey(bytes)
    }

    /// As it was given.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for AuthorityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorityKey(…)")
    }
}

/// What the nodes have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Chosen by chance; certificates name it.
    pub id: [u8; 16],
    /// Of the authority, DER.
    pub authority_certificate: Vec<u8>,
    /// Of the authority. A record, so that any node can take another one in.
    pub authority_key: AuthorityKey,
    /// Replicas of a shard (3), where there are as many nodes.
    pub replicas: u8,
    /// How long a dead node is waited for before it is replaced (10 minutes).
    pub replace_after_ms: u64,
}

/// Whether a node gets replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// It does.
    Active,
    /// It works, but is to be left without any.
    Leaving,
    /// Declared dead by the keeper or an operator: others take over its replicas.
    Dead,
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NodeState::Active => "active",
            NodeState::Leaving => "leaving",
            NodeState::Dead => "dead",
        })
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterNode {
    /// Its number.
    pub id: NodeId,
    /// Where its mesh listens, `host:port`.
    pub address: String,
    /// Its failure domain. A node without one (empty) is a failure domain of its own.
    pub label: String,
    /// Of its public key.
    pub key_hash: [u8; 32],
    /// By the log's time, milliseconds since 1970.
    pub admitted_ms: u64,
    /// Whether it gets replicas.
    pub state: NodeState,
}

/// What stays of a node that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerNode {
    /// Its number.
    pub id: NodeId,
    /// Of its public key.
    pub key_hash: [u8; 32],
    /// By the log's time, milliseconds since 1970.
    pub removed_ms: u64,
}

/// By which one node may join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Of its secret.
    pub secret_hash: [u8; 32],
    /// From this time of the log on it is not taken any more.
    pub expires_ms: u64,
    /// The label of the node that joins with it.
    pub label: Option<String>,
    /// By the log's time, milliseconds since 1970.
    pub made_ms: u64,
    /// Who joined with it.
    pub used_by: Option<NodeId>,
}

impl JoinToken {
    /// How people tell tokens apart: the first digits of the hash.
    pub fn name(&self) -> String {
        token_name(&self.secret_hash)
    }
}

/// Where a shard is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Which.
    pub shard: ShardId,
    /// Each node once, at least one.
    pub replicas: Vec<NodeId>,
    /// Until the shard is placed for the first time, its one node is to begin its group.
    pub begun: bool,
}

/// An account on its way. Its record says `from` until the move is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Whose mailboxes.
    pub account: AccountId,
    /// Where they are.
    pub from: ShardId,
    /// Where they are going to be.
    pub to: ShardId,
    /// Its name, greater than that of each move before: the log's time, milliseconds since 1970, or later where that
    /// was used up.
    pub begun_ms: u64,
}

/// All of these by their names.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ClusterTables {
    pub(crate) cluster: Option<Cluster>,
    pub(crate) nodes: BTreeMap<NodeId, ClusterNode>,
    pub(crate) former_nodes: BTreeMap<NodeId, FormerNode>,
    pub(crate) tokens: BTreeMap<[u8; 32], JoinToken>,
    pub(crate) placements: BTreeMap<ShardId, Placement>,
    pub(crate) moves: BTreeMap<AccountId, Move>,
    /// The highest number that a shard ever had; `None` where shards were never changed since.
    pub(crate) last_shard: Option<ShardId>,
    pub(crate) move_rate_kib: Option<u32>,
    /// The name of the last move that began; `None` where none began since names are kept.
    pub(crate) last_move: Option<u64>,
}

impl Directory {
    /// The cluster, once it is founded.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.cluster.as_ref()
    }

    /// All nodes, in the order of their numbers.
    pub fn nodes(&self) -> impl Iterator<Item = &ClusterNode> {
        self.cluster.nodes.values()
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> Option<&ClusterNode> {
        self.cluster.nodes.get(&id)
    }

    /// A node by the hash of its public key.
    pub fn node_with_key(&self, key_hash: &[u8; 32]) -> Option<&ClusterNode> {
        self.nodes().find(|node| node.key_hash == *key_hash)
    }

    /// A node that was removed.
    pub fn former_node(&self, id: NodeId) -> Option<&FormerNode> {
        self.cluster.former_nodes.get(&id)
    }

    /// A node that was removed, by the hash of its public key.
    pub fn former_node_with_key(&self, key_hash: &[u8; 32]) -> Option<&FormerNode> {
        self.cluster.former_nodes.values().find(|node| node.key_hash == *key_hash)
    }

    /// A token by the hash of its secret; those that were used or ran out too, for a while.
    pub fn token(&self, secret_hash: &[u8; 32]) -> Option<&JoinToken> {
        self.cluster.tokens.get(secret_hash)
    }

    /// All tokens, in the order of their hashes.
    pub fn tokens(&self) -> impl Iterator<Item = &JoinToken> {
        self.cluster.tokens.values()
    }

    /// The name of the last move that began, if that is known.
    pub fn last_move(&self) -> Option<u64> {
        self.cluster.last_move
    }

    /// Where a shard is to be. One that was never placed is on the oldest node: a node can be removed only
    /// once nothing is on it, so that is the founder as long as such a shard is left.
    pub fn placement(&self, shard: ShardId) -> Vec<NodeId> {
        let placed = self.cluster.placements.get(&shard).map(|placement| placement.replicas.clone());
        placed.unwrap_or_else(|| vec![self.oldest_node()])
    }

    /// Where all shards are to be, in the order of their numbers.
    pub fn placements(&self) -> BTreeMap<ShardId, Vec<NodeId>> {
        self.shards.iter().map(|shard| (*shard, self.placement(*shard))).collect()
    }

    /// The node that begins the group of a shard, alone, when it has nothing of it yet. `None` once the
    /// shard was placed: then the others take a node in, and who has nothing waits for them.
    pub fn beginner(&self, shard: ShardId) -> Option<NodeId> {
        match self.cluster.placements.get(&shard) {
            None => Some(self.oldest_node()),
            Some(placement) if placement.begun => None,
            Some(placement) => placement.replicas.first().copied(),
        }
    }

    fn oldest_node(&self) -> NodeId {
        self.cluster.nodes.keys().next().copied().unwrap_or(SOLE_NODE)
    }

    /// All accounts on their way, in the order of their numbers.
    pub fn moves(&self) -> impl Iterator<Item = &Move> {
        self.cluster.moves.values()
    }

    /// Where an account is moving to.
    pub fn move_of(&self, account: AccountId) -> Option<&Move> {
        self.cluster.moves.get(&account)
    }

    /// How fast rows of accounts that move are sent, in KiB per second.
    pub fn move_rate_kib(&self) -> u32 {
        self.cluster.move_rate_kib.unwrap_or(MOVE_RATE_KIB)
    }

    /// The name of the next move: the log's time, unless a move has it already, as time can stand still.
    pub(crate) fn next_move(&self, time_ms: u64) -> u64 {
        let last = self.moves().map(|moving| moving.begun_ms).chain(self.cluster.last_move).max();
        last.map_or(time_ms, |last| time_ms.max(last.saturating_add(1)))
    }

    /// The highest number that a shard ever had; 0 before the first.
    pub(crate) fn last_shard(&self) -> ShardId {
        self.shards.iter().copied().chain(self.cluster.last_shard).max().unwrap_or(ShardId(0))
    }
}

pub(crate) fn token_name(secret_hash: &[u8; 32]) -> String {
    secret_hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
