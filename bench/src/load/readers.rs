//! What loads on mailboxes are told: whose, by how many sessions, and for how long.

use super::connection::Connection;
use super::greeting::Login;
use super::run::{self, Span};
use super::target::{Dialer, Target};
use crate::error::BenchError;
use crate::process::Meter;
use clap::Args;
use std::future::Future;

/// Accounts that are read, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct Readers {
    /// `user:password` of the accounts, taken in turn; no account by two POP3 sessions where the server locks.
    #[arg(long, required = true, value_delimiter = ',')]
    pub(crate) logins: Vec<String>,
    #[command(flatten)]
    pub(crate) clients: Clients,
}

/// Clients of a mailbox server, whoever they are.
#[derive(Args, Clone, Debug)]
pub(crate) struct Clients {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Sessions at the same time.
    #[arg(long, default_value_t = 10)]
    pub(crate) sessions: usize,
    #[command(flatten)]
    pub(crate) span: Span,
    #[command(flatten)]
    pub(crate) meter: Meter,
}

impl Readers {
    /// Opens the sessions: each by `open`, with a connection's maker and its login.
    pub(super) async fn open<F>(
        &self,
        open: impl Fn(Dialer, Login) -> F,
    ) -> Result<Vec<(Connection, u64)>, BenchError>
    where
        F: Future<Output = Result<(Connection, u64), BenchError>> + Send + 'static,
    {
        let dialer = self.clients.target.dialer(false)?;
        run::open(self.clients.sessions.max(1), |worker| {
            open(dialer.clone(), Login::of(&self.logins, worker))
        })
        .await
    }
}
