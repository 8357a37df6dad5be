//! Deliveries over SMTP and LMTP.

use super::LoadResult;
use super::connection::Connection;
use super::run::{self, Latencies, Span, Turns};
use super::target::Target;
use crate::error::BenchError;
use crate::message::Messages;
use crate::process::Meter;
use clap::{Args, ValueEnum};
use std::io::Write;

/// By which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// RFC 5321
    Smtp,
    /// RFC 2033
    Lmtp,
}

/// What loads of deliveries are told: what goes where, and for how long.
#[derive(Args, Clone, Debug)]
pub(crate) struct Mail {
    /// The protocol.
    #[arg(long, value_enum, default_value = "lmtp")]
    pub(crate) protocol: Protocol,
    #[command(flatten)]
    pub(crate) target: Target,
    /// The recipients, taken in turn.
    #[arg(long, required = true, value_delimiter = ',')]
    pub(crate) recipients: Vec<String>,
    /// Bytes of each message.
    #[arg(long, default_value_t = 4_096)]
    pub(crate) size: usize,
    #[command(flatten)]
    pub(crate) span: Span,
    #[command(flatten)]
    pub(crate) meter: Meter,
}

/// Delivers messages; each is acknowledged before its session sends the next.
#[derive(Args, Clone, Debug)]
pub(crate) struct Ingest {
    #[command(flatten)]
    pub(crate) mail: Mail,
    /// Recipients of each message.
    #[arg(long, default_value_t = 1)]
    pub(crate) recipients_each: usize,
    /// Different senders, taken in turn.
    #[arg(long, default_value_t = 1)]
    pub(crate) senders: usize,
    /// Sessions at the same time.
    #[arg(long, default_value_t = 20)]
    pub(crate) sessions: usize,
}

impl Ingest {
    /// One sender, and one recipient for each message.
    pub(crate) fn of(mail: Mail, sessions: usize) -> Ingest {
        Ingest { mail, recipients_each: 1, senders: 1, sessions }
    }

    /// Runs it.
    pub(crate) async fn run(self) -> Result<LoadResult, BenchError> {
        let target = self.mail.target.clone();
        self.run_over(&[target]).await
    }

    /// Runs it with sessions that are spread over these servers in turn.
    pub(crate) async fn run_over(self, targets: &[Target]) -> Result<LoadResult, BenchError> {
        let dialers = targets.iter().map(|target| target.dialer(false)).collect::<Result<Vec<_>, _>>()?;
        let protocol = self.mail.protocol;
        let opened = run::open(self.sessions.max(1), |worker| {
            let dialer = dialers.get(worker % dialers.len().max(1)).cloned();
            async move {
                let none = || BenchError::Unknown { what: "server for session", name: worker.to_string() };
                dialer.ok_or_else(none)?.mail(protocol).await
            }
        });
        let opened = opened.await?;
        run::run(&self.mail.meter, self.mail.span, opened, |worker, connection, turns| {
            self.clone().session(worker, connection, turns)
        })
        .await
    }

    async fn session(
        self,
        worker: usize,
        mut connection: Connection,
        turns: Turns,
    ) -> Result<Latencies, BenchError> {
        let mut messages = Messages::new(worker);
        let mut message = Vec::new();
        let mut latencies = Vec::new();
        while let Some((turn, began)) = turns.next() {
            messages.write(self.mail.size, &mut message);
            message.extend_from_slice(b".\r\n");
            self.deliver(&mut connection, turn, &message).await?;
            latencies.push(began.elapsed());
        }
        connection.send(b"QUIT\r\n").await?;
        Ok(latencies)
    }

    async fn deliver(
        &self,
        connection: &mut Connection,
        turn: usize,
        message: &[u8],
    ) -> Result<(), BenchError> {
        let first = turn.wrapping_mul(self.recipients_each);
        let recipients = (0..self.recipients_each).map(|number| {
            let at = first.wrapping_add(number) % self.mail.recipients.len().max(1);
            self.mail.recipients.get(at).map(String::as_str).unwrap_or_default()
        });
        transaction(connection, self.mail.protocol, turn % self.senders.max(1), recipients, message).await
    }
}

/// One message to these recipients, up to the last of its replies. It ends with the dot.
pub(super) async fn transaction(
    connection: &mut Connection,
    protocol: Protocol,
    sender: usize,
    recipients: impl ExactSizeIterator<Item = &str>,
    message: &[u8],
) -> Result<(), BenchError> {
    let count = recipients.len();
    let commands = connection.command();
    write!(commands, "MAIL FROM:<sender{sender}@load.test>\r\n")?;
    for recipient in recipients {
        write!(commands, "RCPT TO:<{recipient}>\r\n")?;
    }
    commands.extend_from_slice(b"DATA\r\n");
    connection.flush().await?;
    for _ in 0..=count {
        connection.reply(b"250").await?;
    }
    connection.reply(b"354").await?;
    connection.send(message).await?;
    for _ in 0..if protocol == Protocol::Lmtp { count } else { 1 } {
        connection.reply(b"250").await?;
    }
    Ok(())
}
