//! `estafette cluster move` and `rebalance`.

use super::client::escape;
use super::output::{Column, bytes, list_of, moment, text};
use super::{CliError, Context};
use hyper::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Between two looks while an account moves.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Accounts on their way.
pub(super) const MOVES: [Column<'_>; 8] = [
    ("MOVING", |v| text(v, "username")),
    ("FROM", |v| text(v, "from")),
    ("TO", |v| text(v, "to")),
    ("PHASE", phase),
    ("MESSAGES", |v| text(v, "messages")),
    ("SIZE", |v| bytes(v, "bytes")),
    ("BEGUN", |v| moment(v, "begun_ms")),
    ("PROBLEM", |v| text(v, "problem")),
];

const PLANNED: [Column<'_>; 4] = [
    ("ACCOUNT", |v| text(v, "account")),
    ("FROM", |v| text(v, "from")),
    ("TO", |v| text(v, "to")),
    ("SIZE", |v| bytes(v, "bytes")),
];

fn phase(moving: &Value) -> String {
    match text(moving, "phase").as_str() {
        "sending" => format!("sending ({} times so far)", text(moving, "sent")),
        phase => phase.to_owned(),
    }
}

/// Begins a move and waits for its end, or gives it up.
pub(super) async fn run(
    context: &Context,
    account: &str,
    to: Option<u32>,
    abandon: bool,
    no_wait: bool,
) -> Result<(), CliError> {
    let mut client = context.client().await?;
    if abandon {
        let path = format!("/cluster/moves/{}", escape(account));
        let answer = client.call(Method::DELETE, &path, None).await?;
        let sentence = format!("{account} stays in shard {}", text(&answer, "shard"));
        return context.output.done(&answer, &sentence);
    }
    let body = json!({ "account": account, "to": to });
    let begun = client.call(Method::POST, "/cluster/moves", Some(&body)).await?;
    let (from, to) = (text(&begun, "from"), text(&begun, "to"));
    if no_wait {
        return context.output.done(&begun, &format!("{account} moves from shard {from} to {to}"));
    }
    let path = format!("/accounts/{}", escape(account));
    let id = client.get(&path).await?.get("id").and_then(Value::as_u64).ok_or(CliError::Answer)?;
    loop {
        let report = client.get("/cluster").await?;
        let moves = list_of(&report, "moves");
        if !moves.iter().any(|moving| moving.get("account").and_then(Value::as_u64) == Some(id)) {
            break;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let shard = text(&client.get(&path).await?, "shard");
    let sentence = match shard == to {
        true => format!("{account} has moved to shard {to}"),
        false => format!("{account} is in shard {shard}: the move was given up"),
    };
    context.output.done(&json!({ "account": account, "shard": shard }), &sentence)
}

/// Plans moves, and begins them.
pub(super) async fn rebalance(context: &Context, dry_run: bool, without: &[u32]) -> Result<(), CliError> {
    let body = json!({ "dry_run": dry_run, "without": without });
    let answer = context.client().await?.call(Method::POST, "/cluster/rebalance", Some(&body)).await?;
    if context.output.is_json() {
        return context.output.done(&answer, "");
    }
    let moves = list_of(&answer, "moves");
    if moves.is_empty() {
        return context.output.line("All shards hold about the same: nothing would move.");
    }
    context.output.list(&moves, &PLANNED)?;
    let words = if dry_run {
        "would move"
    } else {
        "move now, a few at a time; `estafette cluster status` shows how far they are"
    };
    context.output.line(&format!("{} accounts {words}.", moves.len()))
}
