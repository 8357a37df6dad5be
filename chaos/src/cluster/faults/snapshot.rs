//! A leader is killed while it sends a node all that there is: the node came back with an empty folder.
//!
//! Contract: another leader takes over and sends the rest; the node is never taken for one that has all. What the node was
//! before may vote until it has left, so there may be no majority until the killed leader is back.
//!
//! Whether a snapshot was under way is read in the log of who sends it, and counted (`snapshots_interrupted`): where logs of
//! entries are long, there may be none.

use super::{Number, Scene, wipe};
use crate::error::Stop;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// For the node to be sent something.
const TRANSFER_WAIT: Duration = Duration::from_secs(20);
/// After this, entries that it is sent are enough.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(10);
/// Between two looks at the logs, and at the status.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
const STATUS_PAUSE: Duration = Duration::from_secs(1);
/// What a connection to the node carries meanwhile, so that what is sent takes longer than a look.
const NARROW_BYTES_PER_SECOND: u64 = 100_000;

/// Who sends the node something.
enum Sender {
    Snapshot(Number),
    Entries(Number),
}

pub(super) async fn leader_killed(mut scene: Scene) -> Result<(), Stop> {
    let cluster = Arc::clone(&scene.cluster);
    let via = scene.other();
    scene.member().await?.kill();
    narrow(&scene, NARROW_BYTES_PER_SECOND);
    let old = wipe::join_empty(&mut scene, via).await?;
    wipe::leave_soon(&scene, via, old).await?;
    let seen = sender(&scene, old).await?;
    if matches!(seen, Some(Sender::Snapshot(_))) {
        cluster.snapshots_interrupted.fetch_add(1, Ordering::SeqCst);
    }
    let sender = match seen {
        Some(Sender::Snapshot(sender) | Sender::Entries(sender)) => sender,
        None => scene.other(),
    };
    cluster.member(sender).await?.kill();
    narrow(&scene, 0);
    scene.hold().await;
    let mut random = scene.random.fork();
    cluster.member(sender).await?.launch(&mut random)?;
    scene.member().await?.serving(wipe::EMPTIED).await?;
    wipe::has_left(&scene, old).await
}

/// Makes links to the victim narrow, or wide again by 0.
fn narrow(scene: &Scene, bytes_per_second: u64) {
    for other in scene.others() {
        scene.cluster.links.slow(other, scene.victim, 0, bytes_per_second);
    }
}

/// Waits until a node sends the victim a snapshot of a shard; the leader of a group whose entries it lacks if there is none
/// for long.
async fn sender(scene: &Scene, old: u64) -> Result<Option<Sender>, Stop> {
    let begin = Instant::now();
    let (mut looked, mut new, mut lags) = (None::<Instant>, None, None);
    // What was sent before the first look may have come.
    let mut before = BTreeMap::new();
    while begin.elapsed() < TRANSFER_WAIT {
        if looked.is_none_or(|at| at.elapsed() > STATUS_PAUSE) {
            let status = scene.cluster.status_but(scene.victim).await.unwrap_or_default();
            new = new.or_else(|| status.id(scene.victim).filter(|id| *id != old));
            lags = new.and_then(|new| status.leader_of_learner(new)).filter(|leader| *leader != scene.victim);
            looked = Some(Instant::now());
        }
        let Some(new) = new else {
            sleep(LOOK_PAUSE).await;
            continue;
        };
        let words = ["sending a snapshot".to_owned(), "group=shard".to_owned(), format!("to={new} ")];
        for other in scene.others() {
            let lines = scene.cluster.member(other).await?.lines_with(&words);
            if lines > *before.entry(other).or_insert(lines) {
                return Ok(Some(Sender::Snapshot(other)));
            }
        }
        if let Some(leader) = lags.filter(|_| begin.elapsed() > SNAPSHOT_WAIT) {
            return Ok(Some(Sender::Entries(leader)));
        }
        sleep(LOOK_PAUSE).await;
    }
    Ok(None)
}
