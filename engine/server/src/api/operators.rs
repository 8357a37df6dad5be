//! `/operators`: those who may do everything, with a mailbox or without.

use super::caller::Caller;
use super::extract::{Input, present};
use super::passwords::{Names, PasswordInput};
use super::{Api, Failure};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use estafette_directory::{Change, Refusal, Reply};
use estafette_types::Username;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OperatorInput {
    username: String,
    #[serde(default)]
    real_name: String,
    #[serde(default, deserialize_with = "present")]
    password: PasswordInput,
}

pub(super) async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<Value>, Failure> {
    let directory = api.directory();
    caller.need_operator(&directory)?;
    Ok(Json(json!({ "items": directory.operator_list(), "more": false })))
}

pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Input(input): Input<OperatorInput>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    caller.need_operator(&api.directory())?;
    let username = Username::parse(&input.username).map_err(|error| Failure::field("username", error))?;
    let names = Names { username: Some(&username), prefix: None, addresses: Vec::new() };
    let ready = api.password(input.password, names).await?;
    let change = Change::CreateOperator { username, real_name: input.real_name, password_hash: ready.hash };
    let reply = api.engine.change(caller.actor, caller.origin, change).await?;
    let Reply::Account { id, .. } = reply else { return Err(Failure::Unexpected) };
    let directory = api.directory();
    let account = directory.account_info(directory.account(id).ok_or(Refusal::UnknownAccount)?);
    Ok((StatusCode::CREATED, Json(json!({ "account": account, "password": ready.shown }))))
}
