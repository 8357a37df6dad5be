//! One data folder over many rounds: its node, what was told and seen, and the checks.

use crate::error::{ChaosError, Stop};
use crate::faults::Planted;
use crate::finding::Finding;
use crate::load::{History, Load, Tally};
use crate::node::{Home, Node, Plan, Started};
use crate::oracle::{Counts, Oracle, Tolerance, Verdict, Violation};
use crate::random::Random;
use crate::reader::{self, Depth, Wanted};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Findings kept of one comparison; more say nothing new.
const FINDINGS_MAX: usize = 50;
/// Messages from this size on are staged; loads have such now and then.
const STAGE_FROM_BYTES: u64 = 256 * 1024;
/// One reading in so many is of all bytes of all messages.
const ALL_ONE_IN: u64 = 10;

/// What does not change over rounds.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) program: PathBuf,
    pub(crate) accounts: usize,
    pub(crate) sessions: usize,
    pub(crate) load_ms_max: u64,
    /// Free bytes under which the node takes no mail; `None`: its default.
    pub(crate) min_free_bytes: Option<u64>,
    pub(crate) planted: Option<Planted>,
}

/// What was done and seen in a round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) tally: Tally,
    /// Of the last comparison.
    pub(crate) counts: Counts,
    pub(crate) starts: u64,
    pub(crate) longest_start: Duration,
    /// Damaged folders that were refused, and such that were taken.
    pub(crate) refused_starts: u64,
    pub(crate) taken_starts: u64,
    /// Errors in place of damaged messages.
    pub(crate) errors_told: u64,
    /// How long the disk took to fill up.
    pub(crate) longest_fill: Duration,
    /// How often only a new start brought service back after a full disk.
    pub(crate) service_restarts: u64,
    /// Taken away by power losses.
    pub(crate) unsynced_bytes: u64,
}

/// A data folder with its history.
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) folder: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) random: Random,
    pub(crate) figures: Figures,
    oracle: Oracle,
    /// What sessions should have seen while there was load.
    unseen: Vec<Violation>,
    next_id: Arc<AtomicU64>,
    runs: u64,
}

impl World {
    pub(crate) fn new(settings: Settings, folder: &Path, data: &Path, random: Random) -> World {
        World {
            settings,
            folder: folder.to_owned(),
            data: data.to_owned(),
            random,
            figures: Figures::default(),
            oracle: Oracle::default(),
            unseen: Vec::new(),
            next_id: Arc::new(AtomicU64::new(1)),
            runs: 0,
        }
    }

    /// How to start the node on a folder, with settings that make rare things frequent.
    pub(crate) fn plan(&mut self, data: &Path) -> Plan {
        self.runs += 1;
        let snapshot = self.random.pick(&[500, 5000, 50_000]).copied().unwrap_or(5000);
        let company = self.random.pick(&[0, 1, 20]).copied().unwrap_or(1);
        let collect = self.random.pick(&[5, 3600]).copied().unwrap_or(3600);
        let mut storage = vec![format!("collect_after_seconds = {collect}")];
        // The largest messages of a load go into the store while they come.
        storage.push(format!("stage_from_bytes = {STAGE_FROM_BYTES}"));
        storage.extend(self.settings.min_free_bytes.map(|bytes| format!("min_free_bytes = {bytes}")));
        let settings = BTreeMap::from([
            ("storage", storage),
            (
                "raft",
                vec![format!("snapshot_after_entries = {snapshot}"), format!("company_wait_ms = {company}")],
            ),
        ]);
        Plan {
            program: self.settings.program.clone(),
            data: data.to_owned(),
            folder: self.folder.clone(),
            name: format!("node-{:04}", self.runs),
            home: Home::Loopback,
            accounts: self.settings.accounts,
            settings,
            environment: Vec::new(),
        }
    }

    /// Starts the node; a finding if it does not serve.
    pub(crate) async fn start(&mut self, after: &'static str) -> Result<Node, Stop> {
        let data = self.data.clone();
        let plan = self.plan(&data);
        self.start_by(&plan, after).await
    }

