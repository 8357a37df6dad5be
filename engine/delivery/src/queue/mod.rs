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

use crate::Shards;
use estafette_raft::NewBody;
use estafette_types::{AccountId, Address, BodyType, DsnNotify, DsnReturn, ReversePath};

/// A message for other servers.
#[derive(Clone, Debug)]
pub struct NewItem {
    /// The identifier of the message as it was accepted.
    pub message: [u8; 16],
    /// The sender.
    pub reverse_path: ReversePath,
    /// To whom.
    pub recipients: Vec<NewRecipient>,
    /// The message.
    pub body: BodyHash,
    /// Its bytes.
    pub size: u64,
    /// BODY of MAIL.
    pub body_type: BodyType,
    /// SMTPUTF8 of MAIL.
    pub smtputf8: bool,
    /// RET of MAIL.
    pub dsn_return: Option<DsnReturn>,
    /// ENVID of MAIL.
    pub dsn_envelope_id: Option<String>,
    /// Who submitted it.
    pub submitter: Option<AccountId>,
}

/// A recipient elsewhere.
#[derive(Clone, Debug)]
pub struct NewRecipient {
    /// The address.
    pub address: Address,
    /// NOTIFY of RCPT.
    pub notify: Option<DsnNotify>,
    /// ORCPT of RCPT.
    pub original: Option<(String, String)>,
    /// An alias, group or redirection here leads to it.
    pub forwarded: bool,
}

/// Puts items into the queue.
#[derive(Clone)]
pub struct QueueHandle {
    shards: Shards,
}

impl QueueHandle {
    /// For a node.
    pub fn new(shards: Shards) -> QueueHandle {
        QueueHandle { shards }
    }

    /// Durable when it answers.
    ///
    /// # Errors
    /// When no shard can take it now.
    pub async fn enqueue(&self, _item: NewItem, _bodies: Vec<NewBody>) -> Result<(), Error> {
        let _ = &self.shards;
        Err(Error::Queue { what: "an item" })
    }
}
