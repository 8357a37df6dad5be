//! Who asks, and what they may see.
//!
//! The console and operators see everything, administrators their domains and those below, owners
//! themselves. Whoever may not see everything is not told whether a name exists (403, never 404).

use super::{Access, Api, Failure};
use crate::login::Outcome;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Method, header};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use estafette_directory::{
    Account, Actor, Alias, Change, Directory, HostedDomain, Origin, Plan, Refusal, Role,
};
use estafette_types::{AccountId, Address, Domain, DomainId, Username};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// The longest Authorization header that is looked at: name and password, encoded.
const AUTHORIZATION_MAX_BYTES: usize = 2048;

/// Who asks, and from where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) actor: Actor,
    pub(super) origin: Origin,
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Caller, Failure> {
        if api.access == Access::LocalSocket {
            return Ok(Caller { actor: Actor::Console, origin: Origin::LocalSocket });
        }
        refuse_other_sites(parts)?;
        let (name, password) = credentials(parts)?;
        let from = client(parts);
        match api.engine.login("http", &name, &password, from).await {
            Outcome::Welcome(account) => {
                Ok(Caller { actor: Actor::Account(account.id), origin: Origin::Client(from) })
            }
            Outcome::Wrong => Err(Failure::WrongLogin),
            Outcome::Barred => Err(Failure::Barred),
            Outcome::TooMany => Err(Failure::TooManyFailures),
            Outcome::Later => Err(Failure::LoginLater),
        }
    }
}

fn client(parts: &Parts) -> IpAddr {
    let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip().to_canonical())
}

/// Browsers add remembered credentials to what pages of other sites send; they say so in this header.
fn refuse_other_sites(parts: &Parts) -> Result<(), Failure> {
    let safe = matches!(parts.method, Method::GET | Method::HEAD);
    let site = parts.headers.get("sec-fetch-site").map(|value| value.as_bytes());
    match site {
        Some(b"same-origin" | b"none") | None => Ok(()),
        Some(_) if safe => Ok(()),
        Some(_) => Err(Failure::OtherSite),
    }
}

/// RFC 7617.
pub(super) fn credentials(parts: &Parts) -> Result<(String, String), Failure> {
    let value = parts.headers.get(header::AUTHORIZATION).ok_or(Failure::LoginNeeded)?;
    let text = value.to_str().map_err(|_| Failure::LoginNeeded)?;
    let (scheme, encoded) = text.split_once(' ').ok_or(Failure::LoginNeeded)?;
    if !scheme.eq_ignore_ascii_case("basic") || text.len() > AUTHORIZATION_MAX_BYTES {
        return Err(Failure::LoginNeeded);
    }
    let bytes = BASE64_STANDARD.decode(encoded.trim()).map_err(|_| Failure::LoginNeeded)?;
    let pair = String::from_utf8(bytes).map_err(|_| Failure::LoginNeeded)?;
    let (name, password) = pair.split_once(':').ok_or(Failure::LoginNeeded)?;
    Ok((name.to_owned(), password.to_owned()))
}

impl Caller {
    /// The caller's own account.
    pub(super) fn own(self) -> Option<AccountId> {
        match self.actor {
            Actor::Account(id) => Some(id),
            Actor::System | Actor::Console => None,
        }
    }

    fn role(self, directory: &Directory) -> Role {
        match self.actor {
            Actor::System | Actor::Console => Role::Operator,
            Actor::Account(id) => directory.account(id).map_or(Role::Owner, |account| account.role),
        }
    }

    pub(super) fn is_operator(self, directory: &Directory) -> bool {
        self.role(directory) == Role::Operator
    }

    pub(super) fn need_operator(self, directory: &Directory) -> Result<(), Refusal> {
        if self.is_operator(directory) { Ok(()) } else { Err(Refusal::NotAllowed) }
    }

    /// Refuses owners.
    pub(super) fn need_administrator(self, directory: &Directory) -> Result<(), Refusal> {
        if self.role(directory) == Role::Owner { Err(Refusal::NotAllowed) } else { Ok(()) }
    }

    pub(super) fn administers(self, directory: &Directory, domain: DomainId) -> bool {
        match self.actor {
            Actor::System | Actor::Console => true,
            Actor::Account(id) => directory.administers(id, domain),
        }
    }

    /// Whether a change is the caller's to make: asked before costly work; the change itself is checked again.
    pub(super) fn need_right(self, directory: &Directory, change: &Change) -> Result<(), Refusal> {
        match self.actor {
            Actor::System | Actor::Console => Ok(()),
            Actor::Account(id) => directory.allowed(id, change),
        }
    }

    fn sees(self, directory: &Directory, account: &Account) -> bool {
        self.is_operator(directory)
            || self.own() == Some(account.id)
            || account.domain.is_some_and(|domain| self.administers(directory, domain))
    }

    /// What is unknown is not told from what is not allowed, but to operators.
    fn absent(self, directory: &Directory, unknown: Refusal) -> Refusal {
        if self.is_operator(directory) { unknown } else { Refusal::NotAllowed }
    }

    /// A plan by its name.
    pub(super) fn plan(self, directory: &Directory, name: &str) -> Result<Plan, Refusal> {
        self.need_administrator(directory)?;
        directory.plan_named(name).cloned().ok_or(Refusal::UnknownPlan)
    }

    /// A domain by any of its names.
    pub(super) fn domain(self, directory: &Directory, name: &str) -> Result<Arc<HostedDomain>, Refusal> {
        let found = Domain::parse(name).ok().and_then(|name| directory.domain_named(&name));
        let visible = found.filter(|domain| self.administers(directory, domain.id));
        visible.cloned().ok_or_else(|| self.absent(directory, Refusal::UnknownDomain))
    }

    /// An account by its username or one of its addresses.
    pub(super) fn account(self, directory: &Directory, name: &str) -> Result<Arc<Account>, Refusal> {
        let found = if name.contains('@') {
            Address::parse(name).ok().and_then(|address| directory.account_at(&address))
        } else {
            Username::parse(name).ok().and_then(|username| directory.account_named(&username))
        };
        let visible = found.filter(|account| self.sees(directory, account));
        visible.cloned().ok_or_else(|| self.absent(directory, Refusal::UnknownAccount))
    }

    /// An alias by its address.
    pub(super) fn alias(self, directory: &Directory, name: &str) -> Result<Arc<Alias>, Refusal> {
        let found = Address::parse(name).ok().and_then(|address| directory.alias_at(&address));
        let visible = found.filter(|alias| self.administers(directory, alias.domain));
        visible.cloned().ok_or_else(|| self.absent(directory, Refusal::UnknownAlias))
    }
}
