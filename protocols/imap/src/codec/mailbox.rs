//! Names of mailboxes (RFC 9051 §5.1) and what LIST and STATUS ask about them.

use super::command::Mailbox;
use super::flag::SpecialUse;

/// How many patterns one LIST may have.
pub const PATTERNS_MAX: usize = 100;

/// `list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Which mailboxes.
    pub selection: ListSelection,
    /// The reference name, in UTF-8, put before each pattern; often empty.
    pub reference: String,
    /// The patterns, in UTF-8, 1 to [`PATTERNS_MAX`]; see [`super::pattern`].
    pub patterns: Vec<String>,
    /// What is told of each.
    pub returns: ListReturn,
    /// True when any part of the extended syntax (RFC 5258) was used. `LIST "" ""`, which asks for
    /// the delimiter, has that meaning only when it was not.
    pub extended: bool,
}

/// `list-select-opt` (RFC 9051 §6.3.9.1, RFC 6154)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListSelection {
    /// `SUBSCRIBED`: subscribed names, whether they exist or not.
    pub subscribed: bool,
    /// `REMOTE`
    pub remote: bool,
    /// `RECURSIVEMATCH`; never without `SUBSCRIBED` or `SPECIAL-USE`.
    pub recursive_match: bool,
    /// `SPECIAL-USE`: only those with a use.
    pub special_use: bool,
}

/// `return-option` (RFC 9051 §6.3.9.2, RFC 5819, RFC 6154)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListReturn {
    /// `SUBSCRIBED`
    pub subscribed: bool,
    /// `CHILDREN`
    pub children: bool,
    /// `SPECIAL-USE`
    pub special_use: bool,
    /// `STATUS (…)`: a STATUS response after each; never empty when there.
    pub status: Option<Vec<StatusItem>>,
}

/// `status-att` (RFC 9051 §9, RFC 3501, 7162, 7889, 8474, 9208)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatusItem {
    /// `MESSAGES`
    Messages,
    /// `RECENT` (RFC 3501)
    Recent,
    /// `UIDNEXT`
    UidNext,
    /// `UIDVALIDITY`
    UidValidity,
    /// `UNSEEN`
    Unseen,
    /// `DELETED`
    Deleted,
    /// `DELETED-STORAGE` (RFC 9208)
    DeletedStorage,
    /// `SIZE`
    Size,
    /// `HIGHESTMODSEQ` (RFC 7162)
    HighestModSeq,
    /// `APPENDLIMIT` (RFC 7889)
    AppendLimit,
    /// `MAILBOXID` (RFC 8474)
    MailboxId,
}

impl StatusItem {
    /// Every one.
    pub const EVERY: [StatusItem; 11] = [
        StatusItem::Messages,
        StatusItem::Recent,
        StatusItem::UidNext,
        StatusItem::UidValidity,
        StatusItem::Unseen,
        StatusItem::Deleted,
        StatusItem::DeletedStorage,
        StatusItem::Size,
        StatusItem::HighestModSeq,
        StatusItem::AppendLimit,
        StatusItem::MailboxId,
    ];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            StatusItem::Messages => "MESSAGES",
            StatusItem::Recent => "RECENT",
            StatusItem::UidNext => "UIDNEXT",
            StatusItem::UidValidity => "UIDVALIDITY",
            StatusItem::Unseen => "UNSEEN",
            StatusItem::Deleted => "DELETED",
            StatusItem::DeletedStorage => "DELETED-STORAGE",
            StatusItem::Size => "SIZE",
            StatusItem::HighestModSeq => "HIGHESTMODSEQ",
            StatusItem::AppendLimit => "APPENDLIMIT",
            StatusItem::MailboxId => "MAILBOXID",
        }
    }

    /// Reads a name, without case.
    pub fn parse(name: &str) -> Option<StatusItem> {
        StatusItem::EVERY.into_iter().find(|item| item.as_str().eq_ignore_ascii_case(name))
    }
}

/// `create = "CREATE" SP mailbox [SP "(" "USE" SP "(" use-attr-list ")" ")"]` (RFC 6154)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// The new mailbox; a delimiter at its end says that children are to come (RFC 9051 §6.3.4).
    pub mailbox: Mailbox,
    /// What it shall be for.
    pub special_use: Vec<SpecialUse>,
}
