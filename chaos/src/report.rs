//! What a run found, for people and for programs.

use crate::cluster::ClusterReport;
use crate::faults::Fault;
use crate::finding::Finding;
use crate::head::Head;
use crate::load::Tally;
use crate::oracle::Counts;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

const HEADS: [&str; 10] = [
    "rounds",
    "messages",
    "acknowl.",
    "unanswered",
    "put off",
    "unfinished",
    "removed",
    "refused",
    "taken",
    "errors",
];

/// The report of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    pub(crate) head: Head,
    pub(crate) holds: bool,
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    pub(crate) rounds: u64,
    pub(crate) faults: BTreeMap<Fault, OfFault>,
    /// Of all rounds.
    pub(crate) told: Tally,
    /// Of the last comparison over all messages.
    pub(crate) compared: Counts,
    pub(crate) starts: u64,
    pub(crate) longest_start_ms: u64,
    /// What `check` said at the end.
    pub(crate) check: Option<&'static str>,
    pub(crate) findings: Vec<Finding>,
    /// The round that found them.
    pub(crate) failed_round: Option<(u64, Fault)>,
    /// Of a run over several nodes, in place of `faults`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<ClusterReport>,
    /// Where the evidence lies.
    pub(crate) folder: Option<PathBuf>,
}

/// Of one kind of fault.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct OfFault {
    pub(crate) rounds: u64,
    pub(crate) skipped: u64,
    pub(crate) why_skipped: Option<&'static str>,
    pub(crate) told: Tally,
    /// Damaged folders that were refused, and such that were taken.
    pub(crate) refused_starts: u64,
    pub(crate) taken_starts: u64,
    /// Errors in place of damaged messages or mailboxes.
    pub(crate) errors_told: u64,
    /// The longest time that a disk took to fill up.
    pub(crate) longest_fill_ms: u64,
    /// How often only a new start brought service back after a full disk.
    pub(crate) service_restarts: u64,
    /// Bytes that were taken away because they were not synced.
    pub(crate) unsynced_bytes: u64,
}

impl Report {
    fn of_cluster(&self, f: &mut fmt::Formatter<'_>, cluster: &ClusterReport) -> fmt::Result {
        write!(f, "{cluster}")?;
        let (told, compared) = (self.told, self.compared);
        writeln!(
            f,
            "{} rounds in {} s, seed {}; {} acknowledged, {} put off, {} unanswered, {} removed, {} flags stored; \
             last comparison: {} acknowledged, {} unsure there, {} unsure not there",
            self.rounds,
            self.seconds,
            self.seed,
            told.acknowledged,
            told.put_off,
            told.unanswered,
            told.erased,
            told.stored,
            compared.acknowledged,
            compared.unsure_there,
            compared.unsure_absent
        )?;
        match (&cluster.failed, cluster.rounds.last()) {
            (Some(faults), Some(last)) => {
                writeln!(f, "found in round {} ({})", last.round, crate::cluster::fault_names(faults))
            }
            _ => Ok(()),
        }
    }

    fn of_node(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table(f)?;
        let c = self.compared;
        writeln!(
            f,
            "{} rounds in {} s, seed {}; {} starts, the longest {} ms; last comparison: {} acknowledged, {} \
             unsure there, {} unsure not there; check: {}",
            self.rounds,
            self.seconds,
            self.seed,
            self.starts,
            self.longest_start_ms,
            c.acknowledged,
            c.unsure_there,
            c.unsure_absent,
            self.check.unwrap_or("not run")
        )
    }

    /// A line for each kind of fault.
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, cells: [&str; 10]| {
            write!(f, "{name:<11}")?;
            cells.iter().try_for_each(|cell| write!(f, " {cell:>10}"))
        };
        line(f, "fault", HEADS)?;
        writeln!(f)?;
        for (fault, of) in &self.faults {
            let name = clap::ValueEnum::to_possible_value(fault).map(|value| value.get_name().to_owned());
            let told = of.told;
            let cells = [
                of.rounds,
                told.messages,
                told.acknowledged,
                told.unanswered,
                told.put_off + told.refused,
                told.unfinished,
                told.erased,
                of.refused_starts,
                of.taken_starts,
                of.errors_told,
            ]
            .map(|number| number.to_string());
            line(f, &name.unwrap_or_default(), cells.each_ref().map(String::as_str))?;
            if let Some(why) = of.why_skipped {
                write!(f, "   {} skipped: {why}", of.skipped)?;
            }
            if of.service_restarts > 0 {
                write!(f, "   {} times only a new start brought service back", of.service_restarts)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.head)?;
        match &self.cluster {
            Some(cluster) => self.of_cluster(f, cluster)?,
            None => self.of_node(f)?,
        }
        for finding in &self.findings {
            writeln!(f, "FOUND: {finding}")?;
        }
        if let Some((round, fault)) = self.failed_round {
            writeln!(f, "found in round {round} ({fault:?})")?;
        }
        if let Some(folder) = &self.folder {
            writeln!(f, "folder: {}", folder.display())?;
        }
        let mail = self.findings.iter().filter(|finding| finding.is_mail()).count();
        match self.holds {
            true => writeln!(f, "the oracle holds: nothing lost, doubled or damaged"),
            false if mail > 0 => writeln!(f, "the oracle does NOT hold: {mail} breaches of mail"),
            false => writeln!(f, "no wrong mail was seen, but the node did NOT behave"),
        }
    }
}
