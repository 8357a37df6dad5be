//! What can go wrong in the front end, and whose fault it is.

use std::path::PathBuf;

/// An error of the front end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The peer's: it went away, was too slow, or does not speak TLS.
    #[error("the connection ended: {0}")]
    Connection(#[from] std::io::Error),
    /// The peer's: a balancer that does not say who is behind it.
    #[error("no usable PROXY header: {0}")]
    Balancer(#[from] estafette_proxy::Error),
    /// The peer's: it took longer than the limit.
    #[error("{0} took too long")]
    TooSlow(&'static str),
    /// Passing: a session cannot be taken over since all places are taken.
    #[error("all places for sessions are taken")]
    Full,
    /// Passing: a session cannot be taken over any more.
    #[error("the program is stopping")]
    Stopping,
    /// Fatal at start: bytes cannot be moved in the way that the settings ask for.
    #[error("{0}")]
    Io(String),
    /// Fatal at start: the system gives no thread, or nothing to wake it by.
    #[error("a thread for sessions cannot be started: {0}")]
    Thread(std::io::Error),
    /// Fatal at start: an address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address wanted.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Fatal at start: no keys for TLS session tickets.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// Fatal at start, passing at a reload: a certificate or key cannot be used.
    #[error("the certificate file {path} cannot be used: {reason}", path = path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}
