//! The groups of a node: checked at the start, opened one by one, closed together.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use estafette_storage::{Batch, BodyHash, Family, Mark, NewBody, Read, Store};
use futures_util::future::join_all;
use openraft::error::{Fatal, InitializeError, RaftError};
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::blocking::blocking;
use crate::company::Company;
use crate::erase;
use crate::error::Error;
use crate::group::{Group, Inner, Limits};
use crate::keys::{self, Meta};
use crate::log::{Alive, Found, LogStore, Shared};
use crate::peers::forward::Questions;
use crate::peers::network::Network;
use crate::peers::{Hub, serve, wire};
use crate::proposer::Proposer;
use crate::runtime;
use crate::standing::{self, Standing};
use crate::state::StateMachine;
use crate::types::{NO_VOTE, Raft, Types, Vote};
use crate::{
    Alone, Checksum, FarGroup, GroupId, Lane, Machine, NodeId, Order, Settings, Status, Transport, codec,
};

/// This node's part in all groups. Runs on the tokio runtime it is used in.
pub struct Node {
    store: Store,
    id: NodeId,
    hub: Arc<Hub>,
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

/// How long an heir may take to say that it is there.
const HEIR_WAIT: Duration = Duration::from_millis(300);
/// Between two looks whether others lead.
const HAND_OVER_PAUSE: Duration = Duration::from_millis(20);
/// How long a group may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

impl Node {
    /// A node that is alone: [`Node::connected`] to nobody.
    ///
    /// # Errors
    /// As there.
    pub fn start(store: Store, id: NodeId, settings: Settings) -> Result<Self, Error> {
        Self::connected(store, id, Arc::new(Alone), settings)
    }

    /// Checks that the store is this node's, and that no log or vote in it is behind what was acknowledged. It reaches
    /// others by `transport`, and answers theirs in [`Node::serve`].
    ///
    /// # Errors
    /// [`Error::OtherNode`]; [`Error::LogBehind`] or [`Error::VoteBehind`] if acknowledged writes are lost, unless
    /// [`Settings::accept_loss`] is set; the store's.
    pub fn connected(
        store: Store,
        id: NodeId,
        transport: Arc<dyn Transport>,
        settings: Settings,
    ) -> Result<Self, Error> {
        if !store.is_by_hand() {
            runtime::in_step(heartbeat_ms(&settings));
        }
        store.set_waiting(true);
        own(&store, id)?;
        erase::finish_all(&store)?;
        for mark in store.marks() {
            check(&store, &mark, settings.accept_loss)?;
        }
        let hub = Arc::new(Hub::new(id, store.clone(), transport, settings.snapshots.clone()));
        Ok(Self { store, id, hub, settings, groups: Mutex::default() })
    }

    /// Opens a group and begins to lead it: at the first time with this node as its only voter.
    ///
    /// Does not wait for [`Group::ready`], so that several groups can become ready together.
    ///
    /// # Errors
    /// [`Error::AlreadyOpen`]; a damaged log; the machine's; the store's.
    pub async fn open(&self, group: GroupId, machine: Box<dyn Machine>) -> Result<Group, Error> {
        self.open_as(group, machine, true).await
    }

    /// Opens a group that has members elsewhere: if it is new here, it waits until its leader makes this node one.
    ///
    /// # Errors
    /// As [`Node::open`].
    pub async fn join(&self, group: GroupId, machine: Box<dyn Machine>) -> Result<Group, Error> {
        self.open_as(group, machine, false).await
    }

