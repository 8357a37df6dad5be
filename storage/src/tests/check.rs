//! The check finds what is wrong, and nothing else.

use std::path::Path;

use bytes::Bytes;

use super::{commit, open};
use crate::{Batch, BodyHash, CHUNK_BYTES, Error, Family, Problem, Read, Report, Store};

fn pieces(number: u8) -> Vec<Bytes> {
    let len = if number.is_multiple_of(2) { 40 } else { 2 * CHUNK_BYTES + usize::from(number) };
    vec![Bytes::from(vec![number; len])]
}

fn hash(number: u8) -> BodyHash {
    BodyHash::of(&pieces(number))
}

/// Five bodies; body n has n references from shard 1, and one from shard 2 if it is odd.
fn filled(store: &Store) -> Vec<Result<(u32, BodyHash), Error>> {
    let mut references = Vec::new();
    for number in 1..=5 {
        let mut batch = Batch::new();
        batch.put_body(hash(number), &pieces(number));
        batch.hold_body(hash(number), b"log");
        commit(store, batch, Vec::new()).unwrap();
        let mut tx = store.transaction();
        tx.add_body_ref(hash(number), 1, i64::from(number));
        references.extend((0..number).map(|_| Ok((1, hash(number)))));
        if number % 2 == 1 {
            tx.add_body_ref(hash(number), 2, 1);
            references.push(Ok((2, hash(number))));
        }
        if number != 3 {
            tx.release_body(hash(number), b"log");
        }
        store.apply(tx).unwrap();
    }
    references
}

fn verify(store: &Store, references: Vec<Result<(u32, BodyHash), Error>>) -> Report {
    let mut last = 0;
    let report = store.view().verify(references, &mut |progress| last = progress.bodies).unwrap();
    assert_eq!(last, report.bodies);
    report
}

#[test]
fn whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let references = filled(&store);
    let report = verify(&store, references);
    assert_eq!(report.problems, []);
    assert_eq!((report.bodies, report.references, report.holds), (5, 18, 1));
    assert_eq!(report.bytes, (1..=5).map(|n| pieces(n)[0].len() as u64).sum::<u64>());
}

#[test]
fn wrong_counts_missing_and_unnamed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut references = filled(&store);
    references.pop();
    references.push(Ok((1, hash(2))));
    references.push(Ok((9, hash(77))));
    let report = verify(&store, references);
    let mut expected = vec![
        Problem::WrongCount { hash: hash(5), scope: 2, stored: 1, counted: 0 },
        Problem::WrongCount { hash: hash(2), scope: 1, stored: 2, counted: 3 },
        Problem::Missing { hash: hash(77), scope: Some(9) },
    ];
    let key = |problem: &Problem| format!("{problem:?}");
    let mut found = report.problems;
    found.sort_by_key(key);
    expected.sort_by_key(key);
    assert_eq!(found, expected);
}

#[test]
fn bodies_that_are_not_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let references = filled(&store);
    let (database, chunk) = (store.database(), crate::body::chunk_key);
    let blob = database.handle(Family::Blob);
    database.db().delete_cf(blob, chunk(&hash(1).into(), 1)).unwrap();
    database.db().put_cf(blob, chunk(&hash(2).into(), 0), [9; 40]).unwrap();
    database.db().put_cf(blob, chunk(&hash(3).into(), 0), [3; 4]).unwrap();
    database.db().put_cf(blob, chunk(&hash(50).into(), 3), [3; 4]).unwrap();
    database.db().delete_cf(database.handle(Family::BlobRef), hash(4).0).unwrap();
    let report = verify(&store, references);
    let found = |hash: BodyHash| {
        report.problems.iter().filter(|p| format!("{p:?}").contains(&hash.to_string())).count()
    };
    for number in [1, 2, 3] {
        assert!(
            report
                .problems
                .iter()
                .any(|p| matches!(p, Problem::Damaged { hash: h, .. } if *h == hash(number))),
            "{number}"
        );
    }
    assert_eq!(found(hash(4)), 1, "missing: {:?}", report.problems);
    assert_eq!(found(hash(5)), 0);
    assert_eq!(report.problems.iter().filter(|p| matches!(p, Problem::StrayChunk { .. })).count(), 2);
    assert_eq!(report.problem_count, report.problems.len() as u64);
}

