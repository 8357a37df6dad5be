//! Rounds over a cluster: load and probes, one to three faults that overlap, healing, the oracle on every node.

use super::faults::{Claim, Fault, Scene};
use super::gaps;
use super::judge::{Judge, Sight};
use super::member::Manner;
use super::prober::{Probes, Seen};
use super::repairs;
use super::report::{ClusterReport, OfRound};
use super::{Cluster, enter, operator};
use crate::error::{ChaosError, Stop};
use crate::faults::Planted;
use crate::finding::Finding;
use crate::load::{Load, Tally};
use crate::random::Random;
use crate::report::Report;
use clap::ValueEnum;
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;

/// Faults of one round.
const FAULTS_MAX: u64 = 3;
/// When faults of a round begin, after its load has.
const BEGIN_MS: std::ops::Range<u64> = 100..2500;
/// For accounts to have service again after healing.
const SERVICE_WAIT: Duration = Duration::from_secs(60);
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// One comparison in so many is of all bytes of all messages.
const ALL_ONE_IN: u64 = 8;

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) program: PathBuf,
    pub(crate) nodes: usize,
    pub(crate) rounds: u64,
    /// By name; none for all that there are.
    pub(crate) faults: Vec<String>,
    pub(crate) sessions: usize,
    pub(crate) accounts: usize,
    pub(crate) probed: usize,
    pub(crate) load_ms_max: u64,
    /// Bits that a fault flips which flips any.
    pub(crate) flips: u64,
    pub(crate) planted: Option<Planted>,
}

impl Order {
    /// The faults to draw from.
    pub(crate) fn draw_from(&self) -> Result<Vec<Fault>, ChaosError> {
        let all = Fault::value_variants().iter().copied();
        let possible: Vec<Fault> = all.filter(|fault| self.nodes > 1 || !fault.needs_others()).collect();
        crate::run::named(&possible, &self.faults)
    }
}

/// Runs it all within the harness's own namespaces.
pub(crate) async fn run(order: &Order, folder: &Path, seed: u64, report: &mut Report) -> Result<(), Stop> {
    let faults = order.draw_from()?;
    enter::obey_signals()?;
    let mut random = Random::new(seed);
    let manner = Manner {
        program: order.program.clone(),
        folder: folder.to_owned(),
        accounts: order.accounts,
        mesh: order.nodes > 1,
        planted: order.planted,
    };
    report.cluster = Some(ClusterReport { nodes: order.nodes, ..ClusterReport::default() });
    let cluster = Arc::new(Cluster::start(manner, order.nodes, order.flips, &mut random).await?);
    let bar = crate::run::bar(order.rounds);
    let mut judge = Judge::default();
    for number in 1..=order.rounds {
        let round = draw(&cluster, &faults, number, &mut random).await;
        bar.set_message(format!("{}, {} acknowledged", round.names(), report.told.acknowledged));
        let mut of_round = OfRound { round: number, faults: round.faults(), ..OfRound::default() };
        let result = round.run(order, &cluster, &mut judge, &mut random, &mut of_round).await;
        // One that was not judged shows nothing.
        report.rounds += u64::from(of_round.judged);
        report.told += of_round.told;
        report.compared = judge.counts;
        let failed = result.is_err();
        if let Some(of_cluster) = &mut report.cluster {
            of_cluster.take(of_round, failed);
        }
        if failed {
            bar.abandon();
        }
        result?;
        bar.inc(1);
    }
    finish(&cluster, &mut judge, &mut random, &bar).await?;
    report.compared = judge.counts;
    Ok(())
}

/// Everything once more, to the bit; then all have to end well.
async fn finish(
    cluster: &Arc<Cluster>,
    judge: &mut Judge,
    random: &mut Random,
    bar: &ProgressBar,
) -> Result<(), Stop> {
    bar.finish_and_clear();
    judge.judge(cluster, Sight { all: true, mends: false }, random).await?;
    for member in &cluster.members {
        member.lock().await.stop().await?;
    }
    Ok(())
}

