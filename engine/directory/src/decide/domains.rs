//! Domains: made with their default addresses and administrator, changed, given other names.

use super::limits::{check_subdomains, check_usage};
use super::{Draft, check_text};
use crate::command::{Administrator, DomainChange, NewDomain, Reply};
use crate::model::{
    Account, Alias, CatchAll, DEFAULT_ADDRESSES, Destination, HostedDomain, Plan, PlanId, Prefix, Standing,
};
use crate::refusal::Refusal;
use crate::resolve::{Lens, Node};
use crate::rows::{DomainAlias, Record, RecordName};
use crate::tables::{Directory, Usage, destinations_of};
use estafette_types::{AccountId, Domain, DomainId, LocalPart};

/// Longest prefix that is asked for, and longest that is derived before letters are added.
const PREFIX_MAX: usize = 32;
const DERIVED_PREFIX_MAX: usize = 16;

impl Draft<'_> {
    pub(super) fn create_domain(&mut self, new: &NewDomain) -> Result<Reply, Refusal> {
        self.check_new_name(&new.name)?;
        check_text("description", &new.description, true)?;
        let plan = self.standing_plan(&new.name, new.standing)?.clone();
        let default_quota_bytes = new.default_quota_bytes.unwrap_or_else(|| plan.share_bytes());
        if default_quota_bytes == 0 {
            return Err(Refusal::InvalidText { field: "default-quota".to_owned() });
        }
        let id = self.next_domain()?;
        let mut prefix = self.prefix_for(new)?;
        prefix.domain = Some(id);
        let mut domain = HostedDomain {
            id,
            name: new.name.clone(),
            prefix: prefix.name.clone(),
            standing: new.standing,
            description: new.description.clone(),
            contact: new.contact.clone(),
            default_quota_bytes,
            administrator: AccountId(0),
            suspended: false,
            catch_all: None,
            created_ms: self.time_ms,
            created_by: self.actor.clone(),
        };
        let (administrator, made) = match &new.administrator {
            Administrator::New(account) => {
                let mut made = self.new_account(&domain, account, &mut prefix)?;
                made.role = made.role.max(crate::Role::DomainAdministrator);
                let total = match new.standing {
                    Standing::Plan(_) => Usage::default(),
                    Standing::Subdomain { of } => self.directory.family_usage(of),
                };
                check_usage(&plan.fields, total, Usage::default(), Usage::of_account(&made))?;
                (made.clone(), Some(made))
            }
            Administrator::Existing(account) => (self.existing_administrator(new, *account)?.clone(), None),
        };
        domain.administrator = administrator.id;
        self.notes.object = domain.name.to_string();
        self.notes.domain = Some(id);
        self.notes.set("plan", &plan.fields.name);
        self.notes.set("prefix", &domain.prefix);
        self.notes.set("administrator", &administrator.username);
        self.put(Record::Prefix(prefix));
        self.put(Record::Domain(domain));
        let taken = made.as_ref().and_then(|account| account.addresses.first()).map(|a| a.local.folded());
        if let Some(account) = made {
            self.put(Record::Account(account));
        }
        for name in DEFAULT_ADDRESSES.into_iter().filter(|name| taken.as_deref() != Some(name)) {
            let local =
                LocalPart::parse(name).map_err(|_| Refusal::UnknownAddress { address: name.into() })?;
            self.put_default_alias(id, local, administrator.id)?;
        }
        Ok(Reply::Domain { id, administrator: administrator.id, username: administrator.username })
    }

    fn check_new_name(&self, name: &Domain) -> Result<(), Refusal> {
        if name.is_literal() {
            return Err(Refusal::InvalidDomain { name: name.to_string() });
        }
        if self.directory.is_local_domain(name) {
            return Err(Refusal::NameTaken { name: name.to_string() });
        }
        Ok(())
    }

    /// The plan that will bind a new domain.
    fn standing_plan(&self, name: &Domain, standing: Standing) -> Result<&Plan, Refusal> {
        let of = match standing {
            Standing::Plan(plan) => return self.directory.plan(plan).ok_or(Refusal::UnknownPlan),
            Standing::Subdomain { of } => of,
        };
        let above = self.directory.need_domain(of)?;
        let parent = above.record.name.as_str();
        let below = name.as_str().strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
        if !below || self.directory.root_of(&above.record) != of {
            return Err(Refusal::NotSubdomain { name: name.to_string(), parent: parent.to_owned() });
        }
        let plan = self.plan_of(&above.record)?;
        check_subdomains(&plan.fields, above.subdomains.len() as u64, 1)?;
        Ok(plan)
    }

    /// An account of the domain above, which gets the default addresses of a sub-domain.
    fn existing_administrator(&self, new: &NewDomain, id: AccountId) -> Result<&Account, Refusal> {
        let (account, home) = self.directory.need_mailbox(id)?;
        match new.standing {
            Standing::Subdomain { of } if self.directory.root_of(&home.record) == of => {}
            _ => return Err(Refusal::OtherDomain),
        }
        // What was sent to the new domain from here was outside until now.
        for target in Lens::saving(self.directory).outside(Node::Account(id))? {
            if target.domain == new.name && crate::model::is_default_name(&target.local) {
                let name = account.username.to_string();
                return Err(Refusal::AliasLoop { path: vec![name.clone(), target.to_string(), name] });
            }
        }
        Ok(account)
    }

    fn prefix_for(&self, new: &NewDomain) -> Result<Prefix, Refusal> {
        let existing = |name: &str| self.directory.prefixes.get(name).map(|entry| &entry.record);
        let fresh = |name: &str| Prefix { name: name.to_owned(), next_number: 1, domain: None };
        if let Some(asked) = &new.prefix {
            if !is_prefix(asked) {
                return Err(Refusal::InvalidPrefix);
            }
            return match existing(asked) {
                Some(prefix) if prefix.domain.is_some() => {
                    Err(Refusal::PrefixTaken { prefix: asked.clone() })
                }
                Some(prefix) => Ok(prefix.clone()),
                None => Ok(fresh(asked)),
            };
        }
        let base = derive_prefix(&new.name);
        for turn in 0..=self.directory.prefixes.len() as u64 {
            let name = format!("{base}{}", letters(turn));
            if existing(&name).is_none() {
                return Ok(fresh(&name));
            }
        }
        Err(Refusal::Exhausted)
    }

    pub(super) fn change_domain(&mut self, id: DomainId, change: &DomainChange) -> Result<Reply, Refusal> {
        let mut domain = HostedDomain::clone(&self.directory.need_domain(id)?.record);
        self.notes.object = domain.name.to_string();
        if let Some(description) = &change.description {
            check_text("description", description, true)?;
            self.notes.changed("description", Some(&domain.description), Some(description));
            domain.description.clone_from(description);
        }
        if let Some(contact) = &change.contact {
            self.notes.changed("contact", domain.contact.as_ref(), contact.as_ref());
            domain.contact.clone_from(contact);
        }
        if let Some(bytes) = change.default_quota_bytes {
            if bytes == 0 {
                return Err(Refusal::InvalidText { field: "default-quota".to_owned() });
            }
            self.notes.changed("default-quota-bytes", Some(domain.default_quota_bytes), Some(bytes));
            domain.default_quota_bytes = bytes;
        }
        if let Some(plan) = change.plan {
            self.change_standing(&mut domain, plan)?;
        }
        if let Some(suspended) = change.suspended {
            if suspended {
                self.directory.need_operator(|account| account.domain != Some(id))?;
            }
            self.notes.changed("suspended", Some(domain.suspended), Some(suspended));
            domain.suspended = suspended;
        }
        if let Some(administrator) = change.administrator {
            self.change_administrator(&mut domain, administrator)?;
        }
        self.put(Record::Domain(domain));
        Ok(Reply::Done)
    }

    fn change_standing(&mut self, domain: &mut HostedDomain, plan: PlanId) -> Result<(), Refusal> {
        if matches!(domain.standing, Standing::Subdomain { .. }) {
            return Err(Refusal::SubdomainPlan);
        }
        let after = self.directory.plan(plan).ok_or(Refusal::UnknownPlan)?;
        let before = self.plan_of(domain)?.fields.name.clone();
        let nothing = Usage::default();
        check_usage(&after.fields, nothing, nothing, self.directory.family_usage(domain.id))?;
        let subdomains = self.directory.need_domain(domain.id)?.subdomains.len();
        check_subdomains(&after.fields, 0, subdomains as u64)?;
        self.notes.changed("plan", Some(&before), Some(&after.fields.name));
        domain.standing = Standing::Plan(plan);
        Ok(())
    }

    /// Default addresses that lead to the old administrator alone follow.
    fn change_administrator(&mut self, domain: &mut HostedDomain, to: AccountId) -> Result<(), Refusal> {
        let (account, home) = self.directory.need_mailbox(to)?;
        if self.directory.root_of(&home.record) != self.directory.root_of(domain) {
            return Err(Refusal::OtherDomain);
        }
        let old = [Destination::Account(domain.administrator)];
        let entry = self.directory.need_domain(domain.id)?;
        let following: Vec<&Alias> = entry
            .aliases
            .iter()
            .filter_map(|alias| self.directory.alias(*alias))
            .map(AsRef::as_ref)
            .filter(|alias| alias.is_default() && alias.destinations == old)
            .collect();
        let goals: Vec<Node> = following.iter().map(|alias| Node::Alias(alias.id)).collect();
        let lens = Lens::saving(self.directory);
        if let Some(path) = lens.path(Node::Account(to), &goals)? {
            let names = path.into_iter().chain([Node::Account(to)]).map(|node| lens.name(node));
            return Err(Refusal::AliasLoop { path: names.collect() });
        }
        let before = self.directory.account(domain.administrator).map(|old| &old.username);
        self.notes.changed("administrator", before, Some(&account.username));
        domain.administrator = to;
        for alias in following {
            let destinations = vec![Destination::Account(to)];
            self.put(Record::Alias(Alias { destinations, ..alias.clone() }));
        }
        Ok(())
    }

    pub(super) fn add_domain_alias(&mut self, id: DomainId, name: &Domain) -> Result<Reply, Refusal> {
        let record = &self.directory.need_domain(id)?.record;
        self.check_new_name(name)?;
        // What was sent to this name was outside until now.
        let lens = Lens { other_name: Some((name, id)), ..Lens::saving(self.directory) };
        for node in self.directory.nodes_naming(name) {
            lens.check_loop(node)?;
        }
        self.notes.object = record.name.to_string();
        self.notes.set("alias", name);
        self.put(Record::DomainAlias(DomainAlias { name: name.clone(), domain: id }));
        Ok(Reply::Done)
    }

    pub(super) fn remove_domain_alias(&mut self, name: &Domain) -> Result<Reply, Refusal> {
        let domain = self.directory.domain_named(name).ok_or(Refusal::UnknownDomain)?;
        if domain.name == *name {
            return Err(Refusal::UnknownDomain);
        }
        self.notes.object = domain.name.to_string();
        self.notes.changed("alias", Some(name), None);
        self.remove(RecordName::DomainAlias(name.clone()));
        Ok(Reply::Done)
    }

    pub(super) fn set_catch_all(&mut self, id: DomainId, to: Option<CatchAll>) -> Result<Reply, Refusal> {
        let mut domain = HostedDomain::clone(&self.directory.need_domain(id)?.record);
        let node = match to {
            None => None,
            Some(CatchAll::Account(account)) => {
                let (_, home) = self.directory.need_mailbox(account)?;
                if self.directory.root_of(&home.record) != self.directory.root_of(&domain) {
                    return Err(Refusal::OtherDomain);
                }
                Some(Node::Account(account))
            }
            Some(CatchAll::Alias(alias)) => {
                if self.directory.need_alias(alias)?.domain != id {
                    return Err(Refusal::OtherDomain);
                }
                Some(Node::Alias(alias))
            }
        };
        let before = domain.catch_all;
        domain.catch_all = to;
        let lens = Lens { domain: Some(&domain), ..Lens::saving(self.directory) };
        if let Some(node) = node {
            lens.check_loop(node)?;
        }
        let name = |to: CatchAll| match to {
            CatchAll::Account(id) => lens.name(Node::Account(id)),
            CatchAll::Alias(id) => lens.name(Node::Alias(id)),
        };
        self.notes.object = domain.name.to_string();
        self.notes.changed("catch-all", before.map(name), to.map(name));
        self.put(Record::Domain(domain));
        Ok(Reply::Done)
    }
}

