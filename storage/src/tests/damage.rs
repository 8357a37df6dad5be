//! Damage at every kind of place. The outcome is all that was acknowledged, or an error: nothing between.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{commit, copy, mark, open, settings};
use crate::{Batch, Body, BodyHash, Direction, Error, Family, Key, Problem, Read, Settings, Store};

/// Numbers that look random and are the same in every run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

fn body(number: u64) -> Vec<Bytes> {
    let size = if number.is_multiple_of(10) { 70_000 } else { 500 + usize::try_from(number).unwrap() * 13 };
    vec![Bytes::from((0..size).map(|i| (i as u64 * number % 251) as u8).collect::<Vec<_>>())]
}

/// An operator is not told to empty a folder that a start may still read.
#[test]
fn a_sync_that_the_disk_refuses_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.fail(&Error::Database { reason: "IO error: While fdatasync: Input/output error".into() });
    assert_eq!((store.health(), store.damage()), (crate::Health::Failed, None));
}

/// One commit and one applied transaction.
fn write(store: &Store, number: u64) {
    let pieces = body(number);
    let hash = BodyHash::of(&pieces);
    let mut batch = Batch::new();
    batch.put_body(hash, &pieces);
    batch.hold_body(hash, &number.to_be_bytes());
    batch.put(Family::RaftLog, Key::new().u64(number), hash.0);
    commit(store, batch, vec![mark(number)]).unwrap();
    let mut tx = store.transaction();
    tx.put(Family::Row, Key::new().u64(number), format!("row {number}").repeat(20));
    tx.add_body_ref(hash, 1, 1);
    tx.release_body(hash, &number.to_be_bytes());
    store.apply(tx).unwrap();
}

/// Reads everything: `Ok(n)` says that exactly the commits 1..=n are there and to the bit.
fn read(store: &Store) -> Result<u64, Error> {
    let mut last = 0_u64;
    for row in store.scan(Family::RaftLog, Vec::new()..Vec::new(), Direction::Forward)? {
        let row = row?;
        last += 1;
        assert_eq!(row.key, last.to_be_bytes().as_slice(), "a hole");
        let hash = BodyHash::of(&body(last));
        assert_eq!(row.value, hash.0.as_slice());
        let pieces = store.body(&hash)?.as_ref().map(Body::all).transpose()?;
        assert_eq!(pieces.expect("the body came with its row").concat(), body(last).concat());
    }
    let mut applied = 0_u64;
    for row in store.scan(Family::Row, Vec::new()..Vec::new(), Direction::Forward)? {
        let row = row?;
        applied += 1;
        assert_eq!(row.key, applied.to_be_bytes().as_slice(), "a hole among the applied");
        assert_eq!(row.value, format!("row {applied}").repeat(20));
    }
    assert!(applied <= last && applied + 1 >= last, "{applied} applied of {last}");
    Ok(last)
}

#[derive(Debug, Default)]
struct Outcomes {
    whole: u32,
    behind: u32,
    refused: u32,
    unreadable: u32,
}

/// Opens a damaged copy. Panics if it opens with less than `acknowledged`.
fn judge(dir: &Path, acknowledged: u64, outcomes: &mut Outcomes, what: &str) {
    match Store::open(dir, settings()) {
        Err(Error::Behind { expected, found, .. }) => {
            assert!(found < expected, "{what}");
            outcomes.behind += 1;
            // It may be opened in spite of it, and says so.
            let store = Store::open(dir, Settings { accept_behind: true, ..settings() });
            if let Ok(store) = store {
                assert!(store.behind().is_some(), "{what}");
            }
        }
        Err(Error::Locked { .. } | Error::Full { .. } | Error::NewerFormat { .. }) => {
            panic!("{what}: a misleading error")
        }
        Err(error) => {
            assert!(error.is_fatal() && !error.to_string().is_empty(), "{what}");
            outcomes.refused += 1;
        }
        Ok(store) => match read(&store) {
            Ok(found) => {
                assert!(found >= acknowledged, "{what}: silently shortened to {found} of {acknowledged}");
                outcomes.whole += 1;
            }
            Err(_) => outcomes.unreadable += 1,
        },
    }
}

/// Files of the database, by their extension.
fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = all.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

fn flip(path: &Path, offset: u64, bit: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], offset).unwrap();
}

/// A folder in memory where there is one: a thousand stores are opened, and a disk would sync for each.
fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn in_copy(dir: &Path, name: &Path, damage: impl FnOnce(&Path, &Path)) {
    let other = memory_dir();
    copy(dir, other.path());
    damage(other.path(), &other.path().join("db").join(name));
}

