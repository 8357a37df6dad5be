//! Nodes that stop together: who has nothing left to do waits for those that still have, since what they hear last (that
//! another server took a message, that a session wants one stored) is written down by a majority only.
//!
//! A node that stops while all others serve finds that out and goes; where some stop or are away, it waits longer for those
//! who may be told to stop a moment later.
//! On the wire: nothing is asked in words; the answer is a byte, see [`Stage`].

use super::Cluster;
use bytes::Bytes;
use estafette_raft::{NodeId, Unreached};
use futures_util::future::join_all;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::time::{Instant, error::Elapsed, timeout};

/// Between two questions.
const ASK_PAUSE: Duration = Duration::from_millis(100);
/// How long one node may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// All others must have been seen to serve for so long: they may be told to stop a moment later than this node.
const ALL_SERVE_FOR: Duration = Duration::from_millis(300);
/// Likewise for the last that serve, where others stop or are away: a majority hangs on this node then.
const SOME_SERVE_FOR: Duration = Duration::from_secs(2);

/// How far a node is with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    Serves = 0,
    /// It stops, and has sessions or waits for what other servers say.
    Busy = 1,
    /// It stops and has nothing left to do.
    Done = 2,
}

/// How far this node is.
#[derive(Default)]
pub(super) struct Ending(AtomicU8);

impl Ending {
    fn reach(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    pub(super) fn answer(&self) -> Bytes {
        vec![self.0.load(Ordering::Relaxed)].into()
    }
}

impl Cluster {
    /// The node stops: from now on the others, if they stop too, wait for it.
    pub(crate) fn ends(&self) {
        self.ending.reach(Stage::Busy);
    }

    /// The node has nothing left to do. Returns when no other node that stops has, after `longest` at the latest.
    pub(crate) async fn farewell(&self, longest: Duration) {
        self.ending.reach(Stage::Done);
        if timeout(longest, self.until_none_is_busy()).await.is_err() {
            tracing::warn!(
                "other nodes stop too and have something to do: they are not waited for any longer"
            );
        }
    }

    async fn until_none_is_busy(&self) {
        let (mut since, mut told) = (Instant::now(), false);
        loop {
            let peers: Vec<NodeId> = self.peers().into_keys().collect();
            let stages = join_all(peers.iter().map(|node| self.stage_of(*node))).await;
            let wait = quiet_for(&stages);
            if wait.is_some_and(|wait| since.elapsed() >= wait) {
                return;
            }
            if wait.is_none() {
                since = Instant::now();
                if !told {
                    tracing::info!("other nodes stop too and have something to do: they are waited for");
                }
                told = true;
            }
            tokio::time::sleep(ASK_PAUSE).await;
        }
    }

    /// None of a node that is not reached.
    async fn stage_of(&self, node: NodeId) -> Option<Stage> {
        if !self.reaches(node) {
            return None;
        }
        understood(timeout(ANSWER_WAIT, self.link.ask_whether_busy(node)).await)
    }
}

/// A node that is reached and says nothing may have much to do; one of an earlier version, which does not know the
/// question, is not waited for.
fn understood(answer: Result<Result<Bytes, Unreached>, Elapsed>) -> Option<Stage> {
    match answer {
        Err(_) => Some(Stage::Busy),
        Ok(Err(_)) => None,
        Ok(Ok(answer)) => {
            let said = [Stage::Busy, Stage::Done].into_iter().find(|stage| *answer == [*stage as u8]);
            Some(said.unwrap_or(Stage::Serves))
        }
    }
}

/// How long the other nodes must be like this until this one goes; none: as long as they are.
fn quiet_for(others: &[Option<Stage>]) -> Option<Duration> {
    let is = |stage: Option<Stage>| others.contains(&stage);
    match (is(Some(Stage::Busy)), is(Some(Stage::Serves)), is(Some(Stage::Done)) || is(None)) {
        (true, _, _) => None,
        // Nobody is left who could have something to do.
        (false, false, _) => Some(Duration::ZERO),
        (false, true, false) => Some(ALL_SERVE_FOR),
        (false, true, true) => Some(SOME_SERVE_FOR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_whom() {
        let (serves, busy, done, away) =
            (Some(Stage::Serves), Some(Stage::Busy), Some(Stage::Done), None::<Stage>);
        assert_eq!(quiet_for(&[]), Some(Duration::ZERO), "a node that is alone");
        assert_eq!(quiet_for(&[serves, serves]), Some(ALL_SERVE_FOR));
        assert_eq!(quiet_for(&[serves, done]), Some(SOME_SERVE_FOR));
        assert_eq!(quiet_for(&[serves, away]), Some(SOME_SERVE_FOR));
        assert_eq!(quiet_for(&[done, away]), Some(Duration::ZERO), "all stop, and none has anything to do");
        for other in [serves, busy, done, away] {
            assert_eq!(quiet_for(&[other, busy]), None);
        }
    }

    #[tokio::test]
    async fn what_nodes_say_is_understood() {
        let ending = Ending::default();
        assert_eq!(understood(Ok(Ok(ending.answer()))), Some(Stage::Serves));
        for stage in [Stage::Busy, Stage::Done] {
            ending.reach(stage);
            assert_eq!(understood(Ok(Ok(ending.answer()))), Some(stage));
        }
        assert_eq!(understood(Ok(Ok(Bytes::new()))), Some(Stage::Serves), "an earlier version");
        assert_eq!(understood(Ok(Err(Unreached::NoAnswer))), None);
        let silent = timeout(Duration::ZERO, std::future::pending()).await;
        assert_eq!(understood(silent), Some(Stage::Busy));
    }
}
