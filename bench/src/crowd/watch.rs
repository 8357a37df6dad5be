//! Very many sessions in IDLE, and mail for some of them: how long until each is told, and what each costs.

use super::node::{Account, Node, NodeOptions};
use super::watcher::Watched;
use super::wire::{Heard, Wire};
use super::worker::{CONNECTIONS_MAX, Event, Job, Worker, now_us};
use crate::error::BenchError;
use crate::message::Messages;
use crate::process::pss_kib;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Accounts that the sessions share to which no mail comes.
const QUIET_ACCOUNTS: usize = 100;
/// Sessions that deliver.
const SENDERS: usize = 4;
/// The size of each message.
const MESSAGE_BYTES: usize = 4_096;
/// For the server to come to rest before its memory is read.
const SETTLE: Duration = Duration::from_secs(5);
/// The longest that the last sessions may take to be told.
const TOLD_MAX: Duration = Duration::from_secs(20);
/// The longest that all sessions may take to be opened.
const OPEN_MAX: Duration = Duration::from_secs(600);
/// A ring of io_uring takes some 20,000 sessions where the limit of open files is that.
const SETTINGS: &str = "[node]\nthreads = 3\n[sessions]\nmax = 60000\n";

/// Holds sessions in IDLE, delivers mail to some of them, and tells how soon they heard of it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Watch {
    #[command(flatten)]
    node: NodeOptions,
    /// Sessions in IDLE.
    #[arg(long, default_value_t = 50_000)]
    sessions: usize,
    /// Sessions to whose accounts mail comes, each with an account of its own.
    #[arg(long, default_value_t = 1_000)]
    mailed: usize,
    /// Messages to each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Deliveries a second.
    #[arg(long, default_value_t = 200)]
    per_second: u32,
    /// TLS from the first byte.
    #[arg(long)]
    tls: bool,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct WatchResult {
    io: String,
    tls: bool,
    sessions: usize,
    /// Sessions that could not be opened, or were ended by the server.
    lost: usize,
    open_seconds: f64,
    /// The proportional set size of the server for one session more.
    session_kib: f64,
    pss_kib: u64,
    delivered: usize,
    deliver_seconds: f64,
    /// Deliveries of which the session was told.
    told: usize,
    /// Of these, before the delivery had been acknowledged.
    told_before: usize,
    told_p50_ms: f64,
    told_p99_ms: f64,
    told_max_ms: f64,
    within_a_second: bool,
}

impl Watch {
    /// Runs it.
    pub(crate) async fn run(self) -> Result<(), BenchError> {
        let node = Node::start(&self.node, self.mailed + QUIET_ACCOUNTS, SETTINGS)?;
        let began = Instant::now();
        let mut result = WatchResult { io: node.io(), tls: self.tls, ..WatchResult::default() };
        let (sender, mut events) = mpsc::unbounded_channel();
        let mut workers = JoinSet::new();
        let jobs = self.jobs(&node)?;
        let mut first_kib = None;
        for job in &jobs {
            let mut worker = Worker::start(&Job::Watch(job.clone())).await?;
            let sender = sender.clone();
            workers.spawn(async move {
                while let Ok(event) = worker.event().await {
                    if sender.send(event).is_err() {
                        break;
                    }
                }
                worker.end().await
            });
            result.lost += ready(&mut events).await?;
            result.sessions += job.count;
            tokio::time::sleep(SETTLE).await;
            let kib = pss_kib(node.pid()).unwrap_or_default();
            first_kib.get_or_insert((kib, result.sessions));
            result.pss_kib = kib;
            eprint(&format!("{} sessions after {:?}, {kib} KiB", result.sessions, began.elapsed()))?;
        }
        result.open_seconds = began.elapsed().as_secs_f64() - SETTLE.as_secs_f64() * jobs.len() as f64;
        if let Some((kib, sessions)) = first_kib.filter(|first| first.1 < result.sessions) {
            result.session_kib = (result.pss_kib as f64 - kib as f64) / (result.sessions - sessions) as f64;
        }
        let delivering = Instant::now();
        let delivered = self.deliver(&node).await?;
        result.deliver_seconds = delivering.elapsed().as_secs_f64();
        self.compare(delivered, &mut events, &mut result).await;
        drop(events);
        workers.abort_all();
        crate::print(&result)
    }

    /// The shares of the workers: a small one first, for memory is compared from there on.
    fn jobs(&self, node: &Node) -> Result<Vec<Watched>, BenchError> {
        let job = Watched {
            address: node.address(if self.tls { "imaps" } else { "imap" })?,
            tls: self.tls,
            first: 0,
            count: 0,
            own: self.mailed,
            accounts: node.accounts(),
        };
        let first = (self.mailed + QUIET_ACCOUNTS).min(self.sessions);
        let mut jobs = vec![Watched { count: first, ..job.clone() }];
        let mut next = first;
        while next < self.sessions {
            let count = CONNECTIONS_MAX.min(self.sessions - next);
            jobs.push(Watched { first: next, count, ..job.clone() });
            next += count;
        }
        Ok(jobs)
    }

