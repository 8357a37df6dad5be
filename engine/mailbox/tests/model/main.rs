//! Random commands against plain maps: every answer and everything that can be read must agree.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod plain;

use estafette_mailbox::{
    AccountRef, Action, Command, Context, DeliveryId, FlagChange, Flags, Keyword, MailboxName, MailboxRef,
    Maildrops, NewMessage, Response, SpecialUse, SystemFlags, Target, UidMaps, apply, check, read, recount,
    shard_range,
};
use estafette_storage::{BodyHash, Direction, Family, Read, Settings, Store, View};
use estafette_types::{AccountId, MailboxId, ModSeq, ShardId, Uid, UidSet};
use plain::{Account, Mailbox};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

const START_MS: u64 = 1_790_000_000_000;

/// One store for all cases: each takes shards of its own.
fn store() -> &'static Store {
    static STORE: OnceLock<(tempfile::TempDir, Store)> = OnceLock::new();
    let (_, store) = STORE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { min_free_bytes: 0, ..Settings::default() };
        let store = Store::open(dir.path(), settings).unwrap();
        (dir, store)
    });
    store
}

fn fresh_shard() -> ShardId {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    ShardId(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn name(place: u8) -> MailboxName {
    let names = ["INBOX", "a", "a/b", "a/b/c", "d", "d/e", "Junk", "INBOX/x", "Ünï cödé", "Archive"];
    MailboxName::parse(names[usize::from(place) % names.len()]).unwrap()
}

fn some_name() -> impl Strategy<Value = MailboxName> {
    (0..10u8).prop_map(name)
}

fn mailbox() -> impl Strategy<Value = MailboxId> {
    prop_oneof![6 => 1..4u32, 3 => 4..10u32].prop_map(MailboxId)
}

fn uid_set() -> impl Strategy<Value = UidSet> {
    let run = (1..24u32, 1..24u32)
        .prop_map(|(one, other)| UidSet::range(Uid::new(one).unwrap(), Uid::new(other).unwrap()));
    let few = proptest::collection::vec(1..24u32, 0..4)
        .prop_map(|uids| uids.into_iter().filter_map(Uid::new).collect());
    prop_oneof![2 => run, 3 => few, 1 => Just(UidSet::range(Uid::MIN, Uid::MAX))]
}

fn flags() -> impl Strategy<Value = Flags> {
    let words = ["$Junk", "work", "WORK", "$Forwarded"];
    let keywords = proptest::collection::vec(0..words.len(), 0..2);
    (0..32u8, keywords).prop_map(move |(bits, places)| Flags {
        system: SystemFlags::from_bits(bits),
        keywords: places.into_iter().map(|place| Keyword::parse(words[place]).unwrap()).collect(),
    })
}

fn message() -> impl Strategy<Value = NewMessage> {
    (flags(), proptest::option::of(-1_000_000..2_000_000_000_000i64), 1..200u64, 0..6u8).prop_map(
        |(flags, internal_date_ms, size, body)| NewMessage {
            flags,
            internal_date_ms,
            size,
            body: BodyHash([body; 32]),
        },
    )
}

fn delivery_id() -> impl Strategy<Value = DeliveryId> {
    (0..20u8, 0..2u32).prop_map(|(message, recipient)| DeliveryId { message: [message; 16], recipient })
}

fn special_use() -> impl Strategy<Value = Option<SpecialUse>> {
    proptest::option::weighted(0.4, (0..5usize).prop_map(|place| SpecialUse::ALL[place]))
}

fn quota() -> impl Strategy<Value = Option<u64>> {
    proptest::option::weighted(0.3, 200..2000u64)
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        4 => Just(Target::Inbox),
        1 => (0..5usize).prop_map(|place| Target::Use(SpecialUse::ALL[place])),
        2 => (some_name(), any::<bool>()).prop_map(|(name, create)| Target::Name { name, create }),
    ]
}

fn arrival() -> impl Strategy<Value = Action> {
    let several = || proptest::collection::vec(message(), 0..4);
    let imports = proptest::collection::vec((delivery_id(), message()), 0..4);
    prop_oneof![
        6 => (delivery_id(), target(), message(), quota())
            .prop_map(|(id, target, message, quota)| Action::Deliver { id, target, message, quota }),
        3 => (mailbox(), several(), quota())
            .prop_map(|(mailbox, messages, quota)| Action::Append { mailbox, messages, quota }),
        2 => (some_name(), imports, quota())
            .prop_map(|(name, messages, quota)| Action::Import { name, messages, quota }),
        3 => (mailbox(), mailbox(), uid_set(), quota())
            .prop_map(|(from, to, uids, quota)| Action::Copy { from, to, uids, quota }),
        3 => (mailbox(), mailbox(), uid_set()).prop_map(|(from, to, uids)| Action::Move { from, to, uids }),
    ]
}

fn change() -> impl Strategy<Value = Action> {
    let kind = prop_oneof![Just(FlagChange::Add), Just(FlagChange::Remove), Just(FlagChange::Replace)];
    let since = proptest::option::weighted(0.3, (0..30u64).prop_map(ModSeq));
    prop_oneof![
        4 => (mailbox(), uid_set(), kind, flags(), since).prop_map(
            |(mailbox, uids, change, flags, unchanged_since)| Action::Store {
                mailbox, uids, change, flags, unchanged_since
            }
        ),
        2 => (mailbox(), uid_set(), any::<bool>())
            .prop_map(|(mailbox, uids, only_deleted)| Action::Expunge { mailbox, uids, only_deleted }),
    ]
}

fn folders() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (some_name(), special_use()).prop_map(|(name, special_use)| Action::Create { name, special_use }),
        2 => some_name().prop_map(|name| Action::Delete { name }),
        2 => (some_name(), some_name()).prop_map(|(from, to)| Action::Rename { from, to }),
        1 => (some_name(), any::<bool>())
            .prop_map(|(name, subscribed)| Action::Subscribe { name, subscribed }),
        1 => (some_name(), special_use())
            .prop_map(|(name, special_use)| Action::SetSpecialUse { name, special_use }),
        1 => Just(Action::Ensure),
        1 => Just(Action::Purge),
    ]
}

