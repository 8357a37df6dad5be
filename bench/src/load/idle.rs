//! What idle IMAP sessions cost a server in memory.

use super::connection::Connection;
use super::greeting::Login;
use super::run;
use super::target::{Dialer, Target};
use crate::error::BenchError;
use crate::process::Meter;
use clap::Args;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// For a server to come to rest after logins, at least; some hibernate sessions only after a while.
const SETTLE: Duration = Duration::from_secs(3);

/// Holds IMAP sessions in IDLE, then more of them, and reads what memory these take: the first find room
/// that the start has left behind, and would seem to cost nothing. The server should be fresh.
#[derive(Args, Clone, Debug)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) target: Target,
    /// `user:password` of the accounts, taken in turn.
    #[arg(long, required = true, value_delimiter = ',')]
    pub(crate) logins: Vec<String>,
    /// Sessions that are held before the first reading.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) before: usize,
    /// Sessions that are added, and measured.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) sessions: usize,
    /// Seconds to wait before each reading, beside those until the server rests.
    #[arg(long, default_value_t = SETTLE.as_secs())]
    pub(crate) settle_seconds: u64,
    #[command(flatten)]
    pub(crate) meter: Meter,
    /// A bar shows how far it is.
    #[arg(skip = true)]
    pub(crate) shown: bool,
}

/// The memory of a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IdleResult {
    /// Sessions held in the end.
    pub(crate) sessions: usize,
    /// Proportional set size of all processes before the sessions that are measured, in KiB.
    pub(crate) before_kib: u64,
    /// The same with them.
    pub(crate) after_kib: u64,
    /// The difference for one session; below 0 when it is lost in what else the server does.
    pub(crate) session_kib: f64,
}

impl Idle {
    /// Runs it.
    pub(crate) async fn run(self) -> Result<IdleResult, BenchError> {
        let dialer = self.target.dialer(false)?;
        let total = (self.before + self.sessions) as u64;
        let bar = if self.shown { ProgressBar::new(total) } else { ProgressBar::hidden() };
        let mut held = self.hold(&dialer, self.before, &bar).await?;
        let before_kib = self.read().await?;
        held.extend(self.hold(&dialer, self.sessions, &bar).await?);
        let after_kib = self.read().await?;
        bar.finish_and_clear();
        let session_kib = (after_kib as f64 - before_kib as f64) / self.sessions.max(1) as f64;
        Ok(IdleResult { sessions: held.len(), before_kib, after_kib, session_kib })
    }

    async fn read(&self) -> Result<u64, BenchError> {
        tokio::time::sleep(Duration::from_secs(self.settle_seconds)).await;
        self.meter.read_at_rest().await?;
        self.meter.memory_kib()
    }

    async fn hold(
        &self,
        dialer: &Dialer,
        sessions: usize,
        bar: &ProgressBar,
    ) -> Result<Vec<Connection>, BenchError> {
        run::open(sessions, |worker| {
            let (dialer, login) = (dialer.clone(), Login::of(&self.logins, worker));
            let bar = bar.clone();
            async move {
                let mut connection = dialer.imap().await?;
                connection.imap_login(&login).await?;
                connection.select().await?;
                connection.send(b"a IDLE\r\n").await?;
                connection.imap_go_on().await?;
                connection.shrink();
                bar.inc(1);
                Ok(connection)
            }
        })
        .await
    }
}
