//! Retrievals over POP3.

use super::LoadResult;
use super::connection::Connection;
use super::readers::{Clients, Readers};
use super::run::{self, Latencies, Turns};
use crate::error::BenchError;
use clap::Args;
use std::io::Write;

/// Retrieves messages over POP3 in sessions that have logged in.
#[derive(Args, Clone, Debug)]
pub(crate) struct Pop3 {
    #[command(flatten)]
    pub(crate) readers: Readers,
}

impl Pop3 {
    /// Runs it; an operation is a retrieval.
    pub(crate) async fn run(self) -> Result<LoadResult, BenchError> {
        let opened = self.readers.open(|dialer, login| async move {
            let mut connection = dialer.pop3().await?;
            connection.pop3_login(&login).await?;
            connection.send(b"STAT\r\n").await?;
            connection.pop3_ok().await?;
            let count = stat_count(connection.line());
            Ok((connection, count))
        });
        let opened = opened.await?;
        let Clients { meter, span, .. } = self.readers.clients;
        run::run(&meter, span, opened, |_, (connection, count), turns| {
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