/// Account, ms since the command before, action.
fn commands() -> impl Strategy<Value = Vec<(u64, u64, Action)>> {
    let action = prop_oneof![
        20 => arrival(),
        14 => change(),
        8 => folders(),
        1 => Just(Action::DeleteAccount),
    ];
    let account = prop_oneof![5 => Just(1u64), 2 => Just(2u64)];
    proptest::collection::vec((account, 0..3000u64, action), 1..90)
}

/// Applies as a Raft group does: through bytes, several commands to a transaction.
fn run(shard: ShardId, time_ms: u64, account: u64, action: &Action) -> Response {
    let command = Command::new(AccountId(account), action.clone());
    let command = Command::decode(&command.encode()).unwrap();
    let mut tx = store().transaction();
    let response = apply(&Context { shard, time_ms }, &command, &mut tx, &mut Vec::new()).unwrap();
    assert!(tx.is_empty() || !matches!(response, Response::Refused(_)), "{action:?}");
    store().apply(tx).unwrap();
    Response::decode(&response.encode()).unwrap()
}

fn same_messages(view: &View, at: MailboxRef, plain: &Mailbox) {
    let keywords = read::keywords(view, at).unwrap();
    let mut left = plain.messages.iter();
    for message in read::messages(view, at, Uid::MIN..=Uid::MAX).unwrap() {
        let message = message.unwrap();
        let (uid, expected) = left.next().unwrap();
        let row = message.row;
        assert_eq!(message.uid.value(), *uid);
        let seen = plain::Message {
            arrival: row.arrival.0,
            modseq: row.modseq.0,
            system: row.flags,
            keywords: keywords.names(row.keywords).map(|keyword| keyword.as_str().to_lowercase()).collect(),
            date: row.internal_date_ms,
            saved: row.save_date_ms,
            size: row.size,
            body: row.body,
            email: row.email.0,
        };
        assert_eq!(&seen, expected);
        assert_eq!(read::message(view, at, message.uid).unwrap(), Some(row));
    }
    assert_eq!(left.next(), None);
}

