//! The queue against a plain model, and the bytes of its rows.

mod claims;
mod fixtures;

use super::command::AttemptResult;
use super::*;
use estafette_raft::Context;
use estafette_storage::{BodyHash, Direction, Family, Read, Store};
use estafette_types::{Address, BodyType, DsnNotify, DsnReturn, EnhancedStatus, ReversePath, ShardId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SHARD: ShardId = ShardId(3);

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn recipient(text: &str) -> Recipient {
    Recipient {
        address: address(text),
        local: None,
        notify: None,
        original: None,
        forwarded: false,
        state: State::Pending,
        owed: None,
        last: None,
        last_ms: 0,
    }
}

pub(crate) fn item(recipients: Vec<Recipient>) -> Item {
    Item {
        message: [7; 16],
        reverse_path: ReversePath::Address(address("sender@example.org")),
        body_type: BodyType::SevenBit,
        smtputf8: false,
        require_tls: false,
        dsn_return: None,
        dsn_envelope_id: None,
        submitter: None,
        body: BodyHash([1; 32]),
        size: 10,
        created_ms: 0,
        attempts: 0,
        next_ms: 0,
        delay_told: false,
        recipients,
    }
}

fn store(folder: &std::path::Path) -> Store {
    let settings =
        estafette_storage::Settings { min_free_bytes: 0, cache_bytes: 1 << 20, ..Default::default() };
    Store::open(folder, settings).unwrap()
}

/// Applies one command as the group would.
fn run(store: &Store, time_ms: u64, command: &Command) -> Answer {
    let mut tx = store.transaction();
    let context = Context { time_ms, index: 1, ordinal: 0, seed: [0; 16] };
    let bodies = [BodyHash([1; 32])];
    let answer = apply(SHARD, &context, &command.encode(), &bodies, &mut tx).unwrap();
    store.apply(tx).unwrap();
    Answer::decode(&answer).unwrap()
}

fn rows(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = |family| store.scan(family, Vec::new()..Vec::new(), Direction::Forward).unwrap();
    let queue = all(Family::Queue).map(|row| row.unwrap());
    queue.map(|row| (row.key.to_vec(), row.value.to_vec())).collect()
}

fn references(store: &Store) -> i64 {
    let key = [&[1; 32][..], &SHARD.0.to_be_bytes()].concat();
    let row = store.read(Family::BlobRef, &key).unwrap();
    row.map_or(0, |row| estafette_storage::count::decode(&row).unwrap())
}

fn checked(store: &Store) -> u64 {
    let mut named = 0;
    let report = check(store, SHARD, &mut |hash, _| {
        assert_eq!(hash, BodyHash([1; 32]));
        named += 1;
    })
    .unwrap();
    assert_eq!(report.problems, [], "{report:?}");
    named
}

fn enqueue(id: u8, recipients: usize) -> Command {
    let recipients = (0..recipients).map(|n| recipient(&format!("r{n}@example.net"))).collect();
    Command::Enqueue { id: ItemId([id; 16]), item: Box::new(item(recipients)) }
}

fn result(place: u32, state: State) -> AttemptResult {
    AttemptResult { place, state, reply: 0 }
}

fn attempted(id: u8, attempt: u32, next_ms: u64, results: Vec<AttemptResult>) -> Command {
    let replies = vec![LastReply::own(550, (5, 1, 1), "said")];
    Command::Attempted { id: ItemId([id; 16]), attempt, next_ms, replies, results }
}

/// A log's time stays ahead for as long as a clock that led was: what came then would wait until all clocks are there.
#[test]
fn an_item_is_due_by_the_clock_that_is_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let due_of = |id: u8| {
        let due = read::due(&store, SHARD, u64::MAX, 10).unwrap();
        due.items.iter().find(|(_, found)| *found == ItemId([id; 16])).map(|(time_ms, _)| *time_ms)
    };
    for (id, given_ms, log_ms, due_ms) in [(1, 500, 1000, 500), (2, 5000, 1000, 1000), (3, 0, 1000, 1000)] {
        let mut item = item(vec![recipient("r@example.net")]);
        item.next_ms = given_ms;
        run(&store, log_ms, &Command::Enqueue { id: ItemId([id; 16]), item: Box::new(item) });
        assert_eq!(due_of(id), Some(due_ms));
        let item = read::item(&store, SHARD, ItemId([id; 16])).unwrap().unwrap();
        assert_eq!(item.created_ms, log_ms, "its life is counted by the log");
    }
    run(&store, 1000, &attempted(1, 1, 9_000_000, vec![]));
    assert_eq!(due_of(1), Some(9_000_000));
    run(&store, 99_000_000, &Command::RetryNow { id: ItemId([1; 16]) });
    assert_eq!(due_of(1), Some(0), "at once, whatever the log's time is");
    checked(&store);
}

