//! What a session is doing, and what it holds meanwhile.

use super::config::PART_BYTES;
use crate::Reply;
use crate::codec::Receiver;
use estafette_machine::Deposit;
use estafette_types::{Envelope, Recipient};
use std::sync::Arc;

/// What the next bytes are, or what is awaited.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing was said yet.
    Opening,
    /// The next bytes are a command.
    Command,
    /// The next bytes are a response within AUTH.
    Auth(Exchange),
    /// The next bytes are a message; its receiver is in the transaction.
    Data,
    /// The next bytes are a chunk.
    Chunk(Chunk),
    /// The engine was asked.
    Asked(Question),
    /// A TLS handshake is under way.
    Securing,
    /// All is over.
    Closed,
}

/// Where AUTH is.
#[derive(Debug)]
pub(super) enum Exchange {
    /// PLAIN: the one response.
    Plain,
    /// LOGIN: the user name.
    LoginName,
    /// LOGIN: the password of this user.
    LoginPassword(String),
}

/// A BDAT chunk on its way.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Bytes to come.
    pub(super) remaining: u64,
    /// Bytes of the whole chunk.
    pub(super) size: u64,
    /// LAST was said.
    pub(super) last: bool,
    /// The chunk is read, thrown away, and answered with this.
    pub(super) refusal: Option<Reply>,
}

/// What the engine was asked, with what is needed once it answers.
#[derive(Debug)]
pub(super) enum Question {
    Login,
    Mail(Arc<Envelope>),
    Recipient(Recipient),
    Data,
    Chunk(Chunk),
    /// Part of a message was handed over: of DATA, or of this chunk.
    Part(Option<Chunk>),
    Deliver {
        /// How many replies the peer awaits.
        replies: usize,
    },
}

/// A message from MAIL to its end.
#[derive(Debug)]
pub(super) struct Transaction {
    /// MAIL and the recipients accepted.
    pub(super) envelope: Arc<Envelope>,
    /// The body, once it has begun.
    pub(super) receiver: Option<Receiver>,
    /// What the engine keeps of it.
    pub(super) deposit: Option<Deposit>,
    /// The engine takes no more of it, and this is why.
    pub(super) refusal: Option<Reply>,
    /// At least one recipient was refused.
    pub(super) refused: bool,
}

impl Transaction {
    pub(super) fn new(envelope: Arc<Envelope>) -> Transaction {
        Transaction { envelope, receiver: None, deposit: None, refusal: None, refused: false }
    }

    /// True when so much is gathered that it has to be handed over. Of a faulty message nothing is.
    pub(super) fn part_is_due(&mut self, part_from: usize) -> bool {
        let Some(receiver) = &self.receiver else { return false };
        if receiver.fault().is_some() {
            self.deposit = None;
            return false;
        }
        let declared = self.envelope.declared_size.is_some_and(|size| size >= part_from as u64);
        let from = if declared || self.deposit.is_some() { PART_BYTES } else { part_from };
        receiver.held() >= from.max(PART_BYTES)
    }
}

/// What is counted against the limits.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) bad: u32,
    pub(super) idle: u32,
    pub(super) auth_failures: u32,
    pub(super) mails: u32,
}
