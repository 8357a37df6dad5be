//! From addresses to targets, and who owns an address.

use super::*;
use crate::model::{CatchAll, Settings};
use crate::resolve::{DEPTH_MAX, TARGETS_MAX, Via};

fn account(id: AccountId) -> Destination {
    Destination::Account(id)
}

#[test]
fn chains_of_aliases_end_in_each_target_once() {
    let mut bench = Bench::new();
    let (domain, admin) = bench.domain("example.org");
    let a = bench.account(domain, "a");
    bench.alias(domain, "deep", &[to("a@example.org"), to("x@example.net")]).unwrap();
    bench.alias(domain, "mid", &[to("DEEP@example.org"), account(a), account(admin)]).unwrap();
    bench
        .alias(domain, "top", &[to("mid@example.org"), to("deep@example.org"), to("x@example.net")])
        .unwrap();
    assert_eq!(bench.targets("top@example.org"), ["example0001", "example0002", "x@example.net"]);
    assert_eq!(bench.resolve("nobody@example.org"), Resolution::Unknown);
    assert_eq!(bench.resolve("nobody@example.net"), Resolution::NotLocal);
}

#[test]
fn redirections() {
    let mut bench = Bench::new();
    let (domain, _) = bench.domain("example.org");
    let a = bench.account(domain, "a");
    bench.redirect(a, &[to("x@example.net"), to("admin@example.org")], true).unwrap();
    assert_eq!(bench.targets("a@example.org"), ["example0001", "example0002", "x@example.net"]);
    let Resolution::Deliver(targets) = bench.resolve("a@example.org") else { panic!() };
    assert_eq!(targets.outside[0].via, Via::Redirection(a));
    bench.redirect(a, &[to("x@example.net")], false).unwrap();
    assert_eq!(bench.targets("a@example.org"), ["x@example.net"]);
    bench.services(a, |s| s.redirect = false).unwrap();
    assert_eq!(bench.targets("a@example.org"), ["example0002"]);
    bench.services(a, |s| s.mailbox = false).unwrap();
    assert_eq!(bench.resolve("a@example.org"), Resolution::Disabled);
    // With the mailbox off, a copy cannot be kept.
    bench.services(a, |s| s.redirect = true).unwrap();
    bench.redirect(a, &[to("x@example.net")], true).unwrap();
    assert_eq!(bench.targets("a@example.org"), ["x@example.net"]);
    assert_eq!(bench.redirect(a, &[], true), Err(Refusal::NoDestinations));
}

#[test]
fn groups() {
    let mut bench = Bench::new();
    let (domain, admin) = bench.domain("example.org");
    let group = bench.account(domain, "group");
    let a = bench.account(domain, "a");
    let add = vec![account(admin), to("a@example.org"), to("x@example.net")];
    bench.done(Change::ChangeMembers { group, add, remove: vec![], keep_copy: None });
    assert_eq!(bench.targets("group@example.org"), ["example0002"], "the group is off");
    bench.services(group, |s| s.group = true).unwrap();
    assert_eq!(bench.targets("group@example.org"), ["example0001", "example0003", "x@example.net"]);
    for member in [admin, a] {
        assert_eq!(bench.directory.groups_of(member).iter().map(|g| g.id).collect::<Vec<_>>(), [group]);
    }
    let remove = vec![to("x@example.net")];
    bench.done(Change::ChangeMembers { group, add: vec![], remove, keep_copy: Some(true) });
    assert_eq!(bench.targets("group@example.org"), ["example0001", "example0002", "example0003"]);
    let refused = bench.redirect(a, &[to("group@example.org")], true);
    assert_eq!(
        refused,
        Err(Refusal::AliasLoop {
            path: ["example0003", "example0002", "example0003"].map(String::from).to_vec()
        })
    );
}

