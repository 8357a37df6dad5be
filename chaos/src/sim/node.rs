//! One life of a node: the real store, groups and machines on a folder, from the start to the crash.

use super::disk::Disks;
use super::network::{Network, Sender};
use super::plan::Plan;
use crate::random::Random;
use estafette_delivery::queue::{QueueHandle, Wakeup};
use estafette_delivery::{ShardMachine, Shards};
use estafette_directory::{DirectoryMachine, View};
use estafette_mailbox::Watchers;
use estafette_raft::{Group, GroupId, Node, NodeId};
use estafette_storage::{Batch, Committing, Store};
use estafette_types::ShardId;
use parking_lot::Mutex;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// The longest answer that a client waits for.
const PATIENCE: Duration = Duration::from_secs(8);
/// Rounds of the committer between two collections of bodies, about.
const TURNS_PER_COLLECTION: u64 = 40;
/// Bodies that one collection looks at.
const COLLECT_MAX: usize = 100;
/// How long a body is kept after its last name went.
const COLLECT_AFTER: Duration = Duration::from_secs(3);
/// Between two looks for bodies that are to be fetched, and how many are fetched in one go.
const MEND_EVERY: Duration = Duration::from_millis(300);
const MEND_MAX: usize = 50;
/// Rounds of the committer after the end of a life.
const ROUNDS_AFTER_DEATH: u32 = 200;
/// Batches that are written in one go, at most.
const TURNS_MAX: usize = 100;

/// See the head of this module.
pub(super) struct Live {
    pub(super) id: u64,
    pub(super) life: u32,
    pub(super) folder: PathBuf,
    pub(super) store: Store,
    pub(super) raft: Arc<Node>,
    pub(super) control: Group,
    pub(super) view: View,
    pub(super) shards: Shards,
    pub(super) queue: QueueHandle,
    dead: watch::Sender<bool>,
    running: watch::Sender<bool>,
    /// The longest pause between two syncs, in microseconds.
    pub(super) sync_us_max: Arc<AtomicU64>,
}

impl Live {
    /// Opens the folder. Does not wait until groups have leaders.
    pub(super) async fn open(
        plan: &Plan,
        id: u64,
        life: u32,
        folder: &Path,
        network: &Network,
    ) -> Result<Live, String> {
        let says = |error: &dyn std::fmt::Display| error.to_string();
        let store = Store::open(&folder.join("store"), store_settings()).map_err(|e| says(&e))?;
        let (dead, is_dead) = watch::channel(false);
        let (running, is_running) = watch::channel(true);
        let sender = Sender { network: network.clone(), id, running: is_running.clone(), dead: is_dead };
        let settings = plan.raft_settings(&folder.join("snapshots"));
        // From here on somebody has to turn the committer.
        let sync_us_max = Arc::new(AtomicU64::new(plan.sync_us_max));
        let random = Random::new(plan.seed ^ (id << 32) ^ u64::from(life));
        let turning = tokio::spawn(turn(
            store.clone(),
            random,
            Arc::clone(&sync_us_max),
            is_running.clone(),
            dead.subscribe(),
            Arc::clone(&plan.disks),
        ));
        let founds = id == 1 && life == 0;
        let opened = async {
            let raft = Node::connected(store.clone(), NodeId(id), Arc::new(sender), settings)?;
            let raft = Arc::new(raft);
            network.join(id, &raft, is_running);
            let machine = DirectoryMachine::new();
            let view = machine.view();
            let control = Plan::open_group(&raft, GroupId::CONTROL, Box::new(machine), founds).await?;
            let shards = Shards::default();
            for shard in plan.shards() {
                let wakeup = Arc::new(Wakeup::default());
                let machine = ShardMachine::new(shard, Arc::new(Watchers::default()), wakeup);
                let group = Plan::open_group(&raft, group_of(shard), Box::new(machine), founds).await?;
                shards.insert(shard, group);
            }
            Ok::<_, estafette_raft::Error>((raft, control, view, shards))
        };
        let (raft, control, view, shards) = match opened.await {
            Ok(parts) => parts,
            Err(error) => {
                network.leave(id);
                turning.abort();
                return Err(error.to_string());
            }
        };
        let peers: Vec<NodeId> = (1..=plan.nodes).map(NodeId).collect();
        tokio::spawn(mend(store.clone(), Arc::downgrade(&raft), plan.shards(), peers, dead.subscribe()));
        let queue = QueueHandle::new(shards.clone());
        let folder = folder.to_owned();
        Ok(Live { id, life, folder, store, raft, control, view, shards, queue, dead, running, sync_us_max })
    }

