//! What a run over a cluster gave, for people and for programs.

use super::faults::Fault;
use super::gaps::percentile;
use crate::load::Tally;
use clap::ValueEnum;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Of all rounds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ClusterReport {
    pub(crate) nodes: usize,
    /// Rounds in which each fault took part, and the time without service in them.
    pub(crate) faults: BTreeMap<Fault, OfFault>,
    pub(crate) rounds: Vec<OfRound>,
    /// The longest times without service of accounts in rounds, in milliseconds.
    pub(crate) gap_p50_ms: u64,
    pub(crate) gap_p99_ms: u64,
    pub(crate) gap_max_ms: u64,
    pub(crate) probes: u64,
    /// Bits that were flipped in files, and bodies that nodes found damaged afterwards and mended.
    pub(crate) flipped: u64,
    pub(crate) bodies_damaged: u64,
    pub(crate) bodies_repaired: u64,
    /// Those that nodes knew to be damaged when they had been judged. The others were removed before they were mended.
    pub(crate) bodies_left: u64,
    /// Nodes that were emptied and joined anew, since their database was damaged.
    pub(crate) replaced: u64,
    /// Leaders that were killed while they sent a snapshot: what `snapshot` is for, and cannot always have.
    pub(crate) snapshots_interrupted: u64,
    /// The faults of the round that found something.
    pub(crate) failed: Option<Vec<Fault>>,
}

/// Of one kind of fault; other faults may have been there at the same time.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct OfFault {
    pub(crate) rounds: u64,
    /// In how many of them it was alone.
    pub(crate) alone: u64,
    /// The longest time without service of accounts in rounds in which it was alone.
    pub(crate) alone_gap_p50_ms: u64,
    pub(crate) alone_gap_p99_ms: u64,
    pub(crate) gap_max_ms: u64,
    #[serde(skip)]
    alone_gaps: Vec<u64>,
}

/// Of one round.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct OfRound {
    pub(crate) round: u64,
    pub(crate) faults: Vec<Fault>,
    /// What the nodes had was held against what clients were told, and fitted.
    pub(crate) judged: bool,
    pub(crate) seconds: u64,
    pub(crate) told: Tally,
    /// Probes that succeeded.
    pub(crate) probes: u64,
    /// The longest time without service of each account that was probed, in milliseconds.
    pub(crate) gaps_ms: Vec<u64>,
    /// See [`ClusterReport::flipped`].
    pub(crate) flipped: u64,
    pub(crate) bodies_damaged: u64,
    pub(crate) bodies_repaired: u64,
    pub(crate) bodies_left: u64,
    pub(crate) replaced: u64,
    pub(crate) snapshots_interrupted: u64,
}

/// The name of a fault, as on the command line.
pub(crate) fn name(fault: Fault) -> String {
    fault.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

pub(crate) fn names(faults: &[Fault]) -> String {
    faults.iter().map(|fault| name(*fault)).collect::<Vec<_>>().join(" + ")
}

impl OfRound {
    pub(crate) fn longest_gap_ms(&self) -> u64 {
        self.gaps_ms.iter().max().copied().unwrap_or(0)
    }
}

impl ClusterReport {
    /// Rounds with `snapshot`, if there were any, and snapshots that were interrupted.
    pub(crate) fn of_snapshots(&self) -> Option<(u64, u64)> {
        self.faults.get(&Fault::Snapshot).map(|of| (of.rounds, self.snapshots_interrupted))
    }

    /// Takes in a round.
    pub(super) fn take(&mut self, round: OfRound, failed: bool) {
        for fault in &round.faults {
            let of = self.faults.entry(*fault).or_default();
            of.rounds += 1;
            of.gap_max_ms = of.gap_max_ms.max(round.longest_gap_ms());
            if round.faults.len() == 1 {
                of.alone += 1;
                of.alone_gaps.extend(&round.gaps_ms);
                of.alone_gap_p50_ms = percentile(&of.alone_gaps, 50);
                of.alone_gap_p99_ms = percentile(&of.alone_gaps, 99);
            }
        }
        self.probes += round.probes;
        self.flipped += round.flipped;
        self.bodies_damaged += round.bodies_damaged;
        self.bodies_repaired += round.bodies_repaired;
        self.bodies_left += round.bodies_left;
        self.replaced += round.replaced;
        self.snapshots_interrupted += round.snapshots_interrupted;
        if failed {
            self.failed = Some(round.faults.clone());
        }
        self.rounds.push(round);
        let gaps: Vec<u64> = self.rounds.iter().flat_map(|round| &round.gaps_ms).copied().collect();
        self.gap_p50_ms = percentile(&gaps, 50);
        self.gap_p99_ms = percentile(&gaps, 99);
        self.gap_max_ms = percentile(&gaps, 100);
    }
}

impl fmt::Display for ClusterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<14} {:>7} {:>7} {:>12} {:>12} {:>12}",
            "fault", "rounds", "alone", "gap p50 ms", "p99", "longest"
        )?;
        for (fault, of) in &self.faults {
            writeln!(
                f,
                "{:<14} {:>7} {:>7} {:>12} {:>12} {:>12}",
                name(*fault),
                of.rounds,
                of.alone,
                of.alone_gap_p50_ms,
                of.alone_gap_p99_ms,
                of.gap_max_ms
            )?;
        }
        writeln!(
            f,
            "{} nodes; without service for at most {} ms (p50), {} ms (p99), {} ms (longest) of an account in a \
             round; {} probes succeeded",
            self.nodes, self.gap_p50_ms, self.gap_p99_ms, self.gap_max_ms, self.probes
        )?;
        if self.flipped > 0 {
            let (flipped, damaged, repaired) = (self.flipped, self.bodies_damaged, self.bodies_repaired);
            let left = self.bodies_left;
            writeln!(
                f,
                "{flipped} bits flipped; {damaged} bodies found damaged, {repaired} repaired, {left} damaged still"
            )?;
            writeln!(f, "{} damaged nodes emptied and joined anew", self.replaced)?;
        }
        if let Some((rounds, interrupted)) = self.of_snapshots() {
            writeln!(f, "{rounds} rounds with `snapshot`, {interrupted} snapshots interrupted")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_count_for_faults_that_were_alone() {
        let mut report = ClusterReport::default();
        let round = |faults: &[Fault], gaps: &[u64]| OfRound {
            faults: faults.to_vec(),
            gaps_ms: gaps.to_vec(),
            ..OfRound::default()
        };
        report.take(round(&[Fault::Kill], &[100, 300]), false);
        report.take(round(&[Fault::Kill, Fault::Cut], &[9000]), true);
        let kill = report.faults[&Fault::Kill].clone();
        assert_eq!((kill.rounds, kill.alone, kill.alone_gap_p99_ms, kill.gap_max_ms), (2, 1, 300, 9000));
        assert_eq!((report.gap_p50_ms, report.gap_max_ms), (300, 9000));
        assert_eq!(report.failed, Some(vec![Fault::Kill, Fault::Cut]));
        assert!(report.to_string().contains("kill"));
    }
}
