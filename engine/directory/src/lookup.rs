//! Finding things by the names that people and protocols use.

use crate::model::{Account, Alias, AliasId, Destination, HostedDomain, Plan, PlanId, Settings, Standing};
use crate::password::PasswordHash;
use crate::refusal::Refusal;
use crate::tables::{Directory, DomainEntry, Holder, Usage, split_username};
use estafette_types::{AccountId, Address, Domain, DomainId, ShardId, Username};
use std::sync::Arc;

/// Why a known account with the right password is still not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginBar {
    /// The account is disabled.
    #[error("this account is disabled")]
    Disabled,
    /// The domain is suspended.
    #[error("this domain is suspended")]
    Suspended,
}

/// What is needed to check a login. The bar is told only after the password was right.
#[derive(Clone, Debug)]
pub struct Login {
    /// Whose.
    pub account: Arc<Account>,
    /// Why it is refused in spite of a right password.
    pub bar: Option<LoginBar>,
}

impl Login {
    /// What [`crate::password::Hasher::verify`] takes; for an unknown user, hand it `None`.
    pub fn password_hash(&self) -> Option<&PasswordHash> {
        self.account.password_hash.as_ref()
    }
}

impl Directory {
    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// True before the first operator was made.
    pub fn has_operator(&self) -> bool {
        !self.operators.is_empty()
    }

    /// A plan.
    pub fn plan(&self, id: PlanId) -> Option<&Plan> {
        self.plans.get(&id)
    }

    /// A plan by its name, in any case.
    pub fn plan_named(&self, name: &str) -> Option<&Plan> {
        let lower = name.to_lowercase();
        self.plans.values().find(|plan| plan.fields.name.to_lowercase() == lower)
    }

    /// A domain.
    pub fn domain(&self, id: DomainId) -> Option<&Arc<HostedDomain>> {
        self.domains.get(&id).map(|entry| &entry.record)
    }

    /// A domain by its name or by one of its other names.
    pub fn domain_named(&self, name: &Domain) -> Option<&Arc<HostedDomain>> {
        self.names.get(name).and_then(|id| self.domain(*id))
    }

    /// True for the name of a domain served here and for its other names; for the suspended ones too.
    pub fn is_local_domain(&self, name: &Domain) -> bool {
        self.names.contains_key(name)
    }

    /// An account.
    pub fn account(&self, id: AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(&id)
    }

    /// An account by its username.
    pub fn account_named(&self, username: &Username) -> Option<&Arc<Account>> {
        let id = match split_username(username) {
            Some((prefix, number)) => self.prefixes.get(prefix)?.numbers.get(&number),
            None => self.operator_names.get(username),
        };
        self.account(*id?)
    }

    /// The account that has an address (enabled or not), by any name of the domain.
    pub fn account_at(&self, address: &Address) -> Option<&Arc<Account>> {
        self.account(self.holder_at(address)?.account?)
    }

    /// An alias.
    pub fn alias(&self, id: AliasId) -> Option<&Arc<Alias>> {
        self.aliases.get(&id)
    }

    /// The alias that has an address, by any name of the domain.
    pub fn alias_at(&self, address: &Address) -> Option<&Arc<Alias>> {
        self.alias(self.holder_at(address)?.alias?)
    }

    fn holder_at(&self, address: &Address) -> Option<Holder> {
        let entry = self.domains.get(self.names.get(&address.domain)?)?;
        entry.locals.get(address.local.folded().as_str()).copied()
    }

    /// The account by what a person types at a login: the username or any of its addresses (SPEC D-5).
    pub fn login(&self, name: &str) -> Option<Login> {
        let name = name.trim();
        let account = if name.contains('@') {
            self.account_at(&Address::parse(name).ok()?)
        } else {
            self.account_named(&Username::parse(name).ok()?)
        }?;
        Some(Login { account: Arc::clone(account), bar: self.bar(account) })
    }

    /// Why an account is not let in.
    pub fn bar(&self, account: &Account) -> Option<LoginBar> {
        let suspended = account.domain.and_then(|id| self.domain(id)).is_some_and(|domain| domain.suspended);
        match (account.disabled, suspended) {
            (true, _) => Some(LoginBar::Disabled),
            (false, true) => Some(LoginBar::Suspended),
            (false, false) => None,
        }
    }

