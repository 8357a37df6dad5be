//! When all is healed: do groups work again, are replicas equal, and does each node hold what clients were told?

use super::breach::Rule;
use super::client::Client;
use super::cluster::Cluster;
use super::history::Told;
use super::node::Live;
use super::read;
use crate::random::Random;
use estafette_delivery::queue;
use estafette_mailbox::{AccountRef, MailboxName, SystemFlags};
use estafette_raft::{Checksum, GroupId};
use estafette_storage::BodyHash;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Within this time of the run all groups take proposals again, and all replicas have caught up.
const HEALED_WITHIN: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A message as it was found: how often, and with which flags.
type Found = BTreeMap<(AccountRef, BodyHash), Vec<SystemFlags>>;

/// The last entry in a log, and the last applied.
type End = (Option<u64>, Option<u64>);

/// Waits until the cluster is quiet, and judges.
pub(super) async fn judge(cluster: &Cluster, accounts: &[AccountRef]) {
    if !cluster.down().is_empty() {
        // A node that does not start is breach enough.
        return;
    }
    if !served(cluster, accounts).await || !quiet(cluster).await {
        return;
    }
    for account in accounts {
        for live in cluster.all() {
            read::read(cluster, &live, *account, true, true).await;
        }
    }
    sums(cluster).await;
    for live in cluster.all() {
        consistent(cluster, &live);
        mail(cluster, &live, accounts);
        items(cluster, &live);
        names(cluster, &live, accounts);
    }
}

/// A message for each account is taken by any node.
async fn served(cluster: &Cluster, accounts: &[AccountRef]) -> bool {
    let end = Instant::now() + HEALED_WITHIN;
    let random = Random::new(cluster.plan().seed ^ 0xfeed);
    let mut client = Client::new(cluster.clone(), random, accounts.to_vec(), u64::MAX);
    for account in accounts {
        while !client.deliver_one(*account).await {
            if Instant::now() > end {
                let states: Vec<String> = cluster.all().iter().map(|live| state(live)).collect();
                let what = format!("no mail is taken for {account:?}: {}", states.join("; "));
                cluster.history().breach(Rule::NoService, what);
                return false;
            }
        }
    }
    true
}

/// What the groups of a node say of themselves.
fn state(live: &Live) -> String {
    let of = |status: estafette_raft::Status| {
        let (leader, leads) = (status.leader, status.leads);
        format!("{} {leader:?} leads={leads} {:?}/{:?}", status.group, status.last, status.applied)
    };
    let groups: Vec<String> = live.groups().iter().map(|group| of(group.status())).collect();
    format!("node {}: {}; lacks {:?}", live.id, groups.join(", "), live.store.missing(None, 3))
}

