//! Where a group stands, as callers ask it at every step: who leads, and whether there are peers.
//!
//! Kept up by one task for each group from what openraft tells. A moment old: who acts on it and is wrong is told so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use crate::NodeId;
use crate::log::Shared;
use crate::types::Raft;

/// No node has this number.
const NOBODY: u64 = u64::MAX;

/// Between two looks whether a log is as long again as it was.
const LACK_PAUSE: Duration = Duration::from_millis(500);

/// Who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leader {
    Here,
    There(NodeId),
    Nobody,
}

/// See the head of this module.
#[derive(Debug)]
pub(crate) struct Standing {
    id: NodeId,
    leader: AtomicU64,
    members: AtomicUsize,
    /// Told at every change.
    changed: watch::Sender<()>,
}

impl Standing {
    pub(crate) fn new(id: NodeId) -> Standing {
        Standing {
            id,
            leader: AtomicU64::new(NOBODY),
            members: AtomicUsize::new(0),
            changed: watch::Sender::new(()),
        }
    }

    pub(crate) fn leader(&self) -> Leader {
        match self.leader.load(Ordering::Acquire) {
            NOBODY => Leader::Nobody,
            id if id == self.id.0 => Leader::Here,
            id => Leader::There(NodeId(id)),
        }
    }

    /// True if this node leads and nobody else is a member: then whatever it applied is all there is.
    pub(crate) fn is_alone(&self) -> bool {
        self.leader() == Leader::Here && self.members.load(Ordering::Acquire) == 1
    }

    /// To wait for changes.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn set(&self, leader: Option<u64>, members: usize) {
        let leader = leader.unwrap_or(NOBODY);
        let before =
            (self.leader.swap(leader, Ordering::AcqRel), self.members.swap(members, Ordering::AcqRel));
        if before != (leader, members) {
            self.changed.send_replace(());
        }
    }
}

/// Keeps a standing up, and the timers that only a group with peers needs, until the group ends.
pub(crate) async fn keep(raft: Raft, shared: Arc<Shared>, standing: Arc<Standing>) {
    let mut metrics = raft.server_metrics();
    loop {
        let (leader, members) = {
            let now = metrics.borrow_watched();
            // This node's own vote of before a restart does not make it the leader.
            let leads = now.state == ServerState::Leader;
            let leader = now.current_leader.filter(|leader| leads || *leader != now.id);
            (leader, now.membership_config.membership().nodes().count())
        };
        shared.has_peers.store(members > 1, Ordering::Relaxed);
        // Whoever has forgotten what he acknowledged does not lead before he has it again.
        let lacks = shared.lacks_what_it_had().unwrap_or(true);
        raft.runtime_config().elect(!lacks);
        raft.runtime_config().tick(members > 1);
        standing.set(leader, members);
        let changed = match lacks {
            true => tokio::time::timeout(LACK_PAUSE, metrics.changed()).await.unwrap_or(Ok(())),
            false => metrics.changed().await,
        };
        if changed.is_err() {
            // A group without peers is still here alone, and can be read.
            if !standing.is_alone() {
                standing.set(None, members);
            }
            return;
        }
    }
}
