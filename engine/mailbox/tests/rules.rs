//! What single commands promise, and what they cost.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use estafette_mailbox::{
    AccountRef, Action, Command, Context, DELIVERY_REMEMBERED_MS, Delivered, DeliveryId, EXPUNGE_ROWS_MAX,
    FlagChange, Flags, KEYWORDS_MAX, Keyword, Listener, MAILBOXES_MAX, MailboxName, MailboxRef, NewMessage,
    News, Refusal, Response, SystemFlags, Target, Topic, UidMaps, WORK_MAX, Watchers, apply, check, read,
};
use estafette_storage::{BodyHash, Direction, Family, Read, Settings, Store};
use estafette_types::{AccountId, MailboxId, ModSeq, ShardId, Uid, UidSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SHARD: ShardId = ShardId(1);
const AT: AccountRef = AccountRef { shard: SHARD, account: AccountId(7) };
const INBOX: MailboxId = MailboxId(1);

struct Node {
    store: Store,
    time_ms: u64,
    _dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { min_free_bytes: 0, ..Settings::default() };
        let store = Store::open(dir.path(), settings).unwrap();
        Node { store, time_ms: 1_790_000_000_000, _dir: dir }
    }

    fn run(&mut self, action: Action) -> Response {
        let mut tx = self.store.transaction();
        let command = Command::new(AT.account, action);
        let context = Context { shard: SHARD, time_ms: self.time_ms };
        let response = apply(&context, &command, &mut tx, &mut Vec::new()).unwrap();
        self.store.apply(tx).unwrap();
        response
    }

    fn fill(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            let now = left.min(WORK_MAX);
            let action = Action::Append { mailbox: INBOX, messages: vec![message(); now], quota: None };
            assert!(matches!(self.run(action), Response::Appended { .. }));
            left -= now;
        }
    }

    fn inbox(&self) -> MailboxRef {
        AT.mailbox(INBOX)
    }

    fn sound(&self) {
        assert_eq!(check(&self.store.view(), SHARD, &mut |_, _| {}).unwrap().problems, []);
    }
}

fn message() -> NewMessage {
    NewMessage {
        flags: Flags::default(),
        internal_date_ms: Some(1_790_000_000_000),
        size: 4096,
        body: BodyHash([9; 32]),
    }
}

fn delivery(number: u32) -> Action {
    let id = DeliveryId { message: [5; 16], recipient: number };
    Action::Deliver { id, target: Target::Inbox, message: message(), quota: None }
}

fn delivered(response: &Response) -> Delivered {
    match response {
        Response::Delivered(delivered) => *delivered,
        other => panic!("{other:?}"),
    }
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn set(first: u32, last: u32) -> UidSet {
    UidSet::range(Uid::new(first).unwrap(), Uid::new(last).unwrap())
}

#[test]
fn a_delivery_into_a_large_mailbox_writes_a_handful_of_small_rows() {
    let mut node = Node::new();
    node.fill(100_000);
    // Some of the last messages are gone, so that the last block is no single run.
    for uid in (99_000..100_000).step_by(7) {
        let uids = set(uid, uid);
        node.run(Action::Expunge { mailbox: INBOX, uids, only_deleted: false });
    }
    let before = rows(&node.store);
    node.run(delivery(1));
    let changed: Vec<(Vec<u8>, usize)> = rows(&node.store)
        .into_iter()
        .filter(|(key, value)| before.get(key) != Some(value))
        .map(|(key, value)| (key, value.len()))
        .collect();
    for (key, bytes) in &changed {
        println!("kind {}: key {} bytes, value {bytes} bytes", key[16], key.len());
    }
    // Account, delivery, mailbox, block, message.
    assert_eq!(changed.iter().map(|(key, _)| key[16]).collect::<Vec<_>>(), [1, 4, 16, 18, 19]);
    let largest = changed.iter().map(|(_, bytes)| *bytes).max().unwrap();
    assert!(largest <= 258, "{largest}");
    let total: usize = changed.iter().map(|(key, bytes)| key.len() + bytes).sum();
    assert!(total < 650, "{total}");
    node.sound();
}

fn rows(store: &Store) -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    let rows = store.scan(Family::Row, Vec::new()..Vec::new(), Direction::Forward).unwrap();
    rows.map(|row| row.unwrap()).map(|row| (row.key.to_vec(), row.value.to_vec())).collect()
}

