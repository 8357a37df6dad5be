//! Where the replicas of shards go: pure functions, which give the same for the same on every node.
//!
//! A plan is the cheapest one by [`Cost`]: first no two replicas of a shard in one failure domain, then
//! equal numbers on all nodes, then few replicas moved. It is found as a flow of least cost (shard, its
//! failure domain, node): from a plan that is near by, round after round of replicas is shifted along a
//! cycle that makes it cheaper; where there is none, no plan is cheaper. So planning again changes nothing.

use crate::cluster::{ClusterNode, NodeState};
use estafette_raft::NodeId;
use estafette_types::ShardId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Add;

/// Shards of a cluster at most.
pub(crate) const SHARDS_MAX: usize = 4_096;
/// Improvements of a plan; what is reached by then is a plan too, if not the cheapest.
const ROUNDS_MAX: usize = 10_000;

/// How many shards a cluster of so many nodes is to have, `each` for every node; never fewer than it has.
pub fn shards_wanted(nodes: usize, each: u32, present: usize) -> usize {
    nodes.saturating_mul(usize::try_from(each).unwrap_or(SHARDS_MAX)).min(SHARDS_MAX).max(present)
}

/// One change of the members of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Takes a node in.
    Add(NodeId),
    /// Lets a node go.
    Remove(NodeId),
}

/// The next change on the way from one set of members to another; `None` when there is nothing to do. For
/// each that goes, one comes first: there are never fewer than are wanted, and one more at most.
pub fn next_step(present: &[NodeId], wanted: &[NodeId]) -> Option<Step> {
    let coming = wanted.iter().find(|node| !present.contains(node)).copied().map(Step::Add);
    let going = present.iter().find(|node| !wanted.contains(node)).copied().map(Step::Remove);
    if wanted.is_empty() {
        None
    } else if present.len() > wanted.len() {
        going.or(coming)
    } else {
        coming.or(going)
    }
}

/// Where each shard is to be: on `replicas` active nodes (one at least), or on all where there are fewer.
/// What can stay of `present` (where they are, or are on their way to) comes first in its order. Without
/// an active node there is no plan, for no shard.
pub fn plan_placement<'a>(
    nodes: impl IntoIterator<Item = &'a ClusterNode>,
    shards: &[ShardId],
    present: &BTreeMap<ShardId, Vec<NodeId>>,
    replicas: usize,
) -> BTreeMap<ShardId, Vec<NodeId>> {
    let mut board = Board::new(nodes, shards, present);
    if board.spots.is_empty() {
        return BTreeMap::new();
    }
    board.settle(replicas.clamp(1, board.spots.len()));
    for _ in 0..ROUNDS_MAX {
        let edges = board.edges();
        let Some(cycle) = cheaper_cycle(&edges, board.vertices()) else { break };
        cycle.into_iter().filter_map(|edge| edge.shift).for_each(|shift| board.apply(shift));
    }
    board.plan(present)
}

/// An active node.
struct Spot {
    id: NodeId,
    domain: usize,
    load: i64,
}

/// A shard and the spots that it has, by their place in the list.
struct Seat {
    shard: ShardId,
    before: BTreeSet<usize>,
    held: BTreeSet<usize>,
}

struct Board {
    spots: Vec<Spot>,
    domains: usize,
    seats: Vec<Seat>,
}

/// Compared from the first to the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    /// Pairs of replicas of a shard in the same failure domain.
    shared: i64,
    /// Sum of the squares of the loads of nodes.
    uneven: i64,
    /// Replicas on nodes that do not have them yet.
    moved: i64,
}

impl Add for Cost {
    type Output = Cost;
    fn add(self, other: Cost) -> Cost {
        Cost {
            shared: self.shared + other.shared,
            uneven: self.uneven + other.uneven,
            moved: self.moved + other.moved,
        }
    }
}

/// A replica given or taken.
#[derive(Clone, Copy)]
struct Shift {
    seat: usize,
    spot: usize,
    given: bool,
}

/// What one replica more, or less, on a way costs.
struct Edge {
    from: usize,
    to: usize,
    cost: Cost,
    shift: Option<Shift>,
}

