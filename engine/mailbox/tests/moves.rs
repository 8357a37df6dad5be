//! Accounts that move from one shard to another: nothing is lost or doubled, whatever happens on the way.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use estafette_mailbox::{
    AccountRef, AccountState, Action, Command, Context, DeliveryId, FlagChange, Flags, Keyword, Listener,
    MailboxName, MoveId, MovedRow, NewMessage, News, Refusal, RequestId, Response, SystemFlags, Target,
    Topic, Transfer, Watchers, apply, check, read,
};
use estafette_storage::{Batch, BodyHash, Direction, Family, Read, Settings, Store, View};
use estafette_types::{AccountId, MailboxId, ShardId, Uid, UidSet};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

const ACCOUNT: AccountId = AccountId(7);
const ONE: AccountRef = AccountRef { shard: ShardId(1), account: ACCOUNT };
const TWO: AccountRef = AccountRef { shard: ShardId(2), account: ACCOUNT };
const INBOX: MailboxId = MailboxId(1);
const OF: MoveId = MoveId(10);
const DONE: Response = Response::Done;

struct Node {
    store: Store,
    time_ms: u64,
    bodies: Vec<BodyHash>,
    news: Vec<News>,
    _dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { min_free_bytes: 0, ..Settings::default() };
        let store = Store::open(dir.path(), settings).unwrap();
        let mut batch = Batch::new();
        let mut bodies = Vec::new();
        for number in 0..6 {
            let text = bytes::Bytes::from(format!("Subject: {number}\r\n\r\n"));
            bodies.push(BodyHash::of(std::slice::from_ref(&text)));
            batch.put_body(bodies[number], &[text]);
        }
        let (done, wait) = mpsc::channel();
        store.commit(batch, Vec::new(), move |result| done.send(result).unwrap());
        wait.recv().unwrap().unwrap();
        Node { store, time_ms: 1_790_000_000_000, bodies, news: Vec::new(), _dir: dir }
    }

    fn run(&mut self, at: AccountRef, action: Action) -> Response {
        self.named(at, None, action)
    }

    fn named(&mut self, at: AccountRef, request: Option<u8>, action: Action) -> Response {
        self.time_ms += 1000;
        let request = request.map(|number| RequestId([number; 16]));
        let command = Command { request, ..Command::new(at.account, action) };
        let command = Command::decode(&command.encode()).unwrap();
        let mut tx = self.store.transaction();
        let context = Context { shard: at.shard, time_ms: self.time_ms };
        let response = apply(&context, &command, &mut tx, &mut self.news).unwrap();
        assert!(tx.is_empty() || !matches!(response, Response::Refused(_)), "{command:?}");
        self.store.apply(tx).unwrap();
        Response::decode(&response.encode()).unwrap()
    }

    /// Every row fits every other, and the references of bodies are those of the rows.
    fn sound(&self) {
        let view = self.store.view();
        let mut references = Vec::new();
        for shard in [ONE.shard, TWO.shard] {
            let report = check(&view, shard, &mut |hash, _| references.push(Ok((shard.0, hash)))).unwrap();
            assert_eq!(report.problems, []);
        }
        let report = view.verify(references, &mut |_| {}).unwrap();
        assert_eq!(report.problem_count, 0, "{report:?}");
    }

    fn state(&self, at: AccountRef) -> Option<AccountState> {
        read::state(&self.store, at).unwrap().map(|(state, _)| state)
    }

    /// All rows of an account but its own, by what comes after shard and account.
    fn rows(&self, at: AccountRef) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let rows = self.store.scan(Family::Row, Vec::new()..Vec::new(), Direction::Forward).unwrap();
        let rows = rows.map(|row| row.map(|row| (row.key.to_vec(), row.value.to_vec())).unwrap());
        let own = |key: &[u8]| key[..4] == at.shard.0.to_be_bytes() && key[12..] != [0, 0, 0, 0, 1];
        rows.filter(|(key, _)| own(key)).map(|(key, value)| (key[12..].to_vec(), value)).collect()
    }

    fn message(&self, body: usize) -> NewMessage {
        let body = self.bodies[body % self.bodies.len()];
        NewMessage { flags: Flags::default(), internal_date_ms: None, size: 100, body }
    }

    fn append(&mut self, at: AccountRef, count: usize) -> Response {
        let messages = (0..count).map(|number| self.message(number)).collect();
        self.run(at, Action::Append { mailbox: INBOX, messages, quota: None })
    }

    /// Takes a batch over; false when all was.
    fn send(&mut self, pass: &mut Pass, whole: Option<Vec<u8>>) -> bool {
        let batch = pass.transfer.next(&pass.view, pass.rows_max, 1 << 20).unwrap();
        let whole = whole.filter(|_| batch.last);
        if !batch.rows.is_empty() || whole.is_some() {
            let action = Action::Install { of: pass.of, after: pass.after, rows: batch.rows, whole };
            assert_eq!(self.run(pass.to, action), DONE);
            pass.after += 1;
        }
        !batch.last
    }

    fn pass(&self, of: MoveId, from: AccountRef, to: AccountRef, rows_max: usize) -> Pass {
        let view = self.store.view();
        let after = read::account_row(&view, to).unwrap().map_or(0, |row| row.installed);
        Pass { view, transfer: Transfer::new(from, to), of, to, after, rows_max }
    }

    /// The end of a move: from the seal to the last removal.
    fn finish(&mut self, of: MoveId, from: AccountRef, to: AccountRef, rows_max: usize) {
        assert_eq!(self.run(from, Action::Seal { of }), DONE);
        let before = self.rows(from);
        let source = read::account_row(&self.store, from).unwrap().unwrap();
        let mut pass = self.pass(of, from, to, rows_max);
        while self.send(&mut pass, Some(source.encode())) {
            self.sound();
        }
        self.sound();
        assert_eq!(self.state(to), Some(AccountState::Ready));
        assert_eq!(self.run(to, Action::Adopt { of }), DONE);
        assert_eq!(self.run(to, Action::Adopt { of }), DONE);
        let target = read::account_row(&self.store, to).unwrap().unwrap();
        assert_eq!((target.bytes, target.messages), (source.bytes, source.messages));
        assert_eq!(
            (target.next_email, target.last_uid_validity),
            (source.next_email, source.last_uid_validity)
        );
        let mut action = Action::Clear { of };
        while self.run(from, action) == (Response::Purged { more: true }) {
            self.sound();
            action = Action::Purge;
        }
        assert_eq!(self.rows(to), before);
        assert_eq!((self.rows(from), self.state(from)), (BTreeMap::new(), Some(AccountState::Moved)));
        self.sound();
    }
}

