//! What peers ask of a node's groups, and the answers.
//!
//! A peer is believed who it is by the transport; what it says is checked for form, and bodies by their hashes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest};
use openraft::{ChangeMembers, Snapshot};
use serde::Serialize;

use super::bodies::Trouble;
use super::wire::{
    self, Append, Appended, Ask, BodyHead, Proposed, Refused, Request, SnapshotPart, Told, Voted,
};
use super::{Hub, network};
use crate::blocking::blocking;
use crate::codec::{LogIdRow, VoteRow};
use crate::error::Error;
use crate::group::Inner;
use crate::snapshot::Reader;
use crate::state::Source;
use crate::types::{LogId, SnapshotMeta, Vote};
use crate::{Group, NodeId, Order, Proposal};

/// How long entries wait for those before them, which were sent earlier and come later.
const FOLLOWS_WAIT: Duration = Duration::from_millis(500);

/// Answers a request about a group that is open here, or about none.
pub(crate) async fn serve(
    hub: &Arc<Hub>,
    group: Option<Group>,
    from: NodeId,
    request: Request,
    tail: Bytes,
) -> Bytes {
    match (request.ask, group) {
        (Ask::BodyPart(part), _) => told(hub.take_part(from, part, tail).await),
        (Ask::BodyRead { hash, offset, bytes_max }, _) => {
            told(hub.part_of(estafette_storage::BodyHash(hash), offset, bytes_max).await)
        }
        (Ask::BodiesRead { hashes }, _) => told(hub.small_ones(hashes).await),
        (Ask::Whole, _) => told(hub.is_whole().map_err(|_| Refused::Storage)),
        (ask, None) => closed(&ask),
        (ask, Some(group)) => of_group(hub, &group, from, ask, tail).await,
    }
}

async fn of_group(hub: &Arc<Hub>, group: &Group, from: NodeId, ask: Ask, tail: Bytes) -> Bytes {
    let inner = &group.0;
    match ask {
        Ask::Append(append) => wire::answer(&appended(hub, inner, append, tail).await),
        Ask::Vote { pre, vote, last, transfer } => {
            wire::answer(&voted(inner, pre, vote, last, transfer).await)
        }
        Ask::Lead { .. } if inner.shared.lacks_what_it_had().unwrap_or(true) => {
            told::<()>(Err(Refused::Closed))
        }
        Ask::Lead { from, to, last } => {
            let request = TransferLeaderRequest::new(from.into(), to, last.map(LogId::from));
            told(match inner.raft.handle_transfer_leader(request).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(Refused::Because(error.to_string())),
                Err(_) => Err(Refused::Stopped),
            })
        }
        Ask::Propose { command_bytes, bodies, reads } => {
            let proposed = proposed(hub, (group, from), command_bytes, &bodies, tail).await;
            if let Proposed::Applied { index, .. } = proposed
                && reads
            {
                inner.shared.awaits(index);
            }
            wire::answer(&proposed)
        }
        Ask::Index => {
            let index = group.index_here().await;
            if let Ok(index) = index {
                inner.shared.awaits(index);
            }
            told(index.map_err(|error| refused(&error)))
        }
        Ask::Status => told(Ok(group.status())),
        Ask::Checksum => told(group.checksum().await.map_err(|error| refused(&error))),
        Ask::Members(order) => told(carry_out(group, order).await),
        Ask::SnapshotPart(part) => told(snapshot_part(hub, inner, from, part, tail).await),
        Ask::BodyPart(_) | Ask::BodyRead { .. } | Ask::BodiesRead { .. } | Ask::Whole => {
            told::<()>(Err(Refused::Unknown))
        }
    }
}

/// The answer of a node where the group is not open, in the form that the question wants.
fn closed(ask: &Ask) -> Bytes {
    match ask {
        Ask::Append(_) => wire::answer(&Appended::Refused(Refused::Closed)),
        Ask::Vote { .. } => wire::answer(&Voted::Refused(Refused::Closed)),
        Ask::Propose { .. } => wire::answer(&Proposed::Refused(Refused::Closed)),
        _ => told::<()>(Err(Refused::Closed)),
    }
}

