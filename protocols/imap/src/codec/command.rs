//! Commands: what a client asks, as values. The grammar stands above each type (RFC 9051 §9 and
//! the extensions named); the parser is in [`super::parse`].
//!
//! Texts are decoded: no quotes, no literals, no base64, no modified UTF-7.

use super::date::DateTime;
use super::fetch::FetchAttribute;
use super::flag::Flag;
use super::framer::Parts;
use super::mailbox::{Create, List, StatusItem};
use super::rope::Rope;
use super::search::Search;
use super::sequence::SequenceSet;
use bytes::Bytes;
use estafette_types::{ModSeq, UidValidity};
use std::fmt;
use unicode_normalization::UnicodeNormalization;

/// The longest tag, in bytes.
pub const TAG_MAX: usize = 255;
/// The longest name of a mailbox, in bytes of UTF-8.
pub const MAILBOX_MAX: usize = 1000;

/// `tag = 1*<any ASTRING-CHAR except "+">`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// `None` when the text is no tag.
    pub fn new(text: &str) -> Option<Tag> {
        let valid = (1..=TAG_MAX).contains(&text.len()) && text.bytes().all(super::chars::is_tag);
        valid.then(|| Tag(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `mailbox = "INBOX" / astring`: in UTF-8, without control characters, at most [`MAILBOX_MAX`]
/// bytes, possibly empty. `INBOX` is written so, however the client wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mailbox(String);

impl Mailbox {
    /// `None` when the name is too long or has characters that no name may have (RFC 9051 §5.1).
    pub fn new(name: &str) -> Option<Mailbox> {
        if name.eq_ignore_ascii_case("INBOX") {
            return Some(Mailbox::inbox());
        }
        let bad = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        (name.len() <= MAILBOX_MAX && !name.contains(bad)).then(|| Mailbox(name.to_owned()))
    }

    /// `INBOX`
    pub fn inbox() -> Mailbox {
        Mailbox("INBOX".to_owned())
    }

    /// True for `INBOX`.
    pub fn is_inbox(&self) -> bool {
        self.0 == "INBOX"
    }

    /// The name in UTF-8.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a mailbox has it (RFC 9051 §5.1): in NFC, and `INBOX` as the first level in capitals.
    #[must_use]
    pub fn normalized(&self) -> Mailbox {
        let mut name: String = self.0.nfc().collect();
        if let Some(first) =
            name.get_mut(.."INBOX/".len()).filter(|first| first.eq_ignore_ascii_case("INBOX/"))
        {
            first.make_ascii_uppercase();
        }
        Mailbox::new(&name).unwrap_or_else(|| self.clone())
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What must not be printed: a password, or an answer to a challenge.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Bytes);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// `command = tag SP (command-any / command-auth / command-nonauth / command-select) CRLF`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Given back in the answer.
    pub tag: Tag,
    /// What is asked.
    pub body: CommandBody,
}

/// What is asked. Where a command has a form with `UID`, `uid` tells that it was used: then sets
/// are of UIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandBody {
    // In any state.
    /// `CAPABILITY`
    Capability,
    /// `NOOP`
    Noop,
    /// `LOGOUT`
    Logout,
    /// `ID (…)` (RFC 2971): pairs of a field and its value; empty for `NIL`.
    Id(Vec<(String, Option<String>)>),

    // Before the login.
    /// `STARTTLS`
    StartTls,
    /// `AUTHENTICATE mechanism [initial response]` (RFC 4959)
    Authenticate(Authenticate),
    /// `LOGIN user password`
    Login {
        /// The name, as it was sent.
        username: Bytes,
        /// The password, as it was sent.
        password: Secret,
    },

    // After the login.
    /// `ENABLE 1*capability` (RFC 5161)
    Enable(Vec<Enable>),
    /// `SELECT`
    Select(Select),
    /// `EXAMINE`
    Examine(Select),
    /// `CREATE`
    Create(Create),
    /// `DELETE`
    Delete(Mailbox),
    /// `RENAME old new`
    Rename {
        /// The old name.
        from: Mailbox,
        /// The new name.
        to: Mailbox,
    },
    /// `SUBSCRIBE`
    Subscribe(Mailbox),
    /// `UNSUBSCRIBE`
    Unsubscribe(Mailbox),
    /// `LIST`
    List(List),
    /// `LSUB reference pattern` (RFC 3501)
    Lsub {
        /// The reference name, in UTF-8.
        reference: String,
        /// The pattern, in UTF-8.
        pattern: String,
    },
    /// `NAMESPACE`
    Namespace,
    /// `STATUS mailbox (items)`: items is never empty.
    Status {
        /// Which mailbox.
        mailbox: Mailbox,
        /// What of it, in the client's order.
        items: Vec<StatusItem>,
    },
    /// `APPEND`
    Append(Append),
    /// `IDLE`
    Idle,
    /// `GETQUOTA root` (RFC 9208)
    GetQuota(String),
    /// `GETQUOTAROOT mailbox`
    GetQuotaRoot(Mailbox),
    /// `SETQUOTA root (resource limit …)`
    SetQuota {
        /// The root.
        root: String,
        /// Names of resources in upper case, and their limits.
        limits: Vec<(String, u64)>,
    },

    // With a mailbox selected.
    /// `CHECK` (RFC 3501)
    Check,
    /// `CLOSE`
    Close,
    /// `UNSELECT`
    Unselect,
    /// `EXPUNGE`, or `UID EXPUNGE set` (RFC 4315)
    Expunge(Option<SequenceSet>),
    /// `SEARCH`
    Search {
        /// `UID SEARCH`: the answer has UIDs.
        uid: bool,
        /// The criteria.
        search: Search,
    },
    /// `FETCH`
    Fetch(Fetch),
    /// `STORE`
    Store(Store),
    /// `COPY set mailbox`
    Copy {
        /// `UID COPY`
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// Where to.
        mailbox: Mailbox,
    },
    /// `MOVE set mailbox` (RFC 6851)
    Move {
        /// `UID MOVE`
        uid: bool,
        /// Which messages.
        set: SequenceSet,
        /// Where to.
        mailbox: Mailbox,
    },
}

impl CommandBody {
    /// The name of the command, for logs and metrics: one of a fixed list.
    pub fn verb(&self) -> &'static str {
        match self {
            CommandBody::Capability => "CAPABILITY",
            CommandBody::Noop => "NOOP",
            CommandBody::Logout => "LOGOUT",
            CommandBody::Id(_) => "ID",
            CommandBody::StartTls => "STARTTLS",
            CommandBody::Authenticate(_) => "AUTHENTICATE",
            CommandBody::Login { .. } => "LOGIN",
            CommandBody::Enable(_) => "ENABLE",
            CommandBody::Select(_) => "SELECT",
            CommandBody::Examine(_) => "EXAMINE",
            CommandBody::Create(_) => "CREATE",
            CommandBody::Delete(_) => "DELETE",
            CommandBody::Rename { .. } => "RENAME",
            CommandBody::Subscribe(_) => "SUBSCRIBE",
            CommandBody::Unsubscribe(_) => "UNSUBSCRIBE",
            CommandBody::List(_) => "LIST",
            CommandBody::Lsub { .. } => "LSUB",
            CommandBody::Namespace => "NAMESPACE",
            CommandBody::Status { .. } => "STATUS",
            CommandBody::Append(_) => "APPEND",
            CommandBody::Idle => "IDLE",
            CommandBody::GetQuota(_) => "GETQUOTA",
            CommandBody::GetQuotaRoot(_) => "GETQUOTAROOT",
            CommandBody::SetQuota { .. } => "SETQUOTA",
            CommandBody::Check => "CHECK",
            CommandBody::Close => "CLOSE",
            CommandBody::Unselect => "UNSELECT",
            CommandBody::Expunge(None) => "EXPUNGE",
            CommandBody::Expunge(Some(_)) => "UID EXPUNGE",
            CommandBody::Search { uid: false, .. } => "SEARCH",
            CommandBody::Search { uid: true, .. } => "UID SEARCH",
            CommandBody::Fetch(Fetch { uid: false, .. }) => "FETCH",
            CommandBody::Fetch(Fetch { uid: true, .. }) => "UID FETCH",
            CommandBody::Store(Store { uid: false, .. }) => "STORE",
            CommandBody::Store(Store { uid: true, .. }) => "UID STORE",
            CommandBody::Copy { uid: false, .. } => "COPY",
            CommandBody::Copy { uid: true, .. } => "UID COPY",
            CommandBody::Move { uid: false, .. } => "MOVE",
            CommandBody::Move { uid: true, .. } => "UID MOVE",
        }
    }
}

/// `authenticate = "AUTHENTICATE" SP auth-type [SP initial-resp]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticate {
    /// The SASL mechanism, in upper case.
    pub mechanism: String,
    /// The initial response (SASL-IR), its base64 taken off; `=` gives an empty one.
    pub initial_response: Option<Secret>,
}

