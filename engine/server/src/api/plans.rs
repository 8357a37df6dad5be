//! `/plans`

use super::caller::Caller;
use super::extract::{Input, ListParams, Named, Params, present};
use super::{Api, Failure};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use estafette_directory::{Change, PlanFields, PlanInfo, Reply};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPlan {
    name: String,
    storage_bytes: Option<u64>,
    mailboxes: Option<u32>,
    subdomains: Option<u32>,
    aliases: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PlanChange {
    name: Option<String>,
    #[serde(deserialize_with = "present")]
    storage_bytes: Option<Option<u64>>,
    #[serde(deserialize_with = "present")]
    mailboxes: Option<Option<u32>>,
    #[serde(deserialize_with = "present")]
    subdomains: Option<Option<u32>>,
    #[serde(deserialize_with = "present")]
    aliases: Option<Option<u32>>,
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Value>, Failure> {
    let directory = api.directory();
    caller.need_administrator(&directory)?;
    let search = params.search.to_lowercase();
    let mut items = directory.plan_list();
    items.retain(|plan| plan.name.to_lowercase().contains(&search));
    Ok(Json(json!({ "items": items, "more": false })))
}

pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Json<PlanInfo>, Failure> {
    let directory = api.directory();
    let plan = caller.plan(&directory, &name)?;
    Ok(Json(directory.plan_info(&plan)))
}

pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Input(input): Input<NewPlan>,
) -> Result<(StatusCode, Json<PlanInfo>), Failure> {
    let NewPlan { name, storage_bytes, mailboxes, subdomains, aliases } = input;
    let fields = PlanFields { name, storage_bytes, mailboxes, subdomains, aliases };
    let reply = api.engine.change(caller.actor, caller.origin, Change::CreatePlan(fields)).await?;
    let Reply::Plan(id) = reply else { return Err(Failure::Unexpected) };
    let directory = api.directory();
    let plan = directory.plan(id).ok_or(Failure::Unexpected)?;
    Ok((StatusCode::CREATED, Json(directory.plan_info(plan))))
}

pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
    Input(input): Input<PlanChange>,
) -> Result<Json<PlanInfo>, Failure> {
    let plan = caller.plan(&api.directory(), &name)?;
    let before = plan.fields;
    let fields = PlanFields {
        name: input.name.unwrap_or(before.name),
        storage_bytes: input.storage_bytes.unwrap_or(before.storage_bytes),
        mailboxes: input.mailboxes.unwrap_or(before.mailboxes),
        subdomains: input.subdomains.unwrap_or(before.subdomains),
        aliases: input.aliases.unwrap_or(before.aliases),
    };
    let change = Change::ChangePlan { plan: plan.id, fields };
    api.engine.change(caller.actor, caller.origin, change).await?;
    let directory = api.directory();
    let plan = directory.plan(plan.id).ok_or(Failure::Unexpected)?;
    Ok(Json(directory.plan_info(plan)))
}

pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Json<Value>, Failure> {
    let plan = caller.plan(&api.directory(), &name)?.id;
    api.engine.change(caller.actor, caller.origin, Change::DeletePlan { plan }).await?;
    Ok(Json(json!({})))
}
