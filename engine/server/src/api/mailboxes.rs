//! `/accounts/{account}/mailboxes`: names, counters and use, as they are now.

use super::caller::Caller;
use super::extract::Named;
use super::{Api, Failure};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Json<Value>, Failure> {
    let account = caller.account(&api.directory(), &name)?;
    let (items, (bytes, messages)) = match api.engine.account_ref(account.id) {
        Some(at) => api.engine.mailboxes(at).await?,
        None => (Vec::new(), (0, 0)),
    };
    Ok(Json(json!({
        "username": account.username.as_str(),
        "items": items,
        "more": false,
        "used_bytes": bytes,
        "messages": messages,
        "quota_bytes": account.quota_bytes,
    })))
}
