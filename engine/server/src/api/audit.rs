//! `/audit`: who changed what, when, from where; the newest first.

use super::caller::Caller;
use super::extract::Params;
use super::{Api, Failure};
use axum::Json;
use axum::extract::State;
use estafette_directory::{AUDIT_PAGE_MAX, AuditEntry, AuditQuery, Origin, StoreRows, audit};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AuditParams {
    domain: Option<String>,
    from_ms: u64,
    /// Of the last entry of the page before, with `before_sequence`.
    before_ms: Option<u64>,
    before_sequence: Option<u64>,
    limit: Option<usize>,
}

fn shown(entry: AuditEntry) -> Value {
    let origin = match entry.origin {
        Origin::Internal => "internal".to_owned(),
        Origin::LocalSocket => "local".to_owned(),
        Origin::Client(address) => address.to_string(),
    };
    json!({
        "time_ms": entry.time_ms,
        "sequence": entry.sequence,
        "actor": entry.actor,
        "origin": origin,
        "action": entry.action,
        "object": entry.object,
        "fields": entry.fields,
    })
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<AuditParams>,
) -> Result<Json<Value>, Failure> {
    let domain = {
        let directory = api.directory();
        match &params.domain {
            Some(name) => Some(caller.domain(&directory, name)?.id),
            None => {
                caller.need_operator(&directory)?;
                None
            }
        }
    };
    let before = params.before_ms.map(|ms| (ms, params.before_sequence.unwrap_or(u64::MAX)));
    let limit = params.limit.unwrap_or(AUDIT_PAGE_MAX).clamp(1, AUDIT_PAGE_MAX);
    let query = AuditQuery { from_ms: params.from_ms, before, domain, limit };
    let store = api.engine.store.clone();
    let entries = tokio::task::spawn_blocking(move || audit(&StoreRows(&store.view()), &query)).await??;
    let more = entries.len() == limit;
    let items: Vec<Value> = entries.into_iter().map(shown).collect();
    Ok(Json(json!({ "items": items, "more": more })))
}