fn same_mailbox(view: &View, maps: &(UidMaps, Maildrops), at: MailboxRef, plain: &Mailbox) {
    let row = read::mailbox(view, at).unwrap().unwrap();
    let count = |flag| plain.messages.values().filter(|message| message.system.has(flag)).count();
    assert_eq!(row.uid_validity.0.get(), plain.validity);
    assert_eq!(row.uid_next.value(), plain.next);
    assert_eq!(row.highest_modseq.0, plain.modseq);
    assert_eq!(row.exists as usize, plain.messages.len());
    assert_eq!(row.unseen as usize, plain.messages.len() - count(SystemFlags::SEEN));
    assert_eq!(row.deleted as usize, count(SystemFlags::DELETED));
    assert_eq!(row.bytes, plain.messages.values().map(|message| message.size).sum::<u64>());
    same_messages(view, at, plain);
    let uids: UidSet = plain.messages.keys().copied().filter_map(Uid::new).collect();
    assert_eq!(*maps.0.read(view, at, &row).unwrap(), uids);
    let maildrop = maps.1.read(view, at, &row).unwrap();
    assert_eq!(*maildrop.uids, uids);
    assert!(
        maildrop.sizes.iter().map(|size| u64::from(*size)).eq(plain.messages.values().map(|one| one.size))
    );
    assert_eq!(read::uids(view, at).unwrap(), uids);
    let deleted = plain.messages.iter().filter(|(_, message)| message.system.has(SystemFlags::DELETED));
    assert_eq!(read::deleted(view, at).unwrap(), deleted.filter_map(|(uid, _)| Uid::new(*uid)).collect());
    for since in [0, plain.modseq / 2, plain.modseq.saturating_sub(1), plain.modseq] {
        let changed = plain.messages.iter().filter(|(_, message)| message.modseq > since);
        let changed: UidSet = changed.filter_map(|(uid, _)| Uid::new(*uid)).collect();
        assert_eq!(read::changed_since(view, at, &uids, ModSeq(since)).unwrap(), changed);
        let gone: UidSet =
            plain.gone.iter().filter(|gone| gone.0 > since).filter_map(|gone| Uid::new(gone.1)).collect();
        let vanished = read::vanished_since(view, at, &row, ModSeq(since)).unwrap();
        assert_eq!(vanished, read::Vanished::Uids(gone));
    }
    let changed = plain.messages.iter().filter(|(_, message)| message.modseq > message.arrival);
    let mut changed: Vec<_> =
        changed.map(|(uid, message)| (ModSeq(message.modseq), Uid::new(*uid).unwrap())).collect();
    changed.sort_unstable();
    for limit in [0, 1, 2, 3, 100] {
        same_changes(view, at, limit, &changed);
    }
}

/// Told bit by bit, the changes are all, each once, in order, and no moment is cut.
fn same_changes(view: &View, at: MailboxRef, limit: usize, expected: &[(ModSeq, Uid)]) {
    let (mut told, mut since) = (Vec::new(), ModSeq(0));
    loop {
        let read::Changes { changed, through } = read::changes_after(view, at, since, limit).unwrap();
        let moments: BTreeSet<ModSeq> = changed.iter().map(|one| one.0).collect();
        assert!(changed.len() <= limit || moments.len() == 1, "{changed:?} at most {limit}");
        assert_eq!(through.is_some(), told.len() + changed.len() < expected.len());
        told.extend(changed);
        match through {
            Some(through) => since = through,
            None => break,
        }
    }
    assert_eq!(told, expected);
}

