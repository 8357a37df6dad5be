//! Plans of where shards go.

use crate::cluster::{ClusterNode, NodeState};
use crate::placement::{Step, next_step, plan_placement, shards_wanted};
use estafette_raft::NodeId;
use estafette_types::ShardId;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

type Plan = BTreeMap<ShardId, Vec<NodeId>>;

fn node(id: u64, label: &str, state: NodeState) -> ClusterNode {
    ClusterNode {
        id: NodeId(id),
        address: String::new(),
        label: label.into(),
        key_hash: [0; 32],
        admitted_ms: 0,
        state,
    }
}

fn unlabelled(count: u64) -> Vec<ClusterNode> {
    (1..=count).map(|id| node(id, "", NodeState::Active)).collect()
}

fn shards(count: u32) -> Vec<ShardId> {
    (1..=count).map(ShardId).collect()
}

/// The domain of a node: its label or itself.
fn domain(nodes: &[ClusterNode], id: NodeId) -> String {
    let label = &nodes.iter().find(|node| node.id == id).unwrap().label;
    if label.is_empty() { format!("#{id}") } else { label.clone() }
}

fn loads(nodes: &[ClusterNode], plan: &Plan) -> BTreeMap<NodeId, usize> {
    let active = nodes.iter().filter(|node| node.state == NodeState::Active);
    let mut loads: BTreeMap<NodeId, usize> = active.map(|node| (node.id, 0)).collect();
    for id in plan.values().flatten() {
        *loads.get_mut(id).expect("a replica on a node that is not active") += 1;
    }
    loads
}

fn spread(nodes: &[ClusterNode], plan: &Plan) -> usize {
    let loads = loads(nodes, plan);
    loads.values().max().unwrap() - loads.values().min().unwrap()
}

/// Replicas on nodes that did not have them.
fn moved(present: &Plan, plan: &Plan) -> usize {
    let had = |shard, id| present.get(shard).is_some_and(|nodes| nodes.contains(id));
    plan.iter().map(|(shard, nodes)| nodes.iter().filter(|id| !had(shard, id)).count()).sum()
}

/// What a plan costs: pairs of replicas in the same domain, squares of loads, replicas moved.
fn cost(nodes: &[ClusterNode], present: &Plan, plan: &Plan) -> (usize, usize, usize) {
    let shared = plan.values().map(|replicas| shared(nodes, replicas)).sum();
    let squares = loads(nodes, plan).values().map(|load| load * load).sum();
    (shared, squares, moved(present, plan))
}

fn shared(nodes: &[ClusterNode], replicas: &[NodeId]) -> usize {
    let same = |a: &NodeId, b: &NodeId| a < b && domain(nodes, *a) == domain(nodes, *b);
    replicas.iter().map(|a| replicas.iter().filter(|b| same(a, b)).count()).sum()
}

/// The least cost of all plans there are, shard by shard with all that can be chosen.
fn least_cost(nodes: &[ClusterNode], count: u32, present: &Plan, replicas: usize) -> (usize, usize, usize) {
    let active: Vec<NodeId> =
        nodes.iter().filter(|node| node.state == NodeState::Active).map(|node| node.id).collect();
    let replicas = u32::try_from(replicas.min(active.len())).unwrap();
    let choices: Vec<u32> = (0..1 << active.len()).filter(|set: &u32| set.count_ones() == replicas).collect();
    let mut best = BTreeMap::from([(vec![0usize; active.len()], (0, 0))]);
    for shard in shards(count) {
        let mut next = BTreeMap::new();
        for (loads, (pairs, moves)) in &best {
            for set in &choices {
                let mut loads = loads.clone();
                let chosen: Vec<usize> = (0..active.len()).filter(|n| set & (1 << n) != 0).collect();
                chosen.iter().for_each(|n| loads[*n] += 1);
                let ids: Vec<NodeId> = chosen.iter().map(|n| active[*n]).collect();
                let one = Plan::from([(shard, ids.clone())]);
                let cost = (pairs + shared(nodes, &ids), moves + moved(present, &one));
                let known = next.entry(loads).or_insert(cost);
                *known = cost.min(*known);
            }
        }
        best = next;
    }
    let squares = |loads: &[usize]| loads.iter().map(|load| load * load).sum();
    best.iter().map(|(loads, (pairs, moves))| (*pairs, squares(loads), *moves)).min().unwrap()
}

