//! Servers that the comparison starts: each private, on loopback, in a folder of its own.

mod dovecot;
mod estafette;
mod postfix;

pub(crate) use dovecot::{Dovecot, Sync};
pub(crate) use estafette::Estafette;
pub(crate) use postfix::Postfix;

use crate::error::BenchError;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// The longest that a server may take to start or to end.
const START_SECONDS_MAX: u64 = 60;

/// A running server.
pub(crate) trait Server {
    /// Its name in tables.
    fn name(&self) -> &'static str;
    /// The first processes of all that belong to it.
    fn pids(&self) -> Vec<u32>;
    /// Where it takes mail over LMTP.
    fn lmtp(&self) -> Option<String>;
    /// Where it takes mail over SMTP.
    fn smtp(&self) -> Option<String>;
    /// Where it serves IMAP in plain.
    fn imap(&self) -> Option<String>;
    /// Where it serves POP3 in plain.
    fn pop3(&self) -> Option<String>;
    /// The addresses of the accounts.
    fn recipients(&self) -> Vec<String>;
    /// `user:password` of the accounts, in the same order.
    fn logins(&self) -> Vec<String>;
    /// Resolves when everything that was accepted has been delivered.
    fn settled(&self) -> Result<(), BenchError> {
        Ok(())
    }
    /// Ends it.
    fn stop(&mut self);
}

/// A port that nobody listens on at the moment.
fn free_port() -> Result<u16, BenchError> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
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
