//! Why a command is refused: a closed list, with words for people and codes for programs.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A limit of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitKind {
    /// Number of mailboxes.
    Mailboxes,
    /// Sum of quotas in bytes.
    Storage,
    /// Number of sub-domains.
    Subdomains,
    /// Number of aliases.
    Aliases,
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LimitKind::Mailboxes => "mailboxes",
            LimitKind::Storage => "bytes of storage",
            LimitKind::Subdomains => "sub-domains",
            LimitKind::Aliases => "aliases",
        })
    }
}

/// Why a command was refused. The directory is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No plan has this identifier or name.
    #[error("there is no such plan")]
    UnknownPlan,
    /// No domain has this identifier or name.
    #[error("there is no such domain")]
    UnknownDomain,
    /// No account has this identifier, username or address.
    #[error("there is no such account")]
    UnknownAccount,
    /// No alias has this identifier or address.
    #[error("there is no such alias")]
    UnknownAlias,
    /// The account does not have this address.
    #[error("the account does not have the address {address}")]
    UnknownAddress {
        /// Its local part.
        address: String,
    },
    /// The shard is not in the list of shards.
    #[error("there is no shard {shard}")]
    UnknownShard {
        /// The shard.
        shard: u32,
    },
    /// A destination is neither a username here nor an address.
    #[error("'{text}' is neither a username here nor a mail address")]
    UnknownDestination {
        /// What was given.
        text: String,
    },
    /// The name belongs to something else.
    #[error("the name {name} is taken")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The prefix belongs to another domain.
    #[error("the prefix {prefix} is taken")]
    PrefixTaken {
        /// The prefix.
        prefix: String,
    },
    /// No prefix.
    #[error(
        "a prefix has 1 to 32 lower case letters and digits, begins with a letter and ends with none of the digits"
    )]
    InvalidPrefix,
    /// No name for an operator.
    #[error("an operator's name does not end with a digit, so that it cannot be taken for an account's")]
    InvalidOperatorName,
    /// Not a name that a domain can have.
    #[error("{name} cannot be a domain here")]
    InvalidDomain {
        /// The name.
        name: String,
    },
    /// A text is too long, is empty where it must not be, or has control characters.
    #[error("{field} is empty, too long or has characters that are not allowed")]
    InvalidText {
        /// Which field.
        field: String,
    },
    /// The plan allows no more.
    #[error("the plan allows {allowed} {limit}; {used} are used and {asked} more were asked for")]
    PlanLimit {
        /// Of what.
        limit: LimitKind,
        /// What the plan allows.
        allowed: u64,
        /// What is used now.
        used: u64,
        /// What was asked for beside it; `u64::MAX` for unlimited.
        asked: u64,
    },
    /// The plan has domains.
    #[error("{domains} domains have this plan")]
    PlanInUse {
        /// How many.
        domains: u32,
    },
    /// The domain has sub-domains.
    #[error("the domain has sub-domains; delete them first")]
    HasSubdomains,
    /// A sub-domain's name does not end with that of the domain above, or that one is a sub-domain itself.
    #[error("{name} cannot be a sub-domain of {parent}")]
    NotSubdomain {
        /// The name asked for.
        name: String,
        /// The domain above.
        parent: String,
    },
    /// A sub-domain has no plan of its own.
    #[error("a sub-domain lives within the plan of the domain above it")]
    SubdomainPlan,
    /// Mail would go round.
    #[error("mail would go round in a loop: {}", path.join(" → "))]
    AliasLoop {
        /// Names along the loop; the first and the last are the same.
        path: Vec<String>,
    },
    /// The addresses reach too many others, or through too many steps.
    #[error("this would lead to too many destinations or through too many steps")]
    TooManyTargets,
    /// A list is too long.
    #[error("{field} can have at most {max}")]
    TooMany {
        /// Which list.
        field: String,
        /// Its longest.
        max: u64,
    },
    /// An alias or redirection without a destination or an option.
    #[error("at least one destination is needed")]
    NoDestinations,
    /// The primary address cannot be removed.
    #[error("the primary address cannot be removed; make another one primary first")]
    PrimaryAddress,
    /// A default address cannot be removed.
    #[error("{name} must stay; it can lead elsewhere")]
    DefaultAddress {
        /// Its local part.
        name: String,
    },
    /// The account administers a domain.
    #[error("the account administers {domain}; give that to another account first")]
    AdministratorNeeded {
        /// The domain.
        domain: String,
    },
    /// Nobody could run the cluster any more.
    #[error("this is the last operator who can log in")]
    LastOperator,
    /// The account or alias is not of this domain or the domains above and below it.
    #[error("it belongs to another domain")]
    OtherDomain,
    /// The account is an operator's, without addresses and mailboxes.
    #[error("this operator has no addresses and no mailbox")]
    NoMailbox,
    /// Accounts are still in a shard that is to go.
    #[error("shard {shard} still has {accounts} accounts")]
    ShardInUse {
        /// The shard.
        shard: u32,
        /// How many.
        accounts: u64,
    },
    /// Not an Argon2id hash in PHC form.
    #[error("the password hash is not Argon2id in PHC form")]
    PasswordHash,
    /// The actor has not the right.
    #[error("you are not allowed to do this")]
    NotAllowed,
    /// No running numbers or identifiers are left.
    #[error("no numbers are left")]
    Exhausted,
    /// The node belongs to a cluster.
    #[error("this is a cluster already")]
    IsCluster,
    /// There is no cluster yet.
    #[error("this is not a cluster yet; found one first")]
    NoCluster,
    /// No node has or had this number.
    #[error("there is no node {node}")]
    UnknownNode {
        /// Its number.
        node: u64,
    },
    /// The node, or the owner of the key, was removed.
    #[error("node {node} was removed from the cluster; it can join as a new node only")]
    NodeRemoved {
        /// Its number.
        node: u64,
    },
    /// No token has this secret.
    #[error("there is no such join token; it was mistyped or taken back, or ran out long ago")]
    UnknownToken,
    /// Another node came first with the token.
    #[error("node {node} has joined with this token, and a token works once")]
    TokenUsed {
        /// Its number.
        node: u64,
    },
    /// The time of the token is over.
    #[error("the join token has run out; make a new one")]
    TokenExpired,
    /// Not `host:port`.
    #[error("'{address}' is no address of a node; it is written host:port")]
    InvalidNodeAddress {
        /// What was given.
        address: String,
    },
    /// The node is named by placements.
    #[error("{shards} shards are still to be on node {node}")]
    NodeInUse {
        /// Its number.
        node: u64,
        /// How many.
        shards: u64,
    },
    /// The node cannot be given a shard.
    #[error("node {node} is declared dead and gets no replicas")]
    NodeDead {
        /// Its number.
        node: u64,
    },
    /// Nobody could be given a shard any more.
    #[error("no active node would be left")]
    LastNode,
    /// A shard would be nowhere.
    #[error("a shard needs at least one node")]
    NoReplicas,
    /// A node has one replica of a shard.
    #[error("node {node} is named twice")]
    NodeTwice {
        /// Its number.
        node: u64,
    },
    /// A number is too small or too large.
    #[error("{field} must be from {min} to {max}")]
    OutOfRange {
        /// Which.
        field: String,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The account is on its way.
    #[error("the account is moving to shard {shard}")]
    AccountMoving {
        /// Where to.
        shard: u32,
    },
    /// The move that was named is not under way.
    #[error("the account is not, or no longer, on this move")]
    NotMoving,
}

