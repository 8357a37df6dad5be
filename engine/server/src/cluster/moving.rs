//! Carries out the move of one account to another shard.
//!
//! 1. What differs between the rows of the source and of the target is sent, again and again, while the account is used.
//! 2. When little differs, and soon enough, the source is sealed; what differs now is the last, and with it the target is
//!    ready. Before that every node that has the target and is up has nearly all of it, as sessions go on there at once.
//! 3. The directory says that the move is finished. The target adopts the account, and a while later the source is cleared.
//!
//! - The directory decides; what the shards do afterwards anybody may have them do ([`estafette_delivery::Homes::settle`]).
//! - Each step follows from what is so, so that a mover which stops is followed by another one. Two at once do no harm: rows
//!   are taken by the count of those before, and a move that was put off has another name.
//! - An account is sealed no longer than [`SEALED_MAX`], where the groups answer; then it opens, and the move begins anew.
//! - Nothing is waited for without an end: a job that cannot go on says why and makes room.

use super::keeper::change;
use super::mover::MOVES_AT_ONCE;
use super::pace::pay;
use super::replicas::is_close_and_whole;
use crate::engine::{Engine, EngineError};
use estafette_delivery::{Error, Homes, move_id};
use estafette_directory::{Change, Move, Refusal as DirectoryRefusal};
use estafette_mailbox::{
    AccountRef, AccountState, Action, Batch, MoveId, MovedRow, Refusal, Response, Transfer, read,
};
use estafette_raft::{GroupId, NewBody, NodeId, Status};
use estafette_storage::BodyHash;
use estafette_types::ShardId;
use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an account may be sealed.
const SEALED_MAX: Duration = Duration::from_secs(10);
/// A pass that leaves enough of that is shorter: the one under the seal takes about as long, and more follows.
const PASS_SHORT: Duration = Duration::from_millis(2_500);
/// So few rows may differ when an account is sealed.
const ROWS_FEW: usize = 256;
/// After so many passes an account that changes all the time is sealed whatever differs, if a pass is short.
const PASSES_MANY: usize = 6;
/// After so many a move that could not be closed rests.
const PASSES_MAX: usize = 30;
/// Between two passes, and between two looks at whether the bodies are there.
const PASS_PAUSE: Duration = Duration::from_millis(100);
/// Between two passes while bodies are fetched.
const BODIES_PAUSE: Duration = Duration::from_secs(2);
/// After so many of them the move makes room for others.
const BODIES_PASSES_MAX: usize = 4;
/// How long is waited for the shards to be here before others have their turn.
const HERE_WAIT: Duration = Duration::from_secs(10);
/// Rows and bytes that are sent together.
const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: usize = 128 * 1024;
/// The least that is sent together where the rate is low.
const BATCH_BYTES_MIN: usize = 4 * 1024;
/// Between two trials to follow up a move; doubled each time.
const FOLLOW_PAUSE: Duration = Duration::from_millis(200);
/// So many trials, together a few minutes; after that it is left to a sweep.
const FOLLOW_TRIALS: u32 = 10;

/// Why a move does not go on for now.
#[derive(Debug, thiserror::Error)]
enum Stop {
    /// The directory has ended it, or given it another name.
    #[error("the move is not wanted any more")]
    Unwanted,
    /// The state of the account is not that which was seen, or its name is used up.
    #[error("a shard refuses a step: {0}")]
    Refused(Refusal),
    #[error("it was closed to changes for too long, so it was opened again")]
    Late,
    #[error("a comparison has broken")]
    Broken,
    /// The mover's node gets both shards for the move.
    #[error("this node has not yet all of the shards between which the account moves")]
    NotHere,
    #[error(transparent)]
    Unready(#[from] Unready),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Why an account cannot be sealed, or its move not be finished.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unready {
    #[error("more changes in the account than is sent in a short time")]
    Busy,
    #[error("comparing the account takes {} ms, too long to close it to changes meanwhile", .0.as_millis())]
    Long(Duration),
    #[error("nobody leads the shard that it moves to")]
    NoLeader,
    #[error("node {0} has not yet all of the shard that the account moves to")]
    Behind(NodeId),
    #[error("most nodes of the shard that the account moves to lack bodies of messages")]
    NoBodies,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Engine(error.into())
    }
}

impl From<estafette_mailbox::Error> for Stop {
    fn from(error: estafette_mailbox::Error) -> Stop {
        Stop::Engine(error.into())
    }
}

