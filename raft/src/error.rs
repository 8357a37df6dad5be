//! Everything that can go wrong in this crate, by who has to act.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::{GroupId, MachineError, NodeId};

/// Who has to act on an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The caller asked for what cannot be; the same call will fail again.
    Caller,
    /// It passes: the same call may succeed later, or at another node.
    Passing,
    /// The group or the node has stopped; an operator is needed.
    Fatal,
}

/// What goes wrong with a group or a node.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Another node leads, or none does at the moment.
    #[error("this node does not lead {group}")]
    NotLeader {
        /// The group.
        group: GroupId,
        /// Who leads, if that is known.
        leader: Option<NodeId>,
    },
    /// The group is closed or the node shuts down. Nothing was proposed.
    #[error("{group} takes no proposals now")]
    Unavailable {
        /// The group.
        group: GroupId,
    },
    /// Leadership or the group was lost while the proposal was under way: it may take effect or not.
    #[error("{group} was interrupted; the proposal may have taken effect or not")]
    Interrupted {
        /// The group.
        group: GroupId,
    },
    /// The disk is nearly full: a proposal that brings bodies or much else is not taken, and nothing was written.
    #[error("the disk is nearly full")]
    Full,
    /// The command is larger than one entry may be.
    #[error("a command of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The members of a group were not changed.
    #[error("{group}: the members were not changed: {reason}")]
    Members {
        /// The group.
        group: GroupId,
        /// Why not.
        reason: String,
    },
    /// The group is open already.
    #[error("{group} is open already")]
    AlreadyOpen {
        /// The group.
        group: GroupId,
    },
    /// The folder belongs to another node.
    #[error("this data folder belongs to node {found}, not to node {given}")]
    OtherNode {
        /// Who wrote the folder.
        found: NodeId,
        /// Who opened it.
        given: NodeId,
    },
    /// Entries that were acknowledged are no longer in the log.
    #[error(
        "{group}: the log on this disk ends at index {found}, but index {acknowledged} had been acknowledged: \
         {} entries are lost. If the node belongs to a cluster, empty the data folder and join anew; else restore it from \
         a copy that has them, or start once with `accept_loss` set to go on without them", acknowledged - found
    )]
    LogBehind {
        /// The group.
        group: GroupId,
        /// The last index in the log.
        found: u64,
        /// The last index that was acknowledged.
        acknowledged: u64,
    },
    /// The vote on disk is older than one that was acknowledged.
    #[error(
        "{group}: the vote on this disk is of term {found_term}, but one of term {acknowledged_term} had been \
         acknowledged: the last writes are lost. If the node belongs to a cluster, empty the data folder and join anew; \
         else restore it from a copy that has them, or start once with `accept_loss` set to go on without them"
    )]
    VoteBehind {
        /// The group.
        group: GroupId,
        /// Term of the vote found.
        found_term: u64,
        /// Term of the vote that was acknowledged.
        acknowledged_term: u64,
    },
    /// The log has no entry where one must be.
    #[error("{group}: log entry {index} is missing; restore the data folder from a copy")]
    Hole {
        /// The group.
        group: GroupId,
        /// Index of the missing entry.
        index: u64,
    },
    /// A row of the log or about it does not decode.
    #[error("{group}: a row of the log (index {index:?}) is damaged, or written by a newer version")]
    Undecodable {
        /// The group.
        group: GroupId,
        /// Index of the entry; none for a row about the log.
        index: Option<u64>,
    },
    /// The store cannot read or write.
    #[error("storage: {0}")]
    Storage(#[source] Arc<estafette_storage::Error>),
    /// The machine of the group could not go on.
    #[error("{group}: the machine stopped at log index {index}: {cause}")]
    Machine {
        /// The group.
        group: GroupId,
        /// Index of the entry; 0 while loading.
        index: u64,
        /// Why.
        #[source]
        cause: Arc<MachineError>,
    },
    /// A snapshot could not be written or read.
    #[error("snapshot {}: {cause}", path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Arc<SnapshotError>,
    },
    /// openraft refused its settings or stopped.
    #[error("{group} has stopped: {cause}")]
    Stopped {
        /// The group.
        group: GroupId,
        /// What openraft says.
        #[source]
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
}

/// What is wrong with a snapshot file.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Not a snapshot, or one of a newer version.
    #[error("not a snapshot that this version can read")]
    Format,
    /// It ends early or its checksum does not fit.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// It is of another group.
    #[error("made of {found}, not of {wanted}")]
    OtherGroup {
        /// The group in the file.
        found: GroupId,
        /// The group that was to be replaced.
        wanted: GroupId,
    },
}

impl Error {
    /// Who has to act.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::NotLeader { .. }
            | Self::Unavailable { .. }
            | Self::Interrupted { .. }
            | Self::Members { .. }
            | Self::Full => Class::Passing,
            Self::TooLarge { .. } | Self::AlreadyOpen { .. } | Self::OtherNode { .. } => Class::Caller,
            Self::LogBehind { .. }
            | Self::VoteBehind { .. }
            | Self::Hole { .. }
            | Self::Undecodable { .. }
            | Self::Storage(_)
            | Self::Machine { .. }
            | Self::Snapshot { .. }
            | Self::Stopped { .. } => Class::Fatal,
        }
    }

    /// Whether the group or the node has stopped.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.class() == Class::Fatal
    }

    pub(crate) fn snapshot(path: &std::path::Path, cause: impl Into<SnapshotError>) -> Self {
        Self::Snapshot { path: path.to_owned(), cause: Arc::new(cause.into()) }
    }
}

impl From<estafette_storage::Error> for Error {
    fn from(cause: estafette_storage::Error) -> Self {
        match cause {
            estafette_storage::Error::Full { .. } => Self::Full,
            cause => Self::Storage(Arc::new(cause)),
        }
    }
}

/// What openraft takes for an error of ours.
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

/// Why a group stopped: set once, read by all who wait for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fault(Arc<OnceLock<Error>>);

impl Fault {
    /// Keeps the first error and hands it back in the form that openraft wants.
    pub(crate) fn raise(&self, error: Error) -> std::io::Error {
        if self.0.set(error.clone()).is_ok() {
            tracing::error!(%error, "group stops");
        }
        error.into()
    }

    pub(crate) fn seen(&self) -> Option<Error> {
        self.0.get().cloned()
    }
}
