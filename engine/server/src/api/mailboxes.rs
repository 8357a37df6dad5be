//! `/accounts/{account}/mailboxes`: names, counters and use, as they are now.

use super::caller::Caller;
use super::extract::Named;
use super::{Api, Failure};
use axum::Json;
use axum::extract::State;
use estafette_mailbox::read::{self, Listed};
use serde_json::{Value, json};

fn shown(listed: Listed) -> Value {
    let row = listed.mailbox.map(|(_, row)| row);
    json!({
        "name": listed.name.as_str(),
        "special_use": listed.special_use.map(|special_use| special_use.attribute()),
        "subscribed": listed.subscribed,
        "selectable": row.is_some(),
        "messages": row.as_ref().map_or(0, |row| row.exists),
        "unseen": row.as_ref().map_or(0, |row| row.unseen),
        "bytes": row.as_ref().map_or(0, |row| row.bytes),
        "uid_validity": row.as_ref().map(|row| row.uid_validity.0.get()),
        "uid_next": row.as_ref().map(|row| row.uid_next.value()),
        "highest_modseq": row.as_ref().map(|row| row.highest_modseq.0),
    })
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Json<Value>, Failure> {
    let account = caller.account(&api.directory(), &name)?;
    let at = api.engine.account_ref(account.id);
    let store = api.engine.store.clone();
    let (mailboxes, (bytes, messages)) = tokio::task::spawn_blocking(move || {
        let Some(at) = at else { return Ok((Vec::new(), (0, 0))) };
        let view = store.view();
        Ok::<_, estafette_mailbox::Error>((read::mailboxes(&view, at)?, read::usage(&view, at)?))
    })
    .await??;
    let items: Vec<Value> = mailboxes.into_iter().map(shown).collect();
    Ok(Json(json!({
        "username": account.username.as_str(),
        "items": items,
        "more": false,
        "used_bytes": bytes,
        "messages": messages,
        "quota_bytes": account.quota_bytes,
    })))
}
