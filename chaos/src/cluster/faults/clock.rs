//! The wall clock of a node jumps forwards or back, and later to the right time again.
//!
//! Contract: nothing depends on it but what is told to people: leases and time-outs go by the monotonic clock, and the
//! time in entries is made by the leader. UIDVALIDITY, UID and MODSEQ are as ever.

use super::Scene;
use crate::error::Stop;

/// By how much, in seconds.
const JUMPS: [i64; 4] = [20, 300, 3600, 26 * 3600];
/// One round in so many starts the node anew with the wrong time.
const RESTART_ONE_IN: u64 = 3;

pub(super) async fn jump(mut scene: Scene) -> Result<(), Stop> {
    for _ in 0..scene.random.within(1..4) {
        let seconds = scene.random.pick(&JUMPS).copied().unwrap_or(20);
        let seconds = if scene.random.one_in(2) { seconds } else { -seconds };
        scene.member().await?.set_clock(seconds)?;
        scene.hold().await;
        if scene.random.one_in(RESTART_ONE_IN) {
            let mut random = scene.random.fork();
            let mut member = scene.member().await?;
            member.kill();
            member.launch(&mut random)?;
        }
    }
    scene.member().await?.set_clock(0)?;
    Ok(())
}