#[test]
fn changes_are_read_bit_by_bit() {
    let mut node = Node::new();
    node.fill(3000);
    let store = |uids| Action::Store {
        mailbox: INBOX,
        uids,
        change: FlagChange::Add,
        flags: SystemFlags::SEEN.into(),
        unchanged_since: None,
    };
    let inbox = node.inbox();
    let after = |node: &Node, modseq, limit| {
        let found = read::changes_after(&node.store, inbox, modseq, limit).unwrap();
        (found.changed.len(), found.through)
    };
    assert_eq!(after(&node, ModSeq(0), 10), (0, None), "messages that only came");
    let Response::Stored { modseq: first, .. } = node.run(store(set(1, 2000))) else { panic!() };
    for uid in 2001..=2010 {
        node.run(store(set(uid, uid)));
    }
    // The first moment is whole; then no more than the limit.
    assert_eq!(after(&node, ModSeq(0), 10), (2000, Some(first)));
    assert_eq!(after(&node, first, 3), (3, Some(ModSeq(first.0 + 3))));
    assert_eq!(after(&node, first, 10), (10, None));
    assert_eq!(after(&node, ModSeq(0), 2004), (2004, Some(ModSeq(first.0 + 4))));
    assert_eq!(after(&node, ModSeq(u64::MAX), 1), (0, None));
    // What is changed again is found at its last change only; what is gone is not found.
    let again = Action::Store {
        mailbox: INBOX,
        uids: set(1, 1999),
        change: FlagChange::Remove,
        flags: SystemFlags::SEEN.into(),
        unchanged_since: None,
    };
    node.run(again);
    node.run(Action::Expunge { mailbox: INBOX, uids: set(2001, 2009), only_deleted: false });
    let found = read::changes_after(&node.store, inbox, ModSeq(0), 2).unwrap();
    let uid = |value| Uid::new(value).unwrap();
    let expected = [(first, uid(2000)), (ModSeq(first.0 + 10), uid(2010))];
    assert_eq!((found.changed, found.through), (expected.to_vec(), Some(ModSeq(first.0 + 10))));
}

#[test]
fn a_renamed_inbox_stays_and_is_empty() {
    let mut node = Node::new();
    node.run(delivery(1));
    let before = read::mailbox(&node.store, node.inbox()).unwrap().unwrap();
    let rename = |to| Action::Rename { from: name("INBOX"), to: name(to) };
    assert_eq!(node.run(rename("old/mail")), Response::Done);
    let after = read::mailbox(&node.store, node.inbox()).unwrap().unwrap();
    assert_eq!((after.uid_validity, after.uid_next), (before.uid_validity, before.uid_next));
    assert_eq!((after.exists, after.highest_modseq), (0, ModSeq(before.highest_modseq.0 + 1)));
    let gone = read::vanished_since(&node.store, node.inbox(), &after, before.highest_modseq).unwrap();
    assert_eq!(gone, read::Vanished::Uids(set(1, 1)));
    let (_, moved) = read::mailbox_by_name(&node.store, AT, &name("old/mail")).unwrap().unwrap();
    assert_eq!((moved.exists, moved.bytes), (1, 4096));
    assert_ne!(moved.uid_validity, before.uid_validity);

    // A large one in several commands.
    node.fill(WORK_MAX + 10);
    let Response::Moving { from, to, rest } = node.run(rename("large")) else { panic!("all at once") };
    assert_eq!((from, rest.len()), (INBOX, 10));
    node.run(delivery(2));
    assert!(matches!(node.run(Action::Move { from, to, uids: rest }), Response::Copied { .. }));
    let (at, moved) = read::mailbox_by_name(&node.store, AT, &name("large")).unwrap().unwrap();
    assert_eq!((at.mailbox, moved.exists as usize), (to, WORK_MAX + 10));
    let inbox = read::mailbox(&node.store, node.inbox()).unwrap().unwrap();
    assert_eq!(inbox.exists, 1, "what came meanwhile stays");
    let refused = |refusal| Response::Refused(refusal);
    assert_eq!(node.run(rename("large")), refused(Refusal::Exists));
    node.sound();
}

#[test]
fn a_delivery_is_remembered_for_seven_days_at_least() {
    let mut node = Node::new();
    let first = delivered(&node.run(delivery(1)));
    node.time_ms += DELIVERY_REMEMBERED_MS;
    assert_eq!(node.run(delivery(1)), Response::Duplicate(first));
    delivered(&node.run(delivery(2)));
    node.time_ms += DELIVERY_REMEMBERED_MS;
    delivered(&node.run(delivery(3)));
    // Forgotten now, by the time of the log; nothing of it is left.
    let again = delivered(&node.run(delivery(1)));
    assert_eq!((first.uid.value(), again.uid.value()), (1, 4));
    node.sound();
    assert_eq!(rows(&node.store).keys().filter(|key| key[16] == 4).count(), 3);
}

