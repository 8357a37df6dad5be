//! Tests of the directory as a whole, through commands.

mod accounts;
mod audit;
mod cluster;
mod cluster_properties;
mod domains;
mod encoding;
mod fixtures;
mod machine;
mod moves;
mod placement;
mod properties;
mod resolution;
mod rights;

use crate::command::{
    Actor, Administrator, At, Change, Command, NewAccount, NewAlias, NewDomain, Origin, Reply,
};
use crate::error::Error;
use crate::model::{AliasId, AliasOptions, Destination, PlanFields, PlanId, Redirection, Role, Standing};
use crate::refusal::Refusal;
use crate::rows::{RowSource, Rows, Visit};
use crate::tables::Directory;
use crate::{QuotaChoice, Resolution, Services};
use estafette_types::{AccountId, Address, Domain, DomainId, LocalPart, ShardId};
use std::collections::BTreeMap;
use std::ops::Range;

/// Rows in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemoryRows(pub(crate) BTreeMap<Vec<u8>, Vec<u8>>);

impl Rows for MemoryRows {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Error> {
        self.0.insert(key, value);
        Ok(())
    }

    fn delete(&mut self, key: Vec<u8>) -> Result<(), Error> {
        self.0.remove(&key);
        Ok(())
    }

    fn delete_range(&mut self, range: Range<Vec<u8>>) -> Result<(), Error> {
        self.0.retain(|key, _| !range.contains(key));
        Ok(())
    }
}

impl RowSource for MemoryRows {
    fn scan(&self, range: Range<Vec<u8>>, backwards: bool, each: &mut Visit<'_>) -> Result<(), Error> {
        let mut rows: Vec<_> = self.0.range(range).collect();
        if backwards {
            rows.reverse();
        }
        for (key, value) in rows {
            if !each(key, value)? {
                break;
            }
        }
        Ok(())
    }
}

/// A directory with its rows.
#[derive(Default)]
pub(crate) struct Bench {
    pub(crate) directory: Directory,
    pub(crate) rows: MemoryRows,
    pub(crate) now_ms: u64,
}

impl Bench {
    /// One shard and the plan `big` without limits.
    pub(crate) fn new() -> Bench {
        let mut bench = Bench { now_ms: 1_000, ..Bench::default() };
        bench.done(Change::SetShards { shards: vec![ShardId(1), ShardId(2)] });
        bench.plan("big", None, None, None, None);
        bench
    }

    pub(crate) fn run(&mut self, actor: Actor, change: Change) -> Result<Reply, Refusal> {
        let command = Command { actor, origin: Origin::LocalSocket, change };
        let said = self.directory.validate(&command);
        let before = self.rows.clone();
        self.now_ms += 1;
        let at = At { time_ms: self.now_ms, ..At::default() };
        let applied = self.directory.apply(&at, &command, &mut self.rows).unwrap();
        // By what time a token runs out, only the log knows.
        let foreseen = applied != Err(Refusal::TokenExpired);
        assert_eq!(said.is_ok(), applied.is_ok() || !foreseen, "validate and apply disagree on {command:?}");
        if applied.is_err() {
            assert_eq!(before, self.rows, "a refused command left something behind");
        }
        applied
    }

    pub(crate) fn ask(&mut self, change: Change) -> Result<Reply, Refusal> {
        self.run(Actor::Console, change)
    }

    pub(crate) fn done(&mut self, change: Change) {
        let shown = format!("{change:?}");
        self.ask(change).unwrap_or_else(|refusal| panic!("{shown}: {refusal}"));
    }

    pub(crate) fn plan(
        &mut self,
        name: &str,
        storage_bytes: Option<u64>,
        mailboxes: Option<u32>,
        subdomains: Option<u32>,
        aliases: Option<u32>,
    ) -> PlanId {
        let fields = PlanFields { name: name.into(), storage_bytes, mailboxes, subdomains, aliases };
        match self.ask(Change::CreatePlan(fields)) {
            Ok(Reply::Plan(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    /// A domain with the administrator `admin@name`.
    pub(crate) fn domain(&mut self, name: &str) -> (DomainId, AccountId) {
        match self.ask(Change::CreateDomain(new_domain(name, Standing::Plan(PlanId(1))))) {
            Ok(Reply::Domain { id, administrator, .. }) => (id, administrator),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn account(&mut self, domain: DomainId, name: &str) -> AccountId {
        match self.ask(Change::CreateAccount { domain, account: new_account(name) }) {
            Ok(Reply::Account { id, .. }) => id,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn alias(
        &mut self,
        domain: DomainId,
        name: &str,
        to: &[Destination],
    ) -> Result<AliasId, Refusal> {
        self.alias_with(domain, name, to, AliasOptions::default())
    }

    pub(crate) fn alias_with(
        &mut self,
        domain: DomainId,
        name: &str,
        to: &[Destination],
        options: AliasOptions,
    ) -> Result<AliasId, Refusal> {
        let new = NewAlias { domain, local: local(name), destinations: to.to_vec(), options };
        match self.ask(Change::CreateAlias(new))? {
            Reply::Alias(id) => Ok(id),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn redirect(
        &mut self,
        account: AccountId,
        to: &[Destination],
        keep_copy: bool,
    ) -> Result<Reply, Refusal> {
        let redirection = Some(Redirection { to: to.to_vec(), keep_copy });
        self.ask(Change::SetRedirection { account, redirection })
    }

    pub(crate) fn services(
        &mut self,
        account: AccountId,
        edit: impl Fn(&mut Services),
    ) -> Result<Reply, Refusal> {
        let mut services = self.directory.account(account).unwrap().services;
        edit(&mut services);
        self.ask(Change::SetServices { account, services })
    }

    pub(crate) fn resolve(&self, text: &str) -> Resolution {
        self.directory.resolve(&address(text))
    }

    /// Where mail goes, in words: usernames' account numbers and outside addresses, sorted.
    pub(crate) fn targets(&self, text: &str) -> Vec<String> {
        let Resolution::Deliver(targets) = self.resolve(text) else {
            return vec![format!("{:?}", self.resolve(text))];
        };
        let boxes = targets.mailboxes.iter().map(|target| {
            let account = self.directory.account(target.account).unwrap();
            match &target.detail {
                Some(detail) => format!("{}/{detail}", account.username),
                None => account.username.to_string(),
            }
        });
        let mut names: Vec<String> =
            boxes.chain(targets.outside.iter().map(|target| target.address.to_string())).collect();
        names.sort();
        names
    }

    pub(crate) fn reloaded(&self) -> Directory {
        Directory::load(&self.rows).unwrap()
    }
}

pub(crate) fn local(text: &str) -> LocalPart {
    LocalPart::parse(text).unwrap()
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// A destination by address.
pub(crate) fn to(text: &str) -> Destination {
    Destination::Address(address(text))
}

pub(crate) fn name(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

pub(crate) fn new_account(local_part: &str) -> NewAccount {
    NewAccount {
        local: local(local_part),
        real_name: String::new(),
        quota: QuotaChoice::Default,
        password_hash: None,
        role: Role::Owner,
        shard: ShardId(1),
    }
}

pub(crate) fn new_domain(domain: &str, standing: Standing) -> NewDomain {
    NewDomain {
        name: name(domain),
        prefix: None,
        standing,
        description: String::new(),
        contact: None,
        default_quota_bytes: None,
        administrator: Administrator::New(new_account("admin")),
    }
}
