//! What can be asked of the mailboxes of an account, and what is answered.
//!
//! Commands go through the log of a shard, so all that could differ between replicas is in them or
//! in the [`Context`] of their entry. A command that cannot be carried out changes nothing and is
//! answered with a [`Refusal`]. Work is bounded: at most [`WORK_MAX`] messages a command.

use crate::flags::Flags;
use crate::key::Kind;
use crate::name::MailboxName;
use crate::rows::{Delivered, MessageRow, MoveId, SpecialUse};
use estafette_storage::BodyHash;
use estafette_types::{AccountId, MailboxId, ModSeq, ShardId, Uid, UidSet, UidValidity};
use serde::{Deserialize, Serialize};

/// The most messages that one command may touch. Who has more to do splits it.
pub const WORK_MAX: usize = 2048;
/// Bytes of a mailbox's number, with which the tail of a key begins.
const MAILBOX_BYTES: usize = 4;
/// The most mailboxes of an account.
pub const MAILBOXES_MAX: u32 = 4096;
/// The most subscribed names of an account.
pub const SUBSCRIPTIONS_MAX: usize = 8192;
/// How long a delivery is remembered at least, in ms.
pub const DELIVERY_REMEMBERED_MS: u64 = 7 * 24 * 3600 * 1000;
/// How long the answer to a named command is remembered at least, in ms by the time of the log: far longer than
/// anybody repeats one, so that a new leader's clock may be hours ahead. No setting, for all replicas have to agree.
pub const REQUEST_REMEMBERED_MS: u64 = 24 * 3600 * 1000;

/// The most rows of an [`Action::Install`].
pub const INSTALL_ROWS_MAX: usize = WORK_MAX;
/// The most bytes of their keys and values.
pub const INSTALL_BYTES_MAX: usize = 1 << 20;

const COMMAND_VERSION: u8 = 1;
/// With a request's identifier before the rest.
const NAMED_COMMAND_VERSION: u8 = 2;
const RESPONSE_VERSION: u8 = 1;

/// What the entry of the log says beside the command.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The shard that the log belongs to.
    pub shard: ShardId,
    /// The leader's time, ms since 1970; never goes back within a log.
    pub time_ms: u64,
}

/// Tells one delivery from every other: the message as it was accepted, and which of its recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryId {
    /// Random, or derived from the source of an import.
    pub message: [u8; 16],
    /// The place of the recipient in the message.
    pub recipient: u32,
}

/// A message to be added. Its body is in the store, or comes with the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMessage {
    /// Its flags.
    pub flags: Flags,
    /// INTERNALDATE, ms since 1970; the time of the entry when `None`.
    pub internal_date_ms: Option<i64>,
    /// Bytes of the body.
    pub size: u64,
    /// The body.
    #[serde(with = "hash")]
    pub body: BodyHash,
}

/// Where a delivery goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// INBOX.
    Inbox,
    /// The mailbox for this use; created under its usual name when there is none, if there is room.
    Use(SpecialUse),
    /// The mailbox of this name. When it does not exist: it is created, or INBOX takes the message.
    Name {
        /// The name.
        name: MailboxName,
        /// Create it when it does not exist, if there is room.
        create: bool,
    },
}

/// Tells one request of a client from every other: random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub [u8; 16]);

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// By which a repetition is known: it is answered as the first was, and changes nothing. A refusal is not
    /// remembered, as it has changed nothing.
    #[serde(skip)]
    pub request: Option<RequestId>,
    /// The account.
    pub account: AccountId,
    /// What to do there.
    pub action: Action,
}

