//! What the server says, as values: conditions, response codes, attributes of mailboxes.

use super::command::Mailbox;
use super::flag::{Flag, SpecialUse};
use super::sequence::NumberSet;
use estafette_types::{ModSeq, Uid, UidValidity};
use std::fmt;

/// `resp-cond-state`, `resp-cond-bye`, `resp-cond-auth` (RFC 9051 §7.1)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `OK`
    Ok,
    /// `NO`
    No,
    /// `BAD`
    Bad,
    /// `BYE`; only untagged.
    Bye,
    /// `PREAUTH`; only untagged.
    PreAuth,
}

impl Condition {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::Ok => "OK",
            Condition::No => "NO",
            Condition::Bad => "BAD",
            Condition::Bye => "BYE",
            Condition::PreAuth => "PREAUTH",
        }
    }
}

/// `resp-text-code` (RFC 9051 §7.1, RFC 5530 and the extensions named)
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// `ALERT`: the user must see the text.
    Alert,
    /// `ALREADYEXISTS`
    AlreadyExists,
    /// `APPENDUID validity uids`
    AppendUid(UidValidity, NumberSet),
    /// `AUTHENTICATIONFAILED`
    AuthenticationFailed,
    /// `AUTHORIZATIONFAILED`
    AuthorizationFailed,
    /// `BADCHARSET (charsets)`
    BadCharset(Vec<String>),
    /// `CANNOT`
    Cannot,
    /// `CAPABILITY names`
    Capability(Vec<String>),
    /// `CLIENTBUG`
    ClientBug,
    /// `CLOSED`
    Closed,
    /// `CONTACTADMIN`
    ContactAdmin,
    /// `COPYUID validity from to`: both sets ascending and equally large.
    CopyUid(UidValidity, NumberSet, NumberSet),
    /// `CORRUPTION`
    Corruption,
    /// `EXPIRED`
    Expired,
    /// `EXPUNGEISSUED`
    ExpungeIssued,
    /// `HASCHILDREN`
    HasChildren,
    /// `HIGHESTMODSEQ n` (RFC 7162)
    HighestModSeq(ModSeq),
    /// `INUSE`
    InUse,
    /// `LIMIT`
    Limit,
    /// `MAILBOXID (id)` (RFC 8474)
    MailboxId(String),
    /// `MODIFIED set` (RFC 7162)
    Modified(NumberSet),
    /// `NOMODSEQ` (RFC 7162)
    NoModSeq,
    /// `NONEXISTENT`
    NonExistent,
    /// `NOPERM`
    NoPerm,
    /// `NOTSAVED` (RFC 5182)
    NotSaved,
    /// `OVERQUOTA`
    OverQuota,
    /// `PARSE`
    Parse,
    /// `PERMANENTFLAGS (flags)`, with `\*` at the end when new keywords can be made.
    PermanentFlags {
        /// The flags.
        flags: Vec<Flag>,
        /// `\*`
        new_keywords: bool,
    },
    /// `PRIVACYREQUIRED`
    PrivacyRequired,
    /// `READ-ONLY`
    ReadOnly,
    /// `READ-WRITE`
    ReadWrite,
    /// `SERVERBUG`
    ServerBug,
    /// `TOOBIG` (RFC 4469)
    TooBig,
    /// `TRYCREATE`
    TryCreate,
    /// `UIDNEXT n`
    UidNext(Uid),
    /// `UIDNOTSTICKY`
    UidNotSticky,
    /// `UIDVALIDITY n`
    UidValidity(UidValidity),
    /// `UNAVAILABLE`
    Unavailable,
    /// `UNKNOWN-CTE`
    UnknownCte,
    /// `UNSEEN n` (RFC 3501): the first message without `\Seen`.
    Unseen(u32),
    /// `USEATTR` (RFC 6154)
    UseAttr,
}

impl Code {
    /// The word with which it begins.
    pub fn name(&self) -> &'static str {
        match self {
            Code::Alert => "ALERT",
            Code::AlreadyExists => "ALREADYEXISTS",
            Code::AppendUid(..) => "APPENDUID",
            Code::AuthenticationFailed => "AUTHENTICATIONFAILED",
            Code::AuthorizationFailed => "AUTHORIZATIONFAILED",
            Code::BadCharset(_) => "BADCHARSET",
            Code::Cannot => "CANNOT",
            Code::Capability(_) => "CAPABILITY",
            Code::ClientBug => "CLIENTBUG",
            Code::Closed => "CLOSED",
            Code::ContactAdmin => "CONTACTADMIN",
            Code::CopyUid(..) => "COPYUID",
            Code::Corruption => "CORRUPTION",
            Code::Expired => "EXPIRED",
            Code::ExpungeIssued => "EXPUNGEISSUED",
            Code::HasChildren => "HASCHILDREN",
            Code::HighestModSeq(_) => "HIGHESTMODSEQ",
            Code::InUse => "INUSE",
            Code::Limit => "LIMIT",
            Code::MailboxId(_) => "MAILBOXID",
            Code::Modified(_) => "MODIFIED",
            Code::NoModSeq => "NOMODSEQ",
            Code::NonExistent => "NONEXISTENT",
            Code::NoPerm => "NOPERM",
            Code::NotSaved => "NOTSAVED",
            Code::OverQuota => "OVERQUOTA",
            Code::Parse => "PARSE",
            Code::PermanentFlags { .. } => "PERMANENTFLAGS",
            Code::PrivacyRequired => "PRIVACYREQUIRED",
            Code::ReadOnly => "READ-ONLY",
            Code::ReadWrite => "READ-WRITE",
            Code::ServerBug => "SERVERBUG",
            Code::TooBig => "TOOBIG",
            Code::TryCreate => "TRYCREATE",
            Code::UidNext(_) => "UIDNEXT",
            Code::UidNotSticky => "UIDNOTSTICKY",
            Code::UidValidity(_) => "UIDVALIDITY",
            Code::Unavailable => "UNAVAILABLE",
            Code::UnknownCte => "UNKNOWN-CTE",
            Code::Unseen(_) => "UNSEEN",
            Code::UseAttr => "USEATTR",
        }
    }
}

