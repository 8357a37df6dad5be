//! Metrics of a group, with its name as label. Handles are made once, so that counting costs an atomic addition.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use crate::GroupId;

/// See the head of this module.
pub(crate) struct Gauges {
    pub(crate) proposals: Counter,
    pub(crate) refused: Counter,
    pub(crate) entry_commands: Histogram,
    pub(crate) propose_seconds: Histogram,
    pub(crate) applied_index: Gauge,
    entries: Counter,
    log_bytes: Counter,
    commit_seconds: Histogram,
    apply_seconds: Histogram,
    commands: Counter,
}

impl Gauges {
    pub(crate) fn new(group: GroupId) -> Self {
        let labels = [("group", group.to_string())];
        Self {
            proposals: metrics::counter!("estafette_raft_proposals_total", &labels),
            refused: metrics::counter!("estafette_raft_proposals_refused_total", &labels),
            entry_commands: metrics::histogram!("estafette_raft_entry_commands", &labels),
            propose_seconds: metrics::histogram!("estafette_raft_propose_seconds", &labels),
            applied_index: metrics::gauge!("estafette_raft_applied_index", &labels),
            entries: metrics::counter!("estafette_raft_entries_total", &labels),
            log_bytes: metrics::counter!("estafette_raft_log_bytes_total", &labels),
            commit_seconds: metrics::histogram!("estafette_raft_commit_seconds", &labels),
            apply_seconds: metrics::histogram!("estafette_raft_apply_seconds", &labels),
            commands: metrics::counter!("estafette_raft_commands_applied_total", &labels),
        }
    }

    /// Entries became durable; `took` is the time since they were handed to the committer.
    pub(crate) fn committed(&self, entries: u64, bytes: u64, took: Duration) {
        self.entries.increment(entries);
        self.log_bytes.increment(bytes);
        self.commit_seconds.record(took);
    }

    /// A round of commands was applied, up to and with the entry `index`.
    #[allow(clippy::cast_precision_loss)] // Gauges are floating-point numbers.
    pub(crate) fn applied(&self, index: u64, commands: usize, took: Duration) {
        self.commands.increment(commands as u64);
        self.applied_index.set(index as f64);
        self.apply_seconds.record(took);
    }
}
