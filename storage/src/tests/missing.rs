//! Bodies that are named before they are there.

use bytes::Bytes;

use super::{bring, commit, open, release};
use crate::{Batch, BodyHash, CHUNK_BYTES, Error, NewBody, Problem, Read, Store};

fn text(seed: u8, len: usize) -> Bytes {
    Bytes::from((0..251_u8).cycle().map(|byte| byte.wrapping_mul(seed)).take(len).collect::<Vec<_>>())
}

/// A commit that only brings a body.
fn fetch(store: &Store, body: NewBody) {
    let mut batch = Batch::new();
    batch.bring_body(body);
    commit(store, batch, Vec::new()).unwrap();
}

fn absent(body: &NewBody) -> NewBody {
    NewBody::absent(body.hash(), Some(body.len()))
}

fn missing(store: &Store) -> Vec<BodyHash> {
    store.missing(None, 100).unwrap().into_iter().map(|(hash, _)| hash).collect()
}

fn problems(store: &Store, references: &[(u32, BodyHash)]) -> Vec<Problem> {
    store.verify(references.iter().copied().map(Ok), &mut |_| {}).unwrap().problems
}

#[test]
fn named_then_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let staged = {
        let mut staging = store.stage().unwrap();
        staging.push(&text(5, 2 * CHUNK_BYTES + 9)).unwrap();
        staging.finish().unwrap().with_structure(Bytes::from_static(b"parsed"))
    };
    let bodies = [NewBody::of(vec![text(3, 700)]), NewBody::of(vec![text(4, CHUNK_BYTES + 1)]), staged];
    for body in bodies {
        let hash = body.hash();
        bring(&store, &[absent(&body)], b"log");
        bring(&store, &[absent(&body)], b"log 2");
        assert_eq!(store.missing(None, 9).unwrap(), [(hash, Some(body.len()))]);
        assert!(store.body(&hash).unwrap().is_none());
        let read = store.body_of(hash, body.len()).all();
        assert!(matches!(read, Err(Error::Missing { hash: told }) if told == hash), "{read:?}");
        assert_eq!(problems(&store, &[]), [Problem::ToFetch { hash }]);
        let mut tx = store.transaction();
        tx.add_body_ref(hash, 7, 1);
        tx.release_body(hash, b"log");
        store.apply(tx).unwrap();
        assert_eq!(store.collect(10).unwrap().bodies, 0);
        assert_eq!(
            problems(&store, &[(7, hash)]),
            [Problem::ToFetch { hash }],
            "counted while it is missing"
        );

        fetch(&store, body.clone());
        assert_eq!(missing(&store), []);
        store.body(&hash).unwrap().unwrap().verify().unwrap();
        release(&store, hash, b"log 2");
        assert_eq!(store.collect(10).unwrap().bodies, 0, "its reference is still there");
        assert_eq!(problems(&store, &[(7, hash)]), []);
        bring(&store, &[absent(&body)], b"log 3");
        assert_eq!(missing(&store), [], "it is there");
        let mut tx = store.transaction();
        tx.add_body_ref(hash, 7, -1);
        store.apply(tx).unwrap();
        release(&store, hash, b"log 3");
        // A staged one is kept as long as somebody owns it.
        drop(body);
        assert_eq!(store.collect(10).unwrap().bodies, 1);
        assert_eq!(problems(&store, &[]), []);
    }
}

#[test]
fn in_one_write_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (first, second) = (NewBody::of(vec![text(1, 99)]), NewBody::of(vec![text(2, 99)]));
    bring(&store, &[absent(&first), first.clone(), absent(&first), second.clone(), absent(&second)], b"log");
    assert_eq!(missing(&store), []);
    for body in [first, second] {
        store.body(&body.hash()).unwrap().unwrap().verify().unwrap();
    }
    assert_eq!(problems(&store, &[]), []);
}

#[test]
fn collected_without_a_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let body = NewBody::of(vec![text(1, 99)]);
    bring(&store, &[absent(&body)], b"log");
    assert_eq!(store.collect(10).unwrap().examined, 0);
    release(&store, body.hash(), b"log");
    // Nobody has to fetch it from now on: the others may have collected it already.
    assert_eq!((missing(&store), problems(&store, &[])), (vec![], vec![]));
    let done = store.collect(10).unwrap();
    assert_eq!((done.examined, done.bodies, done.bytes), (1, 0, 0));
    assert_eq!(missing(&store), []);
    assert_eq!(problems(&store, &[]), []);
    // One that nothing names at all, and one that is fetched when nothing names it any more.
    fetch(&store, absent(&body));
    assert_eq!(missing(&store), []);
    store.collect(10).unwrap();
    assert_eq!(missing(&store), []);
    fetch(&store, body);
    assert_eq!(store.collect(10).unwrap().bodies, 1);
}

#[test]
fn listed_in_parts_and_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut hashes: Vec<BodyHash> = (1..=5).map(|seed| BodyHash::of(&[text(seed, 10)])).collect();
    hashes.sort_unstable();
    let bodies: Vec<NewBody> = hashes.iter().map(|hash| NewBody::absent(*hash, None)).collect();
    bring(&store, &bodies, b"log");
    drop(store);
    let store = open(dir.path());
    let first = store.missing(None, 2).unwrap();
    assert_eq!(first, [(hashes[0], None), (hashes[1], None)]);
    let rest = store.missing(Some(first[1].0), 10).unwrap();
    assert_eq!(rest.iter().map(|(hash, _)| *hash).collect::<Vec<_>>(), hashes[2..]);
    assert_eq!(store.missing(Some(hashes[4]), 10).unwrap(), []);
}

#[test]
fn the_check_tells_of_one_that_is_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let body = NewBody::of(vec![text(1, 99)]);
    bring(&store, &[absent(&body)], b"log");
    let database = store.database();
    database.db().delete_cf(database.own(), [&[5], &body.hash().0[..]].concat()).unwrap();
    assert!(matches!(problems(&store, &[])[..], [Problem::Damaged { .. }]));
    assert!(store.read(crate::Family::BlobRef, &body.hash().0).unwrap().is_some());
}
