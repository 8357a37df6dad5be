//! A leader is killed while it sends a node all that there is: the node came back with an empty folder.
//!
//! Contract: another leader takes over and sends the rest; the node is never taken for one that has all. What the node was
//! before may vote until it has left, so there may be no majority until the killed leader is back.
//!
//! That a snapshot is being sent is read in the log of who sends it. It is counted (`snapshots_interrupted`) if it is larger
//! than what the narrow link can have carried by then, and what was under way is lost. Where logs of entries are long there
//! may be none to interrupt.

use super::{Number, Scene, wipe};
use crate::error::Stop;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// For the new node to be known, and then for a snapshot to be sent to it.
const KNOWN_WAIT: Duration = Duration::from_secs(20);
const SNAPSHOT_WAIT: Duration = Duration::from_secs(10);
/// Between two looks at the logs, and at the status.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
const STATUS_PAUSE: Duration = Duration::from_millis(500);
/// What a connection to the node carries meanwhile, so that what is sent takes longer than a look.
const NARROW_BYTES_PER_SECOND: u64 = 100_000;

pub(super) async fn leader_killed(mut scene: Scene) -> Result<(), Stop> {
    let cluster = Arc::clone(&scene.cluster);
    let via = scene.other();
    let mut logs = Logs::of(&scene).await?;
    scene.member().await?.kill();
    narrow(&scene, NARROW_BYTES_PER_SECOND);
    let narrow_since = Instant::now();
    let old = wipe::join_empty(&mut scene, via).await?;
    wipe::leave_soon(&scene, via, old).await?;
    let sends = match new_id(&scene, old).await {
        Some(new) => logs.snapshot_to(&scene, new).await?,
        None => None,
    };
    let sender = match &sends {
        Some((sender, _)) => *sender,
        None => leader_of_learner(&scene, old).await.unwrap_or_else(|| scene.other()),
    };
    cluster.member(sender).await?.kill();
    cluster.links.sever(sender, scene.victim);
    let carried = u128::from(NARROW_BYTES_PER_SECOND) * narrow_since.elapsed().as_millis() / 1000;
    let is_rest = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|file| u128::from(file.len()) > carried);
    if sends.is_some_and(|(_, path)| is_rest(&path)) {
        cluster.snapshots_interrupted.fetch_add(1, Ordering::SeqCst);
    }
    narrow(&scene, 0);
    scene.hold().await;
    let mut random = scene.random.fork();
    cluster.member(sender).await?.launch(&mut random)?;
    scene.member().await?.serving(wipe::EMPTIED).await?;
    wipe::has_left(&scene, old).await
}

/// Makes links to the victim narrow, or as wide as before by 0.
fn narrow(scene: &Scene, bytes_per_second: u64) {
    for other in scene.others() {
        scene.cluster.links.narrow(other, scene.victim, bytes_per_second);
    }
}

/// The identifier that the victim has now.
async fn new_id(scene: &Scene, old: u64) -> Option<u64> {
    let end = Instant::now() + KNOWN_WAIT;
    while Instant::now() < end {
        let status = scene.cluster.status_but(scene.victim).await.unwrap_or_default();
        if let Some(new) = status.id(scene.victim).filter(|id| *id != old) {
            return Some(new);
        }
        sleep(STATUS_PAUSE).await;
    }
    None
}

/// Who leads the group of a shard of which the victim lacks entries.
async fn leader_of_learner(scene: &Scene, old: u64) -> Option<Number> {
    let status = scene.cluster.status_but(scene.victim).await?;
    let new = status.id(scene.victim).filter(|id| *id != old)?;
    status.leader_of_learner(new).filter(|leader| *leader != scene.victim)
}

/// How far the logs of the other nodes were read.
struct Logs(BTreeMap<Number, u64>);

impl Logs {
    /// From now on.
    async fn of(scene: &Scene) -> Result<Logs, Stop> {
        let mut logs = BTreeMap::new();
        for other in scene.others() {
            let mut place = 0;
            scene.cluster.member(other).await?.lines_since(&mut place);
            logs.insert(other, place);
        }
        Ok(Logs(logs))
    }

    /// Waits until one of them says that it sends a snapshot of a shard to this node: who, and the file.
    async fn snapshot_to(&mut self, scene: &Scene, to: u64) -> Result<Option<(Number, PathBuf)>, Stop> {
        let end = Instant::now() + SNAPSHOT_WAIT;
        while Instant::now() < end {
            for (other, place) in &mut self.0 {
                let lines = scene.cluster.member(*other).await?.lines_since(place);
                if let Some(path) = lines.iter().rev().find_map(|line| sent(line, to)) {
                    return Ok(Some((*other, path)));
                }
            }
            sleep(LOOK_PAUSE).await;
        }
        Ok(None)
    }
}

/// The file of the snapshot of a shard that a line of a log says is sent to this node.
fn sent(line: &str, to: u64) -> Option<PathBuf> {
    let (_, fields) = line.split_once("sending a snapshot group=shard-")?;
    let (_, rest) = fields.split_once(" to=")?;
    let (node, path) = rest.split_once(" path=")?;
    (node.parse() == Ok(to)).then(|| PathBuf::from(path.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_what_to_whom_is_read() {
        let line = "2026-11-30T09:01:48Z  INFO sending a snapshot group=shard-3 to=11 path=/n3/shard-3-21719.snapshot\n";
        assert_eq!(sent(line, 11), Some(PathBuf::from("/n3/shard-3-21719.snapshot")));
        assert_eq!(sent(line, 1), None);
        assert_eq!(sent(&line.replace("shard-3 ", "control "), 11), None);
    }
}
