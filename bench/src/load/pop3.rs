//! Retrievals over POP3.

use super::LoadResult;
use super::connection::Connection;
use crate::error::BenchError;
use crate::process::Meter;
use clap::Args;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Retrieves messages over POP3 in sessions that have logged in.
#[derive(Args, Clone, Debug)]
pub(crate) struct Pop3 {
    /// Where: host:port, in plain.
    #[arg(long)]
    pub address: String,
    /// `user:password` of the accounts, taken in turn; no account by two sessions where the server locks.
    #[arg(long, required = true, value_delimiter = ',')]
    pub logins: Vec<String>,
    /// Sessions at the same time.
    #[arg(long, default_value_t = 10)]
    pub sessions: usize,
    /// Retrievals in all.
    #[arg(long, default_value_t = 10_000)]
    pub messages: usize,
    /// The server\'s processes.
    #[command(flatten)]
    pub(crate) meter: Meter,
}

impl Pop3 {
    /// Runs it.
    pub(crate) async fn run(self) -> Result<LoadResult, BenchError> {
        let mut sessions = Vec::new();
        for worker in 0..self.sessions.max(1) {
            sessions.push(self.open(worker).await?);
        }
        let each = (self.messages / self.sessions.max(1)).max(1);
        let before = self.meter.read_at_rest().await;
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for (connection, count) in sessions {
            tasks.spawn(async move { session(connection, count, each).await });
        }
        let mut latencies = Vec::with_capacity(self.messages);
        while let Some(done) = tasks.join_next().await {
            latencies.extend(done??);
        }
        let took = began.elapsed();
        Ok(LoadResult::of(latencies, took, self.meter.read_at_rest().await.since(before)))
    }

    async fn open(&self, worker: usize) -> Result<(Connection, u64), BenchError> {
        let mut connection = Connection::open(&self.address).await?;
        ok(&mut connection).await?;
        let login =
            self.logins.get(worker % self.logins.len().max(1)).map(String::as_str).unwrap_or_default();
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        for command in [format!("USER {user}"), format!("PASS {password}")] {
            connection.send(format!("{command}\r\n").as_bytes()).await?;
            ok(&mut connection).await?;
        }
        connection.send(b"STAT\r\n").await?;
        let stat = ok(&mut connection).await?;
        let count = stat.split(' ').nth(1).and_then(|count| count.parse().ok()).unwrap_or(0);
        Ok((connection, count))
    }
}

async fn ok(connection: &mut Connection) -> Result<String, BenchError> {
    let line = connection.line().await?;
    if line.starts_with("+OK") { Ok(line) } else { Err(connection.unexpected(&line)) }
}

async fn session(mut connection: Connection, count: u64, turns: usize) -> Result<Vec<Duration>, BenchError> {
    let mut latencies = Vec::with_capacity(turns);
    for turn in 0..turns as u64 {
        let number = turn % count.max(1) + 1;
        let began = Instant::now();
        connection.send(format!("RETR {number}\r\n").as_bytes()).await?;
        ok(&mut connection).await?;
        connection.skip_dotted().await?;
        latencies.push(began.elapsed());
    }
    connection.send(b"QUIT\r\n").await?;
    ok(&mut connection).await?;
    Ok(latencies)
}
