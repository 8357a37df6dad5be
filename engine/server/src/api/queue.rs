//! `/queue`: mail for other servers that waits.

use super::caller::Caller;
use super::extract::{Named, Params};
use super::{Api, Failure, Shared};
use axum::Json;
use axum::extract::State;
use estafette_delivery::queue::{ItemInfo, ItemKey, PAGE_MAX, QueueHandle};
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
    let mut after = params.after.as_deref().map(key).transpose()?;
    let limit = params.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let search = params.search.to_lowercase();
    let (queue, view) = (api.queue(), api.engine.store.view());
    let work = move || {
        let mut items: Vec<ItemInfo> = Vec::new();
        loop {
            let page = queue.list(&view, after, PAGE_MAX)?;
            items.extend(page.items.into_iter().filter(|item| matches(item, &search)));
            if page.next.is_none() || items.len() > limit {
                let more = items.len() > limit;
                items.truncate(limit);
                return Ok::<_, Failure>(json!({ "items": items, "more": more }));
            }
            after = page.next.as_deref().map(key).transpose()?;
        }
    };
    Ok(Json(tokio::task::spawn_blocking(work).await??))
}

pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<String>,
) -> Result<Json<ItemInfo>, Failure> {
    caller.need_operator(&api.directory())?;
    let key = key(&id)?;
    let (queue, store) = (api.queue(), api.engine.store.clone());
    let item = tokio::task::spawn_blocking(move || queue.item(&store, key)).await??;
    item.map(Json).ok_or(Failure::NoSuchItem)
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
