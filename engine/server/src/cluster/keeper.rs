//! Brings groups to where the directory wants them. Runs on the leader of the control group, who alone acts.
//!
//! - One change of a group at a time, and a new replica votes only once it has all entries and all bodies.
//! - Every step follows from what is so and what is wished, so a keeper that stops in between is followed by another
//!   that goes on.
//! - A node that does not answer is waited for; it is replaced after the cluster's time for that, if there is another
//!   node to take its place.

use super::members::{Looked, Settled, Wish, step};
use crate::engine::{Engine, EngineError};
use estafette_directory::{
    Actor, Change, ClusterNode, NodeChange, NodeState, Origin, Step, next_step, plan_placement, shards_wanted,
};
use estafette_raft::{GroupId, NodeId};
use estafette_types::ShardId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two rounds while groups move.
const STEP_PAUSE: Duration = Duration::from_millis(50);
/// Between two rounds when there is nothing to do.
const ROUND_PAUSE: Duration = Duration::from_millis(500);
/// Nodes that vote in the control and traffic groups.
const CONTROL_VOTERS_MAX: usize = 5;
/// Between two looks at who leads what.
const BALANCE_PAUSE: Duration = Duration::from_secs(5);

/// What the keeper remembers between rounds.
#[derive(Default)]
struct Memory {
    /// Since when a node has not been reached.
    away: BTreeMap<NodeId, Instant>,
    balanced: Option<Instant>,
    /// Groups that have the members that they are to have, as their leaders said.
    settled: BTreeMap<GroupId, Settled>,
    /// What could not be done in this round, and why in words.
    troubles: BTreeMap<Task, String>,
    /// The same of the round before.
    before: BTreeMap<Task, String>,
}

/// What may fail by itself, and must not hold up anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// The state of a node.
    Node(NodeId),
    /// More shards.
    AddShards,
    /// Where a shard is to be.
    Place(ShardId),
    /// The members of a group.
    Group(GroupId),
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Task::Node(node) => write!(f, "the state of node {node}"),
            Task::AddShards => f.write_str("more shards"),
            Task::Place(shard) => write!(f, "the place of shard {shard}"),
            Task::Group(group) => write!(f, "the members of {group}"),
        }
    }
}

impl Memory {
    /// What was done; nothing if it failed, which is told unless the round before said the same.
    fn heed<T: Default>(&mut self, task: Task, done: Result<T, EngineError>) -> T {
        let error = match done {
            Ok(done) => return done,
            Err(error) => error.to_string(),
        };
        if self.before.get(&task) != Some(&error) {
            tracing::warn!(%task, error, "the keeper tries again");
        }
        self.troubles.insert(task, error);
        T::default()
    }
}

/// Keeps at it as long as the node runs.
pub(super) async fn keep(engine: Arc<Engine>) {
    let mut memory = Memory::default();
    let mut moved = false;
    loop {
        tokio::time::sleep(if moved { STEP_PAUSE } else { ROUND_PAUSE }).await;
        let is_cluster = engine.directory.read().cluster().is_some();
        if !is_cluster || !engine.control.group().status().leads {
            memory = Memory::default();
            moved = false;
            continue;
        }
        moved = round(&engine, &mut memory).await;
    }
}

pub(super) async fn change(engine: &Engine, change: Change) -> Result<(), EngineError> {
    engine.change(Actor::System, Origin::Internal, change).await.map(|_| ())
}

/// One look at everything, with at most one step of each group; true if there was one.
async fn round(engine: &Engine, memory: &mut Memory) -> bool {
    memory.before = std::mem::take(&mut memory.troubles);
    let nodes: Vec<ClusterNode> = engine.directory.read().nodes().cloned().collect();
    look_who_is_away(engine, &nodes, memory).await;
    place(engine, &nodes, memory).await;
    let active = nodes.iter().filter(|node| node.state == NodeState::Active).map(|node| node.id).collect();
    let everywhere = Wish { voters: voters_of_all(&nodes), members: active };
    let mut moved = false;
    for group in [GroupId::CONTROL, GroupId::TRAFFIC] {
        moved |= look_at(engine, group, &everywhere, memory).await;
    }
    let (placements, moving) = (engine.directory.read().placements(), engine.cluster.shards_of_moves());
    for (shard, replicas) in &placements {
        let voters: BTreeSet<NodeId> = replicas.iter().copied().collect();
        // This node moves accounts, and needs the rows of both sides.
        let learner = Some(engine.cluster.id()).filter(|_| moving.contains(shard));
        let members = voters.iter().copied().chain(learner).collect();
        moved |= look_at(engine, GroupId::shard(shard.0), &Wish { voters, members }, memory).await;
    }
    if moved {
        return true;
    }
    remove_who_left(engine, &nodes, &placements, memory).await;
    if memory.balanced.is_none_or(|at| at.elapsed() > BALANCE_PAUSE) {
        memory.balanced = Some(Instant::now());
        balance(engine, &placements).await;
    }
    false
}

