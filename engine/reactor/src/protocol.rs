//! What a driver needs of a protocol: sessions, answers to their questions, and limits.

use bytes::Bytes;
use estafette_machine::Machine;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A number for each connection since the start of the program; stands in every line of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u64);

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s{:x}", self.0)
    }
}

/// Who is connected.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The connection's number.
    pub session: SessionId,
    /// The client.
    pub remote: SocketAddr,
    /// The listener's address; an unspecified one when it listens on all of them.
    pub local: SocketAddr,
    /// The connection began with TLS.
    pub implicit_tls: bool,
}

/// Why a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// All places are taken.
    Full,
    /// This address has as many sessions as it may have.
    Address,
}

impl Refusal {
    /// The word that stands in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Refusal::Full => "full",
            Refusal::Address => "address",
        }
    }
}

/// Answers the questions of one session.
pub trait Service<M: Machine>: Send + 'static {
    /// The kinds of questions, as they stand in metrics.
    const QUESTIONS: &'static [&'static str];
    /// Of which kind a question is: its place in [`Service::QUESTIONS`]. One past the last is not counted.
    fn question(ask: &M::Ask) -> usize;
    /// Answers a question.
    fn answer(&mut self, ask: M::Ask) -> impl Future<Output = M::Answer> + Send;
    /// Where the session goes on, if the question that was answered last has ended it here.
    fn handed_over(&mut self) -> Option<Box<Elsewhere>> {
        None
    }
    /// Resolves when something that the session watches has changed. May be dropped at any time.
    fn changed(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// Where a session goes on that has ended here.
pub struct Elsewhere {
    /// Bytes of the client to there, and from there to the client. Its end is that of the session, and an error means that
    /// the session was lost.
    pub stream: Box<dyn Duplex>,
    /// What is to be said when it is over.
    pub parting: Box<dyn Parting>,
}

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// Looks on at what a client is told from elsewhere, to know what may be added in the end.
pub trait Parting: Send + Sync {
    /// The client is told this.
    fn told(&mut self, bytes: &[u8]);
    /// What can be said behind all that was told; `None` if it would be taken for part of that.
    fn words(&self, why: Parted) -> Option<Bytes>;
}

/// Why nothing more comes from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parted {
    /// It was lost.
    Lost,
    /// The program here stops.
    Stopping,
}

/// Makes the sessions of a listener.
pub trait Protocol: Send + Sync + 'static {
    /// The session.
    type Machine: Machine<Ask: Send, Answer: Send> + Send + 'static;
    /// What answers it.
    type Service: Service<Self::Machine>;
    /// The listener's name in logs and metrics (`smtp`, `imaps`).
    fn name(&self) -> &'static str;
    /// A session and its service for a new connection.
    fn open(&self, peer: Peer) -> (Self::Machine, Self::Service);
    /// What a client is told that cannot be served (`421 …`, `* BYE …`).
    fn refusal(&self, why: Refusal) -> Bytes;
}

/// Time limits of the driver, for all sessions of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a TLS handshake.
    pub handshake_timeout: Duration,
    /// For the client to take what is sent to it.
    pub write_timeout: Duration,
    /// For sessions to end once the server is stopping.
    pub drain_timeout: Duration,
    /// How long the peer may go on sending after we have closed. Closing for good with bytes unread would
    /// reset the connection, and a reset can take away the last answer before the peer has read it.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            handshake_timeout: Duration::from_secs(20),
            write_timeout: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(2),
        }
    }
}
