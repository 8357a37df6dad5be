//! Entries to one peer, several pieces under way at once.
//!
//! - Pieces go in the order of the log, and their answers are taken in that order.
//! - The peer may get them in another order. One that comes before its predecessor waits there a moment for it; if that was
//!   too short, it is sent again once the predecessor has been answered. So openraft hears of a conflict only where there
//!   is one.
//! - An answer vouches for nothing that was asked after it: see [`Ends`]. The leader's lease hangs on that.
//! - Heartbeats do not stand behind entries.
//! - Word of a commit alone waits a moment for entries that take it along, unless somebody waits on a peer to read what was
//!   committed: with one entry after the other, that is half of all requests.
//! - The first failure ends the stream. What was sent after it is not waited for: openraft begins anew behind what was
//!   answered.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use openraft::base::BoxStream;
use openraft::error::RPCError;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::network::{Peer, away};
use super::pieces::{Piece, Pieces};
use super::wire::Appended;
use crate::Lane;
use crate::types::{LogId, Types};

/// Pieces of one group that may be under way to one peer.
const PIECES_IN_FLIGHT: usize = 3;
/// How often a piece is sent again that came before its predecessor.
const AGAIN_MAX: usize = 3;

/// What openraft is told of a piece.
pub(crate) type Told = Result<StreamAppendResult<Types>, RPCError<Types>>;

/// A piece, and what the peer said when it first came.
type Sent = Result<(Piece, Result<Appended, RPCError<Types>>), RPCError<Types>>;

/// Where the requests end that were taken from openraft and are not answered.
///
/// openraft takes an answer for all requests that end where it says or before, as of the moment when the newest of them was
/// made. One without entries ends where the one before it does. So that one's answer is held back until this one is
/// answered too: else the leader would count its lease from a moment of which the peer has not heard.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<VecDeque<Option<LogId>>>>);

impl Ends {
    fn taken(&self, request: &AppendEntriesRequest<Types>) {
        self.0.lock().push_back(request.entries.last().map_or(request.prev_log_id, |last| Some(last.log_id)));
    }

    /// The peer has all up to there: of the oldest request at most that was sent. True if openraft may be told.
    fn answered(&self, last: Option<LogId>) -> bool {
        let mut ends = self.0.lock();
        // Those that were not sent, as this one said what they had to say.
        while ends.front().is_some_and(|end| *end < last) {
            ends.pop_front();
        }
        if ends.front() == Some(&last) {
            ends.pop_front();
        }
        ends.front() != Some(&last)
    }
}

/// Sends what comes until there is no more, or something fails.
pub(crate) fn run<'s, S>(peer: &'s Peer, requests: S) -> BoxStream<'s, Told>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    let ends = Ends::default();
    let sent =
        pieces(peer, requests, ends.clone()).map(move |piece| send(peer, piece)).buffered(PIECES_IN_FLIGHT);
    let state = Some((Box::pin(sent), ends, Reached::Nothing));
    Box::pin(stream::unfold(state, move |state| async move {
        let (mut sent, ends, mut reached) = state?;
        loop {
            match settle(peer, sent.next().await?, &reached).await {
                Ok(Ok(last)) => {
                    reached = Reached::To(last);
                    if ends.answered(last) {
                        return Some((Ok(Ok(last)), Some((sent, ends, reached))));
                    }
                }
                failed => return Some((failed, None)),
            }
        }
    }))
}

/// Up to where the peer is known to have the log, from this stream.
enum Reached {
    Nothing,
    To(Option<LogId>),
}

/// The pieces of all requests, each packed when it is asked for.
fn pieces<S>(
    peer: &Peer,
    requests: S,
    ends: Ends,
) -> impl Stream<Item = Result<Piece, RPCError<Types>>> + Send
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    let state = (requests, ends, None::<Pieces>, None);
    stream::unfold(state, move |(mut requests, ends, open, told)| async move {
        let follows = told.is_some();
        let mut open = match open {
            // openraft takes the first request of a stream for a question, and its first answer for the end of it.
            Some(open) if !open.ended() && !open.follows() => return None,
            Some(open) if !open.ended() => open,
            _ => {
                let request = requests.next().await?;
                ends.taken(&request);
                let request = match told {
                    Some(told) => with_entries(peer, request, &mut requests, &ends, told).await?,
                    None => request,
                };
                Pieces::new(request, follows)
            }
        };
        let piece = open.next(&peer.hub, peer.target)?.map_err(|error| {
            tracing::error!(group = %peer.shared.group, %error, "entries for a peer cannot be read");
            away(&error)
        });
        let told = open.commit();
        Some((piece, (requests, ends, Some(open), Some(told))))
    })
}

/// A request, or the next one in its place that has entries, if that comes soon enough. `told`: up to where the peer knows
/// that all is committed. None: there are no more requests.
///
/// What does not say that all is committed that was sent goes at once: an answer that it holds back may be awaited.
async fn with_entries<S>(
    peer: &Peer,
    mut request: AppendEntriesRequest<Types>,
    requests: &mut S,
    ends: &Ends,
    told: u64,
) -> Option<AppendEntriesRequest<Types>>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    if peer.shared.commit_wait.is_zero() || request.leader_commit < request.prev_log_id {
        return Some(request);
    }
    let mut awaited = peer.shared.awaited.subscribe();
    let mut end = pin!(sleep(peer.shared.commit_wait));
    while request.entries.is_empty() {
        tokio::select! {
            biased;
            next = requests.next() => {
                request = next?;
                // One end stands for all words of which the newest is sent.
                if !request.entries.is_empty() {
                    ends.taken(&request);
                }
            }
            _ = awaited.wait_for(|index| *index > told) => break,
            () = &mut end => break,
        }
    }
    Some(request)
}

async fn send(peer: &Peer, piece: Result<Piece, RPCError<Types>>) -> Sent {
    let piece = piece?;
    // A heartbeat is a stream of its own, without entries. In a stream of entries, all has to come in order.
    let is_urgent = piece.append.entries.is_empty() && !piece.append.follows;
    let answer = peer.send(&piece, if is_urgent { Lane::Urgent } else { Lane::Entries }).await;
    Ok((piece, answer))
}

/// What openraft is told of a piece, once all before it were answered.
async fn settle(peer: &Peer, sent: Sent, reached: &Reached) -> Told {
    let (piece, mut answer) = sent?;
    let has_prev = matches!(reached, Reached::To(last) if *last == piece.prev);
    for _ in 0..AGAIN_MAX {
        if !(has_prev && matches!(answer, Ok(Appended::Conflict))) {
            break;
        }
        answer = peer.send(&piece, Lane::Entries).await;
    }
    match (answer?, piece.prev) {
        (Appended::Success, _) => Ok(Ok(piece.last)),
        (Appended::HigherVote(vote), _) => Ok(Err(StreamAppendError::HigherVote(vote.into()))),
        // It has had that, and lost it: openraft may not be told so as a conflict.
        (Appended::Conflict, Some(prev)) if !has_prev => Ok(Err(StreamAppendError::Conflict(prev))),
        (other, _) => Err(peer.refused(other)),
    }
}
