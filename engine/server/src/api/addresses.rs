//! `/accounts/{account}/addresses/{address}`

use super::caller::Caller;
use super::extract::{self, Input, Named};
use super::{Api, Failure, accounts};
use axum::Json;
use axum::extract::State;
use estafette_directory::{Change, Refusal};
use estafette_types::{AccountId, Address, LocalPart};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    enabled: bool,
}

/// The account, and the name before the `@`; what follows it must be the account's own domain.
fn find(api: &Api, caller: Caller, account: &str, text: &str) -> Result<(AccountId, LocalPart), Failure> {
    let directory = api.directory();
    let account = caller.account(&directory, account)?;
    let local = extract::local_part("address", text)?;
    if let Ok(Address { domain, .. }) = Address::parse(text) {
        let home = directory.domain_named(&domain).map(|domain| domain.id);
        if home.is_none() || home != account.domain {
            return Err(Refusal::OtherDomain.into());
        }
    }
    Ok((account.id, local))
}

pub(super) async fn add(
    State(api): State<Api>,
    caller: Caller,
    Named((account, address)): Named<(String, String)>,
) -> Result<Json<Value>, Failure> {
    let (account, local) = find(&api, caller, &account, &address)?;
    api.engine.change(caller.actor, caller.origin, Change::AddAddress { account, local }).await?;
    accounts::shown(&api, account).await.map(Json)
}

pub(super) async fn enable(
    State(api): State<Api>,
    caller: Caller,
    Named((account, address)): Named<(String, String)>,
    Input(Switch { enabled }): Input<Switch>,
) -> Result<Json<Value>, Failure> {
    let (account, local) = find(&api, caller, &account, &address)?;
    let change = Change::EnableAddress { account, local, enabled };
    api.engine.change(caller.actor, caller.origin, change).await?;
    accounts::shown(&api, account).await.map(Json)
}

pub(super) async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Named((account, address)): Named<(String, String)>,
) -> Result<Json<Value>, Failure> {
    let (account, local) = find(&api, caller, &account, &address)?;
    api.engine.change(caller.actor, caller.origin, Change::RemoveAddress { account, local }).await?;
    accounts::shown(&api, account).await.map(Json)
}
