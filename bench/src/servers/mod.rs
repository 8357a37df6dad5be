//! Servers that the comparison starts: each private, on loopback, in a folder of its own.

mod certificate;
mod dovecot;
mod estafette;
mod inotify;
mod postfix;

pub(crate) use estafette::{Estafette, Plan};
pub(crate) use inotify::InotifyLimit;

use crate::error::BenchError;
use clap::ValueEnum;
use dovecot::{Dovecot, Flavour};
use postfix::Postfix;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest that a server may take to start or to end.
const START_SECONDS_MAX: u64 = 60;

/// The servers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// As it starts by itself: with io_uring, where that can be had.
    Estafette,
    /// The same with epoll.
    EstafetteEpoll,
    /// As Debian ships it, with Maildir.
    Dovecot,
    /// Likewise, but flags and indexes are durable too, as with Estafette.
    DovecotSynced,
    /// Likewise, with `imap_hibernate_timeout`.
    DovecotHibernate,
    /// Postfix in front of Dovecot.
    Postfix,
}

impl Kind {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Estafette => "estafette",
            Kind::EstafetteEpoll => "estafette-epoll",
            Kind::Dovecot => "dovecot",
            Kind::DovecotSynced => "dovecot-synced",
            Kind::DovecotHibernate => "dovecot-hibernate",
            Kind::Postfix => "postfix+dovecot",
        }
    }

    /// A session costs it a process, so that fewer sessions tell as much.
    pub(crate) fn has_process_for_session(self) -> bool {
        !matches!(self, Kind::Estafette | Kind::EstafetteEpoll)
    }

    /// How long an idle session has to be left alone until it takes its least memory.
    pub(crate) fn idle_settle_seconds(self) -> u64 {
        if self == Kind::DovecotHibernate { dovecot::HIBERNATE_SECONDS + 5 } else { 3 }
    }

    /// Starts one with so many accounts in a folder that is empty.
    pub(crate) fn start(
        self,
        program: &Path,
        folder: &Path,
        accounts: usize,
    ) -> Result<Box<dyn Server>, BenchError> {
        Ok(match self {
            Kind::Estafette => Box::new(Estafette::start(program, folder, accounts, "auto", "")?),
            Kind::EstafetteEpoll => Box::new(Estafette::start(program, folder, accounts, "epoll", "")?),
            Kind::Dovecot => Box::new(Dovecot::start(folder, accounts, Flavour::AsShipped)?),
            Kind::DovecotSynced => Box::new(Dovecot::start(folder, accounts, Flavour::Synced)?),
            Kind::DovecotHibernate => Box::new(Dovecot::start(folder, accounts, Flavour::Hibernating)?),
            Kind::Postfix => Box::new(Postfix::start(folder, accounts)?),
        })
    }
}

/// Where a server can be reached, host:port; `None` where it has no such service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    /// LMTP in plain.
    pub(crate) lmtp: Option<String>,
    /// SMTP in plain.
    pub(crate) smtp: Option<String>,
    /// IMAP in plain.
    pub(crate) imap: Option<String>,
    /// IMAP with TLS from the first byte.
    pub(crate) imaps: Option<String>,
    /// POP3 in plain.
    pub(crate) pop3: Option<String>,
    /// POP3 with TLS from the first byte.
    pub(crate) pop3s: Option<String>,
}

/// A running server.
pub(crate) trait Server {
    /// The first processes of all that belong to it.
    fn pids(&self) -> Vec<u32>;
    /// Where it can be reached.
    fn services(&self) -> &Services;
    /// The addresses of the accounts.
    fn recipients(&self) -> Vec<String>;
    /// `user:password` of the accounts, in the same order.
    fn logins(&self) -> Vec<String>;
    /// It answers before it has delivered; [`Server::settled`] tells when it has.
    fn queues(&self) -> bool {
        false
    }
    /// Waits until everything that was accepted has been delivered.
    fn settled(&self) -> Result<(), BenchError> {
        Ok(())
    }
    /// Ends it.
    fn stop(&mut self);
}

/// A port that nobody listens on at the moment.
fn free_port() -> Result<u16, BenchError> {
    free_port_of(Ipv4Addr::LOCALHOST)
}

/// The same at this address.
pub(crate) fn free_port_of(host: Ipv4Addr) -> Result<u16, BenchError> {
    Ok(TcpListener::bind((host, 0))?.local_addr()?.port())
}

/// Waits until `ready` says true.
fn wait_for(server: &'static str, mut ready: impl FnMut() -> bool) -> Result<(), BenchError> {
    let end = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
    while !ready() {
        if Instant::now() > end {
            return Err(BenchError::Start {
                server,
                why: format!("it was not ready within {START_SECONDS_MAX} s"),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn answers(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

fn pid_in(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
