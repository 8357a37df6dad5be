//! What a session asks of the engine, and what it is answered.
//!
//! Duty: the session's own vocabulary, free of the engine's types; an adapter translates. Mailboxes
//! are named by name until they are selected and by [`MailboxId`] afterwards, so that a rename does
//! not disturb a session. Must not: hold I/O, sequence numbers or anything of the grammar.
//!
//! Every question may be answered by [`Answer::Failed`].

use super::criteria::Criterion;
use super::flags::Flags;
use crate::codec::command::{Mailbox, Secret, StoreAction};
use crate::codec::date::DateTime;
use crate::codec::flag::{Keyword, SpecialUse};
use bytes::Bytes;
use estafette_machine::Deposit;
use estafette_mime::Structure;
use estafette_types::{EmailId, MailboxId, ModSeq, Uid, UidSet, UidValidity};
use std::ops::Range;
use std::sync::Arc;

/// How a client proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The LOGIN command (RFC 9051 §6.2.3).
    Login,
    /// AUTHENTICATE PLAIN (RFC 4616).
    Plain,
}

/// A question to the engine.
#[derive(Debug)]
pub enum Ask {
    /// Who is this? Answered by [`Answer::LoggedIn`], [`Answer::Refused`] or [`Failure::Unavailable`].
    /// The engine slows failures down by answering late.
    Authenticate {
        /// By which means.
        mechanism: Mechanism,
        /// The identity to act as; empty for the user's own (RFC 4616 §2).
        authorization: String,
        /// The login name as typed.
        user: String,
        /// What proves it.
        password: Secret,
    },
    /// All mailboxes of the account, in the order of their names. Answered by [`Answer::Mailboxes`].
    Mailboxes {
        /// Fill [`MailboxInfo::counts`].
        counts: bool,
        /// Among them [`Counts::deleted_bytes`], which takes longer.
        deleted_bytes: bool,
    },
    /// Make a mailbox, with those above it where they lack. Answered by [`Answer::Created`].
    Create {
        /// The whole name.
        name: Mailbox,
        /// What it is for (RFC 6154 §3).
        special_use: Vec<SpecialUse>,
    },
    /// Delete a mailbox with its messages. Answered by [`Answer::Done`].
    Delete {
        /// The whole name.
        name: Mailbox,
    },
    /// Rename a mailbox and those below it; of INBOX: move its messages to a new mailbox
    /// (RFC 9051 §6.3.6). Answered by [`Answer::Done`].
    Rename {
        /// The old name.
        from: Mailbox,
        /// The new one.
        to: Mailbox,
    },
    /// Subscribe or unsubscribe a name. Answered by [`Answer::Done`].
    Subscribe {
        /// The name; subscribing needs no mailbox of this name.
        name: Mailbox,
        /// True to subscribe.
        subscribed: bool,
    },
    /// The counts of a mailbox. Answered by [`Answer::Status`].
    Status {
        /// The whole name.
        name: Mailbox,
        /// Fill [`Counts::deleted_bytes`], which takes longer.
        deleted_bytes: bool,
    },
    /// Open a mailbox. Answered by [`Answer::Selected`]; from then on changes in it are notified.
    Select {
        /// The whole name.
        name: Mailbox,
        /// EXAMINE: nothing may change.
        read_only: bool,
    },
    /// Take this part of a message that is large and still coming. Answered by [`Answer::Kept`]; else the rest of it is
    /// read and thrown away.
    Part {
        /// What came before, as the engine keeps it; `None` with the first part.
        deposit: Option<Deposit>,
        /// Bytes of the whole message.
        size: u64,
        /// The next bytes.
        pieces: Vec<Bytes>,
    },
    /// Add a message. Answered by [`Answer::Appended`].
    Append {
        /// The whole name.
        name: Mailbox,
        /// Flags to begin with.
        flags: Flags,
        /// INTERNALDATE; the engine takes the present when there is none.
        date: Option<DateTime>,
        /// Its first parts, of a large message.
        deposit: Option<Deposit>,
        /// The message as the client sent it; after the deposit.
        body: Vec<Bytes>,
    },
    /// Messages of a mailbox, in ascending order. Answered by [`Answer::Fetched`].
    Fetch {
        /// Of which mailbox.
        mailbox: MailboxId,
        /// Which; no more than [`super::Config::fetch_batch_messages`].
        uids: UidSet,
        /// What of them.
        want: Want,
        /// Hand out no more than these many bytes of bodies and (as encoded) structures together, but
        /// at least one message. A body that is larger by itself is left out; it is read in pieces.
        budget_bytes: u64,
    },
    /// Bytes of messages that were handed out, also of one that was expunged since: what was promised of it can be kept.
    /// Answered by [`Answer::Read`], one element for each range.
    Read {
        /// Which bytes of which bodies; together within the budget.
        ranges: Vec<(BodyKey, Range<u64>)>,
    },
    /// Change flags. Answered by [`Answer::Stored`].
    Store {
        /// In which mailbox.
        mailbox: MailboxId,
        /// Which messages; those that are gone are passed over.
        uids: UidSet,
        /// Add, take away or replace.
        how: StoreAction,
        /// These.
        flags: Flags,
        /// Leave alone what was changed after this (RFC 7162 §3.1.3).
        unchanged_since: Option<ModSeq>,
    },
    /// Copy messages, however many. Answered by [`Answer::Copied`].
    Copy {
        /// From here.
        mailbox: MailboxId,
        /// These; those that are gone are passed over.
        uids: UidSet,
        /// To the mailbox of this name.
        to: Mailbox,
        /// Take them away here, in the same step (RFC 9051 §6.4.8).
        remove: bool,
    },
    /// Remove those of these messages, however many, that have `\Deleted`. Answered by [`Answer::Expunged`].
    Expunge {
        /// In which mailbox.
        mailbox: MailboxId,
        /// No others than these.
        uids: UidSet,
    },
    /// Which messages match. Answered by [`Answer::Found`].
    Search {
        /// In which mailbox.
        mailbox: MailboxId,
        /// Among these: those that the session shows.
        among: Arc<UidSet>,
        /// What must hold of them.
        criterion: Box<Criterion>,
        /// Tell the highest MODSEQ of those found, or of some of them.
        modseq_of: ModSeqOf,
    },
    /// What happened in a mailbox since. Answered by [`Answer::Changed`].
    Changes {
        /// In which mailbox.
        mailbox: MailboxId,
        /// After this moment.
        since: ModSeq,
        /// What the session shows; those of them that are no more are told as vanished.
        known: Arc<UidSet>,
        /// Tell no more than these many changed messages at once; but a moment is told whole.
        limit: u32,
        /// The client asked for news: also those of which only other nodes have heard. [`Failure::Unavailable`] when
        /// it cannot be known whether there are any.
        fresh: bool,
    },
    /// Use and limits of the account. Answered by [`Answer::Quota`].
    Quota {
        /// The quota root of the mailbox of this name, which must exist.
        of_mailbox: Option<Mailbox>,
    },
}

