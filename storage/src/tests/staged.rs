//! Bodies that are written while they come: taken whole or not at all, shared, and removed when nobody takes them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{bring, commit, copy, mark, open, release, settings};
use crate::reclaim::{Bodies, Job};
use crate::stage::{UNDER_WAY, left_behind};
use crate::{Batch, BodyHash, CHUNK_BYTES, Direction, Error, Family, NewBody, Read, Settings, Store};

const LEN: usize = 3 * CHUNK_BYTES + 77;

fn text(seed: u8) -> Bytes {
    Bytes::from((0..251_u8).cycle().map(|byte| byte.wrapping_mul(seed)).take(LEN).collect::<Vec<_>>())
}

fn hash(seed: u8) -> BodyHash {
    BodyHash::of(&[text(seed)])
}

fn staged(store: &Store, seed: u8, piece_len: usize) -> NewBody {
    let mut staging = store.stage().unwrap();
    text(seed).chunks(piece_len).for_each(|piece| staging.push(piece).unwrap());
    staging.finish().unwrap()
}

/// Waits until what was let go before this is removed.
fn settle(store: &Store) {
    commit(store, Batch::new(), Vec::new()).unwrap();
}

fn chunks(store: &Store) -> usize {
    store.scan(Family::Blob, Vec::new()..Vec::new(), Direction::Forward).unwrap().count()
}

fn own_rows(store: &Store, kind: u8) -> usize {
    let database = store.database();
    let rows = database.db().iterator_cf(database.own(), rocksdb::IteratorMode::Start);
    rows.filter(|row| row.as_ref().unwrap().0[0] == kind).count()
}

/// Without a problem, but for bodies without a name.
fn under_way(store: &Store) -> u64 {
    let report = store.verify(Vec::new(), &mut |_| {}).unwrap();
    assert_eq!(report.problems, []);
    report.under_way
}

#[test]
fn taken_and_read_in_part() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for (seed, piece_len) in [(1, 1000), (2, CHUNK_BYTES), (3, LEN), (4, CHUNK_BYTES + 1)] {
        let body = staged(&store, seed, piece_len);
        assert_eq!((body.hash(), body.len()), (hash(seed), LEN as u64));
        assert!(body.bytes_held() == 0, "it lies in the store");
        assert!(store.body(&hash(seed)).unwrap().is_none(), "nobody can find it yet");
        bring(&store, &[body], b"log");
        let text = text(seed);
        for found in [store.body(&hash(seed)).unwrap().unwrap(), store.body_of(hash(seed), LEN as u64)] {
            found.verify().unwrap();
            for (from, to) in [(0, LEN), (CHUNK_BYTES - 1, CHUNK_BYTES + 1), (LEN - 1, LEN + 9), (LEN, LEN)] {
                let got = found.read(from as u64..to as u64).unwrap().concat();
                assert_eq!(got, text[from..to.min(LEN)], "{from}..{to}");
            }
        }
    }
    assert_eq!(under_way(&store), 0);
    assert_eq!((own_rows(&store, UNDER_WAY), chunks(&store)), (0, 16));
    release(&store, hash(1), b"log");
    assert_eq!(store.collect(10).unwrap().bodies, 1);
    assert_eq!(chunks(&store), 12);
    assert_eq!(under_way(&store), 0);
}

#[test]
fn a_short_one_is_not_staged_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut staging = store.stage().unwrap();
    staging.push(b"Subject: x\r\n\r\n").unwrap();
    assert_eq!((staging.len(), own_rows(&store, UNDER_WAY)), (14, 0));
    let body = staging.finish().unwrap();
    assert_eq!(body.bytes_held(), 14);
    bring(&store, std::slice::from_ref(&body), b"log");
    assert_eq!(store.body(&body.hash()).unwrap().unwrap().len(), 14);
    // Just one chunk: where it is has to be looked for.
    let mut staging = store.stage().unwrap();
    staging.push(&[7; CHUNK_BYTES]).unwrap();
    let body = staging.finish().unwrap();
    bring(&store, std::slice::from_ref(&body), b"log");
    store.body_of(body.hash(), CHUNK_BYTES as u64).verify().unwrap();
}

