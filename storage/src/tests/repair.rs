//! Damaged bodies: found where they are read and by the scrub, never handed out, and repaired.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use super::{commit, open};
use crate::body::{Known, chunk_key};
use crate::reclaim::Job;
use crate::{
    Batch, Body, BodyHash, CHUNK_BYTES, Direction, Error, Family, NewBody, Problem, Read, Scrubbed, Store,
};

/// Bytes that no compression makes shorter.
fn text(seed: u8, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes.into()
}

const LENGTHS: [usize; 4] = [30, 5000, CHUNK_BYTES, 2 * CHUNK_BYTES + 700];

fn body(seed: u8) -> NewBody {
    NewBody::of(vec![text(seed, LENGTHS[usize::from(seed) % LENGTHS.len()])])
}

/// The same, written while it comes.
fn staged(store: &Store, seed: u8) -> NewBody {
    let mut staging = store.stage().unwrap();
    body(seed).read(0..u64::MAX).unwrap().iter().for_each(|piece| staging.push(piece).unwrap());
    staging.finish().unwrap()
}

fn bring(store: &Store, body: NewBody) -> BodyHash {
    let hash = body.hash();
    let mut batch = Batch::new();
    batch.hold_body(hash, b"log");
    batch.bring_body(body);
    commit(store, batch, Vec::new()).unwrap();
    hash
}

/// Other bytes under the key of a chunk, as if they had always been there.
fn spoil(store: &Store, hash: BodyHash, chunk: u32) {
    let place = Known::find(store.database(), &hash).unwrap().stored().unwrap().place;
    let key = chunk_key(&place, chunk);
    let mut bytes = store.read(Family::Blob, &key).unwrap().unwrap().to_vec();
    bytes[7] ^= 1;
    let database = store.database();
    database.db().put_cf(database.handle(Family::Blob), key, bytes).unwrap();
}

fn find(store: &Store, hash: BodyHash) -> Body {
    store.body(&hash).unwrap().unwrap()
}

fn assert_damaged<T: std::fmt::Debug>(store: &Store, hash: BodyHash, result: &Result<T, Error>) {
    match result {
        Err(error @ Error::Damaged { place, .. }) if place.contains(&hash.to_string()) => {
            assert!(error.is_fatal());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(damaged(store), [hash]);
}

fn damaged(store: &Store) -> Vec<BodyHash> {
    store.damaged(100).into_iter().map(|(hash, _)| hash).collect()
}

fn chunks(store: &Store) -> usize {
    store.scan(Family::Blob, Vec::new()..Vec::new(), Direction::Forward).unwrap().count()
}

fn problems(store: &Store) -> Vec<Problem> {
    store.verify(Vec::new(), &mut |_| {}).unwrap().problems
}

#[test]
fn other_bytes_are_never_handed_out_for_a_body() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for seed in 0..4 {
        let hash = bring(&store, body(seed));
        spoil(&store, hash, 0);
        assert_damaged(&store, hash, &find(&store, hash).all());
        assert_damaged(&store, hash, &find(&store, hash).verify());
        // In part: what has one chunk is read whole in any case.
        let part = find(&store, hash).read(0..10);
        if body(seed).len() <= CHUNK_BYTES as u64 {
            assert_damaged(&store, hash, &part);
            assert_damaged(&store, hash, &store.body_of(hash, body(seed).len()).read(3..5));
        } else {
            assert!(part.is_ok());
        }
        assert!(matches!(store.repair(NewBody::named(hash, vec![text(99, 30)])), Err(Error::Invalid { .. })));
        assert!(matches!(store.repair(NewBody::absent(hash, None)), Err(Error::Invalid { .. })));
        assert_eq!(damaged(&store), [hash]);
        store.repair(body(seed)).unwrap();
        assert_eq!(damaged(&store), []);
        assert_eq!(
            find(&store, hash).all().unwrap().concat(),
            body(seed).read(0..u64::MAX).unwrap().concat()
        );
        // Its hold is still there: the repair makes it no body without a name.
        assert_eq!(store.collect(10).unwrap().bodies, 0);
        assert_eq!(problems(&store), []);
    }
}

/// A file of bodies with a flipped bit, as a disk would do it.
#[test]
fn a_flipped_bit_names_the_body() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let hashes: Vec<BodyHash> = [1, 2, 3, 5].map(|seed| bring(&store, body(seed))).to_vec();
    store.flush().unwrap();
    drop(store);
    flip(dir.path(), &text(2, CHUNK_BYTES)[5000..5050]);
    let store = open(dir.path());
    for _ in 0..2 {
        assert_damaged(&store, hashes[1], &find(&store, hashes[1]).read(0..10));
        assert_damaged(&store, hashes[1], &find(&store, hashes[1]).all());
    }
    for hash in [hashes[0], hashes[2], hashes[3]] {
        find(&store, hash).all().unwrap();
    }
    assert_eq!(damaged(&store), [hashes[1]]);
    store.repair(body(2)).unwrap();
    drop(store);
    let store = open(dir.path());
    find(&store, hashes[1]).all().unwrap();
    assert_eq!(problems(&store), []);
}

/// Why nothing is moved while damage is known; and a repaired body is moved like any other.
#[test]
fn moving_a_damaged_body_stops_all_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let hash = bring(&store, body(2));
    store.flush().unwrap();
    drop(store);
    flip(dir.path(), &text(2, CHUNK_BYTES)[5000..5050]);
    let all = || Job::Move { share: 1.0, parts: vec![Vec::new()..Vec::new()] };
    let store = open(dir.path());
    all().run(store.database(), &AtomicBool::new(false));
    let mut batch = Batch::new();
    batch.bring_body(body(1));
    assert!(matches!(commit(&store, batch, Vec::new()), Err(Error::Failed { .. })));
    drop(store);
    let store = open(dir.path());
    assert_damaged(&store, hash, &find(&store, hash).all());
    store.repair(body(2)).unwrap();
    assert!(all().run(store.database(), &AtomicBool::new(false)));
    bring(&store, body(1));
    find(&store, hash).all().unwrap();
    assert_eq!(problems(&store), []);
}

