//! The cluster, its nodes, its shards, and who may join.

use super::*;
use crate::cluster::{AuthorityKey, NodeState};
use crate::command::{NewCluster, NodeChange};
use estafette_raft::NodeId;

const DAY_MS: u64 = 86_400_000;

/// What a secret or a key is hashed to.
pub(super) fn hash(number: u8) -> [u8; 32] {
    [number; 32]
}

pub(super) fn founding() -> NewCluster {
    NewCluster {
        id: [1; 16],
        authority_certificate: vec![1, 2, 3],
        authority_key: AuthorityKey::new(b"secret".to_vec()),
        node: NodeId(1),
        address: "one.example:7400".into(),
        label: "east".into(),
        key_hash: hash(1),
    }
}

pub(super) fn token(secret: u8, valid_ms: u64) -> Change {
    Change::CreateJoinToken { secret_hash: hash(secret), valid_ms, label: None }
}

pub(super) fn admit(secret: u8, key: u8) -> Change {
    let address = format!("node-{key}.example:7400");
    Change::AdmitNode { secret_hash: hash(secret), key_hash: hash(key), address, label: "west".into() }
}

pub(super) fn state(node: u64, state: NodeState) -> Change {
    Change::ChangeNode { node: NodeId(node), change: NodeChange::State(state) }
}

fn place(shard: u32, replicas: &[u64]) -> Change {
    Change::PlaceShard { shard: ShardId(shard), replicas: ids(replicas) }
}

fn remove(node: u64) -> Change {
    Change::RemoveNode { node: NodeId(node) }
}

