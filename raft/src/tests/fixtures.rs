//! The bytes of a group's rows and of a snapshot file, as version 1 wrote them. What fails here would not be able to
//! read the data of those who have it: a change of the encoding needs a new version byte, a fixture of its own, and
//! this one stays. (Entries with commands have one more in `codec`.)

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use estafette_storage::{Batch, Direction, Family, Read, Store};
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;

use super::{GROUP, append, entry, open};
use crate::codec::{self, Applied, log_id};
use crate::counter::{self, Counter};
use crate::keys::{self, Meta};
use crate::log::{Alive, Found, Shared};
use crate::snapshot;
use crate::state::StateMachine;
use crate::types::{Entry, LogId, Membership, Payload, StoredMembership, Vote};
use crate::{Node, NodeId};

const ROWS: &str = include_str!("fixtures/rows_1.hex");
const SNAPSHOT: &str = include_str!("fixtures/snapshot_1.hex");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn id(term: u64, index: u64) -> LogId {
    log_id(term, 1, index)
}

fn membership() -> Membership {
    let voters = vec![BTreeSet::from([1, 300]), BTreeSet::from([1])];
    Membership::new(voters, BTreeMap::from([(1, ()), (300, ()), (70_000, ())])).unwrap()
}

fn applied() -> Applied {
    let membership = StoredMembership::new(Some(id(2, 300)), membership());
    Applied { log_id: Some(id(2, 301)), membership, time_ms: 1_800_000_000_123 }
}

/// One of every kind of entry, behind a purged one.
fn entries() -> [Entry; 4] {
    let blank = Entry { log_id: id(1, 299), payload: Payload::Blank };
    let change = Entry { log_id: id(2, 300), payload: Payload::Membership(membership()) };
    [blank, change, entry(2, 301), entry(1 << 35, 302)]
}

/// One of every kind of row.
async fn write(store: &Store) {
    Node::start(store.clone(), NodeId(77), counter::settings(store.dir())).unwrap();
    let mut log = open(store);
    log.save_vote(&Vote::new_committed(1 << 35, 1)).await.unwrap();
    log.purge(id(1, 298)).await.unwrap();
    append(&mut log, entries()).await;
    let mut batch = Batch::new();
    batch.put(Family::RaftMeta, keys::meta(GROUP, Meta::Applied), codec::encode_applied(&applied()));
    batch.put(Family::RaftMeta, keys::meta(GROUP, Meta::Durable), codec::encode_log_id(&id(2, 300)));
    store.apply_batch(batch).unwrap();
}

/// All rows of the log and about it, as lines of family, key and value; then the holds on bodies.
fn dump(store: &Store) -> String {
    let mut lines = String::new();
    for family in [Family::RaftLog, Family::RaftMeta] {
        for row in store.scan(family, Vec::new()..Vec::new(), Direction::Forward).unwrap() {
            let row = row.unwrap();
            writeln!(lines, "{} {} {}", family.name(), hex(&row.key), hex(&row.value)).unwrap();
        }
    }
    for row in store.scan(Family::BlobRef, Vec::new()..Vec::new(), Direction::Forward).unwrap() {
        let key = row.unwrap().key;
        if key.len() > 36 {
            writeln!(lines, "hold {}", hex(&key[32..])).unwrap();
        }
    }
    lines
}

#[tokio::test]
async fn rows_are_written_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = counter::store(dir.path());
    write(&store).await;
    let rows = dump(&store);
    assert_eq!(rows, ROWS, "the rows now:\n{rows}");
}

