//! What a session is doing, and what it holds meanwhile.

use crate::Reply;
use crate::codec::Receiver;
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
    /// At least one recipient was refused.
    pub(super) refused: bool,
}

/// What is counted against the limits.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) bad: u32,
    pub(super) idle: u32,
    pub(super) auth_failures: u32,
    pub(super) mails: u32,
}
