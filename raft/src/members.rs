//! The members of a group, and how they stand.

use std::collections::BTreeSet;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Instant as _, ServerState};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::Error;
use crate::peers::wire::{Ask, Done, Refused, Told};
use crate::peers::{Hub, serve};
use crate::standing::Leader;
use crate::{Group, GroupId, Lane, NodeId};

/// Entries that a replica may lack which is as good as up to date: it has them a moment later.
const CLOSE_LAG_MAX: u64 = 64;

/// How a group stands, as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The group.
    pub group: GroupId,
    /// Who leads, if that is known.
    pub leader: Option<NodeId>,
    /// Whether this node does.
    pub leads: bool,
    /// The current term.
    pub term: u64,
    /// Index of the last entry in the log.
    pub last: Option<u64>,
    /// Index of the last entry applied.
    pub applied: Option<u64>,
    /// The state up to this index is known to be durable without the log.
    pub snapshot: Option<u64>,
    /// Entries up to this index have been removed from the log.
    pub purged: Option<u64>,
    /// Voters in the effective membership.
    pub voters: usize,
    /// All members, in the order of their numbers.
    pub members: Vec<MemberStatus>,
    /// Milliseconds since a majority last answered the leader; none unless this node leads several voters.
    pub quorum_ms: Option<u64>,
    /// Whether the group works; if not, proposals tell why.
    pub running: bool,
    /// True if a change of the voters has begun and not ended: a majority of both the old and the new ones is needed. Not
    /// told by nodes of the first builds.
    #[serde(deserialize_with = "or_false")]
    pub joint: bool,
}

/// What was added at the end of a value may not be there.
fn or_false<'a, D: Deserializer<'a>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(bool::deserialize(deserializer).unwrap_or_default())
}

/// A member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Which node.
    pub node: NodeId,
    /// Whether it votes; who does not learns.
    pub votes: bool,
    /// Index of the last entry that it is known to have. Known to the leader alone.
    pub has: Option<u64>,
}

/// A change of the members of a group, or of who leads it. Carried out by its leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Adds a node that is sent the log and does not vote. Does not wait until it has all.
    AddLearner(NodeId),
    /// All who vote from now on; each must be a member. Who voted and no longer does is no member any more. Ends a change
    /// that a leader began and did not live to end.
    Voters(BTreeSet<NodeId>),
    /// Removes a node that does not vote.
    RemoveLearner(NodeId),
    /// Asks another voter to lead; done as soon as that is ordered.
    LeadBy(NodeId),
}

impl Status {
    /// The nodes that vote.
    #[must_use]
    pub fn voting(&self) -> BTreeSet<NodeId> {
        self.members.iter().filter(|member| member.votes).map(|member| member.node).collect()
    }

    /// Entries that a member lacks, as its leader knows.
    #[must_use]
    pub fn lag(&self, node: NodeId) -> Option<u64> {
        let member = self.members.iter().find(|member| member.node == node)?;
        Some(self.last?.saturating_sub(member.has?))
    }

    /// True if a member is known to have nearly all entries. Known to the leader alone.
    #[must_use]
    pub fn is_close(&self, node: NodeId) -> bool {
        self.lag(node).is_some_and(|lag| lag <= CLOSE_LAG_MAX)
    }
}

impl Group {
    /// How the group stands, as this node knows it.
    #[must_use]
    pub fn status(&self) -> Status {
        let metrics = self.0.raft.metrics();
        let now = metrics.borrow_watched();
        let membership = now.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let has = |node: u64| match &now.replication {
            Some(_) if node == now.id => now.last_log_index,
            Some(replication) => replication.get(&node).and_then(|id| id.as_ref()).map(|id| id.index),
            None => None,
        };
        let member =
            |node: u64| MemberStatus { node: NodeId(node), votes: voters.contains(&node), has: has(node) };
        let leads = now.state == ServerState::Leader;
        Status {
            group: self.id(),
            leader: now.current_leader.map(NodeId),
            leads,
            term: now.current_term,
            last: now.last_log_index,
            applied: now.last_applied.as_ref().map(|id| id.index),
            snapshot: now.snapshot.as_ref().map(|id| id.index),
            purged: now.purged.as_ref().map(|id| id.index),
            voters: voters.len(),
            members: membership.nodes().map(|(node, ())| member(*node)).collect(),
            quorum_ms: now
                .last_quorum_acked
                .filter(|_| leads && voters.len() > 1)
                .map(|acked| u64::try_from(acked.elapsed().as_millis()).unwrap_or(u64::MAX)),
            joint: membership.get_joint_config().len() > 1,
            running: now.running_state.is_ok() && self.0.shared.fault.seen().is_none() && self.writes(),
        }
    }

    /// A group that has nothing to write has not noticed yet that it cannot.
    fn writes(&self) -> bool {
        self.0.hub.store.health() != estafette_storage::Health::Failed
    }

    /// Who could lead in this node's stead: the voters who lack little, those with most of the log first.
    pub(crate) fn heirs(&self) -> Vec<NodeId> {
        let (status, own) = (self.status(), self.0.hub.id);
        let others = status.members.iter().filter(|member| member.votes && member.node != own);
        let close = others.filter(|member| status.is_close(member.node));
        let mut heirs: Vec<_> =
            close.filter_map(|member| Some((status.lag(member.node)?, member.node))).collect();
        heirs.sort_unstable();
        heirs.into_iter().map(|(_, node)| node).collect()
    }

    /// How the group stands, as its leader knows it.
    ///
    /// # Errors
    /// [`Error::NotLeader`] if no leader answers.
    pub async fn status_of_leader(&self) -> Result<Status, Error> {
        let group = self.id();
        match self.0.standing.leader() {
            Leader::Here => Ok(self.status()),
            Leader::Nobody => Err(Error::NotLeader { group, leader: None }),
            Leader::There(leader) => match self.0.hub.ask(leader, Lane::Urgent, group, Ask::Status, []).await
            {
                Ok(Told::Value(status)) => Ok(status),
                _ => Err(Error::NotLeader { group, leader: Some(leader) }),
            },
        }
    }

    /// Has the leader carry out an order.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::Members`].
    pub async fn order(&self, order: Order) -> Result<(), Error> {
        match self.0.standing.leader() {
            Leader::Nobody => Err(Error::NotLeader { group: self.id(), leader: None }),
            Leader::Here => done(self.id(), self.0.hub.id, serve::carry_out(self, order).await),
            Leader::There(leader) => self.0.hub.order(leader, self.id(), order).await,
        }
    }
}

impl Hub {
    /// Has a node carry out an order as the leader of a group.
    ///
    /// # Errors
    /// As [`Group::order`].
    pub(crate) async fn order(&self, leader: NodeId, group: GroupId, order: Order) -> Result<(), Error> {
        let told = match self.ask::<Done>(leader, Lane::Entries, group, Ask::Members(order), []).await {
            Ok(Told::Value(())) => Ok(()),
            Ok(Told::Refused(refused)) => Err(refused),
            Err(unreached) => Err(Refused::Because(unreached.to_string())),
        };
        done(group, leader, told)
    }
}

fn done(group: GroupId, leader: NodeId, told: Result<(), Refused>) -> Result<(), Error> {
    told.map_err(|refused| match refused {
        Refused::NotLeader(leader) => Error::NotLeader { group, leader: leader.map(NodeId) },
        Refused::Because(reason) => Error::Members { group, reason },
        _ => Error::NotLeader { group, leader: Some(leader) },
    })
}