/// `enable = "ENABLE" 1*(SP capability)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enable {
    /// `IMAP4rev2`
    Imap4Rev2,
    /// `CONDSTORE`
    CondStore,
    /// `QRESYNC`
    QResync,
    /// `UTF8=ACCEPT`
    Utf8Accept,
    /// Not known here, which is no error (RFC 5161 §3.1). In upper case.
    Other(String),
}

/// `select = "SELECT" SP mailbox [select-params]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    /// Which mailbox.
    pub mailbox: Mailbox,
    /// `(CONDSTORE)` (RFC 7162 §3.1.8)
    pub condstore: bool,
    /// `(QRESYNC (…))`
    pub qresync: Option<QResync>,
}

/// `select-param =/ "QRESYNC" SP "(" uidvalidity SP mod-sequence-value [SP known-uids]
/// [SP seq-match-data] ")"` (RFC 7162 §7)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QResync {
    /// The UIDVALIDITY that the client knows.
    pub uid_validity: UidValidity,
    /// The HIGHESTMODSEQ that it knows.
    pub mod_seq: ModSeq,
    /// The UIDs that it knows; never with `*` or `$`.
    pub known_uids: Option<SequenceSet>,
    /// Sequence numbers and the UIDs that they had; never with `*` or `$`.
    pub seq_match: Option<(SequenceSet, SequenceSet)>,
}

