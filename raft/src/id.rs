//! Names of groups and nodes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A Raft group: one log, one machine. Its number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u32);

/// Number of the first shard group; smaller ones are for groups that exist once in a cluster.
const FIRST_SHARD: u32 = 16;

impl GroupId {
    /// Directory, membership, map of the shards.
    pub const CONTROL: Self = Self(0);
    /// Greylist, reputations, rates.
    pub const TRAFFIC: Self = Self(1);

    /// The group of shard `shard`. Shards beyond `u32::MAX - 17` share the last number, which is not in use.
    #[must_use]
    pub const fn shard(shard: u32) -> Self {
        Self(FIRST_SHARD.saturating_add(shard))
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("control"),
            1 => f.write_str("traffic"),
            other if other >= FIRST_SHARD => write!(f, "shard-{}", other - FIRST_SHARD),
            other => write!(f, "group-{other}"),
        }
    }
}

/// A node of the cluster. Chosen once, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
