//! Brings one group to the members that it is to have, a step at a time. Called by the keeper alone.

use super::replicas::is_close_and_whole;
use crate::engine::{Engine, EngineError};
use estafette_raft::{GroupId, NodeId, Order, Status};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// For so long a group whose leader said that all is as wished is not asked again.
const BELIEVED_FOR: Duration = Duration::from_secs(5);

/// A group had these members, as its leader said at that moment.
pub(super) struct Settled {
    at: Instant,
    wish: Wish,
}

/// Who is to vote in a group, and who is to be a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) voters: BTreeSet<NodeId>,
    pub(super) members: BTreeSet<NodeId>,
}

impl Wish {
    fn is_met(&self, status: &Status) -> bool {
        !status.joint
            && status.voting() == self.voters
            && status.members.iter().map(|member| member.node).eq(self.members.iter().copied())
    }
}

impl Settled {
    pub(super) fn now(wish: &Wish) -> Settled {
        Settled { at: Instant::now(), wish: wish.clone() }
    }

    /// True if the group needs no look: the wish is the same, and what this node's replica says, if there is one, agrees.
    pub(super) fn is_believed(&self, wish: &Wish, here: Option<&Status>) -> bool {
        self.at.elapsed() < BELIEVED_FOR && self.wish == *wish && here.is_none_or(|here| wish.is_met(here))
    }
}

/// What a look at a group found or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// It has the members that it is to have.
    HasThem,
    /// It is on the way to them, or cannot be asked.
    Waits,
    Stepped,
}

/// One step of a group towards its members.
pub(super) async fn step(engine: &Engine, group: GroupId, wish: &Wish) -> Result<Looked, EngineError> {
    let Wish { voters, members } = wish;
    let Some(status) = engine.cluster.status(&engine.directory, group).await else {
        return Ok(Looked::Waits);
    };
    if wish.is_met(&status) {
        return Ok(Looked::HasThem);
    }
    let present: BTreeSet<NodeId> = status.members.iter().map(|member| member.node).collect();
    let voting = status.voting();
    let Some(leader) = status.leader else { return Ok(Looked::Waits) };
    let order = |change| engine.cluster.raft().order(leader, group, change);
    if let Some(node) = members.difference(&present).find(|node| engine.cluster.reaches(**node)) {
        tracing::info!(%group, %node, "the node is taken into the group");
        order(Order::AddLearner(*node)).await?;
        return Ok(Looked::Stepped);
    }
    if status.joint {
        // Whoever led did not live to end the change.
        order(Order::Voters(voting)).await?;
        return Ok(Looked::Stepped);
    }
    for node in voters.difference(&voting).filter(|node| present.contains(node)) {
        if is_close_and_whole(engine, &status, *node).await {
            tracing::info!(%group, %node, "the node has all of the group and votes now");
            let more = voting.iter().copied().chain([*node]).collect();
            order(Order::Voters(more)).await?;
            return Ok(Looked::Stepped);
        }
    }
    // Nobody goes before those who are to stay are there.
    if voters.is_subset(&voting) && !voters.is_empty() {
        if let Some(node) = voting.difference(voters).next() {
            tracing::info!(%group, %node, "the node is let go from the group");
            let fewer = voting.iter().copied().filter(|voter| voter != node).collect();
            order(Order::Voters(fewer)).await?;
            return Ok(Looked::Stepped);
        }
        if let Some(node) = present.difference(members).find(|node| !voting.contains(node)) {
            order(Order::RemoveLearner(*node)).await?;
            return Ok(Looked::Stepped);
        }
    }
    Ok(Looked::Waits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use estafette_raft::MemberStatus;

    fn nodes(numbers: &[u64]) -> impl Iterator<Item = NodeId> {
        numbers.iter().copied().map(NodeId)
    }

    fn status(voters: &[u64], joint: bool) -> Status {
        Status {
            group: GroupId::shard(1),
            leader: None,
            leads: false,
            term: 1,
            last: None,
            applied: None,
            snapshot: None,
            purged: None,
            voters: voters.len(),
            joint,
            members: nodes(voters).map(|node| MemberStatus { node, votes: true, has: None }).collect(),
            quorum_ms: None,
            running: true,
        }
    }

    #[test]
    fn a_group_is_asked_again_when_the_wish_or_what_is_known_here_changes() {
        let wish = |all: &[u64]| Wish { voters: nodes(all).collect(), members: nodes(all).collect() };
        let settled = Settled { at: Instant::now(), wish: wish(&[1, 2, 3]) };
        assert!(settled.is_believed(&wish(&[1, 2, 3]), Some(&status(&[1, 2, 3], false))));
        assert!(settled.is_believed(&wish(&[1, 2, 3]), None), "a group of other nodes");
        assert!(!settled.is_believed(&wish(&[1, 2, 4]), None));
        assert!(!settled.is_believed(&wish(&[1, 2, 3]), Some(&status(&[1, 2], false))));
        assert!(
            !settled.is_believed(&wish(&[1, 2, 3]), Some(&status(&[1, 2, 3], true))),
            "a change that was not ended"
        );
        let long_ago = Instant::now().checked_sub(BELIEVED_FOR).unwrap();
        assert!(!Settled { at: long_ago, ..settled }.is_believed(&wish(&[1, 2, 3]), None));
    }
}
