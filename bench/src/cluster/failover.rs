//! How long an account takes no mail when the node that leads its shard is killed.
//!
//! Clients deliver to the account all the time, by the nodes that stay. The time without service is that between two
//! deliveries that were acknowledged; the killed node comes back before the next turn.

use super::nodes::{Account, Nodes};
use super::result::{Times, Verdict};
use super::trickle::{Flow, Trickle, longest_gap};
use crate::error::BenchError;
use crate::report::text::number;
use indicatif::ProgressBar;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

/// Clients, and the pause between two deliveries of all of them.
const CLIENTS: u32 = 8;
const EVERY: Duration = Duration::from_millis(20);
/// Bytes of each message.
const MESSAGE_BYTES: usize = 2 * 1024;
/// Before the kill, and after mail is taken again.
const STEADY: Duration = Duration::from_secs(2);
/// An account that takes no mail for so long has none again.
const SERVICE_MAX: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// For a killed node to be level again.
const BACK_MAX: Duration = Duration::from_secs(180);
/// What the longest may be.
const GAP_MOST_MS: f64 = 3_000.0;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Failover {
    /// Between two acknowledged deliveries.
    gap: Option<Times>,
    kills: Vec<Kill>,
    /// Of how many shards the leader was killed.
    shards: usize,
    wanted_ms: f64,
    verdict: Verdict,
}

/// One turn.
#[derive(Clone, Copy, Debug, Serialize)]
struct Kill {
    /// From 1.
    node: usize,
    shard: u32,
    gap_ms: f64,
    /// The same before the kill, to tell what the trickle itself is like.
    gap_before_ms: f64,
    acknowledged: usize,
    failed: usize,
}

/// Kills leaders so many times.
pub(super) async fn measure(
    kills: usize,
    nodes: &mut Nodes,
    bar: &ProgressBar,
) -> Result<Failover, BenchError> {
    let accounts = in_turns(&nodes.accounts);
    let mut turns = Vec::new();
    for (turn, account) in accounts.iter().cycle().take(kills).enumerate() {
        bar.set_message(format!("failover: kill {} of {kills}", turn + 1));
        turns.push(kill(account, nodes).await?);
    }
    let gap = Times::of(turns.iter().map(|turn| Duration::from_secs_f64(turn.gap_ms / 1000.0)));
    let verdict = Verdict::at_most(gap.map(|gap| gap.max_ms), GAP_MOST_MS);
    let shards = turns.iter().map(|turn| turn.shard).collect::<BTreeSet<_>>().len();
    Ok(Failover { gap, kills: turns, shards, wanted_ms: GAP_MOST_MS, verdict })
}

/// The accounts in such an order that the next one is in the next shard. As they were made, neighbours share a shard.
fn in_turns(accounts: &[Account]) -> Vec<Account> {
    let mut taken = BTreeMap::new();
    let mut places: Vec<(usize, &Account)> = Vec::new();
    for account in accounts {
        let place = taken.entry(account.shard).or_insert(0_usize);
        places.push((*place, account));
        *place += 1;
    }
    places.sort_by_key(|(place, account)| (*place, account.shard));
    places.into_iter().map(|(_, account)| account.clone()).collect()
}

async fn kill(account: &Account, nodes: &mut Nodes) -> Result<Kill, BenchError> {
    let status = nodes.settle(BACK_MAX).await?;
    let none = || BenchError::Unknown { what: "leader of shard", name: account.shard.to_string() };
    let victim = nodes.leader(&status, account.shard).ok_or_else(none)?;
    let began = Instant::now();
    let trickle = Trickle::start(Flow {
        doors: nodes.doors(&nodes.others(victim))?,
        recipients: vec![account.address.clone()],
        every: EVERY,
        clients: CLIENTS,
        bytes: MESSAGE_BYTES,
    });
    tokio::time::sleep(STEADY).await;
    let killed = Instant::now();
    nodes.kill(victim);
    // What was under way is acknowledged a moment after the kill: that is no service yet.
    let end = killed + SERVICE_MAX;
    while !trickle.goes_on_after(killed + STEADY) && Instant::now() < end {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    tokio::time::sleep(STEADY).await;
    let (delivered, failed) = trickle.stop().await?;
    let gap = longest_gap(&delivered, killed, Instant::now());
    let before: Vec<_> = delivered.iter().copied().filter(|one| one.at <= killed).collect();
    let gap_before = longest_gap(&before, began, killed);
    nodes.launch(victim).await?;
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let (gap_ms, gap_before_ms, acknowledged) = (ms(gap), ms(gap_before), delivered.len());
    Ok(Kill { node: victim + 1, shard: account.shard, gap_ms, gap_before_ms, acknowledged, failed })
}

impl fmt::Display for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of so few, the p99 is the longest.
        let told = |gap: Times| {
            let (p50, longest) = (number(gap.p50_ms), number(gap.max_ms));
            format!("p50 {p50} ms, longest of {} kills {longest} ms", gap.count)
        };
        let gap = self.gap.map_or("-".to_owned(), told);
        writeln!(
            f,
            "without mail for an account whose leader is killed: {gap}; leaders of {} shards were killed",
            self.shards
        )?;
        let gaps: Vec<String> = self.kills.iter().map(|kill| number(kill.gap_ms)).collect();
        writeln!(f, "  ms of each: {}", gaps.join(" "))?;
        writeln!(f, "  wanted: at most {} ms: {}", number(self.wanted_ms), self.verdict.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_take_turns() {
        let account = |shard: u32| Account { address: String::new(), shard };
        let accounts: Vec<Account> = [1, 1, 1, 3, 3, 2].into_iter().map(account).collect();
        let shards: Vec<u32> = in_turns(&accounts).iter().map(|account| account.shard).collect();
        assert_eq!(shards, [1, 2, 3, 1, 3, 1]);
        assert!(in_turns(&[]).is_empty());
    }
}
