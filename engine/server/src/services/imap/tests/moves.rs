//! Sessions whose account moves to another shard, and the mover.

use super::*;
use crate::cluster::move_accounts;
use estafette_directory::{Actor, Change, Move, Origin, Plan, Reply};
use estafette_mailbox::{AccountState, read};
use std::time::Duration;

const SHARDS: [ShardId; 2] = [ShardId(1), ShardId(2)];
const SOON: Duration = Duration::from_secs(20);

/// A message of one byte.
fn message_of(body: &NewBody) -> NewMessage {
    NewMessage {
        flags: estafette_mailbox::Flags::default(),
        internal_date_ms: None,
        size: 1,
        body: body.hash(),
    }
}

impl World {
    /// With an account in the directory, and a second shard.
    async fn moving() -> (World, AccountRef) {
        let world = World::new().await;
        let engine = &world.engine;
        let machine = ShardMachine::new(SHARDS[1], Arc::clone(&engine.watchers), Arc::clone(&engine.wakeup));
        let group = world.raft.open(GroupId::shard(2), Box::new(machine)).await.unwrap();
        group.ready().await.unwrap();
        engine.shards.insert(SHARDS[1], group);
        engine.control.group().ready().await.unwrap();
        world.change(Change::SetShards { shards: SHARDS.to_vec() }).await;
        let [plan, ..] = Plan::shipped();
        world.change(Change::CreatePlan(plan)).await;
        let new = crate::trouble::example_domain(SHARDS[0]);
        let Reply::Domain { administrator, .. } = world.change(Change::CreateDomain(new)).await else {
            panic!()
        };
        let at = AccountRef { shard: SHARDS[0], account: administrator };
        world.engine.mailbox(at, Action::Ensure, Vec::new()).await.unwrap();
        (world, at)
    }

    async fn change(&self, change: Change) -> Reply {
        self.engine.change(Actor::System, Origin::Internal, change).await.unwrap()
    }

    fn home(&self, at: AccountRef) -> ShardId {
        self.engine.account_ref(at.account).unwrap().shard
    }

    fn state(&self, at: AccountRef) -> Option<AccountState> {
        read::state(&self.engine.store, at).unwrap().map(|(state, _)| state)
    }

    fn move_of(&self, at: AccountRef) -> Move {
        *self.engine.directory.read().move_of(at.account).unwrap()
    }

