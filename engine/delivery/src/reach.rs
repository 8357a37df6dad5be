//! A group as sessions reach it: by its leader, on whatever node that is, and with patience.
//!
//! - Nothing was proposed, as there is no leader: tried again until [`Patience::leader`] is over.
//! - It is not known whether it took effect: proposed again, the same bytes, until that is known or
//!   [`Patience::outcome`] is over; but only what may be done again without harm ([`Again`]).
//! - Who must not read less than was told elsewhere asks [`Reach::fresh`] before, which takes no longer than
//!   [`Patience::fresh`].
//!
//! Must not: know what it proposes.

use bytes::Bytes;
use estafette_raft::{Error, FarGroup, Group, GroupId, Proposal, Until};
use metrics::Histogram;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Pause before a proposal is made again; doubled each time.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest such pause: a new leader is found so soon.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// For other groups, when there was no leader of one for all the time.
const ELSEWHERE: Duration = Duration::from_secs(2);

/// How long is waited.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a leader that takes a proposal.
    pub leader: Duration,
    /// Until it is known what became of a proposal: less than clients wait for their answer.
    pub outcome: Duration,
    /// For [`Reach::fresh`].
    pub fresh: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            leader: Duration::from_secs(8),
            outcome: Duration::from_secs(60),
            fresh: Duration::from_secs(2),
        }
    }
}

impl Patience {
    /// For something that begins now, of however many proposals.
    pub fn from_now(self) -> Wait {
        let now = Instant::now();
        Wait {
            leader: now + self.leader,
            outcome: now + self.outcome.max(self.leader),
            until: Until::Readable,
        }
    }
}

/// Until when is waited, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    leader: Instant,
    outcome: Instant,
    until: Until,
}

impl Wait {
    /// The same without a wait for a leader.
    pub(crate) fn for_no_leader(self) -> Wait {
        Wait { leader: Instant::now(), ..self }
    }

    /// The same for who does not go on to read what was done.
    pub(crate) fn until_done(self) -> Wait {
        Wait { until: Until::Done, ..self }
    }

    /// True when who waits for somebody else has waited long enough.
    pub(crate) fn is_up(self) -> bool {
        Instant::now() >= self.leader
    }

    /// True when there is no time for a further try elsewhere either.
    pub(crate) fn is_over(self) -> bool {
        Instant::now() >= self.leader + ELSEWHERE
    }
}

/// Whether a proposal may be made again when it is not known whether it took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// It changes nothing the second time.
    Harmless,
    /// It would be done twice.
    Harmful,
}

/// What a test lets happen to a proposal.
#[derive(Clone, Debug)]
pub enum Mishap {
    /// It does not come to the group.
    Refused(Error),
    /// It is carried out, and its answer is lost.
    Lost(Error),
}

/// What a test puts between a session and a group.
pub trait Trouble: Send + Sync {
    /// Asked before each proposal.
    fn mishap(&self) -> Option<Mishap>;
    /// Waited for before the group is asked whether it is fresh.
    fn freshen(&self) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;
}

/// See the head of this module. Cheap to clone.
#[derive(Clone)]
pub struct Reach {
    group: Group,
    patience: Patience,
    fresh_seconds: Histogram,
    trouble: Option<Arc<dyn Trouble>>,
}

impl Reach {
    /// A group of this node.
    pub fn new(group: Group, patience: Patience) -> Reach {
        let fresh_seconds = metrics::histogram!("estafette_fresh_seconds");
        Reach { group, patience, fresh_seconds, trouble: None }
    }

    /// The same with something in the way, for tests.
    #[must_use]
    pub fn troubled(self, trouble: Arc<dyn Trouble>) -> Reach {
        Reach { trouble: Some(trouble), ..self }
    }

    /// The group itself.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// How long something that begins now may wait.
    pub(crate) fn wait(&self) -> Wait {
        self.patience.from_now()
    }

    /// True when other nodes have a part in the group, so that an answer may be lost on its way from there.
    pub fn is_shared(&self) -> bool {
        self.trouble.is_some() || !self.group.is_alone()
    }

