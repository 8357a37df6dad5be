//! What can go wrong in a benchmark; all of it ends the run, for a figure from a broken run is none.

/// An error of a run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A connection or a file failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The server did not answer in time.
    #[error("the server did not answer within {0} s")]
    Slow(u64),
    /// The server answered something that was not expected.
    #[error("after {sent:?} the server answered {answer:?}")]
    Answer {
        /// What was sent last.
        sent: String,
        /// What came.
        answer: String,
    },
    /// A server could not be started.
    #[error("{server} did not start: {why}")]
    Start {
        /// Which.
        server: &'static str,
        /// Why not.
        why: String,
    },
    /// A TLS setting or certificate is wrong.
    #[error("TLS: {0}")]
    Tls(String),
    /// Handshakes are to be measured, but without TLS there are none.
    #[error("handshakes need --tls or --starttls")]
    NoTls,
    /// A signal came.
    #[error("stopped by a signal")]
    Stopped,
    /// A tool that is needed failed.
    #[error("{tool}: {why}")]
    Tool {
        /// Which.
        tool: &'static str,
        /// What it said.
        why: String,
    },
    /// There is no such thing.
    #[error("there is no {what} '{name}'")]
    Unknown {
        /// What was asked for.
        what: &'static str,
        /// By this name.
        name: String,
    },
    /// A server kept something of sessions that had ended.
    #[error("not given back: {0}")]
    Leak(String),
    /// Clients that did honest work were turned away.
    #[error("{0} sessions of clients that worked failed")]
    Unserved(usize),
    /// A result could not be written.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A task of the load was lost.
    #[error("a session of the load ended: {0}")]
    Join(#[from] tokio::task::JoinError),
}

impl BenchError {
    /// Of a part of TLS.
    pub(crate) fn tls(error: impl std::fmt::Display) -> BenchError {
        BenchError::Tls(error.to_string())
    }
}
