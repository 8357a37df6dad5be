//! Removing accounts, aliases and domains, and with them all that leads to them.
//!
//! Destinations by username go with the account. An alias that is left with nothing to do goes too; a
//! default address falls back to the domain's administrator. Addresses as destinations stay as they are.

use super::{Draft, at};
use crate::command::{Removed, Reply};
use crate::model::{
    Account, Alias, AliasId, AliasOptions, CatchAll, Destination, HostedDomain, Prefix, Settings,
};
use crate::refusal::Refusal;
use crate::rows::{Record, RecordName};
use crate::tables::Mention;
use estafette_types::{AccountId, DomainId};
use std::collections::BTreeSet;

/// What goes.
#[derive(Default)]
struct Going {
    accounts: BTreeSet<AccountId>,
    aliases: BTreeSet<AliasId>,
    domain: Option<DomainId>,
}

impl Draft<'_> {
    pub(super) fn delete_account(&mut self, id: AccountId) -> Result<Reply, Refusal> {
        let account = self.directory.need_account(id)?;
        self.directory.need_operator(|other| other.id != id)?;
        self.notes.object = account.username.to_string();
        let mut going = Going { accounts: BTreeSet::from([id]), ..Going::default() };
        let Some(domain) = account.domain else {
            self.carry_out(&mut going)?;
            return Ok(Reply::Removed(self.removed(account)));
        };
        let entry = self.directory.need_domain(domain)?;
        self.check_administrators(&going, self.directory.root_of(&entry.record))?;
        for address in &account.addresses {
            self.notes.changed("address", Some(at(&address.local, &entry.record)), None);
        }
        self.carry_out(&mut going)?;
        for address in &account.addresses {
            let alias = entry.holder(&address.local).alias;
            if crate::model::is_default_name(&address.local)
                && alias.is_none_or(|a| going.aliases.contains(&a))
            {
                self.put_default_alias(domain, address.local.clone(), entry.record.administrator)?;
            }
        }
        Ok(Reply::Removed(self.removed(account)))
    }

    pub(super) fn delete_alias(&mut self, id: AliasId) -> Result<Reply, Refusal> {
        let alias = self.directory.need_alias(id)?;
        let entry = self.directory.need_domain(alias.domain)?;
        if alias.is_default() && entry.holder(&alias.local).account.is_none() {
            return Err(Refusal::DefaultAddress { name: alias.local.to_string() });
        }
        self.notes.object = at(&alias.local, &entry.record);
        let words = self.words(&alias.destinations);
        self.notes.changed("destinations", Some(words), None);
        self.carry_out(&mut Going { aliases: BTreeSet::from([id]), ..Going::default() })?;
        Ok(Reply::Done)
    }

    pub(super) fn delete_domain(&mut self, id: DomainId) -> Result<Reply, Refusal> {
        let entry = self.directory.need_domain(id)?;
        if !entry.subdomains.is_empty() {
            return Err(Refusal::HasSubdomains);
        }
        self.directory.need_operator(|account| account.domain != Some(id))?;
        let mut going =
            Going { accounts: entry.accounts.clone(), aliases: entry.aliases.clone(), domain: Some(id) };
        self.check_administrators(&going, self.directory.root_of(&entry.record))?;
        self.notes.object = entry.record.name.to_string();
        self.notes.changed("accounts", Some(entry.accounts.len()), None);
        self.notes.changed("aliases", Some(entry.aliases.len()), None);
        self.carry_out(&mut going)?;
        for name in &entry.other_names {
            self.notes.changed("alias", Some(name), None);
            self.remove(RecordName::DomainAlias(name.clone()));
        }
        if let Some(prefix) = self.directory.prefixes.get(&entry.record.prefix) {
            self.put(Record::Prefix(Prefix { domain: None, ..prefix.record.clone() }));
        }
        if self.directory.settings().postmaster_domain == Some(id) {
            let settings = Settings { postmaster_domain: None, ..self.directory.settings().clone() };
            self.put(Record::Settings(settings));
        }
        self.remove(RecordName::Domain(id));
        let removed = entry.accounts.iter().filter_map(|id| self.directory.account(*id));
        Ok(Reply::Removed(removed.flat_map(|account| self.removed(account)).collect()))
    }

    /// Where an account has mailboxes: in its shard, and in the one that it is moving to.
    fn removed(&self, account: &Account) -> Vec<Removed> {
        let moving = self.directory.move_of(account.id).map(|moving| Some(moving.to));
        let shards = [account.shard].into_iter().chain(moving);
        shards.map(|shard| Removed { account: account.id, shard }).collect()
    }

    /// Refuses when a domain that stays would lose its administrator.
    fn check_administrators(&self, going: &Going, root: DomainId) -> Result<(), Refusal> {
        let staying = self.directory.family(root).filter(|entry| Some(entry.record.id) != going.domain);
        let mut losing = staying.filter(|entry| going.accounts.contains(&entry.record.administrator));
        match losing.next() {
            Some(entry) => Err(Refusal::AdministratorNeeded { domain: entry.record.name.to_string() }),
            None => Ok(()),
        }
    }

    /// Removes what goes, after taking it out of all that stays. Aliases left empty join what goes.
    fn carry_out(&mut self, going: &mut Going) -> Result<(), Refusal> {
        let mentions: BTreeSet<Mention> = going
            .accounts
            .iter()
            .filter_map(|id| self.directory.mentions.get(id))
            .flat_map(|set| set.iter().copied())
            .collect();
        for mention in mentions {
            match mention {
                Mention::Account(id) if !going.accounts.contains(&id) => self.forget_in_account(id, going)?,
                Mention::Alias(id) if !going.aliases.contains(&id) => self.forget_in_alias(id, going)?,
                Mention::Account(_) | Mention::Alias(_) => {}
            }
        }
        self.forget_catch_alls(going);
        for id in &going.aliases {
            self.remove(RecordName::Alias(*id));
        }
        for id in &going.accounts {
            self.remove(RecordName::Account(*id));
            if self.directory.move_of(*id).is_some() {
                self.remove(RecordName::Move(*id));
            }
        }
        Ok(())
    }

    fn forget_in_account(&mut self, id: AccountId, going: &Going) -> Result<(), Refusal> {
        let mut account = Account::clone(self.directory.need_account(id)?);
        if let Some(group) = &mut account.group {
            group.members.retain(|member| stays(member, going));
        }
        if let Some(redirection) = &mut account.redirection {
            redirection.to.retain(|to| stays(to, going));
        }
        account.redirection = account.redirection.filter(|redirection| !redirection.to.is_empty());
        account.group = account.group.filter(|group| !group.members.is_empty() || group.keep_copy);
        self.notes.changed("removed from", Some(account.username.to_string()), None);
        self.put(Record::Account(account));
        Ok(())
    }

    fn forget_in_alias(&mut self, id: AliasId, going: &mut Going) -> Result<(), Refusal> {
        let mut alias = Alias::clone(self.directory.need_alias(id)?);
        let domain = &self.directory.need_domain(alias.domain)?.record;
        self.notes.changed("removed from", Some(at(&alias.local, domain)), None);
        alias.destinations.retain(|to| stays(to, going));
        if alias.destinations.is_empty() && alias.is_default() && !alias.options.everyone {
            alias.destinations.push(Destination::Account(domain.administrator));
        }
        if alias.destinations.is_empty() && alias.options == AliasOptions::default() {
            going.aliases.insert(id);
            return Ok(());
        }
        self.put(Record::Alias(alias));
        Ok(())
    }

    /// A catch-all leads to accounts of the family or to aliases of the domain.
    fn forget_catch_alls(&mut self, going: &Going) {
        let directory = self.directory;
        let homes = going.accounts.iter().filter_map(|id| directory.account(*id)?.domain);
        let homes = homes.chain(going.aliases.iter().filter_map(|id| Some(directory.alias(*id)?.domain)));
        let homes: BTreeSet<DomainId> = homes.collect();
        let roots: BTreeSet<DomainId> =
            homes.iter().filter_map(|id| Some(directory.root_of(directory.domain(*id)?))).collect();
        let goes = |to: CatchAll| match to {
            CatchAll::Account(id) => going.accounts.contains(&id),
            CatchAll::Alias(id) => going.aliases.contains(&id),
        };
        for entry in roots.into_iter().flat_map(|root| directory.family(root)) {
            if entry.record.catch_all.is_some_and(goes) && Some(entry.record.id) != going.domain {
                let domain = HostedDomain { catch_all: None, ..HostedDomain::clone(&entry.record) };
                self.notes.changed("catch-all of", Some(domain.name.to_string()), None);
                self.put(Record::Domain(domain));
            }
        }
    }
}

fn stays(destination: &Destination, going: &Going) -> bool {
    !matches!(destination, Destination::Account(id) if going.accounts.contains(id))
}