/// An answer of the engine.
#[derive(Debug)]
pub enum Answer {
    /// The part of a message is kept.
    Kept(Deposit),
    /// The proof was good.
    LoggedIn {
        /// The largest message that may be added, in bytes (RFC 7889).
        append_limit: u64,
    },
    /// The proof was not good, or the account may not log in.
    Refused(Refusal),
    /// All mailboxes.
    Mailboxes(Vec<MailboxInfo>),
    /// The mailbox was made.
    Created(MailboxId),
    /// It was done.
    Done,
    /// The counts of one mailbox.
    Status(MailboxId, Counts),
    /// The mailbox is open.
    Selected(Box<Selected>),
    /// The message was added.
    Appended {
        /// Of the mailbox.
        uid_validity: UidValidity,
        /// Of the message.
        uid: Uid,
    },
    /// Messages.
    Fetched {
        /// Those that there are, ascending.
        messages: Vec<Message>,
        /// All that was asked for up to this UID has been dealt with; go on after it.
        through: Uid,
        /// The highest MODSEQ of the mailbox now.
        modseq: ModSeq,
    },
    /// The bytes of each range that was asked for, in that order; together as long as the range.
    Read(Vec<Vec<Bytes>>),
    /// Flags were changed.
    Stored {
        /// The messages that now have other flags or were already so, ascending.
        messages: Vec<Changed>,
        /// Left alone because of UNCHANGEDSINCE.
        modified: UidSet,
        /// The MODSEQ that this change gave; `None` when nothing changed.
        own_modseq: Option<ModSeq>,
        /// The highest MODSEQ of the mailbox now.
        modseq: ModSeq,
    },
    /// Messages were copied or moved.
    Copied {
        /// Of the mailbox that they are now in.
        uid_validity: UidValidity,
        /// Those that were copied.
        source: UidSet,
        /// The UIDs that they have there, in the same order.
        target: UidSet,
        /// The highest MODSEQ of the mailbox that they came from, now.
        modseq: ModSeq,
    },
    /// Messages were removed.
    Expunged {
        /// These.
        uids: UidSet,
        /// The highest MODSEQ of the mailbox now.
        modseq: ModSeq,
    },
    /// Messages matched.
    Found {
        /// These.
        uids: UidSet,
        /// The highest MODSEQ among them, when it was wanted and there is any.
        found_modseq: Option<ModSeq>,
        /// The highest MODSEQ of the mailbox now.
        modseq: ModSeq,
    },
    /// What happened.
    Changed(Changes),
    /// Use and limits.
    Quota(Quota),
    /// It cannot be done.
    Failed(Failure),
}

