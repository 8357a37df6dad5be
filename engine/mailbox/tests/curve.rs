//! How costs go with the size of a mailbox. Not run by default: it takes a while and only prints.
//!
//! `cargo test -p estafette-mailbox --test curve -- --ignored --nocapture`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and this one reports"
)]

use estafette_mailbox::{
    AccountRef, Action, Command, Context, DeliveryId, Flags, MailboxRef, NewMessage, Target, UidMaps,
    WORK_MAX, apply, read,
};
use estafette_storage::{BodyHash, Settings, Store};
use estafette_types::{AccountId, MailboxId, ModSeq, ShardId, Uid};
use std::time::Instant;

const AT: AccountRef = AccountRef { shard: ShardId(1), account: AccountId(1) };
const ROUNDS: u32 = 200;

fn run(store: &Store, action: Action) {
    let command = Command::new(AT.account, action);
    let mut tx = store.transaction();
    let context = Context { shard: AT.shard, time_ms: 1_790_000_000_000 };
    apply(&context, &command, &mut tx, &mut Vec::new()).unwrap();
    store.apply(tx).unwrap();
}

fn message() -> NewMessage {
    NewMessage { flags: Flags::default(), internal_date_ms: None, size: 4096, body: BodyHash([9; 32]) }
}

/// Mean microseconds of a round.
fn mean_us(mut round: impl FnMut(u32)) -> u128 {
    let start = Instant::now();
    (0..ROUNDS).for_each(&mut round);
    start.elapsed().as_micros() / u128::from(ROUNDS)
}

fn open(store: &Store, maps: &UidMaps, at: MailboxRef) -> u32 {
    let view = store.view();
    let row = read::mailbox(&view, at).unwrap().unwrap();
    let uids = maps.read(&view, at, &row).unwrap();
    uids.len()
}

#[test]
#[ignore = "a measurement"]
fn costs_by_size() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Settings::default()).unwrap();
    let inbox = AT.mailbox(MailboxId(1));
    let (mut size, mut deliveries) = (0, 0);
    println!("messages | deliver | open cold | open after delivery | last 50 | changed since last (µs)");
    for wanted in [1_000, 10_000, 100_000, 1_000_000] {
        while size < wanted {
            let messages = vec![message(); WORK_MAX.min(wanted - size)];
            size += messages.len();
            run(&store, Action::Append { mailbox: inbox.mailbox, messages, quota: None });
        }
        let mut deliver = |_| {
            deliveries += 1;
            let id = DeliveryId { message: [1; 16], recipient: deliveries };
            run(&store, Action::Deliver { id, target: Target::Inbox, message: message(), quota: None });
        };
        let delivering = mean_us(&mut deliver);
        let cold = mean_us(|_| assert!(open(&store, &UidMaps::default(), inbox) > 0));
        let maps = UidMaps::default();
        open(&store, &maps, inbox);
        let after = mean_us(|round| {
            deliver(round);
            open(&store, &maps, inbox);
        });
        let exists = open(&store, &maps, inbox);
        let last = mean_us(|_| {
            let range = Uid::new(exists - 49).unwrap()..=Uid::MAX;
            assert_eq!(read::messages(&store, inbox, range).unwrap().count(), 50);
        });
        let row = read::mailbox(&store, inbox).unwrap().unwrap();
        let all = maps.read(&store, inbox, &row).unwrap();
        let since = ModSeq(row.highest_modseq.0 - 1);
        let changed =
            mean_us(|_| assert_eq!(read::changed_since(&store, inbox, &all, since).unwrap().len(), 1));
        println!(
            "{exists:8} | {delivering:7} | {cold:9} | {:19} | {last:7} | {changed:7}",
            after - delivering
        );
    }
}
