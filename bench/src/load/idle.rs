//! What idle IMAP sessions cost a server in memory.

use super::connection::Connection;
use super::imap::{login, select};
use crate::error::BenchError;
use crate::process;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// For a server to come to rest after logins.
const SETTLE: Duration = Duration::from_secs(3);

/// Holds idle IMAP sessions open, then as many again, and reads what memory the second half takes: the
/// first finds room that earlier loads have left behind, and would seem to cost nothing.
#[derive(Args, Clone, Debug)]
pub(crate) struct Idle {
    /// Where: host:port, in plain.
    #[arg(long)]
    pub address: String,
    /// `user:password` of the accounts, taken in turn.
    #[arg(long, required = true, value_delimiter = ',')]
    pub logins: Vec<String>,
    /// Sessions of each half.
    #[arg(long, default_value_t = 1_000)]
    pub sessions: usize,
    /// The server's first process; its children count too.
    #[arg(long)]
    pub pid: u32,
}

/// The memory of a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IdleResult {
    /// Sessions held in the end.
    pub sessions: usize,
    /// Proportional set size of all processes with the first half, in KiB.
    pub before_kib: u64,
    /// The same with both.
    pub after_kib: u64,
    /// The difference for one session.
    pub session_kib: f64,
}

impl Idle {
    /// Runs it.
    pub(crate) async fn run(self) -> Result<IdleResult, BenchError> {
        let mut held = Vec::with_capacity(self.sessions * 2);
        self.hold(&mut held).await?;
        let before_kib = process::memory_kib(self.pid)?;
        self.hold(&mut held).await?;
        let after_kib = process::memory_kib(self.pid)?;
        let session_kib = after_kib.saturating_sub(before_kib) as f64 / self.sessions.max(1) as f64;
        Ok(IdleResult { sessions: held.len(), before_kib, after_kib, session_kib })
    }

    async fn hold(&self, held: &mut Vec<Connection>) -> Result<(), BenchError> {
        for worker in 0..self.sessions {
            let mut connection = login(&self.address, &self.logins, worker).await?;
            select(&mut connection).await?;
            connection.send(b"a IDLE\r\n").await?;
            let line = connection.line().await?;
            if !line.starts_with('+') {
                return Err(connection.unexpected(&line));
            }
            held.push(connection);
        }
        tokio::time::sleep(SETTLE).await;
        Ok(())
    }
}
