//! From an accepted message to where it belongs: shards, routing, the queue for other servers, notices.
//!
//! - A message is answered for once every shard that it goes to has committed it.
//! - What goes to other servers lies in the queue of a shard, replicated like mailboxes.
//! - Nothing is dropped without a word: what cannot be sent is returned to its sender.
//!
//! Must not: speak to clients, decide about logins.
#![forbid(unsafe_code)]

mod accept;
mod clock;
pub mod compose;
mod error;
mod homes;
mod intake;
mod notice;
pub mod outbound;
mod plan;
pub mod queue;
mod reach;
mod shard;

pub use accept::{Acceptor, Incoming, Outcome, Problem};
pub use error::{AuthoritiesError, Error};
pub use homes::{Homes, home, move_id};
pub use intake::Intake;
pub use reach::{Again, Mishap, Patience, Reach, Trouble, Wait};
pub use shard::{ShardMachine, Shards};
