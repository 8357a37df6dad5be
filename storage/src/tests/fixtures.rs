//! The bytes of every row that the store itself makes, as version 1 wrote them. What fails here would not be able to
//! read the data of those who have it: a change of the encoding needs a new version byte, a fixture of its own, and
//! this one stays.

use std::fmt::Write as _;

use bytes::Bytes;
use rocksdb::{IteratorMode, WriteBatch};

use super::{commit, mark, open, settings};
use crate::body::candidate_key;
use crate::collect::{self, Named};
use crate::watermark::{Watermark, WatermarkFile};
use crate::{Batch, BodyHash, CHUNK_BYTES, Family, Key, Mark, NewBody, Problem, Read, Staging, Store, count};

const ROWS: &str = include_str!("fixtures/rows_1.hex");
const WATERMARK: &str = include_str!("fixtures/watermark_1.hex");
/// Of staged bodies, with version 2 of the row that says where a body is.
const STAGED_ROWS: &str = include_str!("fixtures/rows_2.hex");
/// Of bodies that are to be fetched, with version 3 of that row.
const MISSING_ROWS: &str = include_str!("fixtures/rows_3.hex");
/// When the second body became a candidate for collection.
const CANDIDATE_MS: u64 = 1_700_000_000_123;
/// Values up to this length stand in the fixture as they are, longer ones by length and hash.
const WHOLE_BYTES: usize = 100;

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

fn letter() -> Vec<Bytes> {
    vec![Bytes::from_static(b"Subject: fixture\r\n\r\nhello\r\n")]
}

/// Of two chunks.
fn large() -> Vec<Bytes> {
    vec![Bytes::from(vec![b'x'; CHUNK_BYTES]), Bytes::from_static(b"end")]
}

/// One of every kind of row.
fn write(store: &Store) {
    let (letter, large) = (letter(), large());
    let mut batch = Batch::new();
    batch.put_body(BodyHash::of(&letter), &letter);
    batch.hold_body(BodyHash::of(&letter), b"holder");
    batch.put_body(BodyHash::of(&large), &large);
    batch.add_body_ref(BodyHash::of(&large), 7, 3);
    batch.merge_add(Family::Row, Key::new().u8(1).u32(2).u64(3).bytes(b"counter"), -5);
    commit(store, batch, vec![mark(1)]).unwrap();
    let mut batch = Batch::new();
    batch.merge_add(Family::Row, Key::new().u8(1).u32(2).u64(3).bytes(b"counter"), 300);
    batch.add_body_ref(BodyHash::of(&large), 0x0102_0304, 1);
    commit(store, batch, vec![mark(2)]).unwrap();
    let mut out = WriteBatch::default();
    collect::write_candidate(store.database(), &mut out, &BodyHash::of(&large), CANDIDATE_MS);
    store.database().write(out).unwrap();
}

/// All rows, as lines of family, key and value.
fn dump(store: &Store) -> String {
    let database = store.database();
    let own = [("default", database.own())];
    let mut lines = String::new();
    for (name, handle) in own.into_iter().chain(Family::ALL.map(|f| (f.name(), database.handle(f)))) {
        for row in database.db().iterator_cf(handle, IteratorMode::Start) {
            let (key, value) = row.unwrap();
            let value = if value.len() <= WHOLE_BYTES {
                hex(&value)
            } else {
                format!("{} bytes {}", value.len(), BodyHash::of(&[Bytes::from(value)]))
            };
            writeln!(lines, "{name} {} {value}", hex(&key)).unwrap();
        }
    }
    lines
}

/// A store whose rows are those of a fixture, put there byte for byte.
fn planted(dir: &std::path::Path, rows: &str) -> Store {
    let store = open(dir);
    let database = store.database();
    for line in rows.lines() {
        let [name, key, value] = line.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        let family = Family::ALL.into_iter().find(|family| family.name() == name);
        let handle = family.map_or(database.own(), |family| database.handle(family));
        let value = if value.contains("bytes") { large()[0].to_vec() } else { unhex(value) };
        database.db().put_cf(handle, unhex(key), value).unwrap();
    }
    store
}

#[test]
fn rows_are_written_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    write(&store);
    let rows = dump(&store);
    assert_eq!(rows, ROWS, "the rows now:\n{rows}");
    assert_eq!(std::fs::read_to_string(dir.path().join("FORMAT")).unwrap(), "1\n");
}

#[test]
fn rows_are_read_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = planted(dir.path(), ROWS);
    let (letter_hash, large_hash) = (BodyHash::of(&letter()), BodyHash::of(&large()));
    for (hash, pieces) in [(letter_hash, letter()), (large_hash, large())] {
        let body = store.body(&hash).unwrap().unwrap();
        assert_eq!(body.all().unwrap().concat(), pieces.concat());
        body.verify().unwrap();
    }
    let named = |hash| Named::look(store.database(), &hash).unwrap().unwrap();
    let of_letter = named(letter_hash);
    assert_eq!(
        (of_letter.stored.unwrap().len, of_letter.names.holds, of_letter.names.references),
        (27, 1, Vec::new())
    );
    let of_large = named(large_hash);
    assert_eq!((of_large.stored.unwrap().len, of_large.names.holds), (CHUNK_BYTES as u64 + 3, 0));
    assert_eq!(of_large.names.references, [(7, 3), (0x0102_0304, 1)]);
    assert_eq!(of_large.names.candidate_ms, Some(CANDIDATE_MS));
    assert!(store.read(Family::BlobRef, &candidate_key(&large_hash)).unwrap().is_some());
    let counter = Key::new().u8(1).u32(2).u64(3).bytes(b"counter").build();
    assert_eq!(count::decode(&store.read(Family::Row, &counter).unwrap().unwrap()), Some(295));
    assert_eq!(store.read_commit(), 2);
    // The candidate is found by its time: it is looked at, named, and therefore kept.
    let done = store.collect(10).unwrap();
    assert_eq!((done.examined, done.bodies), (1, 0));
    // A row is of version 1 or it is not read.
    let mut newer = unhex(&hex(&count::encode(1)));
    newer[0] = 2;
    assert_eq!(count::decode(&newer), None);
    drop(store);
    let store = Store::open(dir.path(), settings()).unwrap();
    assert_eq!(store.read_commit(), 2);
}

