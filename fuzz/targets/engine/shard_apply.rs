//! The log of a shard: any bytes as its commands. What cannot be read is refused as such; all else
//! leaves rows that agree with one another, in mailboxes and in the queue.
#![no_main]

use estafette_delivery::{ShardMachine, queue};
use estafette_fuzz::head;
use estafette_mailbox::Watchers;
use estafette_raft::{Context, Machine, MachineError};
use estafette_storage::{BodyHash, Settings, Store};
use estafette_types::ShardId;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, OnceLock};

const COMMANDS_MAX: usize = 20;
const SHARD: ShardId = ShardId(1);

/// An empty store; nothing is ever written to it.
fn store() -> &'static Store {
    static STORE: OnceLock<(tempfile::TempDir, Store)> = OnceLock::new();
    let (_, store) = STORE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let settings = Settings { min_free_bytes: 0, cache_bytes: 1 << 20, ..Settings::default() };
        let store = Store::open(dir.path(), settings).expect("a store");
        (dir, store)
    });
    store
}

fuzz_target!(|data: &[u8]| {
    let (_, mut dice, rest) = head(data);
    let Ok(commands) = postcard::from_bytes::<Vec<Vec<u8>>>(rest) else { return };
    let mut machine =
        ShardMachine::new(SHARD, Arc::new(Watchers::default()), Arc::new(queue::Wakeup::default()));
    let mut tx = store().transaction();
    let mut context = Context { time_ms: 1_790_000_000_000, index: 1, ordinal: 0, seed: [7; 16] };
    let bodies = [BodyHash([0; 32]), BodyHash([1; 32])];
    for command in commands.iter().take(COMMANDS_MAX) {
        context.time_ms += [0, 1, 1000, 604_800_000][dice.below(4)];
        context.index += 1;
        match machine.apply(&context, command, &bodies, &mut tx) {
            // The group would stop, and with it what was written in the same transaction.
            Err(MachineError::BadCommand { .. }) => return,
            other => assert!(!other.expect("rows that can be read").is_empty()),
        }
        machine.written();
        let report = queue::check(&tx, SHARD, &mut |_, _| {}).expect("rows that can be read");
        assert!(report.problems.is_empty(), "after {command:?}: {:?}", report.problems);
        let report = estafette_mailbox::check(&tx, SHARD, &mut |_, _| {}).expect("rows that can be read");
        assert!(report.problems.is_empty(), "after {command:?}: {:?}", report.problems);
    }
});
