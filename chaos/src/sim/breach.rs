//! What the cluster must never do.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rule {
    /// What was acknowledged is there.
    Lost,
    /// Nothing is there twice.
    Doubled,
    /// What was refused, removed or never sent is not there.
    Unwanted,
    /// Every byte is as it was sent.
    Damaged,
    /// A UID belongs to one message for ever.
    UidReused,
    /// UIDVALIDITY never changes.
    UidValidity,
    /// UIDNEXT and HIGHESTMODSEQ never fall.
    WentBack,
    /// A change gets a new ModSeq.
    NoNewModSeq,
    /// Who asks for what is fresh sees all that anybody was told before.
    Stale,
    /// Flags that were acknowledged are there.
    FlagLost,
    /// All replicas hold the same.
    ReplicasDiffer,
    /// Rows and references fit each other.
    Inconsistent,
    /// A node comes back after any crash.
    NoStart,
    /// Groups work again when everything is healed.
    NoService,
    /// Nothing stops for good.
    Fatal,
    /// The same seed gives the same run.
    NotReproducible,
}

/// One breach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Breach {
    pub(super) rule: Rule,
    pub(super) what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}
