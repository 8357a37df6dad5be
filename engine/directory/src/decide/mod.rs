//! From a command to what is written: one decision, used before the proposal and when applying.
//!
//! Deciding reads the directory and writes into a [`Draft`] only, so a refused command leaves nothing
//! behind. Nothing here may look at a clock, at chance or at anything but directory, time and command.

mod accounts;
mod aliases;
mod cluster;
mod domains;
mod limits;
mod members;
mod plans;
mod removal;
mod shards;

use crate::audit::{AuditEntry, Notes};
use crate::command::{Actor, Applied, At, Change, Command, Reply};
use crate::error::Error;
use crate::model::{Account, Alias, AliasId, Counters, Destination, HostedDomain, PlanId};
use crate::refusal::Refusal;
use crate::rows::{Record, RecordName, Rows, audit_range, audit_row};
use crate::tables::{Directory, DomainEntry, Holder};
use estafette_types::{AccountId, DomainId, LocalPart, ShardId};
use std::sync::Arc;

/// Longest text that people write (names, descriptions), in bytes.
const TEXT_MAX: usize = 1_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

enum Write {
    Put(Record),
    Remove(RecordName),
}

/// What a command is going to write.
struct Draft<'a> {
    directory: &'a Directory,
    time_ms: u64,
    actor: String,
    counters: Counters,
    writes: Vec<Write>,
    notes: Notes,
}

impl Directory {
    /// Whether a command would be carried out now. Asked before it is proposed; asked again by
    /// [`Directory::apply`], since another may come before it in the log, and since only the log has the
    /// time by which a token runs out.
    pub fn validate(&self, command: &Command) -> Result<(), Refusal> {
        self.decide(0, command).map(drop)
    }

