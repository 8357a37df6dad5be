//! Sees to the moves of accounts to other shards. Runs on the leader of the control group, who alone acts.
//!
//! - Each move is a job of its own ([`super::moving`]), some at the same time. One that fails gives its place to others and
//!   is tried again later, and later still each time; why is told in the log and in the report of the cluster.
//! - A move that has ended, was put off or given up, whether or not there was a job, is followed up on both sides.
//! - What nobody followed up, as the mover before has stopped, is found by a sweep ([`crate::sweep`]).
//! - As long as it has to do with a move, this node has the shards of both sides ([`Cluster::shards_of_moves`]).
//!
//! Must not: decide which accounts move.

use super::moving::Job;
use crate::engine::Engine;
use estafette_directory::Move;
use estafette_types::AccountId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

/// Between two looks at the moves of the directory.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// Accounts that move at the same time.
pub(super) const MOVES_AT_ONCE: usize = 2;
/// Before a move that has failed is tried again; doubled each time.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
/// The longest such pause.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(300);

/// Moves as long as the node runs.
pub(crate) async fn run(engine: Arc<Engine>) {
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        if engine.control.group().leads() {
            // All that it does ends with it.
            Mover::new(&engine).lead().await;
            engine.cluster.move_troubles.lock().clear();
            engine.cluster.shards_of_moves.lock().clear();
        }
    }
}

/// How a job has ended: what stopped it, in words; `None` if the move has come to its end, whichever.
type Ended = Option<String>;

/// A move that is tried.
struct Work {
    /// The job, while it runs.
    job: Option<AbortHandle>,
    failures: u32,
    /// Not before then.
    again: Instant,
}

impl Work {
    fn is_running(&self) -> bool {
        self.job.is_some()
    }
}

/// The mover, while this node leads.
struct Mover {
    engine: Arc<Engine>,
    work: BTreeMap<AccountId, Work>,
    jobs: JoinSet<Ended>,
    /// Moves that were in the directory and have not been followed up.
    seen: BTreeMap<AccountId, Move>,
    /// What follows moves up.
    rest: JoinSet<()>,
    followed: Vec<(Move, AbortHandle)>,
}

impl Mover {
    fn new(engine: &Arc<Engine>) -> Mover {
        Mover {
            engine: Arc::clone(engine),
            work: BTreeMap::new(),
            jobs: JoinSet::new(),
            seen: BTreeMap::new(),
            rest: JoinSet::new(),
            followed: Vec::new(),
        }
    }

    async fn lead(mut self) {
        while self.engine.control.group().leads() {
            let moves = self.moves();
            self.follow_up(&moves);
            self.tell_shards(&moves);
            self.begin(&moves);
            while self.rest.try_join_next().is_some() {}
            tokio::select! {
                () = tokio::time::sleep(LOOK_PAUSE) => {}
                Some(ended) = self.jobs.join_next_with_id() => self.ended(ended),
            }
        }
    }

    /// Those of the directory, in the order in which they began.
    fn moves(&self) -> Vec<Move> {
        let mut moves: Vec<Move> = self.engine.directory.read().moves().copied().collect();
        moves.sort_by_key(|moving| moving.begun_ms);
        moves
    }

    /// The shards that are needed here.
    fn tell_shards(&mut self, moves: &[Move]) {
        self.followed.retain(|(_, job)| !job.is_finished());
        let followed = self.followed.iter().map(|(moving, _)| moving);
        let all = moves.iter().chain(self.seen.values()).chain(followed);
        *self.engine.cluster.shards_of_moves.lock() =
            all.flat_map(|moving| [moving.from, moving.to]).collect();
    }

    /// What is not in the directory any more, or under another name, is to be ended in the shards.
    fn follow_up(&mut self, moves: &[Move]) {
        let (work, engine, rest) = (&self.work, &self.engine, &mut self.rest);
        let followed = &mut self.followed;
        self.seen.retain(|account, moving| {
            let is_running = work.get(account).is_some_and(Work::is_running);
            let stays = is_running || moves.contains(moving);
            if !stays {
                let job = rest.spawn(Job::new(Arc::clone(engine), *moving).clean_up());
                followed.push((*moving, job));
            }
            stays
        });
        self.work.retain(|account, work| {
            let stays = work.is_running() || moves.iter().any(|moving| moving.account == *account);
            if !stays {
                engine.cluster.move_troubles.lock().remove(account);
            }
            stays
        });
    }

    fn begin(&mut self, moves: &[Move]) {
        for moving in moves {
            self.seen.entry(moving.account).or_insert(*moving);
            let running = self.work.values().filter(|work| work.is_running()).count();
            let now = Instant::now();
            let work = self.work.entry(moving.account).or_insert(Work { job: None, failures: 0, again: now });
            if running < MOVES_AT_ONCE && !work.is_running() && work.again <= now {
                let job = Job::new(Arc::clone(&self.engine), *moving);
                work.job = Some(self.jobs.spawn(job.run()));
            }
        }
    }

    fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (id, trouble) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Some("the job has broken".to_owned())),
        };
        let of_job = |work: &&mut Work| work.job.as_ref().is_some_and(|job| job.id() == id);
        let Some((account, work)) = self
            .work
            .iter_mut()
            .find_map(|(account, work)| Some(work).filter(of_job).map(|work| (*account, work)))
        else {
            return;
        };
        work.job = None;
        let mut troubles = self.engine.cluster.move_troubles.lock();
        let Some(trouble) = trouble else {
            work.failures = 0;
            // The directory here may not know yet.
            work.again = Instant::now() + LOOK_PAUSE;
            troubles.remove(&account);
            return;
        };
        work.failures = work.failures.saturating_add(1);
        let pause = pause_after(work.failures);
        work.again = Instant::now() + pause;
        let (failures, seconds) = (work.failures, pause.as_secs());
        tracing::warn!(account = account.0, failures, seconds, trouble, "the account cannot be moved now");
        troubles.insert(account, format!("{trouble} (failed {failures} times, then waits {seconds} s)"));
    }
}

/// How long a move rests that has failed so many times in a row.
fn pause_after(failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    AGAIN_AFTER.saturating_mul(doubled).min(AGAIN_AFTER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_that_fails_again_and_again_rests_longer_each_time() {
        let pauses: Vec<u64> = (1..=9).map(|failures| pause_after(failures).as_secs()).collect();
        assert_eq!(pauses, [3, 6, 12, 24, 48, 96, 192, 300, 300]);
        assert_eq!(pause_after(u32::MAX), AGAIN_AFTER_MAX);
    }
}
