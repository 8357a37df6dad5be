//! What a simulation found, for people and for programs.

use super::breach::Breach;
use super::history::Counts;
use super::seed::Outcome;
use crate::head::Head;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Seeds with breaches that are told one by one.
const FAILED_MAX: usize = 100;

/// The report of a simulation.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    pub(super) head: Head,
    pub(crate) holds: bool,
    pub(super) planted: Option<String>,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) seeds: u64,
    pub(super) seconds: f64,
    pub(super) seeds_an_hour: u64,
    pub(super) simulated_seconds: u64,
    pub(super) told: Counts,
    pub(super) requests: u64,
    pub(super) lost_bytes: u64,
    pub(super) faults: BTreeMap<String, u64>,
    /// Seeds by their number of nodes.
    pub(super) nodes: BTreeMap<u64, u64>,
    /// Seeds that were run twice, to see that a seed gives the same run.
    pub(super) repeated: u64,
    pub(super) failed: Vec<Failed>,
}

/// A seed that broke rules.
#[derive(Debug, Serialize)]
pub(super) struct Failed {
    pub(super) seed: u64,
    pub(super) breaches: Vec<Breach>,
}

impl Report {
    pub(super) fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.simulated_seconds += outcome.virtual_ms / 1000;
        self.told += outcome.told;
        self.requests += outcome.requests;
        self.lost_bytes += outcome.lost_bytes;
        *self.nodes.entry(outcome.nodes).or_default() += 1;
        for (fault, times) in outcome.faults {
            *self.faults.entry(fault).or_default() += times;
        }
        if !outcome.breaches.is_empty() && self.failed.len() < FAILED_MAX {
            self.failed.push(Failed { seed: outcome.seed, breaches: outcome.breaches });
        }
    }

    /// Whether no seed has broken a rule so far.
    pub(super) fn all_hold(&self) -> bool {
        self.failed.is_empty()
    }

    /// The sum is made.
    pub(super) fn end(&mut self, seconds: f64) {
        self.failed.sort_by_key(|failed| failed.seed);
        self.holds = self.failed.is_empty();
        self.seconds = seconds;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let an_hour = (self.seeds as f64 * 3600.0 / seconds.max(0.001)) as u64;
        self.seeds_an_hour = an_hour;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.head)?;
        writeln!(
            f,
            "seeds {}..{}: {} run ({} of them twice) in {:.0} s, {} an hour; {} s were simulated",
            self.first,
            self.last,
            self.seeds,
            self.repeated,
            self.seconds,
            self.seeds_an_hour,
            self.simulated_seconds
        )?;
        let nodes: Vec<String> =
            self.nodes.iter().map(|(nodes, seeds)| format!("{seeds} with {nodes}")).collect();
        writeln!(f, "nodes: {}; requests between them: {}", nodes.join(", "), self.requests)?;
        writeln!(
            f,
            "clients: {} requests acknowledged, {} without a clear answer, {} refused; {} readings; {} \
             answers before the node could show what they say, {} bodies seen before they could be read",
            self.told.acknowledged,
            self.told.unanswered,
            self.told.refused,
            self.told.reads,
            self.told.lagging,
            self.told.absent
        )?;
        let faults: Vec<String> =
            self.faults.iter().map(|(fault, times)| format!("{fault} {times}")).collect();
        writeln!(f, "faults: {}; unsynced bytes lost: {}", faults.join(", "), self.lost_bytes)?;
        for failed in &self.failed {
            for breach in &failed.breaches {
                writeln!(f, "FOUND with seed {}: {breach}", failed.seed)?;
            }
        }
        match (&self.planted, self.holds) {
            (None, true) => writeln!(f, "the oracle holds: nothing lost, doubled or damaged"),
            (None, false) => writeln!(f, "the oracle does NOT hold: {} seeds", self.failed.len()),
            (Some(name), true) => writeln!(f, "the planted bug '{name}' was NOT found"),
            (Some(name), false) => {
                let first = self.failed.first().map_or(0, |failed| failed.seed);
                writeln!(f, "the planted bug '{name}' was found, first with seed {first}")
            }
        }
    }
}