#[test]
fn a_new_body_is_read_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let pieces = |seed| text(seed).chunks(70_001).map(Bytes::copy_from_slice).collect();
    let (memory, taken, refused) = (NewBody::of(pieces(1)), staged(&store, 2, LEN), staged(&store, 1, 4000));
    let read = |body: &NewBody, seed| {
        let text = text(seed);
        let chunk = CHUNK_BYTES;
        for (from, to) in [
            (0, LEN),
            (0, 1),
            (70_000, 70_002),
            (70_001, 140_002),
            (chunk - 1, chunk + 1),
            (LEN - 1, LEN + 9),
            (LEN, LEN),
        ] {
            let got = body.read(from as u64..to as u64).unwrap().concat();
            assert_eq!(got, text[from..to.min(LEN)], "{from}..{to} of {body:?}");
        }
        assert!(body.read(LEN as u64 + 5..LEN as u64 + 9).unwrap().is_empty());
    };
    let all = [(&memory, 1), (&taken, 2), (&refused, 1)];
    all.iter().for_each(|(body, seed)| read(body, *seed));
    bring(&store, &[memory.clone(), taken.clone(), refused.clone()], b"log");
    // The last one is in the store under another place now, and still where it was written.
    all.iter().for_each(|(body, seed)| read(body, *seed));
    let stored = NewBody::stored(&store.body(&hash(2)).unwrap().unwrap());
    read(&stored, 2);
    assert!(stored.structure().is_none());
    assert_eq!(stored.with_structure(Bytes::from_static(b"row")).structure().unwrap(), "row");
}

#[test]
fn what_nobody_takes_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut aborted = store.stage().unwrap();
    aborted.push(&text(1)).unwrap();
    let refused = staged(&store, 2, LEN);
    assert_eq!((under_way(&store), chunks(&store)), (2, 7));
    drop(aborted);
    settle(&store);
    assert_eq!((under_way(&store), chunks(&store)), (1, 4));
    drop(refused);
    settle(&store);
    assert_eq!((under_way(&store), chunks(&store)), (0, 0));
}

#[test]
fn equal_bodies_are_shared_whichever_came_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let memory = |seed| NewBody::of(vec![text(seed)]);
    // In one batch, in two, staged or not, first or last.
    bring(&store, &[staged(&store, 1, 5000), staged(&store, 1, LEN), memory(1)], b"1");
    bring(&store, &[staged(&store, 1, 9000), memory(1)], b"2");
    bring(&store, &[memory(2)], b"3");
    bring(&store, &[staged(&store, 2, LEN)], b"4");
    settle(&store);
    assert_eq!((chunks(&store), under_way(&store)), (8, 0));
    for seed in [1, 2] {
        store.body(&hash(seed)).unwrap().unwrap().verify().unwrap();
    }
}

/// A message for two shards is named by two commits.
#[test]
fn several_commits_take_one_body_whatever_happens_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for equal_first in [false, true] {
        let body = staged(&store, 1, LEN);
        if equal_first {
            bring(&store, &[NewBody::of(vec![text(1)])], b"0");
            release(&store, body.hash(), b"0");
        }
        bring(&store, std::slice::from_ref(&body), b"1");
        release(&store, body.hash(), b"1");
        assert_eq!(store.collect(10).unwrap().bodies, 0, "another commit may still name it");
        bring(&store, std::slice::from_ref(&body), b"2");
        store.body(&body.hash()).unwrap().unwrap().verify().unwrap();
        release(&store, body.hash(), b"2");
        let hash = body.hash();
        drop(body);
        settle(&store);
        store.collect(10).unwrap();
        assert!(store.body(&hash).unwrap().is_none());
        assert_eq!((chunks(&store), under_way(&store)), (0, 0));
    }
}

