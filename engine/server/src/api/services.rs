//! `/accounts/{account}/services`, `…/redirection`, `…/members`

use super::caller::Caller;
use super::extract::{self, Input, Named};
use super::{Api, Failure, accounts};
use axum::Json;
use axum::extract::State;
use estafette_directory::{Change, Redirection, Services};
use serde::Deserialize;
use serde_json::Value;

/// Services to switch; what is not named stays.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServicesInput {
    mailbox: Option<bool>,
    redirect: Option<bool>,
    group: Option<bool>,
    autoresponders: Option<bool>,
    filter: Option<bool>,
    antivirus: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RedirectionInput {
    to: Vec<String>,
    #[serde(default)]
    keep_copy: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MembersInput {
    add: Vec<String>,
    remove: Vec<String>,
    keep_copy: Option<bool>,
}

pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
    Input(input): Input<ServicesInput>,
) -> Result<Json<Value>, Failure> {
    let account = caller.account(&api.directory(), &name)?;
    let before = account.services;
    let services = Services {
        mailbox: input.mailbox.unwrap_or(before.mailbox),
        redirect: input.redirect.unwrap_or(before.redirect),
        group: input.group.unwrap_or(before.group),
        autoresponders: input.autoresponders.unwrap_or(before.autoresponders),
        filter: input.filter.unwrap_or(before.filter),
        antivirus: input.antivirus.unwrap_or(before.antivirus),
    };
    let change = Change::SetServices { account: account.id, services };
    api.engine.change(caller.actor, caller.origin, change).await?;
    accounts::shown(&api, account.id).await.map(Json)
}

pub(super) async fn set_redirection(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
    Input(input): Input<RedirectionInput>,
) -> Result<Json<Value>, Failure> {
    let (account, to) = {
        let directory = api.directory();
        (caller.account(&directory, &name)?.id, extract::destinations(&directory, &input.to)?)
    };
    let redirection = Some(Redirection { to, keep_copy: input.keep_copy });
    let change = Change::SetRedirection { account, redirection };
    api.engine.change(caller.actor, caller.origin, change).await?;
    accounts::shown(&api, account).await.map(Json)
}

pub(super) async fn no_redirection(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Json<Value>, Failure> {
    let account = caller.account(&api.directory(), &name)?.id;
    let change = Change::SetRedirection { account, redirection: None };
    api.engine.change(caller.actor, caller.origin, change).await?;
    accounts::shown(&api, account).await.map(Json)
}

pub(super) async fn change_members(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
    Input(input): Input<MembersInput>,
) -> Result<Json<Value>, Failure> {
    let (group, add, remove) = {
        let directory = api.directory();
        let add = extract::destinations(&directory, &input.add)?;
        (caller.account(&directory, &name)?.id, add, extract::destinations(&directory, &input.remove)?)
    };
    let change = Change::ChangeMembers { group, add, remove, keep_copy: input.keep_copy };
    api.engine.change(caller.actor, caller.origin, change).await?;
    accounts::shown(&api, group).await.map(Json)
}
