//! Named commands: whatever is repeated is carried out once, and answered as the first time.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use estafette_mailbox::{
    AccountRef, Action, Command, Context, FlagChange, MailboxName, NewMessage, REQUEST_REMEMBERED_MS,
    Refusal, RequestId, Response, SystemFlags, apply, check, read,
};
use estafette_storage::{BodyHash, Direction, Family, Read, Settings, Store};
use estafette_types::{AccountId, MailboxId, ModSeq, ShardId, Uid, UidSet};

const AT: AccountRef = AccountRef { shard: ShardId(1), account: AccountId(7) };
const INBOX: MailboxId = MailboxId(1);
const DRAFTS: MailboxId = MailboxId(2);

struct Node {
    store: Store,
    time_ms: u64,
    _dir: tempfile::TempDir,
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

impl Node {
    fn new() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { min_free_bytes: 0, ..Settings::default() };
        let store = Store::open(dir.path(), settings).unwrap();
        Node { store, time_ms: REQUEST_REMEMBERED_MS * 20_000, _dir: dir }
    }

    fn run(&self, request: Option<u8>, action: Action) -> Response {
        let request = request.map(|number| RequestId([number; 16]));
        let command = Command { request, ..Command::new(AT.account, action) };
        assert_eq!(Command::decode(&command.encode()).unwrap(), command);
        let mut tx = self.store.transaction();
        let context = Context { shard: AT.shard, time_ms: self.time_ms };
        let response = apply(&context, &command, &mut tx, &mut Vec::new()).unwrap();
        self.store.apply(tx).unwrap();
        assert_eq!(check(&self.store.view(), AT.shard, &mut |_, _| {}).unwrap().problems, []);
        response
    }

    fn rows(&self) -> Rows {
        let rows = self.store.scan(Family::Row, Vec::new()..Vec::new(), Direction::Forward).unwrap();
        rows.map(|row| row.map(|row| (row.key.to_vec(), row.value.to_vec())).unwrap()).collect()
    }

    fn messages(&self) -> u64 {
        read::account(&self.store, AT).unwrap().unwrap().messages
    }

    fn remembered(&self) -> usize {
        self.rows().iter().filter(|(key, _)| key[16] == 6).count()
    }
}

fn set(first: u32, last: u32) -> UidSet {
    UidSet::range(Uid::new(first).unwrap(), Uid::new(last).unwrap())
}

fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

fn append(count: usize) -> Action {
    let message = NewMessage {
        flags: SystemFlags::DELETED.into(),
        internal_date_ms: None,
        size: 100,
        body: BodyHash([1; 32]),
    };
    Action::Append { mailbox: INBOX, messages: vec![message; count], quota: Some(700) }
}

fn all() -> Vec<Action> {
    let (uids, flags, change) = (set(1, 2), SystemFlags::SEEN.into(), FlagChange::Add);
    vec![
        append(3),
        Action::Copy { from: INBOX, to: INBOX, uids: uids.clone(), quota: None },
        Action::Move { from: INBOX, to: DRAFTS, uids: uids.clone() },
        Action::Store { mailbox: INBOX, uids: set(3, 4), change, flags, unchanged_since: Some(ModSeq(100)) },
        Action::Expunge { mailbox: INBOX, uids: set(3, 3), only_deleted: true },
        Action::Create { name: name("a/b"), special_use: None },
        Action::Rename { from: name("a/b"), to: name("c") },
        Action::Rename { from: name("INBOX"), to: name("old") },
        Action::Delete { name: name("c") },
    ]
}

#[test]
fn a_repetition_is_answered_as_the_first_and_changes_nothing() {
    let node = Node::new();
    for (number, action) in (1..).zip(all()) {
        assert!(!action.is_harmless_again(), "{action:?}");
        let first = node.run(Some(number), action.clone());
        assert!(!matches!(first, Response::Refused(_)), "{action:?}: {first:?}");
        let rows = node.rows();
        assert_eq!(node.run(Some(number), action.clone()), first, "{action:?}");
        assert_eq!(node.rows(), rows, "{action:?}");
    }
    // Also long after, when other things have happened.
    assert!(matches!(node.run(Some(1), append(3)), Response::Appended { uids, .. } if uids == set(1, 3)));
    assert_eq!(node.messages(), 4);
}

#[test]
fn another_name_is_another_request_and_none_is_always_another() {
    let node = Node::new();
    for request in [Some(1), Some(2), None, None] {
        node.run(request, append(1));
    }
    assert_eq!((node.messages(), node.remembered()), (4, 2));
}

#[test]
fn a_refusal_is_not_remembered() {
    let node = Node::new();
    node.run(None, append(7));
    let refused = Response::Refused(Refusal::OverQuota);
    assert_eq!((node.run(Some(1), append(1)), node.remembered()), (refused, 0));
    node.run(None, Action::Expunge { mailbox: INBOX, uids: set(1, 1), only_deleted: false });
    assert!(matches!(node.run(Some(1), append(1)), Response::Appended { .. }));
    assert!(matches!(node.run(Some(1), append(1)), Response::Appended { .. }));
    assert_eq!((node.messages(), node.remembered()), (7, 1));
}

#[test]
fn names_are_remembered_for_a_time_and_then_forgotten() {
    let mut node = Node::new();
    node.time_ms += REQUEST_REMEMBERED_MS - 1;
    node.run(Some(1), append(1));
    node.time_ms += REQUEST_REMEMBERED_MS;
    node.run(Some(1), append(1));
    assert_eq!(node.messages(), 1);
    node.run(Some(2), append(1));
    assert_eq!(node.remembered(), 2);
    node.time_ms += 1;
    node.run(Some(1), append(1));
    assert_eq!(node.messages(), 3, "it was forgotten");
    assert_eq!(node.remembered(), 2, "and what is too old is not kept");
}

#[test]
fn they_go_with_their_account() {
    let node = Node::new();
    node.run(Some(1), append(1));
    node.run(None, Action::DeleteAccount);
    assert_eq!((node.rows().len(), node.remembered()), (1, 0));
    assert_eq!(node.run(Some(1), append(1)), Response::Refused(Refusal::NoAccount));
}
