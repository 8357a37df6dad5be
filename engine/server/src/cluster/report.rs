//! How the cluster stands, and whether a node may be stopped, in words.

use super::Failure;
use crate::engine::Engine;
use estafette_directory::Move;
use estafette_mailbox::{AccountRef, AccountState, read};
use estafette_raft::{GroupId, NodeId, Status};
use estafette_types::ShardId;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// A voter that lacks more entries than this, or of which it is not known, does not count as one that could go on.
const GOES_ON_LAG_MAX: u64 = 1_000;

/// See the head of this module.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// 32 digits, hexadecimal; none while the node is alone.
    pub(crate) cluster: Option<String>,
    /// The node that tells.
    pub(crate) node: NodeId,
    pub(crate) nodes: Vec<NodeReport>,
    pub(crate) groups: Vec<GroupReport>,
    /// Accounts on their way to other shards, in the order in which they began.
    pub(crate) moves: Vec<MoveReport>,
    /// How fast they are sent.
    pub(crate) move_rate_kib: u32,
}

/// An account on its way.
#[derive(Debug, Serialize)]
pub(crate) struct MoveReport {
    pub(crate) account: u64,
    pub(crate) username: String,
    pub(crate) from: ShardId,
    pub(crate) to: ShardId,
    pub(crate) begun_ms: u64,
    /// How far it is, as this node knows: `waiting`, `sending`, `closing`; or `not known here`, as the leader of the
    /// control group alone surely has both shards.
    pub(crate) phase: &'static str,
    /// Why it could not be carried out, for people. Known to the leader of the control group alone.
    pub(crate) problem: Option<String>,
    /// Times that rows were sent.
    pub(crate) sent: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// A node.
#[derive(Debug, Serialize)]
pub(crate) struct NodeReport {
    pub(crate) id: NodeId,
    pub(crate) address: String,
    pub(crate) label: String,
    /// As the directory has it, or `failed`.
    pub(crate) state: String,
    /// Whether the node that tells reaches it.
    pub(crate) reachable: bool,
    /// Why not, or the last trouble.
    pub(crate) problem: Option<String>,
    pub(crate) round_trip_us: Option<u64>,
    /// The version of the protocol that both speak, where they do.
    pub(crate) protocol: Option<u16>,
    pub(crate) safe_to_stop: bool,
    /// Why, for people.
    pub(crate) advice: String,
}

/// A group.
#[derive(Debug, Serialize)]
pub(crate) struct GroupReport {
    pub(crate) group: String,
    pub(crate) leader: Option<NodeId>,
    pub(crate) applied: Option<u64>,
    pub(crate) members: Vec<Replica>,
}

/// A replica.
#[derive(Debug, Serialize)]
pub(crate) struct Replica {
    pub(crate) node: NodeId,
    pub(crate) votes: bool,
    /// Entries that it lacks.
    pub(crate) lag: Option<u64>,
}

impl Report {
    /// Asks the leaders of all groups.
    pub(crate) async fn make(engine: &Engine) -> Report {
        let (cluster, nodes, shards) = {
            let directory = engine.directory.read();
            let cluster =
                directory.cluster().map(|cluster| estafette_mesh::ClusterId(cluster.id).to_string());
            (cluster, directory.nodes().cloned().collect::<Vec<_>>(), directory.shards().to_vec())
        };
        let mut groups = Vec::new();
        let ids = [GroupId::CONTROL, GroupId::TRAFFIC].into_iter();
        for group in ids.chain(shards.iter().map(|shard| GroupId::shard(shard.0))) {
            groups.push((group, engine.cluster.status(&engine.directory, group).await));
        }
        let failed = failed(engine, nodes.iter().map(|node| node.id)).await;
        let peers = engine.cluster.peers();
        let reports = nodes.iter().map(|node| {
            let peer = peers.get(&node.id);
            let links = peer.map(|peer| peer.links.as_slice()).unwrap_or_default();
            let (safe_to_stop, advice) = advice(engine, node.id, &failed, &groups);
            let has_failed = failed.contains(&node.id);
            NodeReport {
                id: node.id,
                address: node.address.clone(),
                label: node.label.clone(),
                state: if has_failed { "failed".to_owned() } else { node.state.to_string() },
                reachable: engine.cluster.reaches(node.id),
                problem: links.iter().find_map(|link| link.last_error.as_ref()).map(|text| text.to_string()),
                round_trip_us: links
                    .iter()
                    .filter_map(|link| link.round_trip)
                    .min()
                    .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
                protocol: links.iter().filter_map(|link| link.version).min(),
                safe_to_stop,
                advice: if has_failed { of_failed(engine, node.id, safe_to_stop) } else { advice },
            }
        });
        let nodes = reports.collect();
        let groups = groups.iter().map(|(group, status)| group_report(*group, status.as_ref())).collect();
        let moves = move_reports(engine);
        let move_rate_kib = engine.directory.read().move_rate_kib();
        Report { cluster, node: engine.cluster.id(), nodes, groups, moves, move_rate_kib }
    }
}

/// Whether the replicas of a group are equal.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) group: String,
    /// Equal; different; or not known, since they were never seen at the same entry, or a replica does not answer.
    pub(crate) verdict: &'static str,
    pub(crate) replicas: Vec<Sum>,
}

