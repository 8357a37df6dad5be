//! An item: a message, its envelope, and how far each recipient is; and the bytes that it is on disk.
//!
//! A value begins with a version byte; what an older version wrote stays readable for ever.

use estafette_storage::BodyHash;
use estafette_types::{AccountId, Address, BodyType, DsnNotify, DsnReturn, EnhancedStatus, ReversePath};
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;
/// Bytes of a reply's text that are kept.
pub const REPLY_TEXT_MAX: usize = 512;

/// A message in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The identifier of the message as it was accepted; that of its deliveries.
    pub message: [u8; 16],
    /// The sender.
    pub reverse_path: ReversePath,
    /// BODY of MAIL.
    pub body_type: BodyType,
    /// SMTPUTF8 of MAIL.
    pub smtputf8: bool,
    /// REQUIRETLS of MAIL.
    pub require_tls: bool,
    /// RET of MAIL.
    pub dsn_return: Option<DsnReturn>,
    /// ENVID of MAIL.
    pub dsn_envelope_id: Option<String>,
    /// Who submitted it.
    pub submitter: Option<AccountId>,
    /// The message.
    #[serde(with = "hash")]
    pub body: BodyHash,
    /// Its bytes.
    pub size: u64,
    /// When it came into the queue, ms since 1970.
    pub created_ms: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, ms since 1970; 0: at once. Of a new one: when it came, by the clock of the node that took it.
    pub next_ms: u64,
    /// The sender was told that it is late.
    pub delay_told: bool,
    /// To whom.
    pub recipients: Vec<Recipient>,
}

/// A recipient and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The address.
    pub address: Address,
    /// The account here that it leads to, when its shard could not take the message.
    pub local: Option<AccountId>,
    /// NOTIFY of RCPT.
    pub notify: Option<DsnNotify>,
    /// ORCPT of RCPT: type and address.
    pub original: Option<(String, String)>,
    /// An alias, group or redirection here leads to it.
    pub forwarded: bool,
    /// How far it is.
    pub state: State,
    /// What the sender is still to be told of it.
    pub owed: Option<NoticeKind>,
    /// The last reply.
    pub last: Option<LastReply>,
    /// When that came, ms since 1970.
    pub last_ms: u64,
}

/// How far a recipient is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Not sent yet.
    Pending,
    /// In its mailbox here.
    Delivered,
    /// Another server took it, one that tells senders nothing of what becomes of it.
    Relayed,
    /// Another server took it, with the wishes of the sender for notices (RFC 3461).
    Passed,
    /// Refused for good.
    Failed,
    /// The time in which it was tried is over.
    Expired,
}

impl State {
    /// It is where it should be, or with another server.
    pub(crate) fn is_delivered(self) -> bool {
        matches!(self, State::Delivered | State::Relayed | State::Passed)
    }
}

/// What a notice tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoticeKind {
    /// Not delivered, for good.
    Failure,
    /// Not yet delivered.
    Delay,
    /// Delivered, or taken by another server.
    Success,
}

impl NoticeKind {
    /// A word for identifiers and logs; never changed.
    pub fn word(self) -> &'static str {
        match self {
            NoticeKind::Failure => "failure",
            NoticeKind::Delay => "delay",
            NoticeKind::Success => "success",
        }
    }
}

/// What was said of a recipient.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LastReply {
    /// The server that said it; empty: this one.
    pub server: String,
    /// The reply code.
    pub code: u16,
    /// The enhanced status code.
    pub status: Option<EnhancedStatus>,
    /// The text, in one line of at most [`REPLY_TEXT_MAX`] bytes.
    pub text: String,
}

impl LastReply {
    /// Keeps what can stand in a line; server: who said it.
    pub fn new(server: &str, reply: &estafette_smtp::Reply) -> LastReply {
        let line = |c: char| if c.is_ascii_graphic() { c } else { ' ' };
        let text: String = reply.text.chars().take(REPLY_TEXT_MAX).map(line).collect();
        LastReply {
            server: server.to_owned(),
            code: reply.code,
            status: reply.status,
            text: text.trim().to_owned(),
        }
    }

    /// Words of this server.
    pub(crate) fn own(code: u16, status: (u8, u16, u16), text: &str) -> LastReply {
        LastReply::new("", &estafette_smtp::Reply::new(code, status, text.to_owned()))
    }
}

impl Recipient {
    /// Wants a notice of this kind (RFC 3461 §4.1); without NOTIFY: of failures and delays.
    pub fn wants(&self, kind: NoticeKind) -> bool {
        match (self.notify, kind) {
            (None, NoticeKind::Success) | (Some(DsnNotify::Never), _) => false,
            (None, NoticeKind::Failure | NoticeKind::Delay) => true,
            (Some(DsnNotify::On { success, .. }), NoticeKind::Success) => success,
            (Some(DsnNotify::On { failure, .. }), NoticeKind::Failure) => failure,
            (Some(DsnNotify::On { delay, .. }), NoticeKind::Delay) => delay,
        }
    }

    /// Not sent yet.
    pub fn is_pending(&self) -> bool {
        self.state == State::Pending
    }
}

impl Item {
    /// What the sender is owed when this recipient comes into this state. A null sender is owed nothing.
    pub fn owed(&self, recipient: &Recipient, state: State) -> Option<NoticeKind> {
        let kind = match state {
            State::Failed | State::Expired => NoticeKind::Failure,
            State::Delivered | State::Relayed => NoticeKind::Success,
            State::Pending | State::Passed => return None,
        };
        (self.reverse_path != ReversePath::Null && recipient.wants(kind)).then_some(kind)
    }

    /// Recipients not sent yet, with their places.
    pub fn pending(&self) -> impl Iterator<Item = (u32, &Recipient)> {
        (0..).zip(&self.recipients).filter(|(_, recipient)| recipient.is_pending())
    }

    /// Places of the recipients of whom the sender is to be told this.
    pub fn owing(&self, kind: NoticeKind) -> Vec<u32> {
        let owing = (0..).zip(&self.recipients).filter(|(_, recipient)| recipient.owed == Some(kind));
        owing.map(|(place, _)| place).collect()
    }

    /// Nothing is left to be done.
    pub fn is_settled(&self) -> bool {
        self.recipients.iter().all(|recipient| !recipient.is_pending() && recipient.owed.is_none())
    }

    /// When there is something to be done: at once when a notice is owed.
    pub(crate) fn due_ms(&self) -> u64 {
        if self.recipients.iter().any(|recipient| recipient.owed.is_some()) { 0 } else { self.next_ms }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        super::encode(VERSION, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Item> {
        super::decode(VERSION, bytes)
    }
}

/// Body hashes as 32 bytes.
mod hash {
    use super::BodyHash;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(hash: &BodyHash, to: S) -> Result<S::Ok, S::Error> {
        hash.0.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BodyHash, D::Error> {
        <[u8; 32]>::deserialize(from).map(BodyHash)
    }
}