    /// Delivers all messages at the pace; when each was acknowledged, by session and number.
    async fn deliver(&self, node: &Node) -> Result<BTreeMap<(usize, u64), u64>, BenchError> {
        let accounts: Vec<Account> = node.accounts().into_iter().take(self.mailed).collect();
        let address = node.address("lmtp")?;
        let pause = Duration::from_secs(1) / self.per_second.max(1);
        let began = Instant::now();
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            let (accounts, rounds) = (accounts.clone(), self.rounds);
            senders.spawn(async move {
                let mut acknowledged = BTreeMap::new();
                let mut messages = Messages::new(sender);
                let mut wire = Wire::open(address, sender).await?;
                wire.line("220 ").await?;
                exchange(&mut wire, b"LHLO watch.test\r\n", "250 ").await?;
                for turn in (sender..accounts.len() * rounds).step_by(SENDERS) {
                    let due = began + pause * u32::try_from(turn).unwrap_or(u32::MAX);
                    tokio::time::sleep_until(due.into()).await;
                    let (session, round) = (turn % accounts.len(), turn / accounts.len());
                    let to = accounts.get(session).map(|account| account.address.clone()).unwrap_or_default();
                    exchange(&mut wire, b"MAIL FROM:<sender@load.test>\r\n", "250 ").await?;
                    exchange(&mut wire, format!("RCPT TO:<{to}>\r\n").as_bytes(), "250 ").await?;
                    exchange(&mut wire, b"DATA\r\n", "354").await?;
                    let mut message = messages.message(MESSAGE_BYTES);
                    message.extend_from_slice(b".\r\n");
                    exchange(&mut wire, &message, "250 ").await?;
                    acknowledged.insert((session, round as u64 + 1), now_us());
                }
                Result::<_, Heard>::Ok(acknowledged)
            });
        }
        let mut all = BTreeMap::new();
        while let Some(acknowledged) = senders.join_next().await {
            all.extend(acknowledged?.map_err(|heard| BenchError::Answer {
                sent: "a message".to_owned(),
                answer: format!("{heard:?}"),
            })?);
        }
        Ok(all)
    }

    /// Holds what sessions were told against what was delivered.
    async fn compare(
        &self,
        mut delivered: BTreeMap<(usize, u64), u64>,
        events: &mut mpsc::UnboundedReceiver<Event>,
        result: &mut WatchResult,
    ) {
        result.delivered = delivered.len();
        let mut waits_us = Vec::new();
        let end = tokio::time::Instant::now() + TOLD_MAX;
        while !delivered.is_empty() {
            match tokio::time::timeout_at(end, events.recv()).await {
                Ok(Some(Event::Exists { session, count, at_us })) => {
                    // One word may tell of several messages.
                    for number in 1..=count {
                        let Some(acknowledged) = delivered.remove(&(session, number)) else { continue };
                        result.told_before += usize::from(at_us < acknowledged);
                        waits_us.push(at_us.saturating_sub(acknowledged));
                    }
                }
                Ok(Some(Event::Lost { count, .. })) => result.lost += count,
                Ok(Some(Event::Ready)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        waits_us.sort_unstable();
        let at = |share: usize| waits_us.get(waits_us.len().saturating_sub(1) * share / 100);
        let ms = |share| at(share).copied().unwrap_or_default() as f64 / 1_000.0;
        (result.told_p50_ms, result.told_p99_ms, result.told_max_ms) = (ms(50), ms(99), ms(100));
        result.told = waits_us.len();
        result.within_a_second = result.told == result.delivered && result.told_max_ms <= 1_000.0;
    }
}

async fn exchange(wire: &mut Wire, command: &[u8], answer: &str) -> Result<(), Heard> {
    wire.send(command).await?;
    wire.line(answer).await
}

/// Waits until the worker started last has opened its sessions; how many were lost.
async fn ready(events: &mut mpsc::UnboundedReceiver<Event>) -> Result<usize, BenchError> {
    let (end, mut lost) = (tokio::time::Instant::now() + OPEN_MAX, 0);
    loop {
        match tokio::time::timeout_at(end, events.recv()).await {
            Ok(Some(Event::Ready)) => return Ok(lost),
            Ok(Some(Event::Lost { count, why })) => {
                if lost == 0 {
                    eprint(&format!("lost: {why}"))?;
                }
                lost += count;
            }
            Ok(Some(Event::Exists { .. })) => {}
            Ok(None) | Err(_) => return Err(BenchError::Slow(OPEN_MAX.as_secs())),
        }
    }
}

fn eprint(line: &str) -> Result<(), BenchError> {
    use std::io::Write;
    writeln!(std::io::stderr(), "{line}")?;
    Ok(())
}
