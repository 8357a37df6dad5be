//! What SEARCH asks for (RFC 9051 §6.4.4).
//!
//! Nesting is bounded by the parser ([`SEARCH_DEPTH_MAX`]), so functions over keys may recurse.

use super::date::Date;
use super::flag::Keyword;
use super::sequence::SequenceSet;
use estafette_types::ModSeq;

/// How deep parentheses and left operands of OR may nest. (`OR a OR b OR c …` does not nest.)
pub const SEARCH_DEPTH_MAX: usize = 64;
/// How many keys one search may have.
pub const SEARCH_KEYS_MAX: usize = 5_000;

/// `search = "SEARCH" [search-return-opts] SP search-program`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// `RETURN (…)`; `None` when it is not there: then IMAP4rev1 answers with `* SEARCH`. An empty
    /// list means ALL and is given as that.
    pub returns: Option<SearchReturn>,
    /// `CHARSET` was given; not with UTF8=ACCEPT (RFC 6855 §3).
    pub charset: bool,
    /// The criteria, all of which must hold.
    pub key: SearchKey,
}

/// `search-return-opt` (RFC 4731, RFC 5182)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchReturn {
    /// `MIN`
    pub min: bool,
    /// `MAX`
    pub max: bool,
    /// `ALL`
    pub all: bool,
    /// `COUNT`
    pub count: bool,
    /// `SAVE`
    pub save: bool,
}

/// `search-key` (RFC 9051 §9) with those of RFC 3501, 5032, 7162, 8474, 8514. Texts are UTF-8,
/// whatever the charset of the command was, and match without case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchKey {
    /// `ALL`
    All,
    /// All of them hold: a list of keys, with or without parentheses.
    And(Vec<SearchKey>),
    /// One of them holds (2 or more): `OR a b`, and `OR a OR b c` as one list of three.
    Or(Vec<SearchKey>),
    /// `NOT key`
    Not(Box<SearchKey>),
    /// A set of message sequence numbers, or `$`.
    Sequence(SequenceSet),
    /// `UID set`
    Uid(SequenceSet),
    /// `ANSWERED`, `UNANSWERED` and so on are `Flag` and `Not(Flag)`.
    Flag(SearchFlag),
    /// `KEYWORD atom` (`UNKEYWORD` is its `Not`)
    Keyword(Keyword),
    /// `NEW` (RFC 3501): `\Recent` and not `\Seen`.
    New,
    /// `OLD` (RFC 3501): not `\Recent`.
    Old,
    /// `RECENT` (RFC 3501)
    Recent,
    /// `BCC text`, `CC`, `FROM`, `TO`, `SUBJECT`: in that part of the envelope.
    Envelope(EnvelopeField, String),
    /// `HEADER name text`; an empty text asks whether the field is there.
    Header(String, String),
    /// `BODY text`
    Body(String),
    /// `TEXT text`: in header or body.
    Text(String),
    /// `BEFORE date`, `ON`, `SINCE`: by the internal date, without time and zone.
    Internal(When, Date),
    /// `SENTBEFORE date`, `SENTON`, `SENTSINCE`: by the Date field.
    Sent(When, Date),
    /// `SAVEDBEFORE date`, `SAVEDON`, `SAVEDSINCE` (RFC 8514)
    Saved(When, Date),
    /// `SAVEDATESUPPORTED` (RFC 8514)
    SaveDateSupported,
    /// `LARGER n`: more than n bytes.
    Larger(u64),
    /// `SMALLER n`: less than n bytes.
    Smaller(u64),
    /// `OLDER seconds` (RFC 5032); not 0.
    Older(u32),
    /// `YOUNGER seconds` (RFC 5032); not 0.
    Younger(u32),
    /// `MODSEQ [entry type] n` (RFC 7162 §3.1.5): at least n. The entry is read and dropped, since
    /// a message has one modification sequence here.
    ModSeq(ModSeq),
    /// `EMAILID id` (RFC 8474)
    EmailId(String),
    /// `THREADID id` (RFC 8474)
    ThreadId(String),
}

/// A system flag that SEARCH has a key for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchFlag {
    /// `ANSWERED`
    Answered,
    /// `DELETED`
    Deleted,
    /// `DRAFT`
    Draft,
    /// `FLAGGED`
    Flagged,
    /// `SEEN`
    Seen,
}

/// A field of the envelope that SEARCH has a key for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeField {
    /// `BCC`
    Bcc,
    /// `CC`
    Cc,
    /// `FROM`
    From,
    /// `TO`
    To,
    /// `SUBJECT`
    Subject,
}

/// How a date compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Earlier than the day.
    Before,
    /// On the day.
    On,
    /// On the day or later.
    Since,
}

impl When {
    /// Whether `day` (days since 1970-01-01) is before, on, or since `date`.
    pub fn holds(self, day: i64, date: Date) -> bool {
        let limit = date.days_since_epoch();
        match self {
            When::Before => day < limit,
            When::On => day == limit,
            When::Since => day >= limit,
        }
    }
}

impl SearchKey {
    /// True when the key, or one within it, asks about modification sequences: then the answer
    /// carries the highest one, and CONDSTORE is on from here (RFC 7162 §3.1).
    pub fn uses_mod_seq(&self) -> bool {
        match self {
            SearchKey::ModSeq(_) => true,
            SearchKey::And(keys) | SearchKey::Or(keys) => keys.iter().any(SearchKey::uses_mod_seq),
            SearchKey::Not(key) => key.uses_mod_seq(),
            _ => false,
        }
    }
}