/// A comparison under way, in one view.
struct Pass {
    view: View,
    transfer: Transfer,
    of: MoveId,
    to: AccountRef,
    after: u64,
    rows_max: usize,
}

/// The same numbers every time (xorshift).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, below: u8) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u8::try_from(self.0 % u64::from(below)).unwrap()
    }

    fn uids(&mut self) -> UidSet {
        let (one, other) = (u32::from(self.throw(12)) + 1, u32::from(self.throw(12)) + 1);
        UidSet::range(Uid::new(one).unwrap(), Uid::new(other).unwrap())
    }

    fn action(&mut self, node: &Node) -> Action {
        let names = ["INBOX", "a", "a/b", "Junk", "c"];
        let name = |dice: &mut Dice| MailboxName::parse(names[usize::from(dice.throw(5))]).unwrap();
        let mailbox = MailboxId(u32::from(self.throw(7)) + 1);
        let other = MailboxId(u32::from(self.throw(7)) + 1);
        let (message, quota) = (node.message(usize::from(self.throw(6))), None);
        let flags = Flags {
            system: SystemFlags::from_bits(self.throw(32)),
            keywords: vec![Keyword::parse(["work", "home"][usize::from(self.throw(2))]).unwrap()],
        };
        let id = DeliveryId { message: [self.throw(40); 16], recipient: 0 };
        match self.throw(11) {
            0 | 1 => Action::Deliver { id, target: Target::Inbox, message, quota },
            2 => Action::Append { mailbox, messages: vec![message; 3], quota },
            3 => Action::Import { name: name(self), messages: vec![(id, message)], quota },
            4 => Action::Copy { from: mailbox, to: other, uids: self.uids(), quota },
            5 => Action::Move { from: mailbox, to: other, uids: self.uids() },
            6 => {
                let change =
                    [FlagChange::Add, FlagChange::Remove, FlagChange::Replace][usize::from(self.throw(3))];
                Action::Store { mailbox, uids: self.uids(), change, flags, unchanged_since: None }
            }
            7 => Action::Expunge { mailbox, uids: self.uids(), only_deleted: self.throw(2) == 0 },
            8 => Action::Create { name: name(self), special_use: None },
            9 => Action::Delete { name: name(self) },
            _ => Action::Rename { from: name(self), to: name(self) },
        }
    }
}

/// Random histories, with batches of a few rows sent between the commands, there and back again.
#[test]
fn whatever_happens_on_the_way_both_sides_are_equal_at_the_end() {
    for seed in 1..40 {
        let (mut node, mut dice) = (Node::new(), Dice(seed * 7919));
        let (mut from, mut to) = (ONE, TWO);
        for turn in 1..4 {
            let of = MoveId(turn);
            let rows_max = 1 + usize::from(dice.throw(20));
            let mut pass = node.pass(of, from, to, rows_max);
            for _ in 0..60 {
                let action = dice.action(&node);
                let request = (dice.throw(3) == 0).then(|| dice.throw(200));
                node.named(from, request, action);
                if dice.throw(2) == 0 && !node.send(&mut pass, None) {
                    pass = node.pass(of, from, to, rows_max);
                }
            }
            node.sound();
            node.finish(of, from, to, rows_max);
            (from, to) = (to, from);
        }
    }
}

