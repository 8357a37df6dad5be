//! What three nodes take that have nothing to do, by their number of shards.

use super::nodes::Nodes;
use super::scrape;
use crate::error::BenchError;
use crate::process::{pss_kib, rss_kib, usage};
use crate::report::text::number;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// For what the making of groups has left to do.
const REST: Duration = Duration::from_secs(10);
/// Ways of a node to another, as its metrics name them.
const LANES: [&str; 3] = ["urgent", "entries", "bulk"];

/// With one number of shards.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Idle {
    shards: usize,
    seconds: f64,
    nodes: Vec<IdleNode>,
}

/// One of the nodes.
#[derive(Clone, Debug, Serialize)]
struct IdleNode {
    /// Shards that it leads.
    leads: usize,
    /// Of one processor.
    cpu_percent: f64,
    pss_mib: f64,
    rss_mib: f64,
    /// Requests that it sends to the others.
    requests_per_second: f64,
    /// The same by lane.
    requests_by_lane: BTreeMap<&'static str, f64>,
    /// Frames that it sends: requests, answers, and what keeps links alive.
    frames_per_second: f64,
}

/// What a node has used and sent up to now.
struct Reading {
    at: Instant,
    cpu_seconds: f64,
    by_lane: BTreeMap<&'static str, f64>,
    frames: f64,
}

/// Watches the nodes for so long.
pub(super) async fn measure(seconds: u64, nodes: &Nodes) -> Result<Idle, BenchError> {
    tokio::time::sleep(REST).await;
    let before = read(nodes).await?;
    tokio::time::sleep(Duration::from_secs(seconds.max(1))).await;
    let after = read(nodes).await?;
    let status = nodes.status().await.unwrap_or_default();
    let leads = nodes.leads(&status);
    let pairs = before.iter().zip(&after).zip(leads).enumerate();
    let of_node = |(number, ((before, after), leads))| IdleNode::of(nodes.pid(number), before, after, leads);
    let took = |(before, after): (&Reading, &Reading)| (after.at - before.at).as_secs_f64();
    let seconds = before.first().zip(after.first()).map_or(0.0, took);
    Ok(Idle { shards: status.shards(), seconds, nodes: pairs.map(of_node).collect() })
}

async fn read(nodes: &Nodes) -> Result<Vec<Reading>, BenchError> {
    let mut all = Vec::new();
    for number in nodes.running() {
        let cpu_seconds = nodes.pid(number).map_or(0.0, |pid| usage(pid).cpu_seconds);
        let text = scrape::text(&nodes.address(number, "http")?).await?;
        let calls = |lane: &'static str| {
            (lane, scrape::sum(&text, "estafette_mesh_calls_total", &format!("lane=\"{lane}\"")))
        };
        all.push(Reading {
            at: Instant::now(),
            cpu_seconds,
            by_lane: LANES.map(calls).into_iter().collect(),
            frames: scrape::sum(&text, "estafette_mesh_sent_frames_total", ""),
        });
    }
    Ok(all)
}

impl IdleNode {
    fn of(pid: Option<u32>, before: &Reading, after: &Reading, leads: usize) -> IdleNode {
        let took = (after.at - before.at).as_secs_f64().max(1e-9);
        let mib = |kib: Option<u64>| kib.unwrap_or_default() as f64 / 1024.0;
        let since = |lane: &&'static str| {
            let of = |reading: &Reading| reading.by_lane.get(lane).copied().unwrap_or_default();
            (*lane, (of(after) - of(before)) / took)
        };
        let requests_by_lane: BTreeMap<_, _> = LANES.iter().map(since).collect();
        IdleNode {
            leads,
            cpu_percent: (after.cpu_seconds - before.cpu_seconds) / took * 100.0,
            pss_mib: mib(pid.and_then(pss_kib)),
            rss_mib: mib(pid.and_then(rss_kib)),
            requests_per_second: requests_by_lane.values().sum(),
            requests_by_lane,
            frames_per_second: (after.frames - before.frames) / took,
        }
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "idle, {} shards, {} s", self.shards, number(self.seconds))?;
        for (at, node) in self.nodes.iter().enumerate() {
            writeln!(
                f,
                "  node {}: {} % of a processor, PSS {} MiB, RSS {} MiB, {} requests and {} frames a second; leads {}",
                at + 1,
                number(node.cpu_percent),
                number(node.pss_mib),
                number(node.rss_mib),
                number(node.requests_per_second),
                number(node.frames_per_second),
                node.leads
            )?;
        }
        Ok(())
    }
}