/// The checksum of a replica.
#[derive(Debug, Serialize)]
pub(crate) struct Sum {
    pub(crate) node: NodeId,
    pub(crate) index: Option<u64>,
    pub(crate) rows: Option<u64>,
    pub(crate) hash: Option<String>,
}

/// How often replicas are looked at until they are at the same entry.
const LOOKS_MAX: usize = 20;
const LOOK_PAUSE: Duration = Duration::from_millis(150);

impl Comparison {
    /// Compares the replicas of all groups, one after the other. Reads all rows of all of them.
    pub(crate) async fn make(engine: &Engine) -> Vec<Comparison> {
        let shards = engine.directory.read().shards().to_vec();
        let ids = [GroupId::CONTROL, GroupId::TRAFFIC].into_iter();
        let mut all = Vec::new();
        for group in ids.chain(shards.iter().map(|shard| GroupId::shard(shard.0))) {
            let mut comparison = Comparison::of(engine, group).await;
            for _ in 0..LOOKS_MAX {
                if comparison.verdict != UNKNOWN {
                    break;
                }
                tokio::time::sleep(LOOK_PAUSE).await;
                comparison = Comparison::of(engine, group).await;
            }
            all.push(comparison);
        }
        all
    }

    async fn of(engine: &Engine, group: GroupId) -> Comparison {
        let members = engine
            .cluster
            .status(&engine.directory, group)
            .await
            .map(|status| status.members)
            .unwrap_or_default();
        let raft = engine.cluster.raft();
        let sums =
            members.iter().map(|member| async { (member.node, raft.checksum_at(member.node, group).await) });
        let sums = futures_util::future::join_all(sums).await;
        let known: Vec<_> = sums.iter().filter_map(|(_, sum)| *sum).collect();
        let same_entry =
            known.windows(2).all(|two| two.first().map(|sum| sum.index) == two.get(1).map(|sum| sum.index));
        let verdict = if known.is_empty() || known.len() < sums.len() || !same_entry {
            UNKNOWN
        } else if known.windows(2).all(|two| two.first() == two.get(1)) {
            "equal"
        } else {
            "different"
        };
        let replicas = sums.into_iter().map(|(node, sum)| Sum {
            node,
            index: sum.and_then(|sum| sum.index),
            rows: sum.map(|sum| sum.rows),
            hash: sum.map(|sum| estafette_storage::BodyHash(sum.hash).to_string()),
        });
        Comparison { group: group.to_string(), verdict, replicas: replicas.collect() }
    }
}

const UNKNOWN: &str = "not known";

fn group_report(group: GroupId, status: Option<&Status>) -> GroupReport {
    let members = status.map(|status| {
        let replica = |member: &estafette_raft::MemberStatus| Replica {
            node: member.node,
            votes: member.votes,
            lag: status.lag(member.node),
        };
        status.members.iter().map(replica).collect()
    });
    GroupReport {
        group: group.to_string(),
        leader: status.and_then(|status| status.leader),
        applied: status.and_then(|status| status.applied),
        members: members.unwrap_or_default(),
    }
}

