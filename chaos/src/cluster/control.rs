//! The command line of the cluster, as an operator uses it, and what `status` says.

use super::member::Member;
use super::net::{self, Number};
use crate::error::{ChaosError, Stop};
use crate::finding::Finding;
use crate::random::Random;
use serde_json::Value;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

/// For a command that has only to be answered, and for one that waits until data has moved: gigabytes, after many rounds,
/// over processors and disks that all share.
const ANSWER_WAIT: Duration = Duration::from_secs(20);
pub(super) const MOVE_WAIT: Duration = Duration::from_secs(600);
/// For all rows of all replicas to be read.
const COMPARE_WAIT: Duration = Duration::from_secs(60);
/// What the comparison says of replicas that it could not compare.
const UNKNOWN: &str = "not known";
/// As much of an output as findings carry.
const OUTPUT_BYTES: usize = 2000;

/// What `estafette cluster status --json` says, as far as it is used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Status {
    pub(crate) text: String,
    nodes: Vec<Node>,
    groups: Vec<Group>,
}

#[derive(Clone, Debug)]
struct Node {
    id: u64,
    number: Number,
    /// It belongs to the cluster, and is neither leaving nor given up.
    active: bool,
    reachable: bool,
    safe_to_stop: bool,
}

#[derive(Clone, Debug)]
struct Group {
    /// Not the control group, nor that of counts.
    is_of_shard: bool,
    leader: Option<u64>,
    members: Vec<Replica>,
}

#[derive(Clone, Copy, Debug)]
struct Replica {
    node: u64,
    votes: bool,
    /// Entries that it lacks, where that is known.
    lag: Option<u64>,
}

impl Status {
    /// From the output of the command.
    pub(crate) fn parse(text: &str) -> Option<Status> {
        let value: Value = serde_json::from_str(text).ok()?;
        let nodes = value.get("nodes")?.as_array()?.iter().filter_map(node).collect();
        let groups = value.get("groups")?.as_array()?.iter().map(group).collect();
        Some(Status { text: text.to_owned(), nodes, groups })
    }

    fn number(&self, id: u64) -> Option<Number> {
        self.nodes.iter().find(|node| node.id == id).map(|node| node.number)
    }

    /// The leaders of groups, by the numbers of their nodes.
    pub(crate) fn leaders(&self) -> Vec<Number> {
        self.groups.iter().filter_map(|group| self.number(group.leader?)).collect()
    }

    /// The identifier of a node, for commands. Of several, as after it was wiped, the newest.
    pub(crate) fn id(&self, number: Number) -> Option<u64> {
        self.nodes.iter().filter(|node| node.number == number).map(|node| node.id).max()
    }

    /// True if a node with this identifier belongs, even if it is leaving.
    pub(crate) fn knows(&self, id: u64) -> bool {
        self.nodes.iter().any(|node| node.id == id)
    }

    /// True if the node votes in the group of a shard.
    pub(crate) fn has_share(&self, number: Number) -> bool {
        let Some(id) = self.id(number) else { return false };
        let votes = |group: &Group| group.members.iter().any(|replica| replica.node == id && replica.votes);
        self.groups.iter().any(|group| group.is_of_shard && votes(group))
    }

    /// Who leads the group of a shard that a node with this identifier only learns, and lacks entries of.
    pub(crate) fn leader_of_learner(&self, id: u64) -> Option<Number> {
        let learns = |replica: &Replica| replica.node == id && !replica.votes && replica.lag > Some(0);
        let group = self.groups.iter().find(|group| group.is_of_shard && group.members.iter().any(learns))?;
        self.number(group.leader?)
    }

    /// True if it says that the node may be stopped now.
    pub(crate) fn safe_to_stop(&self, number: Number) -> bool {
        self.nodes.iter().any(|node| node.number == number && node.safe_to_stop)
    }

