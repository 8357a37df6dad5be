//! Whether replicas of a group can be relied on: asked before one votes, and before an account moves to a shard.

use crate::engine::Engine;
use estafette_raft::{NodeId, Status};

/// True if a node is known to have nearly all entries of a group, and says that it lacks no body. `status`: as the group's
/// leader tells.
pub(super) async fn is_close_and_whole(engine: &Engine, status: &Status, node: NodeId) -> bool {
    status.is_close(node) && engine.cluster.raft().is_whole(node).await
}
