//! What a follower brings to the leader of a group: proposals, and the question up to where all is committed.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::Mutex;

use super::Hub;
use super::bodies::{Outgoing, Unpushed};
use super::wire::{Ask, Proposed, Refused, Told};
use crate::error::Error;
use crate::{GroupId, Lane, NodeId, Proposal, Unreached, Until};

/// How often a proposal is sent again since bodies were missing.
const TRIES: usize = 3;

/// Has the leader carry out a proposal; gives the index at which it was applied, and the answer.
///
/// # Errors
/// [`Error::NotLeader`], [`Error::Full`]: nothing was proposed. [`Error::Interrupted`]: it may take effect or not.
pub(crate) async fn propose(
    hub: &Hub,
    to: NodeId,
    group: GroupId,
    proposal: &Proposal,
    until: Until,
) -> Result<(u64, Bytes), Error> {
    let mut bodies = Outgoing::default();
    for body in &proposal.bodies {
        bodies.add(body)?;
    }
    let command_bytes = u32::try_from(proposal.command.len()).unwrap_or(u32::MAX);
    let not_leader = |leader: Option<u64>| Error::NotLeader { group, leader: leader.map(NodeId) };
    for _ in 0..TRIES {
        let ask =
            Ask::Propose { command_bytes, bodies: bodies.heads.clone(), reads: until == Until::Readable };
        let tail = std::iter::once(proposal.command.clone()).chain(bodies.tail.iter().cloned());
        let answer = match hub.ask(to, Lane::Entries, group, ask, tail).await {
            Ok(answer) => answer,
            Err(Unreached::NotSent) => return Err(not_leader(None)),
            Err(Unreached::NoAnswer) => return Err(Error::Interrupted { group }),
        };
        match answer {
            Proposed::Applied { index, answer } => return Ok((index, answer.into())),
            Proposed::Full => return Err(Error::Full),
            Proposed::Interrupted => return Err(Error::Interrupted { group }),
            Proposed::Refused(Refused::NotLeader(leader)) => return Err(not_leader(leader)),
            Proposed::Refused(refused) => {
                tracing::debug!(%group, %to, ?refused, "the leader does not take a proposal");
                return Err(not_leader(None));
            }
            Proposed::Damaged(_) => return Err(Error::Unavailable { group }),
            Proposed::Missing(hashes) => {
                let known = |hash| proposal.bodies.iter().find(|body| body.hash() == hash).cloned();
                match hub.push_missing(to, group, &hashes, known).await {
                    Ok(()) => {}
                    // It has no room or refuses, and says so itself: not again for each message here.
                    Err(Unpushed::Refused(Refused::Storage)) => return Err(not_leader(None)),
                    Err(error) => {
                        tracing::warn!(%group, %to, %error, "a body did not get to the leader");
                        return Err(not_leader(None));
                    }
                }
            }
        }
    }
    Err(not_leader(None))
}

/// The answers to the question up to where all is committed: one is for all who asked before it was put.
#[derive(Default)]
pub(crate) struct Questions {
    asked: AtomicU64,
    answered: Mutex<Answered>,
}

#[derive(Default)]
struct Answered {
    /// All who asked up to this one are answered.
    until: u64,
    index: u64,
}

impl Questions {
    /// The answer to a question that is put now or later.
    pub(crate) async fn put<F>(&self, question: impl FnOnce() -> F) -> Result<u64, Error>
    where
        F: Future<Output = Result<u64, Error>>,
    {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut answered = self.answered.lock().await;
        if answered.until >= mine {
            return Ok(answered.index);
        }
        let until = self.asked.load(Ordering::SeqCst);
        let index = question().await?;
        *answered = Answered { until, index };
        Ok(index)
    }
}

/// Asks the leader.
///
/// # Errors
/// [`Error::NotLeader`], also when it does not answer.
pub(crate) async fn index(hub: &Hub, to: NodeId, group: GroupId) -> Result<u64, Error> {
    match hub.ask(to, Lane::Urgent, group, Ask::Index, []).await {
        Ok(Told::Value(index)) => Ok(index),
        Ok(Told::Refused(Refused::NotLeader(leader))) => {
            Err(Error::NotLeader { group, leader: leader.map(NodeId) })
        }
        _ => Err(Error::NotLeader { group, leader: None }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn one_answer_is_for_all_who_asked_before_it_was_put() {
        let (questions, put) = (Arc::new(Questions::default()), Arc::new(AtomicU64::new(0)));
        let ask = |questions: Arc<Questions>, put: Arc<AtomicU64>| async move {
            let question = || async {
                let index = put.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(index)
            };
            questions.put(question).await.unwrap()
        };
        let asking: Vec<_> =
            (0..100).map(|_| tokio::spawn(ask(Arc::clone(&questions), Arc::clone(&put)))).collect();
        let mut answers = Vec::new();
        for one in asking {
            answers.push(one.await.unwrap());
        }
        // The first went alone; all others came while it was under way, too late for its answer.
        assert_eq!(put.load(Ordering::SeqCst), 2);
        assert_eq!(answers.iter().filter(|answer| **answer == 0).count(), 1);
    }
}