impl Board {
    fn new<'a>(
        nodes: impl IntoIterator<Item = &'a ClusterNode>,
        shards: &[ShardId],
        present: &BTreeMap<ShardId, Vec<NodeId>>,
    ) -> Board {
        let active: BTreeMap<NodeId, &ClusterNode> = nodes
            .into_iter()
            .filter(|node| node.state == NodeState::Active)
            .map(|node| (node.id, node))
            .collect();
        // A node without a label is a domain of its own.
        let domain = |node: &ClusterNode| match node.label.is_empty() {
            true => (String::new(), Some(node.id)),
            false => (node.label.clone(), None),
        };
        let names: BTreeSet<_> = active.values().map(|node| domain(node)).collect();
        let numbers: BTreeMap<_, usize> = names.into_iter().zip(0..).collect();
        let spot = |node: &ClusterNode| Spot {
            id: node.id,
            domain: numbers.get(&domain(node)).copied().unwrap_or_default(),
            load: 0,
        };
        let places: BTreeMap<NodeId, usize> = active.keys().copied().zip(0..).collect();
        let seat = |shard: &ShardId| {
            let nodes = present.get(shard).into_iter().flatten();
            let before = nodes.filter_map(|node| places.get(node).copied()).collect();
            Seat { shard: *shard, before, held: BTreeSet::new() }
        };
        Board {
            spots: active.values().map(|node| spot(node)).collect(),
            domains: numbers.len(),
            seats: shards.iter().map(seat).collect(),
        }
    }

    /// A plan that is near by: what is there stays, what is missing goes where there is least.
    fn settle(&mut self, replicas: usize) {
        for place in 0..self.seats.len() {
            let before = self.seats.get(place).map(|seat| seat.before.clone()).unwrap_or_default();
            before.into_iter().for_each(|spot| self.apply(Shift { seat: place, spot, given: true }));
        }
        for place in 0..self.seats.len() {
            while let Some(shift) = self.missing_or_surplus(place, replicas) {
                self.apply(shift);
            }
        }
    }

    fn missing_or_surplus(&self, place: usize, replicas: usize) -> Option<Shift> {
        let seat = self.seats.get(place)?;
        let crowd = |spot: &Spot| self.in_domain(seat, spot.domain);
        let spots = self.spots.iter().enumerate();
        let (spot, given) = match seat.held.len().cmp(&replicas) {
            std::cmp::Ordering::Equal => return None,
            std::cmp::Ordering::Less => {
                let free = spots.filter(|(number, _)| !seat.held.contains(number));
                (free.min_by_key(|(number, spot)| (crowd(spot), spot.load, *number))?, true)
            }
            std::cmp::Ordering::Greater => {
                let held = spots.filter(|(number, _)| seat.held.contains(number));
                (held.max_by_key(|(number, spot)| (crowd(spot), spot.load, *number))?, false)
            }
        };
        Some(Shift { seat: place, spot: spot.0, given })
    }

    /// Replicas of a shard in a failure domain.
    fn in_domain(&self, seat: &Seat, domain: usize) -> i64 {
        let held = seat.held.iter().filter_map(|number| self.spots.get(*number));
        held.map(|spot| i64::from(spot.domain == domain)).sum()
    }

    fn apply(&mut self, Shift { seat, spot, given }: Shift) {
        let (Some(seat), Some(node)) = (self.seats.get_mut(seat), self.spots.get_mut(spot)) else { return };
        let changed = if given { seat.held.insert(spot) } else { seat.held.remove(&spot) };
        if changed {
            node.load += if given { 1 } else { -1 };
        }
    }

    /// Vertices are numbered: the pool of all loads, the shards, the domains of each shard, the spots.
    fn vertices(&self) -> usize {
        self.spot_vertex(self.spots.len())
    }

    fn domain_vertex(&self, seat: usize, domain: usize) -> usize {
        1 + self.seats.len() + seat * self.domains + domain
    }

    fn spot_vertex(&self, spot: usize) -> usize {
        self.domain_vertex(self.seats.len(), spot)
    }

    /// What one replica more or less costs, everywhere. A cycle of edges moves replicas and makes none.
    fn edges(&self) -> Vec<Edge> {
        const POOL: usize = 0;
        let mut edges = Vec::new();
        let mut link = |from, to, cost, shift| edges.push(Edge { from, to, cost, shift });
        for (number, spot) in self.spots.iter().enumerate() {
            let (vertex, load) = (self.spot_vertex(number), spot.load);
            link(vertex, POOL, Cost { uneven: 2 * load + 1, ..Cost::default() }, None);
            if load > 0 {
                link(POOL, vertex, Cost { uneven: 1 - 2 * load, ..Cost::default() }, None);
            }
        }
        for (place, seat) in self.seats.iter().enumerate() {
            for domain in 0..self.domains {
                let (vertex, shared) = (self.domain_vertex(place, domain), self.in_domain(seat, domain));
                link(1 + place, vertex, Cost { shared, ..Cost::default() }, None);
                if shared > 0 {
                    link(vertex, 1 + place, Cost { shared: 1 - shared, ..Cost::default() }, None);
                }
            }
            for (spot, Spot { domain, .. }) in self.spots.iter().enumerate() {
                let (domain, vertex) = (self.domain_vertex(place, *domain), self.spot_vertex(spot));
                let moved = i64::from(!seat.before.contains(&spot));
                let shift = |given| Some(Shift { seat: place, spot, given });
                if seat.held.contains(&spot) {
                    link(vertex, domain, Cost { moved: -moved, ..Cost::default() }, shift(false));
                } else {
                    link(domain, vertex, Cost { moved, ..Cost::default() }, shift(true));
                }
            }
        }
        edges
    }

    fn plan(&self, present: &BTreeMap<ShardId, Vec<NodeId>>) -> BTreeMap<ShardId, Vec<NodeId>> {
        let nodes = |seat: &Seat| {
            let before = present.get(&seat.shard).map(Vec::as_slice).unwrap_or_default();
            let held = seat.held.iter().filter_map(|number| self.spots.get(*number));
            let mut nodes: Vec<NodeId> = held.map(|spot| spot.id).collect();
            nodes.sort_by_key(|node| before.iter().position(|id| id == node).unwrap_or(before.len()));
            nodes
        };
        self.seats.iter().map(|seat| (seat.shard, nodes(seat))).collect()
    }
}