/// What to do in an account. Except for [`Action::Purge`] and [`Action::DeleteAccount`], the account
/// comes into being with its usual mailboxes when it is first touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Only make sure that the account exists.
    Ensure,
    /// Adds a message exactly once. → [`Response::Delivered`] or [`Response::Duplicate`].
    Deliver {
        /// By which a repetition is known.
        id: DeliveryId,
        /// Where to.
        target: Target,
        /// The message.
        message: NewMessage,
        /// Refuse when the account would hold more bytes than this.
        quota: Option<u64>,
    },
    /// APPEND: adds messages, all or none. → [`Response::Appended`].
    Append {
        /// Where to.
        mailbox: MailboxId,
        /// The messages; each becomes the next UID.
        messages: Vec<NewMessage>,
        /// Refuse when the account would hold more bytes than this.
        quota: Option<u64>,
    },
    /// Adds those messages that were not imported before, all or none. → [`Response::Imported`].
    Import {
        /// Where to; created when it does not exist.
        name: MailboxName,
        /// The messages, with identifiers that are never forgotten.
        messages: Vec<(DeliveryId, NewMessage)>,
        /// Refuse when the account would hold more bytes than this.
        quota: Option<u64>,
    },
    /// COPY: all or none. → [`Response::Copied`].
    Copy {
        /// Where from.
        from: MailboxId,
        /// Where to; may be the same.
        to: MailboxId,
        /// Which; those that do not exist are passed over.
        #[serde(with = "uids")]
        uids: UidSet,
        /// Refuse when the account would hold more bytes than this.
        quota: Option<u64>,
    },
    /// MOVE (RFC 6851): all or none; copied and expunged in one. → [`Response::Copied`].
    Move {
        /// Where from.
        from: MailboxId,
        /// Where to; may be the same.
        to: MailboxId,
        /// Which; those that do not exist are passed over.
        #[serde(with = "uids")]
        uids: UidSet,
    },
    /// STORE. → [`Response::Stored`].
    Store {
        /// Where.
        mailbox: MailboxId,
        /// Which; those that do not exist are passed over.
        #[serde(with = "uids")]
        uids: UidSet,
        /// Add, remove or replace.
        change: FlagChange,
        /// The flags.
        flags: Flags,
        /// Pass over messages changed after this (RFC 7162 §3.1.3).
        unchanged_since: Option<ModSeq>,
    },
    /// EXPUNGE, UID EXPUNGE. → [`Response::Expunged`].
    Expunge {
        /// Where.
        mailbox: MailboxId,
        /// Which; those that do not exist are passed over.
        #[serde(with = "uids")]
        uids: UidSet,
        /// Only those with `\Deleted`.
        only_deleted: bool,
    },
    /// CREATE; superior names that do not exist are created too. → [`Response::Created`].
    Create {
        /// The name.
        name: MailboxName,
        /// What it is for (RFC 6154 §3).
        special_use: Option<SpecialUse>,
    },
    /// DELETE. A name with children stays as a placeholder (`\Noselect`); a placeholder with children
    /// is refused (RFC 9051 §6.3.5). → [`Response::Purged`].
    Delete {
        /// The name.
        name: MailboxName,
    },
    /// RENAME with all children; of INBOX: its messages go to a new mailbox, INBOX and its children
    /// stay (RFC 9051 §6.3.6). → [`Response::Done`]; of a large INBOX [`Response::Moving`].
    Rename {
        /// The name as it is.
        from: MailboxName,
        /// The name as it will be.
        to: MailboxName,
    },
    /// SUBSCRIBE, UNSUBSCRIBE; the name need not exist. → [`Response::Done`].
    Subscribe {
        /// The name.
        name: MailboxName,
        /// Subscribed or not.
        subscribed: bool,
    },
    /// Says what a mailbox is for. → [`Response::Done`].
    SetSpecialUse {
        /// The name.
        name: MailboxName,
        /// What for.
        special_use: Option<SpecialUse>,
    },
    /// Deletes the account with all that is in it, for ever. → [`Response::Purged`].
    DeleteAccount,
    /// Goes on removing what was deleted. → [`Response::Purged`].
    Purge,
    /// Takes rows of an account that is on its way to this shard. → [`Response::Done`].
    Install {
        /// The move. A newer one takes over what an older one has brought.
        of: MoveId,
        /// How many times rows were installed before: what was found to differ since is refused.
        after: u64,
        /// At most [`INSTALL_ROWS_MAX`], and [`INSTALL_BYTES_MAX`] together.
        rows: Vec<MovedRow>,
        /// The account's own row where it comes from, when with these rows all is here: no more are taken then.
        whole: Option<Vec<u8>>,
    },
    /// Nothing in the account changes any more in this shard, as it is on its way to another. → [`Response::Done`].
    Seal {
        /// The move.
        of: MoveId,
    },
    /// The account stays: said once the directory has given the move up. → [`Response::Done`].
    Unseal {
        /// The move.
        of: MoveId,
    },
    /// The account is here: said once the directory has finished the move. → [`Response::Done`].
    Adopt {
        /// The move.
        of: MoveId,
    },
    /// The account is not here, or stays elsewhere: said once the directory has ended the move. Begins to remove what is
    /// here of it. → [`Response::Purged`].
    Clear {
        /// The move.
        of: MoveId,
    },
}

