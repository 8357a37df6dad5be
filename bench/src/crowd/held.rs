//! The part of a worker that means harm: sessions that take a place and do nothing with it.

use super::node::Account;
use super::script::{Author, Script, Step};
use super::wire::{Heard, Tls, Wire};
use super::worker::Event;
use crate::error::BenchError;
use crate::load::Target;
use crate::message::{Dice, Messages};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

/// Sessions that are opened at the same time.
const OPENED_AT_ONCE: usize = 16;
/// Until one that the server has ended comes back.
const RETURN: Duration = Duration::from_secs(1);
/// Between two bytes of one that dribbles.
const DRIBBLE: Duration = Duration::from_secs(5);
/// The longest that one may take to get to its place.
const OPEN_MAX: Duration = Duration::from_secs(30);

/// Where sessions stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub(crate) enum Stage {
    /// Connected, and silent.
    Silent,
    /// In a command that comes byte by byte.
    Command,
    /// In the middle of a ClientHello.
    Handshake,
    /// After STARTTLS, where a ClientHello should come.
    Starttls,
    /// In DATA that comes byte by byte.
    Data,
    /// Logged in, with much asked for and nothing read.
    Deaf,
}

impl Stage {
    /// The services that have it.
    pub(super) fn services(self) -> &'static [&'static str] {
        match self {
            Stage::Silent => &["smtp", "lmtp", "imap", "pop3", "submissions", "imaps", "pop3s"],
            Stage::Command => &["smtp", "lmtp", "imap", "pop3"],
            Stage::Handshake => &["submissions", "imaps", "pop3s"],
            Stage::Starttls => &["smtp", "imap", "pop3"],
            Stage::Data => &["smtp", "lmtp"],
            Stage::Deaf => &["imap", "pop3"],
        }
    }

    /// What a session says next, a byte at a time, once it is there.
    fn dribble(self) -> Option<u8> {
        match self {
            Stage::Command | Stage::Data => Some(b'x'),
            _ => None,
        }
    }
}

/// Sessions that stay in one state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Held {
    /// The server.
    pub(super) address: SocketAddr,
    /// The service there.
    pub(super) service: String,
    /// The state.
    pub(super) stage: Stage,
    /// The number of the first session.
    pub(super) first: usize,
    /// How many.
    pub(super) count: usize,
    /// Whose they are, where a login is needed.
    pub(super) account: Account,
}

impl Held {
    /// Opens them all, and opens those anew that the server ends.
    pub(super) async fn run(self, told: UnboundedSender<Event>) -> Result<(), BenchError> {
        let (connector, name) = Target::tls("127.0.0.1:0").connector(false)?;
        let (job, tls) = (Arc::new(self), Tls { connector, name });
        let (mut opening, mut holding) = (JoinSet::new(), JoinSet::new());
        let mut numbers = job.first..job.first + job.count;
        loop {
            while opening.len() < OPENED_AT_ONCE
                && let Some(number) = numbers.next()
            {
                let (job, tls) = (Arc::clone(&job), tls.clone());
                opening.spawn(async move { (number, job.open(number, &tls).await) });
            }
            let Some(opened) = opening.join_next().await else { break };
            let (number, wire) = opened?;
            holding.spawn(Arc::clone(&job).hold(number, wire, tls.clone(), told.clone()));
        }
        let _ = told.send(Event::Ready);
        while holding.join_next().await.is_some() {}
        Ok(())
    }

    /// Stays, and comes back.
    async fn hold(
        self: Arc<Held>,
        number: usize,
        mut opened: Result<Wire, Heard>,
        tls: Tls,
        told: UnboundedSender<Event>,
    ) {
        loop {
            let why = match opened {
                Ok(wire) => self.stay(wire).await,
                Err(heard) => heard,
            };
            let _ = told.send(Event::Lost { count: 1, why: format!("{why:?}") });
            tokio::time::sleep(RETURN).await;
            opened = self.open(number, &tls).await;
        }
    }

    async fn open(&self, number: usize, tls: &Tls) -> Result<Wire, Heard> {
        let opening = async {
            let mut wire = Box::new(Wire::open(self.address, number).await?);
            for (_, step) in self.script(tls)? {
                match step {
                    Step::Await(line) => wire.line(line).await?,
                    Step::Send(bytes) => wire.send(&bytes).await?,
                    Step::Tls => *wire = wire.handshake(tls).await?,
                    Step::Deaf | Step::Flood(_) => {}
                }
            }
            Result::<Wire, Heard>::Ok(*wire)
        };
        Box::pin(tokio::time::timeout(OPEN_MAX, opening)).await.unwrap_or(Err(Heard::Silence))
    }

    /// What brings a session to its place.
    fn script(&self, tls: &Tls) -> Result<Script, Heard> {
        let (mut dice, mut messages) = (Dice::new(0), Messages::new(0));
        let mut author = Author { dice: &mut dice, messages: &mut messages, account: &self.account };
        Ok(match self.stage {
            Stage::Silent | Stage::Command => Script::new(),
            Stage::Handshake => {
                let hello = tls.hello()?;
                let half = hello.get(..hello.len() / 2).unwrap_or_default().to_vec();
                vec![("handshake", Step::Send(half))]
            }
            Stage::Starttls => author.up_to(&self.service, "STARTTLS"),
            Stage::Data => author.up_to(&self.service, "DATA"),
            Stage::Deaf => author.deaf(&self.service),
        })
    }

    /// Stays as long as the server lets it.
    async fn stay(&self, mut wire: Wire) -> Heard {
        let Some(byte) = self.stage.dribble() else {
            if self.stage == Stage::Deaf {
                std::future::pending::<()>().await;
            }
            loop {
                if let Err(heard) = wire.chunk().await {
                    return heard;
                }
            }
        };
        loop {
            if let Err(error) = wire.send(&[byte]).await {
                return error.into();
            }
            tokio::time::sleep(DRIBBLE).await;
        }
    }
}
