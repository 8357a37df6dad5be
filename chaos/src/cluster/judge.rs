//! What clients were told, against what every node shows after healing.

use super::net::Number;
use super::prober::Seen;
use super::{Cluster, control, operator};
use crate::error::Stop;
use crate::finding::Finding;
use crate::load::History;
use crate::node;
use crate::oracle::{Account, Content, Counts, Oracle, Outcome, Tolerance, Violation, differences};
use crate::random::Random;
use crate::reader::{self, Door, Wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// For replicas to come together, and nodes to show the same.
const SETTLE_WAIT: Duration = Duration::from_secs(90);
/// What nodes show may differ for a moment: a proposal without an answer takes effect late.
const LOOKS: u32 = 4;
/// Mail that a shard could not take at once waits in the queue of another one for its next attempt.
const LOOKS_LATE: u32 = 30;
const LOOK_PAUSE: Duration = Duration::from_secs(2);
/// Findings kept of one comparison; more say nothing new.
const FINDINGS_MAX: usize = 30;

/// Copies of messages, by account and number.
type Copies = BTreeSet<(Account, u32)>;

/// How a judge looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    /// At each message to the bit, whenever it was read before.
    pub(crate) all: bool,
    /// Bodies were damaged: until they are mended, there are errors in their place, and never other bytes.
    pub(crate) mends: bool,
}

/// All that was told and seen in a cluster.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    oracle: Oracle,
    /// What sessions were told wrong while there was load.
    wrong: Vec<Violation>,
    /// What was read to the bit at each node in its present life.
    read: BTreeMap<(Number, u64), Arc<Copies>>,
    pub(crate) counts: Counts,
}

impl Judge {
    /// Takes in what the load and the probes were told.
    pub(crate) fn record(&mut self, history: History, seen: &[Seen]) {
        self.oracle.record(history.sent);
        self.oracle.record_erased(history.erased);
        self.oracle.record_stored(history.stored);
        self.wrong.extend(history.unseen);
        for client in seen {
            self.oracle.record(client.sent.iter().cloned());
            self.oracle.record_erased(client.erased.iter().copied());
            self.oracle.record_glimpses(client.glimpses.iter().copied());
            self.wrong.extend(client.wrong.iter().cloned());
        }
    }

