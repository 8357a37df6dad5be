//! What one node keeps on disk: rows, logs and message bodies, in one RocksDB.
//!
//! Knows bytes and ranges of keys, no mail. Its promises:
//! - **One writer to the log of RocksDB that syncs**: the committer thread. It joins what waits and
//!   syncs once for all of it ([`Store::commit`]).
//! - [`Store::apply`] writes without a sync: what it writes can be made again from the Raft log.
//! - After a failed sync every later write is refused ([`Error::is_fatal`]); that sync is not tried again.
//! - A store that was damaged or cut short is refused at [`Store::open`] with words that say where.
//! - Bodies are stored once under the hash of their bytes; they are kept while a reference or a hold
//!   names them, and a grace period longer.
#![deny(unsafe_code)]

mod batch;
mod body;
mod committer;
mod error;
mod family;
mod read;
mod store;
mod transaction;
mod watermark;

pub use batch::Batch;
pub use body::{Body, BodyHash, CHUNK_BYTES};
pub use error::Error;
pub use family::Family;
pub use read::{Direction, Pinned, Read, Row, Scan};
pub use store::{Health, Settings, Store, View};
pub use transaction::Transaction;
pub use watermark::Mark;
