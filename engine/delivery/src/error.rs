//! What can go wrong on the way of a message, by who has to act.

use estafette_mailbox::HexKey;
use estafette_types::{AccountId, ShardId};
use std::path::PathBuf;

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
    /// Commands or answers of the queue cannot be read: damaged, or of a newer version. Fatal.
    #[error("{what} of the queue cannot be read")]
    Queue {
        /// What it is.
        what: &'static str,
    },
    /// A row of the queue cannot be read: damaged, or written by a newer version. Fatal.
    #[error("the {what} row of the queue with key {key} cannot be read")]
    Damaged {
        /// The kind of row.
        what: &'static str,
        /// Its key.
        key: HexKey,
    },
    /// The body of an item of the queue is not in the store. Fatal for the item.
    #[error("the message of the item {0} is not in the store")]
    NoBody(crate::queue::ItemKey),
    /// An account lies in a shard that this node does not know. Passing: the map may be on its way.
    #[error("there is no shard {0} here")]
    NoShard(ShardId),
    /// The account is on its way from one shard to another for longer than is waited. Passing.
    #[error("the account {} is on its way to another shard", .0.0)]
    Moving(AccountId),
    /// There is no shard at all that could take an item of the queue. Passing.
    #[error("there is no shard that takes mail for other servers")]
    NoQueue,
    /// The operating system gives no random numbers. Passing.
    #[error("the operating system gives no random numbers")]
    Random,
    /// Another node may be working on the item by now. Passing.
    #[error("another node may have the item {0}")]
    ClaimLost(crate::queue::ItemKey),
    /// A notice to a sender could not be delivered now. Passing.
    #[error("a notice could not be delivered now: {0:?}")]
    Notice(crate::Problem),
    /// The file of authorities that the relay's certificate is checked against. The operator's fault.
    #[error("{path}: {source}", path = path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: AuthoritiesError,
    },
    /// TLS cannot be set up for the relay. The operator's fault.
    #[error("TLS for the relay: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// The relay's host is no name and no address. The operator's fault.
    #[error("the relay's host '{0}' is no host name and no address")]
    RelayHost(String),
}

/// Why a file of authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// It cannot be read, or is no PEM.
    #[error(transparent)]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// A certificate in it cannot be an authority.
    #[error(transparent)]
    Certificate(#[from] tokio_rustls::rustls::Error),
    /// It holds no certificate.
    #[error("there is no certificate in it")]
    Empty,
}

impl Error {
    /// True when trying again cannot help and an operator is needed.
    pub fn is_fatal(&self) -> bool {
        match self {
            Error::Raft(error) => error.is_fatal(),
            Error::Storage(error) => error.is_fatal(),
            Error::Mailbox(estafette_mailbox::Error::Storage(error)) => error.is_fatal(),
            Error::Mailbox(_) | Error::Queue { .. } | Error::Damaged { .. } | Error::NoBody(_) => true,
            Error::Authorities { .. } | Error::Tls(_) | Error::RelayHost(_) => true,
            Error::NoShard(_) | Error::Moving(_) | Error::NoQueue | Error::Random => false,
            Error::ClaimLost(_) | Error::Notice(_) => false,
        }
    }

    /// True when the disk is nearly full, or as much is under way as may be: 452 and NO [OVERQUOTA] are for accounts, this is for the node.
    pub fn is_disk_full(&self) -> bool {
        use estafette_storage::Error::{Busy, Full};
        matches!(self, Error::Raft(estafette_raft::Error::Full) | Error::Storage(Full { .. } | Busy { .. }))
    }

    /// True when another shard may take now what this one did not (DESIGN 3.5).
    pub(crate) fn is_of_the_shard(&self) -> bool {
        let passing = matches!(self, Error::Raft(error) if error.class() == estafette_raft::Class::Passing);
        (passing || matches!(self, Error::NoShard(_) | Error::Moving(_))) && !self.is_disk_full()
    }

    /// True when the command may have taken effect although there was no answer.
    pub fn is_uncertain(&self) -> bool {
        matches!(self, Error::Raft(estafette_raft::Error::Interrupted { .. }))
    }
}
