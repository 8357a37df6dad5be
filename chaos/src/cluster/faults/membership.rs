//! One more node joins by a token, takes its share, and leaves again.
//!
//! Contract: mail flows meanwhile; the new node comes to vote in the group of a shard; leaving ends only when all that the
//! node held is elsewhere. Commands that other faults prevent are repeated until they succeed.

use super::{COMMAND_PAUSE, Cluster, Number, Scene, patiently};
use crate::cluster::control;
use crate::error::Stop;
use crate::finding::Finding;
use tokio::time::{Instant, sleep};

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
    gets_share(&cluster, number).await?;
    scene.hold().await;
    let mut member = cluster.member(number).await?;
    let data = cluster.data(number);
    patiently(async || control::leave(cluster.program(), &data).await).await?;
    member.stop().await?;
    member.wipe()?;
    Ok(())
}

/// Waits until the node votes in the group of a shard, with all bodies; a finding if that takes longer than a move may.
async fn gets_share(cluster: &Cluster, number: Number) -> Result<(), Stop> {
    let end = Instant::now() + control::MOVE_WAIT;
    loop {
        let status = cluster.status().await;
        if status.as_ref().is_some_and(|status| status.has_share(number)) {
            return Ok(());
        }
        if Instant::now() > end {
            let status = status.map_or_else(|| "none".to_owned(), |status| status.text);
            return Err(Finding::NoShare { node: number, status }.into());
        }
        sleep(COMMAND_PAUSE).await;
    }
}