    pub(crate) async fn start_by(&mut self, plan: &Plan, after: &'static str) -> Result<Node, Stop> {
        let node = plan.start().await?.serving(after)?;
        self.figures.starts += 1;
        self.figures.longest_start = self.figures.longest_start.max(node.start_time);
        Ok(node)
    }

    /// Starts a node on a damaged folder, and says what came of it.
    pub(crate) async fn try_start(&mut self, data: &Path) -> Result<Started, Stop> {
        Ok(self.plan(data).start().await?)
    }

    /// Starts a load against the node.
    pub(crate) fn load(&mut self, node: &Node) -> Result<Load, Stop> {
        let target = node.target(&self.next_id)?;
        Ok(Load::start(&target, self.settings.sessions, &mut self.random))
    }

    /// A random time of load.
    pub(crate) async fn some_time(&mut self) {
        let ms = self.random.within(20..self.settings.load_ms_max.max(21));
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// Ends a load and writes down what it was told.
    pub(crate) async fn end_load(&mut self, load: Load) -> History {
        let history = load.stop().await;
        self.figures.tally += Tally::of(&history);
        self.oracle.record(history.sent.iter().cloned());
        self.oracle.record_erased(history.erased.iter().copied());
        self.oracle.record_stored(history.stored.iter().copied());
        self.unseen.extend(history.unseen.iter().cloned());
        history
    }

    /// Reads everything from the node, and holds it against the history. What was seen is kept.
    pub(crate) async fn judge(&mut self, node: &mut Node) -> Result<(), Stop> {
        let depth = if self.random.one_in(ALL_ONE_IN) { Depth::All } else { Depth::New };
        self.judge_to(node, depth).await
    }

    /// The same, to a depth.
    pub(crate) async fn judge_to(&mut self, node: &mut Node, depth: Depth) -> Result<(), Stop> {
        let oracle = Arc::new(self.oracle.clone());
        let wanted: Wanted = Arc::new(move |account, uid| depth == Depth::All || !oracle.knows(account, uid));
        let outcomes = reader::read(&node.door()?, &node.logins(), &wanted).await;
        let mut verdict = self.oracle.judge(&outcomes, Tolerance::None);
        verdict.violations.append(&mut self.unseen);
        self.oracle.absorb(&outcomes);
        self.figures.counts = verdict.counts;
        node.alive()?;
        passed(&verdict)
    }

    /// The same for a node on a damaged copy: nothing of it is kept. Gives how many errors there were.
    pub(crate) async fn judge_copy(&mut self, node: &Node, tolerance: Tolerance) -> Result<u64, Stop> {
        let wanted: Wanted = Arc::new(|_, _| true);
        let outcomes = reader::read(&node.door()?, &node.logins(), &wanted).await;
        let verdict = self.oracle.judge(&outcomes, tolerance);
        self.figures.errors_told += verdict.counts.unreadable;
        passed(&verdict)?;
        Ok(verdict.counts.unreadable)
    }
}

fn passed(verdict: &Verdict) -> Result<(), Stop> {
    if verdict.violations.is_empty() {
        return Ok(());
    }
    Err(Stop::Found(verdict.violations.iter().take(FINDINGS_MAX).cloned().map(Finding::Mail).collect()))
}

/// What `check` says of a folder.
#[derive(Debug)]
pub(crate) enum Checked {
    Clean,
    Faults(String),
    /// The program has no such command.
    Unknown,
}

/// Runs `check` on a folder whose node does not run.
pub(crate) async fn check(program: &Path, data: &Path) -> Result<Checked, ChaosError> {
    let failed = |source| ChaosError::Program { program: program.display().to_string(), source };
    let help =
        tokio::process::Command::new(program).args(["check", "--help"]).output().await.map_err(failed)?;
    if !help.status.success() {
        return Ok(Checked::Unknown);
    }
    let run = tokio::process::Command::new(program).arg("check").arg("--data").arg(data).output();
    let output = run.await.map_err(failed)?;
    if output.status.success() {
        // One that says nothing has not looked.
        return Ok(if output.stdout.is_empty() { Checked::Unknown } else { Checked::Clean });
    }
    let text = [output.stdout, output.stderr].concat();
    let from = text.len().saturating_sub(3000);
    Ok(Checked::Faults(String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()))
}