/// A row of an account that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedRow {
    /// Its key without shard and account.
    pub tail: Vec<u8>,
    /// `None`: it is to be removed.
    pub value: Option<Vec<u8>>,
}

impl MovedRow {
    /// The body to which it refers, and the size of that, if it is of a message.
    pub fn body(&self) -> Option<(BodyHash, u64)> {
        let kind = self.tail.get(MAILBOX_BYTES)?;
        let row = MessageRow::decode(self.value.as_deref()?).filter(|_| *kind == Kind::Message as u8)?;
        Some((row.body, row.size))
    }
}

impl Action {
    /// True when nothing is done twice, and nobody is told wrong, if it is carried out again right after the first
    /// time. All others need a [`Command::request`] to be repeated.
    pub fn is_harmless_again(&self) -> bool {
        match self {
            Action::Ensure | Action::Deliver { .. } | Action::Import { .. } => true,
            Action::Subscribe { .. } | Action::SetSpecialUse { .. } => true,
            Action::DeleteAccount | Action::Purge => true,
            // What they bring about is known by the state of the account.
            Action::Seal { .. } | Action::Unseal { .. } | Action::Adopt { .. } | Action::Clear { .. } => true,
            // The second time it is refused, whatever the first was answered.
            Action::Install { .. } => true,
            // The second time, the messages were changed after that.
            Action::Store { unchanged_since, .. } => unchanged_since.is_none(),
            // The second time, there would be nothing to tell of.
            Action::Expunge { .. } | Action::Delete { .. } | Action::Rename { .. } => false,
            Action::Append { .. } | Action::Copy { .. } | Action::Move { .. } | Action::Create { .. } => {
                false
            }
        }
    }
}

/// How STORE changes flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlagChange {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Replace,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// Done.
    Done,
    /// The message was added.
    Delivered(Delivered),
    /// The message had been added before: there.
    Duplicate(Delivered),
    /// The messages were added under these UIDs, in order.
    Appended {
        /// UIDVALIDITY of the mailbox.
        uid_validity: UidValidity,
        /// One for each message.
        #[serde(with = "uids")]
        uids: UidSet,
    },
    /// One for each message of an import.
    Imported(Vec<Imported>),
    /// The messages `from` were copied or moved, in order, to the UIDs `to`.
    Copied {
        /// UIDVALIDITY of the mailbox they went to.
        uid_validity: UidValidity,
        /// UIDs that they had.
        #[serde(with = "uids")]
        from: UidSet,
        /// UIDs that they got; as many.
        #[serde(with = "uids")]
        to: UidSet,
        /// HIGHESTMODSEQ of the source after a move.
        source_modseq: ModSeq,
    },
    /// The flags were changed.
    Stored {
        /// HIGHESTMODSEQ: the ModSeq of every message in `changed`.
        modseq: ModSeq,
        /// Whose flags are now others.
        #[serde(with = "uids")]
        changed: UidSet,
        /// Who failed the test of UNCHANGEDSINCE.
        #[serde(with = "uids")]
        modified: UidSet,
    },
    /// These are gone.
    Expunged {
        /// HIGHESTMODSEQ.
        modseq: ModSeq,
        /// Which.
        #[serde(with = "uids")]
        uids: UidSet,
    },
    /// The mailbox was created.
    Created {
        /// Its number.
        mailbox: MailboxId,
        /// Its UIDVALIDITY.
        uid_validity: UidValidity,
    },
    /// It is deleted. The messages of large mailboxes are removed by further [`Action::Purge`]s.
    Purged {
        /// Is there more to remove?
        more: bool,
    },
    /// Nothing was changed.
    Refused(Refusal),
    /// INBOX was renamed and its first messages have gone to the new mailbox: the proposer sends the
    /// rest after them by [`Action::Move`].
    Moving {
        /// INBOX.
        from: MailboxId,
        /// The new mailbox.
        to: MailboxId,
        /// What was in INBOX and still is.
        #[serde(with = "uids")]
        rest: UidSet,
    },
}