#[test]
fn a_cluster_grows_node_by_node() {
    let mut plan = Plan::new();
    for count in 1..=6 {
        let nodes = unlabelled(count);
        let next = plan_placement(&nodes, &shards(12), &plan, 3);
        let each = usize::try_from(count).unwrap().min(3);
        assert!(next.values().all(|replicas| replicas.len() == each));
        assert!(spread(&nodes, &next) <= 1);
        let newcomer = 12 * each / usize::try_from(count).unwrap();
        assert_eq!(moved(&plan, &next), newcomer, "the new node takes its share and nothing else moves");
        plan = next;
    }
}

#[test]
fn a_dead_node_is_replaced_and_nothing_else_moves() {
    let mut nodes = unlabelled(5);
    let plan = plan_placement(&nodes, &shards(20), &Plan::new(), 3);
    assert_eq!(loads(&nodes, &plan).into_values().collect::<Vec<_>>(), [12; 5]);
    nodes[2].state = NodeState::Dead;
    let next = plan_placement(&nodes, &shards(20), &plan, 3);
    assert_eq!(moved(&plan, &next), 12);
    assert_eq!(spread(&nodes, &next), 0);
    nodes.iter_mut().for_each(|node| node.state = NodeState::Leaving);
    assert_eq!(plan_placement(&nodes, &shards(20), &plan, 3), Plan::new(), "nobody is there: no plan");
}

#[test]
fn replicas_are_apart_where_labels_are() {
    let labels = ["east", "east", "east", "west", "", ""];
    let nodes: Vec<_> = (1..).zip(labels).map(|(id, label)| node(id, label, NodeState::Active)).collect();
    let plan = plan_placement(&nodes, &shards(12), &Plan::new(), 3);
    for replicas in plan.values() {
        let domains: BTreeSet<_> = replicas.iter().map(|id| domain(&nodes, *id)).collect();
        assert_eq!(domains.len(), 3, "{replicas:?}");
    }
    // Two domains for three replicas: two of them share one.
    let plan = plan_placement(&nodes[..4], &shards(6), &Plan::new(), 3);
    let loads = loads(&nodes[..4], &plan);
    assert_eq!(loads.into_values().collect::<Vec<_>>(), [4, 4, 4, 6]);
}

#[test]
fn the_first_shards_of_a_large_cluster() {
    let labels = ["a", "b", "c", "d"];
    let label = |id: u64| labels[usize::try_from(id).unwrap() % 4];
    let mut nodes: Vec<_> = (1..=24).map(|id| node(id, label(id), NodeState::Active)).collect();
    let founder = shards(96).into_iter().map(|shard| (shard, vec![NodeId(1)])).collect();
    let plan = plan_placement(&nodes, &shards(96), &founder, 3);
    assert_eq!(spread(&nodes, &plan), 0);
    assert_eq!(moved(&founder, &plan), 3 * 96 - 12);
    nodes.push(node(25, "a", NodeState::Active));
    let next = plan_placement(&nodes, &shards(96), &plan, 3);
    assert!(spread(&nodes, &next) <= 1);
    assert_eq!(moved(&plan, &next), 11);
}

#[test]
fn how_many_shards() {
    assert_eq!(shards_wanted(1, 4, 4), 4);
    assert_eq!(shards_wanted(3, 4, 4), 12);
    assert_eq!(shards_wanted(3, 4, 50), 50);
    assert_eq!(shards_wanted(3, 1, 1), 3);
    assert_eq!(shards_wanted(usize::MAX, 4, 0), 4_096);
}

#[test]
fn one_comes_before_one_goes() {
    let ids = |numbers: &[u64]| numbers.iter().copied().map(NodeId).collect::<Vec<_>>();
    let steps = |present: &[u64], wanted: &[u64]| {
        let (mut present, wanted) = (ids(present), ids(wanted));
        let mut steps = Vec::new();
        while let Some(step) = next_step(&present, &wanted) {
            match step {
                Step::Add(id) => present.push(id),
                Step::Remove(id) => present.retain(|other| *other != id),
            }
            steps.push(step);
        }
        assert_eq!(present.iter().collect::<BTreeSet<_>>(), wanted.iter().collect());
        steps
    };
    let (add, remove) = (|id| Step::Add(NodeId(id)), |id| Step::Remove(NodeId(id)));
    assert_eq!(steps(&[1, 2, 3], &[3, 2, 1]), []);
    assert_eq!(steps(&[1], &[1, 2, 3]), [add(2), add(3)]);
    assert_eq!(steps(&[1, 2, 3], &[2, 4, 5]), [add(4), remove(1), add(5), remove(3)]);
    assert_eq!(steps(&[1, 2, 3], &[2]), [remove(1), remove(3)]);
    assert_eq!(steps(&[1, 2, 3], &[4]), [remove(1), remove(2), add(4), remove(3)]);
    assert_eq!(next_step(&ids(&[1, 2]), &[]), None, "a group is never left without members");
}

