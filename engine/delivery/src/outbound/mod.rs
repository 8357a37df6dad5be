//! Sends what lies in the queue: one task for a node, for the shards that it leads.
//!
//! - An item is worked on by one task at a time. What became of its recipients is written down before
//!   anything else is done with it, again and again until that succeeds, so nothing is sent twice because of
//!   us. After a crash between the 250 of the other server and that moment, SMTP itself cannot tell
//!   (RFC 5321 §6.1, RFC 1047): the message is sent again.
//! - Where another node could come to lead the shard, an item is claimed before (`claims`), so that two nodes do not
//!   work on it: the claim is looked at once more before the end of the message is written.
//! - At most [`RelayTarget::connections_max`] tasks and connections; a connection is used for several
//!   messages. While the relay cannot be reached, little is tried.
//!
//! Must not: decide what is in the queue or who is told (that is done by the queue's commands).

mod claims;
mod connection;
mod job;
mod letter;
mod overdue;
mod sender;
mod settings;
mod tls;

pub use claims::ClaimSettings;
pub use sender::Sender;
pub use settings::{RelayTarget, RelayTls, Schedule, Settings};
