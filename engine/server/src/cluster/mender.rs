//! Brings bodies from other nodes: those that are named here and missing, and those that are found damaged.
//!
//! A replica whose rows came as a snapshot names bodies that it does not have; here they come, at a rate that leaves room
//! for mail, and at once where a session asks for one. Each is checked by its hash. The scrub reads all bodies of the node,
//! slowly and for ever, so that damage is found while another node can still mend it.

use super::pace::Pacer;
use crate::engine::Engine;
use estafette_raft::{GroupId, NodeId};
use estafette_storage::{Batch, BodyHash, NewBody};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::{self, FuturesUnordered};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Between two looks when nothing is missing.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// Between two steps of the scrub.
const SCRUB_PAUSE: Duration = Duration::from_secs(1);
/// Bodies written in one go.
const BODIES: usize = 256;
/// Bytes of bodies written in one go, but for the last of them: who else writes to the disk waits for no more than that.
const BYTES: u64 = 2 << 20;
/// What a body of unknown length counts for.
const UNKNOWN_BYTES: u64 = 64 << 10;
/// Bodies that are under way at once.
const FETCHES: usize = 16;
/// How long a node may take for a part before another is asked as well.
const SLOW: Duration = Duration::from_secs(1);
/// How long a reader waits for a body that is to come from another node.
const BRING_MAX: Duration = Duration::from_secs(5);
/// After bodies that nobody gave; doubled each time.
const NOBODY_PAUSE: Duration = Duration::from_secs(2);
/// The longest such pause.
const NOBODY_PAUSE_MAX: Duration = Duration::from_secs(60);
/// The pause of the scrub after an error.
const SCRUB_AGAIN_PAUSE: Duration = Duration::from_secs(60);

/// Mends as long as the node runs.
pub(super) async fn mend(engine: Arc<Engine>) {
    let pacer = Pacer::new(engine.config.cluster.move_bytes_per_second);
    let mut after = None;
    let mut quiet = NOBODY_PAUSE;
    loop {
        if !engine.cluster.is_joined() {
            tokio::time::sleep(IDLE_PAUSE).await;
            continue;
        }
        let store = engine.store.clone();
        let found = tokio::task::spawn_blocking(move || store.missing(after, BODIES)).await;
        let missing = match found {
            Ok(Ok(missing)) => in_one_go(missing),
            Ok(Err(error)) => {
                tracing::error!(%error, "missing bodies cannot be listed");
                Vec::new()
            }
            Err(_) => return,
        };
        after = missing.last().copied();
        if missing.is_empty() {
            tokio::time::sleep(IDLE_PAUSE).await;
            continue;
        }
        let count = missing.len();
        if fetch(&engine, missing, &pacer).await {
            quiet = NOBODY_PAUSE;
            continue;
        }
        tracing::warn!(count, "bodies that are named here cannot be had from any node now");
        tokio::time::sleep(quiet).await;
        quiet = (quiet * 2).min(NOBODY_PAUSE_MAX);
    }
}

/// The first of these, as far as they are written in one go.
fn in_one_go(missing: Vec<(BodyHash, Option<u64>)>) -> Vec<BodyHash> {
    let mut bytes = 0_u64;
    let fits = |(_, len): &(BodyHash, Option<u64>)| {
        let before = bytes;
        bytes = bytes.saturating_add(len.unwrap_or(UNKNOWN_BYTES));
        before < BYTES
    };
    missing.into_iter().take_while(fits).map(|(hash, _)| hash).collect()
}

/// Fetches these, many at once, and writes what came with one sync; false if none was written.
async fn fetch(engine: &Engine, mut missing: Vec<BodyHash>, pacer: &Pacer) -> bool {
    let mut fetched = together(engine, &mut missing, pacer).await;
    let others = stream::iter(missing).map(|hash| one(engine, hash, Some(pacer))).buffer_unordered(FETCHES);
    fetched.extend(others.filter_map(async |body| body).collect::<Vec<NewBody>>().await);
    !fetched.is_empty() && write(engine, fetched).await
}

/// Brings the small ones of these and takes them out. Each node is asked for a part of them at the same time; what it does not
/// have, the next one is asked for.
async fn together(engine: &Engine, missing: &mut Vec<BodyHash>, pacer: &Pacer) -> Vec<NewBody> {
    let mut fetched = Vec::new();
    let peers: Vec<NodeId> = missing.first().map(|hash| peers(engine, hash).collect()).unwrap_or_default();
    for turn in 0..peers.len() {
        let part = missing.len().div_ceil(peers.len()).max(1);
        let parts = missing.chunks(part).zip(peers.iter().cycle().skip(turn));
        let came = join_all(parts.map(|(part, node)| small_ones(engine, *node, part.to_vec(), pacer)))
            .await
            .concat();
        let names: BTreeSet<BodyHash> = came.iter().map(NewBody::hash).collect();
        missing.retain(|hash| !names.contains(hash));
        fetched.extend(came);
    }
    fetched
}

