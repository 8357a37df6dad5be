//! Deliveries over SMTP and LMTP.

use super::LoadResult;
use super::connection::Connection;
use crate::error::BenchError;
use crate::message::Messages;
use crate::process::Meter;
use clap::{Args, ValueEnum};
use std::time::Instant;
use tokio::task::JoinSet;

/// By which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// RFC 5321
    Smtp,
    /// RFC 2033
    Lmtp,
}

/// Delivers messages; each is acknowledged before its session sends the next.
#[derive(Args, Clone, Debug)]
pub(crate) struct Ingest {
    /// The protocol.
    #[arg(long, value_enum, default_value = "lmtp")]
    pub protocol: Protocol,
    /// Where to: host:port.
    #[arg(long)]
    pub address: String,
    /// The recipients, taken in turn.
    #[arg(long, required = true, value_delimiter = ',')]
    pub recipients: Vec<String>,
    /// Recipients of each message.
    #[arg(long, default_value_t = 1)]
    pub recipients_each: usize,
    /// Sessions at the same time.
    #[arg(long, default_value_t = 20)]
    pub sessions: usize,
    /// Messages in all.
    #[arg(long, default_value_t = 5_000)]
    pub messages: usize,
    /// Bytes of each message.
    #[arg(long, default_value_t = 4_096)]
    pub size: usize,
    /// The server\'s processes.
    #[command(flatten)]
    pub(crate) meter: Meter,
}

impl Ingest {
    /// Runs it.
    pub(crate) async fn run(self) -> Result<LoadResult, BenchError> {
        let mut sessions = Vec::new();
        for worker in 0..self.sessions.max(1) {
            sessions.push((worker, self.open().await?));
        }
        let before = self.meter.read_at_rest().await;
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        let each = self.messages / self.sessions.max(1);
        for (worker, connection) in sessions {
            let load = self.clone();
            tasks.spawn(async move { load.session(worker, connection, each.max(1)).await });
        }
        let mut latencies = Vec::with_capacity(self.messages);
        while let Some(done) = tasks.join_next().await {
            latencies.extend(done??);
        }
        let took = began.elapsed();
        Ok(LoadResult::of(latencies, took, self.meter.read_at_rest().await.since(before)))
    }

    async fn open(&self) -> Result<Connection, BenchError> {
        let mut connection = Connection::open(&self.address).await?;
        connection.reply("220").await?;
        let hello = if self.protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
        connection.send(format!("{hello} load.test\r\n").as_bytes()).await?;
        connection.reply("250").await?;
        Ok(connection)
    }

    async fn session(
        &self,
        worker: usize,
        mut connection: Connection,
        count: usize,
    ) -> Result<Vec<std::time::Duration>, BenchError> {
        let mut messages = Messages::new(worker);
        let mut latencies = Vec::with_capacity(count);
        for turn in 0..count {
            let mut message = messages.message(self.size);
            message.extend_from_slice(b".\r\n");
            let first = (worker + turn * self.sessions) * self.recipients_each;
            let began = Instant::now();
            self.deliver(&mut connection, first, &message).await?;
            latencies.push(began.elapsed());
        }
        connection.send(b"QUIT\r\n").await?;
        Ok(latencies)
    }

    async fn deliver(
        &self,
        connection: &mut Connection,
        first: usize,
        message: &[u8],
    ) -> Result<(), BenchError> {
        let mut commands = String::from("MAIL FROM:<sender@load.test>\r\n");
        for number in 0..self.recipients_each {
            if let Some(recipient) = self.recipients.get((first + number) % self.recipients.len()) {
                commands.push_str(&format!("RCPT TO:<{recipient}>\r\n"));
            }
        }
        commands.push_str("DATA\r\n");
        connection.send(commands.as_bytes()).await?;
        for _ in 0..=self.recipients_each {
            connection.reply("250").await?;
        }
        connection.reply("354").await?;
        connection.send(message).await?;
        let replies = if self.protocol == Protocol::Lmtp { self.recipients_each } else { 1 };
        for _ in 0..replies {
            connection.reply("250").await?;
        }
        Ok(())
    }
}
