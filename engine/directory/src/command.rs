//! The commands of the directory and what they answer.
//!
//! New kinds of [`Change`] and [`Reply`] are added at the end; a change to an existing one needs a new
//! version of the encoding, and the old one stays readable.

use crate::cluster::{AuthorityKey, Move, NodeState};
use crate::model::{
    AliasId, AliasOptions, CatchAll, Destination, PlanFields, PlanId, Redirection, Role, Services, Settings,
    Standing,
};
use crate::password::PasswordHash;
use crate::refusal::Refusal;
use estafette_raft::NodeId;
use estafette_types::{AccountId, Address, Domain, DomainId, LocalPart, ShardId, Username};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Where in the log a command stands; equal on all nodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct At {
    /// The log's time (the leader's), milliseconds since 1970; never decreases.
    pub time_ms: u64,
    /// Index of the entry.
    pub index: u64,
    /// Random bytes from the entry.
    pub seed: [u8; 16],
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// The program itself (first start, assignment of shards).
    System,
    /// The command line over the local socket; may do everything.
    Console,
    /// A login; its rights are checked.
    Account(AccountId),
}

/// From where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The program itself.
    Internal,
    /// The local socket.
    LocalSocket,
    /// The client's address.
    Client(IpAddr),
}

/// One command: who wants what changed, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Who.
    pub actor: Actor,
    /// From where.
    pub origin: Origin,
    /// What.
    pub change: Change,
}

/// What can be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Makes a plan.
    CreatePlan(PlanFields),
    /// Replaces what a plan holds. Domains that have more already keep it.
    ChangePlan {
        /// Which.
        plan: PlanId,
        /// What it holds from now on.
        fields: PlanFields,
    },
    /// Removes a plan that no domain has.
    DeletePlan {
        /// Which.
        plan: PlanId,
    },
    /// Makes a domain with its default addresses.
    CreateDomain(NewDomain),
    /// Changes a domain.
    ChangeDomain {
        /// Which.
        domain: DomainId,
        /// What.
        change: DomainChange,
    },
    /// Removes a domain, its accounts, aliases and other names.
    DeleteDomain {
        /// Which.
        domain: DomainId,
    },
    /// Gives a domain another name (SPEC D-3).
    AddDomainAlias {
        /// The domain.
        domain: DomainId,
        /// The other name.
        name: Domain,
    },
    /// Takes another name away.
    RemoveDomainAlias {
        /// The other name.
        name: Domain,
    },
    /// Makes an account.
    CreateAccount {
        /// In which domain.
        domain: DomainId,
        /// What.
        account: NewAccount,
    },
    /// Makes an operator without addresses and mailbox.
    CreateOperator {
        /// Does not end with a digit.
        username: Username,
        /// The person's name.
        real_name: String,
        /// Made by [`crate::password::Hasher`].
        password_hash: Option<PasswordHash>,
    },
    /// Changes an account.
    ChangeAccount {
        /// Which.
        account: AccountId,
        /// What.
        change: AccountChange,
    },
    /// Removes an account and all that leads to it.
    DeleteAccount {
        /// Which.
        account: AccountId,
    },
    /// Gives an account another address.
    AddAddress {
        /// Which.
        account: AccountId,
        /// Before the `@`.
        local: LocalPart,
    },
    /// Switches an address of an account.
    EnableAddress {
        /// Which.
        account: AccountId,
        /// Before the `@`.
        local: LocalPart,
        /// On or off.
        enabled: bool,
    },
    /// Takes an address away, not the primary one.
    RemoveAddress {
        /// Which.
        account: AccountId,
        /// Before the `@`.
        local: LocalPart,
    },
    /// Sets a password.
    SetPassword {
        /// Which.
        account: AccountId,
        /// `None`: nobody logs in.
        password_hash: Option<PasswordHash>,
    },
    /// Switches services.
    SetServices {
        /// Which.
        account: AccountId,
        /// All of them.
        services: Services,
    },
    /// Sets or removes a redirection.
    SetRedirection {
        /// Which.
        account: AccountId,
        /// `None` removes it.
        redirection: Option<Redirection>,
    },
    /// Changes the members of a group.
    ChangeMembers {
        /// The account that is the group.
        group: AccountId,
        /// Added, once each.
        add: Vec<Destination>,
        /// Removed.
        remove: Vec<Destination>,
        /// Whether the group's own mailbox takes a copy; `None` leaves it.
        keep_copy: Option<bool>,
    },
    /// Makes an alias.
    CreateAlias(NewAlias),
    /// Replaces what an alias does.
    ChangeAlias {
        /// Which.
        alias: AliasId,
        /// From now on.
        destinations: Vec<Destination>,
        /// From now on.
        options: AliasOptions,
    },
    /// Removes an alias.
    DeleteAlias {
        /// Which.
        alias: AliasId,
    },
    /// Says who gets mail to all other names of a domain.
    SetCatchAll {
        /// Which.
        domain: DomainId,
        /// `None`: nobody.
        to: Option<CatchAll>,
    },
    /// The shards that accounts can be in.
    SetShards {
        /// All of them.
        shards: Vec<ShardId>,
    },
    /// Moves an account to a shard.
    AssignShard {
        /// Which.
        account: AccountId,
        /// Where its mailboxes are from now on.
        shard: ShardId,
    },
    /// Replaces the settings.
    SetSettings(Settings),
    /// Makes a cluster of the node that is alone. Again with the same identifier: the same answer.
    FoundCluster(NewCluster),
    /// Makes a token with which one node may join. Again with the same secret: nothing changes.
    CreateJoinToken {
        /// Of the secret, which stays with who asked.
        secret_hash: [u8; 32],
        /// How long it can be used, from the log's time on.
        valid_ms: u64,
        /// The label of the node that joins with it; `None` leaves that to the node.
        label: Option<String>,
    },
    /// Takes a token back that no node has used. One that is not there is no error.
    RevokeJoinToken {
        /// Of its secret.
        secret_hash: [u8; 32],
    },
    /// Takes a node in. The same key gets the same number again, also after the token ran out.
    AdmitNode {
        /// Of the token's secret.
        secret_hash: [u8; 32],
        /// Of the node's public key.
        key_hash: [u8; 32],
        /// Where its mesh listens, `host:port`; when asked again, the new one counts.
        address: String,
        /// Its failure domain, unless the token says one; may be empty.
        label: String,
    },
    /// Changes a node.
    ChangeNode {
        /// Which.
        node: NodeId,
        /// What.
        change: NodeChange,
    },
    /// Removes a node that no shard is to be on. One that was removed before is no error.
    RemoveNode {
        /// Which.
        node: NodeId,
    },
    /// Says where a shard is to be. First said once its group has begun: [`crate::Directory::beginner`].
    PlaceShard {
        /// Which.
        shard: ShardId,
        /// One node or more, each once.
        replicas: Vec<NodeId>,
    },
    /// Adds shards, with numbers that none had before, until there are `total`.
    AddShards {
        /// How many there are to be; no change when there are as many already.
        total: u32,
    },
    /// Changes the settings of the cluster.
    SetClusterSettings {
        /// Replicas of a shard.
        replicas: u8,
        /// How long a dead node is waited for before it is replaced.
        replace_after_ms: u64,
    },
    /// Begins to move an account. It stays where it is until [`Change::FinishMove`].
    BeginMove {
        /// Which.
        account: AccountId,
        /// Where to.
        to: ShardId,
    },
    /// The account is in the new shard from now on. The move is named whole, so that none but this one ends.
    FinishMove(Move),
    /// The account stays where it was.
    AbandonMove(Move),
    /// The move begins anew, under a later time: what was proposed for it before does nothing any more.
    PostponeMove(Move),
    /// How fast rows of accounts that move are sent.
    SetMoveRate {
        /// KiB per second, of all moves together.
        kib_per_second: u32,
    },
}

