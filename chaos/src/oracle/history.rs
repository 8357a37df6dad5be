//! What senders were told.

use crate::message::{Digest, MessageId};
use serde::Serialize;
use std::fmt;

/// An account, by its place in the list of accounts.
pub(crate) type Account = usize;

/// What the sender of a message knows for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// 2xx after the message: it has to be there.
    Acknowledged,
    /// 4xx after the message: it may be there.
    PutOff(u16),
    /// Wholly sent, no answer: it may be there.
    Unanswered,
    /// Refused for good, or before the message was sent: it must not be there.
    Refused(u16),
    /// Never wholly sent: it must not be there.
    Unfinished,
}

impl Told {
    pub(crate) fn must_be_there(self) -> bool {
        self == Told::Acknowledged
    }

    pub(crate) fn may_be_there(self) -> bool {
        matches!(self, Told::Acknowledged | Told::PutOff(_) | Told::Unanswered)
    }
}

/// A message that was sent, or was to be.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) id: MessageId,
    pub(crate) digest: Digest,
    /// True if its transaction began after the moment that the load was told to mark.
    pub(crate) after_mark: bool,
    pub(crate) told: Vec<(Account, Told)>,
}

/// A message that a client removed from a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Erased {
    pub(crate) account: Account,
    pub(crate) uid: u32,
    pub(crate) id: MessageId,
    /// True if the client was told that it is gone; false without an answer.
    pub(crate) sure: bool,
    /// As with [`Sent`].
    pub(crate) after_mark: bool,
}

/// System flags of a message (RFC 9051 §2.3.2), those that clients of the load change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Flags(u8);

const FLAGS: [&str; 4] = ["\\Seen", "\\Answered", "\\Flagged", "\\Draft"];

impl Flags {
    /// Some of them, by the low bits of a number.
    pub(crate) fn from_bits(bits: u64) -> Flags {
        Flags(u8::try_from(bits & 0xf).unwrap_or(0))
    }

    /// From the text between the parentheses of FLAGS; other flags are left out.
    pub(crate) fn parse(text: &str) -> Flags {
        let has = |flag: &str| text.split(' ').any(|word| word.eq_ignore_ascii_case(flag));
        let bits = FLAGS.iter().enumerate().filter(|(_, flag)| has(flag)).map(|(bit, _)| 1 << bit);
        Flags(bits.sum())
    }
}

/// As they are written in commands.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = FLAGS.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0);
        let names: Vec<&str> = named.map(|(_, flag)| *flag).collect();
        write!(f, "{}", names.join(" "))
    }
}

/// Flags that a client gave a message, in place of those it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) account: Account,
    pub(crate) uid: u32,
    pub(crate) flags: Flags,
    /// True if the client was told OK; false without an answer.
    pub(crate) sure: bool,
}

/// What a session was told of a mailbox when it opened it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Glimpse {
    pub(crate) account: Account,
    pub(crate) uid_validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) highest_modseq: u64,
}
