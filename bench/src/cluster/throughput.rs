//! How many deliveries a second three nodes take, beside one.
//!
//! Both run all the time and are loaded in turns, seconds apart; another begins in each round. The load takes its part of
//! the same processors.

use super::nodes::Nodes;
use super::result::{Verdict, percent};
use crate::error::BenchError;
use crate::load::{Ingest, LoadResult, Mail, Protocol, Span, Target};
use crate::process::Meter;
use crate::report::{Spread, text::number};
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// Bytes of each message.
const MESSAGE_BYTES: usize = 4 * 1024;
/// Deliveries a second that three nodes have to reach, as a share of those of one.
const SHARE_LEAST: f64 = 1.0 / 3.0;
/// After a load, for what nodes have put off until then.
const REST: Duration = Duration::from_secs(2);
/// How long nodes are watched that have nothing to do: what they take then is no part of a message.
const IDLE: Duration = Duration::from_secs(5);
/// How long both are loaded before anything counts.
const WARM_SECONDS: f64 = 1.0;

/// What is to be measured.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) sessions: Vec<usize>,
    pub(super) rounds: usize,
    pub(super) seconds: f64,
}

/// With one number of sessions.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Throughput {
    sessions: usize,
    alone: Side,
    three: Side,
    /// Three nodes' deliveries a second as a share of one's, by rounds.
    share: Option<Spread>,
    wanted: f64,
    verdict: Verdict,
}

/// One node, or three: medians of the rounds.
#[derive(Clone, Debug, Default, Serialize)]
struct Side {
    per_second: Option<Spread>,
    p50_ms: Option<Spread>,
    p99_ms: Option<Spread>,
    /// CPU time of each node for a message of all, without what it takes when idle.
    cpu_ms_each: Vec<Spread>,
    /// How many shards each node leads.
    leads: Vec<usize>,
}

/// One load on one of both.
struct Run {
    load: LoadResult,
    cpu_ms_each: Vec<f64>,
}

/// A side, and the share of a processor that each of its nodes takes when idle.
struct Loaded<'a> {
    nodes: &'a Nodes,
    idle: Vec<f64>,
}

/// Loads both in turns.
pub(super) async fn measure(
    order: &Order,
    alone: &Nodes,
    three: &Nodes,
) -> Result<Vec<Throughput>, BenchError> {
    let first = order.sessions.first().copied().unwrap_or(1);
    let (alone, three) = (Loaded::warm(alone, first).await?, Loaded::warm(three, first).await?);
    let mut measured = Vec::new();
    for sessions in order.sessions.iter().copied() {
        let (mut of_alone, mut of_three) = (Vec::new(), Vec::new());
        for round in 0..order.rounds.max(1) {
            // Another one begins in each round.
            if round % 2 == 0 {
                of_alone.push(alone.load(sessions, order.seconds).await?);
                of_three.push(three.load(sessions, order.seconds).await?);
            } else {
                of_three.push(three.load(sessions, order.seconds).await?);
                of_alone.push(alone.load(sessions, order.seconds).await?);
            }
        }
        let shares = of_alone.iter().zip(&of_three);
        let share = Spread::of(shares.map(|(one, three)| three.load.per_second / one.load.per_second));
        measured.push(Throughput {
            sessions,
            alone: Side::of(&of_alone, alone.nodes).await,
            three: Side::of(&of_three, three.nodes).await,
            share,
            wanted: SHARE_LEAST,
            verdict: Verdict::at_least(share.map(|share| share.median), SHARE_LEAST),
        });
    }
    Ok(measured)
}

impl Loaded<'_> {
    /// Loads it once for nothing, and then watches it at rest.
    async fn warm(nodes: &Nodes, sessions: usize) -> Result<Loaded<'_>, BenchError> {
        let mut side = Loaded { nodes, idle: Vec::new() };
        side.load(sessions, WARM_SECONDS).await?;
        let (before, began) = (nodes.cpu_seconds(), Instant::now());
        tokio::time::sleep(IDLE).await;
        let took = began.elapsed().as_secs_f64();
        let used = nodes.cpu_seconds().into_iter().zip(before);
        side.idle = used.map(|(after, before)| (after - before) / took).collect();
        Ok(side)
    }

    async fn load(&self, sessions: usize, seconds: f64) -> Result<Run, BenchError> {
        let mail = Mail {
            protocol: Protocol::Lmtp,
            target: Target::default(),
            recipients: self.nodes.recipients(),
            size: MESSAGE_BYTES,
            span: Span::seconds(seconds),
            // CPU is read by nodes here, and nodes of a cluster never rest wholly.
            meter: Meter::default(),
        };
        let (before, began) = (self.nodes.cpu_seconds(), Instant::now());
        let load = Ingest::of(mail, sessions).run_over(&self.nodes.targets()?).await?;
        tokio::time::sleep(REST).await;
        let took = began.elapsed().as_secs_f64();
        let idle = self.idle.iter().copied().chain(std::iter::repeat(0.0));
        let used = self.nodes.cpu_seconds().into_iter().zip(before).zip(idle);
        let each = |((after, before), idle): ((f64, f64), f64)| {
            (after - before - idle * took).max(0.0) * 1000.0 / load.operations.max(1) as f64
        };
        let cpu_ms_each = used.map(each).collect();
        Ok(Run { load, cpu_ms_each })
    }
}

impl Side {
    async fn of(runs: &[Run], nodes: &Nodes) -> Side {
        let spread = |figure: fn(&Run) -> f64| Spread::of(runs.iter().map(figure));
        let of_node =
            |number: usize| Spread::of(runs.iter().filter_map(|run| run.cpu_ms_each.get(number).copied()));
        Side {
            per_second: spread(|run| run.load.per_second),
            p50_ms: spread(|run| run.load.p50_ms),
            p99_ms: spread(|run| run.load.p99_ms),
            cpu_ms_each: (0..).map_while(of_node).collect(),
            leads: nodes.status().await.map(|status| nodes.leads(&status)).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let middle = |spread: &Option<Spread>| spread.map_or("-".to_owned(), |spread| number(spread.median));
        let cpu: Vec<String> = self.cpu_ms_each.iter().map(|spread| number(spread.median)).collect();
        write!(
            f,
            "{:>8} a second, p50 {} ms, p99 {} ms; CPU ms a message by node {}; leads shards {:?}",
            middle(&self.per_second),
            middle(&self.p50_ms),
            middle(&self.p99_ms),
            cpu.join(" + "),
            self.leads
        )
    }
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "lmtp 4 KiB in {} sessions", self.sessions)?;
        writeln!(f, "  one node    {}", self.alone)?;
        writeln!(f, "  three nodes {}", self.three)?;
        let Some(Spread { median, low, high }) = self.share else { return Ok(()) };
        writeln!(
            f,
            "  share {} ({} to {}); wanted {} at least: {}",
            percent(median),
            percent(low),
            percent(high),
            percent(self.wanted),
            self.verdict.word()
        )
    }
}
