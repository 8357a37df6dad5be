//! The cluster, its nodes and who may join.
//!
//! Whatever a command of several steps proposes here may be proposed again after a restart: it then gives
//! the same answer and changes nothing.

use super::{DAY_MS, Draft, check_range, check_text};
use crate::cluster::{Cluster, ClusterNode, FormerNode, JoinToken, NodeState, token_name};
use crate::command::{NewCluster, NodeChange, Reply};
use crate::refusal::Refusal;
use crate::rows::{Record, RecordName};
use crate::tables::Directory;
use estafette_raft::NodeId;
use std::net::Ipv6Addr;

/// Nodes of a cluster at most.
const NODES_MAX: usize = 1_000;
/// Join tokens at most, those that were used or ran out with them.
const TOKENS_MAX: usize = 1_000;
/// How long a token is kept after it ran out, so that its node may ask again and others are told why not.
const TOKEN_KEPT_MS: u64 = 7 * DAY_MS;
/// Longest life of a token.
const TOKEN_VALID_MAX_MS: u64 = 30 * DAY_MS;
/// Replicas of a shard unless something else was said.
const REPLICAS: u8 = 3;
/// How long a dead node is waited for unless something else was said.
const REPLACE_AFTER_MS: u64 = 10 * 60 * 1_000;
/// Replicas of a shard at most.
pub(super) const REPLICAS_MAX: u8 = 9;
/// Shortest time that a dead node is waited for.
const REPLACE_AFTER_MIN_MS: u64 = 1_000;
/// Longest time that a dead node is waited for.
const REPLACE_AFTER_MAX_MS: u64 = 30 * DAY_MS;
/// Longest address, in bytes: a name, a colon, a port.
const ADDRESS_MAX: usize = 260;
/// Longest certificate or key of an authority, in bytes.
const AUTHORITY_MAX: usize = 16 * 1_024;

impl Directory {
    pub(super) fn need_node(&self, id: NodeId) -> Result<&ClusterNode, Refusal> {
        let missing = || match self.former_node(id) {
            Some(_) => Refusal::NodeRemoved { node: id.0 },
            None => Refusal::UnknownNode { node: id.0 },
        };
        self.node(id).ok_or_else(missing)
    }

    fn need_cluster(&self) -> Result<&Cluster, Refusal> {
        self.cluster().ok_or(Refusal::NoCluster)
    }

    /// The number that comes next.
    fn next_node(&self) -> Result<NodeId, Refusal> {
        if self.cluster.nodes.len() >= NODES_MAX {
            return Err(Refusal::TooMany { field: "nodes".to_owned(), max: NODES_MAX as u64 });
        }
        let last = self.cluster.nodes.keys().chain(self.cluster.former_nodes.keys()).max();
        last.map_or(0, |id| id.0).checked_add(1).map(NodeId).ok_or(Refusal::Exhausted)
    }

    /// Refuses when no node could be given a shard without this one.
    fn need_active_beside(&self, id: NodeId) -> Result<(), Refusal> {
        let stays = |node: &ClusterNode| node.id != id && node.state == NodeState::Active;
        if self.nodes().any(stays) { Ok(()) } else { Err(Refusal::LastNode) }
    }
}