#[test]
fn large_mailboxes_and_accounts_go_in_steps() {
    let mut node = Node::new();
    node.fill(10);
    node.run(Action::Create { name: name("big"), special_use: None });
    let big = MailboxId(6);
    for _ in 0..2 {
        node.run(Action::Append { mailbox: big, messages: vec![message(); WORK_MAX], quota: None });
    }
    assert_eq!(node.run(Action::Delete { name: name("big") }), Response::Purged { more: true });
    node.sound();
    assert_eq!(read::usage(&node.store, AT).unwrap(), (40960, 10));
    assert_eq!(node.run(Action::Purge), Response::Purged { more: true });
    node.sound();
    assert_eq!(node.run(Action::Purge), Response::Purged { more: false });
    assert_eq!(references(&node.store), 10);
    node.sound();

    node.fill(3000);
    assert_eq!(node.run(Action::DeleteAccount), Response::Purged { more: true });
    assert_eq!(read::account(&node.store, AT).unwrap(), None);
    assert_eq!(read::mailboxes(&node.store, AT).unwrap(), []);
    assert_eq!(node.run(delivery(1)), Response::Refused(Refusal::NoAccount));
    node.sound();
    assert_eq!(node.run(Action::Purge), Response::Purged { more: false });
    assert_eq!(references(&node.store), 0);
    // The tombstone alone is left, and holds.
    assert_eq!(rows(&node.store).len(), 1);
    assert_eq!(node.run(Action::Ensure), Response::Refused(Refusal::NoAccount));
}

fn references(store: &Store) -> i64 {
    let key = [&[9; 32][..], &SHARD.0.to_be_bytes()].concat();
    let value = store.read(Family::BlobRef, &key).unwrap();
    value.map_or(0, |value| i64::from_be_bytes(value[1..].try_into().unwrap()))
}

#[test]
fn old_expunges_are_forgotten_and_it_is_said() {
    let mut node = Node::new();
    node.fill(EXPUNGE_ROWS_MAX as usize + 10);
    let maps = UidMaps::default();
    let early = read::mailbox(&node.store, node.inbox()).unwrap().unwrap();
    maps.read(&node.store, node.inbox(), &early).unwrap();
    for uid in 1..=EXPUNGE_ROWS_MAX + 1 {
        node.run(Action::Expunge { mailbox: INBOX, uids: set(uid, uid), only_deleted: false });
    }
    let row = read::mailbox(&node.store, node.inbox()).unwrap().unwrap();
    assert_eq!(row.expunge_rows, EXPUNGE_ROWS_MAX + 1 - 64);
    let since = |modseq| read::vanished_since(&node.store, node.inbox(), &row, ModSeq(modseq)).unwrap();
    assert_eq!(since(early.highest_modseq.0), read::Vanished::Unknown);
    let last = read::Vanished::Uids(set(EXPUNGE_ROWS_MAX + 1, EXPUNGE_ROWS_MAX + 1));
    assert_eq!(since(row.highest_modseq.0 - 1), last);
    assert!(matches!(since(row.expunge_floor.0), read::Vanished::Uids(_)));
    // A map that is older than what is recorded is read anew.
    let uids = maps.read(&node.store, node.inbox(), &row).unwrap();
    assert_eq!(*uids, set(EXPUNGE_ROWS_MAX + 2, EXPUNGE_ROWS_MAX + 10));
    node.sound();
}

#[test]
fn work_is_bounded() {
    let mut node = Node::new();
    node.fill(WORK_MAX + 1);
    let all = || UidSet::range(Uid::MIN, Uid::MAX);
    let change = FlagChange::Add;
    let flags = Flags::from(SystemFlags::SEEN);
    let store =
        |uids| Action::Store { mailbox: INBOX, uids, change, flags: flags.clone(), unchanged_since: None };
    assert_eq!(node.run(store(all())), Response::Refused(Refusal::TooMuch));
    assert!(matches!(node.run(store(set(2, u32::MAX))), Response::Stored { .. }));
    let expunge = Action::Expunge { mailbox: INBOX, uids: all(), only_deleted: false };
    assert_eq!(node.run(expunge), Response::Refused(Refusal::TooMuch));
    for number in 5..MAILBOXES_MAX {
        let create = Action::Create { name: name(&format!("n{number}")), special_use: None };
        assert!(matches!(node.run(create), Response::Created { .. }));
    }
    let create = Action::Create { name: name("one too many"), special_use: None };
    assert_eq!(node.run(create), Response::Refused(Refusal::TooManyMailboxes));
    // A delivery does not fail for that: it goes to INBOX.
    let id = DeliveryId { message: [5; 16], recipient: 1 };
    let target = Target::Name { name: name("also too many"), create: true };
    let deliver = Action::Deliver { id, target, message: message(), quota: None };
    assert_eq!(delivered(&node.run(deliver)).mailbox, INBOX);
    node.sound();
}