    /// Carries out a command from the log, or refuses it and changes nothing. Deterministic.
    ///
    /// An error is fatal: memory and rows may differ then, and the directory must be loaded again.
    pub fn apply(&mut self, at: &At, command: &Command, rows: &mut impl Rows) -> Result<Applied, Error> {
        let (draft, reply) = match self.decide(at.time_ms, command) {
            Ok(decided) => decided,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Draft { mut counters, writes, notes, actor, .. } = draft;
        let entry = AuditEntry {
            time_ms: at.time_ms,
            sequence: counters.audit,
            actor,
            actor_account: match command.actor {
                Actor::Account(id) => Some(id),
                Actor::System | Actor::Console => None,
            },
            origin: command.origin,
            action: command.change.code().to_owned(),
            object: notes.object,
            domain: notes.domain,
            fields: notes.fields,
        };
        counters.audit = counters.audit.saturating_add(1);
        for write in writes {
            match write {
                Write::Put(record) => self.put(record, rows)?,
                Write::Remove(name) => self.remove(&name, rows)?,
            }
        }
        let (key, value) = audit_row(&entry)?;
        rows.put(key, value)?;
        self.expire_audit(at.time_ms, &mut counters, rows)?;
        self.put(Record::Counters(counters), rows)?;
        Ok(Ok(reply))
    }

    /// Once per day of the log.
    fn expire_audit(&self, now_ms: u64, counters: &mut Counters, rows: &mut impl Rows) -> Result<(), Error> {
        let kept_ms = u64::from(self.settings.audit_days).saturating_mul(DAY_MS);
        let from_ms = now_ms.saturating_sub(kept_ms);
        if from_ms >= counters.audit_from_ms.saturating_add(DAY_MS) {
            rows.delete_range(audit_range(0, Some((from_ms, 0))))?;
            counters.audit_from_ms = from_ms;
        }
        Ok(())
    }

    fn decide(&self, time_ms: u64, command: &Command) -> Result<(Draft<'_>, Reply), Refusal> {
        let actor = match command.actor {
            Actor::System => "system".to_owned(),
            Actor::Console => "console".to_owned(),
            Actor::Account(id) => {
                self.allowed(id, &command.change)?;
                self.need_account(id)?.username.to_string()
            }
        };
        let notes = Notes { domain: self.domain_of(&command.change), ..Notes::default() };
        let mut draft =
            Draft { directory: self, time_ms, actor, counters: self.counters, writes: Vec::new(), notes };
        let reply = draft.change(&command.change)?;
        Ok((draft, reply))
    }

    fn need_account(&self, id: AccountId) -> Result<&Arc<Account>, Refusal> {
        self.account(id).ok_or(Refusal::UnknownAccount)
    }

    fn need_domain(&self, id: DomainId) -> Result<&DomainEntry, Refusal> {
        self.domains.get(&id).ok_or(Refusal::UnknownDomain)
    }

    /// An account with addresses, and its domain.
    fn need_mailbox(&self, id: AccountId) -> Result<(&Arc<Account>, &DomainEntry), Refusal> {
        let account = self.need_account(id)?;
        let domain = account.domain.ok_or(Refusal::NoMailbox)?;
        Ok((account, self.need_domain(domain)?))
    }

    fn need_alias(&self, id: AliasId) -> Result<&Arc<Alias>, Refusal> {
        self.alias(id).ok_or(Refusal::UnknownAlias)
    }

    fn need_shard(&self, shard: ShardId) -> Result<(), Refusal> {
        if self.shards.contains(&shard) { Ok(()) } else { Err(Refusal::UnknownShard { shard: shard.0 }) }
    }

    /// Refuses when nobody could log in as an operator any more; `stays` is asked for those who can now.
    fn need_operator(&self, stays: impl Fn(&Account) -> bool) -> Result<(), Refusal> {
        let working =
            self.operators.iter().filter_map(|id| self.account(*id)).filter(|a| self.bar(a).is_none());
        let (mut before, mut after) = (false, false);
        for account in working {
            before = true;
            after |= stays(account);
        }
        if before && !after { Err(Refusal::LastOperator) } else { Ok(()) }
    }
}

impl Draft<'_> {
    fn change(&mut self, change: &Change) -> Result<Reply, Refusal> {
        match change {
            Change::CreatePlan(fields) => self.create_plan(fields),
            Change::ChangePlan { plan, fields } => self.change_plan(*plan, fields),
            Change::DeletePlan { plan } => self.delete_plan(*plan),
            Change::CreateDomain(new) => self.create_domain(new),
            Change::ChangeDomain { domain, change } => self.change_domain(*domain, change),
            Change::DeleteDomain { domain } => self.delete_domain(*domain),
            Change::AddDomainAlias { domain, name } => self.add_domain_alias(*domain, name),
            Change::RemoveDomainAlias { name } => self.remove_domain_alias(name),
            Change::CreateAccount { domain, account } => self.create_account(*domain, account),
            Change::CreateOperator { username, real_name, password_hash } => {
                self.create_operator(username, real_name, password_hash.as_ref())
            }
            Change::ChangeAccount { account, change } => self.change_account(*account, change),
            Change::DeleteAccount { account } => self.delete_account(*account),
            Change::AddAddress { account, local } => self.add_address(*account, local),
            Change::EnableAddress { account, local, enabled } => {
                self.enable_address(*account, local, *enabled)
            }
            Change::RemoveAddress { account, local } => self.remove_address(*account, local),
            Change::SetPassword { account, password_hash } => {
                self.set_password(*account, password_hash.as_ref())
            }
            Change::SetServices { account, services } => self.set_services(*account, *services),
            Change::SetRedirection { account, redirection } => {
                self.set_redirection(*account, redirection.as_ref())
            }
            Change::ChangeMembers { group, add, remove, keep_copy } => {
                self.change_members(*group, add, remove, *keep_copy)
            }
            Change::CreateAlias(new) => self.create_alias(new),
            Change::ChangeAlias { alias, destinations, options } => {
                self.change_alias(*alias, destinations, *options)
            }
            Change::DeleteAlias { alias } => self.delete_alias(*alias),
            Change::SetCatchAll { domain, to } => self.set_catch_all(*domain, *to),
            Change::SetShards { shards } => self.set_shards(shards),
            Change::AssignShard { account, shard } => self.assign_shard(*account, *shard),
            Change::SetSettings(settings) => self.set_settings(settings),
            Change::FoundCluster(new) => self.found_cluster(new),
            Change::CreateJoinToken { secret_hash, valid_ms, label } => {
                self.create_token(secret_hash, *valid_ms, label.as_deref())
            }
            Change::RevokeJoinToken { secret_hash } => self.revoke_token(secret_hash),
            Change::AdmitNode { secret_hash, key_hash, address, label } => {
                self.admit_node(secret_hash, key_hash, address, label)
            }
            Change::ChangeNode { node, change } => self.change_node(*node, change),
            Change::RemoveNode { node } => self.remove_node(*node),
            Change::SetClusterSettings { replicas, replace_after_ms } => {
                self.set_cluster_settings(*replicas, *replace_after_ms)
            }
            Change::PlaceShard { shard, replicas } => self.place_shard(*shard, replicas),
            Change::AddShards { total } => self.add_shards(*total),
            Change::BeginMove { account, to } => self.begin_move(*account, *to),
            Change::FinishMove(moving) => self.finish_move(*moving),
            Change::AbandonMove(moving) => self.abandon_move(*moving),
            Change::PostponeMove(moving) => self.postpone_move(*moving),
            Change::SetMoveRate { kib_per_second } => self.set_move_rate(*kib_per_second),
        }
    }

