//! The bytes of commands, answers and rows of the queue, as version 1 writes them. They lie in logs and on
//! disks, so what is in the files stays readable for ever, and the commands here lead to these rows.
//!
//! When a test here fails, an encoding or what a command does has changed: give it a new version byte, keep reading
//! the old one, and add a file; from the first release on, the lines that are there never change. A line for something
//! new may be added.

use super::*;
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::mem::discriminant;

const COMMANDS: &str = include_str!("../fixtures/commands_1.hex");
const ANSWERS: &str = include_str!("../fixtures/answers_1.hex");
const ROWS: &str = include_str!("../fixtures/rows_1.hex");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The lines of a file, each in two columns.
fn lines(file: &str) -> impl Iterator<Item = (&str, &str)> {
    file.lines().map(|line| line.split_once(' ').unwrap())
}

fn same(made: &[String], file: &str) {
    let made = made.join("\n") + "\n";
    assert!(made == file, "an encoding has changed; this is how it is now:\n{made}");
}

/// How many variants an enum has, by the words of serde about an unknown one.
fn variants<T: DeserializeOwned>() -> usize {
    let error = serde_json::from_str::<T>("\"?\"").err().unwrap().to_string();
    error.split('`').count() / 2 - 1
}

/// The first word of what a value looks like: the name of its variant.
fn word(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split([' ', '(', '{']).next().unwrap().to_owned()
}

const STATES: [State; 6] =
    [State::Pending, State::Delivered, State::Relayed, State::Passed, State::Failed, State::Expired];
const KINDS: [NoticeKind; 3] = [NoticeKind::Failure, NoticeKind::Delay, NoticeKind::Success];

/// Every field set, a recipient in every state, every kind of notice owed.
fn full() -> Item {
    let last = LastReply {
        server: "mx.example.net".into(),
        code: 451,
        status: Some(EnhancedStatus::new(4, 2, 1)),
        text: "later".into(),
    };
    let mut recipients: Vec<Recipient> = STATES
        .iter()
        .map(|state| Recipient { state: *state, ..recipient(&format!("{state:?}@example.net")) })
        .collect();
    recipients[0].local = Some(estafette_types::AccountId(300));
    recipients[1].notify = Some(DsnNotify::Never);
    recipients[2].notify = Some(DsnNotify::On { success: true, failure: false, delay: true });
    recipients[3].original = Some(("utf-8".into(), "zo\u{eb}@example.net".into()));
    recipients[4].forwarded = true;
    recipients[4].last = Some(last);
    recipients[4].last_ms = 70_000;
    recipients.iter_mut().skip(3).zip(KINDS).for_each(|(recipient, kind)| recipient.owed = Some(kind));
    Item {
        message: *b"0123456789abcdef",
        body_type: BodyType::EightBitMime,
        smtputf8: true,
        require_tls: true,
        dsn_return: Some(DsnReturn::Headers),
        dsn_envelope_id: Some("e".into()),
        submitter: Some(estafette_types::AccountId(300)),
        size: 300,
        attempts: 3,
        next_ms: 4000,
        delay_told: true,
        ..item(recipients)
    }
}

