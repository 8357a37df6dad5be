//! Power fails at one node, or at all of them at once: what was not on their disks is gone.
//!
//! Contract: as with SIGKILL; after a loss at all nodes everything acknowledged is on them, and they have service again
//! without help.

use super::Scene;
use crate::error::Stop;
use rustix::process::Signal;

pub(super) async fn one(mut scene: Scene) -> Result<(), Stop> {
    scene.member().await?.lose_power()?;
    scene.hold().await;
    let mut random = scene.random.fork();
    scene.member().await?.launch(&mut random)?;
    Ok(())
}

pub(super) async fn all(mut scene: Scene) -> Result<(), Stop> {
    let mut members = Vec::new();
    for number in 1..=scene.cluster.nodes {
        members.push(scene.cluster.member(number).await?);
    }
    for member in &members {
        member.signal(Signal::STOP);
    }
    for member in &mut members {
        member.lose_power()?;
    }
    for member in &mut members {
        let mut random = scene.random.fork();
        member.launch(&mut random)?;
    }
    Ok(())
}
