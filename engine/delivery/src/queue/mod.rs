//! The queue of mail for other servers: items in the rows of a shard.

mod wakeup;

pub use wakeup::Wakeup;

use crate::Error;
use bytes::Bytes;
use estafette_raft::Context;
use estafette_storage::{BodyHash, Transaction};
use estafette_types::ShardId;
use std::ops::Range;

/// The rows of a shard's queue.
pub fn shard_range(shard: ShardId) -> Range<Vec<u8>> {
    let next = shard.0.saturating_add(1);
    shard.0.to_be_bytes().to_vec()..next.to_be_bytes().to_vec()
}

/// Applies a command of the log.
pub(crate) fn apply(
    _shard: ShardId,
    _context: &Context,
    _command: &[u8],
    _bodies: &[BodyHash],
    _tx: &mut Transaction,
) -> Result<Bytes, Error> {
    Err(Error::Queue { what: "a command" })
}