fn any_nodes(max: u64) -> impl Strategy<Value = Vec<ClusterNode>> {
    let labels = prop_oneof![Just(""), Just("a"), Just("b"), Just("c")];
    let states = prop_oneof![
        4 => Just(NodeState::Active),
        1 => Just(NodeState::Leaving),
        1 => Just(NodeState::Dead)
    ];
    let one = (1..=max, labels, states).prop_map(|(id, label, state)| node(id, label, state));
    proptest::collection::vec(one, 1..=usize::try_from(max).unwrap()).prop_map(|nodes| {
        let by_id: BTreeMap<NodeId, ClusterNode> = nodes.into_iter().map(|node| (node.id, node)).collect();
        by_id.into_values().collect()
    })
}

/// Where shards are, on nodes that may be gone or dead, too many or too few.
fn any_present(max: u64, shards: u32) -> impl Strategy<Value = Plan> {
    let replicas = proptest::collection::btree_set((1..=max + 1).prop_map(NodeId), 0..=4);
    let replicas = replicas.prop_map(|set| set.into_iter().rev().collect::<Vec<_>>());
    proptest::collection::btree_map((1..=shards).prop_map(ShardId), replicas, 0..=shards as usize)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// No plan has replicas more apart; of those as much apart, none is more even; of those, none moves less.
    #[test]
    fn no_plan_is_better(
        nodes in any_nodes(5), present in any_present(5, 4), count in 1..=4u32, replicas in 1..=4usize
    ) {
        let plan = plan_placement(&nodes, &shards(count), &present, replicas);
        if nodes.iter().any(|node| node.state == NodeState::Active) {
            prop_assert_eq!(plan.len(), count as usize);
            prop_assert_eq!(cost(&nodes, &present, &plan), least_cost(&nodes, count, &present, replicas));
        } else {
            prop_assert!(plan.is_empty());
        }
    }

    /// Each shard has its replicas, each on another active node; planning again changes nothing, whatever
    /// the order of the nodes; what stays keeps its place.
    #[test]
    fn plans_are_whole_and_stable(
        nodes in any_nodes(9), present in any_present(9, 30), count in 1..=30u32, replicas in 1..=4usize
    ) {
        let plan = plan_placement(&nodes, &shards(count), &present, replicas);
        let active = nodes.iter().filter(|node| node.state == NodeState::Active).count();
        for (shard, found) in &plan {
            prop_assert_eq!(found.len(), replicas.min(active));
            prop_assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len());
            let kept = present.get(shard).into_iter().flatten().filter(|id| found.contains(id));
            let kept: Vec<&NodeId> = kept.collect();
            prop_assert_eq!(found.iter().take(kept.len()).collect::<Vec<_>>(), kept);
        }
        loads(&nodes, &plan);
        prop_assert_eq!(&plan_placement(nodes.iter().rev(), &shards(count), &present, replicas), &plan);
        prop_assert_eq!(&plan_placement(&nodes, &shards(count), &plan, replicas), &plan);
    }

    /// Where every label has as many nodes, all are even and all replicas apart.
    #[test]
    fn equal_labels_are_even(
        per_label in 1..=3u64, labels in 3..=4u64, present in any_present(12, 24), count in 1..=24u32
    ) {
        let label = |id: u64| (id % labels).to_string();
        let nodes: Vec<_> =
            (1..=per_label * labels).map(|id| node(id, &label(id), NodeState::Active)).collect();
        let plan = plan_placement(&nodes, &shards(count), &present, 3);
        prop_assert!(spread(&nodes, &plan) <= 1);
        prop_assert_eq!(cost(&nodes, &present, &plan).0, 0);
    }
}
