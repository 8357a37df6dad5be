//! The seam to other nodes: how a request comes to the Raft part of another node, and its answer back.
//!
//! The program gives the mesh here, a simulator its own network. Requests are opaque to whoever carries them; they are
//! made and understood in [`crate::Node`] alone.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::NodeId;

/// What a request must not stand behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Votes, heartbeats, read indexes: small, and late is as bad as lost.
    Urgent,
    /// Log entries with their bodies, and proposals.
    Entries,
    /// Snapshots and large bodies.
    Bulk,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreached {
    /// The request never left: no such node, or no connection to it.
    #[error("the node cannot be reached")]
    NotSent,
    /// It left, and no answer came: it may have had its effect or not.
    #[error("the node did not answer")]
    NoAnswer,
}

/// A request under way.
pub type Call = Pin<Box<dyn Future<Output = Result<Bytes, Unreached>> + Send>>;

/// Carries requests to other nodes. Bounds its own waits: a call ends.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request`, whose pieces are one after the other its bytes, and waits for the answer.
    fn call(&self, to: NodeId, lane: Lane, request: Vec<Bytes>) -> Call;
}

/// The transport of a node that is alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Transport for Alone {
    fn call(&self, _: NodeId, _: Lane, _: Vec<Bytes>) -> Call {
        Box::pin(async { Err(Unreached::NotSent) })
    }
}
