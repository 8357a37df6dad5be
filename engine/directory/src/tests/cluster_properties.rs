//! Random commands about nodes, shards and moves, each of them repeated as after a restart.

use super::cluster::{admit, founding, hash, state, token};
use super::*;
use crate::cluster::NodeState;
use estafette_raft::NodeId;
use proptest::prelude::*;

/// Numbers, made into a command by what is in the directory at that time.
type Step = (u8, [u8; 4]);

fn change(bench: &Bench, (kind, [a, b, c, d]): Step) -> Option<Change> {
    let directory = &bench.directory;
    let (account, shard) = (AccountId(u64::from(a % 3) + 1), ShardId(u32::from(b % 6) + 1));
    let node = u64::from(a % 6) + 1;
    let moving = directory.moves().nth(usize::from(a % 2)).copied();
    Some(match kind {
        0 | 1 => token(a % 8, if b < 64 { 2 } else { 60_000 }),
        2..=5 => admit(a % 8, b % 8),
        6 => Change::RevokeJoinToken { secret_hash: hash(a % 8) },
        7 => state(node, [NodeState::Active, NodeState::Leaving, NodeState::Dead][usize::from(b % 3)]),
        8 => Change::RemoveNode { node: NodeId(node) },
        9..=11 => {
            let replicas = [b, c, d].map(|n| NodeId(u64::from(n % 6) + 1));
            Change::PlaceShard { shard, replicas: replicas[..usize::from(a % 4)].to_vec() }
        }
        12 => Change::AddShards { total: u32::from(a % 8) },
        13 => {
            let kept = directory.shards().iter().copied().filter(|shard| shard.0 % 3 != u32::from(b % 5));
            Change::SetShards { shards: kept.collect() }
        }
        14 | 15 => Change::BeginMove { account, to: shard },
        16 => Change::FinishMove(moving?),
        17 => Change::AbandonMove(moving?),
        18 => Change::AssignShard { account, shard },
        19 => Change::DeleteAccount { account: AccountId(3) },
        _ => Change::FoundCluster(founding()),
    })
}

/// All rows but the counters and the audit.
fn records(bench: &Bench) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let kept = |key: &&Vec<u8>| key[1] != 1 && key[1] != 10;
    let rows = bench.rows.0.iter().filter(|(key, _)| kept(key));
    rows.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// What holds at any time.
fn check(directory: &Directory) {
    let nodes: Vec<&crate::ClusterNode> = directory.nodes().collect();
    if directory.cluster().is_some() {
        assert!(nodes.iter().any(|node| node.state == NodeState::Active), "no active node");
        assert!(nodes.iter().all(|node| directory.former_node(node.id).is_none()));
        for replicas in directory.placements().values() {
            assert!(!replicas.is_empty());
            assert!(
                replicas.iter().all(|id| directory.node(*id).is_some()),
                "a shard on a node that is gone"
            );
        }
    }
    for moving in directory.moves() {
        let account = directory.account(moving.account).unwrap();
        assert_eq!(account.shard, Some(moving.from));
        assert_ne!(moving.from, moving.to);
        assert!(directory.shards().contains(&moving.to));
    }
    assert!(directory.cluster.placements.keys().all(|shard| directory.shards().contains(shard)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// A command that was carried out and is repeated answers the same and changes nothing; numbers of
    /// nodes and of added shards never come again; what is loaded equals what was in memory.
    #[test]
    fn commands_can_be_repeated(
        founded in any::<bool>(), steps in proptest::collection::vec((0..21u8, any::<[u8; 4]>()), 0..80)
    ) {
        let mut bench = Bench::new();
        let (domain, _) = bench.domain("example.org");
        bench.account(domain, "a");
        bench.account(domain, "b");
        if founded {
            bench.done(Change::FoundCluster(founding()));
        }
        let (mut keys, mut last_shard) = (BTreeMap::new(), 2);
        for step in steps {
            let Some(change) = change(&bench, step) else { continue };
            let Ok(reply) = bench.ask(change.clone()) else { continue };
            if let Reply::Shards(added) = &reply {
                prop_assert!(added.iter().all(|shard| shard.0 > last_shard));
            }
            last_shard = bench.directory.shards().iter().map(|shard| shard.0).fold(last_shard, u32::max);
            let after = records(&bench);
            let again = match &reply {
                Reply::Shards(_) => Reply::Shards(Vec::new()),
                reply => reply.clone(),
            };
            if !matches!(change, Change::DeleteAccount { .. }) {
                prop_assert_eq!(bench.ask(change.clone()), Ok(again), "{:?}", change);
                prop_assert_eq!(records(&bench), after, "{:?}", change);
            }
            for node in bench.directory.nodes() {
                prop_assert_eq!(keys.entry(node.id).or_insert(node.key_hash), &node.key_hash);
            }
            check(&bench.directory);
        }
        prop_assert_eq!(bench.reloaded(), bench.directory);
    }
}
