//! What can go wrong on the way of a message, by who has to act.

/// An error of delivery.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The shard's group could not take the proposal; its class says whether that passes.
    #[error(transparent)]
    Raft(#[from] estafette_raft::Error),
    /// The store could not be read.
    #[error(transparent)]
    Storage(#[from] estafette_storage::Error),
    /// Rows of mailboxes cannot be read.
    #[error(transparent)]
    Mailbox(#[from] estafette_mailbox::Error),
    /// Rows, commands or answers of the queue cannot be read: damaged, or of a newer version. Fatal.
    #[error("{what} of the queue cannot be read")]
    Queue {
        /// What it is.
        what: &'static str,
    },
    /// An account lies in a shard that this node does not know. Passing: the map may be on its way.
    #[error("there is no shard {0} here")]
    NoShard(estafette_types::ShardId),
}

impl Error {
    /// True when trying again cannot help and an operator is needed.
    pub fn is_fatal(&self) -> bool {
        match self {
            Error::Raft(error) => error.is_fatal(),
            Error::Storage(error) => error.is_fatal(),
            Error::Mailbox(estafette_mailbox::Error::Storage(error)) => error.is_fatal(),
            Error::Mailbox(_) | Error::Queue { .. } => true,
            Error::NoShard(_) => false,
        }
    }

    /// True when the disk is nearly full: 452 and NO [OVERQUOTA] are for accounts, this is for the node.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Error::Raft(estafette_raft::Error::Full))
    }
}
