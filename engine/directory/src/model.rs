//! The records of the directory, as they are kept in rows and in memory.
//!
//! A change of a field's type or order needs a new version of its row (`rows.rs`).

use crate::password::PasswordHash;
use estafette_types::{AccountId, Address, Domain, DomainId, LocalPart, ShardId, Username};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The names that every domain has from its beginning (SPEC D-4; RFC 2142, RFC 5321 §4.5.1).
pub const DEFAULT_ADDRESSES: [&str; 4] = ["abuse", "hostmaster", "postmaster", "webmaster"];

/// One GiB in bytes, the unit of the shipped plans.
const GIB: u64 = 1 << 30;

/// A plan; never used again once given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlanId(pub u32);

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An alias; never used again once given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AliasId(pub u64);

impl fmt::Display for AliasId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a customer may have (SPEC D-1). A limit that is `None` does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFields {
    /// Unique among the plans.
    pub name: String,
    /// The sum of the quotas of all mailboxes, in bytes.
    pub storage_bytes: Option<u64>,
    /// Accounts with the mailbox service on.
    pub mailboxes: Option<u32>,
    /// Sub-domains beside the domain itself.
    pub subdomains: Option<u32>,
    /// Aliases, the default addresses not counted.
    pub aliases: Option<u32>,
}

/// A plan and its identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its identifier.
    pub id: PlanId,
    /// What it holds.
    pub fields: PlanFields,
}

impl Plan {
    /// The plans that an empty directory is given (SPEC D-1).
    pub fn shipped() -> [PlanFields; 3] {
        let plan = |name: &str, gib: u64, mailboxes, subdomains| PlanFields {
            name: name.to_owned(),
            storage_bytes: Some(gib * GIB),
            mailboxes: Some(mailboxes),
            subdomains: Some(subdomains),
            aliases: None,
        };
        [plan("simple", 3, 1, 1), plan("recommended", 30, 10, 5), plan("large", 300, 100, 15)]
    }

    /// The quota of a new account when neither it nor its domain says one, in bytes: an equal share
    /// of the plan, 3 GiB where the plan has no limits.
    pub(crate) fn share_bytes(&self) -> u64 {
        match (self.fields.storage_bytes, self.fields.mailboxes) {
            (Some(bytes), Some(boxes)) => bytes.checked_div(u64::from(boxes)).unwrap_or(bytes),
            _ => 3 * GIB,
        }
    }
}

/// Whose limits bind a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// A domain with a plan of its own.
    Plan(PlanId),
    /// A sub-domain: it lives within the plan of the domain above it.
    Subdomain {
        /// The domain above, which is no sub-domain itself.
        of: DomainId,
    },
}

/// A domain that is served here (SPEC D-2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostedDomain {
    /// Its identifier.
    pub id: DomainId,
    /// Its name.
    pub name: Domain,
    /// The first part of its usernames.
    pub prefix: String,
    /// Plan, or sub-domain of.
    pub standing: Standing,
    /// Free text.
    pub description: String,
    /// Whom to write to about the domain; may be outside.
    pub contact: Option<Address>,
    /// The quota of an account that names none, in bytes.
    pub default_quota_bytes: u64,
    /// The account that the default addresses lead to at first.
    pub administrator: AccountId,
    /// No mail is taken and nobody logs in.
    pub suspended: bool,
    /// Who gets what is addressed to no name of the domain (SPEC D-7).
    pub catch_all: Option<CatchAll>,
    /// By the log's time, milliseconds since 1970.
    pub created_ms: u64,
    /// The name of who created it.
    pub created_by: String,
}

/// To whom all other names of a domain lead (SPEC D-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CatchAll {
    /// An account.
    Account(AccountId),
    /// An alias of the same domain.
    Alias(AliasId),
}

/// What an account's login may do (SPEC §1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Their own account.
    Owner,
    /// Everything within their domain and its sub-domains.
    DomainAdministrator,
    /// Everything.
    Operator,
}

/// The services of an account that can be on or off (SPEC D-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// Mail is kept; off makes a pure forwarding account.
    pub mailbox: bool,
    /// The redirection acts.
    pub redirect: bool,
    /// The account passes mail to its members.
    pub group: bool,
    /// Autoresponders answer.
    pub autoresponders: bool,
    /// Mail is filtered.
    pub filter: bool,
    /// Mail is searched for viruses.
    pub antivirus: bool,
}

impl Default for Services {
    fn default() -> Services {
        Services {
            mailbox: true,
            redirect: true,
            group: false,
            autoresponders: true,
            filter: true,
            antivirus: true,
        }
    }
}

/// An address of an account, within the account's domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountAddress {
    /// Before the `@`, in the case that was given; compared in lower case.
    pub local: LocalPart,
    /// Off: mail to it is refused, the name stays taken.
    pub enabled: bool,
}

/// Where mail is passed on to (SPEC D-6, D-8, D-10).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Destination {
    /// An account here, named by its username; goes with the account when that is deleted.
    Account(AccountId),
    /// An address, here or outside.
    Address(Address),
}