/// A cluster to be founded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewCluster {
    /// Chosen by chance.
    pub id: [u8; 16],
    /// Of the authority, DER.
    pub authority_certificate: Vec<u8>,
    /// Of the authority.
    pub authority_key: AuthorityKey,
    /// The node that is alone.
    pub node: NodeId,
    /// Where its mesh listens, `host:port`.
    pub address: String,
    /// Its failure domain; may be empty.
    pub label: String,
    /// Of its public key.
    pub key_hash: [u8; 32],
}

/// What of a node to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeChange {
    /// Where its mesh listens, `host:port`.
    Address(String),
    /// Its failure domain; may be empty.
    Label(String),
    /// Whether it gets replicas.
    State(NodeState),
}

/// A domain to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewDomain {
    /// Its name.
    pub name: Domain,
    /// The first part of its usernames; derived from the name and made unique when `None`.
    pub prefix: Option<String>,
    /// Plan, or sub-domain of.
    pub standing: Standing,
    /// Free text.
    pub description: String,
    /// Whom to write to.
    pub contact: Option<Address>,
    /// In bytes; an equal share of the plan when `None`.
    pub default_quota_bytes: Option<u64>,
    /// Whom the default addresses lead to.
    pub administrator: Administrator,
}

/// The administrator of a new domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Administrator {
    /// Made along with the domain, whatever role it says as domain administrator at least.
    New(NewAccount),
    /// Of the domain above (sub-domains only).
    Existing(AccountId),
}

/// An account to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAccount {
    /// Of the primary address.
    pub local: LocalPart,
    /// The person's name.
    pub real_name: String,
    /// How much it may hold.
    pub quota: QuotaChoice,
    /// Made by [`crate::password::Hasher`].
    pub password_hash: Option<PasswordHash>,
    /// What its login may do.
    pub role: Role,
    /// Chosen by the proposer ([`crate::Directory::emptiest_shard`]).
    pub shard: ShardId,
}

