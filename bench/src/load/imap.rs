//! IMAP commands by profiles.

use super::LoadResult;
use super::connection::Connection;
use crate::error::BenchError;
use crate::message::Messages;
use crate::process::Meter;
use clap::{Args, ValueEnum};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What the sessions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImapProfile {
    /// Whole messages, one a command.
    Fetch,
    /// Envelopes, flags and sizes of 50 messages a command.
    Headers,
    /// A flag on and off.
    Store,
    /// Selecting and leaving the mailbox.
    Select,
    /// Adding messages.
    Append,
    /// Counting what is unseen elsewhere.
    Status,
}

/// Runs IMAP commands in sessions that have logged in; the mailbox must hold messages.
#[derive(Args, Clone, Debug)]
pub(crate) struct Imap {
    /// Where: host:port, in plain.
    #[arg(long)]
    pub address: String,
    /// `user:password` of the accounts, taken in turn.
    #[arg(long, required = true, value_delimiter = ',')]
    pub logins: Vec<String>,
    /// What to do.
    #[arg(long, value_enum, default_value = "fetch")]
    pub profile: ImapProfile,
    /// Sessions at the same time.
    #[arg(long, default_value_t = 10)]
    pub sessions: usize,
    /// Commands in all.
    #[arg(long, default_value_t = 10_000)]
    pub commands: usize,
    /// Bytes of each message that is added.
    #[arg(long, default_value_t = 4_096)]
    pub size: usize,
    /// The server\'s processes.
    #[command(flatten)]
    pub(crate) meter: Meter,
}

impl Imap {
    /// Runs it.
    pub(crate) async fn run(self) -> Result<LoadResult, BenchError> {
        let mut sessions = Vec::new();
        for worker in 0..self.sessions.max(1) {
            sessions.push((worker, login(&self.address, &self.logins, worker).await?));
        }
        let each = (self.commands / self.sessions.max(1)).max(1);
        let mut ready = Vec::new();
        for (worker, mut connection) in sessions {
            let exists = select(&mut connection).await?;
            ready.push((worker, connection, exists));
        }
        let before = self.meter.read_at_rest().await;
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for (worker, connection, exists) in ready {
            let load = self.clone();
            tasks.spawn(async move { load.session(worker, connection, exists, each).await });
        }
        let mut latencies = Vec::with_capacity(self.commands);
        while let Some(done) = tasks.join_next().await {
            latencies.extend(done??);
        }
        let took = began.elapsed();
        Ok(LoadResult::of(latencies, took, self.meter.read_at_rest().await.since(before)))
    }

    async fn session(
        &self,
        worker: usize,
        mut connection: Connection,
        exists: u64,
        count: usize,
    ) -> Result<Vec<Duration>, BenchError> {
        let mut messages = Messages::new(worker);
        let mut latencies = Vec::with_capacity(count);
        let exists = exists.max(1);
        for turn in 0..count as u64 {
            let number = turn % exists + 1;
            let began = Instant::now();
            match self.profile {
                ImapProfile::Fetch => connection.imap(&format!("FETCH {number} BODY.PEEK[]")).await?,
                ImapProfile::Headers => {
                    let last = (number + 49).min(exists);
                    connection.imap(&format!("FETCH {number}:{last} (FLAGS RFC822.SIZE ENVELOPE)")).await?
                }
                ImapProfile::Store => {
                    let sign = if (turn / exists).is_multiple_of(2) { '+' } else { '-' };
                    connection.imap(&format!("STORE {number} {sign}FLAGS (\\Flagged)")).await?
                }
                ImapProfile::Select => connection.imap("SELECT INBOX").await?,
                ImapProfile::Status => connection.imap("STATUS Sent (MESSAGES UNSEEN UIDNEXT)").await?,
                ImapProfile::Append => {
                    let message = messages.message(self.size);
                    connection
                        .send(format!("a APPEND Sent (\\Seen) {{{}}}\r\n", message.len()).as_bytes())
                        .await?;
                    let go = connection.line().await?;
                    if !go.starts_with('+') {
                        return Err(connection.unexpected(&go));
                    }
                    connection.send(&[message.as_slice(), b"\r\n"].concat()).await?;
                    connection.imap_done().await?
                }
            };
            latencies.push(began.elapsed());
        }
        connection.imap("LOGOUT").await?;
        Ok(latencies)
    }
}

/// A session that has logged in.
pub(super) async fn login(address: &str, logins: &[String], worker: usize) -> Result<Connection, BenchError> {
    let mut connection = Connection::open(address).await?;
    connection.line().await?;
    let login = logins.get(worker % logins.len().max(1)).map(String::as_str).unwrap_or_default();
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    connection.imap(&format!("LOGIN \"{user}\" \"{password}\"")).await?;
    Ok(connection)
}

/// Selects INBOX; the number of messages in it.
pub(super) async fn select(connection: &mut Connection) -> Result<u64, BenchError> {
    connection.send(b"a SELECT INBOX\r\n").await?;
    let mut exists = 0;
    loop {
        let line = connection.line().await?;
        if let Some(rest) = line.strip_prefix("a ") {
            return if rest.starts_with("OK") { Ok(exists) } else { Err(connection.unexpected(&line)) };
        }
        let words: Vec<&str> = line.split(' ').collect();
        if let ["*", count, "EXISTS"] = words.as_slice() {
            exists = count.parse().unwrap_or(0);
        }
    }
}