/// One staged body that was taken, and one under way.
fn write_staged(store: &Store) -> Staging {
    let mut staging = store.stage_at([0x77; 32]);
    large().iter().for_each(|piece| staging.push(piece).unwrap());
    let body = staging.finish().unwrap();
    let mut batch = Batch::new();
    batch.hold_body(body.hash(), b"holder");
    batch.bring_body(body.with_structure(Bytes::from_static(b"parsed")));
    commit(store, batch, vec![mark(1)]).unwrap();
    let mut staging = store.stage_at([0x66; 32]);
    staging.push(&large()[0]).unwrap();
    staging
}

/// The times of bodies under way differ.
fn without_times(rows: &str) -> String {
    let time = |line: &str| {
        line.starts_with("default 03").then(|| line.rsplit_once(' ').map(|(key, _)| key.to_owned()))
    };
    rows.lines().map(|line| time(line).flatten().unwrap_or(line.to_owned()) + "\n").collect()
}

#[test]
fn rows_of_staged_bodies_are_written_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let _under_way = write_staged(&store);
    let rows = dump(&store);
    assert_eq!(without_times(&rows), without_times(STAGED_ROWS), "the rows now:\n{rows}");
}

#[test]
fn rows_of_staged_bodies_are_read_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = planted(dir.path(), STAGED_ROWS);
    let hash = BodyHash::of(&large());
    let body = store.body(&hash).unwrap().unwrap();
    assert_eq!(body.all().unwrap().concat(), large().concat());
    let report = store.verify(Vec::new(), &mut |_| {}).unwrap();
    assert_eq!((report.problems, report.holds, report.under_way), (Vec::new(), 1, 1));
    drop((store, body));
    // The next start removes what was under way.
    let store = Store::open(dir.path(), settings()).unwrap();
    commit(&store, Batch::new(), Vec::new()).unwrap();
    assert!(!dump(&store).contains(&"66".repeat(32)));
    assert_eq!(store.body(&hash).unwrap().unwrap().all().unwrap().concat(), large().concat());
}

/// A body of known length and one of unknown length that are to be fetched.
#[test]
fn rows_of_missing_bodies_are_written_and_read_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("written"));
    let mut batch = Batch::new();
    for (number, len) in [(0x11, Some(0x1234)), (0x22, None)] {
        batch.bring_body(NewBody::absent(BodyHash([number; 32]), len));
        batch.hold_body(BodyHash([number; 32]), b"holder");
    }
    commit(&store, batch, vec![mark(1)]).unwrap();
    let rows = dump(&store);
    assert_eq!(rows, MISSING_ROWS, "the rows now:\n{rows}");

    let store = planted(&dir.path().join("read"), MISSING_ROWS);
    let expected = [(BodyHash([0x11; 32]), Some(0x1234)), (BodyHash([0x22; 32]), None)];
    assert_eq!(store.missing(None, 10).unwrap(), expected);
    assert!(store.body(&expected[0].0).unwrap().is_none());
    let report = store.verify(Vec::new(), &mut |_| {}).unwrap();
    let problems = expected.map(|(hash, _)| Problem::ToFetch { hash });
    assert_eq!((report.problems, report.missing, report.holds), (problems.to_vec(), 2, 2));
}

/// The second of two slots, up to its last mark.
#[test]
fn the_watermark_is_written_and_read_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("watermark");
    let marks = [
        Mark { group: 0, term: 2, voted_for: 1, voted_committed: true, last_index: 500 },
        Mark { group: 17, term: 1 << 40, voted_for: 3, voted_committed: false, last_index: 70_000 },
    ];
    let watermark = Watermark { commit: 123_457, marks: marks.map(|mark| (mark.group, mark)).into() };
    WatermarkFile::create(&path).unwrap();
    WatermarkFile::open(&path).unwrap().0.write(&watermark).unwrap();
    let written = std::fs::read(&path).unwrap();
    let slot = &written[64 * 1024..];
    let end = slot.len() - slot.iter().rev().take_while(|byte| **byte == 0).count();
    let now = hex(&slot[..end]);
    assert_eq!(now, WATERMARK.trim(), "the watermark now");

    let mut planted = vec![0; 128 * 1024];
    let bytes = unhex(WATERMARK.trim());
    planted[64 * 1024..64 * 1024 + bytes.len()].copy_from_slice(&bytes);
    std::fs::write(&path, planted).unwrap();
    assert_eq!(WatermarkFile::open(&path).unwrap().1, watermark);
}
