//! What a group drives: a deterministic machine over rows, and what is proposed to it.

use std::ops::Range;

use bytes::Bytes;
use estafette_storage::{BodyHash, Family, NewBody, Read, Transaction};

use crate::settings::SMALL_BYTES;

/// What all replicas know alike while they apply a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The leader's clock when it made the entry, in milliseconds since 1970; never smaller than in an entry before.
    pub time_ms: u64,
    /// Index of the entry in the group's log.
    pub index: u64,
    /// Place of the command within its entry.
    pub ordinal: u32,
    /// Random bytes that no other command has. Commands of one entry have related ones: hash them where that matters.
    pub seed: [u8; 16],
}

impl Context {
    /// The context of command `ordinal` of an entry; its seed is that of the entry moved on by the ordinal.
    pub(crate) fn new(time_ms: u64, index: u64, ordinal: u32, entry_seed: [u8; 16]) -> Self {
        /// Odd, so that no two ordinals of an entry meet.
        const STEP: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        let moved = u128::from_le_bytes(entry_seed).wrapping_add(STEP.wrapping_mul(u128::from(ordinal)));
        Self { time_ms, index, ordinal, seed: moved.to_le_bytes() }
    }
}

/// A deterministic state machine whose whole state are rows of the store.
pub trait Machine: Send + 'static {
    /// Applies one command. Deterministic: only `context`, the command and rows may decide. Writes go into `tx` only.
    ///
    /// A refused command is an `Ok(response)` that says so; what it had written by then it takes back itself
    /// (`tx.savepoint()`, `tx.rollback_to(..)`). The bodies that came with the command are held until this entry is
    /// applied: to keep one, add a reference to it here.
    ///
    /// # Errors
    /// Fatal: the group stops, nothing of the round is written, and the same log is applied again after a restart.
    fn apply(
        &mut self,
        context: &Context,
        command: &[u8],
        bodies: &[BodyHash],
        tx: &mut Transaction,
    ) -> Result<Bytes, MachineError>;

    /// The transaction with the commands since the last call has been written: publish views, wake watchers.
    fn written(&mut self) {}

    /// The rows that are this machine's whole state: what a snapshot holds and a checksum covers.
    fn ranges(&self) -> Vec<(Family, Range<Vec<u8>>)>;

    /// The bodies that its rows refer to: made anew for rows that came as a snapshot. `None` if it never refers to any.
    fn references(&self) -> Option<References> {
        None
    }

    /// The node has just started, or the rows were replaced by a snapshot: load what is kept in memory from them.
    ///
    /// # Errors
    /// Fatal: the group does not open.
    fn load(&mut self, rows: &dyn Read) -> Result<(), MachineError>;
}

/// How the references of a machine's rows are found.
pub struct References {
    /// The scope in which its references are counted.
    pub scope: u32,
    /// Names each body, with its length, once for every reference.
    pub walk: Walk,
}

/// See [`References::walk`].
pub type Walk =
    Box<dyn Fn(&dyn Read, &mut dyn FnMut(BodyHash, u64)) -> Result<(), MachineError> + Send + Sync>;

impl std::fmt::Debug for References {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "References(scope {})", self.scope)
    }
}

/// Why a machine cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The store could not be read or written.
    #[error(transparent)]
    Storage(#[from] estafette_storage::Error),
    /// A row that the machine wrote does not decode.
    #[error("row {} of {family:?} cannot be understood: damaged, or written by a newer version", hex(key))]
    BadRow {
        /// Where the row is.
        family: Family,
        /// Its key.
        key: Vec<u8>,
    },
    /// A command in the log does not decode.
    #[error("a command of version {version} cannot be understood: damaged, or made by a newer version")]
    BadCommand {
        /// The command's first byte.
        version: u8,
    },
    /// The rows contradict each other; the text names the rule that is broken.
    #[error("the rows contradict each other: {0}")]
    Inconsistent(&'static str),
    /// The machine panicked, which is a mistake in the program.
    #[error("the program made a mistake while it applied the command (panic)")]
    Panicked,
}

fn hex(key: &[u8]) -> String {
    use std::fmt::Write as _;
    key.iter().fold(String::with_capacity(key.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is proposed to a group: one command for its machine, and the message bodies that it names.
#[derive(Clone, Debug, Default)]
pub struct Proposal {
    /// The machine's own encoding, with a version byte.
    pub command: Bytes,
    /// Bodies that are stored in the same write as the log entry, and held until it is applied.
    pub bodies: Vec<NewBody>,
}

impl Proposal {
    /// True if it is taken although the disk is nearly full.
    pub(crate) fn is_small(&self) -> bool {
        self.bodies.is_empty() && self.command.len() <= SMALL_BYTES
    }

    /// Bytes that the proposal adds to a write.
    pub(crate) fn bytes(&self) -> usize {
        let bodies = self.bodies.iter().map(NewBody::bytes_held).sum::<usize>();
        self.command.len().saturating_add(bodies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_of_one_entry_differ() {
        let seeds: std::collections::HashSet<_> =
            (0..10_000).map(|ordinal| Context::new(1, 2, ordinal, [7; 16]).seed).collect();
        assert_eq!(seeds.len(), 10_000);
        assert_eq!(Context::new(1, 2, 0, [7; 16]).seed, [7; 16]);
    }
}