/// The structure of a body comes and goes with it, and only with the first.
#[test]
fn the_row_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let row = |text: &'static [u8]| Bytes::from_static(text);
    bring(&store, &[staged(&store, 1, LEN).with_structure(row(b"one"))], b"1");
    bring(&store, &[staged(&store, 1, LEN).with_structure(row(b"two"))], b"1");
    assert_eq!(store.read(Family::Structure, &hash(1).0).unwrap().unwrap(), b"one"[..]);
    drop(staged(&store, 2, LEN).with_structure(row(b"three")));
    settle(&store);
    assert!(store.read(Family::Structure, &hash(2).0).unwrap().is_none());
    release(&store, hash(1), b"1");
    store.collect(10).unwrap();
    assert!(store.read(Family::Structure, &hash(1).0).unwrap().is_none());
}

#[test]
fn one_that_is_stored_is_only_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    bring(&store, &[staged(&store, 1, LEN)], b"1");
    let stored = NewBody::stored(&store.body(&hash(1)).unwrap().unwrap());
    bring(&store, std::slice::from_ref(&stored), b"2");
    assert_eq!((stored.bytes_held(), chunks(&store)), (0, 4));
    for holder in [b"1", b"2"] {
        release(&store, hash(1), holder);
    }
    assert_eq!(store.collect(10).unwrap().bodies, 1);
    let mut batch = Batch::new();
    batch.bring_body(stored);
    assert!(matches!(commit(&store, batch, Vec::new()), Err(Error::Damaged { .. })));
}

/// A disk that fills up: the writer is told, and what it wrote goes.
#[test]
fn a_full_disk_is_told_and_the_room_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut staging = store.stage().unwrap();
    staging.push(&text(1)).unwrap();
    drop((staging, store));
    store = Store::open(dir.path(), Settings { min_free_bytes: u64::MAX, ..settings() }).unwrap();
    let mut staging = store.stage().unwrap();
    assert!(matches!(staging.push(&text(1)), Err(Error::Full { .. })));
    drop(staging);
    settle(&store);
    assert_eq!(chunks(&store), 0);
}

/// As the disk is after a crash: all that was written, or without the end of the log at any place.
#[test]
fn a_crash_while_staging_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path().join("store").as_path());
    let mut batch = Batch::new();
    let first = staged(&store, 1, LEN);
    batch.hold_body(first.hash(), b"log");
    batch.bring_body(first);
    commit(&store, batch, vec![mark(1)]).unwrap();
    let acknowledged = log_len(store.dir());
    let mut aborted = store.stage().unwrap();
    aborted.push(&text(2)).unwrap();
    let _finished = staged(&store, 3, LEN);
    let end = log_len(store.dir());
    assert!(end > acknowledged + 6 * CHUNK_BYTES as u64);
    let cuts = (0..=12).map(|step| acknowledged + (end - acknowledged) * step / 12);
    for (number, len) in cuts.enumerate() {
        let crashed = dir.path().join(number.to_string());
        copy(store.dir(), &crashed);
        std::fs::OpenOptions::new().write(true).open(log(&crashed)).unwrap().set_len(len).unwrap();
        let store = open(&crashed);
        settle(&store);
        assert_eq!(left_behind(store.database()).unwrap().len(), 0);
        assert_eq!((chunks(&store), under_way(&store)), (4, 0), "cut at {len} of {end}");
        store.body(&hash(1)).unwrap().unwrap().verify().unwrap();
        assert!(store.body(&hash(3)).unwrap().is_none());
    }
}

fn log(dir: &Path) -> std::path::PathBuf {
    crate::wal::logs(&dir.join("db")).unwrap().pop().unwrap()
}

/// The log without the room that is allocated behind it.
fn log_len(dir: &Path) -> u64 {
    let bytes = std::fs::read(log(dir)).unwrap();
    bytes.len() as u64 - bytes.iter().rev().take_while(|byte| **byte == 0).count() as u64
}

