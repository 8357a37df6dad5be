//! Faults, drawn from the seed, one after the other and over each other.

use super::cluster::Cluster;
use super::disk::Loss;
use crate::random::Random;
use estafette_raft::{NodeId, Order};
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long a fault lasts, in milliseconds.
const LASTS_MS: std::ops::Range<u64> = 50..6_000;
/// The longest pause between two syncs of a slow disk, in microseconds.
const SLOW_DISK_US: u64 = 400_000;
/// How far the time of day may be wrong, in milliseconds.
const WRONG_MS: u64 = 3_600_000;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Kill,
    PowerLoss,
    PowerLossOfAll,
    Isolated,
    CutOneWay,
    SlowLink,
    LossyLinks,
    Pause,
    SlowDisk,
    ClockJump,
    Compaction,
    Snapshot,
    Transfer,
}

const ALONE: [Fault; 7] = [
    Fault::Kill,
    Fault::PowerLoss,
    Fault::PowerLoss,
    Fault::SlowDisk,
    Fault::ClockJump,
    Fault::Compaction,
    Fault::Snapshot,
];
const TOGETHER: [Fault; 15] = [
    Fault::Kill,
    Fault::PowerLoss,
    Fault::PowerLoss,
    Fault::PowerLossOfAll,
    Fault::Isolated,
    Fault::Isolated,
    Fault::CutOneWay,
    Fault::SlowLink,
    Fault::LossyLinks,
    Fault::Pause,
    Fault::SlowDisk,
    Fault::ClockJump,
    Fault::Compaction,
    Fault::Snapshot,
    Fault::Transfer,
];

/// See the head of this module.
pub(super) struct Nemesis {
    pub(super) cluster: Cluster,
    pub(super) random: Random,
    /// Where the library in front of the system's calls looks how wrong the time of day is.
    pub(super) clock: Arc<std::fs::File>,
    /// Faults that last.
    lasting: JoinSet<()>,
    pub(super) done: BTreeMap<String, u64>,
}

impl Nemesis {
    pub(super) fn new(cluster: Cluster, random: Random, clock: Arc<std::fs::File>) -> Nemesis {
        Nemesis { cluster, random, clock, lasting: JoinSet::new(), done: BTreeMap::new() }
    }

    /// Does its work until the time is over; ends all that lasts then, and starts what is down.
    pub(super) async fn run(mut self, lasts: Duration) -> BTreeMap<String, u64> {
        let end = tokio::time::Instant::now() + lasts;
        let calm_ms_max = self.cluster.plan().calm_ms_max;
        let several = self.cluster.plan().nodes > 1;
        loop {
            let calm = Duration::from_millis(self.random.within(20..calm_ms_max));
            if tokio::time::Instant::now() + calm >= end {
                break;
            }
            tokio::time::sleep(calm).await;
            let fault = if several { self.random.pick(&TOGETHER) } else { self.random.pick(&ALONE) };
            let Some(fault) = fault.copied() else { break };
            let node = self.random.within(1..self.cluster.plan().nodes + 1);
            self.cluster.trace().say(format_args!("fault {fault:?} at node {node}"));
            *self.done.entry(format!("{fault:?}")).or_default() += 1;
            self.begin(fault, node);
        }
        self.heal().await;
        self.done
    }