/// The faults of one round, with their victims.
struct Round {
    drawn: Vec<(Fault, usize)>,
}

/// Draws one to three faults; each kind has its turn as the first of a round.
async fn draw(cluster: &Cluster, from: &[Fault], round: u64, random: &mut Random) -> Round {
    let mut drawn: Vec<(Fault, usize)> = Vec::new();
    let turn = usize::try_from(round - 1).unwrap_or(0) % from.len().max(1);
    let leaders = cluster.status().await.map(|status| status.leaders()).unwrap_or_default();
    for at in 0..random.within(1..FAULTS_MAX + 1) {
        let fault = if at == 0 { from.get(turn) } else { random.pick(from) };
        let Some(&fault) = fault else { break };
        let claimed = |claim: Claim| drawn.iter().any(|(other, _)| other.claim() == claim);
        let alone = fault.alone_of_its_kind() && drawn.iter().any(|(other, _)| other.alone_of_its_kind());
        let all = fault.claim() == Claim::All && (claimed(Claim::All) || claimed(Claim::Victim));
        let taken = fault.claim() == Claim::Victim && claimed(Claim::All);
        if alone || all || taken || drawn.iter().any(|(other, _)| *other == fault) {
            continue;
        }
        let free = |number: &usize| {
            let same = |(other, victim): &(Fault, usize)| other.claim() == Claim::Victim && victim == number;
            fault.claim() != Claim::Victim || !drawn.iter().any(same)
        };
        // Leaders have more to lose.
        let led: Vec<usize> =
            leaders.iter().copied().filter(free).filter(|one| *one <= cluster.nodes).collect();
        let every: Vec<usize> = (1..=cluster.nodes).filter(free).collect();
        let victims = if !led.is_empty() && random.one_in(2) { led } else { every };
        if let Some(victim) = random.pick(&victims) {
            drawn.push((fault, *victim));
        }
    }
    Round { drawn }
}

impl Round {
    fn faults(&self) -> Vec<Fault> {
        self.drawn.iter().map(|(fault, _)| *fault).collect()
    }

    fn names(&self) -> String {
        self.drawn
            .iter()
            .map(|(fault, victim)| format!("{fault:?}({victim})"))
            .collect::<Vec<_>>()
            .join(" + ")
    }

    async fn run(
        &self,
        order: &Order,
        cluster: &Arc<Cluster>,
        judge: &mut Judge,
        random: &mut Random,
        of_round: &mut OfRound,
    ) -> Result<(), Stop> {
        let target = cluster.target(order.probed);
        let first = target.logins.len();
        let begin = Instant::now();
        let load = Load::start(&target, order.sessions, random);
        let probes = Probes::start(&target, first, &cluster.accounts.logins, random);
        let struck = self.strike(cluster, random).await;
        let ms = random.within(0..order.load_ms_max.max(1));
        sleep(Duration::from_millis(ms)).await;
        // A finding is told before the nodes are touched again, so that the evidence is as it was.
        let served = match struck {
            Ok(()) => healed(cluster, &probes, random).await,
            found => found,
        };
        let end = Instant::now();
        let history = load.stop().await;
        let seen = probes.stop().await;
        of_round.seconds = begin.elapsed().as_secs();
        count(of_round, &history, &seen, (begin, end));
        judge.record(history, &seen);
        of_round.flipped = cluster.flipped.swap(0, Ordering::SeqCst);
        let judged = match served {
            Ok(()) => self.judged(cluster, judge, random, of_round).await,
            found => found,
        };
        of_round.replaced = cluster.replaced.swap(0, Ordering::SeqCst);
        of_round.snapshots_interrupted = cluster.snapshots_interrupted.swap(0, Ordering::SeqCst);
        judged
    }

