//! Accounts on their way from one shard to another.

use super::*;
use crate::cluster::Move;
use crate::command::Removed;

fn begin(account: AccountId, to: u32) -> Change {
    Change::BeginMove { account, to: ShardId(to) }
}

fn move_of(bench: &Bench, account: AccountId) -> Move {
    *bench.directory.move_of(account).unwrap()
}

fn shard_of(bench: &Bench, account: AccountId) -> u32 {
    bench.directory.account(account).unwrap().shard.unwrap().0
}

fn three_shards() -> (Bench, DomainId, AccountId) {
    let mut bench = Bench::new();
    bench.done(Change::AddShards { total: 3 });
    let (domain, admin) = bench.domain("example.org");
    (bench, domain, admin)
}

#[test]
fn an_account_moves_when_the_move_is_finished() {
    let (mut bench, _, admin) = three_shards();
    bench.done(begin(admin, 2));
    let moving = move_of(&bench, admin);
    assert_eq!((moving.from, moving.to, moving.begun_ms), (ShardId(1), ShardId(2), bench.now_ms));
    bench.done(begin(admin, 2));
    assert_eq!(move_of(&bench, admin), moving, "begun again: it is the same move");
    assert_eq!(shard_of(&bench, admin), 1);
    assert_eq!(bench.reloaded(), bench.directory);

    assert_eq!(bench.ask(begin(admin, 3)), Err(Refusal::AccountMoving { shard: 2 }));
    let assign = Change::AssignShard { account: admin, shard: ShardId(3) };
    assert_eq!(bench.ask(assign), Err(Refusal::AccountMoving { shard: 2 }));
    let without = Change::SetShards { shards: vec![ShardId(1), ShardId(3)] };
    assert_eq!(bench.ask(without), Err(Refusal::ShardInUse { shard: 2, accounts: 1 }));

    bench.done(Change::FinishMove(moving));
    assert_eq!((shard_of(&bench, admin), bench.directory.moves().count()), (2, 0));
    bench.done(Change::FinishMove(moving));
    assert_eq!(bench.ask(Change::AbandonMove(moving)), Err(Refusal::NotMoving), "it has ended otherwise");
    bench.done(begin(admin, 2));
    assert_eq!(bench.directory.move_of(admin), None, "it is there already");
    assert_eq!(bench.reloaded(), bench.directory);
}

#[test]
fn an_abandoned_move_is_not_finished_by_an_old_command() {
    let (mut bench, _, admin) = three_shards();
    bench.done(begin(admin, 2));
    let first = move_of(&bench, admin);
    bench.done(Change::AbandonMove(first));
    bench.done(Change::AbandonMove(first));
    assert_eq!((shard_of(&bench, admin), bench.directory.move_of(admin)), (1, None));
    assert_eq!(bench.ask(Change::FinishMove(first)), Err(Refusal::NotMoving));
    bench.done(begin(admin, 2));
    let second = move_of(&bench, admin);
    assert_ne!(first, second);
    for old in [Change::FinishMove(first), Change::AbandonMove(first)] {
        assert_eq!(bench.ask(old), Err(Refusal::NotMoving));
    }
    bench.done(Change::FinishMove(second));
    assert_eq!(shard_of(&bench, admin), 2);
}

/// A clock that was ahead leaves the log's time standing: each command after it has the same.
#[test]
fn moves_that_begin_at_the_same_time_have_different_names() {
    let (mut bench, domain, admin) = three_shards();
    let user = bench.account(domain, "user");
    let now_ms = bench.now_ms;
    let mut names = Vec::new();
    for account in [admin, user, admin, user] {
        bench.now_ms = now_ms;
        bench.done(begin(account, 2));
        names.push(move_of(&bench, account).begun_ms);
        bench.now_ms = now_ms;
        bench.done(Change::PostponeMove(move_of(&bench, account)));
        let moving = move_of(&bench, account);
        names.push(moving.begun_ms);
        bench.now_ms = now_ms;
        bench.done(Change::AbandonMove(moving));
        assert_eq!(bench.reloaded(), bench.directory);
    }
    assert!(names.windows(2).all(|two| two[0] < two[1]), "{names:?}");
    bench.now_ms = names[names.len() - 1] + 1000;
    bench.done(begin(admin, 2));
    assert_eq!(move_of(&bench, admin).begun_ms, bench.now_ms, "as soon as it may be, the time again");
}

#[test]
fn a_move_that_is_put_off_is_another_one() {
    let (mut bench, _, admin) = three_shards();
    bench.done(begin(admin, 2));
    let first = move_of(&bench, admin);
    bench.done(Change::PostponeMove(first));
    let second = move_of(&bench, admin);
    assert!(second.begun_ms > first.begun_ms && (second.from, second.to) == (first.from, first.to));
    for old in [Change::FinishMove(first), Change::AbandonMove(first), Change::PostponeMove(first)] {
        assert_eq!(bench.ask(old), Err(Refusal::NotMoving));
    }
    assert_eq!(bench.reloaded(), bench.directory);
    bench.done(Change::FinishMove(second));
    assert_eq!(shard_of(&bench, admin), 2);
}

#[test]
fn the_rate_of_moves_is_set() {
    let (mut bench, _, _) = three_shards();
    assert_eq!(bench.directory.move_rate_kib(), 4096);
    bench.done(Change::SetMoveRate { kib_per_second: 100 });
    assert_eq!((bench.directory.move_rate_kib(), bench.reloaded().move_rate_kib()), (100, 100));
    let refused = bench.ask(Change::SetMoveRate { kib_per_second: 0 });
    assert!(matches!(refused, Err(Refusal::OutOfRange { .. })));
}

#[test]
fn what_cannot_move() {
    let (mut bench, _, admin) = three_shards();
    assert_eq!(bench.ask(begin(admin, 9)), Err(Refusal::UnknownShard { shard: 9 }));
    assert_eq!(bench.ask(begin(AccountId(99), 2)), Err(Refusal::UnknownAccount));
    let username = estafette_types::Username::parse("root").unwrap();
    let operator = Change::CreateOperator { username, real_name: String::new(), password_hash: None };
    let Ok(Reply::Account { id, .. }) = bench.ask(operator) else { panic!() };
    assert_eq!(bench.ask(begin(id, 2)), Err(Refusal::NoMailbox));
}

#[test]
fn an_account_that_goes_on_its_way_leaves_both_shards() {
    let (mut bench, domain, admin) = three_shards();
    let user = bench.account(domain, "user");
    let removed = |account, shard| Removed { account, shard: Some(ShardId(shard)) };
    bench.done(begin(user, 3));
    bench.done(begin(admin, 2));
    let moving = move_of(&bench, user);
    let reply = bench.ask(Change::DeleteAccount { account: user });
    assert_eq!(reply, Ok(Reply::Removed(vec![removed(user, 1), removed(user, 3)])));
    assert_eq!(bench.directory.move_of(user), None);
    assert_eq!(bench.ask(Change::FinishMove(moving)), Err(Refusal::UnknownAccount));
    let reply = bench.ask(Change::DeleteDomain { domain });
    assert_eq!(reply, Ok(Reply::Removed(vec![removed(admin, 1), removed(admin, 2)])));
    assert_eq!(bench.directory.moves().count(), 0);
    assert_eq!(bench.reloaded(), bench.directory);
}
