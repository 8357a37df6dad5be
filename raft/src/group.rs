//! One open group, as the engine uses it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use estafette_storage::Health;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::Fatal;
use tokio::sync::{mpsc, oneshot};

use crate::company::Company;
use crate::error::Error;
use crate::log::Shared;
use crate::proposer::{Answer, Waiting};
use crate::snapshot;
use crate::state::Rows;
use crate::types::{Raft, Types};
use crate::{GroupId, NodeId, Proposal};

/// A group of this node. Cheap to clone.
#[derive(Clone)]
pub struct Group(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) raft: Raft,
    pub(crate) queue: mpsc::Sender<Waiting>,
    pub(crate) company: Arc<Company>,
    pub(crate) snapshots: PathBuf,
    pub(crate) max_command_bytes: usize,
}

/// How a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Whether the group works; if not, proposals tell why.
    pub running: bool,
}

/// A checksum over the whole state of a group at an index: equal on all replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Index of the last entry applied.
    pub index: Option<u64>,
    /// Number of rows.
    pub rows: u64,
    /// BLAKE3 over all rows.
    pub hash: [u8; 32],
}

impl Group {
    /// The group's name.
    #[must_use]
    pub fn id(&self) -> GroupId {
        self.0.shared.group
    }

    /// Proposes a command and waits until it is durable and applied; its answer is the machine's.
    ///
    /// It is joined with what else waits. Waits for room while the queue is full.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::Unavailable`], [`Error::Full`], [`Error::TooLarge`]: nothing was proposed.
    /// [`Error::Interrupted`] and fatal errors: it may take effect or not.
    pub async fn propose(&self, proposal: Proposal) -> Result<Bytes, Error> {
        let this = &self.0;
        let (bytes, limit) = (proposal.command.len(), this.max_command_bytes);
        if bytes > limit {
            return Err(Error::TooLarge { bytes, limit });
        }
        if let Some(fault) = this.shared.fault.seen() {
            return Err(fault);
        }
        if this.shared.store.health() == Health::Full && !proposal.is_small() {
            return Err(Error::Full);
        }
        let (to, wait) = oneshot::channel();
        let waiting = Waiting { proposal, answer: Answer { since: Instant::now(), to } };
        let group = self.id();
        this.queue.send(waiting).await.map_err(|_| self.fault().unwrap_or(Error::Unavailable { group }))?;
        this.company.arrived(|| this.queue.max_capacity() - this.queue.capacity());
        wait.await.unwrap_or_else(|_| Err(self.fault().unwrap_or(Error::Interrupted { group })))
    }

    /// Waits until a leader is known and, if it is this node, everything committed before is applied.
    ///
    /// # Errors
    /// Fatal: the group stopped.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut metrics = self.0.raft.metrics();
        loop {
            let ready = {
                let now = metrics.borrow_watched();
                if let Err(fatal) = &now.running_state {
                    return Err(self.stopped(fatal.clone()));
                }
                let term = now.last_applied.as_ref().map(|id| id.leader_id.term);
                match now.state {
                    // The first entry of its own term lies behind all that was committed before.
                    ServerState::Leader => term == Some(now.current_term),
                    // This node's own vote of before a restart does not make it the leader.
                    _ => {
                        now.current_leader.is_some_and(|leader| leader != now.id)
                            && now.last_applied >= now.cluster_committed
                    }
                }
            };
            if ready {
                return Ok(());
            }
            if metrics.changed().await.is_err() {
                return Err(self.stopped(Fatal::Stopped));
            }
        }
    }

    /// How the group stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let metrics = self.0.raft.metrics();
        let now = metrics.borrow_watched();
        Status {
            group: self.id(),
            leader: now.current_leader.map(NodeId),
            leads: now.state == ServerState::Leader,
            term: now.current_term,
            last: now.last_log_index,
            applied: now.last_applied.as_ref().map(|id| id.index),
            snapshot: now.snapshot.as_ref().map(|id| id.index),
            purged: now.purged.as_ref().map(|id| id.index),
            voters: now.membership_config.voter_ids().count(),
            running: now.running_state.is_ok() && self.0.shared.fault.seen().is_none(),
        }
    }

    /// Makes the state so far durable without the log, and lets go of entries before it. Writes no rows.
    ///
    /// Returns as soon as it is ordered; happens by itself now and then.
    ///
    /// # Errors
    /// Fatal: the group stopped.
    pub async fn compact(&self) -> Result<(), Error> {
        self.0.raft.trigger().snapshot().await.map_err(|fatal| self.stopped(fatal))
    }

    /// Writes the whole state to a file in the folder for snapshots, while the group goes on; then compacts the log.
    ///
    /// # Errors
    /// The file could not be written, or the group stopped.
    pub async fn snapshot(&self) -> Result<(), Error> {
        let (folder, group) = (self.0.snapshots.clone(), self.id());
        let rows = self.rows().await?;
        let path = blocking(group, move || snapshot::write(&folder, group, &rows)).await?;
        tracing::info!(%group, path = %path.display(), "snapshot written");
        self.compact().await
    }

    /// The checksum of the state now. Reads all rows, while the group goes on.
    ///
    /// # Errors
    /// The store could not be read, or the group stopped.
    pub async fn checksum(&self) -> Result<Checksum, Error> {
        let rows = self.rows().await?;
        blocking(self.id(), move || snapshot::checksum(&rows)).await
    }

    async fn rows(&self) -> Result<Rows, Error> {
        let rows = self.0.raft.with_state_machine(|state| {
            let rows = state.rows();
            Box::pin(async move { rows })
        });
        rows.await.map_err(|fatal| self.stopped(fatal))
    }

    fn fault(&self) -> Option<Error> {
        self.0.shared.fault.seen()
    }

    pub(crate) fn stopped(&self, fatal: Fatal<Types>) -> Error {
        self.fault().unwrap_or_else(|| match fatal {
            Fatal::Stopped => Error::Unavailable { group: self.id() },
            fatal => Error::Stopped { group: self.id(), cause: Arc::new(fatal) },
        })
    }
}

/// Runs work that reads or writes much on a thread that may block.
async fn blocking<T: Send + 'static>(
    group: GroupId,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Interrupted { group }))
}
