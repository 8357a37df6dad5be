//! `/queue`: mail for other servers that waits.

use super::caller::Caller;
use super::extract::{Named, Params};
use super::{Api, Failure, Shared};
use crate::engine::EngineError;
use axum::Json;
use axum::extract::State;
use estafette_delivery::queue::{ItemId, ItemInfo, ItemKey, PAGE_MAX, QueueHandle};
use estafette_types::ShardId;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct QueueParams {
    /// Only those whose sender or recipients have this text in them.
    search: String,
    /// Only those after this one.
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CancelParams {
    /// Tell the sender.
    notice: bool,
}

impl Shared {
    pub(super) fn queue(&self) -> QueueHandle {
        QueueHandle::new(self.engine.shards.clone())
    }
}

fn key(text: &str) -> Result<ItemKey, Failure> {
    text.parse().map_err(|error| Failure::field("id", error))
}

fn matches(item: &ItemInfo, search: &str) -> bool {
    item.sender.to_lowercase().contains(search)
        || item.recipients.iter().any(|recipient| recipient.address.to_lowercase().contains(search))
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<QueueParams>,
) -> Result<Json<Value>, Failure> {
    caller.need_operator(&api.directory())?;
    let after = params.after.as_deref().map(key).transpose()?;
    let limit = params.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let search = params.search.to_lowercase();
    let mut shards = api.directory().shards().to_vec();
    shards.retain(|shard| after.is_none_or(|after| after.shard <= *shard));
    let (mut items, mut missing) = (Vec::new(), Vec::new());
    for shard in shards {
        let after = after.filter(|after| after.shard == shard).map(|after| after.id);
        match of_shard(&api, shard, after, &search, limit + 1 - items.len()).await {
            Ok(more) => items.extend(more),
            // An operator sees what there is where other nodes are not reached.
            Err(error) if error.is_passing() => missing.push(shard),
            Err(error) => return Err(error.into()),
        }
        if items.len() > limit {
            break;
        }
    }
    let more = items.len() > limit;
    items.truncate(limit);
    Ok(Json(json!({ "items": items, "more": more, "missing_shards": missing })))
}

/// Up to `limit` items of a shard that fit.
async fn of_shard(
    api: &Api,
    shard: ShardId,
    mut after: Option<ItemId>,
    search: &str,
    limit: usize,
) -> Result<Vec<ItemInfo>, EngineError> {
    let mut found = Vec::new();
    loop {
        let page = api.engine.queue_page(shard, after, PAGE_MAX).await?;
        let last = page.last().and_then(|item| item.id.parse::<ItemKey>().ok());
        let is_last = page.len() < PAGE_MAX;
        found.extend(page.into_iter().filter(|item| matches(item, search)));
        if is_last || last.is_none() || found.len() >= limit {
            found.truncate(limit);
            return Ok(found);
        }
        after = last.map(|key| key.id);
    }
}

pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Json<ItemInfo>, Failure> {
    caller.need_operator(&api.directory())?;
    api.engine.queue_item(key(&id)?).await?.map(Json).ok_or(Failure::NoSuchItem)
}

pub(super) async fn retry(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Json<Value>, Failure> {
    caller.need_operator(&api.directory())?;
    match api.queue().retry(key(&id)?).await? {
        true => Ok(Json(json!({}))),
        false => Err(Failure::NoSuchItem),
    }
}

pub(super) async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<String>,
    Params(params): Params<CancelParams>,
) -> Result<Json<Value>, Failure> {
    caller.need_operator(&api.directory())?;
    match api.queue().cancel(key(&id)?, params.notice).await? {
        true => Ok(Json(json!({}))),
        false => Err(Failure::NoSuchItem),
    }
}
