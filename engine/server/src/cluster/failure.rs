//! A node whose store has failed: what its operator is told, and when it ends by itself.
//!
//! It has to end when others can serve: what it cannot read or write it can only refuse, and its clients, its leads and its
//! votes are better with the others. Where they cannot go on without it, or there are none, it stays: what is whole can
//! still be read.

use crate::engine::Engine;
use estafette_raft::{Group, NodeId};
use estafette_storage::{Health, Store};
use futures_util::future::join_all;
use std::sync::Arc;

/// What is wrong with a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Its database is damaged, and nothing on this node mends it.
    Damaged(Arc<str>),
    /// A write or a sync failed. A start may help.
    Disk,
}

impl Failure {
    /// Of a store that has failed.
    pub(crate) fn of(store: &Store) -> Option<Failure> {
        match store.damage() {
            Some(reason) => Some(Failure::Damaged(reason)),
            None => (store.health() == Health::Failed).then_some(Failure::Disk),
        }
    }

    /// Says in the log what happened, and what is to be done.
    pub(crate) fn tell(&self, node: NodeId, is_joined: bool) {
        match self {
            Failure::Damaged(reason) if is_joined => tracing::error!(
                %reason,
                "the database of this node is damaged: remove the node (`estafette cluster leave {node} --no-wait` on \
                 another one), empty its data folder, and join it anew with a token"
            ),
            Failure::Damaged(reason) => tracing::error!(
                %reason,
                "the database of this node is damaged: what is whole can still be read; save it, and restore a backup"
            ),
            Failure::Disk => tracing::error!(
                "the disk failed: no writes are taken any more; what is stored can still be read"
            ),
        }
    }

    /// What `cluster status` says of the node itself.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Failure::Damaged(_) => {
                "Its database is damaged: remove it, empty its data folder, and join it anew."
            }
            Failure::Disk => "Its disk failed: look at the disk, and start it again.",
        }
    }
}

/// True if the other members of all groups of this node go on without it: they are enough, and say so now.
pub(crate) async fn is_dispensable(engine: &Engine) -> bool {
    if !engine.cluster.is_joined() {
        return false;
    }
    let groups = engine.cluster.raft().groups();
    join_all(groups.iter().map(|group| go_on(engine, group))).await.into_iter().all(|goes_on| goes_on)
}

async fn go_on(engine: &Engine, group: &Group) -> bool {
    let (raft, voting) = (engine.cluster.raft(), group.status().voting());
    let others = voting.iter().filter(|node| **node != engine.cluster.id());
    let answers = join_all(others.map(|node| raft.status_at(*node, group.id()))).await;
    let running = answers.into_iter().flatten().filter(|status| status.running).count();
    running > voting.len() / 2
}
