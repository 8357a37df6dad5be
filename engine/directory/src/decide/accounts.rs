//! Accounts: made, changed, their addresses, passwords and services.

use super::limits::quota_bytes;
use super::{Draft, at, check_text};
use crate::command::{AccountChange, NewAccount, Reply};
use crate::model::{Account, AccountAddress, HostedDomain, Prefix, Role, Services, is_default_name};
use crate::password::PasswordHash;
use crate::refusal::Refusal;
use crate::resolve::{Lens, Node};
use crate::rows::Record;
use crate::tables::{DomainEntry, Usage};
use estafette_types::{AccountId, DomainId, LocalPart, Username};

/// Addresses of one account at most.
const ADDRESSES_MAX: usize = 1_000;

impl Draft<'_> {
    pub(super) fn create_account(&mut self, domain: DomainId, new: &NewAccount) -> Result<Reply, Refusal> {
        let entry = self.directory.need_domain(domain)?;
        self.check_free(entry, &new.local)?;
        let prefix = self.directory.prefixes.get(&entry.record.prefix).ok_or(Refusal::InvalidPrefix)?;
        let mut prefix = prefix.record.clone();
        let account = self.new_account(&entry.record, new, &mut prefix)?;
        self.check_growth(domain, Usage::default(), Usage::of_account(&account))?;
        let (id, username) = (account.id, account.username.clone());
        self.notes.object = username.to_string();
        self.notes.set("address", at(&new.local, &entry.record));
        self.notes.set("real-name", &account.real_name);
        self.notes.changed("quota-bytes", None, account.quota_bytes);
        self.notes.set("role", format!("{:?}", account.role));
        self.put(Record::Prefix(prefix));
        self.put(Record::Account(account));
        Ok(Reply::Account { id, username })
    }

    /// An account with the next number of its prefix. Name and limits are checked by the caller.
    pub(super) fn new_account(
        &mut self,
        domain: &HostedDomain,
        new: &NewAccount,
        prefix: &mut Prefix,
    ) -> Result<Account, Refusal> {
        check_text("real-name", &new.real_name, true)?;
        check_hash(new.password_hash.as_ref())?;
        self.directory.need_shard(new.shard)?;
        let username = format!("{}{:04}", prefix.name, prefix.next_number);
        let username = Username::parse(&username).map_err(|_| Refusal::Exhausted)?;
        prefix.next_number = prefix.next_number.checked_add(1).ok_or(Refusal::Exhausted)?;
        Ok(Account {
            id: self.next_account()?,
            username,
            domain: Some(domain.id),
            addresses: vec![AccountAddress { local: new.local.clone(), enabled: true }],
            real_name: new.real_name.as_str().into(),
            quota_bytes: quota_bytes(new.quota, domain.default_quota_bytes)?,
            password_hash: new.password_hash.clone(),
            role: new.role,
            services: Services::default(),
            disabled: false,
            locked: false,
            shard: Some(new.shard),
            redirection: None,
            group: None,
            created_ms: self.time_ms,
            password_ms: if new.password_hash.is_some() { self.time_ms } else { 0 },
        })
    }

    pub(super) fn create_operator(
        &mut self,
        username: &Username,
        real_name: &str,
        password_hash: Option<&PasswordHash>,
    ) -> Result<Reply, Refusal> {
        check_text("real-name", real_name, true)?;
        check_hash(password_hash)?;
        if username.as_str().ends_with(|c: char| c.is_ascii_digit()) {
            return Err(Refusal::InvalidOperatorName);
        }
        if self.directory.account_named(username).is_some() {
            return Err(Refusal::NameTaken { name: username.to_string() });
        }
        let id = self.next_account()?;
        self.notes.object = username.to_string();
        self.put(Record::Account(Account {
            id,
            username: username.clone(),
            domain: None,
            addresses: Vec::new(),
            real_name: real_name.into(),
            quota_bytes: None,
            password_hash: password_hash.cloned(),
            role: Role::Operator,
            services: Services { mailbox: false, redirect: false, ..Services::default() },
            disabled: false,
            locked: false,
            shard: None,
            redirection: None,
            group: None,
            created_ms: self.time_ms,
            password_ms: if password_hash.is_some() { self.time_ms } else { 0 },
        }));
        Ok(Reply::Account { id, username: username.clone() })
    }

    /// A copy to be changed, its name noted.
    pub(super) fn edit(&mut self, id: AccountId) -> Result<Account, Refusal> {
        let account = Account::clone(self.directory.need_account(id)?);
        self.notes.object = account.username.to_string();
        Ok(account)
    }

    pub(super) fn change_account(&mut self, id: AccountId, change: &AccountChange) -> Result<Reply, Refusal> {
        let mut account = self.edit(id)?;
        let before = Usage::of_account(&account);
        if let Some(name) = &change.real_name {
            check_text("real-name", name, true)?;
            self.notes.changed("real-name", Some(&*account.real_name), Some(name.as_str()));
            account.real_name = name.as_str().into();
        }
        if let Some(quota) = change.quota {
            let (_, entry) = self.directory.need_mailbox(id)?;
            let bytes = quota_bytes(quota, entry.record.default_quota_bytes)?;
            self.notes.changed("quota-bytes", account.quota_bytes, bytes);
            account.quota_bytes = bytes;
            self.check_growth(entry.record.id, before, Usage::of_account(&account))?;
        }
        if let Some(role) = change.role {
            if account.domain.is_none() && role != Role::Operator {
                return Err(Refusal::NoMailbox);
            }
            self.notes.changed("role", Some(format!("{:?}", account.role)), Some(format!("{role:?}")));
            account.role = role;
        }
        if let Some(disabled) = change.disabled {
            self.notes.changed("disabled", Some(account.disabled), Some(disabled));
            account.disabled = disabled;
        }
        if let Some(locked) = change.locked {
            self.notes.changed("locked", Some(account.locked), Some(locked));
            account.locked = locked;
        }
        if let Some(primary) = &change.primary {
            let place = position(&account, primary)?;
            let chosen = account.addresses.remove(place);
            self.notes.changed("primary", account.addresses.first().map(|a| &a.local), Some(&chosen.local));
            account.addresses.insert(0, chosen);
        }
        let works = account.role == Role::Operator && !account.disabled;
        self.directory.need_operator(|other| other.id != id || works)?;
        self.put(Record::Account(account));
        Ok(Reply::Done)
    }

    /// Refuses a name that an account has, or an alias that does not deliver locally beside.
    fn check_free(&self, entry: &DomainEntry, local: &LocalPart) -> Result<(), Refusal> {
        let holder = entry.holder(local);
        let alias = holder.alias.and_then(|id| self.directory.alias(id));
        if holder.account.is_some() || alias.is_some_and(|alias| !alias.options.deliver_locally) {
            return Err(Refusal::NameTaken { name: at(local, &entry.record) });
        }
        Ok(())
    }

    pub(super) fn add_address(&mut self, id: AccountId, local: &LocalPart) -> Result<Reply, Refusal> {
        let (_, entry) = self.directory.need_mailbox(id)?;
        self.check_free(entry, local)?;
        let mut account = self.edit(id)?;
        if account.addresses.len() >= ADDRESSES_MAX {
            return Err(Refusal::TooMany { field: "addresses".to_owned(), max: ADDRESSES_MAX as u64 });
        }
        account.addresses.push(AccountAddress { local: local.clone(), enabled: true });
        self.check_account_loop(&account)?;
        self.notes.set("address", at(local, &entry.record));
        self.put(Record::Account(account));
        Ok(Reply::Done)
    }

    pub(super) fn enable_address(
        &mut self,
        id: AccountId,
        local: &LocalPart,
        enabled: bool,
    ) -> Result<Reply, Refusal> {
        let mut account = self.edit(id)?;
        let place = position(&account, local)?;
        if let Some(address) = account.addresses.get_mut(place) {
            self.notes.changed(address.local.as_str(), Some(address.enabled), Some(enabled));
            address.enabled = enabled;
        }
        self.put(Record::Account(account));
        Ok(Reply::Done)
    }

    pub(super) fn remove_address(&mut self, id: AccountId, local: &LocalPart) -> Result<Reply, Refusal> {
        let (_, entry) = self.directory.need_mailbox(id)?;
        let mut account = self.edit(id)?;
        let place = position(&account, local)?;
        if place == 0 {
            return Err(Refusal::PrimaryAddress);
        }
        account.addresses.remove(place);
        self.notes.changed("address", Some(at(local, &entry.record)), None);
        self.put(Record::Account(account));
        if is_default_name(local) && entry.holder(local).alias.is_none() {
            self.put_default_alias(entry.record.id, local.clone(), entry.record.administrator)?;
        }
        Ok(Reply::Done)
    }

    pub(super) fn set_password(
        &mut self,
        id: AccountId,
        hash: Option<&PasswordHash>,
    ) -> Result<Reply, Refusal> {
        check_hash(hash)?;
        let mut account = self.edit(id)?;
        account.password_hash = hash.cloned();
        account.password_ms = self.time_ms;
        self.put(Record::Account(account));
        Ok(Reply::Done)
    }

    pub(super) fn set_services(&mut self, id: AccountId, services: Services) -> Result<Reply, Refusal> {
        let (_, entry) = self.directory.need_mailbox(id)?;
        let mut account = self.edit(id)?;
        let (before, usage) = (account.services, Usage::of_account(&account));
        account.services = services;
        self.check_growth(entry.record.id, usage, Usage::of_account(&account))?;
        self.check_account_loop(&account)?;
        self.notes.changed("mailbox", Some(before.mailbox), Some(services.mailbox));
        self.notes.changed("redirect", Some(before.redirect), Some(services.redirect));
        self.notes.changed("group", Some(before.group), Some(services.group));
        self.notes.changed("autoresponders", Some(before.autoresponders), Some(services.autoresponders));
        self.notes.changed("filter", Some(before.filter), Some(services.filter));
        self.notes.changed("antivirus", Some(before.antivirus), Some(services.antivirus));
        self.put(Record::Account(account));
        Ok(Reply::Done)
    }

    /// Refuses when mail to the account, as it is going to be, comes back to it.
    pub(super) fn check_account_loop(&self, account: &Account) -> Result<(), Refusal> {
        let lens = Lens { account: Some(account), ..Lens::saving(self.directory) };
        lens.check_loop(Node::Account(account.id))
    }
}

fn position(account: &Account, local: &LocalPart) -> Result<usize, Refusal> {
    let folded = local.folded();
    let place = account.addresses.iter().position(|address| address.local.folded() == folded);
    place.ok_or_else(|| Refusal::UnknownAddress { address: local.to_string() })
}

fn check_hash(hash: Option<&PasswordHash>) -> Result<(), Refusal> {
    if hash.is_none_or(PasswordHash::is_valid) { Ok(()) } else { Err(Refusal::PasswordHash) }
}