    /// What the nodes have is held against what clients were told; then damaged nodes are looked through.
    async fn judged(
        &self,
        cluster: &Arc<Cluster>,
        judge: &mut Judge,
        random: &mut Random,
        of_round: &mut OfRound,
    ) -> Result<(), Stop> {
        let all = random.one_in(ALL_ONE_IN) || self.drawn.iter().any(|(fault, _)| fault.rereads());
        let mends = self.flipped().next().is_some();
        let judged = judge.judge(cluster, Sight { all, mends }, random).await;
        of_round.judged = judged.is_ok();
        for victim in self.flipped() {
            // It was started after the flips, so it has counted from there.
            let of_node = repairs::of(victim).await;
            of_round.bodies_damaged += of_node.damaged;
            of_round.bodies_repaired += of_node.repaired;
            of_round.bodies_left += of_node.left;
        }
        judged?;
        operator::inspect(cluster, random).await
    }

    /// Nodes of whose files bits were flipped.
    fn flipped(&self) -> impl Iterator<Item = usize> {
        self.drawn.iter().filter(|(fault, _)| fault.flips()).map(|(_, victim)| *victim)
    }

    /// Does all faults, each at its moment, and waits until they are undone. They stay on this thread: some
    /// block it, as copying a disk does, and the load must not notice.
    async fn strike(&self, cluster: &Arc<Cluster>, random: &mut Random) -> Result<(), Stop> {
        let mut under_way = JoinSet::new();
        let here = LocalSet::new();
        for (fault, victim) in self.drawn.iter().copied() {
            let scene = Scene { cluster: Arc::clone(cluster), victim, random: random.fork() };
            let begin = Duration::from_millis(random.within(BEGIN_MS));
            let strike = async move {
                sleep(begin).await;
                fault.strike(scene).await
            };
            under_way.spawn_local_on(strike, &here);
        }
        let all = async {
            let mut result = Ok(());
            while let Some(done) = under_way.join_next().await {
                // A fault that panicked is the harness's own failure.
                let done = done.unwrap_or_else(|error| Err(ChaosError::system("fault")(error).into()));
                result = result.and(done);
            }
            result
        };
        here.run_until(all).await
    }
}

/// Nothing is cut, slow, lost, stopped or down any more, nodes that are damaged are made anew, and every node serves.
async fn heal(cluster: &Arc<Cluster>, random: &mut Random) -> Result<(), Stop> {
    cluster.net.heal()?;
    cluster.links.heal();
    for number in 1..=cluster.nodes {
        cluster.member(number).await?.heal(random)?;
    }
    for number in 1..=cluster.nodes {
        cluster.member(number).await?.serving("after healing").await?;
    }
    operator::replace_damaged(cluster, random).await?;
    Ok(())
}

/// All is undone, and every probed account has service again.
async fn healed(cluster: &Arc<Cluster>, probes: &Probes, random: &mut Random) -> Result<(), Stop> {
    heal(cluster, random).await?;
    service(probes).await
}

/// Waits until every probed account has service after healing.
async fn service(probes: &Probes) -> Result<(), Stop> {
    let healed = Instant::now();
    while let Some(account) = probes.without_service(healed) {
        if healed.elapsed() > SERVICE_WAIT {
            return Err(Finding::NoServiceAgain { account, seconds: SERVICE_WAIT.as_secs() }.into());
        }
        sleep(LOOK_PAUSE).await;
    }
    Ok(())
}

fn count(
    of_round: &mut OfRound,
    history: &crate::load::History,
    seen: &[Seen],
    (begin, end): (Instant, Instant),
) {
    of_round.told = Tally::of(history);
    let probes: Vec<_> = seen.iter().flat_map(|client| client.sent.iter().cloned()).collect();
    of_round.told += Tally::of(&crate::load::History { sent: probes, ..Default::default() });
    of_round.probes = seen.iter().map(|client| client.successes.len() as u64).sum();
    let ms = |gap: Duration| u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
    of_round.gaps_ms = gaps::longest(seen, begin, end).into_iter().map(ms).collect();
}
