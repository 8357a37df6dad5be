//! The groups of a node: checked at the start, opened one by one, closed together.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use estafette_storage::{Batch, Family, Mark, Read, Store};
use openraft::error::{Fatal, InitializeError, RaftError};
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::company::Company;
use crate::error::Error;
use crate::group::{Group, Inner};
use crate::keys::{self, Meta};
use crate::log::{Alive, Found, LogStore, Shared};
use crate::network::NoPeers;
use crate::proposer::Proposer;
use crate::state::StateMachine;
use crate::types::{NO_VOTE, Raft, Types, Vote};
use crate::{GroupId, Machine, NodeId, Settings, codec};

/// This node's part in all groups. Runs on the tokio runtime it is used in.
pub struct Node {
    store: Store,
    id: NodeId,
    settings: Settings,
    groups: Mutex<BTreeMap<GroupId, Opened>>,
}

/// A group and what ends with it. None while it is being opened.
struct Opened(Option<Running>);

struct Running {
    group: Group,
    tasks: Vec<JoinHandle<()>>,
    /// Closed when openraft's tasks have let go of the group.
    gone: mpsc::Receiver<Infallible>,
}

/// How long a group may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

impl Node {
    /// Checks that the store is this node's, and that no log or vote in it is behind what was acknowledged.
    ///
    /// # Errors
    /// [`Error::OtherNode`]; [`Error::LogBehind`] or [`Error::VoteBehind`] if acknowledged writes are lost, unless
    /// [`Settings::accept_loss`] is set; the store's.
    pub fn start(store: Store, id: NodeId, settings: Settings) -> Result<Self, Error> {
        store.set_waiting(true);
        own(&store, id)?;
        for mark in store.marks() {
            check(&store, &mark, settings.accept_loss)?;
        }
        Ok(Self { store, id, settings, groups: Mutex::default() })
    }

    /// Opens a group and begins to lead it: at the first time with this node as its only voter.
    ///
    /// Does not wait for [`Group::ready`], so that several groups can become ready together.
    ///
    /// # Errors
    /// [`Error::AlreadyOpen`]; a damaged log; the machine's; the store's.
    pub async fn open(&self, group: GroupId, machine: Box<dyn Machine>) -> Result<Group, Error> {
        if self.groups.lock().contains_key(&group) {
            return Err(Error::AlreadyOpen { group });
        }
        self.groups.lock().insert(group, Opened(None));
        match self.open_now(group, machine).await {
            Ok(running) => {
                let opened = running.group.clone();
                self.groups.lock().insert(group, Opened(Some(running)));
                Ok(opened)
            }
            Err(error) => {
                self.groups.lock().remove(&group);
                Err(error)
            }
        }
    }

    async fn open_now(&self, group: GroupId, machine: Box<dyn Machine>) -> Result<Running, Error> {
        let (alive, gone) = Alive::new();
        let (shared, log) = Shared::open(&self.store, group, &self.settings, alive.clone())?;
        let state = StateMachine::open(Arc::clone(&shared), machine, self.settings.snapshots.clone(), alive)?;
        let raft = self.raft(&shared, log, state).await?;
        let (sender, queue) = mpsc::channel(self.settings.queue.max(1));
        let company = Arc::new(Company::default());
        let opened = Group(Arc::new(Inner {
            shared: Arc::clone(&shared),
            raft: raft.clone(),
            queue: sender,
            company: Arc::clone(&company),
            snapshots: self.settings.snapshots.clone(),
            max_command_bytes: self.settings.max_command_bytes,
        }));
        self.lead(&opened).await?;
        let proposer = Proposer::new(raft.clone(), Arc::clone(&shared), queue, company, &self.settings);
        let tasks = vec![tokio::spawn(proposer.run()), tokio::spawn(compact(raft, shared))];
        Ok(Running { group: opened, tasks, gone })
    }

    async fn raft(&self, shared: &Arc<Shared>, log: LogStore, state: StateMachine) -> Result<Raft, Error> {
        let group = shared.group;
        let config = config(group, &self.settings);
        let config = config.validate().map_err(|cause| Error::Stopped { group, cause: Arc::new(cause) })?;
        Raft::new(self.id.0, Arc::new(config), NoPeers, log, state).await.map_err(|fatal| {
            shared.fault.seen().unwrap_or_else(|| Error::Stopped { group, cause: Arc::new(fatal) })
        })
    }

