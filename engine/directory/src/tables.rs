//! The directory in memory: records by identifier, and the indexes made from them.
//!
//! Invariant: every index is a function of the records. `link` and `unlink` are the only places that
//! touch indexes, and they are used in the same way when a command is applied and when rows are loaded.

use crate::cluster::ClusterTables;
use crate::error::Error;
use crate::model::{
    Account, Alias, AliasId, Counters, Destination, HostedDomain, Plan, PlanId, Prefix, Role, Settings,
    Standing,
};
use crate::rows::{DomainAlias, Record, RecordName, RowSource, Rows, record_ranges};
use estafette_types::{AccountId, Domain, DomainId, LocalPart, ShardId, Username};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The whole directory.
#[derive(Debug, Default, PartialEq)]
pub struct Directory {
    pub(crate) counters: Counters,
    pub(crate) settings: Settings,
    pub(crate) shards: Vec<ShardId>,
    pub(crate) plans: BTreeMap<PlanId, Plan>,
    pub(crate) prefixes: BTreeMap<String, PrefixEntry>,
    pub(crate) domains: BTreeMap<DomainId, DomainEntry>,
    pub(crate) accounts: HashMap<AccountId, Arc<Account>>,
    pub(crate) aliases: HashMap<AliasId, Arc<Alias>>,
    /// Domains and their other names.
    pub(crate) names: HashMap<Domain, DomainId>,
    pub(crate) operator_names: BTreeMap<Username, AccountId>,
    /// Accounts with the role of an operator, with a mailbox or without.
    pub(crate) operators: BTreeSet<AccountId>,
    /// What passes mail on to an account by its username.
    pub(crate) mentions: HashMap<AccountId, BTreeSet<Mention>>,
    pub(crate) shard_load: BTreeMap<ShardId, u64>,
    pub(crate) cluster: ClusterTables,
}

/// A prefix and the accounts that have it, by running number.
#[derive(Debug, PartialEq)]
pub(crate) struct PrefixEntry {
    pub(crate) record: Prefix,
    pub(crate) numbers: BTreeMap<u32, AccountId>,
}

/// A domain and what is in it.
#[derive(Debug, PartialEq)]
pub(crate) struct DomainEntry {
    pub(crate) record: Arc<HostedDomain>,
    /// By folded local part.
    pub(crate) locals: BTreeMap<Box<str>, Holder>,
    pub(crate) accounts: BTreeSet<AccountId>,
    pub(crate) aliases: BTreeSet<AliasId>,
    pub(crate) other_names: BTreeSet<Domain>,
    pub(crate) subdomains: BTreeSet<DomainId>,
    pub(crate) usage: Usage,
}

/// Who has a name within a domain. Both: an alias that also delivers locally.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) account: Option<AccountId>,
    pub(crate) alias: Option<AliasId>,
}

/// What a domain uses of its plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) mailboxes: u64,
    /// Sum of the quotas of accounts with a mailbox.
    pub(crate) quota_bytes: u64,
    /// Accounts with a mailbox and no quota.
    pub(crate) unlimited: u64,
    /// Without the default addresses.
    pub(crate) aliases: u64,
}

impl Usage {
    pub(crate) fn plus(self, other: Usage) -> Usage {
        Usage {
            mailboxes: self.mailboxes.saturating_add(other.mailboxes),
            quota_bytes: self.quota_bytes.saturating_add(other.quota_bytes),
            unlimited: self.unlimited.saturating_add(other.unlimited),
            aliases: self.aliases.saturating_add(other.aliases),
        }
    }

    pub(crate) fn minus(self, other: Usage) -> Usage {
        Usage {
            mailboxes: self.mailboxes.saturating_sub(other.mailboxes),
            quota_bytes: self.quota_bytes.saturating_sub(other.quota_bytes),
            unlimited: self.unlimited.saturating_sub(other.unlimited),
            aliases: self.aliases.saturating_sub(other.aliases),
        }
    }

    pub(crate) fn of_account(account: &Account) -> Usage {
        let counted = u64::from(account.services.mailbox && account.domain.is_some());
        Usage {
            mailboxes: counted,
            quota_bytes: if counted == 1 { account.quota_bytes.unwrap_or(0) } else { 0 },
            unlimited: if account.quota_bytes.is_none() { counted } else { 0 },
            aliases: 0,
        }
    }

    fn of_alias(alias: &Alias) -> Usage {
        Usage { aliases: u64::from(!alias.is_default()), ..Usage::default() }
    }
}

/// A record that passes mail on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mention {
    /// Its group or its redirection.
    Account(AccountId),
    Alias(AliasId),
}

/// Splits a username of an account into prefix and running number; `None` for other names.
pub(crate) fn split_username(username: &Username) -> Option<(&str, u32)> {
    let text = username.as_str();
    let prefix = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = text.get(prefix.len()..)?;
    let number: u32 = digits.parse().ok()?;
    (format!("{number:04}") == digits).then_some((prefix, number))
}