#[test]
fn an_item_comes_once_and_leaves_when_all_is_done_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let id = ItemId([1; 16]);
    assert_eq!(run(&store, 1000, &enqueue(1, 3)), Answer::Added);
    assert_eq!(run(&store, 1001, &enqueue(1, 3)), Answer::Known);
    assert_eq!((references(&store), checked(&store)), (1, 1));
    let due = |now_ms| {
        let due = read::due(&store, SHARD, now_ms, 10).unwrap();
        (due.items, due.next_ms)
    };
    assert_eq!(due(1000), (vec![(1000, id)], None));

    let results = vec![result(0, State::Passed), result(1, State::Failed), result(2, State::Pending)];
    assert_eq!(run(&store, 1100, &attempted(1, 1, 9000, results)), Answer::Changed);
    let now = read::item(&store, SHARD, id).unwrap().unwrap();
    assert_eq!((now.created_ms, now.attempts, now.next_ms), (1000, 1, 9000));
    assert_eq!((now.owing(NoticeKind::Failure), now.owing(NoticeKind::Success)), (vec![1], vec![]));
    // A notice is owed: something is to be done at once.
    assert_eq!(due(0), (vec![(0, id)], None));
    run(&store, 1200, &Command::Told { id, kind: NoticeKind::Failure, places: vec![1, 77] });
    assert_eq!(due(8999), (vec![], Some(9000)));
    // What is decided stays.
    run(&store, 1300, &attempted(1, 1, 9000, vec![result(0, State::Failed), result(99, State::Failed)]));
    assert_eq!(read::item(&store, SHARD, id).unwrap().unwrap().recipients[0].state, State::Passed);
    assert_eq!(read::counters(&store, SHARD).unwrap().recipients, 1);
    checked(&store);

    run(&store, 2000, &attempted(1, 2, 9000, vec![result(2, State::Relayed)]));
    assert_eq!(read::item(&store, SHARD, id).unwrap(), None);
    assert_eq!((references(&store), checked(&store)), (0, 0));
    assert_eq!(read::counters(&store, SHARD).unwrap().items, 0);
    // It was here: a late repetition adds nothing.
    assert_eq!(run(&store, 2001, &enqueue(1, 3)), Answer::Known);
    assert_eq!(run(&store, 2001, &Command::RetryNow { id }), Answer::Gone);
    assert_eq!(run(&store, KNOWN_MS, &enqueue(1, 3)), Answer::Known);
}

#[test]
fn what_left_long_ago_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for (turn, id) in (1..6_u8).enumerate() {
        let time_ms = KNOWN_MS * (10 + turn as u64);
        run(&store, time_ms, &enqueue(id, 1));
        run(&store, time_ms, &Command::Remove { id: ItemId([id; 16]), notice: false });
        checked(&store);
    }
    // The counters, and the last two periods.
    assert_eq!(rows(&store).len(), 3);
    assert_eq!(run(&store, KNOWN_MS * 14, &enqueue(4, 1)), Answer::Known);
    assert_eq!(run(&store, KNOWN_MS * 14, &enqueue(3, 1)), Answer::Added);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    assert_eq!(run(&store, 5, &enqueue(1, 0)), Answer::Refused);
    let mut other = item(vec![recipient("a@example.net")]);
    other.body = BodyHash([2; 32]);
    let other = Command::Enqueue { id: ItemId([2; 16]), item: Box::new(other) };
    assert_eq!(run(&store, 5, &other), Answer::Refused, "its body did not come with it");
    // Found by fuzzing: it stayed in the queue for ever.
    let mut settled = item(vec![recipient("a@example.net")]);
    settled.recipients[0].state = State::Delivered;
    let settled = Command::Enqueue { id: ItemId([3; 16]), item: Box::new(settled) };
    assert_eq!(run(&store, 5, &settled), Answer::Refused, "nothing is left to be done");
    assert!(rows(&store).is_empty());
    let mut tx = store.transaction();
    let context = Context { time_ms: 1, index: 1, ordinal: 0, seed: [0; 16] };
    assert!(apply(SHARD, &context, &[99], &[], &mut tx).is_err());
}

