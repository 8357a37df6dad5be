//! After a start: goes on with removals that a stop interrupted.
//!
//! An account is first removed from the directory, then its mailboxes are removed bit by bit. Whatever
//! lies in a shard for an account that the directory does not know (any more) has to go.

use crate::engine::{Engine, EngineError};
use estafette_mailbox::read::{FoundAccount, next_account};
use estafette_mailbox::{AccountRef, AccountState, Action, Response};
use std::sync::Arc;

/// Looks through all accounts of all shards once.
pub(crate) async fn run(engine: Arc<Engine>) {
    for shard in engine.shards.all() {
        let mut after = None;
        loop {
            match next_account(&engine.store, shard, after) {
                Ok(Some(found)) => {
                    after = Some(found.at.account);
                    if let Err(error) = look_at(&engine, found).await {
                        tracing::warn!(account = found.at.account.0, %error, "a removal could not be finished");
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(shard = shard.0, %error, "the accounts of a shard cannot be read");
                    break;
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn look_at(engine: &Engine, found: FoundAccount) -> Result<(), EngineError> {
    let known = engine.directory.read().account(found.at.account).is_some();
    if !known && found.state == AccountState::Live {
        tracing::info!(account = found.at.account.0, "removing the mailboxes of a deleted account");
        return purge(engine, found.at, Action::DeleteAccount).await;
    }
    if found.unfinished { purge(engine, found.at, Action::Purge).await } else { Ok(()) }
}

/// Removes what was deleted until nothing is left.
pub(crate) async fn purge(engine: &Engine, at: AccountRef, first: Action) -> Result<(), EngineError> {
    let mut action = first;
    while let Response::Purged { more: true } = engine.shards.mailbox(at, action, Vec::new()).await? {
        action = Action::Purge;
    }
    Ok(())
}