#[test]
fn options_of_aliases() {
    let mut bench = Bench::new();
    let (domain, _) = bench.domain("example.org");
    let a = bench.account(domain, "a");
    let x = [to("x@example.net")];
    let with = |f: fn(&mut AliasOptions)| {
        let mut options = AliasOptions::default();
        f(&mut options);
        options
    };
    let alias = bench.alias_with(domain, "a", &x, with(|o| o.deliver_locally = true)).unwrap();
    assert_eq!(bench.targets("a@example.org"), ["example0002", "x@example.net"]);
    assert_eq!(bench.targets("a+todo@example.org"), ["example0002/todo", "x@example.net"]);
    let change = Change::ChangeAlias { alias, destinations: x.to_vec(), options: AliasOptions::default() };
    assert!(matches!(bench.ask(change), Err(Refusal::NameTaken { .. })));
    bench.done(Change::DeleteAlias { alias });
    assert_eq!(bench.targets("a@example.org"), ["example0002"]);

    bench.alias_with(domain, "gone", &[], with(|o| o.bounce = true)).unwrap();
    assert_eq!(bench.resolve("gone@example.org"), Resolution::Bounce);
    bench.alias(domain, "via", &[to("gone@example.org")]).unwrap();
    assert_eq!(bench.resolve("via@example.org"), Resolution::Bounce);

    bench.alias_with(domain, "all", &x, with(|o| o.everyone = true)).unwrap();
    assert_eq!(bench.targets("all@example.org"), ["example0001", "example0002", "x@example.net"]);
    assert!(matches!(bench.redirect(a, &[to("all@example.org")], true), Err(Refusal::AliasLoop { .. })));
    assert_eq!(bench.alias(domain, "none", &[]), Err(Refusal::NoDestinations));
}

#[test]
fn details() {
    let mut bench = Bench::new();
    let (domain, _) = bench.domain("example.org");
    bench.account(domain, "a");
    bench.account(domain, "a+b");
    assert_eq!(bench.targets("A+To.Do+x@example.org"), ["example0002/To.Do+x"]);
    assert_eq!(bench.targets("a+b@example.org"), ["example0003"]);
    assert_eq!(bench.targets("a+@example.org"), ["example0002"]);
    assert_eq!(bench.resolve("+a@example.org"), Resolution::Unknown);
    bench.done(Change::SetSettings(Settings { detail_separator: Some('-'), ..Settings::default() }));
    assert_eq!(bench.targets("a-b@example.org"), ["example0002/b"]);
    assert_eq!(bench.resolve("a+c@example.org"), Resolution::Unknown);
    bench.done(Change::SetSettings(Settings { detail_separator: None, ..Settings::default() }));
    assert_eq!(bench.resolve("a-b@example.org"), Resolution::Unknown);
    for bad in ['@', '.', 'a', '"'] {
        let settings = Settings { detail_separator: Some(bad), ..Settings::default() };
        assert!(matches!(bench.ask(Change::SetSettings(settings)), Err(Refusal::InvalidText { .. })));
    }
}

#[test]
fn catch_all() {
    let mut bench = Bench::new();
    let (domain, admin) = bench.domain("example.org");
    let (_, other) = bench.domain("example.net");
    let a = bench.account(domain, "a");
    let set = |to| Change::SetCatchAll { domain, to };
    bench.done(set(Some(CatchAll::Account(a))));
    assert_eq!(bench.targets("any.thing@example.org"), ["example0002"]);
    assert_eq!(bench.targets("admin+x@example.org"), ["example0001/x"]);
    assert!(!bench.directory.owns(a, &address("any.thing@example.org")));
    assert_eq!(bench.ask(set(Some(CatchAll::Account(other)))), Err(Refusal::OtherDomain));
    // A catch-all that sends on to a name that only it catches.
    let refused = bench.redirect(a, &[to("nobody@example.org")], true);
    assert!(matches!(refused, Err(Refusal::AliasLoop { .. })));
    bench.done(set(Some(CatchAll::Account(admin))));
    bench.redirect(a, &[to("nobody@example.org")], false).unwrap();
    assert!(matches!(bench.ask(set(Some(CatchAll::Account(a)))), Err(Refusal::AliasLoop { .. })));
    bench.done(set(None));
    assert_eq!(bench.resolve("any.thing@example.org"), Resolution::Unknown);
    let dead = bench.resolve("a@example.org");
    assert_eq!(dead, Resolution::Unknown);
}

