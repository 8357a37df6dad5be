//! Retrievals over POP3.

use super::LoadResult;
use super::connection::Connection;
use super::greeting::Login;
use super::run::{self, Latencies, Span, Turns};
use super::target::Target;
use crate::error::BenchError;
use crate::process::Meter;
use clap::Args;
use std::io::Write;

/// Retrieves messages over POP3 in sessions that have logged in.
#[derive(Args, Clone, Debug)]
pub(crate) struct Pop3 {
    #[command(flatten)]
    pub(crate) target: Target,
    /// `user:password` of the accounts, taken in turn; no account by two sessions where the server locks.
    #[arg(long, required = true, value_delimiter = ',')]
    pub(crate) logins: Vec<String>,
    /// Sessions at the same time.
    #[arg(long, default_value_t = 10)]
    pub(crate) sessions: usize,
    #[command(flatten)]
    pub(crate) span: Span,
    #[command(flatten)]
    pub(crate) meter: Meter,
}

impl Pop3 {
    /// Runs it; an operation is a retrieval.
    pub(crate) async fn run(self) -> Result<LoadResult, BenchError> {
        let dialer = self.target.dialer(false)?;
        let opened = run::open(self.sessions.max(1), |worker| {
            let (dialer, login) = (dialer.clone(), Login::of(&self.logins, worker));
            async move {
                let mut connection = dialer.pop3().await?;
                connection.pop3_login(&login).await?;
                connection.send(b"STAT\r\n").await?;
                connection.pop3_ok().await?;
                let count = stat_count(connection.line());
                Ok((connection, count))
            }
        });
        let opened = opened.await?;
        run::run(&self.meter, self.span, opened, |_, (connection, count), turns| {
            session(connection, count.max(1), turns)
        })
        .await
    }
}

/// `n` of `+OK n bytes`.
fn stat_count(line: &[u8]) -> u64 {
    let text = std::str::from_utf8(line).unwrap_or_default();
    text.split(' ').nth(1).and_then(|count| count.parse().ok()).unwrap_or(0)
}

async fn session(mut connection: Connection, count: u64, turns: Turns) -> Result<Latencies, BenchError> {
    let mut latencies = Vec::new();
    let mut number = 0;
    while let Some((_, began)) = turns.next() {
        number = number % count + 1;
        write!(connection.command(), "RETR {number}\r\n")?;
        connection.flush().await?;
        connection.pop3_ok().await?;
        connection.skip_dotted().await?;
        latencies.push(began.elapsed());
    }
    connection.send(b"QUIT\r\n").await?;
    connection.pop3_ok().await?;
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_understood() {
        assert_eq!(stat_count(b"+OK 12 34567"), 12);
        assert_eq!(stat_count(b"+OK"), 0);
    }
}