    /// Which life of which node this is.
    pub(super) fn name(&self) -> (u64, u32) {
        (self.id, self.life)
    }

    /// Waits for the node's answer; `None` if it crashed, or took too long.
    pub(super) async fn ask<T>(&self, question: impl Future<Output = T>) -> Option<T> {
        let (mut dead, mut running) = (self.dead.subscribe(), self.running.subscribe());
        let answered = async {
            running.wait_for(|running| *running).await.ok()?;
            let answer = question.await;
            // A node that stands still says nothing.
            running.wait_for(|running| *running).await.ok()?;
            Some(answer)
        };
        tokio::select! {
            biased;
            _ = dead.wait_for(|dead| *dead) => None,
            answer = tokio::time::timeout(PATIENCE, answered) => answer.ok().flatten(),
        }
    }

    /// It stands still, or goes on.
    pub(super) fn set_running(&self, running: bool) {
        self.running.send_replace(running);
    }

    /// Nobody hears of it any more.
    pub(super) fn die(&self) {
        self.dead.send_replace(true);
        // What is left of it may end.
        self.running.send_replace(true);
    }

    /// All groups of the node.
    pub(super) fn groups(&self) -> Vec<Group> {
        self.raft.groups()
    }
}

pub(super) fn group_of(shard: ShardId) -> GroupId {
    GroupId::shard(shard.0)
}

fn store_settings() -> estafette_storage::Settings {
    estafette_storage::Settings {
        cache_bytes: 1 << 20,
        min_free_bytes: 0,
        collect_after: COLLECT_AFTER,
        background_jobs: 1,
        committing: Committing::ByHand,
        ..estafette_storage::Settings::default()
    }
}

/// Fetches the bodies that a snapshot named and that are not here, as the program does.
async fn mend(
    store: Store,
    raft: Weak<Node>,
    shards: Vec<ShardId>,
    peers: Vec<NodeId>,
    dead: watch::Receiver<bool>,
) {
    while matches!(dead.has_changed(), Ok(false)) {
        tokio::time::sleep(MEND_EVERY).await;
        let missing = store.missing(None, MEND_MAX).unwrap_or_default();
        for (hash, _) in missing {
            for shard in &shards {
                let Some(raft) = raft.upgrade() else { return };
                if let Ok(Some(body)) =
                    raft.fetch(group_of(*shard), hash, &peers, &|_| tokio::time::Instant::now()).await
                {
                    let mut batch = Batch::new();
                    batch.bring_body(body);
                    // Who reads it next sees whether it is there.
                    store.commit(batch, Vec::new(), |_| {});
                    break;
                }
            }
        }
    }
}

/// The committer of a node: syncs now and then, and collects bodies.
async fn turn(
    store: Store,
    mut random: Random,
    sync_us_max: Arc<AtomicU64>,
    mut running: watch::Receiver<bool>,
    dead: watch::Receiver<bool>,
    disks: Arc<Mutex<Disks>>,
) {
    // When the life itself has gone, what is left of it may still wait for the disk.
    let mut rounds_left = ROUNDS_AFTER_DEATH;
    while rounds_left > 0 {
        rounds_left -= u32::from(dead.has_changed().is_err());
        let most = sync_us_max.load(Ordering::Relaxed).max(2);
        tokio::time::sleep(Duration::from_micros(random.within(1..most))).await;
        if running.wait_for(|running| *running).await.is_err() {
            break;
        }
        for _ in 0..TURNS_MAX {
            let more = store.turn();
            // A journal that cannot be read shows at the next crash.
            let _ = disks.lock().look();
            if !more {
                break;
            }
        }
        if random.one_in(TURNS_PER_COLLECTION) {
            // What fails here fails every write after it.
            let _ = store.collect(COLLECT_MAX);
        }
    }
}