/// A cycle of edges that costs less than nothing (Bellman and Ford); `None` when there is none.
fn cheaper_cycle(edges: &[Edge], vertices: usize) -> Option<Vec<&Edge>> {
    let mut costs = vec![Cost::default(); vertices];
    let mut last: Vec<Option<&Edge>> = vec![None; vertices];
    for _ in 0..=vertices {
        let mut found = false;
        for edge in edges {
            let cost = costs.get(edge.from).copied().unwrap_or_default() + edge.cost;
            let (Some(known), Some(last)) = (costs.get_mut(edge.to), last.get_mut(edge.to)) else { continue };
            if cost < *known {
                (*known, *last) = (cost, Some(edge));
                found = true;
            }
        }
        if !found {
            return None;
        }
        if let Some(cycle) = cycle_among(&last) {
            return Some(cycle);
        }
    }
    None
}

/// The edges of a cycle, when the last edges towards the vertices have one.
fn cycle_among<'a>(last: &[Option<&'a Edge>]) -> Option<Vec<&'a Edge>> {
    let edge_to = |vertex: usize| last.get(vertex).copied().flatten();
    // By which walk a vertex was seen first: a walk that comes to one of its own has gone round.
    let mut seen: Vec<Option<usize>> = vec![None; last.len()];
    for start in 0..last.len() {
        let mut vertex = start;
        while let (Some(edge), Some(mark)) = (edge_to(vertex), seen.get_mut(vertex)) {
            match *mark {
                None => *mark = Some(start),
                Some(walk) if walk == start => {
                    let round = std::iter::successors(Some(edge), |edge| edge_to(edge.from));
                    let mut cycle: Vec<&Edge> = vec![edge];
                    cycle.extend(round.skip(1).take_while(|edge| edge.to != vertex));
                    return Some(cycle);
                }
                Some(_) => break,
            }
            vertex = edge.from;
        }
    }
    None
}