#[test]
fn an_account_is_used_in_one_shard_alone() {
    let mut node = Node::new();
    node.append(ONE, 3);
    let moved = Response::Refused(Refusal::Moved);
    let all = |node: &Node| {
        let id = DeliveryId { message: [1; 16], recipient: 1 };
        [
            Action::Ensure,
            Action::Deliver { id, target: Target::Inbox, message: node.message(1), quota: None },
            Action::Create { name: MailboxName::parse("x").unwrap(), special_use: None },
            Action::Expunge { mailbox: INBOX, uids: UidSet::one(Uid::MIN), only_deleted: false },
        ]
    };
    let mut pass = node.pass(OF, ONE, TWO, 5);
    assert!(node.send(&mut pass, None));
    for action in all(&node) {
        assert_eq!(node.run(TWO, action), moved, "it is only arriving");
    }
    assert!(read::account(&node.store, TWO).unwrap().is_none());
    assert_eq!(node.run(ONE, Action::Seal { of: OF }), DONE);
    assert_eq!(node.run(ONE, Action::Seal { of: OF }), DONE);
    for action in all(&node).into_iter().chain([Action::Purge]) {
        assert_eq!(node.named(ONE, Some(1), action), moved, "it is sealed");
    }
    assert_eq!(read::account(&node.store, ONE).unwrap().unwrap().messages, 3, "it can be read");
    // Opened again, as the move was given up; what was said of it is too late then.
    assert_eq!(node.run(ONE, Action::Unseal { of: OF }), DONE);
    assert_eq!(node.run(ONE, Action::Unseal { of: OF }), DONE);
    assert_eq!(node.run(ONE, Action::Seal { of: OF }), Response::Refused(Refusal::NotMoving));
    assert!(matches!(node.append(ONE, 1), Response::Appended { .. }));
    assert_eq!(node.run(TWO, Action::Clear { of: OF }), Response::Purged { more: false });
    let late = Action::Install { of: OF, after: 0, rows: Vec::new(), whole: None };
    assert_eq!(node.run(TWO, late), Response::Refused(Refusal::NotMoving));
    assert_eq!(node.state(TWO), Some(AccountState::Moved));
    node.sound();
    // The next one.
    node.finish(MoveId(11), ONE, TWO, 1000);
    for action in all(&node) {
        assert_eq!(node.run(ONE, action), moved, "a command that comes late");
    }
    assert!(matches!(node.append(TWO, 1), Response::Appended { .. }));
    node.finish(MoveId(12), TWO, ONE, 2);
    assert!(matches!(node.append(ONE, 1), Response::Appended { .. }));
    node.sound();
}

#[test]
fn what_was_done_before_the_move_is_known_after_it() {
    let mut node = Node::new();
    let id = DeliveryId { message: [1; 16], recipient: 1 };
    let message = node.message(0);
    let deliver = Action::Deliver { id, target: Target::Inbox, message: message.clone(), quota: None };
    let append = Action::Append { mailbox: INBOX, messages: vec![message], quota: None };
    let Response::Delivered(delivered) = node.run(ONE, deliver.clone()) else { panic!() };
    let appended = node.named(ONE, Some(1), append.clone());
    node.finish(OF, ONE, TWO, 1000);
    assert_eq!(node.run(TWO, deliver), Response::Duplicate(delivered));
    assert_eq!(node.named(TWO, Some(1), append), appended);
    assert_eq!(read::account(&node.store, TWO).unwrap().unwrap().messages, 2);
}