    /// Waits until replicas have come together and judges every node. One that comes upon damage meanwhile is made anew,
    /// and all are looked at again.
    pub(crate) async fn judge(
        &mut self,
        cluster: &Arc<Cluster>,
        Sight { all, mends }: Sight,
        random: &mut Random,
    ) -> Result<(), Stop> {
        let mut settled = settle(cluster, random).await?;
        let mut findings: Vec<Finding> = self.wrong.drain(..).map(Finding::Mail).collect();
        let mut looks = 0;
        loop {
            looks += 1;
            let (violations, differ) = self.look(cluster, all).await?;
            if !violations.is_empty() && cluster.has_flipped().await {
                // For a node to say that it has met damage.
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            if operator::replace_damaged(cluster, random).await? {
                settled = settle(cluster, random).await?;
                looks = 0;
                continue;
            }
            // What is wrong stays wrong; what differs, or is not there yet, may be under way.
            let passes = |finding: &Finding| is_loss(finding) || (mends && is_unreadable(finding));
            let on_its_way = !violations.is_empty() && violations.iter().all(passes) && looks < LOOKS_LATE;
            let settling = violations.is_empty() && !differ.is_empty() && looks < LOOKS;
            if on_its_way || settling {
                tokio::time::sleep(LOOK_PAUSE).await;
                continue;
            }
            findings.extend(violations);
            findings.extend(differ.into_iter().map(Finding::Mail));
            break;
        }
        if !settled {
            findings.push(not_settled(cluster).await);
        } else if let Some(said) = unequal(cluster).await {
            findings.push(Finding::Unequal { said });
        }
        for member in &cluster.members {
            let mut member = member.lock().await;
            if let Err(Stop::Found(found)) = member.alive() {
                let node = member.number;
                let of_node = |found| Finding::OfNode { node, found: Box::new(found) };
                findings.extend(found.into_iter().map(of_node));
            }
        }
        findings.truncate(FINDINGS_MAX);
        if findings.is_empty() { Ok(()) } else { Err(Stop::Found(findings)) }
    }

    /// Reads every node once: what is wrong at one, and what differs between two.
    async fn look(&mut self, cluster: &Cluster, all: bool) -> Result<(Vec<Finding>, Vec<Violation>), Stop> {
        let mut findings = Vec::new();
        let mut readings: Vec<(Number, Vec<Outcome>)> = Vec::new();
        for number in 1..=cluster.nodes {
            let life = cluster.member(number).await?.life;
            let known = self.read.entry((number, life)).or_default();
            let before = if all { Arc::default() } else { Arc::clone(known) };
            let wanted: Wanted = Arc::new(move |account, uid| !before.contains(&(account, uid)));
            let door = Door::Imap(node::doors(super::net::own(number)).imap);
            let outcomes = reader::read(&door, &cluster.accounts.logins, &wanted).await;
            *known = Arc::new(listed(&outcomes));
            let verdict = self.oracle.judge(&outcomes, Tolerance::None);
            // Whose a message is that gave an error is not known: such a reading is none to compare others with.
            self.oracle.absorb(outcomes.iter().filter(|outcome| !has_unreadable(outcome)));
            self.counts = verdict.counts;
            let of_node =
                |violation| Finding::OfNode { node: number, found: Box::new(Finding::Mail(violation)) };
            findings.extend(verdict.violations.into_iter().map(of_node));
            readings.push((number, outcomes));
        }
        let Some((first, rest)) = readings.split_first() else { return Ok((findings, Vec::new())) };
        let differ = rest.iter().flat_map(|(number, outcomes)| {
            differences((first.0, first.1.as_slice()), (*number, outcomes.as_slice()))
        });
        Ok((findings, differ.collect()))
    }
}

/// What is told when [`settle`] fails.
pub(super) async fn not_settled(cluster: &Cluster) -> Finding {
    let status = cluster.status().await.map_or_else(|| "none".to_owned(), |status| status.text);
    Finding::NotSettled { seconds: SETTLE_WAIT.as_secs(), status }
}

/// Waits until replicas have come together; nodes that are damaged are made anew first.
pub(super) async fn settle(cluster: &Arc<Cluster>, random: &mut Random) -> Result<bool, Stop> {
    loop {
        let settled = cluster.settle(SETTLE_WAIT).await;
        if !operator::replace_damaged(cluster, random).await? {
            return Ok(settled);
        }
    }
}

fn is_loss(finding: &Finding) -> bool {
    let Finding::OfNode { found, .. } = finding else { return false };
    matches!(**found, Finding::Mail(Violation::Lost { .. }))
}

fn has_unreadable(outcome: &Outcome) -> bool {
    let Outcome::Read(reading) = outcome else { return false };
    reading.found.iter().any(|found| matches!(found.content, Content::Unreadable))
}

fn is_unreadable(finding: &Finding) -> bool {
    let Finding::OfNode { found, .. } = finding else { return false };
    matches!(**found, Finding::Mail(Violation::Unreadable { .. }))
}

/// What the first node says of replicas that are not equal. They were looked at while nothing changed, so that they
/// can be compared; a few looks, because what waits for its time (a queue, a counter) may change just then.
async fn unequal(cluster: &Cluster) -> Option<String> {
    if !cluster.manner.mesh {
        return None;
    }
    let mut said = String::new();
    for _ in 0..LOOKS {
        said = control::compare(cluster.program(), &cluster.data(1)).await.err()?;
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Some(said)
}

fn listed(outcomes: &[Outcome]) -> Copies {
    let readings = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Read(reading) => Some(reading),
        Outcome::Refused(..) => None,
    });
    readings.flat_map(|reading| reading.found.iter().map(|found| (reading.account, found.uid))).collect()
}