/// The small ones of these that a node has: each request brings many.
async fn small_ones(engine: &Engine, node: NodeId, mut wanted: Vec<BodyHash>, pacer: &Pacer) -> Vec<NewBody> {
    let mut fetched = Vec::new();
    while !wanted.is_empty() {
        let asked = engine.cluster.raft().fetch_small(node, &wanted);
        let Ok(Ok(came)) = tokio::time::timeout(SLOW, asked).await else { break };
        if came.is_empty() {
            break;
        }
        let names: BTreeSet<BodyHash> = came.iter().map(NewBody::hash).collect();
        wanted.retain(|hash| !names.contains(hash));
        let next_at = pacer.after(came.iter().map(NewBody::len).sum());
        fetched.extend(came);
        sleep_until(next_at).await;
    }
    fetched
}

/// Brings a body that a reader waits for, before its turn; false if it could not be had in time.
pub(crate) async fn bring(engine: &Engine, hash: BodyHash) -> bool {
    if !engine.cluster.is_joined() {
        return false;
    }
    match tokio::time::timeout(BRING_MAX, one(engine, hash, None)).await {
        Ok(Some(body)) => write(engine, vec![body]).await,
        _ => false,
    }
}

/// Writes bodies that were fetched, with one sync.
async fn write(engine: &Engine, fetched: Vec<NewBody>) -> bool {
    let count = fetched.len();
    let mut batch = Batch::new();
    fetched.into_iter().for_each(|body| batch.bring_body(body));
    let (done, wait) = tokio::sync::oneshot::channel();
    engine.store.commit(batch, Vec::new(), move |result| {
        let _ = done.send(result);
    });
    match wait.await {
        Ok(Ok(())) => {
            metrics::counter!("estafette_bodies_fetched_total").increment(count as u64);
            true
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "bodies that were fetched cannot be written now");
            false
        }
        Err(_) => false,
    }
}

/// Brings anew what is found damaged here, as long as the node runs.
pub(super) async fn repair(engine: Arc<Engine>) {
    let mut quiet = IDLE_PAUSE;
    loop {
        tokio::time::sleep(quiet).await;
        let damaged = engine.store.damaged(BODIES);
        let mut repaired = damaged.is_empty();
        for (hash, reason) in damaged {
            repaired |= repair_one(&engine, hash, &reason).await;
        }
        quiet = if repaired { IDLE_PAUSE } else { (quiet * 2).min(NOBODY_PAUSE_MAX) };
    }
}

async fn repair_one(engine: &Arc<Engine>, hash: BodyHash, reason: &str) -> bool {
    let Some(body) = one(engine, hash, None).await else {
        tracing::error!(body = %hash, reason, "a damaged body cannot be repaired now: no other node gives it");
        return false;
    };
    let store = engine.store.clone();
    match tokio::task::spawn_blocking(move || store.repair(body)).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::error!(body = %hash, %error, "a damaged body cannot be repaired now");
            false
        }
        Err(_) => false,
    }
}

/// Reads all bodies, one after the other, again and again, at the rate that is set.
pub(super) async fn scrub(engine: Arc<Engine>) {
    let rate = engine.config.storage.scrub_bytes_per_second;
    if rate == 0 {
        return;
    }
    let mut scrub = Some(engine.store.scrub(None));
    loop {
        tokio::time::sleep(SCRUB_PAUSE).await;
        let Some(mut now) = scrub.take() else { return };
        let stepped = tokio::task::spawn_blocking(move || (now.step(rate), now)).await;
        let Ok((step, now)) = stepped else { return };
        let ended = match step {
            Ok(step) => {
                metrics::counter!("estafette_storage_scrubbed_bytes_total").increment(step.bytes);
                step.ended
            }
            // What cannot be read now may be later: it goes on where it was.
            Err(error) => {
                metrics::counter!("estafette_storage_scrub_failed_total").increment(1);
                tracing::warn!(%error, "bodies cannot be looked through now");
                tokio::time::sleep(SCRUB_AGAIN_PAUSE).await;
                false
            }
        };
        scrub = Some(if ended { engine.store.scrub(None) } else { now });
    }
}

