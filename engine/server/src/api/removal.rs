//! What follows a removal from the directory: the mailboxes of the accounts go, bit by bit.

use crate::engine::Engine;
use estafette_directory::Removed;
use estafette_mailbox::{AccountRef, Action};
use std::sync::Arc;

/// Removes the mailboxes of removed accounts. Goes on when the request that asked for it is given up. True
/// when all is gone; otherwise the log says what is left.
pub(super) async fn purge(engine: &Arc<Engine>, removed: Vec<Removed>) -> bool {
    let engine = Arc::clone(engine);
    let work = tokio::spawn(async move {
        let mut done = true;
        for Removed { account, shard } in removed {
            let Some(shard) = shard else { continue };
            let at = AccountRef { shard, account };
            if let Err(error) = engine.homes().remove(at, Action::DeleteAccount).await {
                tracing::error!(account = account.0, shard = shard.0, %error, "mailboxes of a deleted account are left");
                done = false;
            }
        }
        done
    });
    work.await.unwrap_or(false)
}