/// Two bodies whose blobs are damaged: both are told, and nothing else; no end at the first.
#[test]
fn bodies_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bodies: Vec<Vec<Bytes>> = (1..=20_u32)
        .map(|n| vec![Bytes::from(n.to_le_bytes().repeat(CHUNK_BYTES / 4 + 1000 * usize::from(n % 3 == 0)))])
        .collect();
    let hashes: Vec<BodyHash> = bodies.iter().map(|pieces| BodyHash::of(pieces)).collect();
    for (pieces, hash) in bodies.iter().zip(&hashes) {
        let mut batch = Batch::new();
        batch.put_body(*hash, pieces);
        batch.add_body_ref(*hash, 1, 1);
        commit(&store, batch, Vec::new()).unwrap();
    }
    store.flush().unwrap();
    let references = || hashes.iter().map(|hash| Ok((1, *hash))).collect();
    assert_eq!(verify(&store, references()).problems, []);
    drop(store);
    let mut sorted = hashes.clone();
    sorted.sort_unstable();
    // Compressed, a chunk is some hundred bytes that hold its first number but once: its key is looked for.
    for (damaged, chunk) in [(sorted[3], 0), (sorted[4], 0), (sorted[12], 0), (sorted[19], 0)] {
        flip_after(dir.path(), "blob", &crate::body::chunk_key(&damaged.into(), chunk));
    }
    let report = verify(&open(dir.path()), references());
    let told: Vec<_> = report
        .problems
        .iter()
        .map(|problem| match problem {
            Problem::Damaged { hash, reason } => {
                assert!(reason.contains("chunk 0: ") && reason.contains("orrupt"), "{reason}");
                *hash
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [3, 4, 12, 19].map(|place| sorted[place]));
    assert_eq!(report.bodies, 20);
}

/// Flips a bit behind the place where a key stands in the files of this kind.
fn flip_after(dir: &Path, kind: &str, key: &[u8]) {
    for file in std::fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != kind) {
            continue;
        }
        let mut bytes = std::fs::read(&file).unwrap();
        if let Some(place) = bytes.windows(key.len()).position(|window| window == key) {
            bytes[place + key.len() + 5] ^= 4;
            return std::fs::write(&file, bytes).unwrap();
        }
    }
    panic!("no {kind} has this key");
}

/// What was removed as a range lies in the tables until it is compacted; a node would meet the damage then.
#[test]
fn rows_that_were_removed_as_a_range_are_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = |number: u32| number.to_be_bytes().to_vec();
    let value = |number: u32| blake3::hash(&key(number)).as_bytes().to_vec();
    let mut batch = Batch::new();
    for number in 0..2_000 {
        batch.put(Family::Row, key(number), value(number));
    }
    commit(&store, batch, Vec::new()).unwrap();
    store.flush().unwrap();
    let mut batch = Batch::new();
    batch.delete_range(Family::Row, key(0)..key(1_990));
    commit(&store, batch, Vec::new()).unwrap();
    store.flush().unwrap();
    assert_eq!(verify(&store, Vec::new()).problems, []);
    drop(store);
    flip_after(dir.path(), "sst", &value(1_000)[..8]);
    let problems = verify(&open(dir.path()), Vec::new()).problems;
    assert!(
        matches!(&problems[..], [Problem::Unreadable { family, .. }] if *family == Family::Row.name()),
        "{problems:?}"
    );
}

#[test]
fn unnamed_bodies_are_found_and_can_be_released() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let references = filled(&store);
    let database = store.database();
    let key = crate::body::ref_key(&hash(2), 1);
    database.db().delete_cf(database.handle(Family::BlobRef), key).unwrap();
    database.db().delete_cf(database.handle(Family::BlobRef), crate::body::candidate_key(&hash(2))).unwrap();
    let references: Vec<_> =
        references.into_iter().filter(|r| r.as_ref().is_ok_and(|(_, h)| *h != hash(2))).collect();
    let report = verify(&store, references);
    assert_eq!(report.problems, [Problem::Unnamed { hash: hash(2), bytes: 40 }]);
    store.release_unnamed(&[hash(2)]).unwrap();
    assert_eq!(store.collect(10).unwrap().bodies, 1);
    assert!(store.read(Family::BlobRef, &hash(2).0).unwrap().is_none());
}

#[test]
fn metrics_can_be_recorded() {
    let dir = tempfile::tempdir().unwrap();
    crate::record_metrics(&open(dir.path()));
}
