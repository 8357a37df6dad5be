//! Crowds of half-open and dribbling sessions, and how clients are served beside them.

use super::counts::Counts;
use super::good::{self, Served};
use super::held::{Held, Stage};
use super::node::{Account, Node, NodeOptions};
use super::worker::{CONNECTIONS_MAX, Event, Job, Worker};
use crate::error::BenchError;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::JoinSet;

/// Clients that do honest work.
const GOOD: usize = 100;
/// Messages to each of them beforehand, and fillings of the mailbox that the crowd reads.
const FILLINGS: usize = 2;
/// The longest that a crowd may take to come.
const OPEN_MAX: Duration = Duration::from_secs(120);
/// For a crowd to have left.
const LEAVE: Duration = Duration::from_secs(5);
/// As many as a crowd needs; rings of io_uring take some 20,000 sessions where the limit of open files is that.
const SETTINGS: &str = "[node]\nthreads = 2\n[sessions]\nmax = 60000\n";

/// Holds crowds that do harm, a state and a service after the other, and times clients that work beside them.
#[derive(Args, Clone, Debug)]
pub(crate) struct Crowd {
    #[command(flatten)]
    node: NodeOptions,
    /// The states; all, if none is named.
    #[arg(long, value_enum, value_delimiter = ',')]
    stages: Vec<Stage>,
    /// The size of each crowd.
    #[arg(long, default_value_t = 10_000)]
    size: usize,
    /// The size of one that is deaf: what it does not read waits in memory of the kernel.
    #[arg(long, default_value_t = 2_000)]
    deaf: usize,
    /// Seconds for which each crowd is held.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Sessions of clients that work, a second.
    #[arg(long, default_value_t = 50)]
    per_second: u32,
}

/// One crowd.
#[derive(Debug, Serialize)]
struct Row {
    stage: Option<Stage>,
    service: &'static str,
    /// Sessions that the server held in the end, those of clients that work among them.
    held: u64,
    /// Sessions that the server ended or refused.
    ended: usize,
    /// How the last of them ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    pss_kib: u64,
    #[serde(flatten)]
    served: Served,
}

impl Crowd {
    /// Runs it; fails when a client that worked was not served.
    pub(crate) async fn run(self) -> Result<(), BenchError> {
        let node = Node::start(&self.node, GOOD + 1, SETTINGS)?;
        let mut accounts = node.accounts();
        let Some(account) = accounts.pop() else { return Ok(()) };
        good::fill(&node, &accounts, &account, FILLINGS).await?;
        let mut failures = self.beside(&node, &accounts, None, "", 0, None).await?;
        let stages = if self.stages.is_empty() { Stage::value_variants() } else { &self.stages };
        for stage in stages {
            for service in stage.services() {
                failures += self.crowd(&node, &accounts, &account, *stage, service).await?;
            }
        }
        failures += self.beside(&node, &accounts, None, "", 0, None).await?;
        if failures == 0 { Ok(()) } else { Err(BenchError::Unserved(failures)) }
    }

    /// One crowd; the failures of clients beside it.
    async fn crowd(
        &self,
        node: &Node,
        accounts: &[Account],
        account: &Account,
        stage: Stage,
        service: &'static str,
    ) -> Result<usize, BenchError> {
        let size = if stage == Stage::Deaf { self.deaf } else { self.size };
        let (sender, mut events) = mpsc::unbounded_channel();
        let mut workers = JoinSet::new();
        let mut next = 0;
        while next < size {
            let count = CONNECTIONS_MAX.min(size - next);
            let held = Held {
                address: node.address(service)?,
                service: service.to_owned(),
                stage,
                first: next,
                count,
                account: account.clone(),
            };
            let mut worker = Worker::start(&Job::Hold(held)).await?;
            let sender = sender.clone();
            workers.spawn(async move {
                while let Ok(event) = worker.event().await {
                    if sender.send(event).is_err() {
                        break;
                    }
                }
            });
            next += count;
        }
        let mut seen = Seen::default();
        let end = tokio::time::Instant::now() + OPEN_MAX;
        while seen.ready < workers.len() {
            match tokio::time::timeout_at(end, events.recv()).await {
                Ok(Some(event)) => seen.add(event),
                _ => break,
            }
        }
        let failures = self.beside(node, accounts, Some(stage), service, seen.ended, Some(&mut events)).await;
        workers.shutdown().await;
        tokio::time::sleep(LEAVE).await;
        failures
    }

    /// Times the clients that work, and prints how they were served.
    async fn beside(
        &self,
        node: &Node,
        accounts: &[Account],
        stage: Option<Stage>,
        service: &'static str,
        ended: usize,
        events: Option<&mut UnboundedReceiver<Event>>,
    ) -> Result<usize, BenchError> {
        let served = good::work(node, accounts, self.per_second, Duration::from_secs(self.seconds)).await?;
        let counts = Counts::of(node).await?;
        let mut seen = Seen { ended, ..Seen::default() };
        if let Some(events) = events {
            while let Ok(event) = events.try_recv() {
                seen.add(event);
            }
        }
        let failures = served.failures;
        let Counts { sessions: held, pss_kib, .. } = counts;
        crate::print(&Row { stage, service, held, ended: seen.ended, why: seen.why, pss_kib, served })?;
        Ok(failures)
    }
}

/// What the workers of a crowd have told.
#[derive(Default)]
struct Seen {
    ready: usize,
    ended: usize,
    why: Option<String>,
}

impl Seen {
    fn add(&mut self, event: Event) {
        match event {
            Event::Ready => self.ready += 1,
            Event::Lost { count, why } => {
                self.ended += count;
                self.why = Some(why);
            }
            Event::Exists { .. } => {}
        }
    }
}