impl Directory {
    /// Reads the whole directory from its rows.
    pub fn load(rows: &dyn RowSource) -> Result<Directory, Error> {
        let mut directory = Directory::default();
        for range in record_ranges() {
            rows.scan(range, false, &mut |key, value| {
                if let Some(record) = Record::read(key, value)? {
                    directory.set(record)?;
                }
                Ok(true)
            })?;
        }
        Ok(directory)
    }

    /// Writes a record to its row and takes it into memory, in place of what it was.
    pub(crate) fn put(&mut self, record: Record, rows: &mut impl Rows) -> Result<(), Error> {
        let (key, value) = record.row()?;
        rows.put(key, value)?;
        self.set(record)
    }

    fn set(&mut self, record: Record) -> Result<(), Error> {
        match record {
            Record::Counters(counters) => self.counters = counters,
            Record::Settings(settings) => self.settings = settings,
            Record::Shards(shards) => self.shards = shards,
            Record::Plan(plan) => drop(self.plans.insert(plan.id, plan)),
            Record::Prefix(record) => match self.prefixes.get_mut(&record.name) {
                Some(entry) => entry.record = record,
                None => {
                    let entry = PrefixEntry { record, numbers: BTreeMap::new() };
                    self.prefixes.insert(entry.record.name.clone(), entry);
                }
            },
            Record::Domain(domain) => self.set_domain(domain)?,
            Record::DomainAlias(DomainAlias { name, domain }) => {
                self.entry(domain)?.other_names.insert(name.clone());
                self.names.insert(name, domain);
            }
            Record::Account(account) => {
                if let Some(old) = self.accounts.remove(&account.id) {
                    self.unlink_account(&old);
                }
                self.link_account(&account)?;
                self.accounts.insert(account.id, Arc::new(account));
            }
            Record::Alias(alias) => {
                if let Some(old) = self.aliases.remove(&alias.id) {
                    self.unlink_alias(&old);
                }
                self.link_alias(&alias)?;
                self.aliases.insert(alias.id, Arc::new(alias));
            }
            Record::Cluster(cluster) => self.cluster.cluster = Some(cluster),
            Record::Node(node) => drop(self.cluster.nodes.insert(node.id, node)),
            Record::FormerNode(node) => drop(self.cluster.former_nodes.insert(node.id, node)),
            Record::JoinToken(token) => drop(self.cluster.tokens.insert(token.secret_hash, token)),
            Record::Placement(placed) => drop(self.cluster.placements.insert(placed.shard, placed)),
            Record::Move(moving) => drop(self.cluster.moves.insert(moving.account, moving)),
            Record::LastShard(shard) => self.cluster.last_shard = Some(shard),
            Record::MoveRate(kib) => self.cluster.move_rate_kib = Some(kib),
            Record::LastMove(name) => self.cluster.last_move = Some(name),
        }
        Ok(())
    }

    /// Removes a record.
    pub(crate) fn remove(&mut self, name: &RecordName, rows: &mut impl Rows) -> Result<(), Error> {
        rows.delete(name.key())?;
        match name {
            RecordName::Plan(id) => drop(self.plans.remove(id)),
            RecordName::Domain(id) => self.remove_domain(*id),
            RecordName::DomainAlias(name) => {
                if let Some(entry) = self.names.remove(name).and_then(|id| self.domains.get_mut(&id)) {
                    entry.other_names.remove(name);
                }
            }
            RecordName::Account(id) => {
                if let Some(old) = self.accounts.remove(id) {
                    self.unlink_account(&old);
                }
            }
            RecordName::Alias(id) => {
                if let Some(old) = self.aliases.remove(id) {
                    self.unlink_alias(&old);
                }
            }
            RecordName::Node(id) => drop(self.cluster.nodes.remove(id)),
            RecordName::JoinToken(secret_hash) => drop(self.cluster.tokens.remove(secret_hash)),
            RecordName::Placement(shard) => drop(self.cluster.placements.remove(shard)),
            RecordName::Move(account) => drop(self.cluster.moves.remove(account)),
        }
        Ok(())
    }

    fn entry(&mut self, id: DomainId) -> Result<&mut DomainEntry, Error> {
        self.domains.get_mut(&id).ok_or(Error::Dangling { what: "what names the domain", id: id.0 })
    }

    /// Name, prefix and standing of a domain never change between plan and sub-domain.
    fn set_domain(&mut self, domain: HostedDomain) -> Result<(), Error> {
        let id = domain.id;
        if let Some(entry) = self.domains.get_mut(&id) {
            entry.record = Arc::new(domain);
            return Ok(());
        }
        if let Standing::Subdomain { of } = domain.standing {
            self.entry(of)?.subdomains.insert(id);
        }
        self.names.insert(domain.name.clone(), id);
        let entry = DomainEntry {
            record: Arc::new(domain),
            locals: BTreeMap::new(),
            accounts: BTreeSet::new(),
            aliases: BTreeSet::new(),
            other_names: BTreeSet::new(),
            subdomains: BTreeSet::new(),
            usage: Usage::default(),
        };
        self.domains.insert(id, entry);
        Ok(())
    }

