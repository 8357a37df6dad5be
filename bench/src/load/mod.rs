//! The loads: each opens its sessions, runs operations in them and tells how long they took.

mod connect;
mod connection;
mod courier;
mod curve;
mod greeting;
mod idle;
mod imap;
mod imap_profile;
mod ingest;
mod pop3;
mod readers;
mod run;
mod storm;
mod target;

pub(crate) use connect::{Connect, ConnectKind, Mailbox};
pub(crate) use courier::Courier;
pub(crate) use curve::Curve;
pub(crate) use idle::{IDLE_STEPS, Idle};
pub(crate) use imap::Imap;
pub(crate) use imap_profile::ImapProfile;
pub(crate) use ingest::{Ingest, Mail, Protocol};
pub(crate) use pop3::Pop3;
pub(crate) use readers::{Clients, Readers};
pub(crate) use run::Span;
pub(crate) use storm::{Shape, Storm};
pub(crate) use target::Target;

use crate::process::Usage;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a load measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LoadResult {
    /// Operations that were done and acknowledged.
    pub operations: u64,
    /// From the first to the last, in seconds; logins and connecting are not in it.
    pub seconds: f64,
    /// Operations a second.
    pub per_second: f64,
    /// The time of one operation, in ms: half took less.
    pub p50_ms: f64,
    /// Likewise: 99 of 100 took less.
    pub p99_ms: f64,
    /// What the server used meanwhile, when its processes were named.
    pub(crate) used: Usage,
}

impl LoadResult {
    fn of(mut latencies: Vec<Duration>, total: Duration, used: Usage) -> LoadResult {
        latencies.sort_unstable();
        let at = |share: f64| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of a share")]
            let index = ((latencies.len() as f64 - 1.0) * share).max(0.0) as usize;
            latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
        };
        LoadResult {
            operations: latencies.len() as u64,
            seconds: total.as_secs_f64(),
            per_second: latencies.len() as f64 / total.as_secs_f64().max(1e-9),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            used,
        }
    }
}
