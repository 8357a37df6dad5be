//! `estafette-bench`: loads for mail servers, comparisons of Estafette with Dovecot and Postfix and of three nodes
//! with one, and counts of what the codecs cost.
//!
//! A load drives any server by its address, so that the same one runs against each. `compare` starts
//! the servers itself, lets them run the same loads in turns, and reads what their processes used.
#![forbid(unsafe_code)]

mod cluster;
mod compare;
mod crowd;
mod disk;
mod error;
mod load;
mod message;
mod micro;
mod process;
mod report;
mod servers;

use clap::{Parser, Subcommand};
use error::BenchError;
use std::io::Write;

/// Loads for mail servers, and comparisons.
#[derive(Parser)]
#[command(name = "estafette-bench", version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Delivers messages over SMTP or LMTP.
    Ingest(load::Ingest),
    /// Delivers messages of many senders to few recipients, or of one sender to many recipients at once.
    Storm(load::Storm),
    /// Runs IMAP commands.
    Imap(load::Imap),
    /// Retrieves messages over POP3.
    Pop3(load::Pop3),
    /// Logs in again and again, or only shakes hands.
    Connect(load::Connect),
    /// Holds idle IMAP sessions open and tells what they cost the server.
    Idle(load::Idle),
    /// Measures commands on one mailbox as it grows to a million messages.
    Curve(load::Curve),
    /// Holds very many sessions in IDLE, and tells how soon they hear of new mail.
    Watch(crowd::Watch),
    /// Holds crowds of half-open and dribbling sessions, and tells how others are served meanwhile.
    Crowd(crowd::Crowd),
    /// Holds connections for another process of this program.
    #[command(hide = true)]
    Worker(crowd::Work),
    /// Ends sessions in every state and in every way, and finds what the server forgets to let go.
    Soak(crowd::Soak),
    /// Runs the same loads against Estafette, Dovecot, and Postfix with Dovecot, in turns.
    Compare(compare::Compare),
    /// Starts one node and three, and measures what a cluster costs.
    Cluster(cluster::Cluster),
    /// Counts the instructions that the codecs take, by callgrind.
    Micro(micro::Micro),
}

// One thread: what the load itself takes is taken from the server that is measured beside it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    process::raise_open_files();
    // What runs is dropped when we are told to stop, and with it the servers that it started.
    let result = tokio::select! {
        result = run(Arguments::parse().what) => result,
        signal = stopped() => Err(signal),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "estafette-bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(what: What) -> Result<(), BenchError> {
    match what {
        What::Ingest(load) => print(&load.run().await?),
        What::Storm(load) => print(&load.run().await?),
        What::Imap(load) => print(&load.run().await?),
        What::Pop3(load) => print(&load.run().await?),
        What::Connect(load) => print(&load.run().await?),
        What::Idle(load) => print(&load.run().await?),
        What::Curve(load) => print(&load.run().await?),
        What::Watch(watch) => watch.run().await,
        What::Crowd(crowd) => crowd.run().await,
        What::Worker(worker) => worker.run().await,
        What::Soak(soak) => soak.run().await,
        What::Compare(compare) => compare.run().await,
        What::Cluster(cluster) => cluster.run().await,
        What::Micro(micro) => micro.run(),
    }
}

/// Resolves when the program is told to stop.
async fn stopped() -> BenchError {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    BenchError::Stopped
}

fn print<T: serde::Serialize>(result: &T) -> Result<(), BenchError> {
    let text = serde_json::to_string(result).map_err(BenchError::Json)?;
    writeln!(std::io::stdout(), "{text}").map_err(BenchError::Io)
}