#[tokio::test]
async fn rows_are_read_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = counter::store(dir.path());
    let mut batch = Batch::new();
    for line in ROWS.lines().filter(|line| !line.starts_with("hold")) {
        let [name, key, value] = line.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        let family = Family::ALL.into_iter().find(|family| family.name() == name).unwrap();
        batch.put(family, unhex(key), unhex(value));
    }
    store.apply_batch(batch).unwrap();

    assert!(
        Node::start(store.clone(), NodeId(78), counter::settings(dir.path())).is_err(),
        "it is node 77's"
    );
    Node::start(store.clone(), NodeId(77), counter::settings(dir.path())).unwrap();
    let found = Found::read(&store, GROUP).unwrap();
    assert_eq!(found.vote, Some(Vote::new_committed(1 << 35, 1)));
    assert_eq!((found.purged, found.last), (Some(id(1, 298)), Some(id(1 << 35, 302))));
    let read = open(&store).get_log_reader().await.try_get_log_entries(..).await.unwrap();
    assert_eq!(read.len(), entries().len());
    for (read, written) in read.iter().zip(entries()) {
        assert_eq!(read.log_id, written.log_id);
        match (&read.payload, &written.payload) {
            (Payload::Blank, Payload::Blank) => {}
            (Payload::Membership(read), Payload::Membership(written)) => assert_eq!(read, written),
            (Payload::Normal(read), Payload::Normal(written)) => assert_eq!(read.commands, written.commands),
            other => panic!("{other:?}"),
        }
    }
    let row = |what| store.read(Family::RaftMeta, &keys::meta(GROUP, what)).unwrap().unwrap();
    assert_eq!(codec::decode_applied(&row(Meta::Applied)).unwrap(), applied());
    assert_eq!(codec::decode_log_id(&row(Meta::Durable)).unwrap(), id(2, 300));
    // A row is of version 1 or it is not read.
    for line in ROWS.lines().filter(|line| line.starts_with("raft_log")) {
        let mut newer = unhex(line.rsplit(' ').next().unwrap());
        newer[0] = 2;
        assert!(codec::decode_entry(1, &newer).is_err() && codec::decode_entry_id(1, &newer).is_err());
    }
}

/// The state machine of a store with two rows, and what it has applied.
fn state(store: &Store) -> StateMachine {
    let settings = counter::settings(store.dir());
    let (shared, _log) = Shared::open(store, GROUP, &settings, Alive::new().0).unwrap();
    StateMachine::open(shared, Box::new(Counter::new(7)), settings.snapshots, Alive::new().0).unwrap()
}

/// Two peers may need one at the same time: the second one that is written takes the first one out of the folder.
#[tokio::test]
async fn a_snapshot_stays_readable_when_a_newer_one_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = counter::store(folder.path());
    let settings = counter::settings(folder.path());
    let (shared, _log) = Shared::open(&store, GROUP, &settings, Alive::new().0).unwrap();
    let write = |index| {
        let applied = Applied { log_id: Some(log_id(1, 1, index)), ..applied() };
        let mut batch = Batch::new();
        batch.put(Family::RaftMeta, keys::meta(GROUP, Meta::Applied), codec::encode_applied(&applied));
        store.apply_batch(batch).unwrap();
        snapshot::write_in_turn(&shared, &settings.snapshots, &state(&store).rows()).unwrap()
    };
    let (first, mut file) = write(7);
    let whole = std::fs::read(&first).unwrap();
    let (second, _) = write(8);
    assert!(!first.exists() && second.exists());
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut read).unwrap();
    assert_eq!(read, whole);
}

#[tokio::test]
async fn a_snapshot_is_written_and_read_as_ever() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = counter::store(from.path());
    let mut batch = Batch::new();
    batch.put(Family::RaftMeta, keys::meta(GROUP, Meta::Applied), codec::encode_applied(&applied()));
    batch.put(Family::Row, Counter::key(7, 1), [1; 44]);
    batch.put(Family::Row, Counter::key(7, 1 << 60), [2; 44]);
    store.apply_batch(batch).unwrap();
    let path = snapshot::write(&from.path().join("snapshots"), GROUP, &state(&store).rows()).unwrap();
    let now = hex(&std::fs::read(path).unwrap());
    assert_eq!(now, SNAPSHOT.trim(), "the snapshot now");

    let path = to.path().join("received");
    std::fs::write(&path, unhex(SNAPSHOT.trim())).unwrap();
    let reader = snapshot::Reader::open(&path, GROUP).unwrap();
    assert_eq!(reader.applied, applied());
    let other = counter::store(to.path());
    let settings = counter::settings(to.path());
    let (shared, _log) = Shared::open(&other, GROUP, &settings, Alive::new().0).unwrap();
    let ranges = state(&other).rows().ranges;
    snapshot::replace_rows(&shared, reader, &ranges).unwrap();
    other.apply_batch(snapshot::installed(GROUP, &applied())).unwrap();
    let sum = |store: &Store| snapshot::checksum(&state(store).rows()).unwrap();
    assert_eq!(sum(&other), sum(&store));
    assert_eq!(sum(&other).rows, 2);
}
