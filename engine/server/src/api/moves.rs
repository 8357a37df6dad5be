//! `/cluster/moves`, `/cluster/rebalance`: accounts that go to other shards. How far they are is told by `/cluster`.

use super::caller::Caller;
use super::extract::{Input, Named};
use super::{Api, Failure};
use crate::cluster::plan;
use crate::engine::EngineError;
use axum::Json;
use axum::extract::State;
use estafette_directory::{Change, Directory, Refusal};
use estafette_mailbox::AccountRef;
use estafette_types::{AccountId, ShardId};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MoveInput {
    account: String,
    /// The emptiest other one, when none is named.
    #[serde(default)]
    to: Option<ShardId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RebalanceInput {
    /// Only say what would move.
    #[serde(default)]
    dry_run: bool,
    /// Shards that are to be empty.
    #[serde(default)]
    without: Vec<ShardId>,
}

pub(super) async fn begin(
    State(api): State<Api>,
    caller: Caller,
    Input(input): Input<MoveInput>,
) -> Result<Json<Value>, Failure> {
    api.engine.fresh_directory().await?;
    let (account, from, to) = {
        let directory = api.directory();
        caller.need_operator(&directory)?;
        let account = caller.account(&directory, &input.account)?;
        let from = account.shard.ok_or(Refusal::NoMailbox)?;
        let to = input.to.or_else(|| emptiest_other(&directory, account.id, from));
        let to = to.ok_or_else(|| Failure::field("to", "there is no other shard"))?;
        (account.id, from, to)
    };
    let change = Change::BeginMove { account, to };
    api.engine.change(caller.actor, caller.origin, change).await?;
    Ok(Json(json!({ "account": input.account, "from": from, "to": to })))
}

/// Where an account is on its way to already, or the shard with the fewest accounts.
fn emptiest_other(directory: &Directory, account: AccountId, from: ShardId) -> Option<ShardId> {
    let moving = directory.move_of(account).map(|moving| moving.to);
    moving.or_else(|| directory.emptiest_shard_but(Some(from)))
}

pub(super) async fn abandon(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Json<Value>, Failure> {
    api.engine.fresh_directory().await?;
    let moving = {
        let directory = api.directory();
        caller.need_operator(&directory)?;
        let account = caller.account(&directory, &name)?;
        *directory.move_of(account.id).ok_or(Refusal::NotMoving)?
    };
    api.engine.change(caller.actor, caller.origin, Change::AbandonMove(moving)).await?;
    // What has come to the other shard is removed after the answer, by whoever moves.
    let from = AccountRef { shard: moving.from, account: moving.account };
    if let Err(error) = api.engine.homes().settle(from).await {
        tracing::warn!(account = moving.account.0, %error, "the shard of an account cannot be reached now");
    }
    Ok(Json(json!({ "account": name, "shard": moving.from })))
}

pub(super) async fn rebalance(
    State(api): State<Api>,
    caller: Caller,
    Input(input): Input<RebalanceInput>,
) -> Result<Json<Value>, Failure> {
    api.engine.fresh_directory().await?;
    caller.need_operator(&api.directory())?;
    {
        let directory = api.directory();
        let unknown = input.without.iter().find(|shard| !directory.shards().contains(shard));
        if let Some(unknown) = unknown {
            return Err(Refusal::UnknownShard { shard: unknown.0 }.into());
        }
        if directory.shards().iter().all(|shard| input.without.contains(shard)) {
            let reason = "no shard is left that could hold accounts".to_owned();
            return Err(Failure::Field { field: "without", reason });
        }
    }
    let planned = plan(&api.engine, input.without).await;
    let mut begun = Vec::new();
    for one in planned {
        if !input.dry_run {
            let change = Change::BeginMove { account: one.id, to: one.to };
            match api.engine.change(caller.actor, caller.origin, change).await {
                Ok(_) => {}
                // As many as may be are on their way; or it was deleted, or moves elsewhere since.
                Err(EngineError::Refused(Refusal::TooMany { .. })) => break,
                Err(EngineError::Refused(_)) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        begun.push(one);
    }
    Ok(Json(json!({ "moves": begun, "dry_run": input.dry_run })))
}