    async fn open_as(&self, group: GroupId, machine: Box<dyn Machine>, found: bool) -> Result<Group, Error> {
        if self.groups.lock().contains_key(&group) {
            return Err(Error::AlreadyOpen { group });
        }
        self.groups.lock().insert(group, Opened(None));
        match self.open_now(group, machine, found).await {
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

    async fn open_now(
        &self,
        group: GroupId,
        machine: Box<dyn Machine>,
        found: bool,
    ) -> Result<Running, Error> {
        let store = self.store.clone();
        let finished = blocking(&self.store, move || erase::finish(&store, group)).await;
        finished.map_err(|_| Error::Interrupted { group })??;
        let (alive, gone) = Alive::new();
        let (shared, log) = Shared::open(&self.store, group, &self.settings, alive.clone())?;
        let state = StateMachine::open(Arc::clone(&shared), machine, self.settings.snapshots.clone(), alive)?;
        let raft = self.raft(&shared, log, state).await?;
        let (sender, queue) = mpsc::channel(self.settings.queue.max(1));
        let company = Arc::new(Company::default());
        let standing = Arc::new(Standing::new(self.id));
        let opened = Group(Arc::new(Inner {
            shared: Arc::clone(&shared),
            raft: raft.clone(),
            queue: sender,
            company: Arc::clone(&company),
            snapshots: self.settings.snapshots.clone(),
            hub: Arc::clone(&self.hub),
            standing: Arc::clone(&standing),
            questions: Questions::default(),
            limits: self.limits(),
        }));
        self.lead(&opened, found).await?;
        let proposer = Proposer::new(raft.clone(), Arc::clone(&shared), queue, company, &self.settings);
        let tasks = vec![
            tokio::spawn(proposer.run()),
            tokio::spawn(compact(raft.clone(), Arc::clone(&shared))),
            tokio::spawn(standing::keep(raft, shared, standing)),
        ];
        Ok(Running { group: opened, tasks, gone })
    }

    fn limits(&self) -> Limits {
        Limits {
            command_bytes_max: self.settings.max_command_bytes,
            propose_wait: Duration::from_millis(self.settings.propose_wait_ms),
            fresh_wait: Duration::from_millis(self.settings.fresh_wait_ms),
        }
    }

    async fn raft(&self, shared: &Arc<Shared>, log: LogStore, state: StateMachine) -> Result<Raft, Error> {
        let group = shared.group;
        let mut config = config(group, &self.settings);
        config.enable_elect = !shared.lacks_what_it_had()?;
        let config = config.validate().map_err(|cause| Error::Stopped { group, cause: Arc::new(cause) })?;
        let network = Network { hub: Arc::clone(&self.hub), shared: Arc::clone(shared) };
        Raft::new(self.id.0, Arc::new(config), network, log, state).await.map_err(|fatal| {
            shared.fault.seen().unwrap_or_else(|| Error::Stopped { group, cause: Arc::new(fatal) })
        })
    }

    /// Makes this node the group's leader if it is its only voter, and its founder if there is none yet and it may.
    async fn lead(&self, group: &Group, found: bool) -> Result<(), Error> {
        let raft = &group.0.raft;
        let stopped = |fatal: Fatal<Types>| group.stopped(fatal);
        if !raft.is_initialized().await.map_err(stopped)? {
            if !found {
                return Ok(());
            }
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
        // With several voters, timers decide.
        if voters == [self.id.0] && !group.0.shared.lacks_what_it_had()? {
            raft.trigger().elect(false).await.map_err(stopped)
        } else {
            Ok(())
        }
    }

    /// Answers a request that another node's [`Transport`] carried here. `from` is who sent it, as the transport knows it.
    pub async fn serve(&self, from: NodeId, request: Bytes) -> Bytes {
        let Ok((request, tail)) = wire::read_request(request) else {
            tracing::warn!(%from, "a peer asks what this version does not understand");
            return Bytes::new();
        };
        let group = self.group(GroupId(request.group));
        serve::serve(&self.hub, group, from, request, tail).await
    }

    /// A group that is open.
    #[must_use]
    pub fn group(&self, group: GroupId) -> Option<Group> {
        let groups = self.groups.lock();
        Some(groups.get(&group)?.0.as_ref()?.group.clone())
    }

    /// A group that need not be open here, as who only proposes to it uses it.
    #[must_use]
    pub fn far(&self, group: GroupId) -> FarGroup {
        FarGroup::new(Arc::clone(&self.hub), group, self.limits())
    }

    /// How a group stands as another node, or this one, knows it; `None` if it does not answer or has no such group.
    pub async fn status_at(&self, node: NodeId, group: GroupId) -> Option<Status> {
        if node == self.id {
            return self.group(group).map(|group| group.status());
        }
        match self.hub.ask(node, Lane::Urgent, group, wire::Ask::Status, []).await {
            Ok(wire::Told::Value(status)) => Some(status),
            _ => None,
        }
    }

    /// The checksum of a node's replica of a group; `None` if it does not answer or has none. Reads all rows there.
    pub async fn checksum_at(&self, node: NodeId, group: GroupId) -> Option<Checksum> {
        if node == self.id {
            return self.group(group)?.checksum().await.ok();
        }
        match self.hub.ask(node, Lane::Bulk, group, wire::Ask::Checksum, []).await {
            Ok(wire::Told::Value(checksum)) => Some(checksum),
            _ => None,
        }
    }

    /// True if a node says that it has every body that is named there.
    pub async fn is_whole(&self, node: NodeId) -> bool {
        if node == self.id {
            return self.hub.is_whole().unwrap_or(false);
        }
        let told = self.hub.ask(node, Lane::Urgent, GroupId::CONTROL, wire::Ask::Whole, []).await;
        matches!(told, Ok(wire::Told::Value(true)))
    }

    /// Has a node carry out an order as the leader of a group, which need not be open here.
    ///
    /// # Errors
    /// As [`Group::order`].
    pub async fn order(&self, leader: NodeId, group: GroupId, order: Order) -> Result<(), Error> {
        match self.group(group).filter(|_| leader == self.id) {
            Some(here) => here.order(order).await,
            None => self.hub.order(leader, group, order).await,
        }
    }

    /// Gets a body from one of these peers, checked by its hash; `None` if none of them has it. Large ones come in parts:
    /// `came` is told of the bytes of each and says when it goes on.
    ///
    /// # Errors
    /// No peer answered; this store has no room.
    pub async fn fetch(
        &self,
        group: GroupId,
        hash: BodyHash,
        peers: &[NodeId],
        came: &(dyn Fn(u64) -> Instant + Sync),
    ) -> Result<Option<NewBody>, Error> {
        let mut problem = None;
        for peer in peers.iter().filter(|peer| **peer != self.id) {
            match self.hub.fetch(*peer, group, hash, came).await {
                Ok(Some(body)) => return Ok(Some(body)),
                Ok(None) => {}
                Err(error) => problem = Some(error),
            }
        }
        problem.map_or(Ok(None), Err)
    }

    /// Those of these bodies, the first 256 at most, that a peer has and that are small, checked by their hashes: as many as
    /// fit into one answer, so none only if it has none of those, or they are large.
    ///
    /// # Errors
    /// The peer does not answer.
    pub async fn fetch_small(&self, from: NodeId, wanted: &[BodyHash]) -> Result<Vec<NewBody>, Error> {
        self.hub.fetch_small(from, GroupId::CONTROL, wanted).await
    }

    /// The groups that are open.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let groups = self.groups.lock();
        groups.values().filter_map(|opened| opened.0.as_ref()).map(|running| running.group.clone()).collect()
    }

    /// True if the log of a group has anything here, open or not.
    ///
    /// # Errors
    /// The store's; a damaged log.
    pub fn has(&self, group: GroupId) -> Result<bool, Error> {
        Ok(Found::read(&self.store, group)?.last.is_some())
    }

    /// Stops a group here, and removes all that this node has of it if that is right then: only for one that is no member any
    /// more, and cannot become one meanwhile. One that is not open is no error.
    ///
    /// # Errors
    /// The store's.
    pub async fn leave(&self, group: GroupId, is_right: impl Future<Output = bool>) -> Result<(), Error> {
        let Some(Opened(Some(running))) = self.groups.lock().remove(&group) else { return Ok(()) };
        let shared = Arc::clone(&running.group.0.shared);
        shared.left.send_replace(true);
        let (rows, references) = running.group.rows_and_references().await?;
        stop(running).await;
        if !is_right.await {
            return Ok(());
        }
        erase::erase(&shared, &rows, references.map(|references| references.scope)).await
    }

    /// Has others lead what this node leads, as far as there are any who have all, so that nobody waits for an election
    /// when it stops. Waits no longer than `within`.
    pub async fn hand_over(&self, within: Duration) {
        let led = self.groups().into_iter().filter(|group| group.status().leads);
        let all = join_all(led.map(async |group| {
            // An heir that does not answer holds up nobody else.
            let Some(heir) = self.heir(&group).await else { return };
            if let Err(error) = group.order(Order::LeadBy(heir)).await {
                tracing::debug!(group = %group.id(), %error, "the lead stays until the end");
            }
            while group.status().leads {
                tokio::time::sleep(HAND_OVER_PAUSE).await;
            }
        }));
        // What is not handed over by then is left to an election.
        let _ = tokio::time::timeout(within, all).await;
    }

    /// The first of a group's heirs that answers.
    async fn heir(&self, group: &Group) -> Option<NodeId> {
        for heir in group.heirs() {
            let answer = self.status_at(heir, group.id());
            if tokio::time::timeout(HEIR_WAIT, answer).await.ok().flatten().is_some() {
                return Some(heir);
            }
        }
        None
    }

    /// Stops all groups. What was acknowledged is durable; what is under way may take effect or not. Does not wait for
    /// room on a full disk.
    pub async fn shutdown(&self) {
        self.store.set_waiting(false);
        let groups = std::mem::take(&mut *self.groups.lock());
        for running in groups.into_values().filter_map(|opened| opened.0) {
            stop(running).await;
        }
    }
}

async fn stop(mut running: Running) {
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

fn heartbeat_ms(settings: &Settings) -> u64 {
    settings.heartbeat_ms.max(50)
}

fn config(group: GroupId, settings: &Settings) -> Config {
    let heartbeat = heartbeat_ms(settings);
    Config {
        cluster_name: group.to_string(),
        // Due a little before the look that is so far off, so that it goes with that one and not with the next.
        heartbeat_interval: heartbeat - heartbeat / 5,
        // A leader keeps its lease for the longest of these, and its voters wait so long again before they elect another:
        // two heartbeats may be lost, and a group is led again some two seconds after its leader died.
        election_timeout_min: heartbeat.saturating_mul(6) / 5,
        election_timeout_max: heartbeat.saturating_mul(11) / 5,
        // A sole voter needs no timer; `lead` turns them on where there are more.
        enable_tick: false,
        enable_pre_vote: Some(true),
        // A leader of before a restart does not know what was committed; only an election tells.
        enable_leader_restore: Some(false),
        // Compaction is ordered by entries and by bytes, which openraft does not count.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: settings.keep_entries,
        replication_lag_threshold: settings.keep_entries.max(1),
        // Peers are sent entries while they are synced here.
        broadcast_submitted_on_append: Some(true),
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