/// Offsets of the records' headers in a log of 32 KiB blocks with headers of 7 bytes.
fn headers(log: &[u8]) -> Vec<u64> {
    let mut offsets = Vec::new();
    let mut at = 0;
    while at + 7 <= log.len() {
        if 32_768 - at % 32_768 < 7 {
            at += 32_768 - at % 32_768;
            continue;
        }
        offsets.push(at as u64);
        at += 7 + usize::from(u16::from_le_bytes([log[at + 4], log[at + 5]]));
    }
    offsets
}

/// A store with `commits` commits whose log is not in files yet, copied while it was open.
fn open_copy(commits: u64, halfway: impl FnOnce(&Store)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for number in 1..=commits / 2 {
        write(&store, number);
    }
    halfway(&store);
    for number in commits / 2 + 1..=commits {
        write(&store, number);
    }
    copy(dir.path(), other.path());
    other
}

/// One family goes into files: a new log begins, the old one is still needed by the others.
fn flush(store: &Store, family: Family) {
    store.database().db().flush_cf(store.database().handle(family)).unwrap();
}

#[test]
fn log_cut_anywhere() {
    let dir = open_copy(40, |_| {});
    let [log] = &files(dir.path(), "log")[..] else { panic!("one log was expected") };
    let name = PathBuf::from(log.file_name().unwrap());
    let bytes = fs::read(log).unwrap();
    let mut cuts: Vec<u64> =
        headers(&bytes).into_iter().flat_map(|at| [at, at + 3, at + 7, at + 20]).step_by(5).collect();
    cuts.extend((0..30).map(|back| bytes.len() as u64 - back));
    let mut outcomes = Outcomes::default();
    for cut in cuts.into_iter().filter(|cut| *cut <= bytes.len() as u64) {
        in_copy(dir.path(), &name, |dir, log| {
            OpenOptions::new().write(true).open(log).unwrap().set_len(cut).unwrap();
            judge(dir, 40, &mut outcomes, &format!("cut at {cut} of {}", bytes.len()));
        });
    }
    assert!(outcomes.whole > 0 && outcomes.behind > 10, "{outcomes:?}");
}

/// Flips bits in all fields of the records' headers and here and there between.
fn flip_log(dir: &Path, log: &Path, commits: u64) -> Outcomes {
    let mut numbers = Numbers(1);
    let name = PathBuf::from(log.file_name().unwrap());
    let bytes = fs::read(log).unwrap();
    let headers = headers(&bytes);
    let mut places: Vec<u64> =
        headers.iter().step_by(9).flat_map(|at| [0, 4, 5, 6].map(|field| at + field)).collect();
    places.extend(headers.iter().rev().take(6).flat_map(|at| (0..7).map(move |field| at + field)));
    places.extend((0..60).map(|_| numbers.below(bytes.len() as u64)));
    let mut outcomes = Outcomes::default();
    for place in places.into_iter().filter(|place| *place < bytes.len() as u64) {
        let bit = numbers.below(8);
        in_copy(dir, &name, |dir, log| {
            flip(log, place, bit);
            judge(dir, commits, &mut outcomes, &format!("bit {bit} of byte {place} of {}", bytes.len()));
        });
    }
    outcomes
}

#[test]
fn log_with_a_flipped_bit() {
    let dir = open_copy(40, |_| {});
    let [log] = &files(dir.path(), "log")[..] else { panic!("one log was expected") };
    let outcomes = flip_log(dir.path(), log, 40);
    assert!(outcomes.behind + outcomes.refused > 100, "{outcomes:?}");
}

#[test]
fn the_older_of_two_logs_with_a_flipped_bit() {
    let dir = open_copy(40, |store| flush(store, Family::RaftLog));
    let two = open_copy(40, |store| flush(store, Family::Row));
    for dir in [dir, two] {
        let logs = files(dir.path(), "log");
        assert_eq!(logs.len(), 2);
        for log in &logs {
            let outcomes = flip_log(dir.path(), log, 20);
            assert!(outcomes.behind + outcomes.refused > 30, "{logs:?} {outcomes:?}");
        }
    }
}

#[test]
fn the_older_of_two_logs_cut() {
    let dir = open_copy(40, |store| flush(store, Family::Row));
    let logs = files(dir.path(), "log");
    assert_eq!(logs.len(), 2);
    let name = PathBuf::from(logs[0].file_name().unwrap());
    let bytes = fs::read(&logs[0]).unwrap();
    let mut outcomes = Outcomes::default();
    for at in headers(&bytes).into_iter().rev().take(20).flat_map(|at| [at, at + 9]) {
        in_copy(dir.path(), &name, |dir, log| {
            OpenOptions::new().write(true).open(log).unwrap().set_len(at).unwrap();
            judge(dir, 40, &mut outcomes, &format!("cut at {at}"));
        });
    }
    assert_eq!(outcomes.whole, 0, "{outcomes:?}");
    in_copy(dir.path(), &name, |dir, log| {
        fs::remove_file(log).unwrap();
        judge(dir, 40, &mut outcomes, "removed");
    });
    assert_eq!(outcomes.whole, 0, "{outcomes:?}");
}