#[test]
fn who_is_told() {
    let on = |success, failure, delay| Some(DsnNotify::On { success, failure, delay });
    let owed = |notify, state| {
        let recipient = Recipient { notify, ..recipient("a@example.net") };
        item(vec![]).owed(&recipient, state)
    };
    let (failure, success) = (Some(NoticeKind::Failure), Some(NoticeKind::Success));
    for state in [State::Failed, State::Expired] {
        assert_eq!(owed(None, state), failure);
        assert_eq!(owed(on(false, true, false), state), failure);
        assert_eq!(owed(on(true, false, true), state), None);
        assert_eq!(owed(Some(DsnNotify::Never), state), None);
    }
    for state in [State::Delivered, State::Relayed] {
        assert_eq!(owed(on(true, false, false), state), success);
        assert_eq!(owed(None, state), None);
    }
    assert_eq!(owed(on(true, true, true), State::Passed), None, "the next server tells");
    assert_eq!(owed(on(true, true, true), State::Pending), None);
    let null = Item { reverse_path: ReversePath::Null, ..item(vec![]) };
    assert_eq!(null.owed(&recipient("a@example.net"), State::Failed), None);
}

#[test]
fn damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    run(&store, 1000, &enqueue(1, 2));
    run(&store, 1000, &enqueue(2, 2));
    let (first, second) = (ItemId([1; 16]), ItemId([2; 16]));
    let damage = |change: &dyn Fn(&mut estafette_storage::Transaction)| {
        let mut tx = store.transaction();
        change(&mut tx);
        check(&tx, SHARD, &mut |_, _| {}).unwrap().problem_count
    };
    assert_eq!(damage(&|_| {}), 0);
    assert_eq!(damage(&|tx| tx.delete(Family::Queue, key::due(SHARD, 1000, first))), 1);
    assert_eq!(damage(&|tx| tx.put(Family::Queue, key::due(SHARD, 7, first), [1])), 1 + 1);
    assert_eq!(damage(&|tx| tx.put(Family::Queue, key::due(SHARD, 1000, first), [2])), 1);
    assert_eq!(damage(&|tx| tx.put(Family::Queue, key::item(SHARD, second), [1, 2])), 3);
    assert_eq!(damage(&|tx| tx.delete(Family::Queue, key::item(SHARD, second))), 2);
    assert_eq!(damage(&|tx| tx.put(Family::Queue, [0, 0, 0, 3, 99], [1])), 1);
    assert_eq!(damage(&|tx| tx.delete(Family::Queue, key::counters(SHARD))), 1);
}

/// The bytes of version 1 stay readable for ever: never change these, add others.
#[test]
fn fixtures() {
    let full = Item {
        message: [7; 16],
        reverse_path: ReversePath::Address(address("s@example.org")),
        body_type: BodyType::EightBitMime,
        smtputf8: true,
        require_tls: true,
        dsn_return: Some(DsnReturn::Headers),
        dsn_envelope_id: Some("e".into()),
        submitter: Some(estafette_types::AccountId(300)),
        body: BodyHash([9; 32]),
        size: 1000,
        created_ms: 2000,
        attempts: 3,
        next_ms: 4000,
        delay_told: true,
        recipients: vec![Recipient {
            address: address("r@example.net"),
            local: Some(estafette_types::AccountId(1)),
            notify: Some(DsnNotify::On { success: true, failure: false, delay: true }),
            original: Some(("rfc822".into(), "o@x.y".into())),
            forwarded: true,
            state: State::Expired,
            owed: Some(NoticeKind::Success),
            last: Some(LastReply {
                server: "mx".into(),
                code: 451,
                status: Some(EnhancedStatus::new(4, 2, 1)),
                text: "no".into(),
            }),
            last_ms: 5000,
        }],
    };
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(full.encode()), include_str!("fixtures/item_1.hex").trim());
    assert_eq!(Item::decode(&full.encode()), Some(full.clone()));
    let mut counters = Counters::default();
    counters.add(Some(&item(vec![recipient("a@b.c")])));
    assert_eq!(hex(counters.encode()), "0101010a00");
    assert_eq!(Counters::decode(&counters.encode()), Some(counters));
    let command = attempted(5, 2, 700, vec![result(1, State::Pending)]);
    assert_eq!(hex(command.encode()), include_str!("fixtures/attempted_1.hex").trim());
    let mut newer = full.encode();
    newer[0] = 2;
    assert_eq!(Item::decode(&newer), None);
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue(u8, usize),
    Attempt(u8, Vec<(u32, u8)>, u64),
    Told(u8, bool),
    Retry(u8),
    Remove(u8, bool),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = || 0..4_u8;
    let step = prop_oneof![
        3 => (id(), 0..4_usize).prop_map(|(id, n)| Step::Enqueue(id, n)),
        4 => (id(), proptest::collection::vec((0..5_u32, 0..6_u8), 0..4), 0..9000_u64)
            .prop_map(|(id, results, next)| Step::Attempt(id, results, next)),
        3 => (id(), any::<bool>()).prop_map(|(id, failure)| Step::Told(id, failure)),
        1 => id().prop_map(Step::Retry),
        1 => (id(), any::<bool>()).prop_map(|(id, notice)| Step::Remove(id, notice)),
        1 => (0..KNOWN_MS).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..60)
}

