//! What one node keeps on disk: rows, logs and message bodies, in one RocksDB.
//!
//! Knows bytes and ranges of keys, no mail. Its promises:
//! - **One writer that syncs**: the committer thread. It joins what waits and syncs once for all of it
//!   ([`Store::commit`]).
//! - [`Store::apply`] writes without a sync: what it writes can be made again from the Raft log.
//! - After a failed write or sync every later write is refused ([`Error::Failed`]); that sync is not
//!   tried again. A full disk is no failure: writes wait for room before they begin.
//! - A store that was damaged or cut short is refused at [`Store::open`], or where it is read, with words
//!   that say where; it is never silently shorter than what was acknowledged.
//! - Bodies are stored once under the hash of their bytes; they are kept while a reference or a hold
//!   names them, and a grace period longer.
#![deny(unsafe_code)]

mod batch;
mod bodies;
mod body;
mod chunks;
mod collect;
mod committer;
pub mod count;
mod database;
mod error;
mod family;
mod findings;
mod key;
mod missing;
mod new_body;
mod observe;
mod open;
mod options;
mod overlay;
#[cfg(feature = "planted")]
pub mod planted;
mod read;
mod recent;
mod reclaim;
mod recover;
mod references;
mod reserve;
mod scrub;
mod space;
mod stage;
mod store;
mod stored;
#[cfg(test)]
mod tests;
mod transaction;
mod verify;
mod versions;
mod view;
mod wal;
mod watermark;

pub use batch::Batch;
pub use body::{BodyHash, CHUNK_BYTES, SCOPE_LIMIT};
pub use collect::Collected;
pub use error::Error;
pub use family::Family;
pub use key::{Key, prefix_range, successor};
pub use new_body::NewBody;
pub use observe::record_metrics;
pub use open::FORMAT;
pub use read::{Direction, Pinned, Read, Row, Scan};
pub use recent::Recent;
pub use references::Rebuilt;
pub use scrub::{Scrub, Scrubbed};
pub use space::MIN_FREE_BYTES_MIN;
pub use stage::Staging;
pub use store::{Behind, Committing, Health, Settings, Store};
pub use stored::Body;
pub use transaction::{Savepoint, Transaction};
pub use verify::{PROBLEMS_MAX, Problem, Progress, Report};
pub use view::View;
pub use watermark::{MARKS_MAX, Mark};
