//! What nodes agree on: groups with one log and one machine each, all in the node's one store.
//!
//! Duty: a proposal is answered once it is durable and applied; every replica applies the same commands in the same
//! order with the same time and seeds. openraft is used here alone, and none of its types leave this crate.
//!
//! - **One write, one sync**: an entry and the bodies that it names go into the store in one batch ([`Proposal`]).
//! - Applying is not synced: rows and the record of how far they got lie in one write, and the log replays the rest.
//! - A node whose log or vote is behind what it had acknowledged does not start ([`Node::start`]).
//!
//! Must not: know mail, or anything else of what machines keep in their rows.
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate self as estafette_raft;
#[cfg(test)]
#[path = "../tests/counter/mod.rs"]
mod counter;

mod blocking;
mod codec;
mod company;
mod erase;
mod error;
mod far;
mod gauges;
mod group;
mod id;
mod keys;
mod log;
mod machine;
mod members;
mod node;
mod peers;
mod proposer;
mod runtime;
mod settings;
mod snapshot;
mod standing;
mod state;
mod tail;
#[cfg(test)]
mod tests;
mod transport;
mod types;

pub use error::{Class, Error, SnapshotError};
pub use estafette_storage::NewBody;
pub use far::FarGroup;
pub use group::{Checksum, Group, Until};
pub use id::{GroupId, NodeId};
pub use machine::{Context, Machine, MachineError, Proposal, References, Walk};
pub use members::{MemberStatus, Order, Status};
pub use node::Node;
pub use settings::{COMMIT_WAIT_MS_MAX, COMPANY_WAIT_MS_MAX, Settings};
pub use transport::{Alone, Call, Lane, Transport, Unreached};
