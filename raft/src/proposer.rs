//! Joins what waits while an append is under way into one entry, so that throughput does not hang on the sync.
//!
//! One task for each group. Bounded: by commands and bytes in an entry, entries under way, and proposals in the queue.
//!
//! What would bring mail to a full disk is refused here at the latest. What goes on to openraft cannot be refused any
//! more: for it the log store waits for room.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use estafette_storage::{BodyHash, Health};
use openraft::error::ClientWriteError;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::company::{Company, Patience};
use crate::error::Error;
use crate::log::Shared;
use crate::settings::COMPANY_WAIT_MS_MAX;
use crate::types::{Brought, Callback, Command, Commands, Joined, Outcome, Raft};
use crate::{GroupId, NewBody, NodeId, Proposal, Settings};

/// A proposal and who waits for it.
pub(crate) struct Waiting {
    pub(crate) proposal: Proposal,
    /// The peer that it comes from, if it does.
    pub(crate) by: Option<NodeId>,
    pub(crate) answer: Answer,
}

/// Where the answer to a proposal goes, and since when it is awaited.
pub(crate) struct Answer {
    pub(crate) since: Instant,
    pub(crate) to: oneshot::Sender<Result<(u64, Bytes), Error>>,
}

/// See the head of this module.
pub(crate) struct Proposer {
    raft: Raft,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Waiting>,
    /// Taken from the queue, but it did not fit into the entry before.
    next: Option<Waiting>,
    /// One for each entry on its way to the commit.
    appends: Arc<Semaphore>,
    /// One for each entry that is not answered.
    wholes: Arc<Semaphore>,
    company: Arc<Company>,
    company_wait: Duration,
    patience: Patience,
    /// Commands in the entry before.
    before: usize,
    /// Commands that can wait, and go into an entry.
    most: usize,
    max_commands: usize,
    max_bytes: usize,
    last_time_ms: u64,
}

impl Proposer {
    pub(crate) fn new(
        raft: Raft,
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Waiting>,
        company: Arc<Company>,
        settings: &Settings,
    ) -> Self {
        let max_commands = settings.max_entry_commands.max(1);
        // Where several are on their way, the callers of the newest are not about to be answered.
        let company_wait_ms = if settings.entries_in_flight > 1 { 0 } else { settings.company_wait_ms };
        Self {
            raft,
            shared,
            most: max_commands.min(queue.max_capacity()),
            queue,
            next: None,
            appends: Arc::new(Semaphore::new(settings.entries_in_flight.max(1))),
            wholes: Arc::new(Semaphore::new(settings.entries_unanswered.max(1))),
            company,
            company_wait: Duration::from_millis(company_wait_ms.min(COMPANY_WAIT_MS_MAX)),
            patience: Patience::default(),
            before: 0,
            max_commands,
            max_bytes: settings.max_entry_bytes,
            last_time_ms: 0,
        }
    }

    /// Runs until all senders are gone or the group stops. Who still waits then learns it by the loss of the channel.
    pub(crate) async fn run(mut self) {
        loop {
            let Ok(whole) = Arc::clone(&self.wholes).acquire_owned().await else { return };
            let Ok(append) = Arc::clone(&self.appends).acquire_owned().await else { return };
            let Some(first) = self.first().await else { return };
            let together = self.gather(first);
            let together = self.refuse_if_full(together);
            self.before = together.len();
            if together.is_empty() {
                continue;
            }
            let (joined, waiting) = self.join(together);
            let group = self.shared.group;
            let shared = Arc::clone(&self.shared);
            let done = Box::new(move |outcome| answer(group, &shared, waiting, outcome));
            let callback = Callback { append: Some(append), whole, done };
            if self.raft.client_write_ff(joined, Some(callback)).await.is_err() {
                return;
            }
        }
    }

