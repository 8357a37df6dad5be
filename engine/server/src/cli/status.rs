//! `estafette status`

use super::output::{Column, bytes, list_of, moment, text};
use super::{CliError, Context};
use serde_json::Value;

const FIELDS: [Column<'_>; 12] = [
    ("host", |v| text(v, "hostname")),
    ("version", |v| text(v, "version")),
    ("process", |v| text(v, "pid")),
    ("started (UTC)", |v| moment(v, "started_ms")),
    ("store", |v| text(v, "health")),
    ("takes mail", |v| text(v, "takes_mail")),
    ("domains", |v| text(v, "domains")),
    ("accounts", |v| text(v, "accounts")),
    ("aliases", |v| text(v, "aliases")),
    ("queue", |v| text(v, "queue")),
    ("disk", disk),
    ("accounts by shard", shards),
];

const GROUPS: [Column<'_>; 8] = [
    ("GROUP", |v| text(v, "name")),
    ("RUNNING", |v| text(v, "running")),
    ("LEADER", |v| text(v, "leader")),
    ("TERM", |v| text(v, "term")),
    ("LAST", |v| text(v, "last")),
    ("APPLIED", |v| text(v, "applied")),
    ("SNAPSHOT", |v| text(v, "snapshot")),
    ("VOTERS", |v| text(v, "voters")),
];

fn disk(value: &Value) -> String {
    value.get("disk").filter(|disk| !disk.is_null()).map_or_else(String::new, |disk| {
        format!(
            "{} free of {}; mail is taken while {} are free",
            bytes(disk, "free_bytes"),
            bytes(disk, "total_bytes"),
            bytes(disk, "keep_free_bytes")
        )
    })
}

fn shards(value: &Value) -> String {
    let one = |shard: &Value| format!("{}: {}", text(shard, "shard"), text(shard, "accounts"));
    let shards = value.get("shards").and_then(Value::as_array);
    shards.map_or_else(String::new, |shards| shards.iter().map(one).collect::<Vec<_>>().join(", "))
}

pub(super) async fn run(context: &Context) -> Result<(), CliError> {
    let mut client = context.client().await?;
    let status = client.get("/status").await?;
    context.output.fields(&status, &FIELDS)?;
    if context.output.is_json() {
        return Ok(());
    }
    context.output.line("")?;
    let groups = list_of(&status, "groups");
    context.output.list(&groups, &GROUPS)
}
