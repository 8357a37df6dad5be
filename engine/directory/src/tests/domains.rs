//! Plans, domains, their limits, defaults and other names.

use super::*;
use crate::command::DomainChange;
use crate::model::{CatchAll, DEFAULT_ADDRESSES, Plan};
use crate::refusal::LimitKind;

#[test]
fn a_domain_has_its_default_addresses() {
    let mut bench = Bench::new();
    let (id, administrator) = bench.domain("example.org");
    for local in DEFAULT_ADDRESSES {
        assert_eq!(bench.targets(&format!("{}@Example.ORG", local.to_uppercase())), ["example0001"]);
    }
    assert_eq!(bench.directory.account(administrator).unwrap().role, Role::DomainAdministrator);
    let alias = bench.directory.alias_at(&address("abuse@example.org")).unwrap().id;
    assert_eq!(
        bench.ask(Change::DeleteAlias { alias }),
        Err(Refusal::DefaultAddress { name: "abuse".into() })
    );
    let bounce = AliasOptions { bounce: true, ..AliasOptions::default() };
    let change = Change::ChangeAlias { alias, destinations: vec![], options: bounce };
    assert!(matches!(bench.ask(change), Err(Refusal::DefaultAddress { .. })));
    // It may lead elsewhere.
    let change = Change::ChangeAlias {
        alias,
        destinations: vec![to("desk@example.net")],
        options: AliasOptions::default(),
    };
    bench.done(change);
    assert_eq!(bench.targets("abuse@example.org"), ["desk@example.net"]);
    assert_eq!(bench.directory.domain_summary(id).unwrap().plan_aliases.used, 0);
}

#[test]
fn default_addresses_follow_the_administrator() {
    let mut bench = Bench::new();
    let (id, old) = bench.domain("example.org");
    let new = bench.account(id, "new");
    let refused = bench.ask(Change::DeleteAccount { account: old });
    assert_eq!(refused, Err(Refusal::AdministratorNeeded { domain: "example.org".into() }));
    let change = DomainChange { administrator: Some(new), ..DomainChange::default() };
    bench.done(Change::ChangeDomain { domain: id, change });
    bench.done(Change::DeleteAccount { account: old });
    assert_eq!(bench.targets("postmaster@example.org"), ["example0002"]);
    // An administrator whose mail goes to a default address would get it back.
    bench.redirect(new, &[to("a@example.net")], true).unwrap();
    let third = bench.account(id, "third");
    bench.redirect(third, &[to("webmaster@example.org")], false).unwrap();
    let change = DomainChange { administrator: Some(third), ..DomainChange::default() };
    assert!(matches!(bench.ask(Change::ChangeDomain { domain: id, change }), Err(Refusal::AliasLoop { .. })));
}

#[test]
fn an_account_may_have_a_default_address() {
    let mut bench = Bench::new();
    let mut new = new_domain("example.org", Standing::Plan(PlanId(1)));
    new.administrator = Administrator::New(new_account("Postmaster"));
    let Ok(Reply::Domain { id, administrator, .. }) = bench.ask(Change::CreateDomain(new)) else { panic!() };
    assert!(bench.directory.alias_at(&address("postmaster@example.org")).is_none());
    assert_eq!(bench.targets("postmaster@example.org"), ["example0001"]);
    // When the account goes, the default address is there again.
    let other = bench.account(id, "other");
    let change = DomainChange { administrator: Some(other), ..DomainChange::default() };
    bench.done(Change::ChangeDomain { domain: id, change });
    bench.done(Change::DeleteAccount { account: administrator });
    assert_eq!(bench.targets("postmaster@example.org"), ["example0002"]);
    assert_eq!(bench.reloaded(), bench.directory);
}

#[test]
fn prefixes_are_unique_and_numbers_never_come_twice() {
    let mut bench = Bench::new();
    let (first, _) = bench.domain("example.org");
    let (second, _) = bench.domain("example.net");
    assert_eq!(bench.directory.domain(first).unwrap().prefix, "example");
    assert_eq!(bench.directory.domain(second).unwrap().prefix, "exampleb");
    let gone = bench.account(first, "a");
    bench.done(Change::DeleteAccount { account: gone });
    let next = bench.account(first, "a");
    assert_eq!(bench.directory.account(next).unwrap().username.as_str(), "example0003");
    assert!(next > gone);

    bench.done(Change::DeleteDomain { domain: first });
    let mut again = new_domain("example.com", Standing::Plan(PlanId(1)));
    again.prefix = Some("exampleb".into());
    let taken = bench.ask(Change::CreateDomain(again.clone()));
    assert_eq!(taken, Err(Refusal::PrefixTaken { prefix: "exampleb".into() }));
    again.prefix = Some("example".into());
    let Ok(Reply::Domain { username, .. }) = bench.ask(Change::CreateDomain(again)) else { panic!() };
    assert_eq!(username.as_str(), "example0004");
    let mut digits = new_domain("example.test", Standing::Plan(PlanId(1)));
    digits.prefix = Some("shop24".into());
    assert_eq!(bench.ask(Change::CreateDomain(digits)), Err(Refusal::InvalidPrefix));
    assert_eq!(bench.reloaded(), bench.directory);
}

