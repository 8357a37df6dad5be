//! What openraft is told of requests that are under way together.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use openraft::RaftNetworkFactory;
use openraft::raft::AppendEntriesRequest;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;

use super::{GROUP, entry};
use crate::codec::log_id;
use crate::counter;
use crate::log::{Alive, Shared};
use crate::peers::network::Network;
use crate::peers::wire::{self, Appended, Ask};
use crate::peers::{Hub, pipeline};
use crate::types::{Entry, LogId, Types, Vote};
use crate::{Call, Lane, NodeId, Transport};

/// Longest wait for anything.
const LONG: Duration = Duration::from_secs(30);

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

/// What goes to a peer of the first node, which lets word of commits alone wait for so long.
struct Sender {
    peer: crate::peers::network::Peer,
    shared: Arc<Shared>,
    empties: Arc<Semaphore>,
    came: Arc<Mutex<Vec<usize>>>,
    _folder: tempfile::TempDir,
}

impl Sender {
    async fn new(commit_wait_ms: u64) -> Sender {
        let folder = tempfile::tempdir().unwrap();
        let store = counter::store(folder.path());
        let settings = crate::Settings { commit_wait_ms, ..counter::settings(folder.path()) };
        let (shared, _log) = Shared::open(&store, GROUP, &settings, Alive::new().0).unwrap();
        let (empties, came) = (Arc::new(Semaphore::new(0)), Arc::default());
        let transport = Arc::new(Peer { empties: Arc::clone(&empties), came: Arc::clone(&came) });
        let hub = Arc::new(Hub::new(NodeId(1), store, transport, settings.snapshots));
        let peer = Network { hub, shared: Arc::clone(&shared) }.new_client(2, &()).await;
        Sender { peer, shared, empties, came, _folder: folder }
    }
}

/// Entries, word of a commit that ends where these do, and more entries.
fn requests() -> [AppendEntriesRequest<Types>; 3] {
    [
        request(log_id(1, 1, 1), vec![entry(1, 2)]),
        request(log_id(1, 1, 2), Vec::new()),
        request(log_id(1, 1, 2), vec![entry(1, 3), entry(1, 4)]),
    ]
}

/// openraft takes an answer for all requests that end there, as of the moment of the newest: a leader that was stopped
/// between two would count its lease from when it went on, and answer what another leader knows better.
#[tokio::test]
async fn an_answer_does_not_vouch_for_what_was_asked_later() {
    let sender = Sender::new(0).await;
    let mut told = pipeline::run(&sender.peer, stream::iter(requests()));
    let early = tokio::time::timeout(Duration::from_millis(200), told.next()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(*sender.came.lock(), [1, 0, 2], "all three are under way");
    sender.empties.add_permits(1);
    let mut answers = Vec::new();
    while let Some(answer) = told.next().await {
        answers.push(answer.unwrap().unwrap().map(|last| last.index));
    }
    assert_eq!(answers, [Some(2), Some(4)]);
}

/// Requests as they are sent, one after the other.
fn fed() -> (UnboundedSender<AppendEntriesRequest<Types>>, BoxStream<'static, AppendEntriesRequest<Types>>) {
    let (give, take) = tokio::sync::mpsc::unbounded_channel();
    (give, stream::unfold(take, |mut take| async move { Some((take.recv().await?, take)) }).boxed())
}

/// Entries, and word that all of them are committed.
fn entries_and_word() -> [AppendEntriesRequest<Types>; 2] {
    let [entries, word, _] = requests();
    [entries, AppendEntriesRequest { leader_commit: Some(log_id(1, 1, 2)), ..word }]
}

type Answers<'a> = openraft::base::BoxStream<'a, pipeline::Told>;

/// The end of the next answer, if it comes soon.
async fn soon(told: &mut Answers<'_>, within: Duration) -> Option<u64> {
    let answer = tokio::time::timeout(within, told.next()).await.ok()?;
    answer.unwrap().unwrap().unwrap().map(|last| last.index)
}

/// Neither does it for word of a commit that went with the entries behind it.
#[tokio::test]
async fn word_of_a_commit_goes_with_the_entries_behind_it() {
    let sender = Sender::new(10_000).await;
    let (give, requests_fed) = fed();
    let mut told = pipeline::run(&sender.peer, requests_fed);
    for request in entries_and_word() {
        give.send(request).unwrap();
    }
    let early = soon(&mut told, Duration::from_millis(200)).await;
    assert_eq!(early, None, "the lease would count from the word, of which nobody has heard");
    let [_, _, more] = requests();
    give.send(more).unwrap();
    assert_eq!(soon(&mut told, LONG).await, Some(4));
    assert_eq!(*sender.came.lock(), [1, 2]);
}

/// It goes alone when nothing follows in time, and several go as one.
#[tokio::test]
async fn word_of_a_commit_does_not_wait_for_long() {
    let sender = Sender::new(50).await;
    sender.empties.add_permits(1);
    let (give, requests_fed) = fed();
    let mut told = pipeline::run(&sender.peer, requests_fed);
    let [entries, word] = entries_and_word();
    for request in [entries, word.clone(), word] {
        give.send(request).unwrap();
    }
    assert_eq!(soon(&mut told, LONG).await, Some(2));
    assert_eq!(*sender.came.lock(), [1, 0]);
}

/// And at once where somebody waits for it, or for the answer to entries that it does not reach.
#[tokio::test]
async fn word_of_a_commit_goes_at_once_when_it_is_awaited() {
    let sender = Sender::new(60_000).await;
    sender.empties.add_permits(2);
    let (give, requests_fed) = fed();
    let mut told = pipeline::run(&sender.peer, requests_fed);
    for request in entries_and_word() {
        give.send(request).unwrap();
    }
    assert_eq!(soon(&mut told, Duration::from_millis(200)).await, None);
    sender.shared.awaits(2);
    assert_eq!(soon(&mut told, LONG).await, Some(2));
    let [_, word, more] = requests();
    give.send(more).unwrap();
    give.send(AppendEntriesRequest {
        prev_log_id: Some(log_id(1, 1, 4)),
        leader_commit: Some(log_id(1, 1, 3)),
        ..word
    })
    .unwrap();
    assert_eq!(soon(&mut told, LONG).await, Some(4));
    assert_eq!(*sender.came.lock(), [1, 0, 2, 0]);
}

/// What was sent before the requests end is answered, with a word that waits or without.
#[tokio::test]
async fn the_end_of_requests_ends_the_wait() {
    let sender = Sender::new(60_000).await;
    let mut told = pipeline::run(&sender.peer, stream::iter(entries_and_word()));
    assert!(tokio::time::timeout(LONG, told.next()).await.unwrap().is_none());
    assert_eq!(*sender.came.lock(), [1]);
}