/// What a check finds wrong with staged bodies.
#[test]
fn the_check_knows_their_places() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let places = [[0x10; 32], [0x90; 32], [0xF0; 32]];
    for (seed, place) in (1..).zip(places) {
        let mut staging = store.stage_at(place);
        staging.push(&text(seed)).unwrap();
        bring(&store, &[staging.finish().unwrap()], b"log");
    }
    assert_eq!(under_way(&store), 0);
    let database = store.database();
    let chunk = |place: [u8; 32], number| crate::body::chunk_key(&crate::body::Place(place), number);
    database.db().delete_cf(database.handle(Family::Blob), chunk(places[0], 2)).unwrap();
    database.db().put_cf(database.handle(Family::Blob), chunk(places[1], 3), [0; 77]).unwrap();
    database.db().put_cf(database.handle(Family::Blob), chunk([0x50; 32], 0), [0; 77]).unwrap();
    // The name of the third is lost.
    database.db().delete_cf(database.handle(Family::BlobRef), hash(3).0).unwrap();
    let report = store.verify(Vec::new(), &mut |_| {}).unwrap();
    let mut found: Vec<String> = report.problems.iter().map(|problem| format!("{problem:?}")).collect();
    found.sort();
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(found[0].contains("Damaged") && found[1].contains("Damaged"));
    assert!(found[0].contains(&hash(1).to_string()) || found[1].contains(&hash(1).to_string()));
    assert!(found[2].contains("Missing") && found[2].contains(&hash(3).to_string()));
    assert!(found[3].starts_with("StrayChunk { key: [240") && found[4].starts_with("StrayChunk { key: [80"));
}

/// Many at the same time, while others commit; some are given up.
#[test]
fn many_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    std::thread::scope(|scope| {
        for seed in 1..=8 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..4_u8 {
                    let body = staged(store, seed, 40_000);
                    if round % 2 == 0 {
                        bring(store, &[body], &[seed, round]);
                    }
                }
            });
        }
    });
    settle(&store);
    assert_eq!((chunks(&store), under_way(&store)), (32, 0));
}

/// Files of bodies by name, with their bytes.
fn blob_files(store: &Store) -> BTreeMap<OsString, u64> {
    let files = std::fs::read_dir(store.dir().join("db")).unwrap().map(|file| file.unwrap());
    let blobs = files.filter(|file| file.path().extension().is_some_and(|e| e == "blob"));
    // One may go meanwhile.
    blobs.filter_map(|file| Some((file.file_name(), file.metadata().ok()?.len()))).collect()
}

fn noise(bodies: u64, chunks: usize, mut each: impl FnMut(&[Vec<u8>])) {
    for seed in 0..bodies {
        let mut noise = blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof();
        let body: Vec<Vec<u8>> = (0..chunks)
            .map(|_| {
                let mut chunk = vec![0; CHUNK_BYTES];
                noise.fill(&mut chunk);
                chunk
            })
            .collect();
        each(&body);
    }
}

