//! What a cluster costs: three nodes on this machine, beside one.
//!
//! All nodes share the processors and the disk here, so three of them have three times the work for what one has; what
//! machines of their own would do is better. Each part stands by itself and can be chosen. Nodes are children of this
//! program, in a folder that is made for them and removed in the end.

mod control;
mod failover;
mod idle;
mod latency;
mod nodes;
mod result;
mod scrape;
mod throughput;
mod trickle;
mod wipe;

use crate::error::BenchError;
use crate::report::Head;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use nodes::{Make, Nodes, Returning, Setting};
use result::Report;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Nodes of a cluster.
const NODES: usize = 3;
/// Accounts where there are only to be some.
const ACCOUNTS_FEW: usize = 12;
/// Messages that one session fills a node with.
const SESSION_MESSAGES_MAX: usize = 1_000_000;

/// Measures three nodes beside one: deliveries, idling, and what happens when one is lost.
#[derive(Args, Clone, Debug)]
pub(crate) struct Cluster {
    /// The program `estafette`.
    #[arg(long, default_value = "estafette")]
    program: PathBuf,
    /// A folder on the disk to be measured, made anew and removed in the end [default: a temporary one].
    #[arg(long)]
    folder: Option<PathBuf>,
    /// What is measured.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::value_variants().to_vec())]
    parts: Vec<Part>,
    /// Accounts that mail is delivered to.
    #[arg(long, default_value_t = 60)]
    accounts: usize,
    /// Shards for each of three nodes; 0 for their own choice.
    #[arg(long, default_value_t = 0)]
    shards: u32,
    /// Shards of the node that is alone; 0 for its own choice.
    #[arg(long, default_value_t = 0)]
    shards_alone: u32,
    /// throughput: sessions at the same time, one load for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [20, 1, 100])]
    sessions: Vec<usize>,
    /// throughput: rounds, in each of which both run every load.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// throughput: seconds that a load lasts.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// latency: messages.
    #[arg(long, default_value_t = 500)]
    messages: usize,
    /// idle: shards for each of three nodes, one cluster for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [4, 22, 86])]
    idle_shards: Vec<u32>,
    /// idle: seconds that nodes are watched.
    #[arg(long, default_value_t = 30)]
    idle_seconds: u64,
    /// failover: how often a leader is killed.
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// wipe: GiB of mail.
    #[arg(long, default_value_t = 1.0)]
    gib: f64,
    /// wipe: entries after which the log of a group is made short, so that what was before comes as a snapshot and
    /// bodies, as in a cluster of some age.
    #[arg(long, default_value_t = 1_000)]
    snapshot_after: u64,
    #[command(flatten)]
    returning: Returning,
    /// A setting of every node, as `SECTION.NAME=VALUE` (VALUE as in the file of settings); again for each.
    #[arg(long = "set", value_name = "SETTING", value_parser = Setting::parse)]
    settings: Vec<Setting>,
    /// Write all figures to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// What is measured, as it is told with the figures; without, the commit of the present folder.
    #[arg(long)]
    commit: Option<String>,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Deliveries a second.
    Throughput,
    /// The time of a delivery with nothing else to do.
    Latency,
    /// What nodes take with nothing to do.
    Idle,
    /// The time without a leader.
    Failover,
    /// The time until a node that lost its disk has all again.
    Wipe,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Cluster {
    /// Runs it and prints what was found.
    pub(crate) async fn run(self) -> Result<(), BenchError> {
        let name = format!("estafette-cluster-{}", std::process::id());
        let folder = self.folder.clone().unwrap_or_else(|| std::env::temp_dir().join(name));
        // Not one that holds something else: only what is made here is removed.
        std::fs::create_dir(&folder)?;
        let folder = Folder(folder);
        let mut report = Report::new(self.head());
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_secs(1));
        for part in Part::value_variants() {
            // A pair of clusters serves both.
            let with_throughput = *part == Part::Latency && self.wants(Part::Throughput);
            if self.wants(*part) && !with_throughput {
                bar.set_message(part.to_string());
                let measured = self.part(*part, &folder, &mut report, &bar).await;
                report.failures.extend(measured.err().map(|error| format!("{part}: {error}")));
                // What is measured is not lost when a later part cannot be.
                if let Some(path) = &self.json {
                    std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
                }
            }
        }
        bar.finish_and_clear();
        write!(std::io::stdout(), "{report}")?;
        Ok(())
    }

    /// Of what, where and when. No other server takes part.
    fn head(&self) -> Head {
        let mut head = Head::read(&self.program, self.commit.as_deref());
        head.programs.truncate(1);
        head
    }

    fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    async fn part(
        &self,
        part: Part,
        folder: &Folder,
        report: &mut Report,
        bar: &ProgressBar,
    ) -> Result<(), BenchError> {
        match part {
            Part::Throughput | Part::Latency => self.beside_one(folder, report, bar).await,
            Part::Idle => {
                for shards in &self.idle_shards {
                    bar.set_message(format!("idle: {shards} shards for each node"));
                    let (_own, nodes) = start(folder, self.make(NODES, *shards, ACCOUNTS_FEW)).await?;
                    report.idle.push(idle::measure(self.idle_seconds, &nodes).await?);
                }
                Ok(())
            }
            Part::Failover => {
                let (_own, mut nodes) = start(folder, self.make(NODES, self.shards, self.accounts)).await?;
                report.failover = Some(failover::measure(self.kills, &mut nodes, bar).await?);
                Ok(())
            }
            Part::Wipe => {
                let mut make = self.make(NODES, self.shards, self.accounts);
                let own = [
                    Setting::new("raft", "snapshot_after_entries", self.snapshot_after),
                    Setting::new("smtp", "messages_max", SESSION_MESSAGES_MAX),
                ];
                make.settings.splice(0..0, own);
                let (_own, mut nodes) = start(folder, make).await?;
                report.wipe = Some(wipe::measure(self.gib, &self.returning, &mut nodes, bar).await?);
                Ok(())
            }
        }
    }

    /// The parts in which three nodes stand beside one.
    async fn beside_one(
        &self,
        folder: &Folder,
        report: &mut Report,
        bar: &ProgressBar,
    ) -> Result<(), BenchError> {
        let (_own, alone) = start(folder, self.make(1, self.shards_alone, self.accounts)).await?;
        let (_own_three, three) = start(folder, self.make(NODES, self.shards, self.accounts)).await?;
        if self.wants(Part::Latency) {
            bar.set_message(Part::Latency.to_string());
            report.latency = Some(latency::measure(self.messages, &folder.0, &alone, &three).await?);
        }
        if self.wants(Part::Throughput) {
            bar.set_message(Part::Throughput.to_string());
            let order = throughput::Order {
                sessions: self.sessions.clone(),
                rounds: self.rounds,
                seconds: self.seconds,
            };
            report.throughput = throughput::measure(&order, &alone, &three).await?;
        }
        Ok(())
    }

    /// So many nodes; their folder is given by who starts them.
    fn make(&self, nodes: usize, shards: u32, accounts: usize) -> Make {
        Make {
            program: self.program.clone(),
            folder: PathBuf::new(),
            nodes,
            shards,
            accounts,
            settings: self.settings.clone(),
        }
    }
}

/// Starts nodes in a folder of their own, which is to go after them.
async fn start(folder: &Folder, make: Make) -> Result<(Folder, Nodes), BenchError> {
    let own = Folder(folder.0.join(format!("{}-nodes", make.nodes)));
    std::fs::create_dir(&own.0)?;
    let nodes = Nodes::start(Make { folder: own.0.clone(), ..make }).await?;
    Ok((own, nodes))
}
