//! What all services of a node share: the store, the directory, the groups, and the ways to change them.

use crate::cluster::{Cluster, ClusterError};
use crate::config::Config;
use crate::login::Logins;
use crate::machines::FailureView;
use bytes::Bytes;
use estafette_delivery::{Again, Homes, Reach, Shards, home};
use estafette_directory::{Actor, Change, Command, Origin, Refusal, Reply, View};
use estafette_mailbox::{AccountRef, Action, Maildrops, Response, Structures, UidMaps, Watchers};
use estafette_raft::{Group, NewBody, Proposal};
use estafette_reactor::Gate;
use estafette_storage::{BodyHash, Health, Store};
use estafette_types::{AccountId, ShardId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The heart of a node; shared by all sessions.
pub(crate) struct Engine {
    pub(crate) config: Arc<Config>,
    /// The name by which the node greets.
    pub(crate) hostname: Arc<str>,
    pub(crate) store: Store,
    pub(crate) directory: View,
    pub(crate) control: Reach,
    pub(crate) traffic: Group,
    pub(crate) shards: Shards,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) wakeup: Arc<estafette_delivery::queue::Wakeup>,
    pub(crate) uid_maps: UidMaps,
    pub(crate) maildrops: Maildrops,
    pub(crate) structures: Structures,
    pub(crate) logins: Logins,
    pub(crate) failures: FailureView,
    pub(crate) cluster: Arc<Cluster>,
    /// Counts the sessions of all listeners.
    pub(crate) gate: Gate,
}

/// Why the engine did not do what it was asked, by who has to act.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// The asker's fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A group could not take it.
    #[error(transparent)]
    Raft(#[from] estafette_raft::Error),
    /// Delivery, or a command on mailboxes, failed.
    #[error(transparent)]
    Delivery(#[from] estafette_delivery::Error),
    /// The directory's rows or encodings.
    #[error(transparent)]
    Directory(#[from] estafette_directory::Error),
    /// Rows of mailboxes.
    #[error(transparent)]
    Mailbox(#[from] estafette_mailbox::Error),
    /// This node's part in the cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The store.
    #[error(transparent)]
    Storage(#[from] estafette_storage::Error),
}

impl EngineError {
    /// True when trying again later may help.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            EngineError::Raft(error) => error.class() == estafette_raft::Class::Passing,
            EngineError::Delivery(error) => !error.is_fatal(),
            _ => false,
        }
    }

    /// The body that is named here and has not come yet.
    pub(crate) fn missing_body(&self) -> Option<BodyHash> {
        match self {
            EngineError::Storage(estafette_storage::Error::Missing { hash })
            | EngineError::Mailbox(estafette_mailbox::Error::Storage(estafette_storage::Error::Missing {
                hash,
            })) => Some(*hash),
            _ => None,
        }
    }
}

impl Engine {
    /// Changes the directory: checked, proposed, applied; what a person changed is so at all nodes that are reached.
    pub(crate) async fn change(
        &self,
        actor: Actor,
        origin: Origin,
        change: Change,
    ) -> Result<Reply, EngineError> {
        let by_person = actor != Actor::System;
        let command = Command { actor, origin, change };
        self.directory.read().validate(&command)?;
        let proposal = Proposal { command: Bytes::from(command.encode()?), bodies: Vec::new() };
        // A change that was made is refused the second time: whether it was is then for its author to look up.
        let answer = self.control.propose(proposal, Again::Harmful).await?;
        let reply = Reply::decode_applied(&answer)??;
        if by_person {
            self.cluster.have_others_catch_up().await;
        }
        Ok(reply)
    }

    /// Waits until the directory here knows all that was told to anybody, on whatever node.
    pub(crate) async fn fresh_directory(&self) -> Result<(), EngineError> {
        Ok(self.control.fresh().await?)
    }

    /// Waits until the mailboxes of an account here hold all that was told to anybody; says where they are.
    pub(crate) async fn fresh(&self, at: AccountRef) -> Result<AccountRef, EngineError> {
        let homes = self.homes();
        Ok(Box::pin(homes.fresh(at)).await?)
    }

    /// The way to accounts that may be moving.
    pub(crate) fn homes(&self) -> Homes {
        Homes::new(self.store.clone(), self.directory.clone(), self.control.clone(), self.shards.clone())
    }

    /// Carries out a command where the account is; says where that was. As [`Homes::mailbox`].
    pub(crate) async fn mailbox(
        &self,
        at: AccountRef,
        action: Action,
        bodies: Vec<NewBody>,
    ) -> Result<(AccountRef, Response), EngineError> {
        let homes = self.homes();
        Ok(Box::pin(homes.mailbox(at, action, bodies)).await?)
    }

    /// Where the mailboxes of an account are; `None` for an operator without any.
    pub(crate) fn account_ref(&self, account: AccountId) -> Option<AccountRef> {
        home(&self.directory, account)
    }

    /// Where the account is, as the directory here knows it, if sessions with it are to be on another node: this one does not
    /// have that shard, or only for a while.
    pub(crate) fn away(&self, at: AccountRef) -> Option<AccountRef> {
        let home = self.account_ref(at.account).unwrap_or(at);
        (!self.serves(home.shard)).then_some(home)
    }

    fn serves(&self, shard: ShardId) -> bool {
        let is_placed = || {
            self.directory.read().placement(shard).contains(&self.cluster.id()) || !self.cluster.is_joined()
        };
        self.shards.is_here(shard) && is_placed()
    }

    /// A shard is on other nodes alone from now on. Who is connected to its mailboxes is to hear of it.
    pub(crate) fn let_go(&self, shard: ShardId) {
        self.shards.remove(shard);
        self.tell_who_is_away();
    }

    /// Whoever waits here for news of an account that is elsewhere would wait for ever.
    pub(crate) fn tell_who_is_away(&self) {
        self.watchers
            .tell_gone(|account| self.account_ref(account).is_some_and(|home| !self.serves(home.shard)));
    }

    /// True while new mail may be taken.
    pub(crate) fn takes_mail(&self) -> bool {
        self.store.health() == Health::Good
    }
}

/// The account of a session, and the shard in which its mailboxes were when it looked last. From one to the next it only
/// goes as the directory does.
pub(crate) struct Seat {
    account: AccountId,
    shard: AtomicU32,
}

impl Seat {
    pub(crate) fn new(at: AccountRef) -> Seat {
        Seat { account: at.account, shard: AtomicU32::new(at.shard.0) }
    }

    pub(crate) fn at(&self) -> AccountRef {
        AccountRef { shard: ShardId(self.shard.load(Ordering::Acquire)), account: self.account }
    }

    /// The account was found there.
    pub(crate) fn is_at(&self, at: AccountRef) {
        self.shard.store(at.shard.0, Ordering::Release);
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
