//! What a command can fail with; each says what to do.

use std::path::PathBuf;
use std::process::ExitCode;

/// An error of the command line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
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
    #[error("{what}: {reason}")]
    Argument {
        /// Which argument.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A node did not join.
    #[error(transparent)]
    Cluster(crate::cluster::ClusterError),
    /// The server of a node that was leaving is gone without a mark that the node was removed.
    #[error(
        "the server stopped, and it is not known whether the node has left: start it again, or ask another node"
    )]
    StoppedLeaving,
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Standard output is gone.
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
    /// No data folder is named and there is no home.
    #[error("name the data folder with --data")]
    NoData,
    /// The system gives no runtime.
    #[error("the program cannot start its runtime: {0}")]
    Runtime(std::io::Error),
    /// A deletion was not confirmed.
    #[error("nothing was deleted; repeat the name with --confirm {name}")]
    Unconfirmed {
        /// The name.
        name: String,
    },
    /// Not the kind of source that was named.
    #[error("{path}: {reason}", path = path.display())]
    Source {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Some messages of an import are left.
    #[error("{count} messages or folders were not imported")]
    Incomplete {
        /// How many.
        count: u64,
    },
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The server could not start or had to stop.
    #[error(transparent)]
    Start(#[from] crate::node::StartError),
    /// A server runs on the folder.
    #[error("a server runs on {data}; stop it first: what is written while it is read cannot be checked", data = data.display())]
    Running {
        /// The data folder.
        data: PathBuf,
    },
    /// Nothing to check.
    #[error("{data} holds no store", data = data.display())]
    NoStore {
        /// The data folder.
        data: PathBuf,
    },
    /// The store cannot be opened or read.
    #[error(transparent)]
    Storage(#[from] estafette_storage::Error),
    /// Rows of the directory cannot be read.
    #[error(transparent)]
    Directory(#[from] estafette_directory::Error),
    /// Rows of mailboxes cannot be read.
    #[error(transparent)]
    Mailbox(#[from] estafette_mailbox::Error),
    /// Rows of the queue cannot be read.
    #[error(transparent)]
    Delivery(#[from] estafette_delivery::Error),
    /// The check found damage.
    #[error("{count} faults were found")]
    Damaged {
        /// How many.
        count: u64,
    },
}

/// The exit status of a node whose data is damaged: to start it again does not help.
const DAMAGED: u8 = 3;

impl CliError {
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            CliError::Start(error) if error.is_damage() => ExitCode::from(DAMAGED),
            _ => ExitCode::FAILURE,
        }
    }

    pub(super) fn argument(what: &'static str, reason: impl ToString) -> CliError {
        CliError::Argument { what, reason: reason.to_string() }
    }
}
