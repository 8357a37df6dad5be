//! `/cluster`: its nodes and groups, how it begins, who joins and leaves.

use super::caller::Caller;
use super::extract::{Input, Named};
use super::{Api, Failure};
use crate::cluster::{Comparison, Report, TOKEN_VALID_MS};
use axum::Json;
use axum::extract::State;
use estafette_directory::{Change, NodeChange, NodeState};
use estafette_raft::NodeId;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenInput {
    /// How long it can be used.
    #[serde(default = "valid_ms")]
    valid_ms: u64,
    /// The label of the node that joins with it.
    #[serde(default)]
    label: Option<String>,
}

fn valid_ms() -> u64 {
    TOKEN_VALID_MS
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeInput {
    address: Option<String>,
    label: Option<String>,
    state: Option<NodeState>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsInput {
    replicas: Option<u8>,
    replace_after_ms: Option<u64>,
    move_rate_kib: Option<u32>,
}

pub(super) async fn show(State(api): State<Api>, caller: Caller) -> Result<Json<Report>, Failure> {
    caller.need_operator(&api.directory())?;
    Ok(Json(Report::make(&api.engine).await))
}

pub(super) async fn compare(State(api): State<Api>, caller: Caller) -> Result<Json<Value>, Failure> {
    caller.need_operator(&api.directory())?;
    Ok(Json(json!({ "groups": Comparison::make(&api.engine).await })))
}

pub(super) async fn found(State(api): State<Api>, caller: Caller) -> Result<Json<Value>, Failure> {
    caller.need_operator(&api.directory())?;
    api.engine.cluster.found(&api.engine, caller.actor, caller.origin).await?;
    Ok(Json(json!({ "node": api.engine.cluster.id() })))
}

pub(super) async fn token(
    State(api): State<Api>,
    caller: Caller,
    Input(input): Input<TokenInput>,
) -> Result<Json<Value>, Failure> {
    caller.need_operator(&api.directory())?;
    let valid = Duration::from_millis(input.valid_ms);
    let cluster = &api.engine.cluster;
    let token = cluster.token(&api.engine, caller.actor, caller.origin, valid, input.label).await?;
    Ok(Json(json!({ "token": token.text(), "valid_ms": input.valid_ms })))
}

pub(super) async fn change_node(
    State(api): State<Api>,
    caller: Caller,
    Named(node): Named<u64>,
    Input(input): Input<NodeInput>,
) -> Result<Json<Value>, Failure> {
    caller.need_operator(&api.directory())?;
    let changes = [
        input.address.map(NodeChange::Address),
        input.label.map(NodeChange::Label),
        input.state.map(NodeChange::State),
    ];
    for change in changes.into_iter().flatten() {
        let change = Change::ChangeNode { node: NodeId(node), change };
        api.engine.change(caller.actor, caller.origin, change).await?;
    }
    Ok(Json(json!({})))
}

pub(super) async fn remove_node(
    State(api): State<Api>,
    caller: Caller,
    Named(node): Named<u64>,
) -> Result<Json<Value>, Failure> {
    caller.need_operator(&api.directory())?;
    let change = Change::RemoveNode { node: NodeId(node) };
    api.engine.change(caller.actor, caller.origin, change).await?;
    Ok(Json(json!({})))
}

pub(super) async fn set(
    State(api): State<Api>,
    caller: Caller,
    Input(input): Input<SettingsInput>,
) -> Result<Json<Value>, Failure> {
    let mut changes = Vec::new();
    {
        let directory = api.directory();
        caller.need_operator(&directory)?;
        if input.replicas.is_some() || input.replace_after_ms.is_some() {
            let present = directory.cluster().ok_or(estafette_directory::Refusal::NoCluster)?;
            changes.push(Change::SetClusterSettings {
                replicas: input.replicas.unwrap_or(present.replicas),
                replace_after_ms: input.replace_after_ms.unwrap_or(present.replace_after_ms),
            });
        }
    }
    changes.extend(input.move_rate_kib.map(|kib_per_second| Change::SetMoveRate { kib_per_second }));
    for change in changes {
        api.engine.change(caller.actor, caller.origin, change).await?;
    }
    Ok(Json(json!({})))
}
