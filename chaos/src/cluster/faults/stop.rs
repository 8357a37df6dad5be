//! SIGSTOP and SIGCONT.
//!
//! Contract: others take over what the node led; when it goes on it does not know that time has passed, and must
//! acknowledge nothing and show nothing older than what was told meanwhile.

use super::Scene;
use crate::error::Stop;
use rustix::process::Signal;

pub(super) async fn stop(mut scene: Scene) -> Result<(), Stop> {
    for _ in 0..scene.random.within(1..4) {
        scene.member().await?.signal(Signal::STOP);
        scene.hold().await;
        scene.member().await?.signal(Signal::CONT);
        scene.pause_ms(0..1500).await;
    }
    Ok(())
}
