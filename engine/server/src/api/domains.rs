//! `/domains`: domains, their other names, catch-all, administrator.

use super::caller::Caller;
use super::extract::{self, Confirmation, Input, ListParams, Named, Params, QuotaInput, present};
use super::passwords::{Names, PasswordInput};
use super::{Api, Failure, accounts, removal};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use estafette_directory::{
    Administrator, CatchAll, Change, DEFAULT_ADDRESSES, Directory, DomainChange, DomainInfo, HostedDomain,
    NewAccount, NewDomain, PAGE_MAX, Page, Refusal, Reply, Role, Standing,
};
use estafette_types::{Address, Domain, DomainId, LocalPart, ShardId};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DomainInput {
    name: String,
    prefix: Option<String>,
    plan: Option<String>,
    subdomain_of: Option<String>,
    #[serde(default)]
    description: String,
    contact: Option<String>,
    default_quota_bytes: Option<u64>,
    /// Made with the domain, unless `administrator` names an account.
    #[serde(default)]
    new_administrator: NewAdministrator,
    administrator: Option<String>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NewAdministrator {
    local: String,
    real_name: String,
    quota: Option<QuotaInput>,
    #[serde(deserialize_with = "present")]
    password: PasswordInput,
    role: Role,
}

impl Default for NewAdministrator {
    fn default() -> NewAdministrator {
        NewAdministrator {
            local: "admin".to_owned(),
            real_name: String::new(),
            quota: None,
            password: None,
            role: Role::DomainAdministrator,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DomainChangeInput {
    description: Option<String>,
    #[serde(deserialize_with = "present")]
    contact: Option<Option<String>>,
    default_quota_bytes: Option<u64>,
    plan: Option<String>,
    suspended: Option<bool>,
    administrator: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CatchAllInput {
    to: String,
}

fn domain_name(text: &str) -> Result<Domain, Failure> {
    Domain::parse(text).map_err(|error| Failure::field("name", format!("'{text}': {error}")))
}

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<DomainInfo>>, Failure> {
    let directory = api.directory();
    caller.need_administrator(&directory)?;
    let after = params.after.map(DomainId);
    if caller.is_operator(&directory) {
        return Ok(Json(directory.domain_list(&params.search, after, params.limit())));
    }
    Ok(Json(own_domains(&directory, caller, &params, after)))
}

/// What an administrator sees of the list.
fn own_domains(
    directory: &Directory,
    caller: Caller,
    params: &ListParams,
    mut after: Option<DomainId>,
) -> Page<DomainInfo> {
    let mut items = Vec::new();
    loop {
        let page = directory.domain_list(&params.search, after, PAGE_MAX);
        after = page.items.last().map(|last| DomainId(last.id));
        items.extend(page.items.into_iter().filter(|item| caller.administers(directory, DomainId(item.id))));
        if !page.more || items.len() > params.limit() {
            let more = items.len() > params.limit();
            items.truncate(params.limit());
            return Page { items, more };
        }
    }
}

/// A domain with its use of the plan, and where its default addresses lead.
fn shown(directory: &Directory, domain: DomainId) -> Result<Value, Failure> {
    let summary = directory.domain_summary(domain).ok_or(Refusal::UnknownDomain)?;
    let record = directory.domain(domain).ok_or(Refusal::UnknownDomain)?;
    let mut value = serde_json::to_value(&summary).map_err(|_| Failure::Unexpected)?;
    let defaults: Vec<Value> =
        DEFAULT_ADDRESSES.iter().filter_map(|name| default_address(directory, record, name)).collect();
    if let Value::Object(fields) = &mut value {
        fields.insert("default_addresses".to_owned(), defaults.into());
    }
    Ok(value)
}

fn default_address(directory: &Directory, domain: &HostedDomain, name: &str) -> Option<Value> {
    let address = Address { local: LocalPart::parse(name).ok()?, domain: domain.name.clone() };
    let alias = directory.alias_at(&address).map(|alias| directory.alias_info(alias).destinations);
    let account = directory.account_at(&address).map(|account| account.username.to_string());
    let leads_to: Vec<String> = account.into_iter().chain(alias.into_iter().flatten()).collect();
    Some(json!({ "address": address.to_string(), "leads_to": leads_to }))
}

pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Json<Value>, Failure> {
    let directory = api.directory();
    let domain = caller.domain(&directory, &name)?.id;
    shown(&directory, domain).map(Json)
}

fn standing(directory: &Directory, caller: Caller, input: &DomainInput) -> Result<Standing, Failure> {
    match (&input.plan, &input.subdomain_of) {
        (Some(plan), None) => Ok(Standing::Plan(caller.plan(directory, plan)?.id)),
        (None, Some(of)) => Ok(Standing::Subdomain { of: caller.domain(directory, of)?.id }),
        (None, None) => Err(Failure::field("plan", "name a plan, or the domain above in 'subdomain_of'")),
        (Some(_), Some(_)) => Err(Failure::field("plan", "a sub-domain has no plan of its own")),
    }
}

/// The administrator that is made along with a domain, and its password if one was made too.
async fn new_administrator(
    api: &Api,
    caller: Caller,
    domain: &Domain,
    prefix: Option<&str>,
    new: NewAdministrator,
    shard: ShardId,
) -> Result<(Administrator, Option<String>), Failure> {
    caller.need_operator(&api.directory())?;
    let local = extract::local_part("new_administrator.local", &new.local)?;
    let names = Names { username: None, prefix, addresses: vec![format!("{local}@{domain}")] };
    let ready = api.password(new.password, names).await?;
    let account = NewAccount {
        local,
        real_name: new.real_name,
        quota: new.quota.map(Into::into).unwrap_or_default(),
        password_hash: ready.hash,
        role: new.role,
        shard,
    };
    Ok((Administrator::New(account), ready.shown))
}

pub(super) async fn create(
    State(api): State<Api>,
    caller: Caller,
    Input(input): Input<DomainInput>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let name = domain_name(&input.name)?;
    let contact = input.contact.as_deref().map(|text| extract::address("contact", text)).transpose()?;
    let (standing, shard) = {
        let directory = api.directory();
        caller.need_administrator(&directory)?;
        let standing = standing(&directory, caller, &input)?;
        (standing, directory.emptiest_shard().ok_or(Failure::NotReady)?)
    };
    let (administrator, password) = match &input.administrator {
        Some(account) => (Administrator::Existing(caller.account(&api.directory(), account)?.id), None),
        None => {
            let prefix = input.prefix.as_deref();
            new_administrator(&api, caller, &name, prefix, input.new_administrator, shard).await?
        }
    };
    let new = NewDomain {
        name,
        prefix: input.prefix,
        standing,
        description: input.description,
        contact,
        default_quota_bytes: input.default_quota_bytes,
        administrator,
    };
    let reply = api.engine.change(caller.actor, caller.origin, Change::CreateDomain(new)).await?;
    let Reply::Domain { id, administrator, username } = reply else { return Err(Failure::Unexpected) };
    accounts::ensure_mailboxes(&api, administrator).await;
    let mut value = shown(&api.directory(), id)?;
    if let Value::Object(fields) = &mut value {
        let shown = json!({ "username": username.as_str(), "password": password });
        fields.insert("administrator".to_owned(), shown);
    }
    Ok((StatusCode::CREATED, Json(value)))
}

pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
    Input(input): Input<DomainChangeInput>,
) -> Result<Json<Value>, Failure> {
    let contact = match input.contact {
        Some(Some(text)) => Some(Some(extract::address("contact", &text)?)),
        Some(None) => Some(None),
        None => None,
    };
    let (domain, change) = {
        let directory = api.directory();
        let domain = caller.domain(&directory, &name)?.id;
        let plan = input.plan.map(|plan| caller.plan(&directory, &plan)).transpose()?;
        let account = input.administrator.map(|account| caller.account(&directory, &account)).transpose()?;
        let change = DomainChange {
            description: input.description,
            contact,
            default_quota_bytes: input.default_quota_bytes,
            plan: plan.map(|plan| plan.id),
            suspended: input.suspended,
            administrator: account.map(|account| account.id),
        };
        (domain, change)
    };
    api.engine.change(caller.actor, caller.origin, Change::ChangeDomain { domain, change }).await?;
    shown(&api.directory(), domain).map(Json)
}

pub(super) async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
    Params(confirmation): Params<Confirmation>,
) -> Result<Json<Value>, Failure> {
    let domain = caller.domain(&api.directory(), &name)?;
    let change = Change::DeleteDomain { domain: domain.id };
    caller.need_right(&api.directory(), &change)?;
    confirmation.check(domain.name.as_str())?;
    let reply = api.engine.change(caller.actor, caller.origin, change).await?;
    let Reply::Removed(removed) = reply else { return Err(Failure::Unexpected) };
    let accounts = removed.len();
    let purged = removal::purge(&api.engine, removed).await;
    Ok(Json(json!({ "accounts": accounts, "purged": purged })))
}

pub(super) async fn add_name(
    State(api): State<Api>,
    caller: Caller,
    Named((domain, name)): Named<(String, String)>,
) -> Result<Json<Value>, Failure> {
    let name = domain_name(&name)?;
    let domain = caller.domain(&api.directory(), &domain)?.id;
    api.engine.change(caller.actor, caller.origin, Change::AddDomainAlias { domain, name }).await?;
    shown(&api.directory(), domain).map(Json)
}

pub(super) async fn remove_name(
    State(api): State<Api>,
    caller: Caller,
    Named((domain, name)): Named<(String, String)>,
) -> Result<Json<Value>, Failure> {
    let name = domain_name(&name)?;
    let domain = {
        let directory = api.directory();
        let domain = caller.domain(&directory, &domain)?.id;
        if directory.domain_named(&name).is_none_or(|found| found.id != domain) {
            return Err(Refusal::UnknownDomain.into());
        }
        domain
    };
    api.engine.change(caller.actor, caller.origin, Change::RemoveDomainAlias { name }).await?;
    shown(&api.directory(), domain).map(Json)
}

/// An account by its username or address, or an alias of the domain by its address.
fn catch_all(directory: &Directory, caller: Caller, domain: DomainId, to: &str) -> Result<CatchAll, Failure> {
    let alias = Address::parse(to).ok().and_then(|address| directory.alias_at(&address));
    let account = caller.account(directory, to);
    match (account, alias.filter(|alias| alias.domain == domain)) {
        (Ok(account), _) => Ok(CatchAll::Account(account.id)),
        (Err(_), Some(alias)) => Ok(CatchAll::Alias(alias.id)),
        (Err(refusal), None) => Err(refusal.into()),
    }
}

pub(super) async fn set_catch_all(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
    Input(input): Input<CatchAllInput>,
) -> Result<Json<Value>, Failure> {
    let (domain, to) = {
        let directory = api.directory();
        let domain = caller.domain(&directory, &name)?.id;
        (domain, catch_all(&directory, caller, domain, &input.to)?)
    };
    api.engine.change(caller.actor, caller.origin, Change::SetCatchAll { domain, to: Some(to) }).await?;
    shown(&api.directory(), domain).map(Json)
}

pub(super) async fn no_catch_all(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Json<Value>, Failure> {
    let domain = caller.domain(&api.directory(), &name)?.id;
    api.engine.change(caller.actor, caller.origin, Change::SetCatchAll { domain, to: None }).await?;
    shown(&api.directory(), domain).map(Json)
}
