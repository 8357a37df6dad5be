//! What openraft is told of requests that are under way together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use openraft::RaftNetworkFactory;
use openraft::raft::AppendEntriesRequest;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{GROUP, entry};
use crate::codec::log_id;
use crate::counter;
use crate::log::{Alive, Shared};
use crate::peers::network::Network;
use crate::peers::wire::{self, Appended, Ask};
use crate::peers::{Hub, pipeline};
use crate::types::{Entry, LogId, Types, Vote};
use crate::{Call, Lane, NodeId, Transport};

/// A peer that takes all, requests without entries only as they are let through.
struct Peer {
    empties: Arc<Semaphore>,
    /// Entries in each request, in the order in which they came.
    came: Arc<Mutex<Vec<usize>>>,
}

impl Transport for Peer {
    fn call(&self, _: NodeId, _: Lane, request: Vec<Bytes>) -> Call {
        let (empties, came) = (Arc::clone(&self.empties), Arc::clone(&self.came));
        Box::pin(async move {
            let (request, _) = wire::read_request(request.concat().into()).unwrap();
            let Ask::Append(append) = request.ask else { panic!("only entries are sent") };
            came.lock().push(append.entries.len());
            if append.entries.is_empty() {
                empties.acquire().await.unwrap().forget();
            }
            Ok(wire::answer(&Appended::Success))
        })
    }
}

fn request(prev: LogId, entries: Vec<Entry>) -> AppendEntriesRequest<Types> {
    AppendEntriesRequest {
        vote: Vote::new(1, 1),
        prev_log_id: Some(prev),
        entries,
        leader_commit: Some(log_id(1, 1, 1)),
    }
}

/// openraft takes an answer for all requests that end there, as of the moment of the newest: a leader that was stopped
/// between two would count its lease from when it went on, and answer what another leader knows better.
#[tokio::test]
async fn an_answer_does_not_vouch_for_what_was_asked_later() {
    let folder = tempfile::tempdir().unwrap();
    let store = counter::store(folder.path());
    let settings = counter::settings(folder.path());
    let (shared, _log) = Shared::open(&store, GROUP, &settings, Alive::new().0).unwrap();
    let (empties, came) = (Arc::new(Semaphore::new(0)), Arc::default());
    let transport = Arc::new(Peer { empties: Arc::clone(&empties), came: Arc::clone(&came) });
    let hub = Arc::new(Hub::new(NodeId(1), store, transport, settings.snapshots));
    let peer = Network { hub, shared }.new_client(2, &()).await;
    // Entries, word of a commit that ends where these do, and more entries.
    let requests = [
        request(log_id(1, 1, 1), vec![entry(1, 2)]),
        request(log_id(1, 1, 2), Vec::new()),
        request(log_id(1, 1, 2), vec![entry(1, 3), entry(1, 4)]),
    ];
    let mut told = pipeline::run(&peer, stream::iter(requests));
    let early = tokio::time::timeout(Duration::from_millis(200), told.next()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(*came.lock(), [1, 0, 2], "all three are under way");
    empties.add_permits(1);
    let mut answers = Vec::new();
    while let Some(answer) = told.next().await {
        answers.push(answer.unwrap().unwrap().map(|last| last.index));
    }
    assert_eq!(answers, [Some(2), Some(4)]);
}
