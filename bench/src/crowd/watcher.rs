//! The part of a worker that watches mailboxes: IMAP sessions in IDLE.

use super::node::Account;
use super::wire::{Heard, Tls, Wire};
use super::worker::{Event, now_us};
use crate::error::BenchError;
use crate::load::Target;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

/// Sessions that are opened at the same time.
const OPENED_AT_ONCE: usize = 16;

/// Sessions that watch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Watched {
    /// The server.
    pub(super) address: SocketAddr,
    /// TLS from the first byte.
    pub(super) tls: bool,
    /// The number of the first session.
    pub(super) first: usize,
    /// How many.
    pub(super) count: usize,
    /// So many sessions have an account of their own; the others share what accounts are left.
    pub(super) own: usize,
    /// The accounts.
    pub(super) accounts: Vec<Account>,
}

impl Watched {
    /// Opens them all, and tells of each what it hears.
    pub(super) async fn run(self, told: UnboundedSender<Event>) -> Result<(), BenchError> {
        let (connector, name) = Target::tls("127.0.0.1:0").connector(false)?;
        let (job, tls) = (Arc::new(self), Tls { connector, name });
        let (mut opening, mut watching) = (JoinSet::new(), JoinSet::new());
        let mut numbers = job.first..job.first + job.count;
        loop {
            while opening.len() < OPENED_AT_ONCE
                && let Some(session) = numbers.next()
            {
                let (job, tls) = (Arc::clone(&job), tls.clone());
                opening.spawn(async move { (session, job.open(session, &tls).await) });
            }
            match opening.join_next().await {
                None => break,
                Some(opened) => match opened? {
                    (session, Ok(wire)) => {
                        watching.spawn(watch(session, wire, told.clone()));
                    }
                    (_, Err(heard)) => lost(&told, &heard),
                },
            }
        }
        let _ = told.send(Event::Ready);
        while watching.join_next().await.is_some() {}
        Ok(())
    }

    async fn open(&self, session: usize, tls: &Tls) -> Result<Wire, Heard> {
        let shared = self.accounts.len().saturating_sub(self.own).max(1);
        let at = if session < self.own { session } else { self.own + session % shared };
        let Some(Account { user, password, .. }) = self.accounts.get(at) else {
            return Err(Heard::End("no such account".to_owned()));
        };
        let mut wire = Wire::open(self.address, session).await?;
        if self.tls {
            wire = wire.handshake(tls).await?;
        }
        wire.line("* OK").await?;
        for (command, answer) in [
            (format!("a LOGIN \"{user}\" \"{password}\"\r\n"), "a OK"),
            ("a SELECT INBOX\r\n".to_owned(), "a OK"),
            ("a IDLE\r\n".to_owned(), "+"),
        ] {
            wire.send(command.as_bytes()).await?;
            wire.line(answer).await?;
        }
        Ok(wire)
    }
}

fn lost(told: &UnboundedSender<Event>, heard: &Heard) {
    let _ = told.send(Event::Lost { count: 1, why: format!("{heard:?}") });
}

/// Tells what one session hears, until it ends. Little is held for it: there are many.
async fn watch(session: usize, mut wire: Wire, told: UnboundedSender<Event>) {
    loop {
        match wire.chunk().await {
            Ok(lines) => {
                let at_us = now_us();
                for count in lines.split(|byte| *byte == b'\n').filter_map(exists) {
                    let _ = told.send(Event::Exists { session, count, at_us });
                }
            }
            Err(heard) => return lost(&told, &heard),
        }
    }
}

/// `n` of `* n EXISTS`.
fn exists(line: &[u8]) -> Option<u64> {
    std::str::from_utf8(line).ok()?.trim_end().strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_mail_is_heard_of() {
        assert_eq!(exists(b"* 12 EXISTS\r"), Some(12));
        for line in [&b"* 12 RECENT\r"[..], b"* OK Still here\r", b""] {
            assert_eq!(exists(line), None);
        }
    }
}
