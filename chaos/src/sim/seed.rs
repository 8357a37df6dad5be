//! The run of one seed, in a process of its own whose clock and random numbers are the library's (`shim/sim.c`).

use super::breach::Breach;
use super::cluster::Cluster;
use super::disk::Disks;
use super::history::Counts;
use super::nemesis::Nemesis;
use super::plan::Plan;
use super::trace::Trace;
use super::{client, judge, setup};
use crate::error::ChaosError;
use crate::random::Random;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The journal and the clock in the folder of a run.
pub(super) const JOURNAL: &str = "journal";
pub(super) const CLOCK: &str = "clock";
/// Beside nothing else on its line: the outcome follows.
pub(super) const OUTCOME: &str = "outcome: ";

/// One seed, started by `sim`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Seed {
    /// Which
    #[arg(long)]
    seed: u64,
    /// An empty folder, with the clock in it
    #[arg(long)]
    folder: PathBuf,
    /// Print what happens
    #[arg(long)]
    trace: bool,
}

/// What became of a seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) seed: u64,
    pub(super) nodes: u64,
    /// Equal for equal runs.
    pub(super) trace: String,
    pub(super) virtual_ms: u64,
    pub(super) told: Counts,
    pub(super) requests: u64,
    pub(super) lost_bytes: u64,
    pub(super) faults: BTreeMap<String, u64>,
    pub(super) breaches: Vec<Breach>,
}

impl Seed {
    /// Runs it, and prints the outcome as a line of JSON.
    pub(crate) fn run(&self) -> Result<String, ChaosError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // What comes from other threads waits until there is nothing else to do, so that its moment does not matter.
            .global_queue_interval(u32::MAX)
            .max_blocking_threads(1)
            .build()
            .map_err(ChaosError::system("runtime"))?;
        let outcome = runtime.block_on(self.simulate())?;
        // What is left of crashed nodes is nobody's any more.
        runtime.shutdown_background();
        Ok(format!("{OUTCOME}{}\n", serde_json::to_string(&outcome)?))
    }

    async fn simulate(&self) -> Result<Outcome, ChaosError> {
        let clock = self.folder.join(CLOCK);
        let clock = std::fs::OpenOptions::new().write(true).open(&clock).map_err(ChaosError::file(&clock))?;
        let plan = Plan::new(self.seed, Disks::new(&self.folder.join(JOURNAL)));
        let (nodes, clients, load) = (plan.nodes, plan.clients, plan.load);
        let disks = std::sync::Arc::clone(&plan.disks);
        let trace = Trace::new(self.trace);
        let cluster = Cluster::new(plan, &self.folder, trace.clone());
        let mut random = Random::new(self.seed ^ 0x6c6f_6164);
        for node in 1..=nodes {
            cluster.start(node).await;
        }
        let mut faults = BTreeMap::new();
        match setup::fill(&cluster).await {
            Err(reason) => {
                cluster.history().breach(super::breach::Rule::NoService, format!("at first: {reason}"))
            }
            Ok(accounts) => {
                let (stop, stopped) = watch::channel(false);
                let mut running = JoinSet::new();
                for number in 1..=clients {
                    let client =
                        client::Client::new(cluster.clone(), random.fork(), accounts.clone(), number);
                    running.spawn(client.run(stopped.clone()));
                }
                let nemesis = Nemesis::new(cluster.clone(), random.fork(), clock.into());
                faults = nemesis.run(load).await;
                stop.send_replace(true);
                while running.join_next().await.is_some() {}
                judge::judge(&cluster, &accounts).await;
            }
        }
        if let Some(error) = cluster.failure() {
            return Err(error);
        }
        let history = cluster.history();
        let (told, breaches, lost_bytes) =
            (history.counts, history.breaches.clone(), disks.lock().lost_bytes);
        Ok(Outcome {
            seed: self.seed,
            nodes,
            trace: trace.hash(),
            virtual_ms: trace.now_ms(),
            told,
            requests: cluster.network().sent(),
            lost_bytes,
            faults,
            breaches,
        })
    }
}