impl Draft<'_> {
    pub(super) fn found_cluster(&mut self, new: &NewCluster) -> Result<Reply, Refusal> {
        if let Some(cluster) = self.directory.cluster() {
            return if cluster.id == new.id { Ok(Reply::Node(new.node)) } else { Err(Refusal::IsCluster) };
        }
        let authority = new.authority_certificate.len().max(new.authority_key.as_bytes().len());
        if authority > AUTHORITY_MAX {
            return Err(Refusal::TooMany { field: "authority".to_owned(), max: AUTHORITY_MAX as u64 });
        }
        self.put(Record::Cluster(Cluster {
            id: new.id,
            authority_certificate: new.authority_certificate.clone(),
            authority_key: new.authority_key.clone(),
            replicas: REPLICAS,
            replace_after_ms: REPLACE_AFTER_MS,
        }));
        self.put_new_node(new.node, &new.key_hash, &new.address, &new.label)
    }

    /// A node that was not there before; its key and number are the caller's to check.
    fn put_new_node(
        &mut self,
        id: NodeId,
        key_hash: &[u8; 32],
        address: &str,
        label: &str,
    ) -> Result<Reply, Refusal> {
        check_address(address)?;
        check_text("label", label, true)?;
        self.notes.object = node_name(id);
        self.notes.set("address", address);
        self.notes.set("label", label);
        self.put(Record::Node(ClusterNode {
            id,
            address: address.to_owned(),
            label: label.to_owned(),
            key_hash: *key_hash,
            admitted_ms: self.time_ms,
            state: NodeState::Active,
        }));
        Ok(Reply::Node(id))
    }

    pub(super) fn set_cluster_settings(
        &mut self,
        replicas: u8,
        replace_after_ms: u64,
    ) -> Result<Reply, Refusal> {
        let before = self.directory.need_cluster()?;
        check_range("replicas", replicas.into(), 1, REPLICAS_MAX.into())?;
        let (min, max) = (REPLACE_AFTER_MIN_MS, REPLACE_AFTER_MAX_MS);
        check_range("replace-after-ms", replace_after_ms, min, max)?;
        self.notes.changed("replicas", Some(before.replicas), Some(replicas));
        self.notes.changed("replace-after-ms", Some(before.replace_after_ms), Some(replace_after_ms));
        self.put(Record::Cluster(Cluster { replicas, replace_after_ms, ..before.clone() }));
        Ok(Reply::Done)
    }

    pub(super) fn create_token(
        &mut self,
        secret_hash: &[u8; 32],
        valid_ms: u64,
        label: Option<&str>,
    ) -> Result<Reply, Refusal> {
        self.directory.need_cluster()?;
        check_range("valid-ms", valid_ms, 1, TOKEN_VALID_MAX_MS)?;
        check_text("label", label.unwrap_or_default(), true)?;
        self.notes.object = token_name(secret_hash);
        if self.directory.token(secret_hash).is_some() {
            return Ok(Reply::Done);
        }
        if self.drop_old_tokens() >= TOKENS_MAX {
            return Err(Refusal::TooMany { field: "join tokens".to_owned(), max: TOKENS_MAX as u64 });
        }
        self.notes.set("valid-ms", valid_ms);
        self.notes.changed("label", None, label);
        self.put(Record::JoinToken(JoinToken {
            secret_hash: *secret_hash,
            expires_ms: self.time_ms.saturating_add(valid_ms),
            label: label.map(str::to_owned),
            made_ms: self.time_ms,
            used_by: None,
        }));
        Ok(Reply::Done)
    }

    /// Removes what ran out long ago; how many stay.
    fn drop_old_tokens(&mut self) -> usize {
        let is_old = |token: &&JoinToken| token.expires_ms.saturating_add(TOKEN_KEPT_MS) <= self.time_ms;
        let old: Vec<[u8; 32]> = self.directory.tokens().filter(is_old).map(|t| t.secret_hash).collect();
        let stay = self.directory.tokens().count().saturating_sub(old.len());
        old.into_iter().for_each(|secret_hash| self.remove(RecordName::JoinToken(secret_hash)));
        stay
    }

    pub(super) fn revoke_token(&mut self, secret_hash: &[u8; 32]) -> Result<Reply, Refusal> {
        self.notes.object = token_name(secret_hash);
        match self.directory.token(secret_hash) {
            Some(JoinToken { used_by: Some(node), .. }) => Err(Refusal::TokenUsed { node: node.0 }),
            Some(_) => {
                self.remove(RecordName::JoinToken(*secret_hash));
                Ok(Reply::Done)
            }
            None => Ok(Reply::Done),
        }
    }

    pub(super) fn admit_node(
        &mut self,
        secret_hash: &[u8; 32],
        key_hash: &[u8; 32],
        address: &str,
        label: &str,
    ) -> Result<Reply, Refusal> {
        self.directory.need_cluster()?;
        let token = self.directory.token(secret_hash).ok_or(Refusal::UnknownToken)?;
        if let Some(former) = self.directory.former_node_with_key(key_hash) {
            return Err(Refusal::NodeRemoved { node: former.id.0 });
        }
        let known = self.directory.node_with_key(key_hash);
        match token.used_by {
            Some(node) if known.is_none_or(|known| known.id != node) => {
                return Err(Refusal::TokenUsed { node: node.0 });
            }
            None if token.expires_ms <= self.time_ms => return Err(Refusal::TokenExpired),
            _ => {}
        }
        let id = known.map_or_else(|| self.directory.next_node(), |known| Ok(known.id))?;
        self.notes.set("token", token.name());
        self.put(Record::JoinToken(JoinToken { used_by: Some(id), ..token.clone() }));
        if known.is_some() {
            self.change_node(id, &NodeChange::Address(address.to_owned()))?;
            return Ok(Reply::Node(id));
        }
        self.put_new_node(id, key_hash, address, token.label.as_deref().unwrap_or(label))
    }

    pub(super) fn change_node(&mut self, id: NodeId, change: &NodeChange) -> Result<Reply, Refusal> {
        let mut node = self.directory.need_node(id)?.clone();
        self.notes.object = node_name(id);
        match change {
            NodeChange::Address(address) => {
                check_address(address)?;
                self.notes.changed("address", Some(&node.address), Some(address));
                node.address.clone_from(address);
            }
            NodeChange::Label(label) => {
                check_text("label", label, true)?;
                self.notes.changed("label", Some(&node.label), Some(label));
                node.label.clone_from(label);
            }
            NodeChange::State(state) => {
                if node.state == NodeState::Active && *state != NodeState::Active {
                    self.directory.need_active_beside(id)?;
                }
                self.notes.changed("state", Some(node.state), Some(*state));
                node.state = *state;
            }
        }
        self.put(Record::Node(node));
        Ok(Reply::Done)
    }

    pub(super) fn remove_node(&mut self, id: NodeId) -> Result<Reply, Refusal> {
        self.notes.object = node_name(id);
        if self.directory.former_node(id).is_some() {
            return Ok(Reply::Done);
        }
        let node = self.directory.need_node(id)?;
        let shards = self.directory.placements().values().filter(|replicas| replicas.contains(&id)).count();
        if shards > 0 {
            return Err(Refusal::NodeInUse { node: id.0, shards: shards as u64 });
        }
        self.directory.need_active_beside(id)?;
        self.notes.changed("address", Some(&node.address), None);
        self.remove(RecordName::Node(id));
        let removed_ms = self.time_ms;
        self.put(Record::FormerNode(FormerNode { id, key_hash: node.key_hash, removed_ms }));
        Ok(Reply::Done)
    }
}

fn node_name(id: NodeId) -> String {
    format!("node {id}")
}

/// `host:port`, where a host is a name, an IPv4 address, or an IPv6 address in brackets.
fn check_address(address: &str) -> Result<(), Refusal> {
    let bad_char = |c: char| c.is_whitespace() || c.is_control();
    let is_host = |host: &str| match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok()),
        None => !host.is_empty() && !host.contains(|c| c == ':' || bad_char(c)),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let parts = address.rsplit_once(':').filter(|_| address.len() <= ADDRESS_MAX);
    match parts {
        Some((host, port)) if is_host(host) && is_port(port) => Ok(()),
        _ => Err(Refusal::InvalidNodeAddress { address: address.chars().take(ADDRESS_MAX).collect() }),
    }
}