/// A body from any node that has it: bodies belong to no group. Keeps to a pace, if there is one.
async fn one(engine: &Engine, hash: BodyHash, pacer: Option<&Pacer>) -> Option<NewBody> {
    let heard = Heard(Mutex::new(Instant::now()));
    let came = |bytes| heard.at(pacer.map_or_else(Instant::now, |pacer| pacer.after(bytes)));
    let body = first_of(peers(engine, &hash), |node| from_node(engine, node, hash, &came), &heard).await;
    if body.is_none() {
        tracing::debug!(body = %hash, "no node that answers has a body that is named here");
    }
    body
}

/// When something came last from those who were asked; a pause that is kept on purpose does not count.
struct Heard(Mutex<Instant>);

impl Heard {
    /// Something came, and more is asked for at this time, which it gives back.
    fn at(&self, next_at: Instant) -> Instant {
        *self.0.lock() = next_at;
        next_at
    }

    fn late_at(&self) -> Instant {
        *self.0.lock() + SLOW
    }
}

/// What the first of them gives who has it. One from whom nothing comes holds up nobody, as the next is asked meanwhile.
async fn first_of<T, F: Future<Output = Option<T>>>(
    mut left: impl Iterator<Item = NodeId>,
    ask: impl Fn(NodeId) -> F,
    heard: &Heard,
) -> Option<T> {
    let mut asked = FuturesUnordered::new();
    loop {
        let more = left.next();
        let is_last = more.is_none();
        asked.extend(more.map(&ask));
        heard.at(Instant::now());
        loop {
            let late_at = heard.late_at();
            tokio::select! {
                told = asked.next() => match told {
                    Some(Some(found)) => return Some(found),
                    Some(None) if is_last => {}
                    None if is_last => return None,
                    Some(None) | None => break,
                },
                () = sleep_until(late_at), if !is_last => if heard.late_at() <= late_at {
                    break;
                },
            }
        }
    }
}

/// Who can be asked for a body, in an order that spreads the work.
fn peers(engine: &Engine, hash: &BodyHash) -> impl Iterator<Item = NodeId> {
    let mut peers: Vec<NodeId> = engine.directory.read().nodes().map(|node| node.id).collect();
    peers.retain(|node| *node != engine.cluster.id() && engine.cluster.reaches(*node));
    let turn = usize::from(hash.0[0]).checked_rem(peers.len()).unwrap_or(0);
    peers.rotate_left(turn);
    peers.into_iter()
}

async fn from_node(
    engine: &Engine,
    node: NodeId,
    hash: BodyHash,
    came: &(dyn Fn(u64) -> Instant + Sync),
) -> Option<NewBody> {
    match engine.cluster.raft().fetch(GroupId::CONTROL, hash, &[node], came).await {
        Ok(body) => body,
        Err(error) => {
            tracing::debug!(body = %hash, %node, %error, "a body cannot be fetched now");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_go_by_themselves_and_small_ones_together() {
        let named = |len: &Option<u64>| (BodyHash([7; 32]), *len);
        let count = |lengths: &[Option<u64>]| in_one_go(lengths.iter().map(named).collect()).len();
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[Some(1 << 40), Some(1)]), 1);
        assert_eq!(count(&[Some(1), Some(1 << 40), Some(1)]), 2);
        assert_eq!(count(&[Some(4096); 300]), 300);
        assert_eq!(count(&[None; 300]), 32);
    }

    /// When each of two nodes is asked, in ms, if the first one's parts come with such a pause between them.
    async fn asked(pause_ms: u64, parts: u32) -> Vec<u128> {
        let (began, heard, asked) =
            (Instant::now(), Heard(Mutex::new(Instant::now())), Mutex::new(Vec::new()));
        let ask = async |node: NodeId| {
            asked.lock().push(began.elapsed().as_millis());
            for _ in 0..parts {
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                heard.at(Instant::now());
            }
            Some(node)
        };
        first_of([NodeId(1), NodeId(2)].into_iter(), ask, &heard).await.unwrap();
        asked.into_inner()
    }

    /// A large body that took over a second was once asked of every node.
    #[tokio::test(start_paused = true)]
    async fn the_next_node_is_asked_only_when_nothing_comes() {
        assert_eq!(asked(900, 20).await, [0]);
        assert_eq!(asked(1_500, 2).await, [0, 1_000]);
        let heard = Heard(Mutex::new(Instant::now()));
        let nobody = first_of([NodeId(1), NodeId(2)].into_iter(), async |_| None::<()>, &heard).await;
        assert_eq!(nobody, None);
    }
}
