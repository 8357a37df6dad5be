//! `estafette-chaos sim`: the real engine, groups and storage over a simulated network, clock and disk, by seeds.
//!
//! Each seed runs in a process of its own, whose one thread has time, random numbers and syncs from a library in front of
//! the system's calls (`shim/sim.c`). So a seed and a commit give the same run, and time that would be waited costs nothing.
//! What blocks is done in place, as commits are made by hand: on threads of its own its moment would be left to chance.
//! Clients write down what they are told; afterwards each node is held against it (`judge`).

mod breach;
mod client;
mod cluster;
mod disk;
mod history;
mod judge;
mod nemesis;
mod network;
mod node;
mod plan;
mod read;
mod report;
mod seed;
mod setup;
mod trace;

use crate::error::ChaosError;
use crate::head::Head;
use crate::shim;
use breach::{Breach, Rule};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
pub(crate) use report::Report;
pub(crate) use seed::Seed;
use seed::{CLOCK, JOURNAL, OUTCOME, Outcome};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A seed that takes longer hangs.
const SEED_TIMEOUT: Duration = Duration::from_secs(180);
/// Between two looks whether a seed has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The variable that says which bug is planted.
const PLANTED: &str = "ESTAFETTE_PLANTED";

/// Seeded simulation of a cluster: engine, groups and storage over a simulated network, clock and disk.
#[derive(Args, Clone, Debug)]
pub(crate) struct Sim {
    /// Seeds, FIRST..LAST, both included
    #[arg(long, value_parser = seeds, conflicts_with = "seed")]
    seeds: Option<(u64, u64)>,
    /// One seed
    #[arg(long)]
    seed: Option<u64>,
    /// Print what happens in the run of the seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Seeds at the same time [default: as many as there are processors]
    #[arg(long)]
    jobs: Option<usize>,
    /// Run every so many-th seed twice, and see that both runs are the same; 0: none
    #[arg(long, default_value_t = 20)]
    repeat_every: u64,
    /// Plant a bug, which has to be found (needs the feature `planted`)
    #[arg(long)]
    planted: Option<String>,
    /// End with the first seed that breaks a rule
    #[arg(long)]
    stop: bool,
    /// Where runs have their folders [default: memory, where there is such a place]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// What the report calls the commit [default: that of the present folder]
    #[arg(long)]
    commit: Option<String>,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Parses `1..200`.
fn seeds(text: &str) -> Result<(u64, u64), String> {
    let range = text.split_once("..").and_then(|(first, last)| {
        let last = last.trim_start_matches('=');
        Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
    });
    range.filter(|(first, last)| first <= last).ok_or_else(|| "not a range like 1..200".to_owned())
}

/// An error if there is no such bug to plant.
#[cfg(feature = "planted")]
fn plantable(name: &str) -> Result<(), ChaosError> {
    let names = estafette_storage::planted::NAMES;
    let unknown = || ChaosError::NoBug(name.to_owned(), names.join(", "));
    names.contains(&name).then_some(()).ok_or_else(unknown)
}

#[cfg(not(feature = "planted"))]
fn plantable(_: &str) -> Result<(), ChaosError> {
    Err(ChaosError::NotPlanted)
}

/// Folders in memory, on systems that have them.
const IN_MEMORY: &str = "/dev/shm";

impl Sim {
    /// Runs all seeds. The report says whether the oracle holds.
    pub(crate) fn run(&self) -> Result<Report, ChaosError> {
        let begin = Instant::now();
        self.planted.as_deref().map_or(Ok(()), plantable)?;
        let folder = self.place()?;
        let library = shim::compile(folder.path(), "sim", include_str!("../../shim/sim.c"))?;
        let (first, last) = self.seed.map(|seed| (seed, seed)).or(self.seeds).unwrap_or((1, 200));
        let planted = self.planted.clone();
        let head = Head::read(self.commit.as_deref());
        let report = Mutex::new(Report { head, first, last, planted, ..Report::default() });
        let (next, failure) = (AtomicU64::new(first), Mutex::new(None));
        let bar = self.bar(last - first + 1);
        std::thread::scope(|scope| {
            for _ in 0..self.jobs() {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        let ended = failure.lock().is_some() || (self.stop && !report.lock().all_hold());
                        if seed > last || ended {
                            return;
                        }
                        match self.seed(seed, folder.path(), &library, &report) {
                            Ok(outcome) => report.lock().add(outcome),
                            Err(error) => drop(failure.lock().get_or_insert(error)),
                        }
                        bar.inc(1);
                    }
                });
            }
        });
        bar.finish_and_clear();
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        let mut report = report.into_inner();
        report.end(begin.elapsed().as_secs_f64());
        Ok(report)
    }

    fn jobs(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if self.trace { 1 } else { self.jobs.unwrap_or_else(processors).max(1) }
    }

    fn place(&self) -> Result<tempfile::TempDir, ChaosError> {
        let memory = Path::new(IN_MEMORY);
        let above = match &self.folder {
            Some(folder) => folder.clone(),
            None if memory.is_dir() => memory.to_owned(),
            None => std::env::temp_dir(),
        };
        tempfile::Builder::new().prefix("estafette-sim-").tempdir_in(&above).map_err(ChaosError::file(&above))
    }

    fn bar(&self, seeds: u64) -> ProgressBar {
        if self.json || self.trace || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds, {eta} left");
        ProgressBar::new(seeds).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    /// Runs a seed; some of them twice.
    fn seed(
        &self,
        seed: u64,
        folder: &Path,
        library: &Path,
        report: &Mutex<Report>,
    ) -> Result<Outcome, ChaosError> {
        let mut outcome = self.once(seed, folder, library)?;
        if self.repeat_every > 0 && seed.is_multiple_of(self.repeat_every) && !self.trace {
            let again = self.once(seed, folder, library)?;
            report.lock().repeated += 1;
            if again.trace != outcome.trace {
                let what = format!("trace {} at first, {} then", outcome.trace, again.trace);
                outcome.breaches.push(Breach { rule: Rule::NotReproducible, what });
            }
        }
        Ok(outcome)
    }

    /// One run, in a process of its own.
    fn once(&self, seed: u64, folder: &Path, library: &Path) -> Result<Outcome, ChaosError> {
        let own = folder.join(format!("seed-{seed}"));
        std::fs::create_dir_all(&own).map_err(ChaosError::file(&own))?;
        let (clock, journal) = (own.join(CLOCK), own.join(JOURNAL));
        std::fs::write(&clock, 0_i64.to_ne_bytes()).map_err(ChaosError::file(&clock))?;
        std::fs::write(&journal, "").map_err(ChaosError::file(&journal))?;
        let program = std::env::current_exe().map_err(ChaosError::system("current_exe"))?;
        let mut command = Command::new(&program);
        command.args(["sim-seed", "--seed", &seed.to_string(), "--folder"]).arg(&own);
        if self.trace {
            command.arg("--trace");
        }
        command.env("LD_PRELOAD", library).env("CHAOS_SEED", seed.to_string());
        command.env("CHAOS_CLOCK", &clock).env("CHAOS_JOURNAL", &journal);
        match &self.planted {
            Some(name) => command.env(PLANTED, name),
            None => command.env_remove(PLANTED),
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command
            .spawn()
            .map_err(|source| ChaosError::Program { program: program.display().to_string(), source })?;
        let outcome = finish(child, seed, self.trace);
        let _ = std::fs::remove_dir_all(&own);
        outcome
    }
}

/// Waits for the end of a seed and reads its outcome.
fn finish(mut child: Child, seed: u64, trace: bool) -> Result<Outcome, ChaosError> {
    let failed = |what: String| ChaosError::Seed { seed, what };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let words = std::thread::spawn(move || gather(stderr));
    let lines = std::thread::spawn(move || gather(stdout));
    let begin = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begin.elapsed() < SEED_TIMEOUT => std::thread::sleep(LOOK_EVERY),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed("it does not end".to_owned()));
            }
        }
    };
    let (text, words) = (lines.join().unwrap_or_default(), words.join().unwrap_or_default());
    let outcome = text.lines().find_map(|line| line.strip_prefix(OUTCOME));
    if trace {
        let told = text.lines().filter(|line| !line.starts_with(OUTCOME));
        let mut out = std::io::stdout().lock();
        told.for_each(|line| drop(writeln!(out, "{line}")));
    }
    match outcome.map(serde_json::from_str) {
        Some(Ok(outcome)) => Ok(outcome),
        _ => {
            let end: Vec<&str> = words.lines().rev().take(5).collect();
            Err(failed(format!("it ended with {status}: {}", end.join(" / "))))
        }
    }
}

fn gather(from: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        // What was read until an error is what there is.
        let _ = from.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_seeds() {
        assert_eq!(seeds("1..200"), Ok((1, 200)));
        assert_eq!(seeds("7..=7"), Ok((7, 7)));
        for bad in ["", "1", "2..1", "a..b", "1..", "-1..2"] {
            assert!(seeds(bad).is_err(), "{bad}");
        }
    }

    /// All `.rs` files below a folder.
    #[cfg(feature = "planted")]
    fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                into.push(path);
            }
        }
    }

    #[test]
    #[cfg(feature = "planted")]
    fn bugs_that_are_planted_have_names_that_are_known() {
        // As it is now: the test may have been compiled in another checkout.
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap();
        let above = Path::new(&folder).parent().unwrap();
        let mut files = Vec::new();
        ["storage/src", "raft/src", "engine"]
            .iter()
            .for_each(|below| sources(&above.join(below), &mut files));
        let mut found = std::collections::BTreeSet::new();
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let names = text.split("planted::is(\"").skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(names.map(str::to_owned));
        }
        let known = estafette_storage::planted::NAMES.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(found, known);
        assert!(plantable("sync-left-out").is_ok() && plantable("sync-leftout").is_err());
    }
}
