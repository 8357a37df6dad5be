//! `estafette-chaos`: breaks what can be broken of real nodes under load, and holds what clients find
//! afterwards against what they were told.
//!
//! Exit status: 0 only when the oracle holds; 1 when it does not; 2 when the harness itself failed or was
//! called wrongly.
#![forbid(unsafe_code)]

mod error;
mod faults;
mod finding;
mod folder;
mod load;
mod message;
mod node;
mod oracle;
mod random;
mod reader;
mod report;
mod run;
mod wire;
mod world;

use clap::{Parser, Subcommand};
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
}

#[tokio::main]
async fn main() -> ExitCode {
    let What::Run(run) = Arguments::parse().what;
    let report = match run.run().await {
        Ok(report) => report,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "estafette-chaos: {error}");
            return ExitCode::from(2);
        }
    };
    let text =
        if run.json { serde_json::to_string(&report).unwrap_or_default() + "\n" } else { report.to_string() };
    let _ = std::io::stdout().write_all(text.as_bytes());
    if report.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