/// Without the brackets.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Code::AppendUid(validity, uids) => write!(f, " {validity} {uids}"),
            Code::CopyUid(validity, from, to) => write!(f, " {validity} {from} {to}"),
            Code::BadCharset(names) => write!(f, " ({})", names.join(" ")),
            Code::Capability(names) => write!(f, " {}", names.join(" ")),
            Code::HighestModSeq(mod_seq) => write!(f, " {mod_seq}"),
            Code::MailboxId(id) => write!(f, " ({id})"),
            Code::Modified(set) => write!(f, " {set}"),
            Code::UidNext(uid) => write!(f, " {uid}"),
            Code::UidValidity(validity) => write!(f, " {validity}"),
            Code::Unseen(number) => write!(f, " {number}"),
            Code::PermanentFlags { flags, new_keywords } => {
                let star = if *new_keywords { Some("\\*") } else { None };
                let names: Vec<&str> = flags.iter().map(Flag::as_str).chain(star).collect();
                write!(f, " ({})", names.join(" "))
            }
            _ => Ok(()),
        }
    }
}

/// `mbx-list-flags` (RFC 9051 §7.3.1)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailboxAttribute {
    /// `\NonExistent`
    NonExistent,
    /// `\Noinferiors`
    NoInferiors,
    /// `\Noselect`
    NoSelect,
    /// `\HasChildren`
    HasChildren,
    /// `\HasNoChildren`
    HasNoChildren,
    /// `\Marked`
    Marked,
    /// `\Unmarked`
    Unmarked,
    /// `\Subscribed`
    Subscribed,
    /// `\Remote`
    Remote,
    /// What it is for.
    Use(SpecialUse),
}

impl MailboxAttribute {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            MailboxAttribute::NonExistent => "\\NonExistent",
            MailboxAttribute::NoInferiors => "\\Noinferiors",
            MailboxAttribute::NoSelect => "\\Noselect",
            MailboxAttribute::HasChildren => "\\HasChildren",
            MailboxAttribute::HasNoChildren => "\\HasNoChildren",
            MailboxAttribute::Marked => "\\Marked",
            MailboxAttribute::Unmarked => "\\Unmarked",
            MailboxAttribute::Subscribed => "\\Subscribed",
            MailboxAttribute::Remote => "\\Remote",
            MailboxAttribute::Use(special) => special.as_str(),
        }
    }
}

/// `mailbox-list` (RFC 9051 §7.3.1): one line of an answer to LIST or LSUB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// In the order in which they are printed.
    pub attributes: Vec<MailboxAttribute>,
    /// Between the levels of names.
    pub delimiter: char,
    /// The name.
    pub mailbox: Mailbox,
    /// `("CHILDINFO" ("SUBSCRIBED"))`: with RECURSIVEMATCH, children match that are not listed.
    pub child_info: bool,
    /// `("OLDNAME" (name))`: the name that was given is not the one it has (RFC 9051 §6.3.9.7).
    pub old_name: Option<Mailbox>,
}

/// The value of an item of a STATUS response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusValue {
    /// A number.
    Number(u64),
    /// `NIL`: no limit, for APPENDLIMIT.
    Nil,
    /// An identifier, printed in parentheses, for MAILBOXID.
    Id(String),
}

/// `esearch-response` (RFC 9051 §7.3.4, RFC 4731, RFC 7162 §3.1.6)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ESearch {
    /// The smallest number found.
    pub min: Option<u32>,
    /// The largest.
    pub max: Option<u32>,
    /// All of them; an empty set is left out.
    pub all: Option<NumberSet>,
    /// How many.
    pub count: Option<u64>,
    /// The highest modification sequence among what is told; not 0.
    pub mod_seq: Option<ModSeq>,
}

/// A resource in a QUOTA response (RFC 9208 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaResource {
    /// `STORAGE` (in units of 1,024 bytes), `MESSAGE`, `MAILBOX`.
    pub name: &'static str,
    /// How much is used.
    pub usage: u64,
    /// How much there may be.
    pub limit: u64,
}
