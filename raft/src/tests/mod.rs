//! Tests of the log store and the state machine as openraft drives them.

mod arrivals;
mod fixtures;
mod log;
mod pipeline;
mod suite;

use std::sync::Arc;

use bytes::Bytes;
use estafette_storage::Store;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};

use crate::codec::log_id;
use crate::counter;
use crate::log::{Alive, LogStore, Shared};
use crate::types::{Brought, Command, Commands, Entry, Joined, Payload};
use crate::{GroupId, NewBody};

const GROUP: GroupId = GroupId::shard(0);

/// The log of a group in a store, as it is after a start.
fn open(store: &Store) -> LogStore {
    let settings = counter::settings(store.dir());
    Shared::open(store, GROUP, &settings, Alive::new().0).unwrap().1
}

/// The body that an entry brings.
fn body(term: u64, index: u64) -> NewBody {
    let chunks = vec![Bytes::from(format!("body of {index} in {term}\r\n").repeat(20))];
    NewBody::of(chunks)
}

/// An entry with one command and one body.
fn entry(term: u64, index: u64) -> Entry {
    let body = body(term, index);
    let command =
        Command { payload: Bytes::copy_from_slice(&index.to_be_bytes()), bodies: vec![body.hash()] };
    let commands = Commands { time_ms: 1_000_000 + index, seed: [7; 16], list: vec![command] };
    let payload =
        Payload::Normal(Joined { commands: Arc::new(commands), bodies: vec![Brought { body, by: None }] });
    Entry { log_id: log_id(term, 1, index), payload }
}

async fn append(log: &mut LogStore, entries: impl IntoIterator<Item = Entry>) {
    let entries: Vec<Entry> = entries.into_iter().collect();
    log.blocking_append(entries).await.unwrap();
}

/// Term and index of all entries, each with the payload that it has to have.
async fn all(log: &mut LogStore) -> Vec<(u64, u64)> {
    use openraft::RaftLogReader;
    let state = log.get_log_state().await.unwrap();
    let entries = log.get_log_reader().await.try_get_log_entries(..).await.unwrap();
    let found: Vec<_> = entries
        .iter()
        .map(|found| {
            let (term, index) = (found.log_id.leader_id.term, found.log_id.index);
            if let (Payload::Normal(found), Payload::Normal(made)) =
                (&found.payload, entry(term, index).payload)
            {
                assert_eq!(found.commands, made.commands);
            }
            (term, index)
        })
        .collect();
    let last = state.last_log_id.map(|id| (id.leader_id.term, id.index));
    let purged = state.last_purged_log_id.map(|id| (id.leader_id.term, id.index));
    assert_eq!(last, found.last().copied().or(purged));
    found
}