    fn put(&mut self, record: Record) {
        self.writes.push(Write::Put(record));
    }

    fn remove(&mut self, name: RecordName) {
        self.writes.push(Write::Remove(name));
    }

    fn next_plan(&mut self) -> Result<PlanId, Refusal> {
        let id = PlanId(self.counters.plan);
        self.counters.plan = id.0.checked_add(1).ok_or(Refusal::Exhausted)?;
        Ok(id)
    }

    fn next_domain(&mut self) -> Result<DomainId, Refusal> {
        let id = DomainId(self.counters.domain);
        self.counters.domain = id.0.checked_add(1).ok_or(Refusal::Exhausted)?;
        Ok(id)
    }

    fn next_account(&mut self) -> Result<AccountId, Refusal> {
        let id = AccountId(self.counters.account);
        self.counters.account = id.0.checked_add(1).ok_or(Refusal::Exhausted)?;
        Ok(id)
    }

    fn next_alias(&mut self) -> Result<AliasId, Refusal> {
        let id = AliasId(self.counters.alias);
        self.counters.alias = id.0.checked_add(1).ok_or(Refusal::Exhausted)?;
        Ok(id)
    }

    /// An alias from a default address to an account.
    fn put_default_alias(
        &mut self,
        domain: DomainId,
        local: LocalPart,
        to: AccountId,
    ) -> Result<(), Refusal> {
        let alias = Alias {
            id: self.next_alias()?,
            domain,
            local,
            destinations: vec![Destination::Account(to)],
            options: crate::model::AliasOptions::default(),
            created_ms: self.time_ms,
        };
        self.put(Record::Alias(alias));
        Ok(())
    }
}

/// Checks a number.
fn check_range(field: &str, number: u64, min: u64, max: u64) -> Result<(), Refusal> {
    if (min..=max).contains(&number) {
        return Ok(());
    }
    Err(Refusal::OutOfRange { field: field.to_owned(), min, max })
}

/// Checks a text that a person wrote.
fn check_text(field: &str, text: &str, may_be_empty: bool) -> Result<(), Refusal> {
    let bad_char = |c: char| c.is_control() && c != '\n';
    let empty = text.trim().is_empty() && !may_be_empty;
    if empty || text.len() > TEXT_MAX || text.chars().any(bad_char) {
        return Err(Refusal::InvalidText { field: field.to_owned() });
    }
    Ok(())
}

/// An address within a domain, for people.
fn at(local: &LocalPart, domain: &HostedDomain) -> String {
    format!("{local}@{}", domain.name)
}

impl DomainEntry {
    fn holder(&self, local: &LocalPart) -> Holder {
        self.locals.get(local.folded().as_str()).copied().unwrap_or_default()
    }
}
