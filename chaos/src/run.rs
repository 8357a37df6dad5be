//! `estafette-chaos run`: so many rounds of faults on real nodes, and the oracle after each. One node has one fault a
//! round; several have overlapping ones ([`crate::cluster`]).

use crate::cluster::{self, Order};
use crate::error::{ChaosError, Stop};
use crate::faults::{Fault, Planted};
use crate::finding::Finding;
use crate::head::Head;
use crate::node::Node;
use crate::random::Random;
use crate::reader::Depth;
use crate::report::Report;
use crate::world::{Checked, Figures, Settings, World, check};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Real processes: load, fault, start, oracle, over and over on one data folder.
#[derive(Args, Clone, Debug)]
pub(crate) struct Run {
    /// The `estafette` program
    #[arg(long)]
    program: PathBuf,
    /// Rounds; the faults take turns
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Faults [default: all of this number of nodes]
    #[arg(long, value_delimiter = ',')]
    faults: Vec<String>,
    /// Nodes; several run in network namespaces (needs root)
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// One node as if it were one of several: with namespaces, a disk of its own and overlapping faults
    #[arg(long, hide = true)]
    namespaces: bool,
    /// Of the accounts, so many only have clients that look for service (several nodes only)
    #[arg(long, default_value_t = 4)]
    probed: usize,
    /// For the same decisions again (the moments of a real process are not the same)
    #[arg(long)]
    seed: Option<u64>,
    /// An empty folder, kept afterwards [default: a temporary one, kept when something is found]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Sessions that deliver at the same time
    #[arg(long, default_value_t = 10)]
    sessions: usize,
    /// Accounts that mail is delivered to
    #[arg(long, default_value_t = 20)]
    accounts: usize,
    /// The longest load before a fault
    #[arg(long, default_value_t = 1500)]
    load_ms_max: u64,
    /// Bits that the faults `flip-…` flip at once (several nodes only)
    #[arg(long, default_value_t = 1)]
    flips: u64,
    /// Plant a bug, which has to be found
    #[arg(long, value_enum)]
    planted: Option<Planted>,
    /// What the report calls the commit [default: that of the present folder]
    #[arg(long)]
    commit: Option<String>,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the report as a page to this file
    #[arg(long)]
    html: Option<PathBuf>,
}

impl Run {
    /// Runs it all. The report says whether the oracle holds.
    pub(crate) async fn run(&self) -> Result<Report, ChaosError> {
        if self.several() {
            self.order()?.draw_from()?;
            cluster::enter()?;
        }
        let begin = Instant::now();
        let (folder, temporary) = self.folder()?;
        let seed = self.seed.unwrap_or_else(random_seed);
        let mut report = Report { head: Head::read(self.commit.as_deref()), seed, ..Report::default() };
        let result = match self.several() {
            true => cluster::run(&self.order()?, &folder, seed, &mut report).await,
            false => self.one_node(&folder, seed, &mut report).await,
        };
        report.seconds = begin.elapsed().as_secs();
        match result {
            Ok(()) => report.holds = true,
            Err(Stop::Found(findings)) => report.findings = findings,
            Err(Stop::Skipped(_)) => {}
            Err(Stop::Failed(error)) => {
                if let Some(temporary) = temporary {
                    let _ = temporary.keep();
                }
                return Err(error);
            }
        }
        report.folder = match temporary {
            Some(temporary) if report.holds => temporary.close().ok().and(None),
            Some(temporary) => Some(temporary.keep()),
            None => Some(folder),
        };
        if let Some(html) = &self.html {
            std::fs::write(html, crate::html::page(&report)).map_err(ChaosError::file(html))?;
        }
        Ok(report)
    }

    fn several(&self) -> bool {
        self.nodes > 1 || self.namespaces
    }

    fn program(&self) -> Result<PathBuf, ChaosError> {
        std::path::absolute(&self.program).map_err(ChaosError::file(&self.program))
    }

    fn order(&self) -> Result<Order, ChaosError> {
        Ok(Order {
            program: self.program()?,
            nodes: self.nodes,
            rounds: self.rounds,
            faults: self.faults.clone(),
            sessions: self.sessions,
            accounts: self.accounts,
            probed: self.probed.min(self.accounts.saturating_sub(1)),
            load_ms_max: self.load_ms_max,
            flips: self.flips.max(1),
            planted: self.planted,
        })
    }

    async fn one_node(&self, folder: &Path, seed: u64, report: &mut Report) -> Result<(), Stop> {
        let settings = Settings {
            program: self.program()?,
            accounts: self.accounts,
            sessions: self.sessions,
            load_ms_max: self.load_ms_max,
            min_free_bytes: None,
            planted: self.planted,
        };
        let mut world = World::new(settings, folder, &folder.join("data"), Random::new(seed));
        let result = self.rounds(&mut world, report).await;
        report.compared = world.figures.counts;
        result
    }