/// The room of what was given up comes back on a disk that fills up, though nothing else is written, and though none of
/// it is large; what is kept is not written anew for it.
#[test]
fn what_is_given_up_gives_its_room_back_and_leaves_the_rest_alone() {
    const MIB_20: u64 = 80 * CHUNK_BYTES as u64;
    let dir = tempfile::tempdir().unwrap();
    let disk = rustix::fs::statvfs(dir.path()).unwrap();
    let free_bytes = disk.f_bavail * disk.f_frsize;
    let scarce = Settings { min_free_bytes: free_bytes / 5 * 3, ..settings() };
    let store = Store::open(dir.path(), scarce).unwrap();
    noise(10, 40, |body| {
        let body = NewBody::of(body.iter().map(|chunk| Bytes::copy_from_slice(chunk)).collect());
        bring(&store, &[body], b"log");
    });
    // In files of its own: a file goes when nothing in it is wanted any more.
    store.flush().unwrap();
    let kept = blob_files(&store);
    assert!(kept.values().sum::<u64>() >= 5 * MIB_20);
    let mut given_up = Vec::new();
    noise(16, 20, |body| {
        let mut staging = store.stage().unwrap();
        body.iter().for_each(|chunk| staging.push(chunk).unwrap());
        given_up.push(staging);
    });
    store.flush().unwrap();
    assert!(blob_files(&store).len() > kept.len());
    drop(given_up);
    settle(&store);
    let end = Instant::now() + Duration::from_secs(120);
    while blob_files(&store) != kept {
        assert!(Instant::now() < end, "{:?} are there, {kept:?} are wanted", blob_files(&store));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(under_way(&store), 0);
}

/// Files of which little is wanted go, and what is wanted of them stays.
#[test]
fn files_that_are_wanted_in_part_are_tidied() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut hashes = Vec::new();
    noise(40, 20, |body| {
        let body = NewBody::of(body.iter().map(|chunk| Bytes::copy_from_slice(chunk)).collect());
        hashes.push(body.hash());
        bring(&store, &[body], b"log");
    });
    for hash in hashes.iter().enumerate().filter(|(number, _)| number % 4 != 0).map(|(_, hash)| *hash) {
        release(&store, hash, b"log");
    }
    assert_eq!(store.collect(100).unwrap().bodies, 30);
    let (database, never) = (store.database(), AtomicBool::new(false));
    assert!(Job::Forget(Bodies::of(database).parts()).run(database, &never));
    let bytes = |store: &Store| blob_files(store).values().sum::<u64>();
    let before = Bodies::of(database);
    assert!(before.unwanted_bytes * 2 > before.bytes, "{before:?}");
    let share = before.share_to_move(u64::MAX, false).unwrap();
    assert!(Job::Move { share, parts: before.parts() }.run(database, &never));
    let wanted = 10 * 20 * CHUNK_BYTES as u64;
    assert!(bytes(&store) < wanted * 5 / 4, "{} bytes are there for {wanted}", bytes(&store));
    for (number, hash) in hashes.iter().enumerate() {
        match store.body(hash).unwrap() {
            Some(body) => body.verify().unwrap(),
            None => assert_ne!(number % 4, 0),
        }
    }
    assert_eq!(Bodies::of(database).share_to_move(u64::MAX, true), None);
}

/// What a crash left goes too, without a look at its bytes.
#[test]
fn what_was_under_way_goes_though_it_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let mut staging = store.stage().unwrap();
    noise(1, 20, |body| body.iter().for_each(|chunk| staging.push(chunk).unwrap()));
    store.flush().unwrap();
    let crashed = dir.path().join("crashed");
    copy(store.dir(), &crashed);
    for file in std::fs::read_dir(crashed.join("db")).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|e| e == "blob") {
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle..middle + 100].fill(0);
            std::fs::write(&file, bytes).unwrap();
        }
    }
    let store = open(&crashed);
    settle(&store);
    assert_eq!(left_behind(store.database()).unwrap().len(), 0);
    assert_eq!((chunks(&store), under_way(&store)), (0, 0));
}

#[test]
fn no_more_is_under_way_than_the_settings_allow() {
    let dir = tempfile::tempdir().unwrap();
    let most = Settings { under_way_max_bytes: 4 * CHUNK_BYTES as u64, ..settings() };
    let store = Store::open(dir.path(), most).unwrap();
    let first = staged(&store, 1, 2 * CHUNK_BYTES);
    let mut second = store.stage().unwrap();
    assert!(matches!(second.push(&text(2)), Err(Error::Busy { .. })));
    assert!(matches!(second.push(&text(2)), Err(Error::Invalid { .. })), "it has a hole");
    assert!(matches!(second.finish(), Err(Error::Invalid { .. })));
    bring(&store, &[first], b"log");
    // The commit is gone, not only told of.
    settle(&store);
    bring(&store, &[staged(&store, 2, LEN)], b"log");
    settle(&store);
    assert_eq!(under_way(&store), 0);
}