/// All replicas have applied all there is.
async fn quiet(cluster: &Cluster) -> bool {
    let end = Instant::now() + HEALED_WITHIN;
    loop {
        let mut ends: BTreeMap<GroupId, Vec<End>> = BTreeMap::new();
        for live in cluster.all() {
            for group in live.groups() {
                let status = group.status();
                ends.entry(group.id()).or_default().push((status.last, status.applied));
            }
        }
        let nodes = usize::try_from(cluster.plan().nodes).unwrap_or(usize::MAX);
        let equal = |of: &Vec<End>| {
            let first = of.first().copied();
            of.len() == nodes && of.iter().all(|end| Some(*end) == first && end.0 == end.1)
        };
        let mended = |live: &Arc<Live>| live.store.missing(None, 1).is_ok_and(|missing| missing.is_empty());
        if ends.values().all(equal) && cluster.all().iter().all(mended) {
            return true;
        }
        if Instant::now() > end {
            let states: Vec<String> = cluster.all().iter().map(|live| state(live)).collect();
            cluster.history().breach(Rule::NoService, format!("replicas do not meet: {}", states.join("; ")));
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Checksums of replicas at equal indexes.
async fn sums(cluster: &Cluster) {
    let mut sums: BTreeMap<GroupId, Vec<(u64, Checksum)>> = BTreeMap::new();
    for live in cluster.all() {
        for group in live.groups() {
            match group.checksum().await {
                Ok(sum) => sums.entry(group.id()).or_default().push((live.id, sum)),
                Err(error) => cluster.history().breach(Rule::Fatal, format!("{}: {error}", group.id())),
            }
        }
    }
    for (group, of) in sums {
        cluster.trace().say(format_args!("{group}: {:?}", of.first()));
        let differs = of.windows(2).any(|pair| matches!(pair, [(_, a), (_, b)] if a != b));
        if differs {
            cluster.history().breach(Rule::ReplicasDiffer, format!("{group}: {of:?}"));
        }
    }
}

/// Rows fit each other, and references of bodies fit the rows; all bodies are whole.
fn consistent(cluster: &Cluster, live: &Live) {
    let view = live.store.view();
    let mut references = Vec::new();
    let mut problems: Vec<String> = Vec::new();
    for shard in cluster.plan().shards() {
        let mut reference = |hash, _size| references.push(Ok((shard.0, hash)));
        match queue::check(&view, shard, &mut reference) {
            Ok(report) => problems.extend(report.problems.iter().map(|problem| format!("{problem:?}"))),
            Err(error) => problems.push(error.to_string()),
        }
        match estafette_mailbox::check(&view, shard, &mut reference) {
            Ok(report) => problems.extend(report.problems.iter().map(|problem| format!("{problem:?}"))),
            Err(error) => problems.push(error.to_string()),
        }
    }
    match view.verify(references, &mut |_| {}) {
        Ok(report) => {
            problems.extend(report.problems.iter().map(|problem| format!("{problem:?}")));
            if report.holds > 0 {
                problems
                    .push(format!("{} bodies are held by entries that are applied or gone", report.holds));
            }
        }
        Err(error) => problems.push(error.to_string()),
    }
    if let Some(first) = problems.first() {
        let what = format!("node {}: {} problems, the first: {first}", live.id, problems.len());
        cluster.history().breach(Rule::Inconsistent, what);
    }
}

fn found(live: &Live, accounts: &[AccountRef]) -> Found {
    let view = live.store.view();
    let mut found = Found::new();
    for account in accounts {
        for at in read::mailboxes(live, *account) {
            for message in read::messages_of(&view, at) {
                found.entry((*account, message.row.body)).or_default().push(message.row.flags);
            }
        }
    }
    found
}

/// Every message as often as it has to be there.
fn mail(cluster: &Cluster, live: &Live, accounts: &[AccountRef]) {
    let found = found(live, accounts);
    let mut history = cluster.history();
    let mut breaches = Vec::new();
    for (hash, sent) in &history.messages {
        let copies = found.get(&(sent.account, *hash)).map_or(&[][..], Vec::as_slice);
        let what = |text: &str| format!("{hash} of {:?} {text} on node {}: {sent:?}", sent.account, live.id);
        match copies {
            [] if sent.there == Told::Yes && sent.gone == Told::No && sent.removals == 0 => {
                breaches.push((Rule::Lost, what("was acknowledged and is not there")));
            }
            [] => {}
            [_] if sent.there == Told::No => {
                breaches.push((Rule::Unwanted, what("was refused and is there")))
            }
            [_] if sent.gone == Told::Yes => {
                breaches.push((Rule::Unwanted, what("was removed and is there")))
            }
            [flags] if !flags.has(sent.flags) => {
                breaches.push((Rule::FlagLost, what("has not the flags that were acknowledged")));
            }
            [_] => {}
            [..] => breaches.push((Rule::Doubled, what("is there more than once"))),
        }
    }
    breaches.into_iter().for_each(|(rule, what)| history.breach(rule, what));
}

/// Every item of the queue.
fn items(cluster: &Cluster, live: &Live) {
    let mut times: BTreeMap<queue::ItemId, usize> = BTreeMap::new();
    for shard in cluster.plan().shards() {
        for (id, _) in queue::read::list(&live.store, shard, None, usize::MAX).unwrap_or_default() {
            *times.entry(id).or_default() += 1;
        }
    }
    let mut history = cluster.history();
    let mut breaches = Vec::new();
    for (id, item) in &history.items {
        let what = |text: &str| format!("item {id} {text} on node {}: {item:?}", live.id);
        match times.remove(id).unwrap_or(0) {
            0 if item.there == Told::Yes && item.gone == Told::No => {
                breaches.push((Rule::Lost, what("was acknowledged and is not there")));
            }
            0 => {}
            1 if item.there == Told::No => breaches.push((Rule::Unwanted, what("was refused and is there"))),
            1 if item.gone == Told::Yes => breaches.push((Rule::Unwanted, what("was removed and is there"))),
            1 => {}
            _ => breaches.push((Rule::Doubled, what("is there more than once"))),
        }
    }
    let unknown = times.into_keys().map(|id| (Rule::Unwanted, format!("item {id} was never sent")));
    breaches.extend(unknown);
    breaches.into_iter().for_each(|(rule, what)| history.breach(rule, what));
}

/// Mailboxes and accounts that were made.
fn names(cluster: &Cluster, live: &Live, accounts: &[AccountRef]) {
    let mut history = cluster.history();
    let mut breaches = Vec::new();
    for ((account, name), told) in history.folders.iter().filter(|_| !accounts.is_empty()) {
        let there = MailboxName::parse(name)
            .ok()
            .and_then(|name| estafette_mailbox::read::name(&live.store, *account, &name).ok().flatten())
            .is_some();
        if let Some(rule) = wrong(*told, there) {
            breaches.push((rule, format!("mailbox {name} of {account:?} on node {}: {told:?}", live.id)));
        }
    }
    for (name, told) in &history.accounts {
        let there = super::setup::knows(live, name);
        if let Some(rule) = wrong(*told, there) {
            breaches.push((rule, format!("account {name} on node {}: {told:?}", live.id)));
        }
    }
    breaches.into_iter().for_each(|(rule, what)| history.breach(rule, what));
}

fn wrong(told: Told, there: bool) -> Option<Rule> {
    match (told, there) {
        (Told::Yes, false) => Some(Rule::Lost),
        (Told::No, true) => Some(Rule::Unwanted),
        _ => None,
    }
}
