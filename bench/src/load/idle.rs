//! What idle IMAP sessions cost a server in memory.

use super::connection::Connection;
use super::greeting::Login;
use super::run;
use super::target::{Dialer, Target};
use crate::error::BenchError;
use crate::process::Meter;
use crate::report::Spread;
use clap::Args;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// For a server to come to rest after logins, at least; some hibernate sessions only after a while.
const SETTLE: Duration = Duration::from_secs(3);

/// Steps in which sessions are added.
pub(crate) const IDLE_STEPS: usize = 5;

/// Holds IMAP sessions in IDLE, then more of them step by step, and reads what memory these take. The server
/// has to be fresh: sessions find room that others have left behind, and seem to cost nothing.
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
    /// Steps in which they are added.
    #[arg(long, default_value_t = IDLE_STEPS)]
    pub(crate) steps: usize,
    /// Seconds to wait before each reading, beside those until the server rests.
    #[arg(long, default_value_t = SETTLE.as_secs())]
    pub(crate) settle_seconds: u64,
    #[command(flatten)]
    pub(crate) meter: Meter,
    /// A bar shows how far it is.
    #[arg(skip = true)]
    pub(crate) shown: bool,
}

/// What a server took with so many sessions.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// Sessions held.
    pub(crate) sessions: usize,
    /// Proportional set size of all processes, in KiB.
    pub(crate) kib: u64,
}

/// The memory of a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IdleResult {
    /// Before the sessions that are measured, and after each step.
    pub(crate) readings: Vec<Reading>,
    /// For one session, in KiB: see [`session_kib`].
    pub(crate) session_kib: f64,
}

/// What one session takes, in KiB: over all steps, or in the median of them when that is more. The first steps
/// may have found room that the logins before them had left, so that the whole would tell too little; what
/// grows by leaps (a table that doubles) shows in the whole.
fn session_kib(readings: &[Reading]) -> f64 {
    let each = |from: &Reading, to: &Reading| {
        (to.kib as f64 - from.kib as f64) / (to.sessions.saturating_sub(from.sessions).max(1) as f64)
    };
    let (Some(first), Some(last)) = (readings.first(), readings.last()) else { return 0.0 };
    let steps = readings.windows(2).filter_map(|pair| match pair {
        [from, to] => Some(each(from, to)),
        _ => None,
    });
    Spread::of(steps).map_or(0.0, |steps| steps.median.max(each(first, last)))
}

impl Idle {
    /// Runs it.
    pub(crate) async fn run(self) -> Result<IdleResult, BenchError> {
        let dialer = self.target.dialer(false)?;
        let total = (self.before + self.sessions) as u64;
        let bar = if self.shown { ProgressBar::new(total) } else { ProgressBar::hidden() };
        let mut held = self.hold(&dialer, self.before, &bar).await?;
        let mut readings = vec![self.read(held.len()).await?];
        for step in 1..=self.steps.max(1) {
            let until = self.before + self.sessions * step / self.steps.max(1);
            held.extend(self.hold(&dialer, until - held.len(), &bar).await?);
            readings.push(self.read(held.len()).await?);
        }
        bar.finish_and_clear();
        Ok(IdleResult { session_kib: session_kib(&readings), readings })
    }

    async fn read(&self, sessions: usize) -> Result<Reading, BenchError> {
        tokio::time::sleep(Duration::from_secs(self.settle_seconds)).await;
        self.meter.read_at_rest().await?;
        Ok(Reading { sessions, kib: self.meter.memory_kib()? })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(kib: &[u64]) -> Vec<Reading> {
        (1..).zip(kib).map(|(step, kib)| Reading { sessions: step * 1_000, kib: *kib }).collect()
    }

    #[test]
    fn room_that_was_left_hides_no_session() {
        // Two of five steps found room.
        assert_eq!(session_kib(&readings(&[50_000, 50_000, 50_000, 54_000, 58_000, 62_000])), 4.0);
        assert_eq!(session_kib(&readings(&[50_000, 54_000, 58_000, 62_000])), 4.0);
    }

    #[test]
    fn what_grows_by_leaps_counts() {
        assert_eq!(session_kib(&readings(&[50_000, 51_000, 52_000, 63_000, 64_000, 65_000])), 3.0);
        assert_eq!(session_kib(&readings(&[50_000])), 0.0);
        assert_eq!(session_kib(&[]), 0.0);
    }
}
