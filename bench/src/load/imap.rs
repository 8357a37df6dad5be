//! IMAP commands by profiles.

use super::LoadResult;
use super::greeting::Login;
use super::imap_profile::{ImapProfile, Reader};
use super::run::{self, Span};
use super::target::Target;
use crate::error::BenchError;
use crate::process::Meter;
use clap::Args;

/// Runs IMAP commands in sessions that have logged in; the mailbox must hold messages.
#[derive(Args, Clone, Debug)]
pub(crate) struct Imap {
    #[command(flatten)]
    pub(crate) target: Target,
    /// `user:password` of the accounts, taken in turn.
    #[arg(long, required = true, value_delimiter = ',')]
    pub(crate) logins: Vec<String>,
    /// What to do.
    #[arg(long, value_enum, default_value = "fetch")]
    pub(crate) profile: ImapProfile,
    /// Sessions at the same time.
    #[arg(long, default_value_t = 10)]
    pub(crate) sessions: usize,
    #[command(flatten)]
    pub(crate) span: Span,
    /// Bytes of each message that is added.
    #[arg(long, default_value_t = 4_096)]
    pub(crate) size: usize,
    #[command(flatten)]
    pub(crate) meter: Meter,
}

impl Imap {
    /// Runs it; an operation is a command.
    pub(crate) async fn run(self) -> Result<LoadResult, BenchError> {
        let dialer = self.target.dialer(false)?;
        let opened = run::open(self.sessions.max(1), |worker| {
            let (dialer, login) = (dialer.clone(), Login::of(&self.logins, worker));
            async move {
                let mut connection = dialer.imap().await?;
                connection.imap_login(&login).await?;
                let exists = connection.select().await?;
                Ok((connection, exists))
            }
        });
        let opened = opened.await?;
        let (profile, size) = (self.profile, self.size);
        run::run(&self.meter, self.span, opened, |worker, (mut connection, exists), turns| async move {
            let mut reader = Reader::new(worker, exists, size);
            let mut latencies = Vec::new();
            while let Some((_, began)) = turns.next() {
                reader.command(profile, &mut connection).await?;
                latencies.push(began.elapsed());
            }
            connection.imap("LOGOUT").await?;
            Ok(latencies)
        })
        .await
    }
}