    /// Proposes, durable and applied here when it answers. Waits for a leader, and for the outcome.
    ///
    /// # Errors
    /// [`Error::NotLeader`], [`Error::Unavailable`], [`Error::Full`], [`Error::TooLarge`]: nothing took effect.
    /// [`Error::Interrupted`]: it may have, or may still. Fatal ones.
    pub async fn propose(&self, proposal: Proposal, again: Again) -> Result<Bytes, Error> {
        self.propose_within(proposal, again, self.patience.from_now()).await
    }

    /// The same, no longer than `wait` says and as far as it says.
    ///
    /// # Errors
    /// As [`Reach::propose`].
    pub async fn propose_within(&self, proposal: Proposal, again: Again, wait: Wait) -> Result<Bytes, Error> {
        let attempt = || self.attempt(proposal.clone(), wait.until);
        let works = || self.group.status().running;
        insist(self.group.id(), attempt, works, again, wait).await
    }

    async fn attempt(&self, proposal: Proposal, until: Until) -> Result<Bytes, Error> {
        match self.trouble.as_ref().and_then(|trouble| trouble.mishap()) {
            None => self.group.propose_until(proposal, until).await,
            Some(Mishap::Refused(error)) => Err(error),
            Some(Mishap::Lost(error)) => self.group.propose(proposal).await.and(Err(error)),
        }
    }

    /// Waits until the rows of this node hold all that was committed when it was called. All who wait share one
    /// question to the leader; where that is this node, it takes no time.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: no leader has answered in time. Fatal ones.
    pub async fn fresh(&self) -> Result<(), Error> {
        let since = Instant::now();
        let asking = async {
            if let Some(trouble) = &self.trouble {
                trouble.freshen().await?;
            }
            self.group.fresh().await
        };
        let late = Error::Unavailable { group: self.group.id() };
        let answer = timeout(self.patience.fresh, asking).await.unwrap_or(Err(late));
        self.fresh_seconds.record(since.elapsed());
        answer
    }
}

/// The way to a group, for who only changes it.
#[derive(Clone)]
pub(crate) enum Way {
    /// This node has it.
    Here(Reach),
    /// Others have it.
    Far(FarGroup),
}

impl Way {
    /// As [`Reach::is_shared`].
    pub(crate) fn is_shared(&self) -> bool {
        match self {
            Way::Here(reach) => reach.is_shared(),
            Way::Far(_) => true,
        }
    }

    /// As [`Reach::propose_within`]; where others have the group, applied there.
    ///
    /// # Errors
    /// As [`Reach::propose`].
    pub(crate) async fn propose_within(
        &self,
        proposal: Proposal,
        again: Again,
        wait: Wait,
    ) -> Result<Bytes, Error> {
        match self {
            Way::Here(reach) => reach.propose_within(proposal, again, wait).await,
            Way::Far(group) => {
                let attempt = || group.propose(proposal.clone());
                insist(group.id(), attempt, || true, again, wait).await
            }
        }
    }
}

