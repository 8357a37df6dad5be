//! Groups over several nodes: what is said to peers and answered to them.
//!
//! [`Hub`] is a node's one place for that: it packs requests, gives them to the [`Transport`], and reads answers.
//! `network` is openraft's client to a peer (`pieces` and `pipeline` are how entries go), `serve` answers what peers ask,
//! `forward` brings proposals and questions of followers to the leader, `bodies` and `files` carry what is too large for
//! one request, `arrivals` keeps it until it is named, and `fetching` gets what is missing.

pub(crate) mod arrivals;
pub(crate) mod bodies;
pub(crate) mod fetching;
pub(crate) mod files;
pub(crate) mod forward;
pub(crate) mod network;
pub(crate) mod pieces;
pub(crate) mod pipeline;
pub(crate) mod serve;
pub(crate) mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use estafette_storage::Store;
use serde::Deserialize;

use self::arrivals::{Arrivals, Lent};
use self::files::Files;
use self::wire::{Ask, Request};
use crate::{GroupId, Lane, NodeId, Transport, Unreached};

/// A node's way to its peers. One for all groups.
pub(crate) struct Hub {
    pub(crate) id: NodeId,
    pub(crate) store: Store,
    pub(crate) arrivals: Arrivals,
    pub(crate) lent: Arc<Lent>,
    pub(crate) files: Files,
    transport: Arc<dyn Transport>,
}

impl Hub {
    pub(crate) fn new(id: NodeId, store: Store, transport: Arc<dyn Transport>, snapshots: PathBuf) -> Hub {
        Hub {
            id,
            store,
            arrivals: Arrivals::default(),
            lent: Arc::default(),
            files: Files::new(snapshots),
            transport,
        }
    }

    /// True if every body that is named here is here.
    pub(crate) fn is_whole(&self) -> Result<bool, estafette_storage::Error> {
        Ok(self.store.missing(None, 1)?.is_empty())
    }

    /// Asks a peer and reads its answer. One that does not decode counts as none.
    pub(crate) async fn ask<T: for<'a> Deserialize<'a>>(
        &self,
        to: NodeId,
        lane: Lane,
        group: GroupId,
        ask: Ask,
        tail: impl IntoIterator<Item = Bytes>,
    ) -> Result<T, Unreached> {
        let request = wire::request(&Request { group: group.0, ask }, tail);
        let answer = self.transport.call(to, lane, request).await?;
        wire::read_answer(&answer).map_err(|_| {
            tracing::warn!(%to, %group, "a peer answered what this version does not understand");
            Unreached::NoAnswer
        })
    }
}
