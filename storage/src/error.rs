//! What can go wrong, and who has to act.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::body::BodyHash;

/// An error of the store. Cheap to clone: one failed sync is told to everyone who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk is full. Passing: nothing was written, and the same may be tried again.
    #[error("the disk is full: {free_bytes} bytes are free, {needed_bytes} are needed")]
    Full {
        /// Bytes free now.
        free_bytes: u64,
        /// Bytes that must be free for this.
        needed_bytes: u64,
    },
    /// More is being written while it comes than the settings allow. Passing: the same may be tried again.
    #[error("large messages of {bytes} bytes are under way, no more than {most_bytes} are taken at once")]
    Busy {
        /// Bytes under way.
        bytes: u64,
        /// The setting.
        most_bytes: u64,
    },
    /// A write or a sync failed earlier. Fatal: no write is taken until the program is started again.
    #[error("the store takes no more writes: {reason}")]
    Failed {
        /// What failed first.
        reason: Arc<str>,
    },
    /// What is on disk does not fit its checksums or itself. Fatal.
    #[error("damaged data in {place}: {reason}")]
    Damaged {
        /// File, folder or row.
        place: Arc<str>,
        /// What was seen.
        reason: Arc<str>,
    },
    /// A body is not there: it is still to be fetched, or was removed. Passing.
    #[error("body {hash} is missing here")]
    Missing {
        /// Its name.
        hash: BodyHash,
    },
    /// The data on disk ends before the last write that was acknowledged. Fatal for a node on its own.
    #[error(
        "the store in {dir} ends at commit {found}, but commit {expected} was acknowledged: {reason}. Nothing \
         was changed. Restore a backup, or let the node catch up from its cluster"
    )]
    Behind {
        /// The data folder.
        dir: PathBuf,
        /// Number of the last acknowledged commit.
        expected: u64,
        /// Number of the last commit found.
        found: u64,
        /// What is wrong with the write-ahead log, and where.
        reason: Arc<str>,
    },
    /// Another process has the folder open.
    #[error("the data folder {dir} is in use by another process")]
    Locked {
        /// The data folder.
        dir: PathBuf,
    },
    /// The folder was written by a newer program.
    #[error("the data folder {dir} has format {found}; this program knows formats up to {known}")]
    NewerFormat {
        /// The data folder.
        dir: PathBuf,
        /// Format of the folder.
        found: u32,
        /// Newest format that this program knows.
        known: u32,
    },
    /// A file of the folder cannot be read or written. Fatal.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: Arc<std::io::Error>,
    },
    /// RocksDB refused for another reason. Fatal.
    #[error("database: {reason}")]
    Database {
        /// RocksDB's words.
        reason: Arc<str>,
    },
    /// A batch cannot be taken as it is. The caller's fault.
    #[error("invalid batch: {reason}")]
    Invalid {
        /// Why.
        reason: &'static str,
    },
    /// The operating system gives no random numbers. Passing.
    #[error("the operating system gives no random numbers")]
    Random,
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// True if trying again later cannot help without someone who looks after the node.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Error::Full { .. }
                | Error::Busy { .. }
                | Error::Missing { .. }
                | Error::Invalid { .. }
                | Error::Random
                | Error::Closed
        )
    }

    /// True if the disk does not give back what was written to it.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Error::Damaged { .. } => true,
            Error::Database { reason } => is_lost(reason),
            _ => false,
        }
    }

    /// True if RocksDB names a table in which it found the damage.
    pub(crate) fn names_table(&self) -> bool {
        matches!(self, Error::Damaged { reason, .. } | Error::Database { reason } if reason.contains(".sst"))
    }

    pub(crate) fn io(path: &Path, source: std::io::Error) -> Error {
        Error::Io { path: path.to_owned(), source: Arc::new(source) }
    }

    pub(crate) fn damaged(place: impl Into<Arc<str>>, reason: impl Into<Arc<str>>) -> Error {
        Error::Damaged { place: place.into(), reason: reason.into() }
    }
}

impl From<rocksdb::Error> for Error {
    fn from(error: rocksdb::Error) -> Error {
        let corrupt = error.kind() == rocksdb::ErrorKind::Corruption;
        let reason: Arc<str> = error.into_string().into();
        if corrupt { Error::Damaged { place: "database".into(), reason } } else { Error::Database { reason } }
    }
}

/// True if a file, or a part of it, cannot be read at all. Other errors of the system may pass.
pub(crate) fn is_lost(reason: &str) -> bool {
    ["Input/output error", "No such file"].iter().any(|lost| reason.contains(lost))
}
