//! Connections that come and go: logins, and TLS handshakes.

use super::LoadResult;
use super::greeting::Login;
use super::readers::Clients;
use super::run::{self, Latencies, Turns};
use super::target::Dialer;
use crate::error::BenchError;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// By which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mailbox {
    /// RFC 9051
    Imap,
    /// RFC 1939
    Pop3,
}

/// What each connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ConnectKind {
    /// Greeting, login, logout. Every login is used once before.
    Login,
    /// A full TLS handshake, and the greeting.
    Handshake,
    /// A TLS handshake that resumes an earlier session, and the greeting.
    Resume,
}

/// Opens connections one after the other, logs in or only shakes hands, and closes them.
#[derive(Args, Clone, Debug)]
pub(crate) struct Connect {
    /// The protocol.
    #[arg(long, value_enum, default_value = "imap")]
    pub(crate) protocol: Mailbox,
    /// What each connection is for.
    #[arg(long, value_enum, default_value = "login")]
    pub(crate) kind: ConnectKind,
    /// `user:password` of the accounts, taken in turn.
    #[arg(long, value_delimiter = ',', required_if_eq("kind", "login"))]
    pub(crate) logins: Vec<String>,
    #[command(flatten)]
    pub(crate) clients: Clients,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ConnectResult {
    /// The figures; an operation is a connection.
    #[serde(flatten)]
    pub(crate) load: LoadResult,
    /// Connections on which the server resumed an earlier TLS session.
    pub(crate) resumed: u64,
}

impl Connect {
    /// Runs it.
    pub(crate) async fn run(self) -> Result<ConnectResult, BenchError> {
        let Clients { target, sessions, span, meter } = self.clients.clone();
        if self.kind != ConnectKind::Login && !target.tls && !target.starttls {
            return Err(BenchError::NoTls);
        }
        let resume = self.kind == ConnectKind::Resume;
        let resumed = Arc::new(AtomicU64::new(0));
        // Each has a memory of its own of what can be resumed, as clients do.
        let dialers = (0..sessions.max(1)).map(|_| target.dialer(resume));
        let dialers = dialers.collect::<Result<Vec<_>, _>>()?;
        if let (ConnectKind::Login, Some(dialer)) = (self.kind, dialers.first()) {
            run::open(self.logins.len(), |worker| {
                let (dialer, login) = (dialer.clone(), Login::of(&self.logins, worker));
                let protocol = self.protocol;
                async move { log_in(&dialer, protocol, &login).await.map(|_| ()) }
            })
            .await?;
        }
        let load = run::run(&meter, span, dialers, |_, dialer, turns| {
            self.clone().session(dialer, turns, Arc::clone(&resumed))
        });
        Ok(ConnectResult { load: load.await?, resumed: resumed.load(Ordering::Relaxed) })
    }

    async fn session(
        self,
        dialer: Dialer,
        turns: Turns,
        resumed: Arc<AtomicU64>,
    ) -> Result<Latencies, BenchError> {
        let logins: Vec<Login> = (0..self.logins.len()).map(|at| Login::of(&self.logins, at)).collect();
        let mut latencies = Vec::new();
        while let Some((turn, began)) = turns.next() {
            let was_resumed = match self.kind {
                ConnectKind::Login => match logins.get(turn % logins.len().max(1)) {
                    Some(login) => log_in(&dialer, self.protocol, login).await?,
                    None => false,
                },
                // What a session is resumed with comes before the greeting.
                _ => match self.protocol {
                    Mailbox::Imap => dialer.imap().await?.is_resumed(),
                    Mailbox::Pop3 => dialer.pop3().await?.is_resumed(),
                },
            };
            resumed.fetch_add(u64::from(was_resumed), Ordering::Relaxed);
            latencies.push(began.elapsed());
        }
        Ok(latencies)
    }
}

/// A whole session that does nothing but log in; whether its TLS session was resumed.
async fn log_in(dialer: &Dialer, protocol: Mailbox, login: &Login) -> Result<bool, BenchError> {
    let connection = match protocol {
        Mailbox::Imap => {
            let mut connection = dialer.imap().await?;
            connection.imap_login(login).await?;
            connection.imap("LOGOUT").await?;
            connection
        }
        Mailbox::Pop3 => {
            let mut connection = dialer.pop3().await?;
            connection.pop3_login(login).await?;
            connection.send(b"QUIT\r\n").await?;
            connection.pop3_ok().await?;
            connection
        }
    };
    Ok(connection.is_resumed())
}
