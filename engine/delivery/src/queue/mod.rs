//! The queue of mail for other servers: items in the rows of a shard, replicated like its mailboxes.
//!
//! Rows in [`estafette_storage::Family::Queue`]: items, the times at which there is something to be done
//! for them, counters, the names of those that were here, and who works on which. [`check`] holds them against each other.
//!
//! Promises: an item is added once, however often it is proposed; it leaves when every recipient is
//! decided and the sender was told what it wanted to know; what is decided for a recipient stays.
//!
//! Must not: send anything, read a clock.

mod apply;
mod check;
mod command;
mod handle;
mod id;
mod info;
mod item;
mod key;
pub mod read;
#[cfg(test)]
pub(crate) mod tests;
mod wakeup;

pub use apply::KNOWN_MS;
pub(crate) use apply::apply;
pub use check::{PROBLEMS_MAX, Report, check};
pub(crate) use command::{Answer, Command};
pub use handle::{NewItem, NewRecipient, PAGE_MAX, QueueHandle, RECIPIENTS_MAX};
pub use id::{ItemId, ItemKey, ItemKeyError};
pub use info::{ItemInfo, ItemPage, RecipientInfo};
pub use item::{Item, LastReply, NoticeKind, REPLY_TEXT_MAX, Recipient, State};
pub use key::shard_range;
pub use read::{ClaimRow, Counters};
pub use wakeup::Wakeup;

use serde::{Deserialize, Serialize};

fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    // Writing plain values into memory cannot fail; an empty value would be refused by the reader.
    postcard::to_extend(value, vec![version]).unwrap_or_default()
}

fn decode<'a, T: Deserialize<'a>>(version: u8, bytes: &'a [u8]) -> Option<T> {
    let (first, rest) = bytes.split_first()?;
    let (value, left) = postcard::take_from_bytes(rest).ok()?;
    (*first == version && left.is_empty()).then_some(value)
}
