//! What a node must never do to mail.

use super::history::Account;
use crate::message::MessageId;
use serde::Serialize;

/// One breach of the rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Violation {
    #[error("message {id} was acknowledged for account {account} and is not there")]
    Lost { account: Account, id: MessageId },
    #[error("message {id} is {count} times in account {account}")]
    Doubled { account: Account, id: MessageId, count: usize },
    #[error("message {id} in account {account} (UID {uid}) is not what was sent")]
    Damaged { account: Account, id: MessageId, uid: u32 },
    #[error("UID {uid} of account {account} is no message that was ever sent, or only a part of one")]
    Foreign { account: Account, uid: u32 },
    #[error("message {id} is in account {account}, to which it was not sent")]
    Misdelivered { account: Account, id: MessageId },
    #[error("message {id} was refused or never wholly sent, and is in account {account}")]
    Unwanted { account: Account, id: MessageId },
    #[error("message {id} (UID {uid}) of account {account} was seen before and is gone")]
    Vanished { account: Account, id: MessageId, uid: u32 },
    #[error("message {id} (UID {uid}) was removed from account {account} and is there again")]
    Returned { account: Account, id: MessageId, uid: u32 },
    #[error("UID {uid} of account {account} was given to message {before} and now to {now}")]
    UidReused { account: Account, uid: u32, before: MessageId, now: MessageId },
    #[error("UID {uid} of account {account} is new, but UIDNEXT was {uid_next} before")]
    UidBelowNext { account: Account, uid: u32, uid_next: u32 },
    #[error("UIDNEXT of account {account} fell from {before} to {now}")]
    UidNextFell { account: Account, before: u32, now: u32 },
    #[error("UID {uid} of account {account} is not below its UIDNEXT {uid_next}")]
    UidNotBelowNext { account: Account, uid: u32, uid_next: u32 },
    #[error("UIDs of account {account} do not ascend at {uid}")]
    UidOrder { account: Account, uid: u32 },
    #[error("UIDVALIDITY of account {account} was {before} and is {now}")]
    UidValidity { account: Account, before: u32, now: u32 },
    #[error("HIGHESTMODSEQ of account {account} fell from {before} to {now}")]
    ModSeqFell { account: Account, before: u64, now: u64 },
    #[error(
        "UID {uid} of account {account} is new or changed, but its MODSEQ {modseq} is not above {before}"
    )]
    ModSeqStale { account: Account, uid: u32, modseq: u64, before: u64 },
    #[error("UID {uid} of account {account} was told to have the flags ({told}) and has ({now})")]
    FlagsLost { account: Account, uid: u32, told: String, now: String },
    #[error("account {account} is not the same on node {one} and node {other}: {what}")]
    Differs { account: Account, one: usize, other: usize, what: String },
    #[error(
        "message {id} of account {account} was found by a session at node {told}, and one that asked node {asked} \
         later did not find it"
    )]
    Unseen { account: Account, id: MessageId, told: usize, asked: usize },
    #[error(
        "flags ({flags}) of UID {uid} of account {account} were stored at node {told}, and a session that asked node \
         {asked} later found ({now})"
    )]
    FlagsUnseen { account: Account, uid: u32, told: usize, asked: usize, flags: String, now: String },
    #[error(
        "a session at node {asked} was told an older state of account {account} than one before it: {what}"
    )]
    WentBack { account: Account, asked: usize, what: String },
    #[error("UID {uid} of account {account} cannot be read")]
    Unreadable { account: Account, uid: u32 },
    #[error("account {account} cannot be read: {reason}")]
    Refused { account: Account, reason: String },
    #[error("account {account} was not read")]
    Unread { account: Account },
}
