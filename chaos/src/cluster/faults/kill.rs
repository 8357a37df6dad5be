//! SIGKILL, and a start some time later; now and then killed again while it starts.
//!
//! Contract: what was acknowledged stays on the others; accounts whose leader it was have service again at the
//! others within a few seconds; it comes back by itself and catches up.

use super::Scene;
use crate::error::Stop;

/// One round in so many kills the node once more while it starts.
const AGAIN_ONE_IN: u64 = 3;

pub(super) async fn kill(mut scene: Scene) -> Result<(), Stop> {
    scene.member().await?.kill();
    scene.hold().await;
    while scene.random.one_in(AGAIN_ONE_IN) {
        let mut random = scene.random.fork();
        scene.member().await?.launch(&mut random)?;
        scene.pause_ms(0..600).await;
        scene.member().await?.kill();
    }
    let mut random = scene.random.fork();
    scene.member().await?.launch(&mut random)?;
    Ok(())
}