/// Who votes in the groups that all nodes have: the active ones with the lowest numbers.
fn voters_of_all(nodes: &[ClusterNode]) -> BTreeSet<NodeId> {
    let active = nodes.iter().filter(|node| node.state == NodeState::Active).map(|node| node.id);
    active.take(CONTROL_VOTERS_MAX).collect()
}

/// Declares nodes dead that were away too long, and those alive that are back.
async fn look_who_is_away(engine: &Engine, nodes: &[ClusterNode], memory: &mut Memory) {
    let (replicas, patience) = {
        let directory = engine.directory.read();
        let Some(cluster) = directory.cluster() else { return };
        (usize::from(cluster.replicas), Duration::from_millis(cluster.replace_after_ms))
    };
    let active = nodes.iter().filter(|node| node.state == NodeState::Active).count();
    for node in nodes {
        if engine.cluster.reaches(node.id) {
            memory.away.remove(&node.id);
            if node.state == NodeState::Dead {
                tracing::info!(node = %node.id, "the node is back");
                set_state(engine, node.id, NodeState::Active, memory).await;
            }
            continue;
        }
        let since = *memory.away.entry(node.id).or_insert_with(Instant::now);
        let replaceable = node.state == NodeState::Active && active > replicas;
        if replaceable && since.elapsed() > patience {
            tracing::warn!(node = %node.id, "the node has been away too long: others take its place");
            set_state(engine, node.id, NodeState::Dead, memory).await;
        }
    }
}

async fn set_state(engine: &Engine, node: NodeId, state: NodeState, memory: &mut Memory) {
    let changed = change(engine, Change::ChangeNode { node, change: NodeChange::State(state) }).await;
    memory.heed(Task::Node(node), changed);
}

/// Makes shards as nodes come, and says where all of them are to be.
async fn place(engine: &Engine, nodes: &[ClusterNode], memory: &mut Memory) {
    let (present, shards, replicas) = {
        let directory = engine.directory.read();
        let replicas = directory.cluster().map_or(1, |cluster| cluster.replicas);
        (directory.placements(), directory.shards().to_vec(), usize::from(replicas))
    };
    let active = nodes.iter().filter(|node| node.state == NodeState::Active).count();
    let wanted = shards_wanted(active, engine.config.node.shards(), shards.len());
    if active > 1 && wanted > shards.len() {
        let total = u32::try_from(wanted).unwrap_or(u32::MAX);
        let added = change(engine, Change::AddShards { total }).await;
        return memory.heed(Task::AddShards, added);
    }
    for (shard, wanted) in plan_placement(nodes, &shards, &present, replicas) {
        let placed = present.get(&shard).cloned().unwrap_or_default();
        if placed == wanted {
            continue;
        }
        // A shard is placed anew only once its group has begun.
        let Some(status) = engine.cluster.status(&engine.directory, GroupId::shard(shard.0)).await else {
            continue;
        };
        let Some(replicas) = towards(&placed, &wanted, &status.voting()) else { continue };
        let placed = change(engine, Change::PlaceShard { shard, replicas }).await;
        memory.heed(Task::Place(shard), placed);
    }
}

/// The next placement on the way to another, if it is time for it: most of those who have the shard are always among those who
/// are said to, and nobody who votes goes before all that stay do.
fn towards(placed: &[NodeId], wanted: &[NodeId], voting: &BTreeSet<NodeId>) -> Option<Vec<NodeId>> {
    let mut next = placed.to_vec();
    // Of those who may go, those who have nothing yet go first.
    next.sort_by_key(|node| voting.contains(node));
    loop {
        match next_step(&next, wanted) {
            Some(Step::Add(node)) => next.push(node),
            Some(Step::Remove(node)) => next.retain(|other| *other != node),
            None => return Some(wanted.to_vec()),
        }
        if next.len() >= wanted.len() {
            break;
        }
    }
    let goes = placed.iter().any(|node| voting.contains(node) && !next.contains(node));
    let all_vote = next.iter().all(|node| voting.contains(node));
    (all_vote || !goes).then_some(next)
}

/// A step of a group, if it is to have other members. Its leader is asked now and then; in between, a change of what is
/// wished or of what this node's replica knows is reason enough.
async fn look_at(engine: &Engine, group: GroupId, wish: &Wish, memory: &mut Memory) -> bool {
    let here = engine.cluster.raft().group(group).map(|here| here.status());
    if memory.settled.get(&group).is_some_and(|settled| settled.is_believed(wish, here.as_ref())) {
        return false;
    }
    let stepped = step(engine, group, wish).await;
    match stepped {
        Ok(Looked::HasThem) => {
            memory.settled.insert(group, Settled::now(wish));
        }
        _ => _ = memory.settled.remove(&group),
    }
    memory.heed(Task::Group(group), stepped.map(|looked| looked == Looked::Stepped))
}

