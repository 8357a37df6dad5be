//! Which accounts would have to move so that all shards hold about the same.
//!
//! An account weighs its bytes and the mean of all accounts: so both numbers and bytes even out. From the fullest shard to
//! the emptiest goes the heaviest account that does not turn the two around, until they are close or nothing helps.
//!
//! Must not: begin moves.

use crate::engine::Engine;
use estafette_mailbox::AccountRef;
use estafette_types::{AccountId, ShardId};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Shards are close enough when the fullest has no more above the emptiest than this part of the mean, in percent.
const CLOSE_PERCENT: u64 = 5;
/// Moves of one plan: half of what the directory takes at once, so that there is room for others.
const MOVES_MAX: usize = 500;

/// An account that is to move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Planned {
    #[serde(skip)]
    pub(crate) id: AccountId,
    /// Its username.
    pub(crate) account: String,
    pub(crate) from: ShardId,
    pub(crate) to: ShardId,
    /// Of its messages.
    pub(crate) bytes: u64,
}

/// Plans for the accounts as they are; those on their way count where they go, and those of which nobody tells what they
/// hold stay. `without`: shards that are to be empty.
pub(crate) async fn plan(engine: &Arc<Engine>, without: Vec<ShardId>) -> Vec<Planned> {
    let (accounts, shards) = {
        let directory = engine.directory.read();
        let accounts: Vec<_> = directory
            .all_accounts()
            .filter_map(|account| {
                let at = AccountRef { shard: account.shard?, account: account.id };
                let moving = directory.move_of(account.id).map(|moving| moving.to);
                Some((at, account.username.to_string(), moving))
            })
            .collect();
        (accounts, directory.shards().to_vec())
    };
    let at: Vec<AccountRef> = accounts.iter().map(|(at, ..)| *at).collect();
    let usage = engine.usage(&at).await;
    let work = move || {
        let (mut sizes, mut names, mut fixed) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for ((at, name, moving), usage) in accounts.into_iter().zip(usage) {
            match (usage, moving) {
                (None, _) => {}
                (Some((bytes, _)), Some(to)) => fixed.push((to, bytes)),
                (Some((bytes, _)), None) => {
                    sizes.insert(at.account, (at.shard, bytes));
                    names.insert(at.account, name);
                }
            }
        }
        let targets: Vec<ShardId> = shards.iter().copied().filter(|shard| !without.contains(shard)).collect();
        let planned = even_out(&targets, &sizes, &fixed).into_iter().map(|(id, to)| {
            let (from, bytes) = sizes.get(&id).copied().unwrap_or((to, 0));
            Planned { id, account: names.remove(&id).unwrap_or_default(), from, to, bytes }
        });
        planned.collect()
    };
    // It only fails to come back when it panicked, which has been logged.
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

/// The shards that may hold accounts, with what each holds.
struct Loads {
    loads: BTreeMap<ShardId, u64>,
    /// By weight.
    accounts: BTreeMap<ShardId, BTreeSet<(u64, AccountId)>>,
}

impl Loads {
    fn shift(&mut self, weight: u64, from: ShardId, to: ShardId) {
        if let Some(load) = self.loads.get_mut(&from) {
            *load = load.saturating_sub(weight);
        }
        *self.loads.entry(to).or_default() += weight;
    }

    fn emptiest(&self) -> Option<(ShardId, u64)> {
        self.loads.iter().map(|(shard, load)| (*shard, *load)).min_by_key(|(_, load)| *load)
    }

    fn fullest(&self) -> Option<(ShardId, u64)> {
        self.loads.iter().map(|(shard, load)| (*shard, *load)).max_by_key(|(_, load)| *load)
    }
}

/// Each account moves once at most.
fn even_out(
    targets: &[ShardId],
    sizes: &BTreeMap<AccountId, (ShardId, u64)>,
    fixed: &[(ShardId, u64)],
) -> Vec<(AccountId, ShardId)> {
    let count = (sizes.len() + fixed.len()).max(1) as u64;
    let all = sizes.values().chain(fixed).fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
    let mean = (all / count).max(1);
    let mut loads =
        Loads { loads: targets.iter().map(|shard| (*shard, 0)).collect(), accounts: BTreeMap::new() };
    for (shard, bytes) in fixed {
        if let Some(load) = loads.loads.get_mut(shard) {
            *load = load.saturating_add(bytes.saturating_add(mean));
        }
    }
    let mut homeless = Vec::new();
    for (account, (shard, bytes)) in sizes {
        let weight = bytes.saturating_add(mean);
        match loads.loads.get_mut(shard) {
            Some(load) => {
                *load = load.saturating_add(weight);
                loads.accounts.entry(*shard).or_default().insert((weight, *account));
            }
            None => homeless.push((weight, *account, *shard)),
        }
    }
    let mut moves = Vec::new();
    homeless.sort_unstable_by(|one, other| other.cmp(one));
    for (weight, account, _) in homeless.into_iter().take(MOVES_MAX) {
        let Some((to, _)) = loads.emptiest() else { return moves };
        if let Some(load) = loads.loads.get_mut(&to) {
            *load = load.saturating_add(weight);
        }
        moves.push((account, to));
    }
    let close = loads.loads.values().fold(0_u64, |sum, load| sum.saturating_add(*load))
        / (targets.len().max(1) as u64)
        * CLOSE_PERCENT
        / 100;
    while moves.len() < MOVES_MAX {
        let (Some((from, most)), Some((to, least))) = (loads.fullest(), loads.emptiest()) else { break };
        let gap = most.saturating_sub(least);
        let Some(there) = loads.accounts.get_mut(&from).filter(|_| gap > close) else { break };
        let fits = (gap / 2, AccountId(u64::MAX));
        let Some(one) = there.range(..=fits).next_back().copied() else { break };
        there.remove(&one);
        loads.shift(one.0, from, to);
        moves.push((one.1, to));
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(list: &[(u64, u32, u64)]) -> BTreeMap<AccountId, (ShardId, u64)> {
        list.iter().map(|(id, shard, bytes)| (AccountId(*id), (ShardId(*shard), *bytes))).collect()
    }

    fn counts(
        accounts: &BTreeMap<AccountId, (ShardId, u64)>,
        moves: &[(AccountId, ShardId)],
    ) -> BTreeMap<ShardId, usize> {
        let moves: BTreeMap<_, _> = moves.iter().copied().collect();
        let mut counts = BTreeMap::new();
        for (account, (shard, _)) in accounts {
            *counts.entry(moves.get(account).copied().unwrap_or(*shard)).or_default() += 1;
        }
        counts
    }

    #[test]
    fn equal_accounts_are_spread_evenly() {
        let list: Vec<_> = (0..12).map(|id| (id, 1, 100)).collect();
        let (accounts, shards) = (accounts(&list), [ShardId(1), ShardId(2), ShardId(3)]);
        let moves = even_out(&shards, &accounts, &[]);
        assert_eq!(moves.len(), 8);
        assert_eq!(counts(&accounts, &moves).into_values().collect::<Vec<_>>(), [4, 4, 4]);
        // What is even stays.
        let moved: BTreeMap<_, _> = moves.into_iter().collect();
        let even =
            accounts.iter().map(|(id, (shard, bytes))| (*id, (*moved.get(id).unwrap_or(shard), *bytes)));
        assert_eq!(even_out(&shards, &even.collect(), &[]), []);
        assert_eq!(even_out(&shards, &BTreeMap::new(), &[]), []);
    }

    #[test]
    fn a_shard_that_is_to_go_is_emptied() {
        let accounts = accounts(&[(1, 1, 500), (2, 1, 10), (3, 2, 500), (4, 9, 10)]);
        let moves = even_out(&[ShardId(2), ShardId(3)], &accounts, &[]);
        let counts = counts(&accounts, &moves);
        assert_eq!(counts.values().sum::<usize>(), 4);
        assert!(!counts.contains_key(&ShardId(1)) && !counts.contains_key(&ShardId(9)), "{counts:?}");
        assert!(even_out(&[], &accounts, &[]).is_empty());
    }

    #[test]
    fn one_large_account_stays_alone() {
        let accounts = accounts(&[(1, 1, 1_000_000), (2, 1, 1), (3, 1, 1), (4, 2, 1)]);
        let moves = even_out(&[ShardId(1), ShardId(2)], &accounts, &[]);
        assert!(!moves.iter().any(|(account, _)| *account == AccountId(1)));
        assert_eq!(moves.len(), 2);
    }
}