#[test]
fn rows_are_taken_by_who_knows_what_is_there() {
    let mut node = Node::new();
    node.append(ONE, 3);
    let install = |of, after, rows| Action::Install { of, after, rows, whole: None };
    let row = |tail: &[u8], value: &[u8]| MovedRow { tail: tail.to_vec(), value: Some(value.to_vec()) };
    let not_moving = Response::Refused(Refusal::NotMoving);
    assert_eq!(node.run(TWO, install(OF, 1, Vec::new())), not_moving);
    assert_eq!(node.run(TWO, install(OF, 0, Vec::new())), DONE);
    assert_eq!(node.run(TWO, install(OF, 0, Vec::new())), not_moving, "again");
    // A later move goes on with what has come; the earlier one does nothing any more.
    assert_eq!(node.run(TWO, install(MoveId(11), 1, Vec::new())), DONE);
    assert_eq!(node.run(TWO, install(OF, 2, Vec::new())), not_moving);
    let bad = Response::Refused(Refusal::BadRow);
    let rows = [
        row(&[0, 0, 0, 0, 1], b"an account's own"),
        row(&[0, 0, 0, 0, 19], b"a message of no mailbox"),
        row(&[0, 0, 0, 1, 2], b"a name in a mailbox"),
        row(&[0, 0, 0, 1, 99], b"of no kind"),
        row(&[0, 0, 0, 1, 19, 0, 0, 0, 1], b"no message"),
        row(&[0, 0], b"short"),
    ];
    for row in rows {
        assert_eq!(node.run(TWO, install(MoveId(11), 2, vec![row])), bad);
    }
    let many = vec![row(&[0, 0, 0, 0, 2, 65], b""); estafette_mailbox::INSTALL_ROWS_MAX + 1];
    assert_eq!(node.run(TWO, install(MoveId(11), 2, many)), Response::Refused(Refusal::TooMuch));
    let source = read::account_row(&node.store, ONE).unwrap().unwrap();
    let open = Action::Install { of: MoveId(11), after: 2, rows: Vec::new(), whole: Some(source.encode()) };
    assert_eq!(node.run(TWO, open), bad, "the source is not sealed");
    assert_eq!(node.run(ONE, install(MoveId(11), 0, Vec::new())), not_moving, "it lives here");
    assert_eq!(node.run(TWO, Action::Adopt { of: MoveId(11) }), not_moving, "it is not all here");
    assert_eq!(node.run(ONE, Action::Clear { of: MoveId(11) }), not_moving, "it lives here");
    node.sound();
    node.finish(MoveId(12), ONE, TWO, 1000);
}

#[test]
fn an_account_that_is_deleted_on_its_way_goes_at_both_ends() {
    let mut node = Node::new();
    node.append(ONE, 2000);
    node.append(ONE, 2000);
    let mut pass = node.pass(OF, ONE, TWO, 1000);
    for _ in 0..3 {
        assert!(node.send(&mut pass, None));
    }
    assert_eq!(node.run(ONE, Action::Seal { of: OF }), DONE);
    for at in [ONE, TWO] {
        let mut action = Action::DeleteAccount;
        while node.run(at, action) == (Response::Purged { more: true }) {
            node.sound();
            action = Action::Purge;
        }
        assert_eq!((node.state(at), node.rows(at)), (Some(AccountState::Gone), BTreeMap::new()));
        assert_eq!(node.run(at, Action::Ensure), Response::Refused(Refusal::NoAccount));
    }
    let late = Action::Install { of: OF, after: 3, rows: Vec::new(), whole: None };
    assert_eq!(node.run(TWO, late), Response::Refused(Refusal::NoAccount));
    node.sound();
}

#[test]
fn one_that_was_never_touched_moves_with_its_usual_mailboxes() {
    let mut node = Node::new();
    node.finish(OF, ONE, TWO, 3);
    assert_eq!(read::account(&node.store, TWO).unwrap().unwrap().mailboxes, 5);
}

#[test]
fn who_watches_hears_of_it_where_it_is_now() {
    struct Heard(AtomicU64);
    impl Listener for Heard {
        fn changed(&self, _: u64, news: News) {
            assert_ne!(news.modseq, News::GONE);
            self.0.store(news.modseq.0 * 10 + u64::from(news.shard.0), Ordering::Relaxed);
        }
    }
    let mut node = Node::new();
    node.append(ONE, 3);
    let (watchers, heard) = (Arc::new(Watchers::default()), Arc::new(Heard(AtomicU64::new(0))));
    let _watch = watchers.watch(Topic::Mailbox(ACCOUNT, INBOX), heard.clone(), 1);
    node.news.clear();
    node.finish(OF, ONE, TWO, 4);
    watchers.wake(&mut node.news);
    assert_eq!(heard.0.load(Ordering::Relaxed), 22, "all that there is can be read in the second shard");
    node.append(TWO, 1);
    watchers.wake(&mut node.news);
    assert_eq!(heard.0.load(Ordering::Relaxed), 32);
}

/// What was equal is passed over, and a mailbox that changed is compared alone.
#[test]
fn a_second_pass_sends_little() {
    let mut node = Node::new();
    node.append(ONE, 1500);
    let mut pass = node.pass(OF, ONE, TWO, 500);
    while node.send(&mut pass, None) {}
    node.append(ONE, 1);
    let batch = node.pass(OF, ONE, TWO, 500).transfer.next(&node.store.view(), 500, 1 << 20).unwrap();
    // The message, its block, and the mailbox's own row at the end.
    let kinds: Vec<u8> = batch.rows.iter().map(|row| row.tail[4]).collect();
    assert_eq!((kinds, batch.last), (vec![18, 19, 16], true));
}
