//! Any commands in any order on the mailboxes of a shard: none of them stops the group, and after each
//! all rows agree with one another.
#![no_main]

use estafette_fuzz::head;
use estafette_mailbox::{
    Action, Command, Context, DeliveryId, Flags, MailboxName, NewMessage, Response, SystemFlags, Target,
    apply, check,
};
use estafette_storage::{BodyHash, Settings, Store};
use estafette_types::{AccountId, ShardId};
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

/// What is there before the input: three messages in INBOX of account 1, and a folder.
fn beginnings() -> Vec<Command> {
    let message = |number: u8| NewMessage {
        flags: Flags { system: SystemFlags::from_bits(number), keywords: Vec::new() },
        internal_date_ms: None,
        size: 100,
        body: BodyHash([number; 32]),
    };
    let deliver = |number: u8| Action::Deliver {
        id: DeliveryId { message: [number; 16], recipient: 0 },
        target: Target::Inbox,
        message: message(number),
        quota: None,
    };
    let folder = MailboxName::parse("a/b").expect("a name");
    let actions = [deliver(1), deliver(2), deliver(9), Action::Create { name: folder, special_use: None }];
    actions.into_iter().map(|action| Command::new(AccountId(1), action)).collect()
}

fuzz_target!(|data: &[u8]| {
    let (_, mut dice, mut rest) = head(data);
    let mut tx = store().transaction();
    let mut context = Context { shard: ShardId(1), time_ms: 1_790_000_000_000 };
    let mut topics = Vec::new();
    for command in beginnings() {
        apply(&context, &command, &mut tx, &mut topics).expect("rows contradict each other");
    }
    for _ in 0..COMMANDS_MAX {
        let Ok((mut command, after)) = postcard::take_from_bytes::<Command>(rest) else { break };
        rest = after;
        // Two accounts, so that most commands meet what others left.
        command.account.0 &= 1;
        context.time_ms += [0, 1, 1000, 86_400_000][dice.below(4)];
        let response = apply(&context, &command, &mut tx, &mut topics).expect("rows contradict each other");
        assert_eq!(Response::decode(&response.encode()).ok(), Some(response));
        let report = check(&tx, context.shard, &mut |_, _| {}).expect("rows that can be read");
        assert!(report.problems.is_empty(), "after {command:?}: {:?}", report.problems);
    }
});