#[test]
fn files_with_a_flipped_bit() {
    let dir = open_copy(40, |_| {});
    drop(open(dir.path()));
    let store = open(dir.path());
    store.flush().unwrap();
    drop(store);
    let mut numbers = Numbers(1);
    let mut outcomes = Outcomes::default();
    for extension in ["sst", "blob"] {
        let files = files(dir.path(), extension);
        assert!(!files.is_empty(), "{extension}");
        for file in files {
            let name = PathBuf::from(file.file_name().unwrap());
            let len = fs::metadata(&file).unwrap().len();
            for _ in 0..30 {
                let (place, bit) = (numbers.below(len), numbers.below(8));
                in_copy(dir.path(), &name, |dir, file| {
                    flip(file, place, bit);
                    judge(dir, 40, &mut outcomes, &format!("{name:?} bit {bit} of byte {place} of {len}"));
                });
            }
        }
    }
    assert!(outcomes.refused + outcomes.unreadable > 50, "{outcomes:?}");
}

/// The check once read bodies and their counts alone: a damaged row of another family was all well to it.
#[test]
fn the_check_finds_a_flipped_bit_in_rows_of_any_family() {
    let dir = open_copy(40, |_| {});
    drop(open(dir.path()));
    let store = open(dir.path());
    store.flush().unwrap();
    drop(store);
    let files = files(dir.path(), "sst");
    assert!(!files.is_empty());
    for file in files {
        let name = PathBuf::from(file.file_name().unwrap());
        in_copy(dir.path(), &name, |dir, file| {
            // Within the first block, which holds rows.
            flip(file, 8, 3);
            let Ok(store) = Store::open(dir, settings()) else { return };
            let found = match store.verify(std::iter::empty(), &mut |_| {}) {
                Err(_) => true,
                Ok(report) => report
                    .problems
                    .iter()
                    .any(|p| matches!(p, Problem::Unreadable { .. } | Problem::Damaged { .. })),
            };
            assert!(found, "{name:?}");
        });
    }
}

#[test]
fn manifest_with_a_flipped_bit() {
    let dir = open_copy(20, |store| store.flush().unwrap());
    let all = fs::read_dir(dir.path().join("db")).unwrap().map(|entry| entry.unwrap().path());
    let manifest =
        all.into_iter().find(|p| p.file_name().unwrap().to_string_lossy().starts_with("MANIFEST")).unwrap();
    let name = PathBuf::from(manifest.file_name().unwrap());
    let len = fs::metadata(&manifest).unwrap().len();
    let mut outcomes = Outcomes::default();
    let mut numbers = Numbers(1);
    for place in (0..len).step_by(23).chain(len - 60..len) {
        let bit = numbers.below(8);
        in_copy(dir.path(), &name, |dir, file| {
            flip(file, place, bit);
            judge(dir, 20, &mut outcomes, &format!("bit {bit} of byte {place} of {len}"));
        });
    }
    assert!(outcomes.refused + outcomes.behind > 20, "{outcomes:?}");
}

#[test]
fn refused_leaves_the_folder_as_it_was() {
    let dir = open_copy(20, |_| {});
    let [log] = &files(dir.path(), "log")[..] else { panic!("one log was expected") };
    let half = fs::metadata(log).unwrap().len() / 2;
    flip(log, half, 1);
    for _ in 0..3 {
        assert!(matches!(Store::open(dir.path(), settings()), Err(Error::Behind { .. })));
    }
    flip(log, half, 1);
    assert_eq!(read(&open(dir.path())).unwrap(), 20);
}

/// After a power loss, pages that were never synced can be zeros.
#[test]
fn zeros_in_the_log() {
    let dir = open_copy(20, |_| {});
    let [log] = &files(dir.path(), "log")[..] else { panic!("one log was expected") };
    let name = PathBuf::from(log.file_name().unwrap());
    let len = fs::metadata(log).unwrap().len();
    let mut outcomes = Outcomes::default();
    in_copy(dir.path(), &name, |dir, log| {
        OpenOptions::new().write(true).open(log).unwrap().set_len(len + 50_000).unwrap();
        judge(dir, 20, &mut outcomes, "zeros at the end");
    });
    assert_eq!(outcomes.whole, 1);
    for start in (0..len - 4096).step_by(4096) {
        in_copy(dir.path(), &name, |dir, log| {
            OpenOptions::new().write(true).open(log).unwrap().write_all_at(&[0; 4096], start).unwrap();
            judge(dir, 20, &mut outcomes, &format!("zeros from {start}"));
        });
    }
    assert!(outcomes.whole == 1 && outcomes.behind > 10, "{outcomes:?}");
}

