//! The network between nodes: requests in memory, late, lost or cut off as the seed wants.
//!
//! Requests of a node to another in one lane arrive in the order in which they were sent, as over a connection; different
//! lanes pass each other. A request that is lost is never answered; its sender gives up after a while.

use crate::random::Random;
use bytes::Bytes;
use estafette_raft::{Call, Lane, Node, NodeId, Transport, Unreached};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// How long a sender waits for an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a request takes on a good link, in microseconds.
const DELAY_US: Range<u64> = 100..2_000;
/// And on a slow one.
const SLOW_US: Range<u64> = 20_000..400_000;

/// All links. Cheap to clone.
#[derive(Clone)]
pub(super) struct Network(Arc<Mutex<Links>>);

struct Links {
    random: Random,
    nodes: BTreeMap<u64, Station>,
    cut: BTreeSet<(u64, u64)>,
    slow: BTreeSet<(u64, u64)>,
    /// Of a thousand requests so many are lost.
    lost_per_mille: u64,
    /// When the last request of a lane arrives.
    busy_until: BTreeMap<(u64, u64, u8), Instant>,
    sent: u64,
}

/// A life of a node that can be reached.
#[derive(Clone)]
struct Station {
    node: Weak<Node>,
    running: watch::Receiver<bool>,
}

impl Network {
    pub(super) fn new(random: Random) -> Network {
        Network(Arc::new(Mutex::new(Links {
            random,
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            slow: BTreeSet::new(),
            lost_per_mille: 0,
            busy_until: BTreeMap::new(),
            sent: 0,
        })))
    }

    /// A node is there from now on. While `running` says false it stands still, and so does all that is sent to it.
    pub(super) fn join(&self, id: u64, node: &Arc<Node>, running: watch::Receiver<bool>) {
        self.0.lock().nodes.insert(id, Station { node: Arc::downgrade(node), running });
    }

    /// It is gone.
    pub(super) fn leave(&self, id: u64) {
        self.0.lock().nodes.remove(&id);
    }

    pub(super) fn cut(&self, from: u64, to: u64, cut: bool) {
        let cuts = &mut self.0.lock().cut;
        let _ = if cut { cuts.insert((from, to)) } else { cuts.remove(&(from, to)) };
    }

    pub(super) fn slow(&self, from: u64, to: u64, slow: bool) {
        let links = &mut self.0.lock().slow;
        let _ = if slow { links.insert((from, to)) } else { links.remove(&(from, to)) };
    }

    pub(super) fn lose(&self, per_mille: u64) {
        self.0.lock().lost_per_mille = per_mille;
    }

    /// All links are good again.
    pub(super) fn heal(&self) {
        let mut links = self.0.lock();
        links.cut.clear();
        links.slow.clear();
        links.lost_per_mille = 0;
    }

    /// Requests that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.0.lock().sent
    }

    /// When something that is sent now arrives; `None`: never.
    fn arrival(&self, from: u64, to: u64, lane: u8) -> Option<Instant> {
        let mut links = self.0.lock();
        links.sent += 1;
        let slow = links.slow.contains(&(from, to));
        let delay = links.random.within(if slow { SLOW_US } else { DELAY_US });
        let lost = links.random.within(0..1000) < links.lost_per_mille;
        if lost || links.cut.contains(&(from, to)) {
            return None;
        }
        let busy_until = links.busy_until.entry((from, to, lane)).or_insert_with(Instant::now);
        *busy_until = (*busy_until).max(Instant::now() + Duration::from_micros(delay));
        Some(*busy_until)
    }

    /// Waits until a life of a node does not stand still; `None` if it ended meanwhile.
    async fn awake(&self, id: u64, life: &mut Station) -> Option<Arc<Node>> {
        life.running.wait_for(|running| *running).await.ok()?;
        // What is left of a life after its end runs on, but nobody hears of it.
        let is_here = self.0.lock().nodes.get(&id).is_some_and(|here| Weak::ptr_eq(&here.node, &life.node));
        life.node.upgrade().filter(|_| is_here)
    }

    async fn carry(self, from: u64, to: u64, lane: u8, request: Bytes) -> Option<Bytes> {
        let arrival = self.arrival(from, to, lane)?;
        tokio::time::sleep_until(arrival).await;
        let mut life = self.0.lock().nodes.get(&to)?.clone();
        let answer = self.awake(to, &mut life).await?.serve(NodeId(from), request).await;
        self.awake(to, &mut life).await?;
        // Answers come back beside the requests of the other direction.
        let arrival = self.arrival(to, from, lane + 100)?;
        tokio::time::sleep_until(arrival).await;
        Some(answer)
    }
}

/// One life of a node, as a sender.
pub(super) struct Sender {
    pub(super) network: Network,
    pub(super) id: u64,
    pub(super) running: watch::Receiver<bool>,
    /// Turns true when the node crashes: nothing is sent after that.
    pub(super) dead: watch::Receiver<bool>,
}

impl Transport for Sender {
    fn call(&self, to: NodeId, lane: Lane, request: Vec<Bytes>) -> Call {
        let (network, from, to) = (self.network.clone(), self.id, to.0);
        let (mut running, dead) = (self.running.clone(), self.dead.clone());
        let lane = match lane {
            Lane::Urgent => 0,
            Lane::Entries => 1,
            Lane::Bulk => 2,
        };
        let request: Bytes = request.concat().into();
        Box::pin(async move {
            if *dead.borrow() || running.wait_for(|running| *running).await.is_err() {
                return Err(Unreached::NotSent);
            }
            let (done, wait) = oneshot::channel();
            // What was sent arrives, whether its sender still waits for the answer or not.
            tokio::spawn(async move {
                if let Some(answer) = network.carry(from, to, lane, request).await {
                    let _ = done.send(answer);
                } else {
                    // No word comes back; the sender's patience ends it.
                    done_never(done).await;
                }
            });
            match tokio::time::timeout(CALL_TIMEOUT, wait).await {
                Ok(Ok(answer)) if !*dead.borrow() => Ok(answer),
                _ => Err(Unreached::NoAnswer),
            }
        })
    }
}

/// Keeps a channel open until nobody waits on it.
async fn done_never(mut done: oneshot::Sender<Bytes>) {
    done.closed().await;
}