/// Where an account's mail is sent on to (SPEC D-8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirection {
    /// One or more.
    pub to: Vec<Destination>,
    /// Also into the account's own mailbox.
    pub keep_copy: bool,
}

/// The members of a group (SPEC D-10).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// In the order they were added.
    pub members: Vec<Destination>,
    /// Also into the account's own mailbox.
    pub keep_copy: bool,
}

/// An account (SPEC D-5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its identifier.
    pub id: AccountId,
    /// Imposed, never changed.
    pub username: Username,
    /// `None` for an operator without a mailbox, who has no addresses and no shard either.
    pub domain: Option<DomainId>,
    /// The first is the primary one.
    pub addresses: Vec<AccountAddress>,
    /// The person's name.
    pub real_name: Box<str>,
    /// In bytes; `None` is unlimited.
    pub quota_bytes: Option<u64>,
    /// Without one, nobody logs in.
    pub password_hash: Option<PasswordHash>,
    /// What its login may do.
    pub role: Role,
    /// What is on and off.
    pub services: Services,
    /// Login is refused, mail still accepted.
    pub disabled: bool,
    /// Delegates cannot open it.
    pub locked: bool,
    /// Where its mailboxes are.
    pub shard: Option<ShardId>,
    /// Where its mail is sent on to.
    pub redirection: Option<Box<Redirection>>,
    /// Its members, when it is a group.
    pub group: Option<Box<Group>>,
    /// By the log's time, milliseconds since 1970.
    pub created_ms: u64,
    /// When the password was set, likewise; 0 for never.
    pub password_ms: u64,
}

impl Account {
    /// The destinations that act now: of the group, then of the redirection.
    pub(crate) fn passes_to(&self) -> impl Iterator<Item = (&Destination, Pass)> {
        let group = self.group.as_deref().filter(|_| self.services.group);
        let redirection = self.redirection.as_deref().filter(|_| self.services.redirect);
        let members = group.into_iter().flat_map(|g| g.members.iter().map(|m| (m, Pass::Group)));
        members.chain(redirection.into_iter().flat_map(|r| r.to.iter().map(|d| (d, Pass::Redirection))))
    }

    /// Whether its own mailbox takes a copy of what comes in.
    pub(crate) fn keeps(&self) -> bool {
        let group = self.group.as_deref().filter(|g| self.services.group && !g.members.is_empty());
        let redirection = self.redirection.as_deref().filter(|r| self.services.redirect && !r.to.is_empty());
        let passes = group.is_some() || redirection.is_some();
        let copy = group.is_some_and(|g| g.keep_copy) || redirection.is_some_and(|r| r.keep_copy);
        self.services.mailbox && (!passes || copy)
    }
}

/// Which part of an account passes mail on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Group,
    Redirection,
}

/// How an alias treats mail (SPEC D-6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AliasOptions {
    /// Also to the account that has the alias's name as an address.
    pub deliver_locally: bool,
    /// Mail is refused.
    pub bounce: bool,
    /// Also to every account of the domain.
    pub everyone: bool,
}

/// An alias (SPEC D-6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// Its identifier.
    pub id: AliasId,
    /// The domain of its name.
    pub domain: DomainId,
    /// Its name, compared in lower case.
    pub local: LocalPart,
    /// May be empty when an option says what to do.
    pub destinations: Vec<Destination>,
    /// The options.
    pub options: AliasOptions,
    /// By the log's time, milliseconds since 1970.
    pub created_ms: u64,
}

impl Alias {
    /// True for `postmaster` and the other default addresses.
    pub fn is_default(&self) -> bool {
        is_default_name(&self.local)
    }
}

pub(crate) fn is_default_name(local: &LocalPart) -> bool {
    DEFAULT_ADDRESSES.contains(&local.folded().as_str())
}

/// The counter of a prefix; stays when its domain goes, so that no username comes twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Prefix {
    pub(crate) name: String,
    pub(crate) next_number: u32,
    pub(crate) domain: Option<DomainId>,
}

/// The identifiers that come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) plan: u32,
    pub(crate) domain: u64,
    pub(crate) account: u64,
    pub(crate) alias: u64,
    pub(crate) audit: u64,
    /// Audit entries before this time of the log have been removed.
    pub(crate) audit_from_ms: u64,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters { plan: 1, domain: 1, account: 1, alias: 1, audit: 1, audit_from_ms: 0 }
    }
}

/// Settings that all nodes must agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How long audit entries are kept, in days (400).
    pub audit_days: u32,
    /// What parts a user's name from a detail in `user+detail@` (RFC 5233); `None` switches it off.
    pub detail_separator: Option<char>,
    /// Whose `postmaster` gets mail to `postmaster` without a domain; the oldest domain when not set.
    pub postmaster_domain: Option<DomainId>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { audit_days: 400, detail_separator: Some('+'), postmaster_domain: None }
    }
}