    /// Who begins the next entry, once there is company or none to wait for. Called when the entry before is committed:
    /// its callers will be answered in a moment.
    async fn first(&mut self) -> Option<Waiting> {
        if let Some(first) = self.next.take() {
            return Some(first);
        }
        let wanted = self.patience.wanted(self.before, self.queue.len(), self.most);
        if let Some(wanted) = wanted.filter(|_| !self.company_wait.is_zero()) {
            let came = self.company.wait(wanted, self.company_wait, || self.queue.len()).await;
            // Nobody was held up by a wait that ends with an empty queue: nothing is learnt from it.
            if came || !self.queue.is_empty() {
                self.patience.waited(came);
            }
        }
        self.queue.recv().await
    }

    /// What waits now, as far as it fits into one entry.
    fn gather(&mut self, first: Waiting) -> Vec<Waiting> {
        let mut bytes = first.proposal.bytes();
        let mut together = vec![first];
        while together.len() < self.max_commands && bytes < self.max_bytes {
            let Ok(another) = self.queue.try_recv() else { break };
            bytes = bytes.saturating_add(another.proposal.bytes());
            if bytes > self.max_bytes {
                self.next = Some(another);
                break;
            }
            together.push(another);
        }
        together
    }

    /// Leaves what may go on: the disk may have filled up while it waited.
    fn refuse_if_full(&self, together: Vec<Waiting>) -> Vec<Waiting> {
        if self.shared.store.health() != Health::Full {
            return together;
        }
        let (small, refused): (Vec<_>, Vec<_>) =
            together.into_iter().partition(|waiting| waiting.proposal.is_small());
        self.shared.gauges.refused.increment(refused.len() as u64);
        for waiting in refused {
            let _ = waiting.answer.to.send(Err(Error::Full));
        }
        small
    }

    fn join(&mut self, together: Vec<Waiting>) -> (Joined, Vec<Answer>) {
        self.shared.gauges.proposals.increment(together.len() as u64);
        #[allow(clippy::cast_precision_loss)] // At most some hundreds.
        self.shared.gauges.entry_commands.record(together.len() as f64);
        let mut list = Vec::with_capacity(together.len());
        let mut waiting = Vec::with_capacity(together.len());
        let mut bodies: Vec<Brought> = Vec::new();
        for one in together {
            let hashes: Vec<BodyHash> = one.proposal.bodies.iter().map(NewBody::hash).collect();
            list.push(Command { payload: one.proposal.command, bodies: hashes });
            bodies.extend(one.proposal.bodies.into_iter().map(|body| Brought { body, by: one.by }));
            waiting.push(one.answer);
        }
        if bodies.len() > 1 {
            // One that is there goes before one that only has a name.
            bodies.sort_unstable_by_key(|brought| (brought.body.hash().0, brought.body.is_absent()));
            bodies.dedup_by(|left, right| left.body.hash() == right.body.hash());
        }
        let commands = Commands { time_ms: self.time_ms(), seed: seed(), list };
        (Joined { commands: Arc::new(commands), bodies }, waiting)
    }

    /// The clock, but never back.
    fn time_ms(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_time_ms = self.last_time_ms.max(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        self.last_time_ms
    }
}

/// Random bytes from the system.
fn seed() -> [u8; 16] {
    let mut seed = [0; 16];
    if getrandom::fill(&mut seed).is_err() {
        // Without the system's source: two instants do not come again, which is all that is promised.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        seed = now.as_nanos().to_le_bytes();
    }
    seed
}

/// Gives each proposal of an entry its answer.
fn answer(group: GroupId, shared: &Shared, waiting: Vec<Answer>, outcome: Outcome) {
    let error = match outcome {
        Ok(response) => {
            let index = response.log_id.index;
            for (waiting, answer) in waiting.into_iter().zip(response.data.0) {
                shared.gauges.propose_seconds.record(waiting.since.elapsed());
                // Nobody waits any more if the caller gave up; what it proposed is done all the same.
                let _ = waiting.to.send(Ok((index, answer)));
            }
            return;
        }
        Err(ClientWriteError::ForwardToLeader(to)) => {
            Error::NotLeader { group, leader: to.leader_id.map(NodeId) }
        }
        Err(_) => Error::Interrupted { group },
    };
    shared.gauges.refused.increment(waiting.len() as u64);
    for waiting in waiting {
        let _ = waiting.to.send(Err(error.clone()));
    }
}