fn flip(dir: &Path, bytes: &[u8]) {
    let files = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "blob")) {
        let mut content = fs::read(&path).unwrap();
        if let Some(at) = content.windows(bytes.len()).position(|window| window == bytes) {
            content[at] ^= 4;
            return fs::write(path, content).unwrap();
        }
    }
    panic!("not found in any file of bodies");
}

#[test]
fn repaired_by_what_is_written_while_it_comes_and_the_other_way_round() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let brought = [bring(&store, staged(&store, 3)), bring(&store, body(7))];
    let before = chunks(&store);
    let readers = brought.map(|hash| find(&store, hash));
    readers.iter().for_each(|body| drop(body.read(0..1).unwrap()));
    spoil(&store, brought[0], 2);
    spoil(&store, brought[1], 1);
    let missing = chunk_key(&Known::find(store.database(), &brought[0]).unwrap().stored().unwrap().place, 0);
    store.database().db().delete_cf(store.database().handle(Family::Blob), missing).unwrap();
    assert!(readers.iter().all(|body| body.all().is_err()));
    assert_eq!(damaged(&store).len(), 2);
    store.repair(body(3)).unwrap();
    store.repair(staged(&store, 7)).unwrap();
    // Also for those who found the place before.
    readers.iter().for_each(|body| drop(body.all().unwrap()));
    assert_eq!((damaged(&store), problems(&store)), (vec![], vec![]));
    commit(&store, Batch::new(), Vec::new()).unwrap();
    assert_eq!(chunks(&store), before, "nothing is left of what was there");
    for (hash, seed) in brought.into_iter().zip([3, 7]) {
        assert_eq!(hash, body(seed).hash());
        let mut batch = Batch::new();
        batch.release_body(hash, b"log");
        store.apply_batch(batch).unwrap();
    }
    store.collect(10).unwrap();
    assert_eq!((chunks(&store), problems(&store)), (0, vec![]));
    // What is gone is not brought back, and is not listed either.
    store.repair(body(3)).unwrap();
    assert_eq!((chunks(&store), damaged(&store)), (0, vec![]));
}

#[test]
fn what_was_collected_is_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let hash = bring(&store, body(1));
    spoil(&store, hash, 0);
    find(&store, hash).all().unwrap_err();
    let mut batch = Batch::new();
    batch.release_body(hash, b"log");
    store.apply_batch(batch).unwrap();
    let reader = find(&store, hash);
    store.collect(10).unwrap();
    assert!(matches!(reader.all(), Err(Error::Missing { .. })));
    assert_eq!(damaged(&store), []);
}

fn scrub(store: &Store, max_bytes: u64) -> (Scrubbed, usize) {
    let (mut sum, mut steps, mut after) = (Scrubbed::default(), 0, None);
    while !sum.ended {
        // Begun anew wherever no body is read in part: as after a start.
        let mut scrub = store.scrub(after);
        loop {
            let step = scrub.step(max_bytes).unwrap();
            assert!(step.bytes < max_bytes + CHUNK_BYTES as u64);
            steps += 1;
            sum.bodies += step.bodies;
            sum.bytes += step.bytes;
            sum.damaged += step.damaged;
            sum.missing += step.missing;
            sum.ended = step.ended;
            if step.ended || scrub.after() != after {
                break;
            }
        }
        after = scrub.after();
    }
    (sum, steps)
}

#[test]
fn the_scrub_finds_what_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let hashes: Vec<BodyHash> = (0..8).map(|seed| bring(&store, body(seed))).collect();
    bring(&store, NewBody::of(Vec::new()));
    let staged = bring(&store, staged(&store, 11));
    let bytes = (0..8).chain([11]).map(|seed| body(seed).len()).sum();
    let (found, steps) = scrub(&store, 1 << 40);
    assert_eq!((found, steps), (Scrubbed { bodies: 10, bytes, damaged: 0, missing: 0, ended: true }, 1));

    bring(&store, NewBody::absent(BodyHash([1; 32]), None));
    let mut tx = store.transaction();
    tx.add_body_ref(BodyHash([2; 32]), 9, 1);
    tx.add_body_ref(BodyHash([3; 32]), 9, 0);
    store.apply(tx).unwrap();
    spoil(&store, hashes[3], 2);
    spoil(&store, staged, 1);
    spoil(&store, hashes[4], 0);
    // Readers have seen these before, and they are in the cache; the scrub looks in any case.
    let (found, steps) = scrub(&store, 1);
    assert_eq!((found.bodies, found.damaged, found.missing), (7, 3, 2));
    assert!(steps > 12, "{steps}");
    let mut expected = vec![hashes[3], staged, hashes[4]];
    expected.sort_unstable();
    assert_eq!(damaged(&store), expected);
    assert_eq!(store.missing(None, 9).unwrap(), [(BodyHash([1; 32]), None), (BodyHash([2; 32]), None)]);
    [3, 11, 4].into_iter().for_each(|seed| store.repair(body(seed)).unwrap());
    let (found, _) = scrub(&store, CHUNK_BYTES as u64);
    assert_eq!((found.bodies, found.damaged, found.missing), (10, 0, 2));
    // One that was read in part when the scrub was begun anew was read again.
    assert!(found.bytes >= bytes);
}
