//! Any commands in any order on the mailboxes of a shard: none of them stops the group, and after each
//! all rows agree with one another.
#![no_main]

use estafette_fuzz::head;
use estafette_mailbox::{Command, Context, Response, apply, check};
use estafette_storage::{Settings, Store};
use estafette_types::ShardId;
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

const COMMANDS_MAX: usize = 30;

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
    let (_, mut dice, mut rest) = head(data);
    let mut tx = store().transaction();
    let mut context = Context { shard: ShardId(1), time_ms: 1_790_000_000_000 };
    let mut topics = Vec::new();
    for _ in 0..COMMANDS_MAX {
        let Ok((mut command, after)) = postcard::take_from_bytes::<Command>(rest) else { break };
        rest = after;
        // Two accounts, so that most commands meet what others left.
        command.account.0 &= 1;
        context.time_ms += [0, 1, 1000, 86_400_000][dice.below(4)];
        let response = apply(&context, &command, &mut tx, &mut topics).expect("rows contradict each other");
        assert_eq!(Response::decode(&response.encode()).ok(), Some(response));
        let report = check(&tx, context.shard, &mut |_| {}).expect("rows that can be read");
        assert!(report.problems.is_empty(), "after {command:?}: {:?}", report.problems);
    }
});