fn same_account(view: &View, maps: &(UidMaps, Maildrops), at: AccountRef, plain: &Account) {
    let names: Vec<_> = read::mailboxes(view, at).unwrap();
    assert_eq!(names.len(), plain.names.len());
    for (listed, (name, (mailbox, special_use))) in names.iter().zip(&plain.names) {
        assert_eq!(listed.name.as_str(), name);
        assert_eq!(listed.special_use, *special_use);
        assert_eq!(listed.subscribed, plain.subscribed.contains(name));
        let below = format!("{name}/");
        assert_eq!(listed.has_children, plain.names.keys().any(|other| other.starts_with(&below)));
        match (&listed.mailbox, mailbox) {
            (None, None) => {}
            (Some((found, _)), Some(expected)) => {
                assert_eq!(found.mailbox.0, expected.id);
                assert_eq!(read::mailbox_by_name(view, at, &listed.name).unwrap().unwrap().0, *found);
                same_mailbox(view, maps, *found, expected);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let subscribed: BTreeSet<String> =
        read::subscriptions(view, at).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(subscribed, plain.subscribed);
    let messages = plain.mailboxes().map(|mailbox| mailbox.messages.len() as u64).sum();
    assert_eq!(read::usage(view, at).unwrap(), (plain.bytes(), messages));
    assert_eq!(recount(view, at).unwrap(), (plain.bytes(), messages));
    assert_eq!(read::account(view, at).unwrap().is_some(), plain.exists && !plain.deleted);
}

/// No problem is found, and bodies are referred to as often as messages name them.
fn sound(shard: ShardId, accounts: &BTreeMap<u64, Account>) {
    let mut named: BTreeMap<[u8; 32], i64> = BTreeMap::new();
    let report =
        check(&store().view(), shard, &mut |hash, _| *named.entry(hash.0).or_default() += 1).unwrap();
    assert_eq!(report.problems, []);
    let plain: Vec<_> = accounts.values().flat_map(Account::mailboxes).collect();
    assert_eq!(report.mailboxes, plain.len() as u64);
    for body in 0..6u8 {
        let expected = plain.iter().flat_map(|mailbox| mailbox.messages.values());
        let expected = expected.filter(|message| message.body == BodyHash([body; 32])).count();
        let key = [&[body; 32][..], &shard.0.to_be_bytes()].concat();
        let stored = store().read(Family::BlobRef, &key).unwrap();
        let stored = stored.map_or(0, |value| i64::from_be_bytes(value[1..].try_into().unwrap()));
        assert_eq!(stored, i64::try_from(expected).unwrap());
        assert_eq!(named.get(&[body; 32]).copied().unwrap_or_default(), stored);
    }
}

fn rows_of(shard: ShardId) -> Vec<(Vec<u8>, Vec<u8>)> {
    let view = store().view();
    let rows = view.scan(Family::Row, shard_range(shard), Direction::Forward).unwrap();
    rows.map(|row| row.unwrap()).map(|row| (row.key[4..].to_vec(), row.value.to_vec())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_plain_maps(commands in commands()) {
        let shard = fresh_shard();
        let maps = <(UidMaps, Maildrops)>::default();
        let mut accounts: BTreeMap<u64, Account> = BTreeMap::new();
        let mut time_ms = START_MS;
        let mut history = Vec::new();
        for (account, pause, action) in &commands {
            time_ms += pause;
            let plain = accounts.entry(*account).or_default();
            let before = store().view();
            let old = plain.clone();
            let response = run(shard, time_ms, *account, action);
            prop_assert_eq!(&response, &plain.apply(time_ms, action), "{:?}", action);
            let at = AccountRef { shard, account: AccountId(*account) };
            same_account(&store().view(), &maps, at, plain);
            // A view from before the command still shows what was, whatever is cached by now.
            same_account(&before, &maps, at, &old);
            history.push(response);
        }
        sound(shard, &accounts);

        // The same log, applied in one transaction elsewhere, makes the same rows and answers.
        let twin = fresh_shard();
        let mut time_ms = START_MS;
        let mut tx = store().transaction();
        for ((account, pause, action), expected) in commands.iter().zip(&history) {
            time_ms += pause;
            let command = Command::new(AccountId(*account), action.clone());
            let context = Context { shard: twin, time_ms };
            let response = apply(&context, &command, &mut tx, &mut Vec::new()).unwrap();
            prop_assert_eq!(&response, expected);
        }
        store().apply(tx).unwrap();
        prop_assert_eq!(rows_of(twin), rows_of(shard));
    }
}