/// Removes a node that is leaving and has nothing any more.
async fn remove_who_left(
    engine: &Engine,
    nodes: &[ClusterNode],
    placements: &BTreeMap<ShardId, Vec<NodeId>>,
    memory: &mut Memory,
) {
    for node in nodes.iter().filter(|node| node.state == NodeState::Leaving) {
        let is_placed = placements.values().any(|replicas| replicas.contains(&node.id));
        let groups = placements.keys().map(|shard| GroupId::shard(shard.0));
        let mut has_any = is_placed;
        for group in groups.chain([GroupId::CONTROL, GroupId::TRAFFIC]) {
            has_any |= match engine.cluster.status(&engine.directory, group).await {
                Some(status) => status.members.iter().any(|member| member.node == node.id),
                None => true,
            };
        }
        if !has_any {
            tracing::info!(node = %node.id, "the node has left the cluster");
            let removed = change(engine, Change::RemoveNode { node: node.id }).await;
            memory.heed(Task::Node(node.id), removed);
        }
    }
}

/// Spreads leadership: the replicas of a shard are asked in turn, by its number.
async fn balance(engine: &Engine, placements: &BTreeMap<ShardId, Vec<NodeId>>) {
    for (shard, replicas) in placements {
        let group = GroupId::shard(shard.0);
        let Some(status) = engine.cluster.status(&engine.directory, group).await else { continue };
        let mut voting: Vec<NodeId> =
            status.voting().into_iter().filter(|node| replicas.contains(node)).collect();
        voting.sort_unstable();
        let turn = usize::try_from(shard.0).unwrap_or(0).checked_rem(voting.len()).unwrap_or(0);
        let (Some(leader), Some(wanted)) = (status.leader, voting.get(turn).copied()) else { continue };
        if wanted != leader && status.is_close(wanted) && engine.cluster.reaches(wanted) {
            let order =
                engine.cluster.raft().order(leader, group, estafette_raft::Order::LeadBy(wanted)).await;
            tracing::debug!(%group, %wanted, done = order.is_ok(), "leadership is to move");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(numbers: &[u64]) -> Vec<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    /// The placements up to the wanted one, where whoever is placed comes to vote unless he is `away`.
    fn steps(placed: &[u64], wanted: &[u64], away: &[u64]) -> Vec<BTreeSet<u64>> {
        let (mut at, wanted) = (nodes(placed), nodes(wanted));
        let mut voting: BTreeSet<NodeId> = at.iter().copied().collect();
        let mut steps = Vec::new();
        while at != wanted {
            let Some(next) = towards(&at, &wanted, &voting) else { break };
            at = next;
            steps.push(at.iter().map(|node| node.0).collect());
            assert!(steps.len() < 9, "{steps:?}");
            // The group follows its placement.
            let comes = |node: &NodeId| voting.contains(node) || !away.contains(&node.0);
            let come: BTreeSet<NodeId> = at.iter().copied().filter(comes).collect();
            let all_came = come.len() == at.len();
            voting = if all_came { come } else { voting.union(&come).copied().collect() };
        }
        steps
    }

    #[test]
    fn one_node_comes_before_one_goes() {
        let sets = |all: &[&[u64]]| all.iter().map(|one| one.iter().copied().collect()).collect::<Vec<_>>();
        assert_eq!(steps(&[1], &[1, 2, 3], &[]), sets(&[&[1, 2, 3]]));
        assert_eq!(steps(&[1, 2, 3], &[1, 2, 4], &[]), sets(&[&[1, 2, 3, 4], &[1, 2, 4]]));
        assert_eq!(steps(&[1, 2, 3], &[1, 4, 5], &[]).len(), 4);
        // The order tells who begins a group, and nothing once it has begun.
        assert_eq!(steps(&[3, 2, 1], &[1, 2, 3], &[]), sets(&[&[1, 2, 3]]));
        // Fewer replicas are wanted.
        assert_eq!(steps(&[1, 2, 3], &[2], &[]).len(), 2);
    }

    #[test]
    fn nobody_goes_for_one_who_does_not_come() {
        let sets = |all: &[&[u64]]| all.iter().map(|one| one.iter().copied().collect()).collect::<Vec<_>>();
        assert_eq!(steps(&[1, 2, 3], &[1, 2, 4], &[4]), sets(&[&[1, 2, 3, 4]]));
        // Another comes in his place.
        let voting = nodes(&[1, 2, 3]).into_iter().collect();
        let next = towards(&nodes(&[1, 2, 3, 4]), &nodes(&[1, 2, 5]), &voting).unwrap();
        assert_eq!(next, nodes(&[1, 2, 3]));
    }
}
