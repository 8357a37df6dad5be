//! A machine that remembers every identifier that it was given, and how often; and what tests need around it.
#![allow(dead_code, unreachable_pub)] // Not every test uses all of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use estafette_raft::{
    Context, Group, GroupId, Machine, MachineError, NewBody, Node, NodeId, Proposal, Settings,
};
use estafette_storage::{BodyHash, Direction, Family, Read, Store, Transaction, prefix_range};

/// Rows: scope (u32 BE) ‖ identifier (u64 BE) → how often (u64) ‖ time ‖ index ‖ ordinal ‖ seed.
pub struct Counter {
    pub scope: u32,
    /// How many different identifiers there are, published by `written`.
    pub seen: Arc<AtomicU64>,
    now: u64,
}

impl Counter {
    pub fn new(scope: u32) -> Self {
        Self { scope, seen: Arc::default(), now: 0 }
    }

    pub fn key(scope: u32, id: u64) -> Vec<u8> {
        [&scope.to_be_bytes()[..], &id.to_be_bytes()].concat()
    }
}

/// A command that makes the machine fail.
pub const POISON: u64 = u64::MAX;
/// A command that makes the machine panic.
pub const PANIC: u64 = u64::MAX - 1;
/// A command that is refused after it has written something.
pub const REFUSED: u64 = u64::MAX - 2;
/// A command that takes [`SLOW_TIME`].
pub const SLOW: u64 = u64::MAX - 3;
pub const SLOW_TIME: std::time::Duration = std::time::Duration::from_millis(800);

impl Machine for Counter {
    fn apply(
        &mut self,
        context: &Context,
        command: &[u8],
        bodies: &[BodyHash],
        tx: &mut Transaction,
    ) -> Result<Bytes, MachineError> {
        let id = command.get(..8).and_then(|id| id.try_into().ok()).map(u64::from_be_bytes);
        let id = id.ok_or(MachineError::BadCommand { version: 0 })?;
        let savepoint = tx.savepoint();
        let key = Self::key(self.scope, id);
        let count = tx.read(Family::Row, &key)?.map_or(0, |row| number(&row));
        let mut row = (count + 1).to_be_bytes().to_vec();
        row.extend(context.time_ms.to_be_bytes());
        row.extend(context.index.to_be_bytes());
        row.extend(context.ordinal.to_be_bytes());
        row.extend(context.seed);
        tx.put(Family::Row, key, row);
        match id {
            POISON => return Err(MachineError::Inconsistent("poison")),
            SLOW => std::thread::sleep(SLOW_TIME),
            PANIC => panic!("a mistake in the machine"),
            REFUSED => {
                tx.rollback_to(savepoint);
                return Ok(Bytes::from_static(b"refused"));
            }
            _ => {}
        }
        for body in bodies {
            tx.add_body_ref(*body, self.scope, 1);
        }
        self.now += u64::from(count == 0);
        Ok(Bytes::copy_from_slice(&(count + 1).to_be_bytes()))
    }

    fn written(&mut self) {
        self.seen.store(self.now, Ordering::SeqCst);
    }

    fn ranges(&self) -> Vec<(Family, Range<Vec<u8>>)> {
        vec![(Family::Row, prefix_range(&self.scope.to_be_bytes()))]
    }

    fn load(&mut self, rows: &dyn Read) -> Result<(), MachineError> {
        let range = prefix_range(&self.scope.to_be_bytes());
        self.now = rows.scan(Family::Row, range, Direction::Forward)?.count() as u64;
        self.written();
        Ok(())
    }
}

pub fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

pub fn command(id: u64) -> Proposal {
    Proposal { command: Bytes::copy_from_slice(&id.to_be_bytes()), bodies: Vec::new() }
}

pub fn with_body(id: u64, body: &[u8]) -> Proposal {
    let chunks = vec![Bytes::copy_from_slice(body)];
    Proposal { bodies: vec![NewBody::of(chunks)], ..command(id) }
}

pub fn store(folder: &Path) -> Store {
    let settings = estafette_storage::Settings { cache_bytes: 8 << 20, ..Default::default() };
    Store::open(folder, settings).unwrap()
}

pub fn settings(folder: &Path) -> Settings {
    Settings::new(folder.join("snapshots"))
}

/// A node with one group that is ready.
pub async fn one(folder: &Path, settings: Settings) -> (Store, Node, Group) {
    let store = store(folder);
    let node = Node::start(store.clone(), NodeId(1), settings).unwrap();
    let group = node.open(GroupId::shard(0), Box::new(Counter::new(7))).await.unwrap();
    group.ready().await.unwrap();
    (store, node, group)
}

/// How often the machine has seen an identifier.
pub fn count(store: &Store, scope: u32, id: u64) -> u64 {
    store.read(Family::Row, &Counter::key(scope, id)).unwrap().map_or(0, |row| number(&row))
}

/// Proposes all identifiers at once and waits for all.
pub async fn propose_all(group: &Group, ids: Range<u64>) {
    let tasks: Vec<_> = ids
        .map(|id| {
            let group = group.clone();
            tokio::spawn(async move { group.propose(command(id)).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