    /// The faults of one node.
    fn faults(&self) -> Result<Vec<Fault>, ChaosError> {
        named(Fault::value_variants(), &self.faults)
    }

    fn folder(&self) -> Result<(PathBuf, Option<tempfile::TempDir>), ChaosError> {
        let Some(folder) = &self.folder else {
            let temporary = tempfile::Builder::new().prefix("estafette-chaos-").tempdir();
            let temporary = temporary.map_err(ChaosError::file(&std::env::temp_dir()))?;
            return Ok((temporary.path().to_owned(), Some(temporary)));
        };
        std::fs::create_dir_all(folder).map_err(ChaosError::file(folder))?;
        if std::fs::read_dir(folder).map_err(ChaosError::file(folder))?.next().is_some() {
            return Err(ChaosError::NotEmpty { path: folder.clone() });
        }
        Ok((std::path::absolute(folder).map_err(ChaosError::file(folder))?, None))
    }

    async fn rounds(&self, world: &mut World, report: &mut Report) -> Result<(), Stop> {
        let faults = self.faults()?;
        let bar = bar(self.rounds);
        let mut node = world.start("on an empty folder").await?;
        for (round, fault) in (0..self.rounds).zip(faults.iter().cycle()) {
            bar.set_message(format!("{fault:?}, {} acknowledged", report.told.acknowledged));
            world.figures = Figures { counts: world.figures.counts, ..Figures::default() };
            let result = self.round(world, node, *fault, report).await;
            self.count(world, report, *fault);
            node = match result {
                Ok(node) => node,
                Err(stop) => {
                    report.failed_round = Some((round + 1, *fault));
                    bar.abandon();
                    return Err(stop);
                }
            };
            bar.inc(1);
        }
        bar.finish_and_clear();
        self.end(world, node, report).await
    }

    /// One round; one that this machine cannot do is counted, and the node started anew.
    async fn round(
        &self,
        world: &mut World,
        node: Node,
        fault: Fault,
        report: &mut Report,
    ) -> Result<Node, Stop> {
        match fault.round(world, node).await {
            Err(Stop::Skipped(why)) => {
                let of = report.faults.entry(fault).or_default();
                of.skipped += 1;
                of.why_skipped = Some(why);
                world.start("after a round that was skipped").await
            }
            result => result,
        }
    }

    fn count(&self, world: &World, report: &mut Report, fault: Fault) {
        let figures = &world.figures;
        let of = report.faults.entry(fault).or_default();
        of.rounds += 1;
        of.told += figures.tally;
        of.refused_starts += figures.refused_starts;
        of.taken_starts += figures.taken_starts;
        of.service_restarts += figures.service_restarts;
        of.longest_fill_ms = of.longest_fill_ms.max(ms(figures.longest_fill));
        of.unsynced_bytes += figures.unsynced_bytes;
        of.errors_told += figures.errors_told;
        report.rounds += 1;
        report.told += figures.tally;
        report.starts += figures.starts;
        report.longest_start_ms = report.longest_start_ms.max(ms(figures.longest_start));
    }

    /// Everything once more, to the bit, and `check`.
    async fn end(&self, world: &mut World, mut node: Node, report: &mut Report) -> Result<(), Stop> {
        world.judge_to(&mut node, Depth::All).await?;
        node.stop().await?;
        match check(&world.settings.program, &world.data).await? {
            Checked::Clean => report.check = Some("clean"),
            Checked::Unknown => report.check = Some("the program has no such command"),
            Checked::Faults(output) => {
                report.check = Some("faults");
                return Err(Finding::CheckFaults { output }.into());
            }
        }
        Ok(())
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The faults of these names, of those that are possible; all of them without names.
pub(crate) fn named<F: ValueEnum>(possible: &[F], names: &[String]) -> Result<Vec<F>, ChaosError> {
    if names.is_empty() {
        return Ok(possible.to_vec());
    }
    let value = |fault: &F| fault.to_possible_value();
    let one = |name: &String| {
        let fault = possible.iter().find(|fault| value(fault).is_some_and(|value| value.matches(name, true)));
        fault.cloned().ok_or_else(|| {
            let all = possible.iter().filter_map(value).map(|value| value.get_name().to_owned());
            ChaosError::NoFault(name.clone(), all.collect::<Vec<_>>().join(", "))
        })
    };
    names.iter().map(one).collect()
}

/// The progress of so many rounds.
pub(crate) fn bar(rounds: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg} (ends in {eta})");
    let bar = ProgressBar::new(rounds);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() >> 16
}
