//! What the command line and the HTTP API show, as plain structures that become JSON. No secrets.
//!
//! Lists are in pages: `after` is the identifier of the last one seen, `more` says that there are further ones.

use crate::model::{Account, Alias, AliasOptions, CatchAll, HostedDomain, Plan, Role, Services, Standing};
use crate::tables::{Directory, DomainEntry, Usage};
use estafette_types::{AccountId, DomainId};
use serde::Serialize;

/// Entries of a page at most.
pub const PAGE_MAX: usize = 1_000;

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// The entries, in the order of their identifiers.
    pub items: Vec<T>,
    /// Whether there are further ones.
    pub more: bool,
}

/// A plan. Limits that are null do not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanInfo {
    /// Its identifier.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Sum of quotas, in bytes.
    pub storage_bytes: Option<u64>,
    /// Number of mailboxes.
    pub mailboxes: Option<u32>,
    /// Number of sub-domains.
    pub subdomains: Option<u32>,
    /// Number of aliases.
    pub aliases: Option<u32>,
    /// Domains that have it.
    pub domains: usize,
}

/// A domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainInfo {
    /// Its identifier.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its other names.
    pub aliases: Vec<String>,
    /// First part of its usernames.
    pub prefix: String,
    /// The plan that binds it.
    pub plan: String,
    /// The domain above, for a sub-domain.
    pub subdomain_of: Option<String>,
    /// Free text.
    pub description: String,
    /// Whom to write to.
    pub contact: Option<String>,
    /// Of an account that names none, in bytes.
    pub default_quota_bytes: u64,
    /// Username of its administrator.
    pub administrator: String,
    /// Whether it is suspended.
    pub suspended: bool,
    /// Username or alias that gets mail to all other names.
    pub catch_all: Option<String>,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Username, `console` or `system`.
    pub created_by: String,
}

/// What is used of a limit, and what is left. Null: without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UsageInfo {
    /// In use.
    pub used: u64,
    /// What the plan allows.
    pub allowed: Option<u64>,
    /// What is left of it; 0 also when more is used than allowed.
    pub left: Option<u64>,
}

/// A domain with what it uses of its plan. The plan counts over the domain and its sub-domains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DomainSummary {
    /// The domain.
    pub domain: DomainInfo,
    /// Accounts of this domain, with a mailbox or without.
    pub accounts: usize,
    /// Aliases of this domain, with the default ones.
    pub aliases: usize,
    /// Mailboxes of the plan.
    pub mailboxes: UsageInfo,
    /// Sum of quotas of the plan, in bytes.
    pub storage_bytes: UsageInfo,
    /// Sub-domains of the plan.
    pub subdomains: UsageInfo,
    /// Aliases of the plan, without the default ones.
    pub plan_aliases: UsageInfo,
}

/// An address of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressInfo {
    /// The whole address.
    pub address: String,
    /// Whether mail to it is taken.
    pub enabled: bool,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountInfo {
    /// Its identifier.
    pub id: u64,
    /// Its login.
    pub username: String,
    /// Its domain; null for an operator without a mailbox.
    pub domain: Option<String>,
    /// The primary one first.
    pub addresses: Vec<AddressInfo>,
    /// The person's name.
    pub real_name: String,
    /// In bytes; null is unlimited.
    pub quota_bytes: Option<u64>,
    /// What its login may do.
    pub role: Role,
    /// What is on.
    pub services: Services,
    /// Login is refused.
    pub disabled: bool,
    /// Closed to delegates.
    pub locked: bool,
    /// Whether it has a password.
    pub has_password: bool,
    /// Where its mailboxes are.
    pub shard: Option<u32>,
    /// Where its mail is sent on to.
    pub redirect_to: Vec<String>,
    /// Whether a redirection leaves a copy.
    pub redirect_keeps_copy: bool,
    /// Its members, when it is a group.
    pub members: Vec<String>,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// When the password was set; 0 for never.
    pub password_ms: u64,
}

/// An alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AliasInfo {
    /// Its identifier.
    pub id: u64,
    /// The whole address.
    pub address: String,
    /// Usernames and addresses.
    pub destinations: Vec<String>,
    /// The options.
    pub options: AliasOptions,
    /// Whether it is one of the default addresses.
    pub default: bool,
    /// Milliseconds since 1970.
    pub created_ms: u64,
}

