//! All nodes are stopped and started, one after another, as for an update.
//!
//! Contract: before each stop the status says that it is safe; each ends well; clients of the others notice little.

use super::Scene;
use crate::error::Stop;
use crate::finding::Finding;
use std::time::Duration;
use tokio::time::Instant;

/// For the status to say that a node may be stopped, while other faults come and go.
const SAFE_WAIT: Duration = Duration::from_secs(90);
const LOOK_PAUSE: Duration = Duration::from_millis(300);

pub(super) async fn restart(mut scene: Scene) -> Result<(), Stop> {
    for number in 1..=scene.cluster.nodes {
        safe(&scene, number).await?;
        let mut random = scene.random.fork();
        {
            let mut member = scene.cluster.member(number).await?;
            member.stop().await?;
            member.launch(&mut random)?;
            member.serving("after a rolling restart").await?;
        }
        scene.pause_ms(0..1000).await;
    }
    Ok(())
}

/// Waits until the status says that the node may be stopped.
async fn safe(scene: &Scene, number: usize) -> Result<(), Stop> {
    if !scene.cluster.manner.mesh {
        return Ok(());
    }
    let end = Instant::now() + SAFE_WAIT;
    loop {
        let status = scene.cluster.status().await;
        if status.as_ref().is_some_and(|status| status.safe_to_stop(number)) {
            return Ok(());
        }
        if Instant::now() > end {
            let status = status.map_or_else(|| "none".to_owned(), |status| status.text);
            return Err(Finding::NotSettled { seconds: SAFE_WAIT.as_secs(), status }.into());
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
