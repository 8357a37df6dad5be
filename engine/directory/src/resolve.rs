//! From an address to its targets (SPEC M-3): domain alias, address, alias, group, redirection, catch-all.
//!
//! One pure walk over the graph of accounts and aliases, depth first. Each of them is expanded once, so
//! the walk always ends and a loop costs nobody a message: an edge back to what is just being expanded
//! is left out and told ([`Targets::loops`]). Limits: [`DEPTH_MAX`], [`STEPS_MAX`], [`TARGETS_MAX`].
//!
//! The same walk, through a [`Lens`] that shows the directory as it would be after a change, finds
//! loops when they are about to be saved.

use crate::model::{Account, Alias, AliasId, CatchAll, Destination, HostedDomain, Pass};
use crate::refusal::Refusal;
use crate::tables::{Directory, Holder};
use estafette_types::{AccountId, Address, Domain, DomainId, ShardId};
use std::collections::HashSet;

/// Aliases and accounts one after another.
pub const DEPTH_MAX: usize = 32;
/// Edges that one resolution follows.
pub const STEPS_MAX: usize = 100_000;
/// Mailboxes and outside addresses of one resolution.
pub const TARGETS_MAX: usize = 10_000;
/// Dead ends and loops that are remembered for the log.
const REMARKS_MAX: usize = 16;

/// What becomes of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// At least one target.
    Deliver(Targets),
    /// The domain is not served here.
    NotLocal,
    /// Nobody has this name (550 5.1.1).
    Unknown,
    /// The address is switched off, or the account takes no mail (550 5.2.1).
    Disabled,
    /// The domain is suspended (450 4.2.1: mail waits at the sender).
    Suspended,
    /// An alias that refuses mail (550 5.7.1).
    Bounce,
    /// Leads round to itself and nowhere else (550 5.4.6).
    Loop,
    /// Past a limit (550 5.4.6).
    TooMany,
}

/// Where a message goes; each target once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Mailboxes here.
    pub mailboxes: Vec<MailboxTarget>,
    /// Addresses elsewhere.
    pub outside: Vec<OutsideTarget>,
    /// Names on the way that lead nowhere; for the log, at most a few.
    pub dead_ends: Vec<String>,
    /// Names at which the way came back to itself; for the log, at most a few.
    pub loops: Vec<String>,
}

/// A mailbox that takes the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxTarget {
    /// Whose.
    pub account: AccountId,
    /// Where its mailboxes are.
    pub shard: ShardId,
    /// The detail of `user+detail@` (RFC 5233), a hint of a folder, when the account was named directly.
    pub detail: Option<String>,
}

/// An address elsewhere that is sent the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideTarget {
    /// The address.
    pub address: Address,
    /// What leads there.
    pub via: Via,
}

/// What passes mail on to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// An alias.
    Alias(AliasId),
    /// A group.
    Group(AccountId),
    /// A redirection: the sender is rewritten (SRS).
    Redirection(AccountId),
}

/// A thing that mail goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Node {
    Account(AccountId),
    Alias(AliasId),
}

/// The directory, with some records in place of its own.
#[derive(Clone, Copy)]
pub(crate) struct Lens<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) account: Option<&'a Account>,
    pub(crate) alias: Option<&'a Alias>,
    pub(crate) domain: Option<&'a HostedDomain>,
    pub(crate) other_name: Option<(&'a Domain, DomainId)>,
    /// Suspended domains and disabled addresses count as in service: they may be again tomorrow.
    pub(crate) all_on: bool,
}

enum Found {
    Node(Node, Option<String>),
    NotLocal,
    Nobody,
    Disabled,
    Suspended,
}

impl<'a> Lens<'a> {
    pub(crate) fn plain(directory: &'a Directory) -> Lens<'a> {
        Lens { directory, account: None, alias: None, domain: None, other_name: None, all_on: false }
    }

    /// For checking what is about to be saved.
    pub(crate) fn saving(directory: &'a Directory) -> Lens<'a> {
        Lens { all_on: true, ..Lens::plain(directory) }
    }

    fn account(&self, id: AccountId) -> Option<&'a Account> {
        match self.account {
            Some(account) if account.id == id => Some(account),
            _ => self.directory.accounts.get(&id).map(AsRef::as_ref),
        }
    }

    fn alias(&self, id: AliasId) -> Option<&'a Alias> {
        match self.alias {
            Some(alias) if alias.id == id => Some(alias),
            _ => self.directory.aliases.get(&id).map(AsRef::as_ref),
        }
    }