impl UsageInfo {
    fn new(used: u64, allowed: Option<u64>) -> UsageInfo {
        UsageInfo { used, allowed, left: allowed.map(|allowed| allowed.saturating_sub(used)) }
    }
}

impl Directory {
    /// All plans.
    pub fn plan_list(&self) -> Vec<PlanInfo> {
        self.plans.values().map(|plan| self.plan_info(plan)).collect()
    }

    /// One plan.
    pub fn plan_info(&self, plan: &Plan) -> PlanInfo {
        let has = |entry: &&DomainEntry| entry.record.standing == Standing::Plan(plan.id);
        PlanInfo {
            id: plan.id.0,
            name: plan.fields.name.clone(),
            storage_bytes: plan.fields.storage_bytes,
            mailboxes: plan.fields.mailboxes,
            subdomains: plan.fields.subdomains,
            aliases: plan.fields.aliases,
            domains: self.domains.values().filter(has).count(),
        }
    }

    /// One domain.
    pub fn domain_info(&self, domain: &HostedDomain) -> DomainInfo {
        let name_of = |id: DomainId| self.domain(id).map(|d| d.name.to_string());
        let username = |id: AccountId| self.account(id).map(|a| a.username.to_string());
        let entry = self.domains.get(&domain.id);
        DomainInfo {
            id: domain.id.0,
            name: domain.name.to_string(),
            aliases: entry.map_or_else(Vec::new, |e| e.other_names.iter().map(ToString::to_string).collect()),
            prefix: domain.prefix.clone(),
            plan: self.plan_of(domain).map_or_else(String::new, |plan| plan.fields.name.clone()),
            subdomain_of: match domain.standing {
                Standing::Plan(_) => None,
                Standing::Subdomain { of } => name_of(of),
            },
            description: domain.description.clone(),
            contact: domain.contact.as_ref().map(ToString::to_string),
            default_quota_bytes: domain.default_quota_bytes,
            administrator: username(domain.administrator).unwrap_or_default(),
            suspended: domain.suspended,
            catch_all: domain.catch_all.and_then(|to| match to {
                CatchAll::Account(id) => username(id),
                CatchAll::Alias(id) => self.alias(id).map(|alias| self.alias_address(alias)),
            }),
            created_ms: domain.created_ms,
            created_by: domain.created_by.clone(),
        }
    }

    /// Domains whose name, other names or description have the text in them.
    pub fn domain_list(&self, search: &str, after: Option<DomainId>, limit: usize) -> Page<DomainInfo> {
        let search = search.to_lowercase();
        let has = |entry: &&DomainEntry| {
            entry.record.name.as_str().contains(&search)
                || entry.other_names.iter().any(|name| name.as_str().contains(&search))
                || entry.record.description.to_lowercase().contains(&search)
        };
        let from = after.map_or(0, |id| id.0.saturating_add(1));
        let found = self.domains.range(DomainId(from)..).map(|(_, entry)| entry).filter(has);
        page(found.map(|entry| self.domain_info(&entry.record)), limit)
    }

    /// What a domain uses of its plan.
    pub fn domain_summary(&self, id: DomainId) -> Option<DomainSummary> {
        let entry = self.domains.get(&id)?;
        let root = self.root_of(&entry.record);
        let Usage { mailboxes, quota_bytes, aliases, .. } = self.family_usage(root);
        let subdomains = self.domains.get(&root).map_or(0, |top| top.subdomains.len() as u64);
        let limits = self.plan_of(&entry.record).map(|plan| &plan.fields);
        let limit = |of: fn(&crate::PlanFields) -> Option<u32>| limits.and_then(of).map(u64::from);
        Some(DomainSummary {
            domain: self.domain_info(&entry.record),
            accounts: entry.accounts.len(),
            aliases: entry.aliases.len(),
            mailboxes: UsageInfo::new(mailboxes, limit(|l| l.mailboxes)),
            storage_bytes: UsageInfo::new(quota_bytes, limits.and_then(|l| l.storage_bytes)),
            subdomains: UsageInfo::new(subdomains, limit(|l| l.subdomains)),
            plan_aliases: UsageInfo::new(aliases, limit(|l| l.aliases)),
        })
    }

