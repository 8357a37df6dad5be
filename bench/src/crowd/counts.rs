//! What a server holds: descriptors, connections, sessions, threads, memory.
//!
//! Sessions under io_uring have no descriptors that `/proc/PID/fd` shows, so connections are counted in the
//! kernel's table of TCP too.

use super::node::Node;
use crate::error::BenchError;
use crate::process::{number_after, pss_kib};
use serde::Serialize;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Services whose connections are counted; that of /metrics is our own.
pub(super) const SERVICES: [&str; 8] =
    ["smtp", "submission", "submissions", "lmtp", "imap", "imaps", "pop3", "pop3s"];

/// States of TCP in which nobody holds a connection any more: TIME_WAIT, and LISTEN which is none.
const NOBODYS: [&str; 2] = ["06", "0A"];

/// How often it is tried to count, and the pause before it is tried again.
const TRIES: usize = 5;
const RETRY: Duration = Duration::from_secs(2);

/// What is held at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Counts {
    /// Descriptors of sockets.
    pub(super) sockets: usize,
    /// Descriptors of pipes, events, timers, rings.
    pub(super) others: usize,
    /// Descriptors of files outside of the store, whose tables come and go.
    pub(super) files: usize,
    /// Connections at the ports of the services.
    pub(super) connections: usize,
    /// Sessions that the server counts as open.
    pub(super) sessions: u64,
    /// Mailboxes that the server counts as watched.
    pub(super) watches: u64,
    /// Threads.
    pub(super) threads: u64,
    /// Proportional set size.
    pub(super) pss_kib: u64,
    /// What caches and the store's write buffers say they hold; they fill up for long, and have limits.
    pub(super) store_kib: u64,
}

impl Counts {
    /// Counts now. A connection that the kernel resets, as it does when others have taken all memory of TCP,
    /// must not end a long run: it is tried again.
    pub(super) async fn of(node: &Node) -> Result<Counts, BenchError> {
        let mut tried = 1;
        loop {
            match Counts::now(node).await {
                Err(BenchError::Io(_)) if tried < TRIES => tried += 1,
                counts => return counts,
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn now(node: &Node) -> Result<Counts, BenchError> {
        let mut counts = Counts { connections: connections(node)?, ..Counts::default() };
        let metrics = metrics(node).await?;
        counts.sessions = sum(&metrics, "estafette_sessions{");
        counts.watches = sum(&metrics, "estafette_watches");
        let store =
            ["estafette_storage_cache_bytes", "estafette_storage_memtable_bytes", "estafette_cache_bytes"];
        counts.store_kib = store.iter().map(|name| sum(&metrics, name)).sum::<u64>() / 1024;
        let pid = node.pid();
        counts.pss_kib = pss_kib(pid).unwrap_or_default();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        counts.threads = number_after(&status, "Threads:").unwrap_or_default();
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            // One that was closed meanwhile counts no more.
            let Ok(target) = fs::read_link(entry?.path()) else { continue };
            let target = target.to_string_lossy();
            match () {
                () if target.starts_with("socket:") => counts.sockets += 1,
                () if !target.starts_with('/') => counts.others += 1,
                () if !target.contains("/store/") => counts.files += 1,
                () => {}
            }
        }
        Ok(counts)
    }

    /// Nothing is held that was not held at an earlier moment of rest.
    pub(super) fn rests(&self, earlier: &Counts) -> bool {
        self.connections == 0
            && self.sessions == 0
            && self.watches <= earlier.watches
            && self.sockets <= earlier.sockets
            && self.others <= earlier.others
            && self.files <= earlier.files
            && self.threads <= earlier.threads_max()
    }

    /// Threads that may be there at a later moment of rest: a pool that works a little all the time takes its threads in
    /// turn, so that one more of them may stay.
    pub(super) fn threads_max(&self) -> u64 {
        self.threads.saturating_add(POOL_THREADS_MORE)
    }
}

/// See [`Counts::threads_max`]. Far fewer than a soak has sessions.
const POOL_THREADS_MORE: u64 = 2;

/// The server's ends of connections at its services.
fn connections(node: &Node) -> Result<usize, BenchError> {
    // The whole address: a client of somebody else may have the same port at another one.
    let mut ours = Vec::new();
    for service in SERVICES {
        ours.extend(in_table(node.address(service)?));
    }
    let held = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
        ours.iter().any(|address| local == address) && !NOBODYS.contains(&state)
    };
    let table = fs::read_to_string("/proc/net/tcp")?;
    // An inode of 0: the process has closed it, and the kernel sends or acknowledges what is left.
    let closed = |line: &&str| line.split_whitespace().nth(9) == Some("0");
    Ok(table.lines().filter(held).filter(|line| !closed(line)).count())
}

/// An address as the kernel's table writes it: the bytes of the machine's own order.
fn in_table(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()))
}

/// The page of metrics.
async fn metrics(node: &Node) -> Result<String, BenchError> {
    let mut stream = TcpStream::connect(node.address("http")?).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}

/// The sum of all values whose line begins so.
fn sum(page: &str, name: &str) -> u64 {
    let values = page.lines().filter(|line| line.starts_with(name));
    let values = values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let total = values.sum::<f64>().abs().round() as u64;
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_added_up() {
        let page = "# HELP x\nestafette_sessions{listener=\"imap\"} 2\nestafette_sessions{listener=\"pop3\"} 1\n\
                    estafette_sessions_total{listener=\"imap\"} 9\nestafette_watches 4\n";
        assert_eq!(sum(page, "estafette_sessions{"), 3);
        assert_eq!(sum(page, "estafette_watches"), 4);
    }

    #[test]
    fn a_listener_is_found_in_the_table_of_the_kernel() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = in_table(listener.local_addr().unwrap()).unwrap();
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        assert!(table.lines().any(|line| line.split_whitespace().nth(1) == Some(&ours)));
    }

    #[test]
    fn what_is_held_longer_does_not_rest() {
        let earlier = Counts { sockets: 9, others: 5, threads: 12, ..Counts::default() };
        assert!(Counts { threads: 11, ..earlier }.rests(&earlier));
        assert!(Counts { threads: 12 + POOL_THREADS_MORE, ..earlier }.rests(&earlier));
        for more in [
            Counts { sockets: 10, ..earlier },
            Counts { others: 6, ..earlier },
            Counts { files: 1, ..earlier },
            Counts { connections: 1, ..earlier },
            Counts { sessions: 1, ..earlier },
            Counts { watches: 1, ..earlier },
            Counts { threads: 13 + POOL_THREADS_MORE, ..earlier },
        ] {
            assert!(!more.rests(&earlier), "{more:?}");
        }
    }
}