    fn domain(&self, id: DomainId) -> Option<&'a HostedDomain> {
        match self.domain {
            Some(domain) if domain.id == id => Some(domain),
            _ => self.directory.domains.get(&id).map(|entry| entry.record.as_ref()),
        }
    }

    fn domain_named(&self, name: &Domain) -> Option<DomainId> {
        match self.other_name {
            Some((other, id)) if other == name => Some(id),
            _ => self.directory.names.get(name).copied(),
        }
    }

    fn holder(&self, domain: DomainId, folded: &str) -> Holder {
        let entry = self.directory.domains.get(&domain);
        let mut holder = entry.and_then(|e| e.locals.get(folded)).copied().unwrap_or_default();
        if let Some(account) = self.account.filter(|a| a.domain == Some(domain)) {
            if account.addresses.iter().any(|a| a.local.folded() == folded) {
                holder.account = Some(account.id);
            } else if holder.account == Some(account.id) {
                holder.account = None;
            }
        }
        if let Some(alias) = self.alias.filter(|a| a.domain == domain && a.local.folded() == folded) {
            holder.alias = Some(alias.id);
        }
        holder
    }

    fn find(&self, address: &Address) -> Found {
        let Some(domain) = self.domain_named(&address.domain).and_then(|id| self.domain(id)) else {
            return Found::NotLocal;
        };
        if domain.suspended && !self.all_on {
            return Found::Suspended;
        }
        let folded = address.local.folded();
        let exact = self.held(domain, &folded, None);
        if !matches!(exact, Found::Nobody) {
            return exact;
        }
        if let Some((user, detail)) =
            self.directory.settings.detail_separator.and_then(|sep| address.local.as_str().split_once(sep))
            && !user.is_empty()
        {
            let base = self.held(domain, &user.to_lowercase(), Some(detail));
            if !matches!(base, Found::Nobody) {
                return base;
            }
        }
        match domain.catch_all {
            Some(CatchAll::Account(id)) => Found::Node(Node::Account(id), None),
            Some(CatchAll::Alias(id)) => Found::Node(Node::Alias(id), None),
            None => Found::Nobody,
        }
    }

    fn held(&self, domain: &HostedDomain, folded: &str, detail: Option<&str>) -> Found {
        let holder = self.holder(domain.id, folded);
        let detail = detail.filter(|d| !d.is_empty()).map(str::to_owned);
        match (holder.alias, holder.account) {
            (Some(alias), _) => Found::Node(Node::Alias(alias), detail),
            (None, Some(id)) if self.all_on || self.is_enabled(id, folded) => {
                Found::Node(Node::Account(id), detail)
            }
            (None, Some(_)) => Found::Disabled,
            (None, None) => Found::Nobody,
        }
    }

    fn is_enabled(&self, account: AccountId, folded: &str) -> bool {
        let addresses = self.account(account).map_or(&[][..], |a| &a.addresses);
        addresses.iter().any(|a| a.enabled && a.local.folded() == folded)
    }

    /// Whether the address, with its detail or without, is one of the account's that are on.
    fn is_own(&self, account: AccountId, domain: DomainId, address: &Address) -> bool {
        let at_home = self.account(account).is_some_and(|a| a.domain == Some(domain));
        let separator = self.directory.settings.detail_separator;
        let user = separator.and_then(|sep| address.local.as_str().split_once(sep)).map(|(user, _)| user);
        let own = |folded: &str| self.is_enabled(account, folded);
        at_home && (own(&address.local.folded()) || user.is_some_and(|user| own(&user.to_lowercase())))
    }

    /// Whether mail to `start` passes through one of `goals`; then the way there.
    pub(crate) fn path(&self, start: Node, goals: &[Node]) -> Result<Option<Vec<Node>>, Refusal> {
        let mut walk = Walk::new(self);
        walk.goals = goals;
        walk.node(start, None).map_err(|TooMany| Refusal::TooManyTargets)?;
        Ok(walk.goal)
    }

    /// The outside addresses that mail to `start` goes to.
    pub(crate) fn outside(&self, start: Node) -> Result<Vec<Address>, Refusal> {
        let mut walk = Walk::new(self);
        walk.node(start, None).map_err(|TooMany| Refusal::TooManyTargets)?;
        Ok(walk.targets.outside.into_iter().map(|target| target.address).collect())
    }

    /// Refuses when mail to `node` comes back to it.
    pub(crate) fn check_loop(&self, node: Node) -> Result<(), Refusal> {
        match self.path(node, &[node])? {
            Some(path) => {
                Err(Refusal::AliasLoop { path: path.into_iter().map(|node| self.name(node)).collect() })
            }
            None => Ok(()),
        }
    }

    pub(crate) fn name(&self, node: Node) -> String {
        match node {
            Node::Account(id) => self.account(id).map_or_else(|| id.to_string(), |a| a.username.to_string()),
            Node::Alias(id) => self.alias(id).map_or_else(
                || id.to_string(),
                |alias| match self.domain(alias.domain) {
                    Some(domain) => format!("{}@{}", alias.local, domain.name),
                    None => alias.local.to_string(),
                },
            ),
        }
    }
}

