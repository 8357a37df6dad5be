//! The directory: plans, domains, accounts, aliases, groups, redirections, passwords, audit
//! (SPEC §2), and the nodes, shards and moves of the cluster: a pure deterministic state machine of
//! commands and views.
//!
//! - A [`Command`] is decided once, by [`Directory::decide`]: it is either refused with a [`Refusal`]
//!   and leaves nothing behind, or becomes a list of records to write. Asking before a proposal
//!   ([`Directory::validate`]) and applying after the commit ([`Directory::apply`]) take this same path.
//! - Every record is one row; all indexes are made from the records. So what is loaded from the rows
//!   equals what was in memory, and equal commands give equal rows on every node.
//! - Times come from the log, never from a clock; passwords are hashed before they are proposed.
//! - Identifiers and running numbers are never given out twice.
//!
//! The whole directory is in memory on every node, so logins and routing read locally ([`View`]).
//! It must not know of mailboxes, sessions or queues; the bytes in use are counted elsewhere.
#![forbid(unsafe_code)]

mod audit;
mod cluster;
mod command;
mod decide;
mod encoding;
mod error;
mod info;
mod lookup;
mod machine;
mod model;
pub mod password;
mod placement;
mod refusal;
mod resolve;
mod rights;
mod rows;
mod tables;
mod view;

#[cfg(test)]
mod tests;

pub use audit::{AUDIT_PAGE_MAX, AuditEntry, AuditField, AuditQuery, audit};
pub use cluster::{AuthorityKey, Cluster, ClusterNode, FormerNode, JoinToken, Move, NodeState, Placement};
pub use command::{
    AccountChange, Actor, Administrator, Applied, At, Change, Command, DomainChange, NewAccount, NewAlias,
    NewCluster, NewDomain, NodeChange, Origin, QuotaChoice, Removed, Reply,
};
pub use error::Error;
pub use info::{
    AccountInfo, AddressInfo, AliasInfo, DomainInfo, DomainSummary, PAGE_MAX, Page, PlanInfo, UsageInfo,
};
pub use lookup::{Login, LoginBar};
pub use machine::{DirectoryMachine, StoreRows, Witness};
pub use model::{
    Account, AccountAddress, Alias, AliasId, AliasOptions, CatchAll, DEFAULT_ADDRESSES, Destination, Group,
    HostedDomain, Plan, PlanFields, PlanId, Redirection, Role, Services, Settings, Standing,
};
pub use placement::{Step, next_step, plan_placement, shards_wanted};
pub use refusal::{LimitKind, Refusal};
pub use resolve::{
    DEPTH_MAX, MailboxTarget, OutsideTarget, Resolution, STEPS_MAX, TARGETS_MAX, Targets, Via,
};
pub use rows::{RowSource, Rows, Visit, key_range};
pub use tables::Directory;
pub use view::View;
