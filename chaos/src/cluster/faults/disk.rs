//! Disks that are full, slow, or fail.
//!
//! Contract: the trouble of one node does not stop the others. A node whose disk is full takes mail again by itself
//! when there is room; one whose syncs failed acknowledges nothing more by itself, and is started anew.

use super::Scene;
use crate::error::Stop;

/// What is left when a disk becomes nearly full.
const LEFT_BYTES: u64 = 90 * 1024 * 1024;
const SYNC_MS: std::ops::Range<u64> = 20..1500;
/// Words of a node that has to be started anew.
const NO_MORE: [&str; 1] = ["no more writes"];

pub(super) async fn full(mut scene: Scene) -> Result<(), Stop> {
    let left = if scene.random.one_in(2) { 0 } else { LEFT_BYTES };
    scene.member().await?.disk.fill(left)?;
    scene.hold().await;
    let mut random = scene.random.fork();
    let mut member = scene.member().await?;
    member.disk.relieve();
    if member.says(&NO_MORE) {
        // The last byte went while the log itself was written.
        member.end().await?;
        member.launch(&mut random)?;
    }
    Ok(())
}

pub(super) async fn slow(mut scene: Scene) -> Result<(), Stop> {
    let ms = scene.random.within(SYNC_MS);
    scene.member().await?.slow_disk(ms)?;
    scene.hold().await;
    scene.member().await?.slow_disk(0)?;
    Ok(())
}

pub(super) async fn sync_fails(mut scene: Scene) -> Result<(), Stop> {
    scene.member().await?.fail_syncs(true)?;
    scene.hold().await;
    let by_force = scene.random.one_in(2);
    let mut random = scene.random.fork();
    let mut member = scene.member().await?;
    if by_force {
        member.kill();
    } else {
        member.end().await?;
    }
    member.fail_syncs(false)?;
    member.launch(&mut random)?;
    Ok(())
}