    fn begin(&mut self, fault: Fault, node: u64) {
        let (cluster, network) = (self.cluster.clone(), self.cluster.network().clone());
        let lasts = Duration::from_millis(self.random.within(LASTS_MS));
        let other = 1
            + (node + self.random.within(0..self.cluster.plan().nodes.max(2) - 1))
                % self.cluster.plan().nodes.max(1);
        match fault {
            Fault::Kill => self.crash(&[node], Loss::Process, lasts),
            Fault::PowerLoss => self.crash(&[node], Loss::Power, lasts),
            Fault::PowerLossOfAll => {
                let all: Vec<u64> = (1..=self.cluster.plan().nodes).collect();
                self.crash(&all, Loss::Power, lasts);
            }
            Fault::Isolated => {
                let others: Vec<u64> = (1..=self.cluster.plan().nodes).filter(|id| *id != node).collect();
                let set = move |cut: bool| {
                    for other in &others {
                        network.cut(node, *other, cut);
                        network.cut(*other, node, cut);
                    }
                };
                self.last(lasts, set);
            }
            Fault::CutOneWay => self.last(lasts, move |cut| network.cut(node, other, cut)),
            Fault::SlowLink => self.last(lasts, move |slow| {
                network.slow(node, other, slow);
                network.slow(other, node, slow);
            }),
            Fault::LossyLinks => {
                let per_mille = self.random.within(20..400);
                self.last(lasts, move |lossy| network.lose(if lossy { per_mille } else { 0 }));
            }
            Fault::Pause => {
                let live = cluster.live(node);
                self.last(lasts, move |paused| live.iter().for_each(|live| live.set_running(!paused)));
            }
            Fault::SlowDisk => {
                let (live, usual) = (cluster.live(node), cluster.plan().sync_us_max);
                self.last(lasts, move |slow| {
                    let us = if slow { SLOW_DISK_US } else { usual };
                    live.iter().for_each(|live| live.sync_us_max.store(us, Ordering::Relaxed));
                });
            }
            Fault::ClockJump => {
                let ms = i64::try_from(self.random.within(0..WRONG_MS * 2)).unwrap_or(0);
                let ns = (ms - i64::try_from(WRONG_MS).unwrap_or(0)).saturating_mul(1_000_000);
                let _ = self.clock.write_all_at(&ns.to_ne_bytes(), 0);
            }
            Fault::Compaction | Fault::Snapshot | Fault::Transfer => self.maintain(fault, node, other),
        }
    }

    /// Crashes nodes; they come back after a while, one after the other.
    fn crash(&mut self, nodes: &[u64], loss: Loss, lasts: Duration) {
        nodes.iter().for_each(|node| self.cluster.crash(*node, loss, &mut self.random));
        let (cluster, nodes) = (self.cluster.clone(), nodes.to_vec());
        let mut random = self.random.fork();
        self.lasting.spawn(async move {
            tokio::time::sleep(lasts).await;
            for node in nodes {
                cluster.start(node).await;
                tokio::time::sleep(Duration::from_millis(random.within(0..500))).await;
            }
        });
    }

    /// Turns something on, and off again after a while.
    fn last(&mut self, lasts: Duration, mut set: impl FnMut(bool) + Send + 'static) {
        set(true);
        self.lasting.spawn(async move {
            tokio::time::sleep(lasts).await;
            set(false);
        });
    }

    /// Work that comes now and then, at this moment of all.
    fn maintain(&mut self, fault: Fault, node: u64, other: u64) {
        let Some(live) = self.cluster.live(node) else { return };
        let groups = live.groups();
        let Some(group) = self.random.pick(&groups).cloned() else { return };
        self.lasting.spawn(async move {
            // It may end with the node.
            let work = async {
                match fault {
                    Fault::Snapshot => group.snapshot().await,
                    Fault::Transfer => group.order(Order::LeadBy(NodeId(other))).await,
                    _ => group.compact().await,
                }
            };
            let _ = live.ask(work).await;
        });
    }

    /// Ends all faults, and starts all nodes.
    async fn heal(&mut self) {
        self.cluster.trace().say(format_args!("all is healed"));
        while self.lasting.join_next().await.is_some() {}
        self.cluster.network().heal();
        for live in self.cluster.all() {
            live.set_running(true);
            live.sync_us_max.store(self.cluster.plan().sync_us_max, Ordering::Relaxed);
        }
        for node in self.cluster.down() {
            self.cluster.start(node).await;
        }
    }
}
