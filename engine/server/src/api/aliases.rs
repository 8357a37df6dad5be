//! `/aliases`

use super::caller::Caller;
use super::extract::{self, Input, ListParams, Named, Params};
use super::{Api, Failure};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use estafette_directory::{
    AliasId, AliasInfo, AliasOptions, Change, Directory, NewAlias, Page, Refusal, Reply,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AliasInput {
    address: String,
    #[serde(default)]
    destinations: Vec<String>,
    #[serde(default)]
    options: AliasOptions,
}

/// What is not named stays; `add` and `remove` change the list, `destinations` replaces it before.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AliasChange {
    destinations: Option<Vec<String>>,
    add: Vec<String>,
    remove: Vec<String>,
    deliver_locally: Option<bool>,
    bounce: Option<bool>,
    everyone: Option<bool>,
}

fn info(directory: &Directory, id: AliasId) -> Result<AliasInfo, Failure> {
    Ok(directory.alias_info(directory.alias(id).ok_or(Refusal::UnknownAlias)?))
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<AliasInfo>>, Failure> {
    let Some(name) = &params.domain else {
        return Err(Failure::field("domain", "say of which domain"));
    };
    let directory = api.directory();
    let domain = caller.domain(&directory, name)?.id;
    Ok(Json(directory.alias_list(domain, &params.search, params.after.map(AliasId), params.limit())))
}

pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Json<AliasInfo>, Failure> {
    let directory = api.directory();
    let alias = caller.alias(&directory, &name)?;
    Ok(Json(directory.alias_info(&alias)))
}

pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Input(input): Input<AliasInput>,
) -> Result<(StatusCode, Json<AliasInfo>), Failure> {
    let address = extract::address("address", &input.address)?;
    let new = {
        let directory = api.directory();
        NewAlias {
            domain: caller.domain(&directory, address.domain.as_str())?.id,
            local: address.local,
            destinations: extract::destinations(&directory, &input.destinations)?,
            options: input.options,
        }
    };
    let reply = api.engine.change(caller.actor, caller.origin, Change::CreateAlias(new)).await?;
    let Reply::Alias(id) = reply else { return Err(Failure::Unexpected) };
    Ok((StatusCode::CREATED, Json(info(&api.directory(), id)?)))
}

pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
    Input(input): Input<AliasChange>,
) -> Result<Json<AliasInfo>, Failure> {
    let (alias, change) = {
        let directory = api.directory();
        let alias = caller.alias(&directory, &name)?;
        let mut destinations = match &input.destinations {
            Some(texts) => extract::destinations(&directory, texts)?,
            None => alias.destinations.clone(),
        };
        for destination in extract::destinations(&directory, &input.add)? {
            if !destinations.contains(&destination) {
                destinations.push(destination);
            }
        }
        let remove = extract::destinations(&directory, &input.remove)?;
        destinations.retain(|destination| !remove.contains(destination));
        let options = AliasOptions {
            deliver_locally: input.deliver_locally.unwrap_or(alias.options.deliver_locally),
            bounce: input.bounce.unwrap_or(alias.options.bounce),
            everyone: input.everyone.unwrap_or(alias.options.everyone),
        };
        (alias.id, Change::ChangeAlias { alias: alias.id, destinations, options })
    };
    api.engine.change(caller.actor, caller.origin, change).await?;
    Ok(Json(info(&api.directory(), alias)?))
}

pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Json<Value>, Failure> {
    let alias = caller.alias(&api.directory(), &name)?.id;
    api.engine.change(caller.actor, caller.origin, Change::DeleteAlias { alias }).await?;
    Ok(Json(json!({})))
}