impl Directory {
    /// What sends mail to addresses of a domain by this name.
    fn nodes_naming(&self, name: &Domain) -> Vec<Node> {
        let names = |to: &Destination| matches!(to, Destination::Address(a) if a.domain == *name);
        let accounts = self.accounts.values().filter(|account| destinations_of(account).any(names));
        let aliases = self.aliases.values().filter(|alias| alias.destinations.iter().any(names));
        let mut nodes: Vec<Node> = accounts.map(|account| Node::Account(account.id)).collect();
        nodes.extend(aliases.map(|alias| Node::Alias(alias.id)));
        // The tables have no order of their own, and the first loop is told.
        nodes.sort_unstable();
        nodes
    }
}

/// A letter first; no digit last, so that prefix and number can be told apart.
fn is_prefix(text: &str) -> bool {
    (1..=PREFIX_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with(|c: char| c.is_ascii_digit())
}

/// From the first label of a name: `example.org` gives `example`.
fn derive_prefix(name: &Domain) -> String {
    let ascii = name.to_ascii();
    let label = ascii.split('.').next().unwrap_or_default();
    let label = label.strip_prefix("xn--").unwrap_or(label);
    let kept: String = label.chars().filter(char::is_ascii_alphanumeric).collect();
    let kept = kept.trim_start_matches(|c: char| c.is_ascii_digit());
    let cut = kept.get(..DERIVED_PREFIX_MAX).unwrap_or(kept);
    let cut = cut.trim_end_matches(|c: char| c.is_ascii_digit());
    if cut.is_empty() { "mail".to_owned() } else { cut.to_owned() }
}

/// Nothing for 0, then `b`, `c`, … `z`, `ba`, …
fn letters(mut number: u64) -> String {
    let mut reversed = String::new();
    while number > 0 {
        let digit = u8::try_from(number % 26).unwrap_or(0);
        reversed.push(char::from(b'a' + digit));
        number /= 26;
    }
    reversed.chars().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let derive = |name| derive_prefix(&Domain::parse(name).unwrap());
        assert_eq!(derive("example.org"), "example");
        assert_eq!(derive("my-shop24.example"), "myshop");
        assert_eq!(derive("123.example"), "mail");
        assert_eq!(derive("4you.example"), "you");
        assert_eq!(derive("a-very-long-name-of-a-domain.example"), "averylongnameofa");
        assert!(is_prefix(&derive("bücher.example")));
        let made: Vec<String> = [0, 1, 25, 26, 27].into_iter().map(letters).collect();
        assert_eq!(made, ["", "b", "z", "ba", "bb"]);
        for bad in ["", "1a", "a1", "A", "a.b", "é"] {
            assert!(!is_prefix(bad), "{bad}");
        }
    }
}