#[test]
fn keywords_are_bounded_and_no_mail_fails_for_them() {
    let mut node = Node::new();
    let keyword = |number: usize| Keyword::parse(&format!("k{number}")).unwrap();
    let flags = |first: usize| Flags {
        keywords: (first..first + KEYWORDS_MAX).map(keyword).collect(),
        ..Flags::default()
    };
    let append = |first| {
        let message = NewMessage { flags: flags(first), ..message() };
        Action::Append { mailbox: INBOX, messages: vec![message], quota: None }
    };
    node.run(append(0));
    assert!(matches!(node.run(append(5)), Response::Appended { .. }));
    let table = read::keywords(&node.store, node.inbox()).unwrap();
    assert_eq!(table.all().len(), KEYWORDS_MAX);
    let second = read::message(&node.store, node.inbox(), Uid::new(2).unwrap()).unwrap().unwrap();
    assert_eq!(table.names(second.keywords).count(), KEYWORDS_MAX - 5);
    let (change, flags) = (FlagChange::Add, flags(1));
    let store = Action::Store { mailbox: INBOX, uids: set(1, 2), change, flags, unchanged_since: None };
    assert_eq!(node.run(store), Response::Refused(Refusal::TooManyKeywords));
    node.sound();
}

#[test]
fn an_import_is_remembered_for_ever() {
    let mut node = Node::new();
    let id = |recipient| DeliveryId { message: [1; 16], recipient };
    let import = |ids: &[u32]| Action::Import {
        name: name("old/mail"),
        messages: ids.iter().map(|number| (id(*number), message())).collect(),
        quota: Some(3 * 4096),
    };
    let duplicates = |response: Response| match response {
        Response::Imported(all) => all.iter().map(|one| one.duplicate).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(duplicates(node.run(import(&[1, 2]))), [false, false]);
    assert_eq!(node.run(import(&[3, 4])), Response::Refused(Refusal::OverQuota));
    for _ in 0..3 {
        node.time_ms += DELIVERY_REMEMBERED_MS;
        node.run(Action::Expunge { mailbox: INBOX, uids: set(1, 9), only_deleted: false });
        delivered(&node.run(delivery(1)));
        node.time_ms += DELIVERY_REMEMBERED_MS;
    }
    assert_eq!(duplicates(node.run(import(&[1, 2]))), [true, true]);
    node.sound();
}

#[test]
fn a_change_is_told_to_who_watches() {
    #[derive(Default)]
    struct Count(AtomicU64);
    impl Listener for Count {
        fn changed(&self, token: u64, _: News) {
            self.0.fetch_add(token, Ordering::Relaxed);
        }
    }
    let node = Node::new();
    let (watchers, count) = (Arc::new(Watchers::default()), Arc::new(Count::default()));
    let _inbox = watchers.watch(Topic::Mailbox(AT.account, INBOX), count.clone(), 1);
    let _list = watchers.watch(Topic::Mailboxes(AT.account), count.clone(), 100);
    let mut news = Vec::new();
    let context = Context { shard: SHARD, time_ms: node.time_ms };
    let mut step = |action| {
        let mut tx = node.store.transaction();
        apply(&context, &Command::new(AT.account, action), &mut tx, &mut news).unwrap();
        node.store.apply(tx).unwrap();
        watchers.wake(&mut news);
        count.0.swap(0, Ordering::Relaxed)
    };
    // The first command makes the account too.
    assert_eq!(step(delivery(1)), 101);
    assert_eq!(step(delivery(1)), 0);
    assert_eq!(step(delivery(2)), 1);
    assert_eq!(step(Action::Create { name: name("x"), special_use: None }), 100);
    assert_eq!(step(Action::Delete { name: name("INBOX") }), 0);
}

#[test]
fn damage_is_found() {
    let mut node = Node::new();
    node.fill(20);
    let change = FlagChange::Replace;
    let flags = Flags::from(SystemFlags::DELETED.with(SystemFlags::SEEN));
    node.run(Action::Store { mailbox: INBOX, uids: set(3, 5), change, flags, unchanged_since: None });
    node.run(Action::Expunge { mailbox: INBOX, uids: set(5, 6), only_deleted: false });
    node.run(delivery(1));
    node.sound();
    // Whatever row is lost or spoilt, something is missed. Subscriptions stand for themselves, and so
    // does a remembered delivery, once lost.
    for (key, value) in rows(&node.store) {
        let damaged: &[Option<&[u8]>] = match key[16] {
            3 => &[],
            4 => &[Some(&[0xFF])],
            _ => &[None, Some(&[0xFF])],
        };
        for damage in damaged {
            let mut tx = node.store.transaction();
            match damage {
                None => tx.delete(Family::Row, &key),
                Some(bytes) if [20, 22].contains(&key[16]) && !bytes.is_empty() => continue,
                Some(bytes) => tx.put(Family::Row, &key, bytes),
            }
            let report = check(&tx, SHARD, &mut |_, _| {}).unwrap();
            assert!(report.problem_count > 0, "{key:?} {value:?} {damage:?}");
        }
    }
}
