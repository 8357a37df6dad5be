//! A leader is killed while it sends a node all that there is: the node came back with an empty folder.
//!
//! Contract: another leader takes over and sends the rest; the node is never taken for one that has all.

use super::{Scene, wipe};
use crate::error::Stop;

pub(super) async fn leader_killed(mut scene: Scene) -> Result<(), Stop> {
    scene.member().await?.kill();
    wipe::empty_and_join(&mut scene).await?;
    scene.pause_ms(0..1500).await;
    let leaders = scene.cluster.status().await.map(|status| status.leaders()).unwrap_or_default();
    let senders: Vec<_> = leaders.into_iter().filter(|leader| *leader != scene.victim).collect();
    let sender = match scene.random.pick(&senders) {
        Some(sender) => *sender,
        None => scene.other(),
    };
    scene.cluster.member(sender).await?.kill();
    scene.hold().await;
    let mut random = scene.random.fork();
    scene.cluster.member(sender).await?.launch(&mut random)?;
    Ok(())
}
