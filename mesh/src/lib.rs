//! What the nodes of a cluster say to each other, and who may say it.
//!
//! Duty: a request goes to another node and its answer comes back, or the caller learns whether the request had left.
//! Who is on the other side is read from a certificate of the cluster's authority; nobody else is answered, but for
//! one request to join. Nothing waits without a bound, and a peer that is dead is noticed.
//!
//! - [`Mesh`] dials each peer once for each [`Lane`], so that nothing large stands in front of what is urgent, and
//!   answers those who dial it by [`Serve`].
//! - [`Mesh::stream`] opens a connection of its own to a peer, for bytes both ways ([`Stream`]).
//! - [`frame`] and [`hello`] are the protocol, pure: where a frame ends, and what both sides say first.
//! - [`Authority`] makes certificates, [`Identity`] is what a node shows, [`ask_to_join`] the way in without one.
//!
//! Must not: know what is said. `docs/decisions/013-cluster.md` says how the parts of a cluster divide.
#![forbid(unsafe_code)]

mod authority;
mod calls;
mod connection;
mod error;
pub mod frame;
mod greet;
pub mod hello;
mod identity;
mod join;
mod life;
mod link;
mod listener;
mod members;
mod mesh;
mod meters;
mod name;
mod outgoing;
mod serving;
mod settings;
mod stream;
mod streaming;
mod streams;
mod tls;

pub use authority::{Authority, NodeKey, PublicKey};
pub use error::{Class, Error};
pub use identity::Identity;
pub use join::ask_to_join;
pub use link::LinkStatus;
pub use members::{PeerStatus, REMOVED};
pub use mesh::{BoxFuture, Mesh, Serve, Taken};
pub use name::{ClusterId, Lane, NodeName};
pub use settings::{LaneSettings, Settings};
pub use stream::Stream;
