//! `estafette-chaos`: breaks what can be broken of real nodes under load, and holds what clients find
//! afterwards against what they were told.
//!
//! Exit status: 0 only when the oracle holds; 1 when it does not; 2 when the harness itself failed or was
//! called wrongly.
#![forbid(unsafe_code)]

mod cluster;
mod error;
mod faults;
mod finding;
mod folder;
mod head;
mod html;
mod load;
mod message;
mod node;
mod oracle;
mod random;
mod reader;
mod report;
mod run;
mod shim;
mod sim;
mod wire;
mod world;

use clap::{Parser, Subcommand};
use error::ChaosError;
use std::io::Write;
use std::process::ExitCode;

/// Breaks nodes under load, and proves that no mail was lost.
#[derive(Parser)]
#[command(name = "estafette-chaos", version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Faults on real processes
    Run(run::Run),
    /// Seeded simulation of a cluster
    Sim(sim::Sim),
    #[command(hide = true)]
    SimSeed(sim::Seed),
}

impl What {
    /// Does it; gives what to print, and whether the oracle holds.
    fn run(self) -> Result<(String, bool), ChaosError> {
        match self {
            What::Run(run) => {
                let runtime = tokio::runtime::Runtime::new().map_err(ChaosError::system("runtime"))?;
                let report = runtime.block_on(run.run())?;
                Ok((text(&report, run.json)?, report.holds))
            }
            What::Sim(sim) => {
                let report = sim.run()?;
                Ok((text(&report, sim.json)?, report.holds))
            }
            What::SimSeed(seed) => Ok((seed.run()?, true)),
        }
    }
}

fn text(report: &(impl serde::Serialize + std::fmt::Display), json: bool) -> Result<String, ChaosError> {
    Ok(if json { serde_json::to_string(report)? + "\n" } else { report.to_string() })
}

fn main() -> ExitCode {
    match Arguments::parse().what.run() {
        Ok((text, holds)) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "estafette-chaos: {error}");
            ExitCode::from(2)
        }
    }
}