/// Past a limit.
struct TooMany;

struct Walk<'a> {
    lens: &'a Lens<'a>,
    goals: &'a [Node],
    goal: Option<Vec<Node>>,
    /// Accounts are targets as they are, whatever they pass on.
    stop_at_accounts: bool,
    path: Vec<Node>,
    done: HashSet<Node>,
    outside: HashSet<&'a Address>,
    steps: usize,
    targets: Targets,
    bounced: bool,
    disabled: bool,
    suspended: bool,
}

impl<'a> Walk<'a> {
    fn new(lens: &'a Lens<'a>) -> Walk<'a> {
        Walk {
            lens,
            goals: &[],
            goal: None,
            stop_at_accounts: false,
            path: Vec::new(),
            done: HashSet::new(),
            outside: HashSet::new(),
            steps: 0,
            targets: Targets::default(),
            bounced: false,
            disabled: false,
            suspended: false,
        }
    }

    fn destination(&mut self, destination: &'a Destination, via: Via) -> Result<(), TooMany> {
        let address = match destination {
            Destination::Account(id) => return self.node(Node::Account(*id), None),
            Destination::Address(address) => address,
        };
        match self.lens.find(address) {
            Found::Node(node, detail) => return self.node(node, detail),
            Found::NotLocal => return self.send_out(address, via),
            Found::Nobody => {}
            Found::Disabled => self.disabled = true,
            Found::Suspended => self.suspended = true,
        }
        self.dead_end(address.to_string());
        Ok(())
    }

    fn send_out(&mut self, address: &'a Address, via: Via) -> Result<(), TooMany> {
        if self.outside.insert(address) {
            self.targets.outside.push(OutsideTarget { address: address.clone(), via });
        }
        self.within_limits()
    }

    fn within_limits(&self) -> Result<(), TooMany> {
        let targets = self.targets.mailboxes.len() + self.targets.outside.len();
        if targets > TARGETS_MAX || self.steps > STEPS_MAX { Err(TooMany) } else { Ok(()) }
    }

    fn node(&mut self, node: Node, detail: Option<String>) -> Result<(), TooMany> {
        self.steps += 1;
        self.within_limits()?;
        if !self.path.is_empty() && self.goal.is_none() && self.goals.contains(&node) {
            let mut path = self.path.clone();
            path.push(node);
            self.goal = Some(path);
        }
        if self.path.contains(&node) {
            if self.targets.loops.len() < REMARKS_MAX {
                self.targets.loops.push(self.lens.name(node));
            }
            return Ok(());
        }
        if self.done.contains(&node) {
            return Ok(());
        }
        if self.path.len() >= DEPTH_MAX {
            return Err(TooMany);
        }
        self.path.push(node);
        let expanded = match node {
            Node::Account(id) => self.account(id, detail),
            Node::Alias(id) => self.alias(id, detail),
        };
        self.path.pop();
        self.done.insert(node);
        expanded
    }

    fn alias(&mut self, id: AliasId, detail: Option<String>) -> Result<(), TooMany> {
        let Some(alias) = self.lens.alias(id) else { return Ok(()) };
        if alias.options.bounce {
            self.bounced = true;
            return Ok(());
        }
        for destination in &alias.destinations {
            self.destination(destination, Via::Alias(id))?;
        }
        if alias.options.deliver_locally
            && let Some(account) = self.lens.holder(alias.domain, &alias.local.folded()).account
        {
            self.node(Node::Account(account), detail)?;
        }
        if alias.options.everyone {
            self.everyone(alias.domain)?;
        }
        Ok(())
    }

    /// Every account of the domain that is no group (a group's members are there themselves).
    fn everyone(&mut self, domain: DomainId) -> Result<(), TooMany> {
        let Some(entry) = self.lens.directory.domains.get(&domain) else { return Ok(()) };
        for id in &entry.accounts {
            if self.lens.account(*id).is_some_and(|account| !account.services.group) {
                self.node(Node::Account(*id), None)?;
            }
        }
        Ok(())
    }

    fn account(&mut self, id: AccountId, detail: Option<String>) -> Result<(), TooMany> {
        let Some(account) = self.lens.account(id) else { return Ok(()) };
        let Some(shard) = account.shard else {
            self.dead_end(account.username.to_string());
            return Ok(());
        };
        let domain = account.domain.and_then(|domain| self.lens.domain(domain));
        if domain.is_none_or(|domain| domain.suspended) && !self.lens.all_on {
            self.suspended = true;
            self.dead_end(account.username.to_string());
            return Ok(());
        }
        let mut passed = false;
        if !self.stop_at_accounts {
            for (destination, pass) in account.passes_to() {
                passed = true;
                let via = match pass {
                    Pass::Group => Via::Group(id),
                    Pass::Redirection => Via::Redirection(id),
                };
                self.destination(destination, via)?;
            }
        }
        if account.keeps() || self.stop_at_accounts {
            self.targets.mailboxes.push(MailboxTarget { account: id, shard, detail });
        } else if !passed {
            self.disabled = true;
            self.dead_end(account.username.to_string());
        }
        self.within_limits()
    }

    fn dead_end(&mut self, name: String) {
        if self.targets.dead_ends.len() < REMARKS_MAX {
            self.targets.dead_ends.push(name);
        }
    }

    fn finish(self, walked: Result<(), TooMany>) -> Resolution {
        match walked {
            Err(TooMany) => Resolution::TooMany,
            Ok(()) if !(self.targets.mailboxes.is_empty() && self.targets.outside.is_empty()) => {
                Resolution::Deliver(self.targets)
            }
            Ok(()) if self.bounced => Resolution::Bounce,
            Ok(()) if self.suspended => Resolution::Suspended,
            Ok(()) if self.disabled => Resolution::Disabled,
            Ok(()) if !self.targets.loops.is_empty() => Resolution::Loop,
            Ok(()) => Resolution::Unknown,
        }
    }
}

