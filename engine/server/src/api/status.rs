//! `/status`: the node, its groups, its disk; `/limits`: what a client has to keep to.

use super::caller::Caller;
use super::{Api, Failure, Shared, import};
use crate::engine::now_ms;
use axum::Json;
use axum::extract::State;
use estafette_delivery::queue::Counters;
use estafette_raft::Status;
use estafette_storage::Health;
use serde_json::{Value, json};

impl Shared {
    /// All groups of the node with what they are for.
    pub(super) fn groups(&self) -> Vec<(String, Status)> {
        let engine = &self.engine;
        let mut groups = vec![
            ("control".to_owned(), engine.control.group().status()),
            ("traffic".to_owned(), engine.traffic.status()),
        ];
        for shard in engine.shards.all() {
            if let Ok(group) = engine.shards.group(shard) {
                groups.push((format!("shard {shard}"), group.status()));
            }
        }
        groups
    }
}

impl Shared {
    /// True if every group works and has a leader.
    pub(super) fn is_led(&self) -> bool {
        self.groups().iter().all(|(_, status)| status.running && status.leader.is_some())
    }
}

fn group(name: &str, status: &Status) -> Value {
    json!({
        "name": name,
        "running": status.running,
        "leader": status.leader.map(|node| node.0),
        "leads": status.leads,
        "term": status.term,
        "last": status.last,
        "applied": status.applied,
        "snapshot": status.snapshot,
        "purged": status.purged,
        "voters": status.voters,
    })
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Good => "good",
        Health::Full => "full",
        Health::Failed => "failed",
    }
}

/// What is in the queues of all shards, but of those of which nobody answers.
async fn queued(api: &Api) -> Result<Counters, Failure> {
    let shards = api.directory().shards().to_vec();
    let asked = shards.into_iter().map(|shard| api.engine.queue_count(shard));
    let mut sum = Counters::default();
    for of_shard in futures_util::future::join_all(asked).await {
        match of_shard {
            Ok(of_shard) => sum.add_all(&of_shard),
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sum)
}

pub(super) async fn status(State(api): State<Api>, caller: Caller) -> Result<Json<Value>, Failure> {
    let (counts, shards) = {
        let directory = api.directory();
        caller.need_operator(&directory)?;
        let shards: Vec<Value> = directory
            .shards()
            .iter()
            .map(|shard| json!({ "shard": shard.0, "accounts": directory.shard_load(*shard) }))
            .collect();
        (directory.counts(), shards)
    };
    let queued = queued(&api).await?;
    let groups: Vec<Value> = api.groups().iter().map(|(name, status)| group(name, status)).collect();
    let folder = api.engine.store.dir().to_owned();
    let disk = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&folder)).await?.ok();
    let disk = disk.map(|disk| {
        json!({
            "free_bytes": disk.f_bavail.saturating_mul(disk.f_frsize),
            "total_bytes": disk.f_blocks.saturating_mul(disk.f_frsize),
            "keep_free_bytes": api.engine.config.storage.min_free_bytes,
        })
    });
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "hostname": &*api.engine.hostname,
        "pid": std::process::id(),
        "started_ms": api.started_ms,
        "uptime_seconds": now_ms().saturating_sub(api.started_ms) / 1000,
        "health": word(api.engine.store.health()),
        "takes_mail": api.is_led() && api.engine.takes_mail(),
        "domains": counts.0,
        "accounts": counts.1,
        "aliases": counts.2,
        "queue": queued.items,
        "queue_recipients": queued.recipients,
        "queue_bytes": queued.bytes,
        "groups": groups,
        "shards": shards,
        "disk": disk,
    })))
}

pub(super) async fn limits(State(api): State<Api>, _caller: Caller) -> Json<Value> {
    Json(json!({
        "message_max_bytes": api.engine.config.smtp.message_max_bytes,
        "batch_max_messages": import::BATCH_MESSAGES_MAX,
        "batch_max_bytes": import::batch_max_bytes(&api),
    }))
}
