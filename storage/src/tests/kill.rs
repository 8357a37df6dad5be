//! A writing process is killed; all that it said was durable must be there, in order, without a hole.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;

use super::{mark, open};
use crate::{Batch, BodyHash, Direction, Family, Key, Problem, Read, Store};

const CHILD: &str = "ESTAFETTE_STORAGE_TEST_CHILD";
const ROUNDS: u32 = 12;

fn body(number: u64) -> Vec<Bytes> {
    let len = usize::try_from(number % 7).unwrap() * 50_000 + 100;
    vec![Bytes::from(number.to_be_bytes().repeat(len / 8))]
}

/// Writes until it is killed: commits that say so when durable, and rows of the last one applied.
#[test]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let store = open(Path::new(&dir));
    let first = count(&store) + 1;
    for number in first.. {
        let mut batch = Batch::new();
        let pieces = body(number);
        let hash = BodyHash::of(&pieces);
        if number % 5 == 0 {
            let mut staging = store.stage().unwrap();
            staging.push(&pieces.concat()).unwrap();
            batch.bring_body(staging.finish().unwrap());
            // And one that is given up.
            store.stage().unwrap().push(&[7; 600_000]).unwrap();
        } else {
            batch.put_body(hash, &pieces);
        }
        batch.hold_body(hash, b"log");
        batch.put(Family::RaftLog, Key::new().u64(number), hash.0);
        store.commit(batch, vec![mark(number)], move |result| {
            result.unwrap();
            // One write of one line: the pipe keeps it whole.
            std::io::stdout().write_all(format!("acknowledged {number}\n").as_bytes()).unwrap();
        });
        if number % 3 == 0 {
            let mut tx = store.transaction();
            tx.put(Family::Row, Key::new().u64(number), b"applied");
            tx.add_body_ref(hash, 1, 1);
            store.apply(tx).unwrap();
        }
        if number % 64 == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// References of the rows that were applied.
fn references(store: &Store) -> Vec<Result<(u32, BodyHash), crate::Error>> {
    let rows = store.scan(Family::Row, Vec::new()..Vec::new(), Direction::Forward).unwrap();
    let number = |key: &[u8]| u64::from_be_bytes(key.try_into().unwrap());
    rows.map(|row| Ok((1, BodyHash::of(&body(number(&row.unwrap().key)))))).collect()
}

/// Number of log rows; panics at a hole or a missing body.
fn count(store: &Store) -> u64 {
    let mut last = 0_u64;
    for row in store.scan(Family::RaftLog, Vec::new()..Vec::new(), Direction::Forward).unwrap() {
        let row = row.unwrap();
        last += 1;
        assert_eq!(row.key, last.to_be_bytes().as_slice(), "a hole");
        let hash = BodyHash::from_slice(&row.value).unwrap();
        let found = store.body(&hash).unwrap().expect("the body came with its row");
        assert_eq!(found.all().unwrap().concat(), body(last).concat());
    }
    last
}

#[test]
fn killed_while_writing() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["tests::kill::child", "--exact", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let told = lines
                    .map_while(Result::ok)
                    .filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u64>().ok());
                told.last()
            });
            std::thread::sleep(Duration::from_millis(150 + u64::from(round) * 37 % 250));
            child.kill().unwrap();
            child.wait().unwrap();
            acknowledged = reader.join().unwrap().unwrap_or(acknowledged);
        });
        let store = open(dir.path());
        let found = count(&store);
        assert!(found >= acknowledged, "round {round}: {acknowledged} acknowledged, {found} found");
        let marked = store.marks().first().map_or(0, |mark| mark.last_index);
        assert!(marked >= acknowledged && marked <= found, "{acknowledged} <= {marked} <= {found}");
        let report = store.verify(references(&store), &mut |_| {}).unwrap();
        // Rows that are applied twice, or before their commit, are this test's own doing.
        let own = |p: &&Problem| matches!(p, Problem::Missing { .. } | Problem::WrongCount { .. });
        assert_eq!(report.problems.iter().find(|problem| !own(problem)), None, "round {round}");
        drop(store);
    }
    assert!(acknowledged > 0, "nothing was written at all");
}
