//! The column families of a node. Few and fixed: never one per group or per account.

/// A kind of rows. Keys within a family are ordered as bytes.
///
/// Merging ([`crate::Batch::merge_add`]) works in every family but [`Family::Blob`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Bodies in chunks: `hash ‖ chunk (u32 BE)`. Written through [`crate::Batch::put_body`] alone.
    Blob,
    /// References, holds and lengths of bodies; see the crate's module `body`.
    BlobRef,
    /// Mailboxes, messages, change logs.
    Row,
    /// Parsed headers and MIME structure; keys begin with a body's hash and go when the body goes.
    Structure,
    /// The search index.
    Search,
    /// Outbound queue.
    Queue,
    /// Domains, accounts, aliases, policies.
    Directory,
    /// Counters and what expires.
    Traffic,
    /// Entries of the Raft logs of all groups.
    RaftLog,
    /// Votes, applied indexes, snapshots of all groups.
    RaftMeta,
    /// Mail kept back.
    Quarantine,
}

impl Family {
    /// All of them, in the order of their declaration.
    pub const ALL: [Family; 11] = [
        Family::Blob,
        Family::BlobRef,
        Family::Row,
        Family::Structure,
        Family::Search,
        Family::Queue,
        Family::Directory,
        Family::Traffic,
        Family::RaftLog,
        Family::RaftMeta,
        Family::Quarantine,
    ];

    /// The name on disk and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Family::Blob => "blob",
            Family::BlobRef => "blob_ref",
            Family::Row => "row",
            Family::Structure => "structure",
            Family::Search => "search",
            Family::Queue => "queue",
            Family::Directory => "directory",
            Family::Traffic => "traffic",
            Family::RaftLog => "raft_log",
            Family::RaftMeta => "raft_meta",
            Family::Quarantine => "quarantine",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_place_in_all() {
        for (place, family) in Family::ALL.into_iter().enumerate() {
            assert_eq!(family.index(), place);
        }
    }
}
