//! A node loses its whole folder, and joins anew with an empty one.
//!
//! Contract: the old identity is not believed any more; the new node gets all rows and bodies from the others, while mail
//! flows.

use super::{COMMAND_PAUSE, Number, Scene, patiently};
use crate::cluster::control;
use crate::error::Stop;
use crate::finding::Finding;
use tokio::time::{Instant, sleep};

/// When an emptied node did not serve.
pub(super) const EMPTIED: &str = "after it came back with an empty folder";

pub(super) async fn comes_back(mut scene: Scene) -> Result<(), Stop> {
    scene.member().await?.kill();
    scene.hold().await;
    empty_and_join(&mut scene).await
}

/// Empties the victim's folder and lets it join; it serves afterwards, and what it was before has left.
pub(crate) async fn empty_and_join(scene: &mut Scene) -> Result<(), Stop> {
    let via = scene.other();
    let old = join_empty(scene, via).await?;
    scene.member().await?.serving(EMPTIED).await?;
    leave_soon(scene, via, old).await?;
    has_left(scene, old).await
}

/// Empties the victim's folder, lets it join by another node, and starts it; what it was before, which has not left yet.
pub(super) async fn join_empty(scene: &mut Scene, via: Number) -> Result<u64, Stop> {
    let (cluster, victim) = (scene.cluster.clone(), scene.victim);
    let mut random = scene.random.fork();
    let old = patiently(async || {
        let status = cluster.status_but(victim).await;
        let missing =
            || Finding::Command { command: "estafette cluster status".into(), output: "none".into() };
        Ok(status.and_then(|status| status.id(victim)).ok_or_else(missing)?)
    });
    let old = old.await?;
    let mut member = scene.member().await?;
    member.wipe()?;
    let token = patiently(async || control::token(cluster.program(), &cluster.data(via)).await).await?;
    patiently(async || control::join(&mut member, &token, &mut random).await).await?;
    member.launch(&mut random)?;
    Ok(old)
}

/// What the victim was before begins to leave.
pub(super) async fn leave_soon(scene: &Scene, via: Number, old: u64) -> Result<(), Stop> {
    let (program, data) = (scene.cluster.program(), scene.cluster.data(via));
    patiently(async || control::leave_soon(program, &data, old).await).await
}

/// Waits until it has left.
pub(super) async fn has_left(scene: &Scene, old: u64) -> Result<(), Stop> {
    let end = Instant::now() + control::MOVE_WAIT;
    loop {
        let status = scene.cluster.status_but(scene.victim).await;
        if status.as_ref().is_some_and(|status| !status.knows(old)) {
            return Ok(());
        }
        if Instant::now() > end {
            let status = status.map_or_else(|| "none".to_owned(), |status| status.text);
            return Err(Finding::NotLeft { id: old, status }.into());
        }
        sleep(COMMAND_PAUSE).await;
    }
}
