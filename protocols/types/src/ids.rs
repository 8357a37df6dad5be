//! Identifiers: of accounts, shards, mailboxes and messages.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// An account; never used again once given out.
    AccountId, u64
);
number!(
    /// A domain; never used again once given out.
    DomainId, u64
);
number!(
    /// A shard of mailboxes (1 and up); never used again once given out.
    ShardId, u32
);
number!(
    /// A mailbox within its account; never used again within it (MAILBOXID of RFC 8474).
    MailboxId, u32
);
number!(
    /// A message within its account, the same in every mailbox it is copied to (EMAILID of RFC 8474).
    EmailId, u64
);
number!(
    /// The modification sequence of a mailbox (RFC 7162 §3.1.1): 63 bits, only grows.
    #[derive(Default)]
    ModSeq, u64
);

/// A unique identifier of a message in a mailbox (RFC 9051 §2.3.1.1); never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Uid(pub NonZeroU32);

impl Uid {
    /// The first UID of a mailbox.
    pub const MIN: Uid = Uid(NonZeroU32::MIN);
    /// The last UID that there can be.
    pub const MAX: Uid = Uid(NonZeroU32::MAX);

    /// `None` for zero.
    pub fn new(value: u32) -> Option<Uid> {
        NonZeroU32::new(value).map(Uid)
    }

    /// The number itself.
    pub fn value(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The unique identifier validity value of a mailbox (RFC 9051 §2.3.1.1); never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UidValidity(pub NonZeroU32);

impl fmt::Display for UidValidity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The login name of an account: its domain's prefix and a running number (`example0001`), or the
/// name of an operator. Lower case letters, digits, `.`, `-` and `_`; 1 to 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username(String);

/// Why a text is no [`Username`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    /// Empty or over 64 bytes.
    #[error("a username has 1 to 64 characters")]
    Length,
    /// A character that is not allowed.
    #[error("a username has lower case letters, digits, '.', '-' and '_' only")]
    Character,
}

impl Username {
    /// Checks and takes a text, in lower case.
    pub fn parse(text: &str) -> Result<Username, UsernameError> {
        if text.is_empty() || text.len() > 64 {
            return Err(UsernameError::Length);
        }
        let lower = text.to_ascii_lowercase();
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if lower.bytes().all(allowed) { Ok(Username(lower)) } else { Err(UsernameError::Character) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Username {
    type Error = UsernameError;
    fn try_from(text: String) -> Result<Username, UsernameError> {
        Username::parse(&text)
    }
}

impl From<Username> for String {
    fn from(name: Username) -> String {
        name.0
    }
}