/// Makes a proposal until its outcome is known. `works`: the group has not stopped, so waiting may help.
async fn insist<A, F>(
    group: GroupId,
    attempt: A,
    works: impl Fn() -> bool,
    again: Again,
    wait: Wait,
) -> Result<Bytes, Error>
where
    A: Fn() -> F,
    F: Future<Output = Result<Bytes, Error>>,
{
    let (mut pause, mut unknown) = (PAUSE, false);
    loop {
        let error = match timeout_at(wait.outcome, attempt()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => return Err(Error::Interrupted { group }),
        };
        let nothing = matches!(error, Error::NotLeader { .. } | Error::Unavailable { .. });
        unknown |= matches!(error, Error::Interrupted { .. });
        let worth = match unknown {
            // Whatever is said of a further attempt, it says nothing of the first.
            true => again == Again::Harmless && !error.is_fatal() && Instant::now() + pause < wait.outcome,
            false => nothing && Instant::now() + pause < wait.leader,
        };
        if !worth || !works() {
            return Err(if unknown && !error.is_fatal() { Error::Interrupted { group } } else { error });
        }
        if unknown {
            metrics::counter!("estafette_repeated_total").increment(1);
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::collections::VecDeque;

    const GROUP: GroupId = GroupId::CONTROL;
    const NOBODY: Error = Error::NotLeader { group: GROUP, leader: None };
    const CLOSED: Error = Error::Unavailable { group: GROUP };
    const LOST: Error = Error::Interrupted { group: GROUP };

    fn wait() -> Wait {
        let patience = Patience {
            leader: Duration::from_millis(900),
            outcome: Duration::from_millis(2500),
            ..Patience::default()
        };
        patience.from_now()
    }

    /// The outcome of attempts that go as told, with how many there were and the ms that it took.
    async fn played(
        script: &[Result<&'static str, Error>],
        then: Error,
        again: Again,
    ) -> (Result<Bytes, Error>, usize, u128) {
        let script: Mutex<VecDeque<_>> = Mutex::new(script.iter().cloned().collect());
        let (since, count) = (Instant::now(), Mutex::new(0));
        let attempt = || {
            *count.lock() += 1;
            let step = script.lock().pop_front().unwrap_or(Err(then.clone()));
            async move { step.map(Bytes::from) }
        };
        let outcome = insist(GROUP, attempt, || true, again, wait()).await;
        (outcome, count.into_inner(), since.elapsed().as_millis())
    }

    #[tokio::test]
    async fn a_leader_is_waited_for() {
        for again in [Again::Harmless, Again::Harmful] {
            let (outcome, count, _) = played(&[Err(NOBODY), Err(CLOSED), Ok("done")], CLOSED, again).await;
            assert_eq!((outcome.unwrap(), count), (Bytes::from("done"), 3));
        }
        let (outcome, count, took_ms) = played(&[], NOBODY, Again::Harmless).await;
        assert!(matches!(outcome, Err(Error::NotLeader { .. })), "{outcome:?}");
        assert!((3..8).contains(&count) && (400..2000).contains(&took_ms), "{count} {took_ms}");
    }

    #[tokio::test]
    async fn what_is_not_known_is_proposed_again_if_that_is_harmless() {
        let script = [Err(NOBODY), Err(LOST), Err(NOBODY), Err(Error::Full), Ok("done")];
        let (outcome, count, _) = played(&script, CLOSED, Again::Harmless).await;
        assert_eq!((outcome.unwrap(), count), (Bytes::from("done"), 5));
        let (outcome, count, _) = played(&script, CLOSED, Again::Harmful).await;
        assert!(matches!(outcome, Err(Error::Interrupted { .. })), "{outcome:?}");
        assert_eq!(count, 2);
    }

    /// Not that nothing was proposed, which is true of the last attempt alone.
    #[tokio::test]
    async fn what_stays_unknown_is_said_to_be() {
        let (outcome, _, took_ms) = played(&[Err(LOST)], NOBODY, Again::Harmless).await;
        assert!(matches!(outcome, Err(Error::Interrupted { .. })), "{outcome:?}");
        assert!((1900..5000).contains(&took_ms), "{took_ms}");
    }

    #[tokio::test]
    async fn what_cannot_be_is_not_tried_again() {
        let (outcome, count, _) = played(&[Err(Error::Full)], NOBODY, Again::Harmless).await;
        assert!(matches!(outcome, Err(Error::Full)), "{outcome:?}");
        assert_eq!(count, 1);
    }

    #[tokio::test]
    async fn a_group_that_does_not_answer_is_left_and_one_that_has_stopped_is_not_waited_for() {
        let since = Instant::now();
        let outcome = insist(GROUP, std::future::pending, || true, Again::Harmless, wait()).await;
        assert!(matches!(outcome, Err(Error::Interrupted { .. })), "{outcome:?}");
        assert!(since.elapsed().as_millis() >= 2500);
        let since = Instant::now();
        let outcome = insist(GROUP, || async { Err(CLOSED) }, || false, Again::Harmless, wait()).await;
        assert!(matches!(outcome, Err(Error::Unavailable { .. })), "{outcome:?}");
        assert!(since.elapsed().as_millis() < 500);
    }
}