fn told<T: Serialize>(result: Result<T, Refused>) -> Bytes {
    wire::answer(&match result {
        Ok(value) => Told::Value(value),
        Err(refused) => Told::Refused(refused),
    })
}

/// What a peer is told of an error here before anything was done.
fn refused(error: &Error) -> Refused {
    match error {
        Error::NotLeader { leader, .. } => Refused::NotLeader(leader.map(|leader| leader.0)),
        Error::Unavailable { .. } => Refused::Closed,
        error if error.is_fatal() => Refused::Stopped,
        error => Refused::Because(error.to_string()),
    }
}

async fn appended(hub: &Hub, inner: &Inner, append: Append, mut tail: Bytes) -> Appended {
    let read = (|| -> Result<_, Trouble> {
        let mut rows = Vec::with_capacity(append.entries.len());
        for (index, bytes) in &append.entries {
            rows.push((*index, wire::take(&mut tail, u64::from(*bytes))?));
        }
        let bodies = hub.received(&append.bodies, &mut tail)?;
        let entries: Result<Vec<_>, _> =
            rows.iter().map(|(index, row)| network::entry(*index, row, &bodies)).collect();
        Ok(entries?)
    })();
    let entries = match read {
        Ok(entries) => entries,
        Err(Trouble::Missing(hashes)) => return Appended::Missing(hashes),
        Err(Trouble::Damaged(hashes)) => return Appended::Damaged(hashes),
        Err(Trouble::Undecodable) => return Appended::Refused(Refused::Unknown),
        Err(Trouble::Storage) => return Appended::Refused(Refused::Storage),
    };
    if let Some(prev) = append.prev.as_ref().filter(|_| append.follows) {
        // Without it, the leader sends this once more.
        let _ = tokio::time::timeout(FOLLOWS_WAIT, inner.shared.appended_to(LogId::from(*prev).index)).await;
    }
    let request = AppendEntriesRequest {
        vote: Vote::from(append.vote),
        prev_log_id: append.prev.map(LogId::from),
        entries,
        leader_commit: append.commit.map(LogId::from),
    };
    match inner.raft.append_entries(request).await {
        Ok(AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_)) => {
            hub.arrivals.used(&append.bodies);
            Appended::Success
        }
        Ok(AppendEntriesResponse::Conflict) => Appended::Conflict,
        Ok(AppendEntriesResponse::HigherVote(vote)) => Appended::HigherVote(VoteRow::from(&vote)),
        Err(_) => Appended::Refused(Refused::Stopped),
    }
}

async fn voted(inner: &Inner, pre: bool, vote: VoteRow, last: Option<LogIdRow>, transfer: bool) -> Voted {
    // Who has less than was acknowledged here once must not lead by this vote.
    match inner.shared.lacks_what_it_had() {
        Ok(false) => {}
        Ok(true) => return Voted::Refused(Refused::Closed),
        Err(_) => return Voted::Refused(Refused::Storage),
    }
    let mut request = VoteRequest::new(Vote::from(vote), last.map(LogId::from));
    request.leadership_transfer = transfer;
    let answer = if pre { inner.raft.pre_vote(request).await } else { inner.raft.vote(request).await };
    match answer {
        Ok(answer) => Voted::Answer {
            vote: VoteRow::from(&answer.vote),
            granted: answer.vote_granted,
            last: answer.last_log_id.as_ref().map(LogIdRow::from),
        },
        Err(_) => Voted::Refused(Refused::Stopped),
    }
}