/// Why a login was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Unknown user or wrong password: AUTHENTICATIONFAILED.
    Credentials,
    /// The user may not act as the other: AUTHORIZATIONFAILED.
    Authorization,
    /// The account is disabled or has no mailbox service: CONTACTADMIN.
    Disabled,
    /// Too many attempts: LIMIT.
    TooMany,
}

/// Why something cannot be done. What the codes say is in RFC 9051 §7.1 and RFC 5530.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no such mailbox: NONEXISTENT, or TRYCREATE for a target.
    NonExistent,
    /// There is one already: ALREADYEXISTS.
    AlreadyExists,
    /// A name with others below it: HASCHILDREN.
    HasChildren,
    /// The name or the operation is never possible: CANNOT.
    Cannot,
    /// The special use is not possible: USEATTR (RFC 6154 §3).
    UseAttribute,
    /// Not allowed to this user: NOPERM.
    NoPermission,
    /// The account is full: OVERQUOTA.
    OverQuota,
    /// The message is too large: TOOBIG.
    TooBig,
    /// A limit of the server, as the number of mailboxes or keywords: LIMIT.
    Limit,
    /// The mailbox has been deleted while it was open: the session ends.
    MailboxGone,
    /// The account is by now where only other sessions can reach it: this one ends, and the client is to connect again.
    Elsewhere,
    /// Not now: UNAVAILABLE.
    Unavailable,
    /// An error of the server: SERVERBUG.
    Internal,
}

/// A mailbox in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxInfo {
    /// Its identifier; `None` for a name that is subscribed but does not exist.
    pub id: Option<MailboxId>,
    /// Its whole name, levels parted by `/`; the inbox is `INBOX`.
    pub name: Mailbox,
    /// What it is for.
    pub special_use: Vec<SpecialUse>,
    /// The user subscribed to the name.
    pub subscribed: bool,
    /// It holds no messages; only others below it.
    pub no_select: bool,
    /// Its counts, when they were asked for and it can be selected.
    pub counts: Option<Counts>,
}