    /// One account.
    pub fn account_info(&self, account: &Account) -> AccountInfo {
        let domain = account.domain.and_then(|id| self.domain(id)).map(|d| &d.name);
        let addresses = account.addresses.iter().filter_map(|address| {
            domain
                .map(|d| AddressInfo { address: format!("{}@{d}", address.local), enabled: address.enabled })
        });
        let names = |list: Option<&[crate::Destination]>| {
            list.unwrap_or_default().iter().map(|d| self.destination_name(d)).collect::<Vec<_>>()
        };
        AccountInfo {
            id: account.id.0,
            username: account.username.to_string(),
            domain: domain.map(ToString::to_string),
            addresses: addresses.collect(),
            real_name: account.real_name.to_string(),
            quota_bytes: account.quota_bytes,
            role: account.role,
            services: account.services,
            disabled: account.disabled,
            locked: account.locked,
            has_password: account.password_hash.is_some(),
            shard: account.shard.map(|shard| shard.0),
            redirect_to: names(account.redirection.as_ref().map(|r| r.to.as_slice())),
            redirect_keeps_copy: account.redirection.as_ref().is_some_and(|r| r.keep_copy),
            members: names(account.group.as_ref().map(|g| g.members.as_slice())),
            created_ms: account.created_ms,
            password_ms: account.password_ms,
        }
    }

    /// Accounts of a domain whose username, addresses or name have the text in them.
    pub fn account_list(
        &self,
        domain: DomainId,
        search: &str,
        after: Option<AccountId>,
        limit: usize,
    ) -> Page<AccountInfo> {
        let search = search.to_lowercase();
        let has = |account: &&Account| {
            account.username.as_str().contains(&search)
                || account.real_name.to_lowercase().contains(&search)
                || account.addresses.iter().any(|address| address.local.folded().contains(&search))
        };
        let from = AccountId(after.map_or(0, |id| id.0.saturating_add(1)));
        let ids = self.domains.get(&domain).into_iter().flat_map(|entry| entry.accounts.range(from..));
        let found = ids.filter_map(|id| self.account(*id)).map(AsRef::as_ref).filter(has);
        page(found.map(|account| self.account_info(account)), limit)
    }

    /// All operators, with a mailbox and without.
    pub fn operator_list(&self) -> Vec<AccountInfo> {
        let operators = self.operators.iter().filter_map(|id| self.account(*id));
        operators.map(|account| self.account_info(account)).collect()
    }

    /// One alias.
    pub fn alias_info(&self, alias: &Alias) -> AliasInfo {
        AliasInfo {
            id: alias.id.0,
            address: self.alias_address(alias),
            destinations: alias.destinations.iter().map(|d| self.destination_name(d)).collect(),
            options: alias.options,
            default: alias.is_default(),
            created_ms: alias.created_ms,
        }
    }

    /// Aliases of a domain whose name or destinations have the text in them.
    pub fn alias_list(
        &self,
        domain: DomainId,
        search: &str,
        after: Option<crate::AliasId>,
        limit: usize,
    ) -> Page<AliasInfo> {
        let search = search.to_lowercase();
        let has = |info: &AliasInfo| {
            info.address.to_lowercase().contains(&search)
                || info.destinations.iter().any(|d| d.to_lowercase().contains(&search))
        };
        let from = crate::AliasId(after.map_or(0, |id| id.0.saturating_add(1)));
        let ids = self.domains.get(&domain).into_iter().flat_map(|entry| entry.aliases.range(from..));
        page(ids.filter_map(|id| self.alias(*id)).map(|alias| self.alias_info(alias)).filter(has), limit)
    }

    fn alias_address(&self, alias: &Alias) -> String {
        match self.domain(alias.domain) {
            Some(domain) => format!("{}@{}", alias.local, domain.name),
            None => alias.local.to_string(),
        }
    }
}

fn page<T>(mut found: impl Iterator<Item = T>, limit: usize) -> Page<T> {
    let items: Vec<T> = found.by_ref().take(limit.min(PAGE_MAX)).collect();
    Page { more: found.next().is_some(), items }
}
