//! Bodies: stored once, read in part, counted, collected.

use std::time::Duration;

use bytes::Bytes;

use super::{commit, open, settings};
use crate::{Batch, BodyHash, CHUNK_BYTES, Collected, Error, Family, Read, Settings, Store};

fn patterned(len: usize) -> Bytes {
    Bytes::from((0..253_u8).cycle().take(len).collect::<Vec<_>>())
}

fn put(store: &Store, pieces: &[Bytes], holder: &[u8]) -> BodyHash {
    let hash = BodyHash::of(pieces);
    let mut batch = Batch::new();
    batch.put_body(hash, pieces);
    batch.hold_body(hash, holder);
    commit(store, batch, Vec::new()).unwrap();
    hash
}

fn refer(store: &Store, hash: BodyHash, scope: u32, delta: i64, release: Option<&[u8]>) {
    let mut tx = store.transaction();
    tx.add_body_ref(hash, scope, delta);
    if let Some(holder) = release {
        tx.release_body(hash, holder);
    }
    store.apply(tx).unwrap();
}

#[test]
fn read_in_part() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for len in
        [0, 1, 1000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 77]
    {
        let whole = patterned(len);
        for piece_len in [usize::MAX, 4000, CHUNK_BYTES, CHUNK_BYTES * 2 + 5] {
            let pieces: Vec<Bytes> =
                whole.chunks(piece_len.min(len.max(1))).map(Bytes::copy_from_slice).collect();
            let hash = put(&store, &pieces, b"h");
            assert_eq!(hash, BodyHash::of(std::slice::from_ref(&whole)));
            let body = store.body(&hash).unwrap().unwrap();
            body.verify().unwrap();
            assert_eq!(body.len(), len as u64);
            for (from, to) in [
                (0, len),
                (1, len),
                (len / 2, len / 2 + 10),
                (CHUNK_BYTES - 1, CHUNK_BYTES + 1),
                (len, len + 5),
                (len + 9, len + 10),
            ] {
                let got = body.read(from as u64..to as u64).unwrap().concat();
                let (from, to) = (from.min(len), to.min(len));
                assert_eq!(got, whole[from..to.max(from)], "{from}..{to} of {len}");
            }
        }
        commit(
            &store,
            {
                let mut b = Batch::new();
                b.release_body(BodyHash::of(&[whole]), b"h");
                b
            },
            Vec::new(),
        )
        .unwrap();
        assert_eq!(store.collect(10).unwrap().bodies, 1);
    }
}

#[test]
fn only_the_chunks_asked_for_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let hash = put(&store, &[patterned(3 * CHUNK_BYTES)], b"h");
    let db = store.database();
    db.db().delete_cf(db.handle(Family::Blob), crate::body::chunk_key(&hash.into(), 1)).unwrap();
    let body = store.body(&hash).unwrap().unwrap();
    let chunk = CHUNK_BYTES as u64;
    assert!(body.read(0..chunk).is_ok());
    assert!(body.read(2 * chunk..3 * chunk).is_ok());
    assert!(matches!(body.read(chunk - 1..chunk + 1), Err(Error::Damaged { .. })));
    assert!(matches!(body.verify(), Err(Error::Damaged { .. })));
}

#[test]
fn collected_only_when_nothing_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let pieces = [patterned(5000)];
    let hash = put(&store, &pieces, b"log 1");
    assert_eq!(store.collect(10).unwrap(), Collected::default(), "a held body is no candidate");
    refer(&store, hash, 16, 1, Some(b"log 1"));
    refer(&store, hash, 17, 2, None);
    refer(&store, hash, 16, -1, None);
    assert_eq!(store.collect(10).unwrap(), Collected { examined: 1, ..Collected::default() });
    refer(&store, hash, 17, -2, None);
    let mut tx = store.transaction();
    tx.put(Family::Structure, hash.0, b"parsed");
    store.apply(tx).unwrap();
    assert_eq!(store.collect(10).unwrap(), Collected { examined: 1, bodies: 1, bytes: 5000, more: false });
    assert!(store.body(&hash).unwrap().is_none());
    assert!(store.read(Family::Structure, &hash.0).unwrap().is_none());
    assert!(store.read(Family::Blob, &crate::body::chunk_key(&hash.into(), 0)).unwrap().is_none());
    // And it can come again.
    put(&store, &pieces, b"log 9");
    assert_eq!(store.body(&hash).unwrap().unwrap().all().unwrap().concat(), pieces[0]);
}

#[test]
fn a_hold_keeps_it_though_references_went() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let hash = put(&store, &[patterned(10)], b"log 1");
    refer(&store, hash, 1, 1, Some(b"log 1"));
    put(&store, &[patterned(10)], b"log 2");
    refer(&store, hash, 1, -1, None);
    assert_eq!(store.collect(10).unwrap().bodies, 0);
    assert!(store.body(&hash).unwrap().is_some());
    let mut batch = Batch::new();
    batch.release_body(hash, b"log 2");
    store.apply_batch(batch).unwrap();
    assert_eq!(store.collect(10).unwrap().bodies, 1);
}

#[test]
fn grace_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Settings { collect_after: Duration::from_millis(600), ..settings() })
        .unwrap();
    let hash = put(&store, &[patterned(10)], b"h");
    refer(&store, hash, 1, 1, Some(b"h"));
    refer(&store, hash, 1, -1, None);
    assert_eq!(store.collect(10).unwrap().examined, 0, "too young");
    std::thread::sleep(Duration::from_millis(400));
    refer(&store, hash, 1, 1, None);
    refer(&store, hash, 1, -1, None);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        store.collect(10).unwrap(),
        Collected { examined: 1, ..Collected::default() },
        "the older is void"
    );
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(store.collect(10).unwrap().bodies, 1);
}

#[test]
fn an_unnamed_body_is_a_candidate() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let pieces = [patterned(99)];
    let mut batch = Batch::new();
    batch.put_body(BodyHash::of(&pieces), &pieces);
    commit(&store, batch, Vec::new()).unwrap();
    assert_eq!(store.collect(10).unwrap().bodies, 1);
}

#[test]
fn rounds_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 0..10_u8 {
        let hash = put(&store, &[Bytes::from(vec![number; 50])], b"h");
        store
            .apply_batch({
                let mut b = Batch::new();
                b.release_body(hash, b"h");
                b
            })
            .unwrap();
    }
    let first = store.collect(4).unwrap();
    assert_eq!((first.examined, first.bodies, first.more), (4, 4, true));
    assert_eq!(store.collect(100).unwrap().bodies, 6);
}

#[test]
fn the_same_body_twice_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let pieces = [patterned(100_000)];
    put(&store, &pieces, b"1");
    let before = store.database().db().latest_sequence_number();
    put(&store, &pieces, b"2");
    // Only the hold and the number of the commit.
    assert_eq!(store.database().db().latest_sequence_number() - before, 2);
}