impl Refusal {
    /// A stable word for programs; never changes its meaning.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::UnknownPlan => "unknown-plan",
            Refusal::UnknownDomain => "unknown-domain",
            Refusal::UnknownAccount => "unknown-account",
            Refusal::UnknownAlias => "unknown-alias",
            Refusal::UnknownAddress { .. } => "unknown-address",
            Refusal::UnknownShard { .. } => "unknown-shard",
            Refusal::UnknownDestination { .. } => "unknown-destination",
            Refusal::NameTaken { .. } => "name-taken",
            Refusal::PrefixTaken { .. } => "prefix-taken",
            Refusal::InvalidPrefix => "invalid-prefix",
            Refusal::InvalidOperatorName => "invalid-operator-name",
            Refusal::InvalidDomain { .. } => "invalid-domain",
            Refusal::InvalidText { .. } => "invalid-text",
            Refusal::PlanLimit { .. } => "plan-limit",
            Refusal::PlanInUse { .. } => "plan-in-use",
            Refusal::HasSubdomains => "has-subdomains",
            Refusal::NotSubdomain { .. } => "not-a-subdomain",
            Refusal::SubdomainPlan => "subdomain-plan",
            Refusal::AliasLoop { .. } => "alias-loop",
            Refusal::TooManyTargets => "too-many-targets",
            Refusal::TooMany { .. } => "too-many",
            Refusal::NoDestinations => "no-destinations",
            Refusal::PrimaryAddress => "primary-address",
            Refusal::DefaultAddress { .. } => "default-address",
            Refusal::AdministratorNeeded { .. } => "administrator-needed",
            Refusal::LastOperator => "last-operator",
            Refusal::OtherDomain => "other-domain",
            Refusal::NoMailbox => "no-mailbox",
            Refusal::ShardInUse { .. } => "shard-in-use",
            Refusal::PasswordHash => "password-hash",
            Refusal::NotAllowed => "not-allowed",
            Refusal::Exhausted => "exhausted",
            Refusal::IsCluster => "is-cluster",
            Refusal::NoCluster => "no-cluster",
            Refusal::UnknownNode { .. } => "unknown-node",
            Refusal::NodeRemoved { .. } => "node-removed",
            Refusal::UnknownToken => "unknown-token",
            Refusal::TokenUsed { .. } => "token-used",
            Refusal::TokenExpired => "token-expired",
            Refusal::InvalidNodeAddress { .. } => "invalid-node-address",
            Refusal::NodeInUse { .. } => "node-in-use",
            Refusal::NodeDead { .. } => "node-dead",
            Refusal::LastNode => "last-node",
            Refusal::NoReplicas => "no-replicas",
            Refusal::NodeTwice { .. } => "node-twice",
            Refusal::OutOfRange { .. } => "out-of-range",
            Refusal::AccountMoving { .. } => "account-moving",
            Refusal::NotMoving => "not-moving",
        }
    }

    /// True when the thing named is not there (what HTTP calls 404).
    pub fn is_unknown(&self) -> bool {
        matches!(
            self,
            Refusal::UnknownPlan
                | Refusal::UnknownDomain
                | Refusal::UnknownAccount
                | Refusal::UnknownAlias
                | Refusal::UnknownNode { .. }
                | Refusal::UnknownToken
        )
    }
}
