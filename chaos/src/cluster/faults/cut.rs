//! Cuts and losses between nodes. Clients reach every node all the time.
//!
//! Contract: the side with the majority goes on; the other one takes no mail and shows nothing old, and says so quickly
//! (4xx, NO) instead of letting clients wait. After healing all come together without help.

use super::Scene;
use crate::error::Stop;

/// How often a flapping link changes, and how long it stays each time.
const CHANGES: std::ops::Range<u64> = 4..24;
const CHANGE_MS: std::ops::Range<u64> = 50..900;
const LOST_PERCENT: std::ops::Range<u64> = 3..35;

pub(super) async fn whole(mut scene: Scene) -> Result<(), Stop> {
    let victim = scene.victim;
    scene.cluster.net.isolate(victim, true)?;
    scene.hold().await;
    scene.cluster.net.isolate(victim, false)?;
    Ok(())
}

/// From the victim to all others, the other way round, or between two only.
pub(super) async fn one_way(mut scene: Scene) -> Result<(), Stop> {
    let (victim, others) = (scene.victim, scene.others());
    let others = match scene.random.within(0..3) {
        0 => vec![scene.other()],
        _ => others,
    };
    let from_victim = scene.random.one_in(2);
    let ways = others.into_iter().map(|other| if from_victim { (victim, other) } else { (other, victim) });
    let ways: Vec<_> = ways.collect();
    for (from, to) in &ways {
        scene.cluster.net.change(*from, *to, |way| way.cut = true)?;
    }
    scene.hold().await;
    for (from, to) in &ways {
        scene.cluster.net.change(*from, *to, |way| way.cut = false)?;
    }
    Ok(())
}

pub(super) async fn flapping(mut scene: Scene) -> Result<(), Stop> {
    let victim = scene.victim;
    for _ in 0..scene.random.within(CHANGES) / 2 {
        scene.cluster.net.isolate(victim, true)?;
        scene.pause_ms(CHANGE_MS).await;
        scene.cluster.net.isolate(victim, false)?;
        scene.pause_ms(CHANGE_MS).await;
    }
    Ok(())
}

pub(super) async fn loss(mut scene: Scene) -> Result<(), Stop> {
    let victim = scene.victim;
    let percent = u8::try_from(scene.random.within(LOST_PERCENT)).unwrap_or(0);
    for lost in [percent, 0] {
        for other in scene.others() {
            scene.cluster.net.change(victim, other, |way| way.lost_percent = lost)?;
            scene.cluster.net.change(other, victim, |way| way.lost_percent = lost)?;
        }
        if lost > 0 {
            scene.hold().await;
        }
    }
    Ok(())
}
