//! `estafette cluster`: several nodes that are one.

use super::client::Client;
use super::output::{Column, list_of, text};
use super::{CliError, Context, cluster_moves};
use crate::cluster::{self, JoinToken};
use crate::config::Config;
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// Between two looks while a node leaves.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Make a cluster of this node, and print a token with which one more can join
    Init,
    /// Print a token with which one node can join
    Token {
        /// How many hours it can be used
        #[arg(long, default_value_t = 24, value_name = "HOURS")]
        valid: u64,
        /// The label of the node that joins with it
        #[arg(long)]
        label: Option<String>,
    },
    /// Join a cluster with an empty data folder; then start the server on it
    Join {
        /// As `cluster init` or `cluster token` printed it on a node of the cluster
        token: String,
        /// The settings of this node
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// How the cluster is, and which node may be stopped
    Status,
    /// Compare the replicas of all groups, by checksums over all of their rows
    Compare,
    /// Let this node, or another one, go: waits until its data is elsewhere
    Leave {
        /// Its number; this node's, when none is named
        node: Option<u64>,
        /// Do not wait
        #[arg(long)]
        no_wait: bool,
    },
    /// Move an account to another shard while it is used; waits until it is there
    Move {
        /// Its username
        account: String,
        /// The number of the shard; the one with the fewest accounts, when none is named
        #[arg(long)]
        to: Option<u32>,
        /// Give up a move that was begun: the account stays where it is
        #[arg(long, conflicts_with = "to")]
        abandon: bool,
        /// Do not wait
        #[arg(long)]
        no_wait: bool,
    },
    /// Move accounts until all shards hold about the same
    Rebalance {
        /// Only say what would move
        #[arg(long)]
        dry_run: bool,
        /// A shard that is to be empty; may be given several times
        #[arg(long, value_name = "SHARD")]
        without: Vec<u32>,
    },
    /// Change how the cluster keeps its data
    Set {
        /// Replicas of each shard
        #[arg(long)]
        replicas: Option<u8>,
        /// Minutes after which a dead node is replaced
        #[arg(long)]
        replace_after: Option<u64>,
        /// KiB per second that are sent of accounts which move
        #[arg(long, value_name = "KIB")]
        move_rate: Option<u32>,
    },
}

const NODES: [Column<'_>; 6] = [
    ("NODE", |v| text(v, "id")),
    ("ADDRESS", |v| text(v, "address")),
    ("LABEL", |v| text(v, "label")),
    ("STATE", |v| text(v, "state")),
    ("REACHED", |v| if v.get("reachable") == Some(&Value::Bool(true)) { "yes" } else { "no" }.to_owned()),
    ("MAY BE STOPPED NOW", |v| text(v, "advice")),
];

const GROUPS: [Column<'_>; 4] = [
    ("GROUP", |v| text(v, "group")),
    ("LEADER", |v| text(v, "leader")),
    ("APPLIED", |v| text(v, "applied")),
    ("REPLICAS (BEHIND)", replicas),
];

const COMPARISONS: [Column<'_>; 3] = [
    ("GROUP", |v| text(v, "group")),
    ("REPLICAS", |v| text(v, "verdict")),
    ("ROWS", |v| {
        let list = list_of(v, "replicas");
        list.first().map(|replica| text(replica, "rows")).unwrap_or_default()
    }),
];

fn replicas(group: &Value) -> String {
    let list = list_of(group, "members");
    let one = |member: &Value| {
        let learns = if member.get("votes") == Some(&Value::Bool(true)) { "" } else { ", learns" };
        match member.get("lag").and_then(Value::as_u64) {
            Some(0) => format!("{}{learns}", text(member, "node")),
            Some(lag) => format!("{} ({lag}{learns})", text(member, "node")),
            None => format!("{} (not known{learns})", text(member, "node")),
        }
    };
    list.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl ClusterCommand {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            ClusterCommand::Init => {
                let mut client = context.client().await?;
                client.call(Method::POST, "/cluster", None).await?;
                token(context, &mut client, json!({})).await
            }
            ClusterCommand::Token { valid, label } => {
                let mut client = context.client().await?;
                let valid_ms = valid.saturating_mul(3_600_000);
                token(context, &mut client, json!({ "valid_ms": valid_ms, "label": label })).await
            }
            ClusterCommand::Join { token, config } => join(context, &token, config).await,
            ClusterCommand::Status => status(context).await,
            ClusterCommand::Compare => {
                let answer = context.client().await?.get("/cluster/comparison").await?;
                let groups = list_of(&answer, "groups");
                context.output.list(&groups, &COMPARISONS)?;
                match groups.iter().filter(|group| text(group, "verdict") == "different").count() {
                    0 => Ok(()),
                    count => Err(CliError::Damaged { count: count as u64 }),
                }
            }
            ClusterCommand::Leave { node, no_wait } => leave(context, node, no_wait).await,
            ClusterCommand::Move { account, to, abandon, no_wait } => {
                cluster_moves::run(context, &account, to, abandon, no_wait).await
            }
            ClusterCommand::Rebalance { dry_run, without } => {
                cluster_moves::rebalance(context, dry_run, &without).await
            }
            ClusterCommand::Set { replicas, replace_after, move_rate } => {
                let mut client = context.client().await?;
                let replace_after_ms = replace_after.map(|minutes| minutes.saturating_mul(60_000));
                let body = json!({
                    "replicas": replicas,
                    "replace_after_ms": replace_after_ms,
                    "move_rate_kib": move_rate,
                });
                let answer = client.call(Method::PATCH, "/cluster", Some(&body)).await?;
                context.output.done(&answer, "changed")
            }
        }
    }
}

