//! Clients that do honest work at a steady pace, whatever others do meanwhile.
//!
//! What they are told is timed from when it was due, and not from when its client got round to it: a server
//! that stands still delays all that was due meanwhile.

use super::node::{Account, Node};
use super::script::{Author, Script, Step};
use super::wire::{Heard, Wire};
use crate::error::BenchError;
use crate::message::{Dice, Messages};
use serde::Serialize;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What they do in turn: a whole session of each.
pub(super) const WORKS: [&str; 4] = ["smtp", "lmtp", "imap", "pop3"];
/// The longest that one session may take.
const SESSION_MAX: Duration = Duration::from_secs(30);

/// How they were served.
#[derive(Debug, Default, Serialize)]
pub(super) struct Served {
    sessions: usize,
    pub(super) failures: usize,
    /// How the last one failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// Lets a client of each account work for so long, all together with so many sessions a second.
pub(super) async fn work(
    node: &Node,
    accounts: &[Account],
    per_second: u32,
    long: Duration,
) -> Result<Served, BenchError> {
    let mut services = Vec::new();
    for service in WORKS {
        services.push((service, node.address(service)?));
    }
    let pause = Duration::from_secs(1) / per_second.max(1);
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for (number, account) in accounts.iter().cloned().enumerate() {
        let (services, step) = (services.clone(), accounts.len());
        clients.spawn(async move {
            let mut ended = Vec::new();
            for turn in (number..).step_by(step) {
                let due = began + pause * u32::try_from(turn).unwrap_or(u32::MAX);
                if due > began + long {
                    break;
                }
                tokio::time::sleep_until(due.into()).await;
                // A turn on, or each account would be served by one protocol for ever.
                let at = (turn + turn / step) % services.len();
                let Some((service, address)) = services.get(at) else { break };
                let session = session(*address, service, number, &account);
                let outcome = tokio::time::timeout(SESSION_MAX, session).await.unwrap_or(Err(Heard::Silence));
                ended.push((due.elapsed(), outcome.map_err(|heard| format!("{service}: {heard:?}"))));
            }
            ended
        });
    }
    let (mut served, mut took) = (Served::default(), Vec::new());
    while let Some(ended) = clients.join_next().await {
        for (long, outcome) in ended? {
            served.sessions += 1;
            took.push(long);
            if let Err(why) = outcome {
                served.failures += 1;
                served.failed = Some(why);
            }
        }
    }
    took.sort_unstable();
    let at = |share: usize| took.get(took.len().saturating_sub(1) * share / 100);
    let ms = |share| at(share).copied().unwrap_or_default().as_secs_f64() * 1_000.0;
    (served.p50_ms, served.p99_ms, served.max_ms) = (ms(50), ms(99), ms(100));
    Ok(served)
}

/// Delivers a message to each of these accounts, and what does not fit into buffers to another.
pub(super) async fn fill(
    node: &Node,
    accounts: &[Account],
    large: &Account,
    fillings: usize,
) -> Result<(), BenchError> {
    let failed = |heard: Heard| BenchError::Answer { sent: "mail".to_owned(), answer: format!("{heard:?}") };
    let lmtp = node.address("lmtp")?;
    for (number, account) in accounts.iter().enumerate() {
        session(lmtp, "lmtp", number, account).await.map_err(failed)?;
    }
    let (mut dice, mut messages) = (Dice::new(0), Messages::new(0));
    for _ in 0..fillings {
        let script = Author { dice: &mut dice, messages: &mut messages, account: large }.fill();
        say(&mut Wire::open(lmtp, 0).await?, script).await.map_err(failed)?;
    }
    Ok(())
}

async fn session(address: SocketAddr, service: &str, number: usize, account: &Account) -> Result<(), Heard> {
    let (mut dice, mut messages) = (Dice::new(0), Messages::new(number));
    let script = Author { dice: &mut dice, messages: &mut messages, account }.good(service);
    say(&mut Wire::open(address, number).await?, script).await
}

async fn say(wire: &mut Wire, script: Script) -> Result<(), Heard> {
    for (_, step) in script {
        match step {
            Step::Await(line) => wire.line(line).await?,
            Step::Send(bytes) => wire.send(&bytes).await?,
            Step::Tls | Step::Deaf | Step::Flood(_) => {}
        }
    }
    Ok(())
}