fn script() -> Vec<Command> {
    let (first, second) = (ItemId([1; 16]), ItemId([2; 16]));
    let notice = Item {
        reverse_path: ReversePath::Null,
        body_type: BodyType::BinaryMime,
        dsn_return: Some(DsnReturn::Full),
        ..item(vec![recipient("a@example.net"), recipient("b@example.net")])
    };
    let later = LastReply { status: None, ..LastReply::own(450, (4, 0, 0), "later") };
    let replies = vec![LastReply::own(250, (2, 0, 0), "taken"), later];
    let results = vec![
        AttemptResult { place: 0, state: State::Relayed, reply: 0 },
        AttemptResult { place: 1, state: State::Pending, reply: 1 },
    ];
    vec![
        Command::Enqueue { id: first, item: Box::new(full()) },
        Command::Enqueue { id: second, item: Box::new(notice) },
        Command::Told { id: first, kind: NoticeKind::Failure, places: vec![3, 300] },
        Command::Told { id: first, kind: NoticeKind::Delay, places: vec![4] },
        Command::Attempted { id: second, attempt: 1, next_ms: 900_000, replies, results },
        enqueue(3, 1),
        Command::Remove { id: ItemId([3; 16]), notice: false },
        enqueue(4, 1),
        Command::Remove { id: ItemId([4; 16]), notice: true },
        Command::RetryNow { id: second },
        attempted(2, 2, 1_000_000, vec![result(300, State::Failed)]),
        Command::Claim { node: 300, token: 400, items: vec![(second, None), (first, Some(500))] },
        attempted(2, 3, 2_000_000, vec![result(1, State::Pending)]).by(401, true),
        Command::Release { items: vec![(first, 500)] },
    ]
}

#[test]
fn commands() {
    let script = script();
    let kinds: HashSet<_> = script.iter().map(discriminant).collect();
    assert_eq!(kinds.len(), variants::<Command>(), "a command has no line");
    assert_eq!((STATES.len(), KINDS.len()), (variants::<State>(), variants::<NoticeKind>()));
    let line = |command: &Command| format!("{} {}", word(command), hex(&command.encode()));
    same(&script.iter().map(line).collect::<Vec<_>>(), COMMANDS);
    for ((name, bytes), command) in lines(COMMANDS).zip(&script) {
        assert_eq!(Command::decode(&unhex(bytes)).unwrap(), *command, "{name}");
    }
}

/// Every node that plays a log again comes to the same rows, whatever its version.
#[test]
fn commands_lead_to_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for (number, (_, bytes)) in (0..).zip(lines(COMMANDS)) {
        let answer = run(&store, 70_000 + number, &Command::decode(&unhex(bytes)).unwrap());
        assert!(matches!(answer, Answer::Added | Answer::Changed), "{answer:?} to line {number}");
    }
    let line = |(key, value): &(Vec<u8>, Vec<u8>)| format!("{} {}", hex(key), hex(value));
    same(&rows(&store).iter().map(line).collect::<Vec<_>>(), ROWS);
}

#[test]
fn rows_of_version_1_are_readable() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut tx = store.transaction();
    let mut kinds = BTreeSet::new();
    for (key, value) in lines(ROWS) {
        kinds.insert(unhex(key)[4]);
        tx.put(Family::Queue, unhex(key), unhex(value));
    }
    store.apply(tx).unwrap();
    assert_eq!(kinds, [1, 2, 3, 4, 5].into());
    assert_eq!(checked(&store), 3);
    let mut expected = full();
    expected.created_ms = 70_000;
    expected.recipients[3].owed = None;
    assert_eq!(read::item(&store, SHARD, ItemId([1; 16])).unwrap(), Some(expected));
    let counters = read::counters(&store, SHARD).unwrap();
    assert_eq!((counters.items, counters.recipients, counters.bytes), (3, 2, 320));
    let due = read::due(&store, SHARD, 70_100, 9).unwrap();
    assert_eq!(due.items, [(0, ItemId([1; 16])), (0, ItemId([4; 16]))]);
    assert_eq!(due.next_ms, Some(1_000_000));
}

#[test]
fn answers() {
    let all = [Answer::Added, Answer::Known, Answer::Changed, Answer::Gone, Answer::Refused];
    assert_eq!(all.len(), variants::<Answer>(), "an answer has no line");
    same(&all.map(|answer| format!("{} {}", word(&answer), hex(&answer.encode()))), ANSWERS);
    for ((name, bytes), answer) in lines(ANSWERS).zip(all) {
        assert_eq!(Answer::decode(&unhex(bytes)).unwrap(), answer, "{name}");
    }
}