/// `append = "APPEND" SP mailbox 1*append-message` (RFC 3502)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Where to.
    pub mailbox: Mailbox,
    /// One message, or several with MULTIAPPEND.
    pub messages: Vec<AppendMessage>,
}

/// `append-message = [SP flag-list] [SP date-time] SP append-data`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendMessage {
    /// The flags that it shall have, each once.
    pub flags: Vec<Flag>,
    /// Its internal date; now when it is not given.
    pub date: Option<DateTime>,
    /// The message; what follows its parts, of a large one.
    pub message: Rope,
    /// What was handed over of it while it came.
    pub parts: Option<Parts>,
    /// Sent as `UTF8 (~{n}…)` (RFC 6855 §4): its header may be UTF-8.
    pub utf8: bool,
    /// Sent as a `literal8`: it may have NUL (RFC 3516 §4.4).
    pub binary: bool,
}

/// `fetch = "FETCH" SP sequence-set SP (macro / attributes) [fetch-modifiers]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// `UID FETCH`: `UID` is part of the answer even when it is not among `attributes`.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// What of them, each once, in the client's order.
    pub attributes: Vec<FetchAttribute>,
    /// `CHANGEDSINCE n` (RFC 7162 §3.1.4.1): `MODSEQ` is part of the answer then.
    pub changed_since: Option<ModSeq>,
    /// `VANISHED` (RFC 7162 §3.2.6); only with `UID` and `CHANGEDSINCE`.
    pub vanished: bool,
}

/// `store = "STORE" SP sequence-set [store-modifiers] SP store-att-flags`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// `UID STORE`
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet,
    /// `UNCHANGEDSINCE n` (RFC 7162 §3.1.3); may be 0.
    pub unchanged_since: Option<ModSeq>,
    /// What is done with the flags.
    pub action: StoreAction,
    /// `.SILENT`: no FETCH responses about it.
    pub silent: bool,
    /// The flags, each once.
    pub flags: Vec<Flag>,
}

/// The sign before `FLAGS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreAction {
    /// `FLAGS`: these and no others.
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}
