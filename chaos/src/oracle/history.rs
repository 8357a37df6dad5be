//! What senders were told.

use crate::message::{Digest, MessageId};

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