/// A process that ends between cutting and judging: the next one starts from what was there.
#[test]
fn an_interrupted_cut_is_undone() {
    for acknowledged_too in [false, true] {
        let dir = open_copy(20, |store| flush(store, Family::RaftLog));
        let logs = files(dir.path(), "log");
        assert_eq!(logs.len(), 2);
        let whole: Vec<_> = logs.iter().map(|log| fs::read(log).unwrap()).collect();
        let offset = if acknowledged_too { headers(&whole[0])[6] } else { 0 };
        let lock = std::sync::Arc::new(fs::File::open(dir.path()).unwrap());
        let folder = crate::recover::Folder { dir: dir.path(), db_dir: &dir.path().join("db"), lock: &lock };
        let log = logs[usize::from(!acknowledged_too)].clone();
        folder.cut(&crate::wal::Break { log, offset, reason: "planted" }).unwrap();
        assert!(matches!(fs::metadata(dir.path().join("cut")), Ok(found) if found.is_dir()));
        assert_eq!(read(&open(dir.path())).unwrap(), 20);
        assert!(!dir.path().join("cut").exists());
    }
}

#[test]
fn watermark_gone_or_damaged() {
    let dir = open_copy(10, |_| {});
    let path = dir.path().join("watermark");
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let error = Store::open(dir.path(), settings()).unwrap_err();
    assert!(error.to_string().contains("watermark"), "{error}");
    fs::write(&path, vec![0x55; whole.len()]).unwrap();
    assert!(matches!(Store::open(dir.path(), settings()), Err(Error::Damaged { .. })));
    fs::write(&path, &whole).unwrap();
    assert_eq!(open(dir.path()).marks(), [mark(10)]);
    fs::remove_dir_all(dir.path().join("db")).unwrap();
    assert!(matches!(Store::open(dir.path(), settings()), Err(Error::Damaged { .. })));
}

/// A store with rows and short bodies in tables, and a long body in a file of its own; all of it in files.
fn in_tables(dir: &Path) -> (BodyHash, BodyHash) {
    let store = open(dir);
    let (short, long) = (vec![Bytes::from_static(b"short")], vec![Bytes::from(vec![b'l'; 9000])]);
    let mut batch = Batch::new();
    for body in [&short, &long] {
        batch.put_body(BodyHash::of(body), body);
        batch.hold_body(BodyHash::of(body), b"log");
    }
    batch.put(Family::Row, Key::new().u64(1), "row".repeat(20));
    commit(&store, batch, Vec::new()).unwrap();
    for family in [Family::Row, Family::Blob] {
        flush(&store, family);
    }
    (BodyHash::of(&short), BodyHash::of(&long))
}

/// Flips a bit in the first block of every file of a kind.
fn flip_all(dir: &Path, extension: &str, offset: u64) {
    let files = files(dir, extension);
    assert!(!files.is_empty());
    files.iter().for_each(|path| flip(path, offset, 3));
}

/// A node whose tables were damaged went on, refusing what it met, until RocksDB rewrote one (found by `flip-sst`).
#[test]
fn a_damaged_table_is_told_as_soon_as_it_is_read() {
    for row_first in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (short, _) = in_tables(dir.path());
        flip_all(dir.path(), "sst", 10);
        let store = open(dir.path());
        assert_eq!(store.damage(), None);
        if row_first {
            assert!(store.read(Family::Row, &1_u64.to_be_bytes()).is_err());
        } else {
            // It can be had from another node, but the table that lists it stays as it is.
            assert!(store.body(&short).unwrap().unwrap().all().is_err());
        }
        assert!(store.damage().unwrap().contains(".sst"));
        assert_eq!(store.health(), crate::Health::Good);
    }
}

#[test]
fn a_damaged_body_in_a_file_is_no_damage_of_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let (short, long) = in_tables(dir.path());
    flip_all(dir.path(), "blob", 100);
    let store = open(dir.path());
    assert!(store.body(&long).unwrap().unwrap().all().is_err());
    assert!(store.body(&short).unwrap().unwrap().all().is_ok());
    assert_eq!((store.damage(), store.damaged(9).len()), (None, 1));
}

#[test]
fn damage_that_a_rewrite_meets_is_told() {
    let dir = tempfile::tempdir().unwrap();
    in_tables(dir.path());
    flip_all(dir.path(), "sst", 10);
    let store = open(dir.path());
    store.database().compact(Family::Row, &(Vec::new()..Vec::new()), true);
    let mut batch = Batch::new();
    batch.put(Family::Row, Key::new().u64(2), "row");
    assert!(commit(&store, batch, Vec::new()).is_err());
    assert_eq!(store.health(), crate::Health::Failed);
    assert!(store.damage().is_some());
}
