//! What goes wrong with the rows themselves. A refused command is no error: see [`crate::Refusal`].

/// An error that is fatal for the directory on this node.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A row or command is of a version that this program does not know.
    #[error("{what} has version {version}, which this program does not know")]
    Version {
        /// What was read.
        what: &'static str,
        /// The version found.
        version: u8,
    },
    /// A row or command cannot be read.
    #[error("{what} is damaged: {source}")]
    Encoding {
        /// What was read or written.
        what: &'static str,
        /// Why not.
        source: postcard::Error,
    },
    /// A row is of no known kind, or its value cannot be read.
    #[error("the row with the key {key:02x?} cannot be read")]
    Row {
        /// The key.
        key: Vec<u8>,
        /// What is wrong with its value; `None` when the key itself is of no known kind.
        #[source]
        reason: Option<Box<Error>>,
    },
    /// A record names another that is not there.
    #[error("{what} {id} belongs to something that is not there")]
    Dangling {
        /// The kind of record.
        what: &'static str,
        /// Its identifier.
        id: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] estafette_storage::Error),
}
