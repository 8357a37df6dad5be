//! The references of a scope made anew from its rows.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{commit, open, settings};
use crate::{Batch, BodyHash, Committing, Error, NewBody, Problem, Rebuilt, Settings, Store};

const SCOPE: u32 = 20;
const OTHER: u32 = 21;

fn body(number: u64) -> NewBody {
    NewBody::of(vec![Bytes::from(format!("message {number}").into_bytes())])
}

fn put(store: &Store, numbers: impl Iterator<Item = u64>) {
    let mut batch = Batch::new();
    numbers.for_each(|number| batch.bring_body(body(number)));
    commit(store, batch, Vec::new()).unwrap();
}

fn refer(store: &Store, number: u64, scope: u32, delta: i64) {
    let mut tx = store.transaction();
    tx.add_body_ref(body(number).hash(), scope, delta);
    store.apply(tx).unwrap();
}

/// Each number so often, in an order that is not that of hashes.
fn rows(wanted: &BTreeMap<u64, u64>) -> Vec<Result<(BodyHash, u64), Error>> {
    let most = wanted.values().max().copied().unwrap_or(0);
    (0..most)
        .flat_map(|round| wanted.iter().filter(move |(_, times)| **times > round).map(|(number, _)| *number))
        .map(|number| Ok((body(number).hash(), body(number).len())))
        .collect()
}

/// What the check says, with these references and those of the other scope.
fn problems(store: &Store, wanted: &BTreeMap<u64, u64>, others: &[u64]) -> Vec<Problem> {
    let here = rows(wanted).into_iter().map(|row| row.map(|(hash, _)| (SCOPE, hash)));
    let others = others.iter().map(|number| Ok((OTHER, body(*number).hash())));
    store.verify(here.chain(others), &mut |_| {}).unwrap().problems
}

fn to_fetch(numbers: impl Iterator<Item = u64>) -> Vec<Problem> {
    let mut hashes: Vec<BodyHash> = numbers.map(|number| body(number).hash()).collect();
    hashes.sort_unstable();
    hashes.into_iter().map(|hash| Problem::ToFetch { hash }).collect()
}

/// Bodies 0 to 9, of which 0 to 4 are referred to; 3 and 4 by another scope too.
fn filled(store: &Store) {
    put(store, 0..10);
    for number in 0..5 {
        refer(store, number, SCOPE, 1 + i64::try_from(number % 2).unwrap());
    }
    refer(store, 3, OTHER, 1);
    refer(store, 4, OTHER, 1);
}

#[test]
fn counters_follow_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    filled(&store);
    // 0 stays, 1 is counted anew, 2 and 3 go, 5 is new, 100 is not there.
    let wanted = BTreeMap::from([(0, 1), (1, 7), (4, 1), (5, 2), (100, 3)]);
    let done = store.replace_references(SCOPE, rows(&wanted)).unwrap();
    assert_eq!(done, Rebuilt { references: 14, bodies: 5, changed: 5 });
    assert_eq!(store.missing(None, 9).unwrap(), [(body(100).hash(), Some(body(100).len()))]);
    assert_eq!(problems(&store, &wanted, &[3, 4]), to_fetch([100].into_iter()));
    // 2 lost its last name, 6 to 9 never had one.
    assert_eq!(store.collect(100).unwrap().bodies, 5);
    assert!(store.body(&body(2).hash()).unwrap().is_none());
    assert!(store.body(&body(3).hash()).unwrap().is_some(), "another scope refers to it");
    let again = store.replace_references(SCOPE, rows(&wanted)).unwrap();
    assert_eq!(again, Rebuilt { changed: 0, ..done });

    let dropped = store.drop_scope(SCOPE).unwrap();
    assert_eq!(dropped, Rebuilt { references: 0, bodies: 0, changed: 5 });
    // 100 is not there and nothing names it any more: nobody has to fetch it.
    assert_eq!(problems(&store, &BTreeMap::new(), &[3, 4]), []);
    assert_eq!(store.collect(100).unwrap().bodies, 3);
    assert_eq!(problems(&store, &BTreeMap::new(), &[3, 4]), []);
    assert_eq!(store.missing(None, 9).unwrap(), []);
}

#[test]
fn an_error_of_the_rows_leaves_the_counters_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    filled(&store);
    let before = BTreeMap::from([(0, 1), (1, 2), (2, 1), (3, 2), (4, 1)]);
    let mut rows = rows(&BTreeMap::from([(7, 3)]));
    rows.push(Err(Error::Closed));
    assert!(matches!(store.replace_references(SCOPE, rows), Err(Error::Closed)));
    assert_eq!(problems(&store, &before, &[3, 4]), []);
    let scope = store.replace_references(crate::SCOPE_LIMIT, []);
    assert!(matches!(scope, Err(Error::Invalid { .. })));
    // What was sorted is not taken for what is wanted the next time, nor after a start.
    assert_eq!(store.drop_scope(SCOPE).unwrap().references, 0);
    assert_eq!(problems(&store, &BTreeMap::new(), &[3, 4]), []);
}

/// Where there is no thread that commits, whoever waits for it does it.
#[test]
fn where_commits_are_made_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Settings { committing: Committing::ByHand, ..settings() }).unwrap();
    let wanted = BTreeMap::from([(1, 2)]);
    assert_eq!(store.replace_references(SCOPE, rows(&wanted)).unwrap().changed, 1);
    store.repair(body(1)).unwrap();
    assert_eq!(problems(&store, &wanted, &[]), []);
}