/// What a pass has done.
struct Pass {
    /// Rows that were sent.
    rows: usize,
    /// How long it took, without its pauses for the rate.
    busy: Duration,
}

impl Pass {
    /// Whether the account may be sealed after it, the `number`-th.
    fn allows_to_seal(&self, number: usize) -> Result<(), Unready> {
        if self.busy >= PASS_SHORT {
            return Err(Unready::Long(self.busy));
        }
        if self.rows > ROWS_FEW && number < PASSES_MANY { Err(Unready::Busy) } else { Ok(()) }
    }
}

/// See the head of this module.
pub(super) struct Job {
    engine: Arc<Engine>,
    homes: Homes,
    moving: Move,
    of: MoveId,
    from: AccountRef,
    to: AccountRef,
}

impl Job {
    pub(super) fn new(engine: Arc<Engine>, moving: Move) -> Job {
        let at = |shard: ShardId| AccountRef { shard, account: moving.account };
        let homes = engine.homes();
        Job { engine, homes, moving, of: move_id(&moving), from: at(moving.from), to: at(moving.to) }
    }

    /// Goes as far as can be; says what stopped it. What follows in the shards is for [`Job::clean_up`].
    pub(super) async fn run(self) -> Option<String> {
        let (account, from, to) = (self.moving.account.0, self.from.shard.0, self.to.shard.0);
        let mut was_closing = false;
        match self.carry_out(&mut was_closing).await {
            Ok(()) => None,
            Err(Stop::Unwanted) => {
                tracing::info!(account, from, to, "the move of the account was given up");
                None
            }
            Err(stop) => {
                let is_sealed =
                    self.state(self.from).is_ok_and(|at| at == Some((AccountState::Sealed, self.of)));
                // It opens, where it is sealed or may still come to be; and a name that is used up goes. A move that has
                // come to its end is refused this.
                if was_closing || is_sealed || matches!(stop, Stop::Refused(Refusal::NotMoving)) {
                    self.put_off().await;
                }
                Some(stop.to_string())
            }
        }
    }

    async fn put_off(&self) {
        match change(&self.engine, Change::PostponeMove(self.moving)).await {
            Ok(()) | Err(EngineError::Refused(_)) => {}
            Err(error) => {
                tracing::warn!(account = self.moving.account.0, %error, "a move cannot be put off now")
            }
        }
    }

