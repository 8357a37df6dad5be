//! What a command can fail with; each says what to do.

use std::path::PathBuf;

/// An error of the command line.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// No server listens on the socket.
    #[error("no server answers on {socket} ({source}); start it with `estafette serve`, or name its folder with --data", socket = socket.display())]
    NotRunning {
        /// The socket tried.
        socket: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The connection to the server broke.
    #[error("the connection to the server broke: {0}")]
    Talk(hyper::Error),
    /// The server's answer cannot be read.
    #[error("the server's answer cannot be read; is it of another version?")]
    Answer,
    /// The server refused.
    #[error("{message}")]
    Refused {
        /// A word for programs.
        code: String,
        /// Words for people.
        message: String,
    },
    /// A bad argument.
    #[error("{0}")]
    Argument(String),
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The server could not start or had to stop.
    #[error(transparent)]
    Start(#[from] crate::node::StartError),
    /// The check found damage.
    #[error("{count} faults were found")]
    Damaged {
        /// How many.
        count: u64,
    },
}