async fn proposed(
    hub: &Hub,
    (group, from): (&Group, NodeId),
    command_bytes: u32,
    heads: &[BodyHead],
    mut tail: Bytes,
) -> Proposed {
    // Before bodies are asked for that are for somebody else.
    if let Some(elsewhere) = group.leader_elsewhere() {
        return Proposed::Refused(Refused::NotLeader(Some(elsewhere.0)));
    }
    let read = (|| -> Result<Proposal, Trouble> {
        let command = wire::take(&mut tail, u64::from(command_bytes))?;
        let mut bodies = hub.received(heads, &mut tail)?;
        let in_order = heads.iter().filter_map(|head| bodies.remove(&estafette_storage::BodyHash(head.hash)));
        Ok(Proposal { command, bodies: in_order.collect() })
    })();
    let proposal = match read {
        Ok(proposal) => proposal,
        Err(Trouble::Missing(hashes)) => return Proposed::Missing(hashes),
        Err(Trouble::Damaged(hashes)) => return Proposed::Damaged(hashes),
        Err(Trouble::Undecodable) => return Proposed::Refused(Refused::Unknown),
        Err(Trouble::Storage) => return Proposed::Refused(Refused::Storage),
    };
    let _using = hub.arrivals.using(heads);
    match group.propose_here(proposal, Some(from)).await {
        Ok((index, answer)) => Proposed::Applied { index, answer: answer.to_vec() },
        Err(Error::Full) => Proposed::Full,
        Err(Error::Interrupted { .. }) => Proposed::Interrupted,
        // It may have been under way when the group stopped.
        Err(error) if error.is_fatal() => Proposed::Interrupted,
        Err(error) => Proposed::Refused(refused(&error)),
    }
}

pub(crate) async fn carry_out(group: &Group, order: Order) -> Result<(), Refused> {
    let raft = &group.0.raft;
    let changed = match order {
        Order::AddLearner(node) => raft.add_learner(node.0, (), false).await.map(|_| ()),
        Order::Voters(voters) => {
            let voters: BTreeSet<u64> = voters.into_iter().map(|voter| voter.0).collect();
            raft.change_membership(voters, false).await.map(|_| ())
        }
        Order::RemoveLearner(node) => {
            raft.change_membership(ChangeMembers::RemoveNodes([node.0].into()), false).await.map(|_| ())
        }
        Order::LeadBy(node) => {
            return raft.trigger().transfer_leader(node.0).await.map_err(|_| Refused::Stopped);
        }
    };
    changed.map_err(|error| match error.forward_to_leader() {
        Some(to) => Refused::NotLeader(to.leader_id),
        None => Refused::Because(error.to_string()),
    })
}

async fn snapshot_part(
    hub: &Arc<Hub>,
    inner: &Inner,
    from: NodeId,
    part: SnapshotPart,
    bytes: Bytes,
) -> Result<Option<VoteRow>, Refused> {
    let (keep, group) = (Arc::clone(hub), inner.shared.group);
    let add = move || {
        let received = keep.files.add(from, group, &part, &bytes)?;
        let Some(file) = received else { return Ok(None) };
        let reader = Reader::open(file.path(), group).map_err(|error| Refused::Because(error.to_string()))?;
        Ok(Some((file, reader.applied)))
    };
    let Some((file, applied)) = blocking(&hub.store, add).await.map_err(|_| Refused::Storage)?? else {
        return Ok(None);
    };
    let meta = SnapshotMeta { last_log_id: applied.log_id, last_membership: applied.membership };
    let snapshot = Snapshot { meta, snapshot: Source::File(file.path().to_owned()) };
    let raft = inner.raft.clone();
    // Goes on when nobody waits for it any more: openraft has the path by then, and the file may not go.
    let installing = tokio::spawn(async move {
        let answer = raft.install_full_snapshot(Vote::from(part.vote), snapshot).await;
        drop(file);
        answer
    });
    let answer = installing.await.map_err(|_| Refused::Stopped)?;
    answer.map(|answer| Some(VoteRow::from(&answer.vote))).map_err(|_| Refused::Stopped)
}
