//! The faults, each a round of its own: load, fault, start, oracle.

pub(crate) mod damage;
mod full;
mod power;
mod process;
mod shim;
mod sync;

use crate::error::Stop;
use crate::node::Node;
use crate::world::World;
use clap::ValueEnum;
use serde::Serialize;

/// What is done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// SIGKILL at a random moment, now and then once more while it starts.
    Kill,
    /// SIGTERM at a random moment.
    Term,
    /// SIGSTOP and SIGCONT.
    Pause,
    /// The tail of the newest write-ahead log is cut off after SIGKILL.
    CutWal,
    /// One bit in a write-ahead log is flipped after SIGKILL.
    FlipWal,
    /// One bit in a table file is flipped.
    FlipSst,
    /// One bit in a blob file is flipped.
    FlipBlob,
    /// The disk is filled while mail comes in (a tmpfs; needs root).
    DiskFull,
    /// Syncs begin to fail while mail comes in (needs gcc).
    SyncFails,
    /// SIGKILL, and all that was not synced is lost (needs gcc).
    PowerLoss,
}

/// A bug that the oracle has to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Planted {
    /// The write-ahead log is not synced, and the node believes that it is (for `power-loss`).
    SyncLeftOut,
}

impl Fault {
    /// One round. The node runs before and after it; only [`Fault::DiskFull`] has a node of its own.
    pub(crate) async fn round(self, world: &mut World, node: Node) -> Result<Node, Stop> {
        match self {
            Fault::Kill => process::kill(world, node).await,
            Fault::Term => process::term(world, node).await,
            Fault::Pause => process::pause(world, node).await,
            Fault::CutWal => damage::cut_wal(world, node).await,
            Fault::FlipWal => damage::flip_wal(world, node).await,
            Fault::FlipSst => damage::flip_file(world, node, "sst").await,
            Fault::FlipBlob => damage::flip_file(world, node, "blob").await,
            Fault::DiskFull => full::disk_full(world, node).await,
            Fault::SyncFails => sync::sync_fails(world, node).await,
            Fault::PowerLoss => power::power_loss(world, node).await,
        }
    }
}
