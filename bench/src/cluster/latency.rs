//! How long a delivery takes when nothing else is to be done, beside what a sync of the same disk takes.
//!
//! One session goes to the first node; of three nodes, that one leads some of the accounts' shards, and sends the
//! deliveries to the others' leaders on. Syncs and deliveries take turns, for the disk of a machine drifts.

use super::nodes::Nodes;
use super::result::{Times, Verdict};
use crate::disk::sync_times;
use crate::error::BenchError;
use crate::load::Courier;
use crate::report::text::number;
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Bytes of each message, and of each sync.
const MESSAGE_BYTES: usize = 4 * 1024;
/// Turns that all of it is measured in.
const TURNS: usize = 5;
/// Syncs of a turn that are timed.
const SYNCS: usize = 60;
/// Syncs that a delivery may take as long as, with one round trip.
const SYNCS_MOST: f64 = 2.0;
/// Deliveries of a turn before the first that counts.
const WARM: usize = 20;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Latency {
    alone: Option<Times>,
    three: Option<Times>,
    /// Of those, to accounts whose shard is led by the node of the session.
    three_led_here: Option<Times>,
    /// Likewise by another node.
    three_led_elsewhere: Option<Times>,
    /// One fdatasync, alone on the disk.
    sync: Option<Times>,
    /// Likewise, with as many at once as there are nodes: here they share one disk.
    syncs_at_once: Option<Times>,
    /// A request to another node and its answer, as nodes measure it themselves.
    round_trip_ms: Option<f64>,
    /// What the p50 of three nodes may be.
    wanted_ms: Option<f64>,
    verdict: Verdict,
}

/// Delivers so many messages on both.
pub(super) async fn measure(
    messages: usize,
    folder: &Path,
    alone: &Nodes,
    three: &Nodes,
) -> Result<Latency, BenchError> {
    let (mut syncs, mut syncs_at_once, mut of_alone, mut of_three) = (vec![], vec![], vec![], vec![]);
    for _ in 0..TURNS {
        syncs.extend(sync_times(&folder.join("sync"), MESSAGE_BYTES, SYNCS)?);
        syncs_at_once.extend(at_once(folder, three.running().count())?);
        of_alone.extend(deliver(messages.div_ceil(TURNS), alone).await?);
        of_three.extend(deliver(messages.div_ceil(TURNS), three).await?);
    }
    let round_trip = three.status().await.and_then(|status| status.round_trip());
    let sync = Times::of(syncs);
    let all = |times: &[(bool, Duration)]| Times::of(times.iter().map(|(_, took)| *took));
    let led = |here: bool| Times::of(of_three.iter().filter(|(led, _)| *led == here).map(|(_, took)| *took));
    let round_trip_ms = round_trip.map(|time| time.as_secs_f64() * 1000.0);
    let wanted_ms = sync.map(|sync| SYNCS_MOST * sync.p50_ms + round_trip_ms.unwrap_or_default());
    let three = all(&of_three);
    Ok(Latency {
        alone: all(&of_alone),
        three,
        three_led_here: led(true),
        three_led_elsewhere: led(false),
        sync,
        syncs_at_once: Times::of(syncs_at_once),
        round_trip_ms,
        wanted_ms,
        verdict: Verdict::at_most(three.map(|times| times.p50_ms), wanted_ms.unwrap_or_default()),
    })
}

/// The syncs of so many writers at the same time.
fn at_once(folder: &Path, writers: usize) -> Result<Vec<Duration>, BenchError> {
    let one = |number: usize| sync_times(&folder.join(format!("sync{number}")), MESSAGE_BYTES, SYNCS);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers).map(|number| scope.spawn(move || one(number))).collect();
        let lost = |_| BenchError::Io(std::io::Error::other("a thread was lost"));
        let times = threads.into_iter().map(|thread| thread.join().map_err(lost)?);
        Ok(times.collect::<Result<Vec<_>, BenchError>>()?.concat())
    })
}

/// Delivers one after the other to the accounts in turn: how long each took, and whether its node led.
async fn deliver(messages: usize, nodes: &Nodes) -> Result<Vec<(bool, Duration)>, BenchError> {
    let status = nodes.status().await.unwrap_or_default();
    let mut courier = Courier::open(&nodes.address(0, "lmtp")?, 0).await?;
    let mut times = Vec::with_capacity(messages);
    for (turn, account) in nodes.accounts.iter().cycle().take(WARM + messages).enumerate() {
        let took = courier.deliver(&account.address, MESSAGE_BYTES).await?;
        if turn >= WARM {
            times.push((nodes.leader(&status, account.shard) == Some(0), took));
        }
    }
    Ok(times)
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("one node", self.alone),
            ("three nodes", self.three),
            ("  led by the node of the session", self.three_led_here),
            ("  led by another node", self.three_led_elsewhere),
            ("fdatasync", self.sync),
            ("fdatasync, three at once", self.syncs_at_once),
        ];
        writeln!(f, "a delivery of 4 KiB in one session, nothing else to do")?;
        for (name, times) in rows {
            writeln!(f, "  {name:<34}{}", times.map_or("-".to_owned(), |times| times.to_string()))?;
        }
        let ms = |ms: Option<f64>| ms.map_or("-".to_owned(), number);
        writeln!(f, "  a round trip over the mesh takes {} ms", ms(self.round_trip_ms))?;
        writeln!(
            f,
            "  wanted: p50 of three nodes at most {} ms ({SYNCS_MOST} syncs and a round trip): {}",
            ms(self.wanted_ms),
            self.verdict.word()
        )
    }
}
