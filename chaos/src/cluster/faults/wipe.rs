//! A node loses its whole folder, and joins anew with an empty one.
//!
//! Contract: the old identity is not believed any more; the new node gets all rows and bodies from the others, while mail
//! flows.

use super::{Scene, patiently};
use crate::cluster::control;
use crate::error::Stop;
use crate::finding::Finding;

pub(super) async fn comes_back(mut scene: Scene) -> Result<(), Stop> {
    scene.member().await?.kill();
    scene.hold().await;
    empty_and_join(&mut scene).await
}

/// Empties the victim's folder and lets it join; it serves afterwards, and what it was before has left.
pub(crate) async fn empty_and_join(scene: &mut Scene) -> Result<(), Stop> {
    let cluster = scene.cluster.clone();
    let (victim, via) = (scene.victim, scene.other());
    let mut random = scene.random.fork();
    let old = patiently(async || {
        let status = cluster.status_but(victim).await;
        let missing =
            || Finding::Command { command: "estafette cluster status".into(), output: "none".into() };
        Ok(status.and_then(|status| status.id(victim)).ok_or_else(missing)?)
    });
    let old = old.await?;
    {
        let mut member = scene.member().await?;
        member.wipe()?;
        let token = patiently(async || control::token(cluster.program(), &cluster.data(via)).await).await?;
        patiently(async || control::join(&mut member, &token, &mut random).await).await?;
        member.launch(&mut random)?;
        member.serving("after it came back with an empty folder").await?;
    }
    patiently(async || control::leave_of(cluster.program(), &cluster.data(via), old).await).await
}
