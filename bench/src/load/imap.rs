//! IMAP commands by profiles.

use super::LoadResult;
use super::imap_profile::{ImapProfile, Reader};
use super::readers::{Clients, Readers};
use super::run;
use crate::error::BenchError;
use clap::Args;

/// Runs IMAP commands in sessions that have logged in; the mailbox must hold messages.
#[derive(Args, Clone, Debug)]
pub(crate) struct Imap {
    #[command(flatten)]
    pub(crate) readers: Readers,
    /// What to do.
    #[arg(long, value_enum, default_value = "fetch")]
    pub(crate) profile: ImapProfile,
    /// Bytes of each message that is added.
    #[arg(long, default_value_t = 4_096)]
    pub(crate) size: usize,
}

impl Imap {
    /// Runs it; an operation is a command.
    pub(crate) async fn run(self) -> Result<LoadResult, BenchError> {
        let opened = self.readers.open(|dialer, login| async move {
            let mut connection = dialer.imap().await?;
            connection.imap_login(&login).await?;
            let exists = connection.select().await?;
            Ok((connection, exists))
        });
        let opened = opened.await?;
        let (profile, size) = (self.profile, self.size);
        let Clients { meter, span, .. } = self.readers.clients;
        run::run(&meter, span, opened, |worker, (mut connection, exists), turns| async move {
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
