//! One open group, as the engine uses it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use estafette_storage::Health;
use openraft::ReadPolicy;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::error::{Fatal, RaftError};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::blocking::blocking;
use crate::company::Company;
use crate::error::Error;
use crate::log::Shared;
use crate::peers::Hub;
use crate::peers::arrivals::Loan;
use crate::peers::forward::{self, Questions};
use crate::proposer::{Answer, Waiting};
use crate::snapshot;
use crate::standing::{Leader, Standing};
use crate::state::Rows;
use crate::types::{Raft, Types};
use crate::{GroupId, NodeId, Proposal, References};

/// A group of this node. Cheap to clone.
#[derive(Clone)]
pub struct Group(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) raft: Raft,
    pub(crate) queue: mpsc::Sender<Waiting>,
    pub(crate) company: Arc<Company>,
    pub(crate) snapshots: PathBuf,
    pub(crate) hub: Arc<Hub>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) questions: Questions,
    pub(crate) limits: Limits,
}

/// What bounds callers of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) command_bytes_max: usize,
    pub(crate) propose_wait: Duration,
    pub(crate) fresh_wait: Duration,
}

/// How long a caller at a follower waits for the rows of what the leader has done for it. Past it the caller is told that it
/// is done, which is true, though this node cannot show it yet.
const READABLE_WAIT: Duration = Duration::from_secs(30);
/// How long bodies are kept for an entry that others had first.
const LEND_WAIT: Duration = Duration::from_secs(1);
/// Between two tries to find a leader, when nothing changes.
const LEADER_PAUSE: Duration = Duration::from_millis(50);

/// How far a proposal has to have come for who makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// It is durable, and its rows can be read on this node.
    Readable,
    /// It is durable and applied at the leader. This node may show its rows a moment later; who asks [`Group::fresh`]
    /// before reading misses nothing.
    Done,
}