fn move_reports(engine: &Engine) -> Vec<MoveReport> {
    let moves: Vec<(Move, String)> = {
        let directory = engine.directory.read();
        let name = |account| directory.account(account).map_or_else(String::new, |a| a.username.to_string());
        directory.moves().map(|moving| (*moving, name(moving.account))).collect()
    };
    let report = |(moving, username): (Move, String)| {
        let row = |shard| {
            let at = AccountRef { shard, account: moving.account };
            read::account_row(&engine.store, at).ok().flatten()
        };
        let (source, target) = (row(moving.from), row(moving.to));
        let is_on_its_way = |state| matches!(state, AccountState::Arriving | AccountState::Ready);
        let target = target.filter(|row| is_on_its_way(row.state));
        let both = [moving.from, moving.to];
        let phase = match (source.map(|row| row.state), target) {
            _ if !both.iter().all(|shard| engine.shards.is_here(*shard)) => "not known here",
            (Some(AccountState::Sealed), _) => "closing",
            (_, Some(_)) => "sending",
            _ => "waiting",
        };
        MoveReport {
            account: moving.account.0,
            username,
            from: moving.from,
            to: moving.to,
            begun_ms: moving.begun_ms,
            phase,
            problem: engine.cluster.move_trouble(moving.account),
            sent: target.map_or(0, |row| row.installed),
            messages: source.map_or(0, |row| row.messages),
            bytes: source.map_or(0, |row| row.bytes),
        }
    };
    let mut moves: Vec<MoveReport> = moves.into_iter().map(report).collect();
    moves.sort_by_key(|moving| moving.begun_ms);
    moves
}

/// Nodes whose store has failed: this one knows it of itself, others say that they cannot write.
async fn failed(engine: &Engine, nodes: impl Iterator<Item = NodeId>) -> BTreeSet<NodeId> {
    let own = engine.cluster.id();
    let has_failed = async |node: NodeId| match node == own {
        true => Failure::of(&engine.store).is_some(),
        false if !engine.cluster.reaches(node) => false,
        false => {
            let status = engine.cluster.raft().status_at(node, GroupId::CONTROL).await;
            status.is_some_and(|status| !status.running)
        }
    };
    let answers = nodes.map(async |node| (node, has_failed(node).await));
    let answers = futures_util::future::join_all(answers).await;
    answers.into_iter().filter(|(_, failed)| *failed).map(|(node, _)| node).collect()
}

/// What is said of a node that has failed.
fn of_failed(engine: &Engine, node: NodeId, safe_to_stop: bool) -> String {
    let known = if node == engine.cluster.id() { Failure::of(&engine.store) } else { None };
    let what = known.map_or("It has failed: its log says what is to be done.", |failure| failure.advice());
    let more =
        if safe_to_stop { "All groups go on without it." } else { "Not all groups go on without it yet." };
    format!("{what} {more}")
}

/// Whether all groups go on without a node, and what to say about it.
fn advice(
    engine: &Engine,
    node: NodeId,
    failed: &BTreeSet<NodeId>,
    groups: &[(GroupId, Option<Status>)],
) -> (bool, String) {
    for (group, status) in groups {
        let Some(status) = status else {
            return (false, format!("No: {group} has no leader that answers, so wait until it has one."));
        };
        let voting = status.voting();
        if !voting.contains(&node) {
            continue;
        }
        let good = |other: &&NodeId| {
            !failed.contains(*other)
                && engine.cluster.reaches(**other)
                && status.lag(**other).is_some_and(|lag| lag <= GOES_ON_LAG_MAX)
        };
        let others = voting.iter().filter(|other| **other != node).filter(good).count();
        let needed = voting.len() / 2 + 1;
        if others < needed {
            let text = match voting.len() {
                1 => format!("No: it has the only replica of {group}."),
                _ => format!(
                    "No: {group} needs {needed} replicas that are up and up to date, and has {others} without it."
                ),
            };
            return (false, text);
        }
    }
    (true, "Yes: all groups go on without it.".to_owned())
}
