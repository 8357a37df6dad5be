//! One more node joins by a token, takes its share, and leaves again.
//!
//! Contract: mail flows meanwhile; the new node comes to vote in the group of a shard; leaving ends only when all that the
//! node held is elsewhere. Commands that other faults prevent are repeated until they succeed.

use super::{Cluster, Number, Scene, patiently};
use crate::cluster::control;
use crate::error::Stop;
use crate::finding::Finding;
use std::time::Duration;

/// For all to be settled; the new node may have its share before that, and has to have it some time later.
const SHARE_WAIT: Duration = Duration::from_secs(30);

pub(super) async fn joins_and_leaves(mut scene: Scene) -> Result<(), Stop> {
    let cluster = scene.cluster.clone();
    let number = cluster.nodes + 1;
    let mut random = scene.random.fork();
    let mut member = cluster.member(number).await?;
    let token = patiently(async || control::token(cluster.program(), &cluster.data(1)).await).await?;
    patiently(async || control::join(&mut member, &token, &mut random).await).await?;
    member.launch(&mut random)?;
    member.serving("after it joined").await?;
    // Who waits for the cluster looks at every member.
    drop(member);
    cluster.settle(SHARE_WAIT).await;
    patiently(async || has_share(&cluster, number).await).await?;
    scene.hold().await;
    let mut member = cluster.member(number).await?;
    let data = cluster.data(number);
    patiently(async || control::leave(cluster.program(), &data).await).await?;
    member.stop().await?;
    member.wipe()?;
    Ok(())
}

/// A finding if the node votes in no group of a shard.
async fn has_share(cluster: &Cluster, number: Number) -> Result<(), Stop> {
    match cluster.status().await {
        Some(status) if status.has_share(number) => Ok(()),
        status => {
            let status = status.map_or_else(|| "none".to_owned(), |status| status.text);
            Err(Finding::NoShare { node: number, status }.into())
        }
    }
}