    /// True if all nodes belong and are reachable, all groups have a leader, and no replica is behind or only
    /// learns.
    pub(crate) fn settled(&self) -> bool {
        let is_level = |replica: &Replica| replica.votes && replica.lag.unwrap_or(0) == 0;
        let whole = |group: &Group| {
            let known = group.leader.is_some() && !group.members.is_empty();
            known && group.members.iter().all(is_level)
        };
        let fine = |node: &Node| node.active && node.reachable;
        !self.groups.is_empty() && self.nodes.iter().all(fine) && self.groups.iter().all(whole)
    }
}

fn node(value: &Value) -> Option<Node> {
    let address: &str = value.get("address")?.as_str()?;
    let host: Ipv4Addr = address.rsplit_once(':')?.0.parse().ok()?;
    let number = (1..=net::NODES_MAX).find(|number| net::front(*number) == host)?;
    let is = |key: &str| value.get(key).and_then(Value::as_bool);
    Some(Node {
        id: value.get("id")?.as_u64()?,
        number,
        active: value.get("state").and_then(Value::as_str) == Some("active"),
        reachable: is("reachable").unwrap_or(true),
        safe_to_stop: is("safe_to_stop").unwrap_or(false),
    })
}

fn group(value: &Value) -> Group {
    let members = value.get("members").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let name = value.get("group").and_then(Value::as_str).unwrap_or_default();
    let replica = |replica: &Value| Replica {
        // One that has no number is nobody's, and still counts.
        node: replica.get("node").and_then(Value::as_u64).unwrap_or(0),
        votes: replica.get("votes") == Some(&Value::Bool(true)),
        lag: replica.get("lag").and_then(Value::as_u64),
    };
    Group {
        is_of_shard: name.starts_with("shard"),
        leader: value.get("leader").and_then(Value::as_u64),
        members: members.iter().map(replica).collect(),
    }
}

/// Runs `estafette cluster` by the control socket of a running node.
async fn cluster(program: &Path, data: &Path, words: &[&str], wait: Duration) -> Result<String, String> {
    let mut command = Command::new(program);
    command.arg("cluster").args(words).arg("--data").arg(data);
    finish(command, wait).await
}

/// What a command printed; what it said when it failed or did not end.
async fn finish(mut command: Command, wait: Duration) -> Result<String, String> {
    command.kill_on_drop(true).stdin(std::process::Stdio::null());
    let output = match timeout(wait, command.output()).await {
        Err(_) => return Err(format!("no end within {} s", wait.as_secs())),
        Ok(Err(error)) => return Err(error.to_string()),
        Ok(Ok(output)) => output,
    };
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(said);
    }
    let text = format!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
    Err(text.chars().rev().take(OUTPUT_BYTES).collect::<Vec<_>>().into_iter().rev().collect())
}

/// What a node says of the cluster; `None` if it says nothing.
pub(crate) async fn status(program: &Path, data: &Path) -> Option<Status> {
    let text = cluster(program, data, &["status", "--json"], ANSWER_WAIT).await.ok()?;
    Status::parse(&text)
}

/// Compares the replicas of all groups at one node; what it said when some are unequal, or could not be compared.
pub(crate) async fn compare(program: &Path, data: &Path) -> Result<(), String> {
    let text = cluster(program, data, &["compare", "--json"], COMPARE_WAIT).await?;
    if text.contains(UNKNOWN) { Err(text) } else { Ok(()) }
}

fn finding(command: &str) -> impl FnOnce(String) -> Stop {
    move |output| Finding::Command { command: format!("estafette cluster {command}"), output }.into()
}

/// Makes a running node the first of a cluster; a token for the next one.
pub(crate) async fn init(program: &Path, data: &Path) -> Result<String, Stop> {
    cluster(program, data, &["init"], ANSWER_WAIT).await.map_err(finding("init"))
}

/// A token for another node.
pub(crate) async fn token(program: &Path, data: &Path) -> Result<String, Stop> {
    cluster(program, data, &["token"], ANSWER_WAIT).await.map_err(finding("token"))
}

/// The usernames of all accounts that have mailboxes.
pub(crate) async fn usernames(program: &Path, data: &Path) -> Result<Vec<String>, Stop> {
    let mut command = Command::new(program);
    command.args(["account", "list", "--json", "--data"]).arg(data);
    let text = finish(command, ANSWER_WAIT).await.map_err(finding("account list"))?;
    let list: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    let name = |account: &Value| {
        account.get("shard")?.as_u64()?;
        Some(account.get("username")?.as_str()?.to_owned())
    };
    Ok(list.iter().filter_map(name).collect())
}

