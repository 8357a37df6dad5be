//! Runs the same loads against several servers in turns and puts the figures side by side, with what they have
//! to reach.
//!
//! All servers of a round run at the same time but are loaded one after the other, so that one load meets each
//! of them within seconds: a machine that drifts drifts for all. Idle sessions are held by servers of their own
//! that have done nothing else.

mod goals;
mod measure;
mod works;

use crate::error::BenchError;
use crate::report::{self, Failure, Head, Measurement, Report};
use crate::servers::{InotifyLimit, Kind, Server};
use clap::Args;
use goals::goals;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::time::Duration;
use works::{Work, works};

/// The same loads against each server; all are durable before they answer.
#[derive(Args, Clone, Debug)]
pub(crate) struct Compare {
    /// The program `estafette`.
    #[arg(long)]
    program: PathBuf,
    /// An empty folder on the disk to be measured.
    #[arg(long)]
    folder: PathBuf,
    /// Rounds; in each, every server runs every load once.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that a load lasts.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Accounts of each server; the first twenty are read from and hold the same on all, the others are
    /// delivered to.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u16).range(21..))]
    accounts: u16,
    /// Messages in each mailbox that is read.
    #[arg(long, default_value_t = 200)]
    messages: usize,
    /// Idle sessions that are measured.
    #[arg(long, default_value_t = 5_000)]
    idle_sessions: usize,
    /// Idle sessions that are held before.
    #[arg(long, default_value_t = 1_000)]
    idle_before: usize,
    /// Idle sessions of servers that have a process for each.
    #[arg(long, default_value_t = 500)]
    idle_sessions_peers: usize,
    /// Only loads with one of these in their names (`imap`, `fetch`, `lmtp 4 KiB in 20`); all, when none is given.
    #[arg(long, value_delimiter = ',')]
    loads: Vec<String>,
    /// The servers.
    #[arg(long, value_enum, value_delimiter = ',',
        default_values = ["estafette", "estafette-epoll", "dovecot", "dovecot-hibernate", "postfix"])]
    servers: Vec<Kind>,
    /// Write all figures to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write a page with tables and plots to this file.
    #[arg(long)]
    html: Option<PathBuf>,
    /// What is measured, as it is told with the figures; without, the commit of the present folder.
    #[arg(long)]
    commit: Option<String>,
}

/// The servers of a round that run.
type Running = Vec<(Kind, Box<dyn Server>)>;

impl Compare {
    /// Runs it and prints the tables.
    pub(crate) async fn run(self) -> Result<(), BenchError> {
        let works: Vec<Work> = works().into_iter().filter(|work| self.is_wanted(work)).collect();
        let mut report = Report::new(Head::read(&self.program, self.commit.as_deref()));
        let _raised = InotifyLimit::raise();
        let (idle, loads): (Vec<Work>, Vec<Work>) = works.into_iter().partition(Work::is_idle);
        let bar = ProgressBar::new((self.rounds * self.servers.len() * (idle.len() + loads.len())) as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({elapsed}, {eta} left)")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_secs(1));
        for round in 0..self.rounds {
            self.idle(round, &idle, &mut report, &bar).await?;
            if !loads.is_empty() {
                let mut running = self.start_all(round, &mut report)?;
                self.fill(&mut running, round, &mut report, &bar).await;
                self.turns(round, &loads, &running, &mut report, &bar).await;
                for (kind, server) in &mut running {
                    server.stop();
                    std::fs::remove_dir_all(self.folder_of(*kind, round))?;
                }
            }
            // What is measured is not lost when a later round cannot be.
            report.rows = report::rows(&goals(), &report.measurements);
            self.write(&report)?;
        }
        bar.finish_and_clear();
        report::text::print(&report)
    }

    fn is_wanted(&self, work: &Work) -> bool {
        let label = work.label();
        self.loads.is_empty() || self.loads.iter().any(|wanted| label.contains(wanted.as_str()))
    }

    fn folder_of(&self, kind: Kind, round: usize) -> PathBuf {
        self.folder.join(format!("{}-{round}", kind.name()))
    }

    fn start(&self, kind: Kind, folder: &Path) -> Result<Box<dyn Server>, BenchError> {
        std::fs::create_dir_all(folder)?;
        let started = kind.start(&self.program, folder, usize::from(self.accounts));
        if started.is_err() {
            let _ = std::fs::remove_dir_all(folder);
        }
        started
    }

    fn start_all(&self, round: usize, report: &mut Report) -> Result<Running, BenchError> {
        let mut running = Vec::new();
        for kind in self.servers.iter().copied().filter(|kind| *kind != Kind::DovecotHibernate) {
            match self.start(kind, &self.folder_of(kind, round)) {
                Ok(server) => running.push((kind, server)),
                Err(error) => report.failures.push(Failure::new(round, kind, "start", &error)),
            }
        }
        if running.is_empty() {
            return Err(BenchError::Unknown {
                what: "server that starts of",
                name: format!("{:?}", self.servers),
            });
        }
        Ok(running)
    }

    /// The idle loads, each on servers of its own.
    async fn idle(
        &self,
        round: usize,
        works: &[Work],
        report: &mut Report,
        bar: &ProgressBar,
    ) -> Result<(), BenchError> {
        for work in works {
            for kind in self.servers.iter().copied() {
                bar.set_message(format!("{}: {}", kind.name(), work.label()));
                if kind != Kind::Postfix {
                    let folder = self.folder_of(kind, round);
                    match self.start(kind, &folder) {
                        Ok(mut server) => {
                            self.one(round, work, kind, server.as_ref(), report).await;
                            server.stop();
                            std::fs::remove_dir_all(&folder)?;
                        }
                        Err(error) => report.failures.push(Failure::new(round, kind, &work.label(), &error)),
                    }
                }
                bar.inc(1);
            }
        }
        Ok(())
    }

    /// Every load on every server; another server begins in each round.
    async fn turns(
        &self,
        round: usize,
        works: &[Work],
        running: &Running,
        report: &mut Report,
        bar: &ProgressBar,
    ) {
        for work in works {
            for turn in 0..running.len() {
                let Some((kind, server)) = running.get((turn + round) % running.len()) else { continue };
                bar.set_message(format!("{}: {}", kind.name(), work.label()));
                self.one(round, work, *kind, server.as_ref(), report).await;
                bar.inc(1);
            }
            bar.inc((self.servers.len() - running.len()) as u64);
        }
    }

    async fn one(&self, round: usize, work: &Work, kind: Kind, server: &dyn Server, report: &mut Report) {
        match self.measure(work, kind, server).await {
            Ok(Some(figures)) => report.measurements.push(Measurement {
                round,
                server: kind.name().to_owned(),
                load: work.label(),
                figures,
            }),
            Ok(None) => {}
            Err(error) => report.failures.push(Failure::new(round, kind, &work.label(), &error)),
        }
    }

    fn write(&self, report: &Report) -> Result<(), BenchError> {
        if let Some(path) = &self.json {
            std::fs::write(path, serde_json::to_vec_pretty(report)?)?;
        }
        if let Some(path) = &self.html {
            std::fs::write(path, report::html::page(report))?;
        }
        Ok(())
    }
}