/// The counts of a mailbox (RFC 9051 §6.3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// MESSAGES
    pub messages: u32,
    /// UNSEEN: messages without `\Seen`.
    pub unseen: u32,
    /// DELETED: messages with `\Deleted`.
    pub deleted: u32,
    /// SIZE in bytes.
    pub size_bytes: u64,
    /// DELETED-STORAGE in bytes: of those with `\Deleted` (RFC 9208 §4.1.4); 0 when it was not
    /// asked for.
    pub deleted_bytes: u64,
    /// UIDNEXT
    pub uid_next: Uid,
    /// UIDVALIDITY
    pub uid_validity: UidValidity,
    /// HIGHESTMODSEQ
    pub highest_modseq: ModSeq,
}

/// A mailbox that has been opened.
#[derive(Clone, Debug)]
pub struct Selected {
    /// Its identifier.
    pub id: MailboxId,
    /// Its whole name.
    pub name: Mailbox,
    /// UIDVALIDITY
    pub uid_validity: UidValidity,
    /// UIDNEXT
    pub uid_next: Uid,
    /// HIGHESTMODSEQ: the moment at which all this was so.
    pub highest_modseq: ModSeq,
    /// The UIDs of its messages. Shared: a session that never sees an expunge keeps no own copy.
    pub uids: Arc<UidSet>,
    /// The first message without `\Seen`; for IMAP4rev1 (RFC 3501 §7.1).
    pub first_unseen: Option<Uid>,
    /// The keywords that its messages have.
    pub keywords: Vec<Keyword>,
    /// New keywords may be made: `\*` in PERMANENTFLAGS.
    pub keywords_grow: bool,
    /// Nothing may be changed, whatever was asked for.
    pub read_only: bool,
    /// What it is for.
    pub special_use: Vec<SpecialUse>,
}

/// What is wanted of messages. Flags, MODSEQ, dates, size and identifiers always come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Want {
    /// The structure, with envelope and header block.
    pub structure: bool,
    /// The whole message, where it fits the budget.
    pub body: bool,
    /// Only messages changed after this (RFC 7162 §3.1.4).
    pub changed_since: Option<ModSeq>,
}

/// How the engine finds the body of a message that it handed out. It means nothing to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyKey(pub [u8; 32]);

/// A message.
#[derive(Clone, Debug)]
pub struct Message {
    /// UID
    pub uid: Uid,
    /// FLAGS
    pub flags: Flags,
    /// MODSEQ
    pub modseq: ModSeq,
    /// INTERNALDATE
    pub internal_date: DateTime,
    /// RFC822.SIZE in bytes.
    pub size_bytes: u64,
    /// EMAILID (RFC 8474 §5.1).
    pub email_id: EmailId,
    /// SAVEDATE (RFC 8514), seconds since 1970-01-01 UTC.
    pub save_date: Option<i64>,
    /// When it was wanted.
    pub structure: Option<Arc<Structure>>,
    /// What its body is read by.
    pub body_key: BodyKey,
    /// When it was wanted and fitted the budget.
    pub body: Option<Vec<Bytes>>,
}

/// Of which messages found the highest MODSEQ is told (RFC 7162 §3.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModSeqOf {
    /// It is not told.
    Nobody,
    /// Of all that were found.
    All,
    /// Of the first and the last of them only, or one of the two.
    Ends {
        /// Of the first.
        first: bool,
        /// Of the last.
        last: bool,
    },
}

/// The flags of a message, as they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Of which message.
    pub uid: Uid,
    /// All its flags.
    pub flags: Flags,
    /// When they became so.
    pub modseq: ModSeq,
}

/// What happened in a mailbox since a moment.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Known messages with other flags, ascending by MODSEQ, up to the limit.
    pub changed: Vec<Changed>,
    /// Known messages that are no more.
    pub vanished: UidSet,
    /// Messages that are new; above all that were known.
    pub arrived: UidSet,
    /// Everything up to this moment is told.
    pub through: ModSeq,
    /// There is more after `through`.
    pub more: bool,
}

/// Use and limits of an account (RFC 9208 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Quota {
    /// In bytes.
    pub used_bytes: u64,
    /// In bytes; `None` without a limit.
    pub limit_bytes: Option<u64>,
    /// Messages.
    pub used_messages: u64,
    /// Messages; `None` without a limit.
    pub limit_messages: Option<u64>,
}