#[test]
fn the_ten_thousandth_username() {
    let mut bench = Bench::new();
    let (id, _) = bench.domain("example.org");
    let entry = bench.directory.prefixes.get_mut("example").unwrap();
    entry.record.next_number = 9_999;
    for expected in ["example9999", "example10000", "example10001"] {
        let account = bench.account(id, &format!("at-{expected}"));
        let login = bench.directory.login(expected).unwrap();
        assert_eq!((login.account.id, login.account.username.as_str()), (account, expected));
    }
    assert!(bench.directory.login("example010000").is_none());
}

#[test]
fn plans_limit() {
    let mut bench = Bench::new();
    let plan = bench.plan("small", Some(100), Some(2), Some(1), Some(1));
    let mut new = new_domain("example.org", Standing::Plan(plan));
    new.default_quota_bytes = Some(40);
    let Ok(Reply::Domain { id, administrator, .. }) = bench.ask(Change::CreateDomain(new)) else { panic!() };
    let limit = |limit, allowed, used, asked| Err(Refusal::PlanLimit { limit, allowed, used, asked });

    let mut big = new_account("a");
    big.quota = QuotaChoice::Bytes(61);
    let refused = bench.ask(Change::CreateAccount { domain: id, account: big.clone() });
    assert_eq!(refused, limit(LimitKind::Storage, 100, 40, 61));
    big.quota = QuotaChoice::Unlimited;
    let refused = bench.ask(Change::CreateAccount { domain: id, account: big });
    assert_eq!(refused, limit(LimitKind::Storage, 100, 40, u64::MAX));
    let second = bench.account(id, "a");
    let third = bench.ask(Change::CreateAccount { domain: id, account: new_account("b") });
    assert_eq!(third, limit(LimitKind::Mailboxes, 2, 2, 1));
    // A pure forwarding account is no mailbox, and cannot become one while there is no room.
    bench.redirect(second, &[to("a@example.net")], false).unwrap();
    bench.services(second, |s| s.mailbox = false).unwrap();
    bench.account(id, "b");
    assert_eq!(bench.services(second, |s| s.mailbox = true), limit(LimitKind::Mailboxes, 2, 2, 1));

    bench.alias(id, "x", &[to("x@example.net")]).unwrap();
    assert_eq!(
        bench.alias(id, "y", &[to("x@example.net")]).map(|_| Reply::Done),
        limit(LimitKind::Aliases, 1, 1, 1)
    );

    let sub = |administrator| NewDomain {
        administrator,
        ..new_domain("a.example.org", Standing::Subdomain { of: id })
    };
    let refused = bench.ask(Change::CreateDomain(sub(Administrator::New(new_account("admin")))));
    assert_eq!(refused, limit(LimitKind::Mailboxes, 2, 2, 1));
    bench.done(Change::CreateDomain(sub(Administrator::Existing(administrator))));
    assert_eq!(bench.targets("abuse@a.example.org"), ["example0001"]);
    let mut other = sub(Administrator::Existing(administrator));
    other.name = name("b.example.org");
    assert_eq!(bench.ask(Change::CreateDomain(other)), limit(LimitKind::Subdomains, 1, 1, 1));

    let summary = bench.directory.domain_summary(id).unwrap();
    assert_eq!((summary.mailboxes.used, summary.mailboxes.left), (2, Some(0)));
    assert_eq!((summary.storage_bytes.used, summary.storage_bytes.left), (80, Some(20)));
    assert_eq!((summary.subdomains.used, summary.plan_aliases.used), (1, 1));

    let tiny = bench.plan("tiny", Some(79), None, None, None);
    let change = DomainChange { plan: Some(tiny), ..DomainChange::default() };
    let refused = bench.ask(Change::ChangeDomain { domain: id, change });
    assert_eq!(refused, limit(LimitKind::Storage, 79, 0, 80));
    assert_eq!(bench.ask(Change::DeletePlan { plan }), Err(Refusal::PlanInUse { domains: 1 }));
    assert_eq!(bench.ask(Change::DeletePlan { plan: tiny }), Ok(Reply::Done));
    assert_eq!(bench.reloaded(), bench.directory);
}