/// A checksum over the whole state of a group at an index: equal on all replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Proposes a command, here or at the leader, and waits until it is durable and its rows can be read on this node;
    /// its answer is the machine's.
    ///
    /// # Errors
    /// As [`Group::propose_until`].
    pub async fn propose(&self, proposal: Proposal) -> Result<Bytes, Error> {
        self.propose_until(proposal, Until::Readable).await
    }

    /// Proposes a command, here or at the leader, and waits as long as is said; its answer is the machine's.
    ///
    /// It is joined with what else waits. Waits for room while the queue is full, and a bounded time for a leader.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::Unavailable`], [`Error::Full`], [`Error::TooLarge`]: nothing was proposed.
    /// [`Error::Interrupted`] and fatal errors: it may take effect or not.
    pub async fn propose_until(&self, proposal: Proposal, until: Until) -> Result<Bytes, Error> {
        let (bytes, limit) = (proposal.command.len(), self.0.limits.command_bytes_max);
        if bytes > limit {
            return Err(Error::TooLarge { bytes, limit });
        }
        if self.0.standing.is_alone() {
            return Ok(self.propose_here(proposal, None).await?.1);
        }
        let end = Instant::now() + self.0.limits.propose_wait;
        let mut changes = self.0.standing.changes();
        loop {
            changes.mark_unchanged();
            if let Some(fault) = self.fault() {
                return Err(fault);
            }
            let error = match self.propose_once(&proposal, until).await {
                Err(error @ Error::NotLeader { .. }) => error,
                decided => return decided,
            };
            if Instant::now() >= end {
                return Err(error);
            }
            // Whoever leads next is told here; a short pause else, for a leader that is known and was not reached.
            let _ = tokio::time::timeout(LEADER_PAUSE, changes.changed()).await;
        }
    }

    async fn propose_once(&self, proposal: &Proposal, until: Until) -> Result<Bytes, Error> {
        let group = self.id();
        match self.0.standing.leader() {
            Leader::Here => Ok(self.propose_here(proposal.clone(), None).await?.1),
            Leader::There(leader) => {
                let loan = self.0.hub.lent.keep(&proposal.bodies);
                let (index, answer) = forward::propose(&self.0.hub, leader, group, proposal, until).await?;
                if until == Until::Readable {
                    self.show(index).await;
                } else {
                    self.lend_on(loan, index);
                }
                Ok(answer)
            }
            Leader::Nobody => Err(Error::NotLeader { group, leader: None }),
        }
    }

    /// Others had the entry first: its bodies are kept until it has come here too, or a moment, as the leader need not send
    /// them.
    fn lend_on(&self, loan: Loan, index: u64) {
        let mut written = self.0.shared.written.subscribe();
        if loan.is_empty() || *written.borrow_and_update() >= index {
            return;
        }
        tokio::spawn(async move {
            let _ = tokio::time::timeout(LEND_WAIT, written.wait_for(|written| *written >= index)).await;
            drop(loan);
        });
    }

    /// Waits for the rows of what is done in any case: a replica that lags only makes its caller wait.
    async fn show(&self, index: u64) {
        let mut left = self.0.shared.left.subscribe();
        tokio::select! {
            readable = self.readable(index, READABLE_WAIT) => if !readable {
                let group = self.id();
                tracing::warn!(%group, index, "this node lags: what was written cannot be read here yet");
            },
            _ = left.wait_for(|left| *left) => {}
        }
    }

    /// Proposes to this node as the leader, for a caller of its own or a peer; gives the index with the answer.
    pub(crate) async fn propose_here(
        &self,
        proposal: Proposal,
        by: Option<NodeId>,
    ) -> Result<(u64, Bytes), Error> {
        let this = &self.0;
        if let Some(fault) = this.shared.fault.seen() {
            return Err(fault);
        }
        if this.shared.store.health() == Health::Full && !proposal.is_small() {
            return Err(Error::Full);
        }
        let (to, wait) = oneshot::channel();
        let waiting = Waiting { proposal, by, answer: Answer { since: std::time::Instant::now(), to } };
        let group = self.id();
        this.queue.send(waiting).await.map_err(|_| self.fault().unwrap_or(Error::Unavailable { group }))?;
        this.company.arrived(|| this.queue.max_capacity() - this.queue.capacity());
        wait.await.unwrap_or_else(|_| Err(self.fault().unwrap_or(Error::Interrupted { group })))
    }

    /// Waits until the rows of an entry can be read here; false when the time ended before.
    async fn readable(&self, index: u64, within: Duration) -> bool {
        if *self.0.shared.readable.borrow() >= index {
            return true;
        }
        let mut readable = self.0.shared.readable.subscribe();
        let there = readable.wait_for(|readable| *readable >= index);
        matches!(tokio::time::timeout(within, there).await, Ok(Ok(_)))
    }

    /// Waits until the rows of this node hold all that was committed when it was called, on whatever node.
    ///
    /// At the leader's by its lease, elsewhere after one question to the leader, which all who wait share.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: no leader answered in time. Fatal: the group stopped.
    pub async fn fresh(&self) -> Result<(), Error> {
        #[cfg(feature = "planted")]
        if estafette_storage::planted::is("fresh-does-not-ask") {
            return Ok(());
        }
        if self.0.standing.is_alone() {
            // Just after a start there may be more in the log than is applied. One that has failed, by its disk, has all
            // that anybody was ever told of.
            return if self.fault().is_some() { Ok(()) } else { self.ready().await };
        }
        let (group, within) = (self.id(), self.0.limits.fresh_wait);
        let until = Instant::now() + within;
        let asked = self.0.questions.put(|| self.index_of_leader(until));
        let index = tokio::time::timeout(within, asked).await.unwrap_or(Err(Error::Unavailable { group }))?;
        let left = until.saturating_duration_since(Instant::now());
        if self.readable(index, left).await {
            Ok(())
        } else {
            Err(self.fault().unwrap_or(Error::Unavailable { group }))
        }
    }

    /// Up to where all is committed, from whoever leads before the time ends.
    async fn index_of_leader(&self, until: Instant) -> Result<u64, Error> {
        let group = self.id();
        let mut changes = self.0.standing.changes();
        loop {
            changes.mark_unchanged();
            let told = match self.0.standing.leader() {
                Leader::Here => self.index_here().await,
                Leader::There(leader) => forward::index(&self.0.hub, leader, group).await,
                Leader::Nobody => Err(Error::NotLeader { group, leader: None }),
            };
            match told {
                Err(Error::NotLeader { .. }) if Instant::now() < until => {
                    let _ = tokio::time::timeout(LEADER_PAUSE, changes.changed()).await;
                }
                Err(Error::NotLeader { .. }) => return Err(Error::Unavailable { group }),
                told => return told,
            }
        }
    }

    /// The same from this node as the leader: by its lease, else by asking a majority.
    pub(crate) async fn index_here(&self) -> Result<u64, Error> {
        let group = self.id();
        let raft = &self.0.raft;
        let read = match raft.get_read_linearizer(ReadPolicy::LeaseRead).await {
            Ok(read) => Ok(read),
            Err(_) => raft.get_read_linearizer(ReadPolicy::ReadIndex).await,
        };
        match read {
            Ok(read) => Ok(read.read_log_id().index()),
            Err(RaftError::Fatal(fatal)) => Err(self.stopped(fatal)),
            Err(RaftError::APIError(_)) => Err(Error::NotLeader { group, leader: None }),
        }
    }

    /// True if this node leads the group and nobody else is a member. Cheap.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.0.standing.is_alone()
    }

    /// True if this node leads the group, as far as it knows. Cheap.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.0.standing.leader() == Leader::Here
    }

    /// The node that leads, if it is another one.
    pub(crate) fn leader_elsewhere(&self) -> Option<NodeId> {
        match self.0.standing.leader() {
            Leader::There(node) => Some(node),
            Leader::Here | Leader::Nobody => None,
        }
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
        let shared = Arc::clone(&self.0.shared);
        let (path, _) = self.blocking(move || snapshot::write_in_turn(&shared, &folder, &rows)).await?;
        tracing::info!(%group, path = %path.display(), "snapshot written");
        self.compact().await
    }

    /// The checksum of the state now. Reads all rows, while the group goes on.
    ///
    /// # Errors
    /// The store could not be read, or the group stopped.
    pub async fn checksum(&self) -> Result<Checksum, Error> {
        let rows = self.rows().await?;
        self.blocking(move || snapshot::checksum(&rows)).await
    }

    /// The state now, and how its references are found.
    pub(crate) async fn rows_and_references(&self) -> Result<(Rows, Option<References>), Error> {
        let both = self.0.raft.with_state_machine(|state| {
            let both = (state.rows(), state.references());
            Box::pin(async move { both })
        });
        both.await.map_err(|fatal| self.stopped(fatal))
    }

    async fn rows(&self) -> Result<Rows, Error> {
        let rows = self.0.raft.with_state_machine(|state| {
            let rows = state.rows();
            Box::pin(async move { rows })
        });
        rows.await.map_err(|fatal| self.stopped(fatal))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let done = blocking(&self.0.shared.store, work).await;
        done.unwrap_or(Err(Error::Interrupted { group: self.id() }))
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