/// A quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuotaChoice {
    /// The domain's default.
    #[default]
    Default,
    /// In bytes.
    Bytes(u64),
    /// Only where the plan has no limit of storage.
    Unlimited,
}

/// An alias to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAlias {
    /// Of its name.
    pub domain: DomainId,
    /// Its name.
    pub local: LocalPart,
    /// Where it leads.
    pub destinations: Vec<Destination>,
    /// What else it does.
    pub options: AliasOptions,
}

/// What of a domain to change; `None` leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainChange {
    /// Free text.
    pub description: Option<String>,
    /// Whom to write to; `Some(None)` removes it.
    pub contact: Option<Option<Address>>,
    /// In bytes.
    pub default_quota_bytes: Option<u64>,
    /// Another plan, which must hold what the domain has; not for sub-domains.
    pub plan: Option<PlanId>,
    /// Suspended or in service.
    pub suspended: Option<bool>,
    /// Default addresses that lead to the administrator alone follow.
    pub administrator: Option<AccountId>,
}

/// What of an account to change; `None` leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountChange {
    /// The person's name.
    pub real_name: Option<String>,
    /// How much it may hold.
    pub quota: Option<QuotaChoice>,
    /// What its login may do.
    pub role: Option<Role>,
    /// Login refused.
    pub disabled: Option<bool>,
    /// Closed to delegates.
    pub locked: Option<bool>,
    /// Makes one of its addresses the primary one.
    pub primary: Option<LocalPart>,
}

/// What a command that was carried out answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing to add.
    Done,
    /// A plan was made.
    Plan(PlanId),
    /// A domain was made.
    Domain {
        /// The domain.
        id: DomainId,
        /// Its administrator.
        administrator: AccountId,
        /// The administrator's login.
        username: Username,
    },
    /// An account was made.
    Account {
        /// The account.
        id: AccountId,
        /// Its login.
        username: Username,
    },
    /// An alias was made.
    Alias(AliasId),
    /// Accounts were removed; their mailboxes can go.
    Removed(Vec<Removed>),
    /// The node that founded the cluster or was taken in.
    Node(NodeId),
    /// The shards that were added.
    Shards(Vec<ShardId>),
}

/// An account that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The account.
    pub account: AccountId,
    /// Where its mailboxes are. An account on its way is named twice, once for each end.
    pub shard: Option<ShardId>,
}

/// What applying a command gives: the response of the log entry.
pub type Applied = Result<Reply, Refusal>;

impl Change {
    /// A stable word for the audit and for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Change::CreatePlan(_) => "plan.create",
            Change::ChangePlan { .. } => "plan.change",
            Change::DeletePlan { .. } => "plan.delete",
            Change::CreateDomain(_) => "domain.create",
            Change::ChangeDomain { .. } => "domain.change",
            Change::DeleteDomain { .. } => "domain.delete",
            Change::AddDomainAlias { .. } => "domain.alias.add",
            Change::RemoveDomainAlias { .. } => "domain.alias.remove",
            Change::CreateAccount { .. } => "account.create",
            Change::CreateOperator { .. } => "operator.create",
            Change::ChangeAccount { .. } => "account.change",
            Change::DeleteAccount { .. } => "account.delete",
            Change::AddAddress { .. } => "account.address.add",
            Change::EnableAddress { .. } => "account.address.enable",
            Change::RemoveAddress { .. } => "account.address.remove",
            Change::SetPassword { .. } => "account.password",
            Change::SetServices { .. } => "account.services",
            Change::SetRedirection { .. } => "account.redirection",
            Change::ChangeMembers { .. } => "group.members",
            Change::CreateAlias(_) => "alias.create",
            Change::ChangeAlias { .. } => "alias.change",
            Change::DeleteAlias { .. } => "alias.delete",
            Change::SetCatchAll { .. } => "domain.catch-all",
            Change::SetShards { .. } => "cluster.shards",
            Change::AssignShard { .. } => "account.shard",
            Change::SetSettings(_) => "cluster.settings",
            Change::FoundCluster(_) => "cluster.found",
            Change::CreateJoinToken { .. } => "cluster.token.create",
            Change::RevokeJoinToken { .. } => "cluster.token.revoke",
            Change::AdmitNode { .. } => "cluster.node.admit",
            Change::ChangeNode { .. } => "cluster.node.change",
            Change::RemoveNode { .. } => "cluster.node.remove",
            Change::PlaceShard { .. } => "cluster.shard.place",
            Change::AddShards { .. } => "cluster.shards.add",
            Change::SetClusterSettings { .. } => "cluster.replicas",
            Change::BeginMove { .. } => "account.move.begin",
            Change::FinishMove(_) => "account.move.finish",
            Change::AbandonMove(_) => "account.move.abandon",
            Change::PostponeMove(_) => "account.move.postpone",
            Change::SetMoveRate { .. } => "cluster.move-rate",
        }
    }
}
