//! What a comparison found: figures, what they come to beside each other, and whether that is enough.

pub(crate) mod html;
mod plot;
mod rows;
pub(crate) mod text;

pub(crate) use rows::{Goal, Row, Verdict, Wanted, rows};

use crate::servers::Kind;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;

/// All of a comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Of what, where and when.
    pub(crate) head: Head,
    /// The goals and what was reached.
    pub(crate) rows: Vec<Row>,
    /// Everything that was measured.
    pub(crate) measurements: Vec<Measurement>,
    /// What could not be.
    pub(crate) failures: Vec<Failure>,
}

impl Report {
    /// Without figures yet.
    pub(crate) fn new(head: Head) -> Report {
        Report { head, rows: Vec::new(), measurements: Vec::new(), failures: Vec::new() }
    }
}

/// Of what, where and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The day (UTC).
    pub(crate) date: String,
    /// The commit that was measured.
    pub(crate) commit: String,
    /// The versions of all programs, as they tell them.
    pub(crate) programs: Vec<String>,
    /// Processors, their kind, and the kernel.
    pub(crate) machine: String,
}

impl Head {
    /// Asks the programs and the machine.
    pub(crate) fn read(program: &Path, commit: Option<&str>) -> Head {
        let commit =
            commit.map(str::to_owned).or_else(|| said(Path::new("git"), &["rev-parse", "--short", "HEAD"]));
        let programs = [
            said(program, &["--version"]),
            said(Path::new("dovecot"), &["--version"]).map(|version| format!("dovecot {version}")),
            said(Path::new("postconf"), &["-h", "mail_version"]).map(|version| format!("postfix {version}")),
        ];
        let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Head {
            date: time::OffsetDateTime::now_utc().date().to_string(),
            commit: commit.unwrap_or_else(|| "unknown".to_owned()),
            programs: programs.into_iter().flatten().collect(),
            machine: format!(
                "{processors} processors ({}), Linux {}",
                model.map_or("unknown", |(_, name)| name),
                kernel.trim()
            ),
        }
    }
}

/// The first line that a program says.
fn said(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
}

/// What one load measured on one server in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// The round, from 0.
    pub(crate) round: usize,
    /// The server.
    pub(crate) server: String,
    /// The load.
    pub(crate) load: String,
    /// The figures.
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// A load that could not be run, or a server that did not start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// The round, from 0.
    pub(crate) round: usize,
    /// The server.
    pub(crate) server: String,
    /// The load.
    pub(crate) load: String,
    /// Why.
    pub(crate) why: String,
}

impl Failure {
    /// Of this load on this server.
    pub(crate) fn new(round: usize, server: Kind, load: &str, why: &dyn std::fmt::Display) -> Failure {
        Failure { round, server: server.name().to_owned(), load: load.to_owned(), why: why.to_string() }
    }
}

/// Figures of a load; those that it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    /// Operations a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_second: Option<f64>,
    /// CPU time of the server for one operation, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_ms_each: Option<f64>,
    /// Written to files by the server's processes for one operation, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) written_kib_each: Option<f64>,
    /// Written to the disk for one operation, with what the file system adds, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disk_kib_each: Option<f64>,
    /// Flushes of the disk for one operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flushes_each: Option<f64>,
    /// Half of the operations took less, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ms: Option<f64>,
    /// 99 of 100 took less, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ms: Option<f64>,
    /// Memory for one idle session, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session_kib: Option<f64>,
    /// The share of TLS handshakes that resumed a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resumed_share: Option<f64>,
}

/// One of them, by which servers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// Operations a second.
    Rate,
    /// Operations for a second of the server's CPU time.
    PerCpuSecond,
    /// CPU time of an operation.
    CpuMs,
    /// What the disk is given for an operation.
    DiskKib,
    /// Flushes for an operation.
    Flushes,
    /// Memory of an idle session.
    SessionKib,
}

impl Figure {
    /// Its value among these.
    pub(crate) fn of(self, figures: &Figures) -> Option<f64> {
        match self {
            Figure::Rate => figures.per_second,
            Figure::PerCpuSecond => figures.cpu_ms_each.filter(|ms| *ms > 0.0).map(|ms| 1000.0 / ms),
            Figure::CpuMs => figures.cpu_ms_each,
            Figure::DiskKib => figures.disk_kib_each,
            Figure::Flushes => figures.flushes_each,
            Figure::SessionKib => figures.session_kib,
        }
    }

    /// In what it is told.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Figure::Rate => "a second",
            Figure::PerCpuSecond => "a CPU second",
            Figure::CpuMs => "ms of CPU",
            Figure::DiskKib => "KiB to the disk",
            Figure::Flushes => "flushes",
            Figure::SessionKib => "KiB",
        }
    }

    /// More of it is better.
    pub(crate) fn is_better_large(self) -> bool {
        matches!(self, Figure::Rate | Figure::PerCpuSecond)
    }
}

/// The middle of several figures, and the outermost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// The middle.
    pub(crate) median: f64,
    /// The least.
    pub(crate) low: f64,
    /// The greatest.
    pub(crate) high: f64,
}

impl Spread {
    /// `None` without figures.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (lower, upper) =
            (figures.get(figures.len().saturating_sub(1) / 2)?, figures.get(figures.len() / 2)?);
        let median = f64::midpoint(*lower, *upper);
        Some(Spread { median, low: *figures.first()?, high: *figures.last()? })
    }

    /// How far the outermost lie from each other, relative to the middle.
    pub(crate) fn relative(&self) -> f64 {
        if self.median > 0.0 { (self.high - self.low) / self.median } else { 0.0 }
    }
}

/// The figures of a load on a server, over all rounds.
pub(crate) fn spread(
    measurements: &[Measurement],
    server: &str,
    load: &str,
    figure: impl Fn(&Figures) -> Option<f64>,
) -> Option<Spread> {
    let of = measurements.iter().filter(|one| one.load == load && one.server == server);
    Spread::of(of.filter_map(|one| figure(&one.figures)))
}

/// The different values of a field, in the order in which they come first.
pub(crate) fn distinct<'a>(
    measurements: &'a [Measurement],
    field: impl Fn(&'a Measurement) -> &'a str,
) -> Vec<&'a str> {
    let mut found = Vec::new();
    for value in measurements.iter().map(field) {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_the_spread_relative() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.median, spread.low, spread.high), (2.0, 1.0, 3.0));
        assert_eq!(spread.relative(), 1.0);
        assert_eq!(Spread::of([1.0, 3.0]).map(|found| found.median), Some(2.0));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn operations_for_a_cpu_second_come_from_the_cpu_of_one() {
        let figures = Figures { cpu_ms_each: Some(0.5), ..Figures::default() };
        assert_eq!(Figure::PerCpuSecond.of(&figures), Some(2000.0));
        let too_short = Figures { cpu_ms_each: Some(0.0), ..Figures::default() };
        assert_eq!(Figure::PerCpuSecond.of(&too_short), None);
        assert_eq!(Figure::Rate.of(&figures), None);
    }

    #[test]
    fn figures_that_a_load_does_not_have_are_left_out_of_the_json() {
        let figures = Figures { session_kib: Some(1.5), ..Figures::default() };
        let measurement = Measurement { round: 0, server: "a".to_owned(), load: "b".to_owned(), figures };
        let text = serde_json::to_string(&measurement).unwrap();
        assert_eq!(text, r#"{"round":0,"server":"a","load":"b","session_kib":1.5}"#);
        assert_eq!(serde_json::from_str::<Measurement>(&text).unwrap().figures, figures);
    }
}
