//! One more node joins by a token, takes its share, and leaves again.
//!
//! Contract: mail flows meanwhile; leaving ends only when all that the node held is elsewhere. Commands that other
//! faults prevent are repeated until they succeed.

use super::{Scene, patiently};
use crate::cluster::control;
use crate::error::Stop;
use std::time::Duration;

/// For the new node to get its share; it leaves whether or not it has.
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
    scene.hold().await;
    let mut member = cluster.member(number).await?;
    let data = cluster.data(number);
    patiently(async || control::leave(cluster.program(), &data).await).await?;
    member.stop().await?;
    member.wipe()?;
    Ok(())
}