#[test]
fn loops_are_found_when_saved() {
    let mut bench = Bench::new();
    let (domain, _) = bench.domain("example.org");
    let a = bench.account(domain, "a");
    let is_loop = |result: Result<Reply, Refusal>| matches!(result, Err(Refusal::AliasLoop { .. }));
    assert!(is_loop(bench.redirect(a, &[to("a@example.org")], true)));
    assert!(is_loop(bench.redirect(a, &[account(a)], true)));
    assert!(bench.alias(domain, "self", &[to("self@example.org")]).is_err());
    // One leads to a name that is not there yet, then the name comes.
    bench.alias(domain, "one", &[to("two@example.org")]).unwrap();
    assert_eq!(bench.resolve("one@example.org"), Resolution::Unknown);
    let refused = bench.alias(domain, "two", &[to("one@example.org")]);
    assert_eq!(
        refused,
        Err(Refusal::AliasLoop {
            path: ["two@example.org", "one@example.org", "two@example.org"].map(String::from).to_vec()
        })
    );
    bench.redirect(a, &[to("b@example.org")], true).unwrap();
    assert!(is_loop(bench.ask(Change::AddAddress { account: a, local: local("b") })));
    // Round by another name that is outside until now.
    bench.redirect(a, &[to("a@example.com")], true).unwrap();
    assert!(is_loop(bench.ask(Change::AddDomainAlias { domain, name: name("example.com") })));
    // While the redirection is off nothing goes round; it cannot be switched on then.
    bench.services(a, |s| s.redirect = false).unwrap();
    bench.done(Change::AddDomainAlias { domain, name: name("example.com") });
    assert!(is_loop(bench.services(a, |s| s.redirect = true)));
    // A new sub-domain whose default addresses lead back.
    let b = bench.account(domain, "b");
    bench.redirect(b, &[to("abuse@sub.example.org")], true).unwrap();
    let mut sub = new_domain("sub.example.org", Standing::Subdomain { of: domain });
    sub.administrator = Administrator::Existing(b);
    assert!(is_loop(bench.ask(Change::CreateDomain(sub))));
}

/// A loop that a removal made costs nobody a message.
#[test]
fn loops_are_found_at_delivery_too() {
    let mut bench = Bench::new();
    let (domain, _) = bench.domain("example.org");
    let a = bench.account(domain, "a");
    let b = bench.account(domain, "b");
    bench.done(Change::SetCatchAll { domain, to: Some(CatchAll::Account(a)) });
    bench.redirect(a, &[to("b@example.org")], true).unwrap();
    bench.done(Change::DeleteAccount { account: b });
    let Resolution::Deliver(targets) = bench.resolve("a@example.org") else { panic!() };
    assert_eq!(targets.loops, ["example0002"]);
    assert_eq!(bench.targets("a@example.org"), ["example0002"]);
    bench.services(a, |s| s.mailbox = false).unwrap_err();
    let mut record = bench.directory.account(a).unwrap().as_ref().clone();
    record.services.mailbox = false;
    bench.directory.put(crate::rows::Record::Account(record), &mut bench.rows).unwrap();
    assert_eq!(bench.resolve("a@example.org"), Resolution::Loop);
}