/// What a plain queue knows of an item: for each recipient, whether it waits and whether a failure is owed.
type Plain = Vec<(bool, bool)>;

fn state(number: u8) -> State {
    [State::Pending, State::Delivered, State::Relayed, State::Passed, State::Failed, State::Expired]
        [usize::from(number)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn it_does_as_a_plain_queue_does(steps in steps()) {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let stores = [store(one.path()), store(two.path())];
        let mut plain: BTreeMap<u8, Plain> = BTreeMap::new();
        let mut gone: BTreeMap<u8, u64> = BTreeMap::new();
        let mut time_ms = KNOWN_MS;
        for step in steps {
            time_ms += 1;
            let period = |time_ms: u64| time_ms / KNOWN_MS;
            let (command, want) = match step {
                Step::Pass(ms) => { time_ms += ms; continue }
                Step::Enqueue(id, n) => {
                    let known = gone.get(&id).is_some_and(|left| period(*left) + 1 >= period(time_ms));
                    let want = if known || plain.contains_key(&id) { Answer::Known }
                        else if n == 0 { Answer::Refused }
                        else { plain.insert(id, vec![(true, false); n]); Answer::Added };
                    (enqueue(id, n), want)
                }
                Step::Attempt(id, results, next) => {
                    let want = if plain.contains_key(&id) { Answer::Changed } else { Answer::Gone };
                    if let Some(item) = plain.get_mut(&id) {
                        for (place, number) in &results {
                            if let Some(recipient) = item.get_mut(*place as usize).filter(|r| r.0) {
                                *recipient = (*number == 0, *number >= 4);
                            }
                        }
                    }
                    let results = results.into_iter().map(|(place, number)| result(place, state(number))).collect();
                    (attempted(id, 1, time_ms + next, results), want)
                }
                Step::Told(id, failure) => {
                    let want = if plain.contains_key(&id) { Answer::Changed } else { Answer::Gone };
                    if failure && let Some(item) = plain.get_mut(&id) {
                        item.iter_mut().for_each(|recipient| recipient.1 = false);
                    }
                    let kind = if failure { NoticeKind::Failure } else { NoticeKind::Delay };
                    (Command::Told { id: ItemId([id; 16]), kind, places: (0..9).collect() }, want)
                }
                Step::Retry(id) => {
                    let want = if plain.contains_key(&id) { Answer::Changed } else { Answer::Gone };
                    (Command::RetryNow { id: ItemId([id; 16]) }, want)
                }
                Step::Remove(id, notice) => {
                    let want = if plain.contains_key(&id) { Answer::Changed } else { Answer::Gone };
                    if let Some(item) = plain.get_mut(&id) {
                        item.iter_mut().for_each(|r| *r = (false, notice && (r.0 || r.1)));
                    }
                    (Command::Remove { id: ItemId([id; 16]), notice }, want)
                }
            };
            plain.retain(|id, item| {
                let stays = item.iter().any(|(waits, owed)| *waits || *owed);
                if !stays { gone.insert(*id, time_ms); }
                stays
            });
            for store in &stores {
                prop_assert_eq!(run(store, time_ms, &command), want);
                prop_assert_eq!(checked(store), plain.len() as u64);
                prop_assert_eq!(references(store), i64::try_from(plain.len()).unwrap());
            }
            let listed = read::list(&stores[0], SHARD, None, 100).unwrap();
            let found: BTreeMap<u8, Plain> = listed.iter().map(|(id, item)| {
                (id.0[0], item.recipients.iter().map(|r| (r.is_pending(), r.owed.is_some())).collect())
            }).collect();
            prop_assert_eq!(&found, &plain);
            let due: BTreeSet<u8> = read::due(&stores[0], SHARD, u64::MAX, 100).unwrap().items.iter().map(|(_, id)| id.0[0]).collect();
            prop_assert_eq!(due, plain.keys().copied().collect());
        }
        prop_assert_eq!(rows(&stores[0]), rows(&stores[1]), "equal commands, equal rows");
    }
}