    /// Makes this node the group's leader if it is its only voter, and its founder if there is none yet.
    async fn lead(&self, group: &Group) -> Result<(), Error> {
        let raft = &group.0.raft;
        let stopped = |fatal: Fatal<Types>| group.stopped(fatal);
        if !raft.is_initialized().await.map_err(stopped)? {
            let members: BTreeSet<u64> = BTreeSet::from([self.id.0]);
            return match raft.initialize(members).await {
                // Initialized meanwhile: as good.
                Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
                Err(RaftError::APIError(error)) => {
                    Err(Error::Stopped { group: group.id(), cause: Arc::new(error) })
                }
                Err(RaftError::Fatal(fatal)) => Err(stopped(fatal)),
            };
        }
        let voters: Vec<u64> = raft.voter_ids().collect();
        if voters == [self.id.0] {
            raft.trigger().elect(false).await.map_err(stopped)
        } else {
            // With several voters, timers decide.
            raft.runtime_config().tick(true);
            Ok(())
        }
    }

    /// The groups that are open.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let groups = self.groups.lock();
        groups.values().filter_map(|opened| opened.0.as_ref()).map(|running| running.group.clone()).collect()
    }

    /// Stops all groups. What was acknowledged is durable; what is under way may take effect or not. Does not wait for
    /// room on a full disk.
    pub async fn shutdown(&self) {
        self.store.set_waiting(false);
        let groups = std::mem::take(&mut *self.groups.lock());
        for mut running in groups.into_values().filter_map(|opened| opened.0) {
            for task in running.tasks {
                task.abort();
                // It was cancelled, or it had ended.
                let _ = task.await;
            }
            let stopped = running.group.0.raft.shutdown().await.is_ok();
            let gone = tokio::time::timeout(STOP_TIMEOUT, running.gone.recv()).await.is_ok();
            if !(stopped && gone) {
                tracing::warn!(group = %running.group.id(), "the group did not stop in order");
            }
        }
    }
}

fn config(group: GroupId, settings: &Settings) -> Config {
    let heartbeat = settings.heartbeat_ms.max(50);
    Config {
        cluster_name: group.to_string(),
        heartbeat_interval: heartbeat,
        election_timeout_min: heartbeat.saturating_mul(3),
        election_timeout_max: heartbeat.saturating_mul(6),
        // A sole voter needs no timer; `lead` turns them on where there are more.
        enable_tick: false,
        enable_pre_vote: Some(true),
        // A leader of before a restart does not know what was committed; only an election tells.
        enable_leader_restore: Some(false),
        // Compaction is ordered by entries and by bytes, which openraft does not count.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: settings.keep_entries,
        replication_lag_threshold: settings.keep_entries.max(1),
        ..Config::default()
    }
}

/// Compacts the log whenever enough was appended.
async fn compact(raft: Raft, shared: Arc<Shared>) {
    loop {
        shared.compaction.due.notified().await;
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

/// Writes the node's name into a new store; refuses one of another node.
fn own(store: &Store, id: NodeId) -> Result<(), Error> {
    let Some(row) = store.read(Family::RaftMeta, &keys::NODE)? else {
        let mut batch = Batch::new();
        batch.put(Family::RaftMeta, keys::NODE, codec::encode_node(id.0));
        return Ok(store.apply_batch(batch)?);
    };
    match codec::decode_node(&row) {
        Ok(found) if found == id.0 => Ok(()),
        Ok(found) => Err(Error::OtherNode { found: NodeId(found), given: id }),
        Err(_) => Err(Error::Undecodable { group: GroupId(u32::MAX), index: None }),
    }
}

/// Compares what was acknowledged with what is there.
fn check(store: &Store, mark: &Mark, accept_loss: bool) -> Result<(), Error> {
    let group = GroupId(mark.group);
    let found = Found::read(store, group)?;
    let vote = found.vote.unwrap_or(NO_VOTE);
    let last = found.last.map_or(0, |id| id.index);
    let voted = (vote.leader_id.term, vote.leader_id.node_id, vote.committed);
    let acknowledged = (mark.term, mark.voted_for, mark.voted_committed);
    let lost = if last < mark.last_index {
        Error::LogBehind { group, found: last, acknowledged: mark.last_index }
    } else if voted < acknowledged {
        Error::VoteBehind { group, found_term: vote.leader_id.term, acknowledged_term: mark.term }
    } else {
        return Ok(());
    };
    if !accept_loss {
        return Err(lost);
    }
    tracing::error!(error = %lost, "going on without what was lost, as the settings say");
    if voted < acknowledged {
        // So that no term is used twice.
        let vote = Vote::new(mark.term, mark.voted_for);
        let mut batch = Batch::new();
        batch.put(Family::RaftMeta, keys::meta(group, Meta::Vote), codec::encode_vote(&vote));
        store.apply_batch(batch)?;
    }
    Ok(())
}
