//! Sessions of one address over all nodes: each node tells the others of the addresses that have many here.
//!
//! Nothing of it is kept on a disk, and no session waits for it: what nodes have not told each other yet is not counted, nor
//! is what is less than a small share of the limit ([`SHARE`]), nor more than [`ADDRESSES_MAX`] of each node. A node that is
//! not reached, or silent, is forgotten: its clients come to the others.
//! On the wire: a byte for the version, then postcard, a list of addresses and sessions.

use crate::engine::Engine;
use bytes::Bytes;
use estafette_raft::NodeId;
use estafette_reactor::Gate;
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

const VERSION: u8 = 1;
/// Between two words to the others.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long a word counts.
const TOLD_FOR: Duration = Duration::from_secs(5);
/// How long one node may take to hear it.
const HEAR_WAIT: Duration = TELL_EVERY;
/// Addresses in one word.
const ADDRESSES_MAX: usize = 4096;
/// All nodes together leave untold less than the limit divided by this.
const SHARE: usize = 16;

/// Addresses and their sessions at one node.
type Crowd = Vec<(IpAddr, u32)>;

/// The last word of each node, and when it came.
type Told = BTreeMap<NodeId, (Instant, Crowd)>;

/// What the other nodes told.
#[derive(Default)]
pub(super) struct Crowds(Mutex<Told>);

impl Crowds {
    /// Forgets all but these.
    fn keep(&self, nodes: &[NodeId]) {
        self.0.lock().retain(|node, _| nodes.contains(node));
    }

    fn note(&self, from: NodeId, crowd: Crowd, now: Instant) {
        self.0.lock().insert(from, (now, crowd));
    }

    /// Tells the gate what other nodes have now. One at a time, so that the last word stands.
    fn count_at(&self, gate: &Gate, now: Instant) {
        let mut told = self.0.lock();
        gate.set_elsewhere(sum(&mut told, now));
    }
}

/// The sessions of each address at all nodes that were heard lately; forgets the others.
fn sum(told: &mut Told, now: Instant) -> HashMap<IpAddr, usize> {
    told.retain(|_, (since, _)| now.saturating_duration_since(*since) < TOLD_FOR);
    let mut all: HashMap<IpAddr, usize> = HashMap::new();
    for (address, sessions) in told.values().flat_map(|(_, crowd)| crowd) {
        let of_address = all.entry(*address).or_default();
        *of_address = of_address.saturating_add(usize::try_from(*sessions).unwrap_or(usize::MAX));
    }
    all
}

/// The fewest sessions that are told, so that what all nodes leave out is less than a share of the limit.
fn told_from(limit: usize, nodes: usize) -> usize {
    (limit / SHARE / nodes.max(1)).max(1)
}

/// Tells the others until the node stops.
pub(super) async fn tell(engine: Arc<Engine>) {
    let cluster = &engine.cluster;
    let (mut was_quiet, mut turns) = (true, tokio::time::interval(TELL_EVERY));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let others: Vec<NodeId> = cluster.peers().into_keys().filter(|node| cluster.reaches(*node)).collect();
        cluster.crowds.keep(&others);
        cluster.crowds.count_at(&engine.gate, Instant::now());
        let from = told_from(engine.gate.limits().sessions_per_address, others.len() + 1);
        let busiest = if others.is_empty() { Vec::new() } else { engine.gate.busiest(from, ADDRESSES_MAX) };
        // That there are none any more is told once: who misses it forgets the last word by itself.
        if busiest.is_empty() && was_quiet {
            continue;
        }
        was_quiet = busiest.is_empty();
        let crowd = encode(busiest);
        let told = others
            .iter()
            .map(|node| tokio::time::timeout(HEAR_WAIT, cluster.link.tell_crowds(*node, crowd.clone())));
        // Who does not hear it is told the next.
        join_all(told).await;
    }
}

/// Another node told of its sessions.
pub(super) fn told(engine: &Engine, from: NodeId, word: &[u8]) {
    let Some(crowd) = decode(word) else {
        tracing::debug!(%from, "what a node tells of its sessions is not understood");
        return;
    };
    let now = Instant::now();
    engine.cluster.crowds.note(from, crowd, now);
    engine.cluster.crowds.count_at(&engine.gate, now);
}

fn encode(busiest: Vec<(IpAddr, usize)>) -> Bytes {
    let sessions = |count| u32::try_from(count).unwrap_or(u32::MAX);
    let crowd: Crowd = busiest.into_iter().map(|(address, count)| (address, sessions(count))).collect();
    // Writing plain values into memory cannot fail; what is empty is not understood.
    postcard::to_extend(&crowd, vec![VERSION]).unwrap_or_default().into()
}

fn decode(word: &[u8]) -> Option<Crowd> {
    let (version, rest) = word.split_first()?;
    let crowd: Crowd = postcard::from_bytes(rest).ok()?;
    (*version == VERSION && crowd.len() <= ADDRESSES_MAX).then_some(crowd)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn at(crowds: &Crowds, now: Instant) -> HashMap<IpAddr, usize> {
        sum(&mut crowds.0.lock(), now)
    }

    #[test]
    fn the_last_word_of_each_node_counts_until_it_is_silent() {
        let (crowds, now) = (Crowds::default(), Instant::now());
        crowds.note(NodeId(2), vec![(ONE, 900)], now);
        crowds.note(NodeId(2), vec![(ONE, 10), (OTHER, 1)], now);
        crowds.note(NodeId(3), vec![(ONE, 5)], now + Duration::from_secs(3));
        assert_eq!(at(&crowds, now + Duration::from_secs(3)), HashMap::from([(ONE, 15), (OTHER, 1)]));
        assert_eq!(at(&crowds, now + TOLD_FOR), HashMap::from([(ONE, 5)]));
        assert!(at(&crowds, now + TOLD_FOR * 2).is_empty());
        crowds.note(NodeId(2), vec![(ONE, 7)], now);
        crowds.note(NodeId(3), vec![(ONE, 5)], now);
        crowds.keep(&[NodeId(3)]);
        assert_eq!(at(&crowds, now), HashMap::from([(ONE, 5)]), "who is not reached has no sessions");
    }

    #[test]
    fn what_is_left_out_is_a_small_share_of_the_limit() {
        for (limit, nodes) in [(10_000, 3), (100, 5), (1_000_000, 40), (16, 1)] {
            let from = told_from(limit, nodes);
            assert!((from - 1) * nodes <= limit / SHARE, "{limit} {nodes} {from}");
        }
        assert_eq!((told_from(10_000, 3), told_from(20, 3), told_from(0, 0)), (208, 1, 1));
    }

    #[test]
    fn words_are_read_as_they_were_said() {
        let word = encode(vec![(ONE, 300), ("2001:db8::".parse().unwrap(), 1)]);
        assert_eq!(&word[..9], [1, 2, 0, 192, 0, 2, 1, 0xac, 2]);
        assert_eq!(decode(&word).unwrap(), [(ONE, 300), ("2001:db8::".parse().unwrap(), 1)]);
        assert_eq!(decode(&encode(Vec::new())).unwrap(), []);
        assert!(decode(&[]).is_none() && decode(&[2, 0]).is_none() && decode(&word[..8]).is_none());
        assert!(decode(&encode(vec![(ONE, 1); ADDRESSES_MAX + 1])).is_none());
    }
}
