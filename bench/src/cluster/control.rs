//! The command line of the program, as an operator uses it on a node of a cluster, and what it says.

use crate::error::BenchError;
use serde::Deserialize;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// The longest that a command may take.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// What `estafette cluster status --json` says, as far as it is used.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Status {
    nodes: Vec<NodeStatus>,
    groups: Vec<GroupStatus>,
}

#[derive(Clone, Debug, Deserialize)]
struct NodeStatus {
    id: u64,
    address: String,
    reachable: bool,
    round_trip_us: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
struct GroupStatus {
    group: String,
    leader: Option<u64>,
    members: Vec<Replica>,
}

#[derive(Clone, Debug, Deserialize)]
struct Replica {
    node: u64,
    votes: bool,
    lag: Option<u64>,
}

/// An account and where it is kept.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Kept {
    pub(super) username: String,
    pub(super) shard: Option<u32>,
}

impl Status {
    /// The number that the cluster has given to the node that is reached there; of several the newest.
    pub(super) fn id(&self, mesh: &str) -> Option<u64> {
        self.nodes.iter().filter(|node| node.address == mesh).map(|node| node.id).max()
    }

    /// The node that leads a shard.
    pub(super) fn leader(&self, shard: u32) -> Option<u64> {
        let name = format!("shard-{shard}");
        self.groups.iter().find(|group| group.group == name)?.leader
    }

    /// How many shards there are.
    pub(super) fn shards(&self) -> usize {
        self.shard_leaders().count()
    }

    /// How many of them a node leads.
    pub(super) fn leads(&self, id: u64) -> usize {
        self.shard_leaders().filter(|leader| *leader == Some(id)).count()
    }

    fn shard_leaders(&self) -> impl Iterator<Item = Option<u64>> {
        self.groups.iter().filter(|group| group.group.starts_with("shard-")).map(|group| group.leader)
    }

    /// True if just so many nodes belong, all are reached, and every group has a leader and as many voters as there
    /// are nodes, of which none is behind.
    pub(super) fn is_whole(&self, nodes: usize) -> bool {
        // A node that is alone lists itself or nobody.
        let belong = self.nodes.len() == nodes || (nodes == 1 && self.nodes.is_empty());
        let whole = |group: &GroupStatus| {
            let level = group.members.iter().all(|member| member.votes && member.lag == Some(0));
            group.leader.is_some() && group.members.len() == nodes && level
        };
        belong
            && self.nodes.iter().all(|node| node.reachable)
            && !self.groups.is_empty()
            && self.groups.iter().all(whole)
    }

    /// True if a node votes in every group, with no more entries to come than those under way.
    pub(super) fn votes_everywhere(&self, id: u64) -> bool {
        let votes = |group: &GroupStatus| group.members.iter().any(|one| one.node == id && one.votes);
        !self.groups.is_empty() && self.groups.iter().all(votes)
    }

    /// True if no node leads many more shards than another.
    pub(super) fn is_spread(&self) -> bool {
        let counts: Vec<usize> = self.nodes.iter().map(|node| self.leads(node.id)).collect();
        match (counts.iter().min(), counts.iter().max()) {
            (Some(fewest), Some(most)) => most - fewest <= 1,
            _ => true,
        }
    }

    /// The longest time of a request to another node and its answer, as the node that tells has it.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.nodes.iter().filter_map(|node| node.round_trip_us).max().map(Duration::from_micros)
    }
}

/// What a node says of the cluster; `None` if it says nothing.
pub(super) async fn status(program: &Path, data: &Path) -> Option<Status> {
    let text = said(program, &["cluster", "status", "--json"], data).await.ok()?;
    serde_json::from_str(&text).ok()
}

/// Where the accounts of a node are kept.
pub(super) async fn kept(program: &Path, data: &Path) -> Result<Vec<Kept>, BenchError> {
    let text = said(program, &["account", "list", "--json"], data).await?;
    Ok(serde_json::from_str(&text)?)
}

/// What `estafette`, with these words, says of the node with this data.
pub(super) async fn said(program: &Path, words: &[&str], data: &Path) -> Result<String, BenchError> {
    let mut command = Command::new(program);
    command.args(words).arg("--data").arg(data).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(ANSWER_WAIT, command.output()).await;
    let output = output.map_err(|_| BenchError::Slow(ANSWER_WAIT.as_secs()))??;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let why = format!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Err(BenchError::Tool { tool: "estafette", why })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"cluster":"c","node":4,"nodes":[
        {"id":4,"address":"127.0.0.1:1","label":"a","reachable":true,"round_trip_us":null},
        {"id":7,"address":"127.0.0.2:1","label":"b","reachable":true,"round_trip_us":250}],
        "groups":[
        {"group":"control","leader":7,"members":[{"node":4,"votes":true,"lag":0},{"node":7,"votes":true,"lag":0}]},
        {"group":"shard-3","leader":4,"members":[{"node":4,"votes":true,"lag":0},{"node":7,"votes":VOTES,"lag":LAG}]}]}"#;

    fn parse(votes: &str, lag: &str) -> Status {
        serde_json::from_str(&TEXT.replace("VOTES", votes).replace("LAG", lag)).unwrap()
    }

    #[test]
    fn status_is_understood() {
        let status = parse("true", "0");
        assert!(status.is_whole(2) && !status.is_whole(3));
        assert_eq!((status.id("127.0.0.2:1"), status.id("127.0.0.3:1")), (Some(7), None));
        assert_eq!((status.leader(3), status.leader(4), status.shards()), (Some(4), None, 1));
        assert_eq!((status.leads(4), status.leads(7)), (1, 0));
        assert_eq!(status.round_trip(), Some(Duration::from_micros(250)));
        assert!(status.is_spread() && status.votes_everywhere(7));
    }

    #[test]
    fn who_learns_or_is_behind_is_not_whole() {
        assert!(!parse("false", "0").is_whole(2) && !parse("false", "0").votes_everywhere(7));
        assert!(!parse("true", "3").is_whole(2) && !parse("true", "null").is_whole(2));
        assert!(parse("true", "3").votes_everywhere(7));
    }
}