    fn remove_domain(&mut self, id: DomainId) {
        let Some(entry) = self.domains.remove(&id) else { return };
        self.names.remove(&entry.record.name);
        if let Standing::Subdomain { of } = entry.record.standing
            && let Some(above) = self.domains.get_mut(&of)
        {
            above.subdomains.remove(&id);
        }
    }

    fn link_account(&mut self, account: &Account) -> Result<(), Error> {
        let id = account.id;
        if let Some(domain) = account.domain {
            let entry = self.entry(domain)?;
            entry.accounts.insert(id);
            entry.usage = entry.usage.plus(Usage::of_account(account));
            for address in &account.addresses {
                entry.locals.entry(key(&address.local)).or_default().account = Some(id);
            }
            let (prefix, number) = split_username(&account.username)
                .ok_or(Error::Dangling { what: "the username of account", id: id.0 })?;
            let prefix = self.prefixes.get_mut(prefix);
            let prefix = prefix.ok_or(Error::Dangling { what: "the prefix of account", id: id.0 })?;
            prefix.numbers.insert(number, id);
        } else {
            self.operator_names.insert(account.username.clone(), id);
        }
        if account.role == Role::Operator {
            self.operators.insert(id);
        }
        if let Some(shard) = account.shard {
            *self.shard_load.entry(shard).or_default() += 1;
        }
        self.mention(destinations_of(account), Mention::Account(id));
        Ok(())
    }

    fn unlink_account(&mut self, account: &Account) {
        let id = account.id;
        if let Some(entry) = account.domain.and_then(|domain| self.domains.get_mut(&domain)) {
            entry.accounts.remove(&id);
            entry.usage = entry.usage.minus(Usage::of_account(account));
            for address in &account.addresses {
                entry.release(&key(&address.local), |holder| holder.account = None);
            }
        }
        match split_username(&account.username) {
            Some((prefix, number)) if account.domain.is_some() => {
                if let Some(entry) = self.prefixes.get_mut(prefix) {
                    entry.numbers.remove(&number);
                }
            }
            _ => drop(self.operator_names.remove(&account.username)),
        }
        self.operators.remove(&id);
        if let Some(shard) = account.shard
            && let Some(load) = self.shard_load.get_mut(&shard)
        {
            *load = load.saturating_sub(1);
            if *load == 0 {
                self.shard_load.remove(&shard);
            }
        }
        self.unmention(destinations_of(account), Mention::Account(id));
    }

    fn link_alias(&mut self, alias: &Alias) -> Result<(), Error> {
        let entry = self.entry(alias.domain)?;
        entry.aliases.insert(alias.id);
        entry.usage = entry.usage.plus(Usage::of_alias(alias));
        entry.locals.entry(key(&alias.local)).or_default().alias = Some(alias.id);
        self.mention(alias.destinations.iter(), Mention::Alias(alias.id));
        Ok(())
    }

    fn unlink_alias(&mut self, alias: &Alias) {
        if let Some(entry) = self.domains.get_mut(&alias.domain) {
            entry.aliases.remove(&alias.id);
            entry.usage = entry.usage.minus(Usage::of_alias(alias));
            entry.release(&key(&alias.local), |holder| holder.alias = None);
        }
        self.unmention(alias.destinations.iter(), Mention::Alias(alias.id));
    }

    fn mention<'a>(&mut self, to: impl Iterator<Item = &'a Destination>, by: Mention) {
        for destination in to {
            if let Destination::Account(id) = destination {
                self.mentions.entry(*id).or_default().insert(by);
            }
        }
    }

    fn unmention<'a>(&mut self, to: impl Iterator<Item = &'a Destination>, by: Mention) {
        for destination in to {
            if let Destination::Account(id) = destination
                && let Some(set) = self.mentions.get_mut(id)
            {
                set.remove(&by);
                if set.is_empty() {
                    self.mentions.remove(id);
                }
            }
        }
    }
}

impl DomainEntry {
    fn release(&mut self, local: &str, free: impl FnOnce(&mut Holder)) {
        if let Some(holder) = self.locals.get_mut(local) {
            free(holder);
            if *holder == Holder::default() {
                self.locals.remove(local);
            }
        }
    }
}

fn key(local: &LocalPart) -> Box<str> {
    local.folded().into_boxed_str()
}

/// All destinations of an account, acting or switched off.
pub(crate) fn destinations_of(account: &Account) -> impl Iterator<Item = &Destination> {
    let members = account.group.iter().flat_map(|group| group.members.iter());
    members.chain(account.redirection.iter().flat_map(|redirection| redirection.to.iter()))
}