/// A message of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Where it is.
    pub delivered: Delivered,
    /// It had been imported before.
    pub duplicate: bool,
}

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// 452 4.2.2, `NO [OVERQUOTA]`.
    #[error("the account is over quota")]
    OverQuota,
    /// The account was deleted.
    #[error("the account is deleted")]
    NoAccount,
    /// `NO [NONEXISTENT]`, `NO [TRYCREATE]`.
    #[error("there is no such mailbox")]
    NoMailbox,
    /// `NO [ALREADYEXISTS]`.
    #[error("a mailbox of this name exists")]
    Exists,
    /// Something that INBOX does not allow.
    #[error("INBOX cannot be deleted, nor get another use")]
    Inbox,
    /// `NO [HASCHILDREN]`.
    #[error("the name has inferior names")]
    HasChildren,
    /// `NO [USEATTR]`.
    #[error("another mailbox is for this use")]
    UseTaken,
    /// `NO [CANNOT]`: a mailbox moved below itself, or to a name that would be too long.
    #[error("the mailbox cannot have this name")]
    BadName,
    /// `NO [LIMIT]`: [`MAILBOXES_MAX`], [`SUBSCRIPTIONS_MAX`].
    #[error("the account has too many mailboxes or subscriptions")]
    TooManyMailboxes,
    /// `NO [LIMIT]`: [`crate::KEYWORDS_MAX`]. Only for STORE; elsewhere such keywords are left out.
    #[error("the mailbox has too many keywords")]
    TooManyKeywords,
    /// More than [`WORK_MAX`] messages. The proposer's fault: it has to split.
    #[error("the command touches too many messages")]
    TooMuch,
    /// The UIDs of the mailbox are used up.
    #[error("the mailbox takes no more messages")]
    MailboxFull,
    /// The account is in another shard, or on its way from one to another: to be asked for there, or again.
    #[error("the account is in another shard, or on its way to one")]
    Moved,
    /// A step of a move for which the account is not in the right state here (any more). The mover looks anew.
    #[error("the account is not where this step of a move finds it")]
    NotMoving,
    /// A step of a move with a row that no account has. The mover's fault.
    #[error("a row that no account has")]
    BadRow,
}

fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    // Writing plain values into memory cannot fail; an empty answer would be refused by the reader.
    postcard::to_extend(value, vec![version]).unwrap_or_default()
}

fn decode<'a, T: Deserialize<'a>>(version: u8, bytes: &'a [u8]) -> Result<T, crate::Error> {
    match bytes.split_first() {
        Some((first, rest)) if *first == version => {
            postcard::from_bytes(rest).map_err(|_| crate::Error::Version(version))
        }
        other => Err(crate::Error::Version(other.map_or(0, |(first, _)| *first))),
    }
}

impl Command {
    /// One without a name.
    pub fn new(account: AccountId, action: Action) -> Command {
        Command { request: None, account, action }
    }

    /// As bytes, for the log.
    pub fn encode(&self) -> Vec<u8> {
        let Some(RequestId(id)) = self.request else { return encode(COMMAND_VERSION, self) };
        let mut bytes = vec![NAMED_COMMAND_VERSION];
        bytes.extend_from_slice(&id);
        postcard::to_extend(self, bytes).unwrap_or_default()
    }

    /// From the log.
    ///
    /// # Errors
    /// [`crate::Error::Version`] when it was written by a newer program.
    pub fn decode(bytes: &[u8]) -> Result<Command, crate::Error> {
        let Some((&NAMED_COMMAND_VERSION, rest)) = bytes.split_first() else {
            return decode(COMMAND_VERSION, bytes);
        };
        let bad = || crate::Error::Version(NAMED_COMMAND_VERSION);
        let (id, rest) = rest.split_first_chunk::<16>().ok_or_else(bad)?;
        let command: Command = postcard::from_bytes(rest).map_err(|_| bad())?;
        Ok(Command { request: Some(RequestId(*id)), ..command })
    }
}

impl Response {
    /// As bytes, for the proposer.
    pub fn encode(&self) -> Vec<u8> {
        encode(RESPONSE_VERSION, self)
    }

    /// From the machine.
    ///
    /// # Errors
    /// [`crate::Error::Version`] when it was written by a newer program.
    pub fn decode(bytes: &[u8]) -> Result<Response, crate::Error> {
        decode(RESPONSE_VERSION, bytes)
    }
}

impl Delivered {
    /// The UID in a set, for answers.
    pub fn uids(&self) -> UidSet {
        UidSet::one(self.uid)
    }
}

/// Sets of UIDs as lists of runs.
mod uids {
    use super::{Uid, UidSet};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(set: &UidSet, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(set.runs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<UidSet, D::Error> {
        Ok(UidSet::from_runs(Vec::<(Uid, Uid)>::deserialize(from)?))
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