#[test]
fn subdomains_lie_below() {
    let mut bench = Bench::new();
    let (id, _) = bench.domain("example.org");
    for bad in ["example.net", "badexample.org"] {
        let refused = bench.ask(Change::CreateDomain(new_domain(bad, Standing::Subdomain { of: id })));
        assert!(matches!(refused, Err(Refusal::NotSubdomain { .. })), "{bad}");
    }
    let new = new_domain("a.example.org", Standing::Subdomain { of: id });
    let Ok(Reply::Domain { id: below, .. }) = bench.ask(Change::CreateDomain(new)) else { panic!() };
    let refused =
        bench.ask(Change::CreateDomain(new_domain("b.a.example.org", Standing::Subdomain { of: below })));
    assert!(matches!(refused, Err(Refusal::NotSubdomain { .. })));
    let change = DomainChange { plan: Some(PlanId(1)), ..DomainChange::default() };
    assert_eq!(bench.ask(Change::ChangeDomain { domain: below, change }), Err(Refusal::SubdomainPlan));
    assert_eq!(bench.ask(Change::DeleteDomain { domain: id }), Err(Refusal::HasSubdomains));
    bench.done(Change::DeleteDomain { domain: below });
    bench.done(Change::DeleteDomain { domain: id });
    assert_eq!(bench.directory.counts(), (0, 0, 0));
    assert!(bench.directory.mentions.is_empty() && bench.directory.shard_load.is_empty());
}

#[test]
fn other_names_of_a_domain() {
    let mut bench = Bench::new();
    let (id, _) = bench.domain("example.org");
    bench.done(Change::AddDomainAlias { domain: id, name: name("example.com") });
    assert_eq!(bench.targets("admin@example.com"), ["example0001"]);
    assert!(bench.directory.login("ADMIN@example.com").is_some());
    let taken = Err(Refusal::NameTaken { name: "example.com".into() });
    assert_eq!(bench.ask(Change::AddDomainAlias { domain: id, name: name("example.com") }), taken);
    assert_eq!(bench.ask(Change::CreateDomain(new_domain("example.com", Standing::Plan(PlanId(1))))), taken);
    let own = bench.ask(Change::RemoveDomainAlias { name: name("example.org") });
    assert_eq!(own, Err(Refusal::UnknownDomain));
    assert_eq!(bench.reloaded(), bench.directory);
    bench.done(Change::RemoveDomainAlias { name: name("example.com") });
    assert_eq!(bench.resolve("admin@example.com"), Resolution::NotLocal);
    let literal = NewDomain { name: name("[192.0.2.1]"), ..new_domain("x.test", Standing::Plan(PlanId(1))) };
    assert!(matches!(bench.ask(Change::CreateDomain(literal)), Err(Refusal::InvalidDomain { .. })));
}

#[test]
fn a_deleted_domain_leaves_nothing_that_leads_to_it() {
    let mut bench = Bench::new();
    let (gone, admin) = bench.domain("example.org");
    let (stays, _) = bench.domain("example.net");
    let group = bench.account(stays, "group");
    let member = Destination::Account(admin);
    let only = bench.alias(stays, "only", std::slice::from_ref(&member)).unwrap();
    bench.alias(stays, "both", &[member.clone(), to("x@example.com")]).unwrap();
    bench.redirect(group, std::slice::from_ref(&member), true).unwrap();
    let add = vec![member];
    bench.done(Change::ChangeMembers { group, add, remove: vec![], keep_copy: None });
    bench.done(Change::SetCatchAll { domain: stays, to: Some(CatchAll::Alias(only)) });
    let Ok(Reply::Removed(removed)) = bench.ask(Change::DeleteDomain { domain: gone }) else { panic!() };
    assert_eq!(removed.len(), 1);
    assert_eq!(bench.resolve("only@example.net"), Resolution::Unknown);
    assert_eq!(bench.targets("both@example.net"), ["x@example.com"]);
    assert_eq!(bench.targets("group@example.net"), ["exampleb0002"]);
    let account = bench.directory.account(group).unwrap();
    assert!(account.redirection.is_none() && account.group.is_none());
    assert_eq!(bench.directory.domain(stays).unwrap().catch_all, None);
    assert!(!bench.directory.mentions.contains_key(&admin));
    assert_eq!(bench.reloaded(), bench.directory);
}

#[test]
fn shipped_plans_and_names() {
    let mut bench = Bench::new();
    for fields in Plan::shipped() {
        bench.done(Change::CreatePlan(fields));
    }
    let [simple, ..] = Plan::shipped();
    assert_eq!(bench.ask(Change::CreatePlan(simple)), Err(Refusal::NameTaken { name: "simple".into() }));
    let plan = bench.directory.plan_named("Recommended").unwrap().id;
    let new = new_domain("example.org", Standing::Plan(plan));
    let Ok(Reply::Domain { id, .. }) = bench.ask(Change::CreateDomain(new)) else { panic!() };
    assert_eq!(bench.directory.domain(id).unwrap().default_quota_bytes, 3 << 30);
    assert_eq!(bench.directory.plan_list().len(), 4);
    let json = serde_json::to_value(bench.directory.domain_summary(id)).unwrap();
    assert_eq!(json["mailboxes"]["left"], 9);
    assert_eq!(json["domain"]["administrator"], "example0001");
}