fn ids(numbers: &[u64]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

fn node(id: u64) -> Result<Reply, Refusal> {
    Ok(Reply::Node(NodeId(id)))
}

/// A cluster of so many nodes, whose keys are their numbers.
pub(super) fn cluster(nodes: u8) -> Bench {
    let mut bench = Bench::new();
    bench.done(Change::FoundCluster(founding()));
    for key in 2..=nodes {
        bench.done(token(key, 1_000));
        assert_eq!(bench.ask(admit(key, key)), node(u64::from(key)));
    }
    bench
}

#[test]
fn a_cluster_is_founded_once() {
    let mut bench = Bench::new();
    let needs_one =
        [token(1, 1_000), admit(1, 1), Change::SetClusterSettings { replicas: 3, replace_after_ms: 60_000 }];
    for change in needs_one {
        assert_eq!(bench.ask(change), Err(Refusal::NoCluster));
    }
    assert_eq!(bench.directory.cluster(), None);
    assert_eq!(bench.directory.placement(ShardId(1)), ids(&[1]), "all is on the node that is alone");
    let nowhere = NewCluster { address: "nowhere".into(), ..founding() };
    let refused = bench.ask(Change::FoundCluster(nowhere));
    assert_eq!(refused, Err(Refusal::InvalidNodeAddress { address: "nowhere".into() }));
    assert_eq!(bench.ask(Change::FoundCluster(founding())), node(1));
    assert_eq!(bench.ask(Change::FoundCluster(founding())), node(1), "again: the same answer");
    let other = NewCluster { id: [2; 16], ..founding() };
    assert_eq!(bench.ask(Change::FoundCluster(other)), Err(Refusal::IsCluster));

    let cluster = bench.directory.cluster().unwrap();
    assert_eq!((cluster.id, cluster.replicas, cluster.replace_after_ms), ([1; 16], 3, 600_000));
    assert_eq!(cluster.authority_key.as_bytes(), b"secret");
    let founder = bench.directory.node(NodeId(1)).unwrap();
    assert_eq!((founder.label.as_str(), founder.state), ("east", NodeState::Active));
    bench.done(Change::SetClusterSettings { replicas: 5, replace_after_ms: 60_000 });
    let cluster = bench.directory.cluster().unwrap();
    assert_eq!((cluster.replicas, cluster.replace_after_ms), (5, 60_000));
    for (replicas, replace_after_ms) in [(0, 60_000), (10, 60_000), (3, 999), (3, 31 * DAY_MS)] {
        let refused = bench.ask(Change::SetClusterSettings { replicas, replace_after_ms });
        assert!(matches!(refused, Err(Refusal::OutOfRange { .. })), "{refused:?}");
    }
    assert_eq!(bench.reloaded(), bench.directory);
}

#[test]
fn secrets_are_shown_nowhere() {
    let mut bench = cluster(2);
    let command = Change::FoundCluster(founding());
    let shown = format!("{command:?} {:?}", bench.directory);
    assert!(!shown.contains("115, 101, 99, 114, 101, 116"), "the key of the authority");
    bench.done(Change::RevokeJoinToken { secret_hash: hash(7) });
    let query = crate::AuditQuery { limit: 100, ..Default::default() };
    let audit = crate::audit(&bench.rows, &query).unwrap();
    let shown = format!("{audit:?}");
    assert!(shown.contains("02020202") && !shown.contains("0202020202"), "a token goes by its first digits");
    assert!(!shown.contains("secret"));
}

#[test]
fn a_token_works_once() {
    let mut bench = cluster(1);
    assert_eq!(bench.ask(admit(7, 2)), Err(Refusal::UnknownToken));
    bench.done(token(7, 1_000));
    let made = bench.directory.token(&hash(7)).unwrap().clone();
    bench.done(token(7, 5_000));
    assert_eq!(bench.directory.token(&hash(7)), Some(&made), "made again: it stays as it is");
    assert_eq!(bench.ask(admit(7, 2)), node(2));
    assert_eq!(bench.ask(admit(7, 2)), node(2));
    assert_eq!(bench.ask(admit(7, 3)), Err(Refusal::TokenUsed { node: 2 }));
    let back = bench.ask(Change::RevokeJoinToken { secret_hash: hash(7) });
    assert_eq!(back, Err(Refusal::TokenUsed { node: 2 }), "who takes it back learns that it was used");
    bench.now_ms = made.expires_ms + 1;
    assert_eq!(bench.ask(admit(7, 2)), node(2), "its own node may ask later too");
    assert_eq!(bench.ask(admit(7, 3)), Err(Refusal::TokenUsed { node: 2 }));

    // A node with a second token is still the same node, and tells its new address.
    bench.done(token(8, 1_000));
    let moved = Change::AdmitNode {
        secret_hash: hash(8),
        key_hash: hash(2),
        address: "[2001:db8::2]:7400".into(),
        label: "elsewhere".into(),
    };
    assert_eq!(bench.ask(moved), node(2));
    let two = bench.directory.node(NodeId(2)).unwrap();
    assert_eq!((two.address.as_str(), two.label.as_str()), ("[2001:db8::2]:7400", "west"));
    assert_eq!(bench.ask(admit(8, 3)), Err(Refusal::TokenUsed { node: 2 }));
    assert_eq!(bench.directory.nodes().map(|node| node.id).collect::<Vec<_>>(), ids(&[1, 2]));
    assert_eq!(bench.reloaded(), bench.directory);
}

#[test]
fn a_token_runs_out_by_the_time_of_the_log() {
    let mut bench = cluster(1);
    bench.done(token(7, 1_000));
    let token_of = |bench: &Bench, secret| bench.directory.token(&hash(secret)).cloned();
    let expires_ms = token_of(&bench, 7).unwrap().expires_ms;
    assert_eq!(expires_ms, bench.now_ms + 1_000);
    bench.now_ms = expires_ms - 1;
    assert_eq!(bench.ask(admit(7, 2)), Err(Refusal::TokenExpired), "the command itself comes at the end");
    bench.now_ms = expires_ms - 2;
    assert_eq!(bench.ask(admit(7, 2)), node(2));
    bench.done(token(8, 1_000));
    bench.done(Change::RevokeJoinToken { secret_hash: hash(8) });
    bench.done(Change::RevokeJoinToken { secret_hash: hash(8) });
    assert_eq!(bench.ask(admit(8, 3)), Err(Refusal::UnknownToken));
    // What ran out long ago goes when another is made.
    bench.now_ms = expires_ms + 7 * DAY_MS - 2;
    bench.done(token(9, 1_000));
    assert!(token_of(&bench, 7).is_some());
    bench.done(token(10, 1_000));
    assert!(token_of(&bench, 7).is_none() && token_of(&bench, 9).is_some());
    for valid_ms in [0, 31 * DAY_MS] {
        assert!(matches!(bench.ask(token(11, valid_ms)), Err(Refusal::OutOfRange { .. })));
    }
    assert_eq!(bench.reloaded(), bench.directory);
}

#[test]
fn the_label_of_a_token_binds_its_node() {
    let mut bench = cluster(1);
    let label = Some("north".to_owned());
    bench.done(Change::CreateJoinToken { secret_hash: hash(7), valid_ms: 1_000, label });
    bench.done(admit(7, 2));
    assert_eq!(bench.directory.node(NodeId(2)).unwrap().label, "north");
}

#[test]
fn addresses_are_host_and_port() {
    let mut bench = cluster(1);
    let mut change = |address: &str| {
        let change = NodeChange::Address(address.to_owned());
        bench.ask(Change::ChangeNode { node: NodeId(1), change })
    };
    for good in ["a.example:1", "192.0.2.1:65535", "[::1]:7400"] {
        assert_eq!(change(good), Ok(Reply::Done), "{good}");
    }
    let long = format!("{}:1", "a".repeat(300));
    for bad in ["", "a", ":1", "a:", "a:0", "a:65536", "a b:1", "::1:7400", "[a]:1", "[::1:1", "a:1\n", &long]
    {
        assert!(matches!(change(bad), Err(Refusal::InvalidNodeAddress { .. })), "{bad}");
    }
    let label = |label: &str| Change::ChangeNode { node: NodeId(1), change: NodeChange::Label(label.into()) };
    assert_eq!(bench.ask(label("")), Ok(Reply::Done));
    assert!(matches!(bench.ask(label("a\tb")), Err(Refusal::InvalidText { .. })));
}

#[test]
fn a_number_is_never_used_again() {
    let mut bench = cluster(3);
    assert_eq!(bench.ask(remove(1)), Err(Refusal::NodeInUse { node: 1, shards: 2 }), "the founder has all");
    bench.done(place(1, &[2, 3]));
    assert_eq!(bench.ask(remove(3)), Err(Refusal::NodeInUse { node: 3, shards: 1 }));
    bench.done(place(1, &[2]));
    bench.done(remove(3));
    bench.done(remove(3));
    assert_eq!(bench.directory.node(NodeId(3)), None);
    let former = bench.directory.former_node(NodeId(3)).unwrap();
    assert_eq!((former.key_hash, bench.directory.former_node(NodeId(2))), (hash(3), None));
    for change in [admit(3, 3), place(1, &[3]), state(3, NodeState::Active)] {
        assert_eq!(bench.ask(change), Err(Refusal::NodeRemoved { node: 3 }));
    }
    assert_eq!(bench.ask(remove(9)), Err(Refusal::UnknownNode { node: 9 }));
    bench.done(token(4, 1_000));
    assert_eq!(bench.ask(admit(4, 3)), Err(Refusal::NodeRemoved { node: 3 }), "nor with another token");
    assert_eq!(bench.ask(admit(4, 4)), node(4));
    // The founder goes as any other once nothing is on it; then the next is the oldest.
    bench.done(place(1, &[2]));
    bench.done(place(2, &[2]));
    bench.done(remove(1));
    bench.done(Change::SetShards { shards: [1, 2, 9].map(ShardId).into() });
    assert_eq!(bench.directory.placement(ShardId(9)), ids(&[2]));
    assert_eq!(bench.reloaded(), bench.directory);
}

#[test]
fn one_node_stays_active() {
    let mut bench = cluster(2);
    bench.done(state(1, NodeState::Leaving));
    assert_eq!(bench.ask(state(2, NodeState::Dead)), Err(Refusal::LastNode));
    bench.done(state(1, NodeState::Dead));
    bench.done(place(1, &[1]));
    bench.done(place(2, &[1]));
    assert_eq!(bench.ask(remove(2)), Err(Refusal::LastNode), "nobody could take what is on the dead one");
    bench.done(state(1, NodeState::Active));
    bench.done(state(2, NodeState::Dead));
    bench.done(remove(2));
}

#[test]
fn where_shards_are_to_be() {
    let mut bench = cluster(4);
    bench.done(state(3, NodeState::Dead));
    bench.done(state(4, NodeState::Leaving));
    assert_eq!(bench.ask(place(9, &[1])), Err(Refusal::UnknownShard { shard: 9 }));
    assert_eq!(bench.ask(place(1, &[])), Err(Refusal::NoReplicas));
    assert_eq!(bench.ask(place(1, &[1, 2, 1])), Err(Refusal::NodeTwice { node: 1 }));
    assert_eq!(bench.ask(place(1, &[1, 7])), Err(Refusal::UnknownNode { node: 7 }));
    assert_eq!(bench.ask(place(1, &[1, 3])), Err(Refusal::NodeDead { node: 3 }));
    // One more than a cluster may have, while one comes for another.
    assert!(matches!(bench.ask(place(1, &[1; 10])), Err(Refusal::NodeTwice { .. })));
    assert!(matches!(bench.ask(place(1, &[1; 11])), Err(Refusal::TooMany { .. })));
    bench.done(state(3, NodeState::Active));
    bench.done(place(1, &[3, 1, 4]));
    bench.done(state(3, NodeState::Dead));
    bench.done(place(1, &[2, 3]));
    assert_eq!(bench.directory.placement(ShardId(1)), ids(&[2, 3]), "what was there may stay");
    let all = BTreeMap::from([(ShardId(1), ids(&[2, 3])), (ShardId(2), ids(&[1]))]);
    assert_eq!(bench.directory.placements(), all);
    // A shard that goes takes its placement along.
    bench.done(Change::SetShards { shards: vec![ShardId(2)] });
    bench.done(Change::SetShards { shards: vec![ShardId(1), ShardId(2)] });
    assert_eq!(bench.directory.placement(ShardId(1)), ids(&[1]));
    assert_eq!(bench.reloaded(), bench.directory);
}

#[test]
fn shards_are_added_with_new_numbers() {
    let mut bench = Bench::new();
    let (domain, _) = bench.domain("example.org");
    let add = |bench: &mut Bench, total| bench.ask(Change::AddShards { total });
    let added = |numbers: &[u32]| Ok(Reply::Shards(numbers.iter().copied().map(ShardId).collect()));
    assert_eq!(add(&mut bench, 3), added(&[3]));
    assert_eq!(add(&mut bench, 3), added(&[]), "asked again: there are as many");
    assert_eq!(bench.directory.beginner(ShardId(3)), Some(NodeId(1)));
    bench.done(Change::SetShards { shards: vec![ShardId(1)] });
    assert_eq!(add(&mut bench, 3), added(&[4, 5]), "2 and 3 were used");
    assert_eq!(bench.reloaded(), bench.directory);
    assert!(matches!(add(&mut bench, 5_000), Err(Refusal::TooMany { .. })));

    // In a cluster they begin where there is least, and not on who leaves.
    bench.done(Change::FoundCluster(founding()));
    for key in 2..=4 {
        bench.done(token(key, 1_000));
        bench.done(admit(key, key));
    }
    bench.done(state(4, NodeState::Leaving));
    assert_eq!(add(&mut bench, 8), added(&[6, 7, 8, 9, 10]));
    let homes: Vec<Option<NodeId>> = (4..=10).map(|shard| bench.directory.beginner(ShardId(shard))).collect();
    assert_eq!(homes, [1, 1, 2, 3, 2, 3, 2].map(|id| Some(NodeId(id))));
    bench.done(place(6, &[2, 3]));
    assert_eq!(bench.directory.beginner(ShardId(6)), None, "once placed, nobody begins it again");

    // New accounts go to what is new.
    let mut chosen = Vec::new();
    for name in ["a", "b", "c"] {
        let shard = bench.directory.emptiest_shard().unwrap();
        chosen.push(shard.0);
        bench.done(Change::CreateAccount { domain, account: NewAccount { shard, ..new_account(name) } });
    }
    assert_eq!(chosen, [4, 5, 6]);
    assert_eq!(bench.reloaded(), bench.directory);
}
