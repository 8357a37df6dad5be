//! Links that are slow and narrow.
//!
//! Contract: a node behind such a link does not hold the others up; votes and heartbeats are not kept behind long
//! transfers.

use super::Scene;
use crate::error::Stop;

const DELAY_MS: std::ops::Range<u64> = 20..600;
const BYTES_PER_SECOND: [u64; 4] = [0, 30_000, 200_000, 2_000_000];

pub(super) async fn slow_link(mut scene: Scene) -> Result<(), Stop> {
    let victim = scene.victim;
    let delay_ms = scene.random.within(DELAY_MS);
    let rate = scene.random.pick(&BYTES_PER_SECOND).copied().unwrap_or(0);
    let others = if scene.random.one_in(3) { vec![scene.other()] } else { scene.others() };
    let both = !scene.random.one_in(3);
    for (delay_ms, rate) in [(delay_ms, rate), (0, 0)] {
        for other in &others {
            scene.cluster.links.slow(victim, *other, delay_ms, rate);
            if both {
                scene.cluster.links.slow(*other, victim, delay_ms, rate);
            }
        }
        if delay_ms > 0 {
            scene.hold().await;
        }
    }
    Ok(())
}