impl Directory {
    /// Where mail to an address goes.
    pub fn resolve(&self, address: &Address) -> Resolution {
        let lens = Lens::plain(self);
        match lens.find(address) {
            Found::NotLocal => Resolution::NotLocal,
            Found::Nobody => Resolution::Unknown,
            Found::Disabled => Resolution::Disabled,
            Found::Suspended => Resolution::Suspended,
            Found::Node(node, detail) => {
                let mut walk = Walk::new(&lens);
                let walked = walk.node(node, detail);
                walk.finish(walked)
            }
        }
    }

    /// Where mail to `postmaster` without a domain goes (RFC 5321 §4.5.1).
    pub fn resolve_postmaster(&self) -> Resolution {
        let chosen = self.settings.postmaster_domain.and_then(|id| self.domains.get(&id));
        let Some(entry) = chosen.or_else(|| self.domains.values().next()) else { return Resolution::Unknown };
        let lens = Lens::plain(self);
        match lens.held(&entry.record, "postmaster", None) {
            Found::Node(node, detail) => {
                let mut walk = Walk::new(&lens);
                let walked = walk.node(node, detail);
                walk.finish(walked)
            }
            _ => Resolution::Unknown,
        }
    }

    /// Whether an account may send as an address: one of its own that is on, also by another name of the
    /// domain or with a detail, or that of an alias that leads to this account alone.
    pub fn owns(&self, account: AccountId, address: &Address) -> bool {
        let lens = Lens::plain(self);
        let Some(domain) = lens.domain_named(&address.domain).and_then(|id| lens.domain(id)) else {
            return false;
        };
        // A catch-all makes nobody the owner of all names.
        let without = HostedDomain { catch_all: None, ..domain.clone() };
        let lens = Lens { domain: Some(&without), ..lens };
        match lens.find(address) {
            Found::Node(Node::Account(id), _) => id == account,
            // An alias that also delivers locally shares its name with an account.
            Found::Node(Node::Alias(_), _) if lens.is_own(account, domain.id, address) => true,
            Found::Node(node, _) => {
                let mut walk = Walk::new(&lens);
                walk.stop_at_accounts = true;
                let walked = walk.node(node, None);
                walked.is_ok() && walk.targets.is_only(account)
            }
            _ => false,
        }
    }
}

impl Targets {
    fn is_only(&self, account: AccountId) -> bool {
        self.outside.is_empty() && matches!(self.mailboxes.as_slice(), [only] if only.account == account)
    }
}
