//! Who may change what.

use super::*;
use crate::command::{AccountChange, DomainChange};

#[test]
fn roles() {
    let mut bench = Bench::new();
    let (domain, admin) = bench.domain("example.org");
    let (elsewhere, stranger) = bench.domain("example.net");
    let owner = bench.account(domain, "owner");
    let operator = bench.account(domain, "operator");
    let role = |account, role| Change::ChangeAccount {
        account,
        change: AccountChange { role: Some(role), ..AccountChange::default() },
    };
    bench.done(role(operator, Role::Operator));
    let password = |account| Change::SetPassword { account, password_hash: None };
    let create = |domain| Change::CreateAccount { domain, account: new_account("new") };
    let suspend =
        Change::ChangeDomain { domain, change: DomainChange { suspended: Some(true), ..Default::default() } };
    let describe = Change::ChangeDomain {
        domain,
        change: DomainChange { description: Some("text".into()), ..Default::default() },
    };
    let cases = [
        (owner, password(owner), true),
        (owner, password(admin), false),
        (owner, create(domain), false),
        (owner, role(owner, Role::Operator), false),
        (admin, password(owner), true),
        (admin, create(domain), true),
        (admin, describe, true),
        (admin, suspend.clone(), false),
        (admin, create(elsewhere), false),
        (admin, password(stranger), false),
        (admin, password(operator), false),
        (admin, role(owner, Role::Operator), false),
        (admin, role(owner, Role::DomainAdministrator), true),
        (admin, Change::DeleteDomain { domain }, false),
        (admin, Change::AddDomainAlias { domain, name: name("example.com") }, false),
        (admin, Change::CreateDomain(new_domain("a.example.org", Standing::Subdomain { of: domain })), false),
        (admin, Change::AssignShard { account: owner, shard: ShardId(2) }, false),
        (admin, Change::BeginMove { account: owner, to: ShardId(2) }, false),
        (owner, Change::BeginMove { account: owner, to: ShardId(2) }, false),
        (admin, Change::AddShards { total: 3 }, false),
        (admin, Change::CreateJoinToken { secret_hash: [1; 32], valid_ms: 1, label: None }, false),
        (admin, Change::SetClusterSettings { replicas: 1, replace_after_ms: 1_000 }, false),
        (operator, Change::AddShards { total: 3 }, true),
        (operator, Change::BeginMove { account: owner, to: ShardId(2) }, true),
        (admin, password(AccountId(999)), false),
        (operator, password(stranger), true),
        (operator, create(elsewhere), true),
        (AccountId(999), password(owner), false),
    ];
    for (actor, change, allowed) in cases {
        let said = bench.directory.allowed(actor, &change);
        assert_eq!(said.is_ok(), allowed, "{actor} {change:?}");
        let applied = bench.run(Actor::Account(actor), change);
        assert_eq!(applied != Err(Refusal::NotAllowed), allowed);
    }
    let disabled = AccountChange { disabled: Some(true), ..AccountChange::default() };
    bench.done(Change::ChangeAccount { account: admin, change: disabled });
    assert_eq!(bench.run(Actor::Account(admin), password(owner)), Err(Refusal::NotAllowed));
}