async fn token(context: &Context, client: &mut Client, body: Value) -> Result<(), CliError> {
    let answer = client.call(Method::POST, "/cluster/tokens", Some(&body)).await?;
    context.output.done(&answer, &text(&answer, "token"))
}

async fn join(context: &Context, token: &str, config: Option<PathBuf>) -> Result<(), CliError> {
    let config = match &config {
        Some(path) => Config::read(path).map_err(|error| CliError::argument("--config", error))?,
        None => Config::default(),
    };
    let token = JoinToken::parse(token).map_err(|error| CliError::argument("the token", error))?;
    let joined = cluster::join(&context.data, &config.cluster, &token).await.map_err(CliError::Cluster)?;
    let (node, when) = (joined.node, if joined.already { "already" } else { "now" });
    let sentence = format!("this is node {node} of the cluster {when}; start it with `estafette serve`");
    context.output.done(&json!({ "node": node }), &sentence)
}

async fn status(context: &Context) -> Result<(), CliError> {
    let report = context.client().await?.get("/cluster").await?;
    if context.output.is_json() {
        return context.output.done(&report, "");
    }
    let list = |key: &str| list_of(&report, key);
    if report.get("cluster").is_none_or(Value::is_null) {
        context.output.line("This node is alone. `estafette cluster init` makes a cluster of it.")?;
    } else {
        context.output.list(&list("nodes"), &NODES)?;
        context.output.line("")?;
    }
    context.output.list(&list("groups"), &GROUPS)?;
    if !list("moves").is_empty() {
        context.output.line("")?;
        context.output.list(&list("moves"), &cluster_moves::MOVES)?;
    }
    Ok(())
}

/// What is known of the cluster while the node that is asked leaves. Once it was removed it ends by itself, and leaves a mark; a
/// connection that is lost without one tells nothing.
fn of_leaving(report: Result<Value, CliError>, was_removed: impl Fn() -> bool) -> Result<Value, CliError> {
    match report {
        Err(CliError::NotRunning { .. } | CliError::Talk(_)) if was_removed() => Ok(json!({ "nodes": [] })),
        Err(CliError::NotRunning { .. } | CliError::Talk(_)) => Err(CliError::StoppedLeaving),
        report => report,
    }
}

async fn leave(context: &Context, node: Option<u64>, no_wait: bool) -> Result<(), CliError> {
    let mut client = context.client().await?;
    let report = client.get("/cluster").await?;
    let own = report.get("node").and_then(Value::as_u64).ok_or(CliError::Answer)?;
    let node = node.unwrap_or(own);
    let body = json!({ "state": "leaving" });
    client.call(Method::PATCH, &format!("/cluster/nodes/{node}"), Some(&body)).await?;
    if no_wait {
        return context.output.done(&json!({ "node": node }), &format!("node {node} is leaving"));
    }
    let mut told = usize::MAX;
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        let mut report = client.get("/cluster").await;
        if node == own {
            report = of_leaving(report, || cluster::was_removed(&context.data));
        }
        let report = report?;
        let list = |key: &str| list_of(&report, key);
        if !list("nodes").iter().any(|other| other.get("id").and_then(Value::as_u64) == Some(node)) {
            let sentence = format!("node {node} has left; it can be stopped and its data folder removed");
            return context.output.done(&json!({ "node": node }), &sentence);
        }
        let has = |group: &&Value| {
            let members = list_of(group, "members");
            members.iter().any(|member| member.get("node").and_then(Value::as_u64) == Some(node))
        };
        let left = list("groups").iter().filter(has).count();
        if left != told && !context.output.is_json() {
            told = left;
            context.output.line(&format!("{left} groups are still on node {node}"))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_means_that_the_node_has_left_only_where_it_says_so() {
        let lost = || {
            let source = std::io::ErrorKind::ConnectionRefused.into();
            Err(CliError::NotRunning { socket: PathBuf::from("/d/control"), source })
        };
        assert_eq!(of_leaving(lost(), || true).unwrap(), json!({ "nodes": [] }));
        assert!(matches!(of_leaving(lost(), || false), Err(CliError::StoppedLeaving)));
        assert!(matches!(of_leaving(Err(CliError::Answer), || true), Err(CliError::Answer)));
        assert_eq!(of_leaving(Ok(json!(1)), || true).unwrap(), json!(1));
    }
}
