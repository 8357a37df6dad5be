//! What a seed decides before the run begins.

use super::disk::Disks;
use crate::random::Random;
use estafette_raft::{Error, Group, GroupId, Machine, Node};
use estafette_types::ShardId;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// See the head of this module.
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: u64,
    pub(super) shards: u32,
    pub(super) clients: u64,
    /// Accounts that mail goes to.
    pub(super) accounts: u32,
    pub(super) load: Duration,
    /// The longest pause between two faults.
    pub(super) calm_ms_max: u64,
    pub(super) think_ms_max: u64,
    pub(super) sync_us_max: u64,
    compact_entries: u64,
    keep_entries: u64,
    entries_in_flight: usize,
    max_entry_commands: usize,
    commit_wait_ms: u64,
    recent_bytes: usize,
    pub(super) disks: Arc<Mutex<Disks>>,
}

impl Plan {
    pub(super) fn new(seed: u64, disks: Disks) -> Plan {
        let mut random = Random::new(seed);
        let mut pick = |from: &[u64]| random.pick(from).copied().unwrap_or(1);
        Plan {
            seed,
            nodes: pick(&[1, 3, 3, 3, 3]),
            shards: u32::try_from(pick(&[1, 1, 2])).unwrap_or(1),
            clients: pick(&[2, 4, 8]),
            accounts: u32::try_from(pick(&[1, 3])).unwrap_or(1),
            load: Duration::from_secs(pick(&[8, 15, 25])),
            calm_ms_max: pick(&[400, 1_500, 4_000]),
            think_ms_max: pick(&[50, 200, 500]),
            sync_us_max: pick(&[1_000, 8_000, 30_000]),
            compact_entries: pick(&[5, 20, 100, 50_000]),
            keep_entries: pick(&[0, 1, 10, 100]),
            entries_in_flight: usize::try_from(pick(&[1, 1, 4])).unwrap_or(1),
            max_entry_commands: usize::try_from(pick(&[1, 4, 256])).unwrap_or(1),
            commit_wait_ms: pick(&[0, 2, 2, 50]),
            // The second has room for a few rows, so that they come and go.
            recent_bytes: usize::try_from(pick(&[0, 2_000, 1 << 20])).unwrap_or(0),
            disks: Arc::new(Mutex::new(disks)),
        }
    }

    pub(super) fn shards(&self) -> Vec<ShardId> {
        (1..=self.shards).map(ShardId).collect()
    }

    pub(super) fn raft_settings(&self, snapshots: &Path) -> estafette_raft::Settings {
        estafette_raft::Settings {
            compact_entries: self.compact_entries,
            keep_entries: self.keep_entries,
            entries_in_flight: self.entries_in_flight,
            max_entry_commands: self.max_entry_commands,
            commit_wait_ms: self.commit_wait_ms,
            recent_bytes: self.recent_bytes,
            ..estafette_raft::Settings::new(snapshots)
        }
    }

    /// Opens a group of the node. The first node founds it, in its first life.
    pub(super) async fn open_group(
        node: &Node,
        group: GroupId,
        machine: Box<dyn Machine>,
        founds: bool,
    ) -> Result<Group, Error> {
        if founds { node.open(group, machine).await } else { node.join(group, machine).await }
    }
}
