//! What all services of a node share: the store, the directory, the groups, and the ways to change them.

use crate::config::Config;
use crate::login::Logins;
use crate::machines::FailureView;
use bytes::Bytes;
use estafette_delivery::Shards;
use estafette_directory::{Actor, Change, Command, Origin, Refusal, Reply, View};
use estafette_mailbox::{AccountRef, Maildrops, Structures, UidMaps, Watchers};
use estafette_raft::{Group, Proposal};
use estafette_storage::{Health, Store};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The heart of a node; shared by all sessions.
pub(crate) struct Engine {
    pub(crate) config: Arc<Config>,
    /// The name by which the node greets.
    pub(crate) hostname: Arc<str>,
    pub(crate) store: Store,
    pub(crate) directory: View,
    pub(crate) control: Group,
    pub(crate) traffic: Group,
    pub(crate) shards: Shards,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) wakeup: Arc<estafette_delivery::queue::Wakeup>,
    pub(crate) uid_maps: UidMaps,
    pub(crate) maildrops: Maildrops,
    pub(crate) structures: Structures,
    pub(crate) logins: Logins,
    pub(crate) failures: FailureView,
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
    /// The store.
    #[error(transparent)]
    Storage(#[from] estafette_storage::Error),
}

impl Engine {
    /// Changes the directory: checked, proposed, applied.
    pub(crate) async fn change(
        &self,
        actor: Actor,
        origin: Origin,
        change: Change,
    ) -> Result<Reply, EngineError> {
        let command = Command { actor, origin, change };
        self.directory.read().validate(&command)?;
        let proposal = Proposal { command: Bytes::from(command.encode()?), bodies: Vec::new() };
        let answer = self.control.propose(proposal).await?;
        Ok(Reply::decode_applied(&answer)??)
    }

    /// Where the mailboxes of an account are; `None` for an operator without any.
    pub(crate) fn account_ref(&self, account: estafette_types::AccountId) -> Option<AccountRef> {
        let shard = self.directory.read().account(account)?.shard?;
        Some(AccountRef { shard, account })
    }

    /// True while new mail may be taken.
    pub(crate) fn takes_mail(&self) -> bool {
        self.store.health() == Health::Good
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
