//! What can go wrong with the rows themselves. A command that cannot be carried out is no error: it
//! is answered with a [`crate::Refusal`].

use std::fmt;

/// A failure that is nobody's request's fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed. Whether it passes is for the store to say.
    #[error(transparent)]
    Storage(#[from] estafette_storage::Error),
    /// A row cannot be read: damaged, or written by a newer version. Fatal.
    #[error("the {what} row with key {key} cannot be read")]
    Damaged {
        /// The kind of row.
        what: &'static str,
        /// Its key.
        key: HexKey,
    },
    /// Rows contradict each other: one that must be there is missing. Fatal.
    #[error("the {what} row with key {key} is missing")]
    Missing {
        /// The kind of row.
        what: &'static str,
        /// Its key.
        key: HexKey,
    },
    /// The bytes are no command or answer of a version that this program knows. Fatal.
    #[error("a mailbox command or answer of version {0} cannot be read")]
    Version(u8),
}

/// A key, shown in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HexKey(pub Vec<u8>);

impl fmt::Display for HexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
