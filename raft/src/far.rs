//! A group that other nodes have, as a node without it uses it: proposals go to whoever leads it.
//!
//! Whom to ask first is told from outside ([`FarGroup::is_at`]) and learned from refusals. Nothing is read here: there
//! are no rows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::error::Error;
use crate::group::Limits;
use crate::peers::Hub;
use crate::peers::forward;
use crate::{GroupId, NodeId, Proposal, Until};

/// Between two tries when nobody who was asked knew a leader.
const LEADER_PAUSE: Duration = Duration::from_millis(50);

/// See the head of this module. Cheap to clone.
#[derive(Clone)]
pub struct FarGroup(Arc<Far>);

struct Far {
    hub: Arc<Hub>,
    group: GroupId,
    limits: Limits,
    /// Who has the group; the one to ask next stands first.
    nodes: Mutex<VecDeque<NodeId>>,
}

impl FarGroup {
    pub(crate) fn new(hub: Arc<Hub>, group: GroupId, limits: Limits) -> FarGroup {
        FarGroup(Arc::new(Far { hub, group, limits, nodes: Mutex::default() }))
    }

    /// The group's name.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.0.group
    }

    /// Says who has the group now.
    pub fn is_at(&self, nodes: &[NodeId]) {
        let mut known = self.0.nodes.lock();
        known.retain(|node| nodes.contains(node));
        let new: Vec<NodeId> = nodes.iter().copied().filter(|node| !known.contains(node)).collect();
        known.extend(new);
    }

    /// Has the group's leader carry out a proposal: durable and applied there when it answers. Waits a bounded time for a
    /// leader.
    ///
    /// # Errors
    /// As [`crate::Group::propose`].
    pub async fn propose(&self, proposal: Proposal) -> Result<Bytes, Error> {
        let (bytes, limit) = (proposal.command.len(), self.0.limits.command_bytes_max);
        if bytes > limit {
            return Err(Error::TooLarge { bytes, limit });
        }
        let group = self.id();
        let until = Instant::now() + self.0.limits.propose_wait;
        loop {
            // One round: as many as there are may have to be asked until one knows who leads.
            let count = self.0.nodes.lock().len();
            for _ in 0..=count {
                let first = self.0.nodes.lock().front().copied();
                let Some(to) = first else { break };
                match forward::propose(&self.0.hub, to, group, &proposal, Until::Done).await {
                    Ok((_, answer)) => return Ok(answer),
                    Err(Error::NotLeader { leader, .. }) => self.not_there(to, leader),
                    Err(error) => return Err(error),
                }
            }
            if Instant::now() >= until {
                return Err(Error::NotLeader { group, leader: None });
            }
            sleep(LEADER_PAUSE).await;
        }
    }

    /// Another is to be asked: the one who is said to lead, or the next.
    fn not_there(&self, asked: NodeId, leader: Option<NodeId>) {
        let mut nodes = self.0.nodes.lock();
        if nodes.front() != Some(&asked) {
            return;
        }
        match leader.filter(|leader| *leader != asked) {
            Some(leader) => {
                nodes.retain(|node| *node != leader);
                nodes.push_front(leader);
            }
            None => nodes.rotate_left(1),
        }
    }
}
