//! Goes on with what a stop has interrupted: removals, and what follows from moves that have ended.
//!
//! An account is first removed from the directory, then its mailboxes are removed bit by bit. Whatever lies in a shard for
//! an account that the directory does not know (any more) has to go. Likewise the directory says where an account is, and
//! what the shards have of its moves follows ([`estafette_delivery::Homes::settle`]).
//!
//! Runs on the leader of a shard: when it has come to lead, when another node leads the control group, who may have left moves
//! in the middle, and now and then.

use crate::engine::{Engine, EngineError};
use estafette_mailbox::AccountState;
use estafette_mailbox::read::{FoundAccount, next_account};
use estafette_types::{AccountId, ShardId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks at who leads.
const LOOK_PAUSE: Duration = Duration::from_secs(2);
/// Between the beginnings of two sweeps of a shard.
const SWEEP_PAUSE: Duration = Duration::from_secs(3600);

/// Sweeps as long as the node runs, one shard after the other.
pub(crate) async fn keep(engine: Arc<Engine>) {
    let mut swept: BTreeMap<ShardId, Instant> = BTreeMap::new();
    let mut mover = None;
    loop {
        let leader = engine.control.group().status().leader;
        if leader.is_some() && mover != leader {
            (mover, swept) = (leader, BTreeMap::new());
        }
        let leads = |shard: &ShardId| engine.shards.group(*shard).is_ok_and(|group| group.leads());
        let led: Vec<ShardId> = engine.shards.all().into_iter().filter(leads).collect();
        swept.retain(|shard, _| led.contains(shard));
        for shard in led {
            if swept.get(&shard).is_none_or(|at| at.elapsed() >= SWEEP_PAUSE) {
                swept.insert(shard, Instant::now());
                run(&engine, shard).await;
            }
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Looks through all accounts of a shard once.
pub(crate) async fn run(engine: &Engine, shard: ShardId) {
    // What is not here yet would be passed over. Without a leader, what is here is looked at.
    let _ = engine.shards.fresh(shard).await;
    let mut after = None;
    loop {
        match next(engine, shard, after).await {
            Ok(Some(found)) => {
                after = Some(found.at.account);
                if let Err(error) = look_at(engine, found).await {
                    tracing::warn!(account = found.at.account.0, %error, "what is left of an account cannot be dealt with now");
                }
            }
            Ok(None) => return,
            Err(error) => {
                return tracing::error!(shard = shard.0, %error, "the accounts of a shard cannot be read");
            }
        }
    }
}

async fn next(
    engine: &Engine,
    shard: ShardId,
    after: Option<AccountId>,
) -> Result<Option<FoundAccount>, estafette_mailbox::Error> {
    let store = engine.store.clone();
    // It only fails to come back when it panicked, which has been logged.
    tokio::task::spawn_blocking(move || next_account(&store, shard, after)).await.unwrap_or(Ok(None))
}

async fn look_at(engine: &Engine, found: FoundAccount) -> Result<(), EngineError> {
    let known = engine.directory.read().account(found.at.account).is_some();
    match found.state {
        AccountState::Gone | AccountState::Moved => Ok(()),
        AccountState::Live if known && found.unfinished => Ok(engine.homes().purge(found.at).await?),
        AccountState::Live if known => Ok(()),
        // The directory here may know less than the shard.
        _ => Ok(engine.homes().settle(found.at).await?),
    }
}
