//! openraft's client to a peer, for one group.
//!
//! Entries go with the bodies that they name, in pieces ([`super::pieces`]) of which several are under way
//! ([`super::pipeline`]). Heartbeats do not stand behind them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use estafette_storage::{BodyHash, NewBody};
use futures_util::future::ready;
use futures_util::{Stream, StreamExt, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::error::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2, Snapshot};

use super::Hub;
use super::bodies::Unpushed;
use super::files::Unsent;
use super::pieces::Piece;
use super::pipeline;
use super::wire::{Appended, Ask, Done, Refused, Told, Voted};
use crate::blocking::blocking;
use crate::codec::{self, LogIdRow, VoteRow};
use crate::log::Shared;
use crate::snapshot;
use crate::state::Source;
use crate::types::{Brought, Entry, Leader, LogId, Payload, Types, Vote};
use crate::{Lane, NodeId, Unreached};

/// How often a request is sent again since bodies were missing.
const APPEND_TRIES: usize = 3;
/// Between two tries to reach a peer that is not there.
const PAUSE: Duration = Duration::from_millis(200);

/// Makes the clients of one group.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) hub: Arc<Hub>,
    pub(crate) shared: Arc<Shared>,
}

/// A client to one peer.
pub(crate) struct Peer {
    pub(crate) hub: Arc<Hub>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) target: NodeId,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &()) -> Peer {
        Peer { hub: Arc::clone(&self.hub), shared: Arc::clone(&self.shared), target: NodeId(target) }
    }
}

/// A peer that cannot be reached: openraft pauses before it tries again.
pub(crate) fn away(why: &(impl std::error::Error + 'static)) -> RPCError<Types> {
    Unreachable::new(why).into()
}

/// Why a peer did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the peer refused: {0:?}")]
struct PeerRefused(Refused);

/// A peer that no longer has what it had.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the peer's log ends before what it has acknowledged")]
struct LogLost;

/// Bodies that were asked for again and again.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("bodies did not get to the peer")]
struct NoBodies;

impl Peer {
    /// Sends a piece, with what the peer lacks of its bodies before it.
    ///
    /// # Errors
    /// The peer cannot be reached, or bodies do not get there.
    pub(crate) async fn send(&self, piece: &Piece, lane: Lane) -> Result<Appended, RPCError<Types>> {
        for _ in 0..APPEND_TRIES {
            let ask = Ask::Append(piece.append.clone());
            let answer = self.hub.ask(self.target, lane, self.shared.group, ask, piece.tail.clone()).await;
            match answer.map_err(|unreached| away(&unreached))? {
                Appended::Missing(hashes) => {
                    let known = |hash| piece.large.iter().find(|body| body.hash() == hash).cloned();
                    let pushed = self.hub.push_missing(self.target, self.shared.group, &hashes, known).await;
                    pushed.map_err(|unpushed: Unpushed| away(&unpushed))?;
                }
                other => return Ok(other),
            }
        }
        Err(away(&NoBodies))
    }

    /// An answer that lets nothing go on.
    pub(crate) fn refused(&self, answer: Appended) -> RPCError<Types> {
        match answer {
            Appended::Refused(refused) => away(&PeerRefused(refused)),
            Appended::Damaged(hashes) => {
                for hash in hashes {
                    tracing::error!(body = %BodyHash(hash), "a body here is damaged: a peer refused it");
                }
                away(&NoBodies)
            }
            _ => away(&LogLost),
        }
    }

    async fn ask_vote(
        &self,
        rpc: VoteRequest<Types>,
        pre: bool,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let ask = Ask::Vote {
            pre,
            vote: VoteRow::from(&rpc.vote),
            last: rpc.last_log_id.as_ref().map(LogIdRow::from),
            transfer: rpc.leadership_transfer,
        };
        let answer = self.hub.ask(self.target, Lane::Urgent, self.shared.group, ask, []).await;
        match answer.map_err(|unreached| away(&unreached))? {
            Voted::Answer { vote, granted, last } => {
                Ok(VoteResponse::new(Vote::from(vote), last.map(LogId::from), granted))
            }
            Voted::Refused(refused) => Err(away(&PeerRefused(refused))),
        }
    }

    async fn send_snapshot(&self, vote: Vote, source: Source) -> Result<SnapshotResponse<Types>, Unsent> {
        let rows = match source {
            Source::Rows(rows) => rows,
            // Only what was received is a file, and that is never sent on.
            Source::File(_) => return Err(Unsent::Unreadable),
        };
        let (folder, group) = (self.hub.files.folder().to_owned(), self.shared.group);
        // openraft tries again and again: nothing is written for a peer that is not there.
        match self.hub.ask(self.target, Lane::Urgent, group, Ask::Status, []).await {
            Ok(Told::<crate::Status>::Value(_)) => {}
            Ok(Told::Refused(refused)) => return Err(Unsent::Refused(refused)),
            Err(unreached) => return Err(unreached.into()),
        }
        let shared = Arc::clone(&self.shared);
        let write = move || snapshot::write_in_turn(&shared, &folder, &rows);
        let written = blocking(&self.hub.store, write).await;
        let (path, file) = written.map_err(|_| Unsent::Unreadable)?.map_err(|error| {
            tracing::error!(%group, %error, "a snapshot for a peer cannot be written");
            Unsent::Unreadable
        })?;
        tracing::info!(%group, to = %self.target, path = %path.display(), "sending a snapshot");
        let vote = self.hub.send_file(self.target, group, VoteRow::from(&vote), file).await?;
        Ok(SnapshotResponse::new(vote.into()))
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = Source;

    /// A stream of one request.
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let mut told = pipeline::run(self, Box::pin(stream::once(ready(rpc))));
        match told.next().await {
            Some(Ok(Ok(last))) => Ok(AppendEntriesResponse::PartialSuccess(last)),
            Some(Ok(refused)) => Ok(refused.into()),
            Some(Err(error)) => Err(error),
            None => Err(away(&Unreached::NoAnswer)),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, pipeline::Told>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move { Ok(pipeline::run(self, input)) })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(rpc, false).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(rpc, true).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Leader, u64, (), Source>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot.snapshot) => sent.map_err(|unsent| match unsent {
                Unsent::Unreached(Unreached::NoAnswer) => StreamingError::Network(NetworkError::new(&unsent)),
                other => StreamingError::Unreachable(Unreachable::new(&other)),
            }),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let ask = Ask::Lead {
            from: VoteRow::from(request.from_leader()),
            to: *request.to_node_id(),
            last: request.last_log_id().map(LogIdRow::from),
        };
        let answer = self.hub.ask::<Done>(self.target, Lane::Urgent, self.shared.group, ask, []).await;
        match answer.map_err(|unreached| away(&unreached))? {
            Told::Value(()) => Ok(Ok(())),
            Told::Refused(refused) => Err(away(&PeerRefused(refused))),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(PAUSE)))
    }
}

/// The entry of a row that a peer sent, with those of the bodies that it names.
pub(crate) fn entry(
    index: u64,
    row: &[u8],
    bodies: &std::collections::HashMap<BodyHash, NewBody>,
) -> Result<Entry, codec::Undecodable> {
    let mut entry = codec::decode_entry(index, row)?;
    if let Payload::Normal(joined) = &mut entry.payload {
        let named = joined.commands.bodies();
        let brought = named.iter().filter_map(|hash| bodies.get(hash).cloned());
        joined.bodies = brought.map(|body| Brought { body, by: None }).collect();
        if joined.bodies.len() != named.len() {
            return Err(codec::Undecodable);
        }
    }
    Ok(entry)
}
