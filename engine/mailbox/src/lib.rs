//! Mailboxes, messages, flags and quotas: a deterministic state machine over rows of storage.
//!
//! A shard's log brings commands; [`apply`] turns each into rows, in the same way on every replica.
//! Reading goes past the log, over any view of the store: [`read`]. Between the two there is nothing
//! but rows, so a restart loads nothing.
//!
//! Promises:
//! - A delivery identifier adds one message, however often it is proposed; a named command is carried out once.
//! - UIDs are never given twice, UIDVALIDITY is never given twice within an account, UIDNEXT and
//!   ModSeq only grow. Fresh messages and changes are found by ModSeq; so are expunges ([`read::vanished_since`]).
//! - Counters (usage, EXISTS, UNSEEN, DELETED) are exact after each command. [`check`] holds all rows
//!   against each other.
//! - A delivery writes a handful of small rows, whatever the mailbox holds.
//!
//! Must not: read a clock, draw random numbers, touch sockets, know protocols.
#![forbid(unsafe_code)]

mod apply;
mod block;
mod by_mailbox;
mod check;
mod codec;
mod command;
mod error;
mod flags;
mod key;
mod maildrops;
mod name;
pub mod read;
mod rows;
mod structure;
mod transfer;
mod uid_maps;
mod watch;

pub use apply::{EXPUNGE_ROWS_MAX, apply};
pub use by_mailbox::{ByMailbox, Derived, Since};
pub use check::{PROBLEMS_MAX, Problem, Report, check, recount};
pub use command::{
    Action, Command, Context, DELIVERY_REMEMBERED_MS, DeliveryId, FlagChange, INSTALL_BYTES_MAX,
    INSTALL_ROWS_MAX, Imported, MAILBOXES_MAX, MovedRow, NewMessage, REQUEST_REMEMBERED_MS, Refusal,
    RequestId, Response, SUBSCRIPTIONS_MAX, Target, WORK_MAX,
};
pub use error::{Error, HexKey};
pub use flags::{
    Flags, KEYWORD_MAX_BYTES, KEYWORDS_MAX, Keyword, KeywordError, KeywordSet, KeywordTable, SystemFlags,
};
pub use key::{AccountRef, MailboxRef, shard_range};
pub use maildrops::{MAILDROPS_BYTES, Maildrop, Maildrops};
pub use name::{LEVEL_MAX_BYTES, LEVELS_MAX, MailboxName, NAME_MAX_BYTES, NameError, SEPARATOR};
pub use rows::{AccountRow, AccountState, Delivered, MailboxRow, MessageRow, MoveId, NameRow, SpecialUse};
pub use structure::{STRUCTURES_BYTES, Structures};
pub use transfer::{Batch, Transfer};
pub use uid_maps::{UID_MAPS_BYTES, UidMaps};
pub use watch::{Listener, News, Topic, Watch, Watchers};