/// Begins to move an account to the emptiest other shard, if it does not move already.
pub(crate) async fn move_account(program: &Path, data: &Path, name: &str) -> Result<(), Stop> {
    cluster(program, data, &["move", name, "--no-wait"], ANSWER_WAIT).await.map(drop).map_err(finding("move"))
}

/// Says so while accounts are on their way.
pub(crate) async fn moves_ended(program: &Path, data: &Path) -> Result<(), Stop> {
    let text = cluster(program, data, &["status", "--json"], ANSWER_WAIT).await.map_err(finding("status"))?;
    let status: Value = serde_json::from_str(&text).unwrap_or_default();
    match status.get("moves").and_then(Value::as_array) {
        Some(moves) if moves.is_empty() => Ok(()),
        _ => Err(finding("move")(text)),
    }
}

/// A node leaves: ends when its data is elsewhere.
pub(crate) async fn leave(program: &Path, data: &Path) -> Result<(), Stop> {
    cluster(program, data, &["leave"], MOVE_WAIT).await.map(|_| ()).map_err(finding("leave"))
}

/// Another node, whose folder is gone, begins to leave for good.
pub(crate) async fn leave_soon(program: &Path, data: &Path, id: u64) -> Result<(), Stop> {
    let id = id.to_string();
    let words = ["leave", &id, "--no-wait"];
    cluster(program, data, &words, ANSWER_WAIT).await.map(drop).map_err(finding("leave"))
}

/// A node with an empty folder joins by a token; it does not run yet.
pub(crate) async fn join(member: &mut Member, token: &str, random: &mut Random) -> Result<(), Stop> {
    let joining = member.command(random)?;
    let mut command = Command::from(joining.command);
    command.args(["cluster", "join", token.trim(), "--data"]).arg(&joining.data);
    command.arg("--config").arg(&joining.config);
    std::fs::create_dir_all(&joining.data).map_err(ChaosError::file(&joining.data))?;
    finish(command, MOVE_WAIT).await.map(|_| ()).map_err(finding("join"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"nodes":[
        {"id":4,"address":"10.77.0.101:7400","label":"a","state":"active","reachable":true,"safe_to_stop":false},
        {"id":7,"address":"10.77.0.102:7400","label":"b","state":"active","reachable":true,"safe_to_stop":true}],
        "groups":[{"group":"control","leader":7,"members":[{"node":4,"votes":true,"lag":0},{"node":7,"votes":true,"lag":LAG}]}]}"#;

    fn parse(lag: &str) -> Status {
        Status::parse(&TEXT.replace("LAG", lag)).unwrap()
    }

    #[test]
    fn status_is_understood() {
        let status = parse("0");
        assert_eq!((status.leaders(), status.id(1)), (vec![2], Some(4)));
        assert_eq!((status.safe_to_stop(1), status.safe_to_stop(2)), (false, true));
        assert!(status.settled());
        assert!(!parse("3").settled());
        assert!(Status::parse("cluster of one").is_none());
    }

    #[test]
    fn shares_and_learners_of_shards_are_told() {
        let of_shard = |votes: &str| {
            let text = TEXT
                .replace("control", "shard-1")
                .replace("LAG", "5")
                .replace(r#""leader":7"#, r#""leader":4"#);
            Status::parse(&text.replace(r#""node":7,"votes":true"#, votes)).unwrap()
        };
        let (voter, learner) = (of_shard(r#""node":7,"votes":true"#), of_shard(r#""node":7,"votes":false"#));
        assert_eq!((voter.has_share(2), voter.leader_of_learner(7)), (true, None));
        assert_eq!((learner.has_share(2), learner.leader_of_learner(7)), (false, Some(1)));
        assert!(!parse("0").has_share(2), "the control group is no share");
        assert!(voter.knows(4) && !voter.knows(5));
    }
}