#[test]
fn depth_and_width_are_limited() {
    let mut bench = Bench::new();
    let (domain, _) = bench.domain("example.org");
    bench.alias(domain, "c0", &[to("x@example.net")]).unwrap();
    for step in 1..DEPTH_MAX {
        bench.alias(domain, &format!("c{step}"), &[to(&format!("c{}@example.org", step - 1))]).unwrap();
    }
    let last = format!("c{}@example.org", DEPTH_MAX - 1);
    assert_eq!(bench.targets(&last), ["x@example.net"]);
    assert_eq!(bench.alias(domain, "over", &[to(&last)]), Err(Refusal::TooManyTargets));

    let many =
        |from: usize| (from..from + 1_000).map(|n| to(&format!("u{n}@example.net"))).collect::<Vec<_>>();
    let mut parts = Vec::new();
    for part in 0..TARGETS_MAX / 1_000 {
        bench.alias(domain, &format!("part{part}"), &many(part * 1_000)).unwrap();
        parts.push(to(&format!("part{part}@example.org")));
    }
    bench.alias(domain, "whole", &parts).unwrap();
    assert_eq!(bench.targets("whole@example.org").len(), TARGETS_MAX);
    parts.push(to("one.more@example.net"));
    assert_eq!(bench.alias(domain, "over", &parts), Err(Refusal::TooManyTargets));
    let mut over = many(0);
    over.push(to("x@example.net"));
    assert!(matches!(bench.alias(domain, "over", &over), Err(Refusal::TooMany { max: 1_000, .. })));
}

#[test]
fn ownership() {
    let mut bench = Bench::new();
    let (domain, admin) = bench.domain("example.org");
    bench.done(Change::AddDomainAlias { domain, name: name("example.com") });
    let a = bench.account(domain, "a");
    let b = bench.account(domain, "b");
    bench.alias(domain, "mine", &[to("hop@example.org")]).unwrap();
    bench.alias(domain, "hop", &[account(a)]).unwrap();
    bench.alias(domain, "shared", &[account(a), account(b)]).unwrap();
    bench.alias(domain, "copied", &[account(a), to("x@example.net")]).unwrap();
    let local_too = AliasOptions { deliver_locally: true, ..AliasOptions::default() };
    bench.alias_with(domain, "b", &[to("x@example.net")], local_too).unwrap();
    // A redirection is the owner's own affair.
    bench.redirect(a, &[to("elsewhere@example.net")], false).unwrap();
    let owns = |id, text: &str| bench.directory.owns(id, &address(text));
    for text in ["A@example.org", "a@example.com", "a+x@example.org", "mine@example.org", "hop@example.com"] {
        assert!(owns(a, text), "{text}");
        assert!(!owns(b, text), "{text}");
    }
    for text in ["shared@example.org", "copied@example.org", "a@example.net", "nobody@example.org"] {
        assert!(!owns(a, text), "{text}");
    }
    assert!(owns(b, "b@example.org") && owns(b, "b+x@example.com") && !owns(a, "b@example.org"));
    assert!(owns(admin, "postmaster@example.org"));
    bench.done(Change::EnableAddress { account: a, local: local("a"), enabled: false });
    assert!(!bench.directory.owns(a, &address("a@example.org")));
}

#[test]
fn postmaster_without_a_domain() {
    let mut bench = Bench::new();
    assert_eq!(bench.directory.resolve_postmaster(), Resolution::Unknown);
    let (_, first) = bench.domain("example.org");
    let (second, other) = bench.domain("example.net");
    let who = |bench: &Bench| match bench.directory.resolve_postmaster() {
        Resolution::Deliver(targets) => targets.mailboxes[0].account,
        other => panic!("{other:?}"),
    };
    assert_eq!(who(&bench), first);
    bench.done(Change::SetSettings(Settings { postmaster_domain: Some(second), ..Settings::default() }));
    assert_eq!(who(&bench), other);
    bench.done(Change::DeleteDomain { domain: second });
    assert_eq!(who(&bench), first);
    assert_eq!(bench.directory.settings().postmaster_domain, None);
}
