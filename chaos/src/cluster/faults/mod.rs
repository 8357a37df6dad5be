//! What is done to a cluster under load. Each fault is a file with its contract; it undoes what it did.

mod clock;
mod cut;
mod disk;
mod flip;
mod kill;
mod membership;
mod moves;
mod power;
mod rolling;
mod slow;
mod snapshot;
mod stop;
pub(super) mod wipe;

use super::Cluster;
use super::member::Member;
use super::net::Number;
use crate::error::{ChaosError, Stop};
use crate::random::Random;
use clap::ValueEnum;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

/// How long most faults hold, in milliseconds.
const HOLD_MS: std::ops::Range<u64> = 500..7000;
/// For a command of the operator to succeed while other faults come and go.
const COMMAND_WAIT: Duration = Duration::from_secs(120);
const COMMAND_PAUSE: Duration = Duration::from_millis(500);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// SIGKILL, and a start some time later.
    Kill,
    /// SIGSTOP and SIGCONT.
    Stop,
    /// A node is cut off from all others.
    Cut,
    /// Packets go one way only.
    CutOneWay,
    /// A node is cut off and joined again, over and over.
    Flap,
    /// Some packets are lost.
    Loss,
    /// Links are slow and narrow.
    SlowLink,
    /// A disk is filled.
    DiskFull,
    /// Syncs take long.
    SlowDisk,
    /// Syncs fail.
    SyncFails,
    /// Bits in table files are flipped; one, unless the run says more.
    FlipSst,
    /// The same in blob files.
    FlipBlob,
    /// The same in write-ahead logs.
    FlipWal,
    /// The clock jumps, and back.
    Clock,
    /// A node loses power.
    PowerLoss,
    /// All nodes lose power at once.
    PowerLossAll,
    /// One more node joins, and leaves.
    Membership,
    /// All nodes are restarted, one after another.
    Rolling,
    /// A node loses its folder and joins anew.
    Wipe,
    /// A leader is killed while it sends a node all that there is.
    Snapshot,
    /// Accounts move to other shards.
    Moves,
}

/// Which nodes' processes and disks a fault works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Nothing,
    Victim,
    All,
}

impl Fault {
    /// What it works on; two faults of a round never on the same.
    pub(crate) fn claim(self) -> Claim {
        match self {
            Fault::Cut | Fault::CutOneWay | Fault::Flap | Fault::Loss | Fault::SlowLink => Claim::Nothing,
            Fault::Membership | Fault::Moves => Claim::Nothing,
            Fault::PowerLossAll | Fault::Rolling | Fault::Snapshot => Claim::All,
            _ => Claim::Victim,
        }
    }

    /// True if it may take a copy of the data away for good, which a cluster survives only once at a time, or
    /// changes who belongs to the cluster.
    pub(crate) fn alone_of_its_kind(self) -> bool {
        self.flips() || matches!(self, Fault::Wipe | Fault::Snapshot | Fault::Membership | Fault::Rolling)
    }

    /// True if bits of files are flipped, which the node mends by and by.
    pub(crate) fn flips(self) -> bool {
        matches!(self, Fault::FlipSst | Fault::FlipBlob | Fault::FlipWal)
    }

    /// True if it makes sense only with several nodes.
    pub(crate) fn needs_others(self) -> bool {
        let network = self.claim() == Claim::Nothing;
        network || self.flips() || matches!(self, Fault::Wipe | Fault::Snapshot)
    }

    /// True if all messages of the victim are to be read to the bit afterwards.
    pub(crate) fn rereads(self) -> bool {
        self.flips() || matches!(self, Fault::PowerLossAll)
    }

    /// Does it and undoes it.
    pub(crate) async fn strike(self, scene: Scene) -> Result<(), Stop> {
        match self {
            Fault::Kill => kill::kill(scene).await,
            Fault::Stop => stop::stop(scene).await,
            Fault::Cut => cut::whole(scene).await,
            Fault::CutOneWay => cut::one_way(scene).await,
            Fault::Flap => cut::flapping(scene).await,
            Fault::Loss => cut::loss(scene).await,
            Fault::SlowLink => slow::slow_link(scene).await,
            Fault::DiskFull => disk::full(scene).await,
            Fault::SlowDisk => disk::slow(scene).await,
            Fault::SyncFails => disk::sync_fails(scene).await,
            Fault::FlipSst => flip::flip(scene, "sst").await,
            Fault::FlipBlob => flip::flip(scene, "blob").await,
            Fault::FlipWal => flip::flip(scene, "log").await,
            Fault::Clock => clock::jump(scene).await,
            Fault::PowerLoss => power::one(scene).await,
            Fault::PowerLossAll => power::all(scene).await,
            Fault::Membership => membership::joins_and_leaves(scene).await,
            Fault::Rolling => rolling::restart(scene).await,
            Fault::Wipe => wipe::comes_back(scene).await,
            Fault::Snapshot => snapshot::leader_killed(scene).await,
            Fault::Moves => moves::there_and_on(scene).await,
        }
    }
}

/// Where a fault takes place.
pub(crate) struct Scene {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) victim: Number,
    pub(crate) random: Random,
}

impl Scene {
    async fn member(&self) -> Result<MutexGuard<'_, Member>, ChaosError> {
        self.cluster.member(self.victim).await
    }

    /// Another node than the victim; the victim when there is none.
    fn other(&mut self) -> Number {
        let others: Vec<Number> = self.others();
        self.random.pick(&others).copied().unwrap_or(self.victim)
    }

    fn others(&self) -> Vec<Number> {
        (1..=self.cluster.nodes).filter(|other| *other != self.victim).collect()
    }

    /// Lets the fault take effect.
    async fn hold(&mut self) {
        let ms = self.random.within(HOLD_MS);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    async fn pause_ms(&mut self, ms: std::ops::Range<u64>) {
        let ms = self.random.within(ms);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// Does something that other faults may prevent for a while, until it succeeds.
async fn patiently<T>(mut what: impl AsyncFnMut() -> Result<T, Stop>) -> Result<T, Stop> {
    let end = Instant::now() + COMMAND_WAIT;
    loop {
        match what().await {
            Err(Stop::Found(_)) if Instant::now() < end => tokio::time::sleep(COMMAND_PAUSE).await,
            result => return result,
        }
    }
}