    async fn until(&self, what: &str, so: impl Fn(&World) -> bool) {
        let waited = tokio::time::timeout(SOON, async {
            while !so(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(waited.await.is_ok(), "not in time: {what}");
    }

    /// All rows and references fit each other.
    fn sound(&self) {
        let view = self.engine.store.view();
        let mut references = Vec::new();
        for shard in SHARDS {
            let mut note = |hash, _| references.push(Ok((shard.0, hash)));
            assert_eq!(estafette_mailbox::check(&view, shard, &mut note).unwrap().problems, []);
        }
        assert_eq!(view.verify(references, &mut |_| {}).unwrap().problem_count, 0);
    }
}

fn in_shard(at: AccountRef, shard: ShardId) -> AccountRef {
    AccountRef { shard, ..at }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_go_on_while_their_account_moves_there_and_back() {
    let (world, at) = World::moving().await;
    let mut client = world.session_of(at);
    for _ in 0..3 {
        client.append("INBOX", Flags::default(), "x").await;
    }
    let selected = client.select("INBOX").await;
    let mover = tokio::spawn(move_accounts(Arc::clone(&world.engine)));
    let (mut last, mut known, mut since) = (3, (*selected.uids).clone(), selected.highest_modseq);
    for to in [SHARDS[1], SHARDS[0], SHARDS[1]] {
        let from = world.home(at);
        world.change(Change::BeginMove { account: at.account, to }).await;
        let mut other = world.session_of(at);
        while world.home(at) == from {
            last += 1;
            assert_eq!(other.append("INBOX", seen(), "while it moves").await, uid(last));
            let (changed, _) = client.store(set(&[1]), StoreAction::Add, seen()).await;
            assert_eq!(changed.len(), 1);
            client.store(set(&[1]), StoreAction::Remove, seen()).await;
        }
        // Who waits is told of what comes now.
        let news = client.changes(since, &known, 1000).await;
        (known, since) = (known.union(&news.arrived), news.through);
        assert_eq!(known.len(), last);
        last += 1;
        other.append("INBOX", Flags::default(), "after it").await;
        assert!(tokio::time::timeout(SOON, client.0.changed()).await.is_ok());
        let news = client.changes(since, &known, 1000).await;
        assert_eq!(news.arrived, set(&[last]));
        (known, since) = (known.union(&news.arrived), news.through);
        let (messages, _) =
            client.fetch(range(1, last), Want { body: true, ..Want::default() }, 1 << 20).await;
        assert_eq!(messages.len(), usize::try_from(last).unwrap());
        assert_eq!(client.select("INBOX").await.uid_validity, selected.uid_validity);
        world
            .until("the source is empty", |world| {
                world.state(in_shard(at, from)) == Some(AccountState::Moved)
            })
            .await;
        world.sound();
    }
    mover.abort();
    world.end().await;
}

/// A mover that stopped between any two steps is followed by another; what it left is done by whoever meets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_decided_is_followed_by_who_meets_it() {
    let (world, at) = World::moving().await;
    let target = in_shard(at, SHARDS[1]);
    let mut client = world.session_of(at);
    client.append("INBOX", Flags::default(), "x").await;
    client.select("INBOX").await;
    world.change(Change::BeginMove { account: at.account, to: target.shard }).await;
    let (moving, of) = (world.move_of(at), estafette_delivery::move_id(&world.move_of(at)));
    let shards = &world.engine.shards;
    let step = async |at, action| shards.mailbox(at, action, Vec::new()).await.unwrap();
    // Sealed, and put off: it opens for the next command.
    assert_eq!(step(at, Action::Seal { of }).await, Response::Done);
    world.change(Change::PostponeMove(moving)).await;
    client.append("INBOX", Flags::default(), "y").await;
    assert_eq!(world.state(at), Some(AccountState::Live));
    // Sealed and decided, but nobody has said so to the target.
    let (moving, of) = (world.move_of(at), estafette_delivery::move_id(&world.move_of(at)));
    assert_eq!(step(at, Action::Seal { of }).await, Response::Done);
    let view = world.engine.store.view();
    let source = read::account_row(&view, at).unwrap().unwrap();
    let batch = estafette_mailbox::Transfer::new(at, target).next(&view, 1000, 1 << 20).unwrap();
    let install = Action::Install { of, after: 0, rows: batch.rows, whole: Some(source.encode()) };
    assert_eq!(step(target, install).await, Response::Done);
    // While it is not decided, it is read where it was; nothing is changed anywhere.
    let (messages, _) = client.fetch(range(1, 9), Want::default(), 1000).await;
    assert_eq!((messages.len(), world.state(target)), (2, Some(AccountState::Ready)));
    assert_eq!(world.engine.fresh(at).await.unwrap(), at);
    world.engine.homes().settle(at).await.unwrap();
    world.engine.homes().settle(target).await.unwrap();
    assert_eq!(world.state(at), Some(AccountState::Sealed));
    world.change(Change::FinishMove(moving)).await;
    assert_eq!(world.engine.fresh(at).await.unwrap(), target);
    assert_eq!(client.append("INBOX", Flags::default(), "z").await, uid(3));
    assert_eq!((world.state(target), world.home(at)), (Some(AccountState::Live), SHARDS[1]));
    // The rows that were left go, but not under those who read them.
    let since = std::time::Instant::now();
    world.engine.homes().settle(at).await.unwrap();
    assert!(since.elapsed() >= Duration::from_secs(3), "cleared at once");
    assert_eq!(world.state(at), Some(AccountState::Moved));
    let (messages, _) = client.fetch(range(1, 9), Want::default(), 1000).await;
    assert_eq!(messages.len(), 3);
    world.sound();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_given_up_and_an_account_that_is_deleted_leave_nothing() {
    let (world, at) = World::moving().await;
    let target = in_shard(at, SHARDS[1]);
    let mut client = world.session_of(at);
    for _ in 0..3 {
        client.append("INBOX", Flags::default(), "x").await;
    }
    world.change(Change::SetMoveRate { kib_per_second: 1 }).await;
    let fill = vec![Bytes::from_static(b"x")];
    let body = NewBody::of(fill);
    let message = message_of(&body);
    let inbox = client.select("INBOX").await.id;
    for _ in 0..2 {
        let action = Action::Append { mailbox: inbox, messages: vec![message.clone(); 2000], quota: None };
        world.engine.shards.mailbox(at, action, vec![body.clone()]).await.unwrap();
    }
    let mover = tokio::spawn(move_accounts(Arc::clone(&world.engine)));
    let arriving = |world: &World| world.state(target) == Some(AccountState::Arriving);
    world.change(Change::BeginMove { account: at.account, to: target.shard }).await;
    world.until("rows arrive", arriving).await;
    world.change(Change::AbandonMove(world.move_of(at))).await;
    world.change(Change::SetMoveRate { kib_per_second: 100_000 }).await;
    world.until("they are removed", |world| world.state(target) == Some(AccountState::Moved)).await;
    world.sound();
    client.append("INBOX", Flags::default(), "y").await;
    assert_eq!((world.state(at), world.home(at)), (Some(AccountState::Live), SHARDS[0]));
    mover.abort();
    world.end().await;
}

/// The place of such a move is free for others, and it is tried again; without an end it would hold all up.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_waits_for_a_body_that_is_lost_rests_and_is_given_up() {
    let (world, at) = World::moving().await;
    let target = in_shard(at, SHARDS[1]);
    let mut client = world.session_of(at);
    let inbox = client.select("INBOX").await.id;
    let body = NewBody::absent(estafette_storage::BodyHash([7; 32]), Some(1));
    let message = message_of(&body);
    let append = Action::Append { mailbox: inbox, messages: vec![message], quota: None };
    world.engine.shards.mailbox(at, append, vec![body]).await.unwrap();
    let mover = tokio::spawn(move_accounts(Arc::clone(&world.engine)));
    world.change(Change::BeginMove { account: at.account, to: target.shard }).await;
    let trouble = |world: &World| world.engine.cluster.move_trouble(at.account);
    world.until("it is told", |world| trouble(world).is_some()).await;
    let told = trouble(&world).unwrap();
    assert!(told.contains("lack bodies") && told.contains("failed 1 times"), "{told}");
    assert_eq!(world.state(target), Some(AccountState::Arriving));
    client.append("INBOX", Flags::default(), "not sealed").await;
    // It rests, so that there is no job which could see that it was given up.
    world.change(Change::AbandonMove(world.move_of(at))).await;
    world.until("what came is removed", |world| world.state(target) == Some(AccountState::Moved)).await;
    world.until("nothing is told", |world| trouble(world).is_none()).await;
    assert_eq!((world.state(at), world.home(at)), (Some(AccountState::Live), SHARDS[0]));
    mover.abort();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_of_a_move_that_was_given_up_comes_too_late() {
    let (world, at) = World::moving().await;
    let target = in_shard(at, SHARDS[1]);
    world.change(Change::BeginMove { account: at.account, to: target.shard }).await;
    let (moving, of) = (world.move_of(at), estafette_delivery::move_id(&world.move_of(at)));
    let homes = world.engine.homes();
    homes.stays(&moving).await.unwrap();
    assert_eq!(world.state(target), None, "it is under way");
    world.change(Change::AbandonMove(moving)).await;
    homes.stays(&moving).await.unwrap();
    assert_eq!(world.state(target), Some(AccountState::Moved), "where nothing has come yet too");
    let refused = Response::Refused(estafette_mailbox::Refusal::NotMoving);
    let install = Action::Install { of, after: 0, rows: Vec::new(), whole: None };
    for (at, action) in [(target, install), (at, Action::Seal { of })] {
        assert_eq!(world.engine.shards.mailbox(at, action, Vec::new()).await.unwrap(), refused);
    }
    // The next one is not held up by it.
    world.change(Change::BeginMove { account: at.account, to: target.shard }).await;
    homes.stays(&moving).await.unwrap();
    let mover = tokio::spawn(move_accounts(Arc::clone(&world.engine)));
    world.until("it has moved", |world| world.home(at) == target.shard).await;
    mover.abort();
    world.end().await;
}

/// Removals that were interrupted go on where the account is by now.
#[tokio::test(flavor = "multi_thread")]
async fn a_purge_follows_its_account() {
    let (world, at) = World::moving().await;
    let target = in_shard(at, SHARDS[1]);
    let mut client = world.session_of(at);
    // Its sweep finds nothing yet.
    let mover = tokio::spawn(move_accounts(Arc::clone(&world.engine)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let name = estafette_mailbox::MailboxName::parse("Old").unwrap();
    let create = Action::Create { name: name.clone(), special_use: None };
    let created = world.engine.shards.mailbox(at, create, Vec::new()).await.unwrap();
    let Response::Created { mailbox, .. } = created else { panic!() };
    let body = NewBody::of(vec![Bytes::from_static(b"x")]);
    let message = message_of(&body);
    for _ in 0..3 {
        let messages = vec![message.clone(); 2000];
        let append = Action::Append { mailbox, messages, quota: None };
        world.engine.shards.mailbox(at, append, vec![body.clone()]).await.unwrap();
    }
    let delete = world.engine.shards.mailbox(at, Action::Delete { name }, Vec::new()).await.unwrap();
    assert_eq!(delete, Response::Purged { more: true });
    world.change(Change::SetMoveRate { kib_per_second: 100_000 }).await;
    world.change(Change::BeginMove { account: at.account, to: target.shard }).await;
    world.until("it has moved", |world| world.home(at) == target.shard).await;
    let unfinished = |world: &World| {
        let found = read::next_account(&world.engine.store, target.shard, None).unwrap().unwrap();
        assert_eq!(found.at, target);
        found.unfinished
    };
    world.until("it is in use there", unfinished).await;
    world.engine.homes().purge(at).await.unwrap();
    assert!(!unfinished(&world));
    client.append("INBOX", Flags::default(), "goes on").await;
    mover.abort();
    world.end().await;
}