    /// Follows what the directory has decided, until both shards are as they are to be.
    pub(super) async fn clean_up(self) {
        let mut pause = FOLLOW_PAUSE;
        for _ in 0..FOLLOW_TRIALS {
            match self.follow().await {
                Ok(()) => return,
                Err(stop) => {
                    tracing::debug!(account = self.moving.account.0, %stop, "a move cannot be followed up now")
                }
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
        tracing::warn!(account = self.moving.account.0, "what a move has left stays until the next sweep");
    }

    /// The side where the account is used comes first, and does not depend on the other.
    async fn follow(&self) -> Result<(), Stop> {
        self.both_are_here().await?;
        self.engine.control.fresh().await.map_err(EngineError::from)?;
        if self.homes.of(self.moving.account) == Some(self.to) {
            self.homes.settle(self.to).await?;
            self.bodies_are_there(0).await?;
            self.homes.settle(self.from).await?;
        } else {
            let stays = self.homes.stays(&self.moving).await;
            self.homes.settle(self.from).await?;
            stays?;
            self.homes.settle(self.to).await?;
        }
        Ok(())
    }

    fn is_wanted(&self) -> bool {
        self.engine.directory.read().move_of(self.moving.account) == Some(&self.moving)
    }

    fn state(&self, at: AccountRef) -> Result<Option<(AccountState, MoveId)>, Stop> {
        Ok(read::state(&self.engine.store, at)?)
    }

    async fn fresh(&self) -> Result<(), Stop> {
        self.engine.shards.fresh(self.from.shard).await?;
        self.engine.shards.fresh(self.to.shard).await?;
        if self.is_wanted() { Ok(()) } else { Err(Stop::Unwanted) }
    }

    /// Waits a while for the rows of both shards, which may have to come first.
    async fn both_are_here(&self) -> Result<(), Stop> {
        let until = Instant::now() + HERE_WAIT;
        while ![self.from, self.to].iter().all(|at| self.engine.shards.is_here(at.shard)) {
            if Instant::now() >= until {
                return Err(Stop::NotHere);
            }
            tokio::time::sleep(PASS_PAUSE).await;
        }
        Ok(())
    }

    async fn step(&self, at: AccountRef, action: Action) -> Result<(), Stop> {
        let bodies = bodies_of(&action);
        match self.engine.shards.mailbox(at, action, bodies).await? {
            Response::Refused(Refusal::NoAccount) => Err(Stop::Unwanted),
            Response::Refused(refusal) => Err(Stop::Refused(refusal)),
            _ => Ok(()),
        }
    }

    /// `is_closing` turns true before the account may come to be sealed.
    async fn carry_out(&self, is_closing: &mut bool) -> Result<(), Stop> {
        self.both_are_here().await?;
        self.fresh().await?;
        if self.state(self.from)? != Some((AccountState::Sealed, self.of)) {
            // What an earlier move has left.
            self.homes.settle(self.from).await?;
            self.homes.settle(self.to).await?;
            self.step(self.from, Action::Ensure).await?;
            self.send_while_it_is_used().await?;
        }
        *is_closing = true;
        tokio::time::timeout(SEALED_MAX, self.close()).await.unwrap_or(Err(Stop::Late))
    }

    /// Passes until little is left and all is ready for the seal.
    async fn send_while_it_is_used(&self) -> Result<(), Stop> {
        let (mut unready, mut lacking) = (Unready::Busy, 0);
        for number in 1..=PASSES_MAX {
            self.fresh().await?;
            let pass = self.send(None).await?;
            let found = match pass.allows_to_seal(number) {
                Ok(()) => self.target_is_there().await,
                unready => unready,
            };
            match found {
                Ok(()) => return Ok(()),
                Err(why) => unready = why,
            }
            let lacks_bodies = unready == Unready::NoBodies;
            lacking += usize::from(lacks_bodies);
            if lacking == BODIES_PASSES_MAX {
                break;
            }
            tokio::time::sleep(if lacks_bodies { BODIES_PAUSE } else { PASS_PAUSE }).await;
        }
        Err(unready.into())
    }

    /// From the seal to the decision.
    async fn close(&self) -> Result<(), Stop> {
        let since = Instant::now();
        self.step(self.from, Action::Seal { of: self.of }).await?;
        self.fresh().await?;
        if self.state(self.to)? != Some((AccountState::Ready, self.of)) {
            let source = read::account_row(&self.engine.store, self.from)?;
            let source = source.filter(|row| row.state == AccountState::Sealed && row.last_move == self.of);
            let source = source.ok_or(Stop::Refused(Refusal::NotMoving))?;
            self.send(Some(source.encode())).await?;
        }
        // Until the account may not be sealed any longer. Who has not all that was sent knows not what it lacks.
        let sent = self.target().await.ok().and_then(|status| status.last).unwrap_or(u64::MAX);
        while self.bodies_are_there(sent).await.is_err() {
            tokio::time::sleep(PASS_PAUSE).await;
        }
        match change(&self.engine, Change::FinishMove(self.moving)).await {
            Err(EngineError::Refused(DirectoryRefusal::NotMoving | DirectoryRefusal::UnknownAccount)) => {
                return Err(Stop::Unwanted);
            }
            finished => finished?,
        }
        let sealed_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (account, from, to) = (self.moving.account.0, self.from.shard.0, self.to.shard.0);
        tracing::info!(account, from, to, sealed_ms, "the account has moved");
        metrics::histogram!("estafette_move_sealed_seconds").record(since.elapsed());
        Ok(())
    }

    /// One pass. `whole`: the account's row where it comes from, when this is the last.
    async fn send(&self, whole: Option<Vec<u8>>) -> Result<Pass, Stop> {
        let mut after = read::account_row(&self.engine.store, self.to)?.map_or(0, |row| row.installed);
        let mut transfer = Transfer::new(self.from, self.to);
        let mut pass = Pass { rows: 0, busy: Duration::ZERO };
        let is_sealed = whole.is_some();
        loop {
            let since = Instant::now();
            // A sealed account does not wait for the rate.
            let bytes_max = if is_sealed { BATCH_BYTES } else { self.batch_bytes() };
            // Each batch in a view of its own: a pass may take hours, and a view keeps old rows from being removed.
            let view = self.engine.store.view();
            let compared = tokio::task::spawn_blocking(move || {
                let batch = transfer.next(&view, BATCH_ROWS, bytes_max);
                (transfer, batch)
            });
            let batch;
            (transfer, batch) = compared.await.map_err(|_| Stop::Broken)?;
            let Batch { rows, bytes, last } = batch?;
            let whole = whole.clone().filter(|_| last);
            if !rows.is_empty() || whole.is_some() {
                pass.rows = pass.rows.saturating_add(rows.len());
                let action = Action::Install { of: self.of, after, rows, whole };
                self.step(self.to, action).await?;
                after = after.saturating_add(1);
                metrics::counter!("estafette_moved_bytes_total").increment(bytes as u64);
            }
            pass.busy = pass.busy.saturating_add(since.elapsed());
            if last {
                return Ok(pass);
            }
            if !self.is_wanted() {
                return Err(Stop::Unwanted);
            }
            if !is_sealed {
                self.pause(bytes).await;
            }
        }
    }

    /// What the rate that is set lets through in about a second.
    fn batch_bytes(&self) -> usize {
        let kib = usize::try_from(self.engine.directory.read().move_rate_kib()).unwrap_or(usize::MAX);
        kib.saturating_mul(1024).clamp(BATCH_BYTES_MIN, BATCH_BYTES)
    }

    /// Keeps to the rate that is set, which may change meanwhile.
    async fn pause(&self, bytes: usize) {
        let mut rest = (bytes as u64).saturating_mul(MOVES_AT_ONCE as u64);
        while self.is_wanted() {
            let rate = u64::from(self.engine.directory.read().move_rate_kib()).saturating_mul(1024);
            let Some((pause, paid)) = pay(rest, rate) else { return };
            tokio::time::sleep(pause).await;
            rest = rest.saturating_sub(paid);
        }
    }

    async fn target(&self) -> Result<Status, Unready> {
        let group = GroupId::shard(self.to.shard.0);
        self.engine.cluster.status(&self.engine.directory, group).await.ok_or(Unready::NoLeader)
    }

    /// Whether sessions can go on in the target on all nodes that have it and are up, and its bodies are there.
    async fn target_is_there(&self) -> Result<(), Unready> {
        let status = self.target().await?;
        let behind = |node: &NodeId| self.engine.cluster.reaches(*node) && !status.is_close(*node);
        match status.members.iter().map(|member| member.node).find(behind) {
            Some(node) => Err(Unready::Behind(node)),
            None => self.bodies_are_with(&status, 0).await,
        }
    }

    /// Whether a majority of those who vote in the target has the entries up to this one, and all bodies that are named there.
    async fn bodies_are_there(&self, sent: u64) -> Result<(), Unready> {
        self.bodies_are_with(&self.target().await?, sent).await
    }

    async fn bodies_are_with(&self, status: &Status, sent: u64) -> Result<(), Unready> {
        let voting = status.voting();
        let has = |node: &NodeId| {
            let mut members = status.members.iter().filter(|member| member.node == *node);
            members.any(|member| member.has.is_some_and(|has| has >= sent))
        };
        // Who does not answer is not waited for, once enough others have.
        let asked = voting
            .iter()
            .filter(|node| has(node))
            .map(|node| is_close_and_whole(&self.engine, status, *node));
        let answers = asked.collect::<FuturesUnordered<_>>();
        let enough = voting.len() / 2 + 1;
        let whole = answers.filter(|whole| ready(*whole)).take(enough).count().await;
        if whole == enough { Ok(()) } else { Err(Unready::NoBodies) }
    }
}

/// The bodies to which rows refer, by their names alone: a replica that does not have one notes that with the entry, so that it
/// is fetched, and nobody takes the replica for whole before.
fn bodies_of(action: &Action) -> Vec<NewBody> {
    let Action::Install { rows, .. } = action else { return Vec::new() };
    let bodies: BTreeMap<BodyHash, u64> = rows.iter().filter_map(MovedRow::body).collect();
    bodies.into_iter().map(|(hash, size)| NewBody::absent(hash, Some(size))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_not_sealed_for_a_pass_that_takes_long() {
        let pass = |rows, ms| Pass { rows, busy: Duration::from_millis(ms) };
        assert_eq!(pass(0, 100).allows_to_seal(1), Ok(()));
        assert_eq!(pass(0, 9_000).allows_to_seal(1), Err(Unready::Long(Duration::from_secs(9))));
        assert_eq!(pass(5_000, 100).allows_to_seal(1), Err(Unready::Busy));
        assert_eq!(pass(5_000, 100).allows_to_seal(PASSES_MANY), Ok(()));
        assert!(pass(5_000, 9_000).allows_to_seal(PASSES_MANY).is_err());
    }
}