    /// The primary address of an account; `None` for an operator without a mailbox.
    pub fn primary_address(&self, account: &Account) -> Option<Address> {
        let domain = self.domain(account.domain?)?;
        let first = account.addresses.first()?;
        Some(Address { local: first.local.clone(), domain: domain.name.clone() })
    }

    /// What a person types as a destination: a username here or an address.
    pub fn destination(&self, text: &str) -> Result<Destination, Refusal> {
        let text = text.trim();
        let unknown = || Refusal::UnknownDestination { text: text.to_owned() };
        if text.contains('@') {
            return Address::parse(text).map(Destination::Address).map_err(|_| unknown());
        }
        let username = Username::parse(text).map_err(|_| unknown())?;
        let account = self.account_named(&username).ok_or_else(unknown)?;
        Ok(Destination::Account(account.id))
    }

    /// How a destination is shown: the username or the address.
    pub fn destination_name(&self, destination: &Destination) -> String {
        match destination {
            Destination::Account(id) => {
                self.account(*id).map_or_else(|| format!("#{id}"), |account| account.username.to_string())
            }
            Destination::Address(address) => address.to_string(),
        }
    }

    /// The groups that an account is in by its username or one of its addresses (SPEC D-10).
    pub fn groups_of(&self, id: AccountId) -> Vec<Arc<Account>> {
        let Some(account) = self.account(id) else { return Vec::new() };
        let Some(entry) = account.domain.and_then(|domain| self.domains.get(&domain)) else {
            return Vec::new();
        };
        let is_self = |member: &Destination| match member {
            Destination::Account(member) => *member == id,
            Destination::Address(address) => self.account_at(address).is_some_and(|a| a.id == id),
        };
        let in_domain = entry.accounts.iter().copied();
        let mentions = self.mentions.get(&id).into_iter().flatten();
        let elsewhere = mentions.filter_map(|mention| match mention {
            crate::tables::Mention::Account(group) => Some(*group),
            crate::tables::Mention::Alias(_) => None,
        });
        let candidates: std::collections::BTreeSet<AccountId> = in_domain.chain(elsewhere).collect();
        let groups = candidates.into_iter().filter_map(|group| self.account(group));
        groups
            .filter(|account| account.group.as_ref().is_some_and(|group| group.members.iter().any(is_self)))
            .cloned()
            .collect()
    }

    /// The shards that accounts can be in.
    pub fn shards(&self) -> &[ShardId] {
        &self.shards
    }

    /// Accounts in a shard.
    pub fn shard_load(&self, shard: ShardId) -> u64 {
        self.shard_load.get(&shard).copied().unwrap_or(0)
    }

    /// The shard with the fewest accounts: what a proposer puts into a new account.
    pub fn emptiest_shard(&self) -> Option<ShardId> {
        self.emptiest_shard_but(None)
    }

    /// The same among all others than one. Accounts on their way to a shard count.
    pub fn emptiest_shard_but(&self, other: Option<ShardId>) -> Option<ShardId> {
        let coming = |shard| self.moves().filter(|moving| moving.to == shard).count() as u64;
        let shards = self.shards.iter().copied().filter(|shard| Some(*shard) != other);
        shards.min_by_key(|shard| (self.shard_load(*shard) + coming(*shard), *shard))
    }

    /// How many there are: domains, accounts, aliases.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.domains.len(), self.accounts.len(), self.aliases.len())
    }

    /// All accounts, in no order.
    pub fn all_accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    /// The domain whose plan binds, which is the domain itself or the one above.
    pub(crate) fn root_of(&self, domain: &HostedDomain) -> DomainId {
        match domain.standing {
            Standing::Plan(_) => domain.id,
            Standing::Subdomain { of } => of,
        }
    }

    /// The plan that binds a domain.
    pub fn plan_of(&self, domain: &HostedDomain) -> Option<&Plan> {
        match self.domain(self.root_of(domain))?.standing {
            Standing::Plan(plan) => self.plan(plan),
            Standing::Subdomain { .. } => None,
        }
    }

    /// A domain with the domains below it.
    pub(crate) fn family(&self, root: DomainId) -> impl Iterator<Item = &DomainEntry> {
        let top = self.domains.get(&root);
        let below = top.into_iter().flat_map(|entry| entry.subdomains.iter());
        top.into_iter().chain(below.filter_map(|id| self.domains.get(id)))
    }

    pub(crate) fn family_usage(&self, root: DomainId) -> Usage {
        self.family(root).fold(Usage::default(), |sum, entry| sum.plus(entry.usage))
    }
}
