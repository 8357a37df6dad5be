//! What follows a removal from the directory: the mailboxes of the accounts go, bit by bit.

use crate::engine::Engine;
use estafette_delivery::Error;
use estafette_directory::Removed;
use estafette_mailbox::{AccountRef, Action, Response};
use std::sync::Arc;

/// Removes the mailboxes of removed accounts. Goes on when the request that asked for it is given up. True
/// when all is gone; otherwise the log says what is left.
pub(super) async fn purge(engine: &Arc<Engine>, removed: Vec<Removed>) -> bool {
    let engine = Arc::clone(engine);
    let work = tokio::spawn(async move {
        let mut done = true;
        for Removed { account, shard } in removed {
            let Some(shard) = shard else { continue };
            if let Err(error) = purge_account(&engine, AccountRef { shard, account }).await {
                tracing::error!(account = account.0, shard = shard.0, %error, "mailboxes of a deleted account are left");
                done = false;
            }
        }
        done
    });
    work.await.unwrap_or(false)
}

async fn purge_account(engine: &Engine, at: AccountRef) -> Result<(), Error> {
    let mut action = Action::DeleteAccount;
    while let Response::Purged { more: true } = engine.shards.mailbox(at, action, Vec::new()).await? {
        action = Action::Purge;
    }
    Ok(())
}
