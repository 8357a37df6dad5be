//! What is shown of items to operators and senders.

use super::{Item, ItemKey, LastReply, Recipient, State};
use serde::{Deserialize, Serialize};

/// An item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemInfo {
    /// Its name ([`ItemKey`] as text).
    pub id: String,
    /// The sender; empty for a notice.
    pub sender: String,
    /// The account that submitted it.
    pub submitter: Option<u64>,
    /// Bytes of the message.
    pub size: u64,
    /// When it came, ms since 1970.
    pub created_ms: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, ms since 1970.
    pub next_ms: u64,
    /// To whom.
    pub recipients: Vec<RecipientInfo>,
}

/// A recipient of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientInfo {
    /// The address.
    pub address: String,
    /// The account here that it leads to.
    pub account: Option<u64>,
    /// `waiting`, `delivered`, `relayed`, `failed` or `expired`.
    pub state: String,
    /// What was said at the last attempt.
    pub last_reply: Option<String>,
    /// When that was, ms since 1970.
    pub last_attempt_ms: Option<u64>,
}

/// Some items, and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemPage {
    /// The items.
    pub items: Vec<ItemInfo>,
    /// The name of the last one, when there may be more after it.
    pub next: Option<String>,
}

impl ItemInfo {
    /// Of an item that was read.
    #[must_use]
    pub fn new(key: ItemKey, item: &Item) -> ItemInfo {
        ItemInfo {
            id: key.to_string(),
            sender: item.reverse_path.to_string(),
            submitter: item.submitter.map(|account| account.0),
            size: item.size,
            created_ms: item.created_ms,
            attempts: item.attempts,
            next_ms: item.next_ms,
            recipients: item.recipients.iter().map(RecipientInfo::new).collect(),
        }
    }
}

impl RecipientInfo {
    fn new(recipient: &Recipient) -> RecipientInfo {
        let state = match recipient.state {
            State::Pending => "waiting",
            State::Delivered => "delivered",
            State::Relayed | State::Passed => "relayed",
            State::Failed => "failed",
            State::Expired => "expired",
        };
        RecipientInfo {
            address: recipient.address.to_string(),
            account: recipient.local.map(|account| account.0),
            state: state.to_owned(),
            last_reply: recipient.last.as_ref().map(LastReply::to_string),
            last_attempt_ms: recipient.last.is_some().then_some(recipient.last_ms),
        }
    }
}

impl std::fmt::Display for LastReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        write!(f, " {}", self.text)
    }
}
