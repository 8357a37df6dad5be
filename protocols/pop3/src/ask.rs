//! What a session asks of the engine, and what it may be answered.

use bytes::Bytes;
use estafette_types::{AccountId, Uid, UidSet, UidValidity};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How a client proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// USER and PASS (RFC 1939 §7).
    UserPass,
    /// AUTH PLAIN (RFC 4616).
    Plain,
    /// AUTH LOGIN (no standard).
    Login,
}

/// A password; it never shows in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A question to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Is this login right? Answered by [`Answer::LoggedIn`] or [`Answer::Refused`]. The engine slows
    /// failures down by answering late.
    Authenticate {
        /// How it was said.
        mechanism: Mechanism,
        /// Whom to act as; empty for the same.
        authzid: String,
        /// Who logs in, as typed.
        authcid: String,
        /// The password.
        password: Secret,
    },
    /// The messages of the INBOX as they are now. Answered by [`Answer::Opened`] or
    /// [`Answer::Refused`].
    Open {
        /// Who has logged in.
        account: AccountId,
    },
    /// Bytes of a message. Answered by [`Answer::Data`], [`Answer::Gone`] or [`Answer::Failed`].
    Read {
        /// Which message.
        uid: Uid,
        /// Which bytes; the end may be past that of the message.
        range: Range<u64>,
    },
    /// Delete messages for good; those that are gone already are passed over. Answered by
    /// [`Answer::Deleted`] or [`Answer::Failed`].
    Delete {
        /// Which messages.
        uids: UidSet,
    },
}

/// The engine's answer. One that does not fit the question counts as a passing failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The login is right.
    LoggedIn(AccountId),
    /// No login, and why.
    Refused(Refusal),
    /// The maildrop.
    Opened(Snapshot),
    /// The bytes of the range, in pieces; fewer than asked for only at the end of the message.
    Data(Vec<Bytes>),
    /// There is no such message any more.
    Gone,
    /// All is deleted.
    Deleted,
    /// It could not be done.
    Failed(Failure),
}

/// Why somebody cannot log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Wrong name or password, or no right to log in: `[AUTH]` (RFC 3206 §5).
    Credentials,
    /// The maildrop cannot be opened beside another use of it: `[IN-USE]` (RFC 2449 §8.1.1).
    InUse,
    /// The last login was too short ago: `[LOGIN-DELAY]` (RFC 2449 §8.1.2).
    LoginDelay,
    /// The engine's fault.
    Failed(Failure),
}

/// What kept the engine from doing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may work later: `[SYS/TEMP]` (RFC 3206 §4).
    Temporary,
    /// An operator has to do something: `[SYS/PERM]` (RFC 3206 §4).
    Permanent,
}

/// A maildrop at the moment of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// With a UID, what UIDL tells.
    pub uid_validity: UidValidity,
    /// The messages; their order is that of the message numbers.
    pub uids: Arc<UidSet>,
    /// The size in bytes of each, in the same order; of a larger one, `u32::MAX`.
    pub sizes: Arc<[u32]>,
}
