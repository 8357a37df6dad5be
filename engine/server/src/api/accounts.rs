//! `/accounts`: accounts and their passwords; `/me`.

use super::caller::Caller;
use super::extract::{self, Confirmation, Input, ListParams, Named, Params, QuotaInput, present};
use super::passwords::{Names, PasswordInput};
use super::{Api, Failure, removal};
use crate::cluster::Usage;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use estafette_directory::{
    Account, AccountChange, AccountInfo, Change, Directory, NewAccount, Page, Refusal, Reply, Role,
};
use estafette_mailbox::{AccountRef, Action};
use estafette_types::AccountId;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountInput {
    address: String,
    #[serde(default)]
    real_name: String,
    quota: Option<QuotaInput>,
    #[serde(default, deserialize_with = "present")]
    password: PasswordInput,
    role: Option<Role>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AccountChangeInput {
    real_name: Option<String>,
    quota: Option<QuotaInput>,
    role: Option<Role>,
    disabled: Option<bool>,
    locked: Option<bool>,
    primary: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct NewPassword {
    password: Option<String>,
}

/// An account with what its mailboxes hold now.
pub(super) async fn shown(api: &Api, id: AccountId) -> Result<Value, Failure> {
    let info = {
        let directory = api.directory();
        directory.account_info(directory.account(id).ok_or(Refusal::UnknownAccount)?)
    };
    let mut values = with_usage(api, vec![info]).await?;
    values.pop().ok_or(Failure::Unexpected)
}

/// Adds `used_bytes` and `messages`: null where no node that has them answers.
async fn with_usage(api: &Api, infos: Vec<AccountInfo>) -> Result<Vec<Value>, Failure> {
    let at: Vec<AccountRef> =
        infos.iter().filter_map(|info| api.engine.account_ref(AccountId(info.id))).collect();
    let known: BTreeMap<AccountId, Option<Usage>> =
        at.iter().map(|at| at.account).zip(api.engine.usage(&at).await).collect();
    let with_usage = |info: AccountInfo| {
        let usage = known.get(&AccountId(info.id)).copied().unwrap_or(Some((0, 0)));
        let mut value = serde_json::to_value(&info).map_err(|_| Failure::Unexpected)?;
        if let Value::Object(fields) = &mut value {
            fields.insert("used_bytes".to_owned(), usage.map(|(bytes, _)| bytes).into());
            fields.insert("messages".to_owned(), usage.map(|(_, messages)| messages).into());
        }
        Ok(value)
    };
    infos.into_iter().map(with_usage).collect()
}

pub(super) async fn me(State(api): State<Api>, caller: Caller) -> Result<Json<Value>, Failure> {
    let id = caller.own().ok_or(Refusal::UnknownAccount)?;
    shown(&api, id).await.map(Json)
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Value>, Failure> {
    let page = {
        let directory = api.directory();
        let after = params.after.map(AccountId);
        match &params.domain {
            Some(name) => {
                let domain = caller.domain(&directory, name)?.id;
                directory.account_list(domain, &params.search, after, params.limit())
            }
            None => all_accounts(&directory, caller, &params),
        }
    };
    let items = with_usage(&api, page.items).await?;
    Ok(Json(json!({ "items": items, "more": page.more })))
}

/// The accounts of all domains that the caller sees.
fn all_accounts(directory: &Directory, caller: Caller, params: &ListParams) -> Page<AccountInfo> {
    let search = params.search.to_lowercase();
    let matches = |account: &Account| {
        account.username.as_str().contains(&search)
            || account.real_name.to_lowercase().contains(&search)
            || account.addresses.iter().any(|address| address.local.folded().contains(&search))
    };
    let operator = caller.is_operator(directory);
    let visible = |account: &Account| {
        operator
            || caller.own() == Some(account.id)
            || account.domain.is_some_and(|domain| caller.administers(directory, domain))
    };
    let after = params.after.map_or(0, |after| after.saturating_add(1));
    let found = directory.all_accounts().filter(|account| account.id.0 >= after);
    let mut ids: Vec<AccountId> =
        found.filter(|account| matches(account) && visible(account)).map(|account| account.id).collect();
    ids.sort_unstable();
    let more = ids.len() > params.limit();
    ids.truncate(params.limit());
    let accounts = ids.into_iter().filter_map(|id| directory.account(id));
    Page { items: accounts.map(|account| directory.account_info(account)).collect(), more }
}

pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Json<Value>, Failure> {
    let id = caller.account(&api.directory(), &name)?.id;
    shown(&api, id).await.map(Json)
}

pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Input(input): Input<AccountInput>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let address = extract::address("address", &input.address)?;
    let (domain, shard) = {
        let directory = api.directory();
        caller.need_administrator(&directory)?;
        let domain = caller.domain(&directory, address.domain.as_str())?;
        (domain, directory.emptiest_shard().ok_or(Failure::NotReady)?)
    };
    let names = Names { username: None, prefix: Some(&domain.prefix), addresses: vec![address.to_string()] };
    let ready = api.password(input.password, names).await?;
    let account = NewAccount {
        local: address.local,
        real_name: input.real_name,
        quota: input.quota.map(Into::into).unwrap_or_default(),
        password_hash: ready.hash,
        role: input.role.unwrap_or(Role::Owner),
        shard,
    };
    let change = Change::CreateAccount { domain: domain.id, account };
    let reply = api.engine.change(caller.actor, caller.origin, change).await?;
    let Reply::Account { id, .. } = reply else { return Err(Failure::Unexpected) };
    ensure_mailboxes(&api, id).await;
    let account = shown(&api, id).await?;
    Ok((StatusCode::CREATED, Json(json!({ "account": account, "password": ready.shown }))))
}

/// Makes the usual mailboxes of a new account. They would also come with its first mail, so a failure is only told
/// to the log.
pub(super) async fn ensure_mailboxes(api: &Api, account: AccountId) {
    let Some(at) = api.engine.account_ref(account) else { return };
    if let Err(error) = api.engine.mailbox(at, Action::Ensure, Vec::new()).await {
        tracing::warn!(account = account.0, %error, "the mailboxes of a new account are not there yet");
    }
}

pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
    Input(input): Input<AccountChangeInput>,
) -> Result<Json<Value>, Failure> {
    let account = caller.account(&api.directory(), &name)?.id;
    let primary = input.primary.map(|text| extract::local_part("primary", &text)).transpose()?;
    let change = AccountChange {
        real_name: input.real_name,
        quota: input.quota.map(Into::into),
        role: input.role,
        disabled: input.disabled,
        locked: input.locked,
        primary,
    };
    api.engine.change(caller.actor, caller.origin, Change::ChangeAccount { account, change }).await?;
    shown(&api, account).await.map(Json)
}

pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
    Params(confirmation): Params<Confirmation>,
) -> Result<Json<Value>, Failure> {
    let account = caller.account(&api.directory(), &name)?;
    let change = Change::DeleteAccount { account: account.id };
    caller.need_right(&api.directory(), &change)?;
    confirmation.check(account.username.as_str())?;
    let reply = api.engine.change(caller.actor, caller.origin, change).await?;
    let Reply::Removed(removed) = reply else { return Err(Failure::Unexpected) };
    let purged = removal::purge(&api.engine, removed).await;
    Ok(Json(json!({ "accounts": 1, "purged": purged })))
}

pub(super) async fn set_password(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
    Input(input): Input<NewPassword>,
) -> Result<Json<Value>, Failure> {
    let (account, addresses) = {
        let directory = api.directory();
        let account = caller.account(&directory, &name)?;
        let change = Change::SetPassword { account: account.id, password_hash: None };
        caller.need_right(&directory, &change)?;
        let addresses = directory.account_info(&account).addresses;
        (account, addresses.into_iter().map(|address| address.address).collect())
    };
    let names = Names { username: Some(&account.username), prefix: None, addresses };
    let ready = api.password(input.password.map(Some), names).await?;
    let change = Change::SetPassword { account: account.id, password_hash: ready.hash };
    api.engine.change(caller.actor, caller.origin, change).await?;
    Ok(Json(json!({ "username": account.username.as_str(), "password": ready.shown })))
}

pub(super) async fn no_password(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Json<Value>, Failure> {
    let account = caller.account(&api.directory(), &name)?.id;
    let change = Change::SetPassword { account, password_hash: None };
    api.engine.change(caller.actor, caller.origin, change).await?;
    shown(&api, account).await.map(Json)
}
