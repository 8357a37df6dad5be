//! Accounts: addresses, logins, quotas, operators, shards, lists.

use super::*;
use crate::LoginBar;
use crate::command::{AccountChange, DomainChange};
use crate::password::{Hasher, Parameters, PasswordHash};
use estafette_types::Username;

fn operator(bench: &mut Bench, username: &str) -> Result<AccountId, Refusal> {
    let username = Username::parse(username).unwrap();
    let change = Change::CreateOperator { username, real_name: String::new(), password_hash: None };
    match bench.ask(change)? {
        Reply::Account { id, .. } => Ok(id),
        other => panic!("{other:?}"),
    }
}

fn disable(account: AccountId) -> Change {
    let change = AccountChange { disabled: Some(true), ..AccountChange::default() };
    Change::ChangeAccount { account, change }
}

#[test]
fn logins_by_username_and_by_every_address() {
    let mut bench = Bench::new();
    let (domain, _) = bench.domain("example.org");
    let account = bench.account(domain, "Jan.Doe");
    bench.done(Change::AddAddress { account, local: local("jd") });
    for name in ["example0002", "EXAMPLE0002", " jan.doe@example.org ", "JD@EXAMPLE.ORG"] {
        assert_eq!(bench.directory.login(name).map(|l| l.account.id), Some(account), "{name}");
    }
    for name in ["", "@", "example0003", "example2", "example", "x@example.org", "jd@example.net", "\u{0}"] {
        assert!(bench.directory.login(name).is_none(), "{name}");
    }
    bench.done(disable(account));
    assert_eq!(bench.directory.login("example0002").unwrap().bar, Some(LoginBar::Disabled));
    assert_eq!(bench.targets("jd@example.org"), ["example0002"]);
    let change = DomainChange { suspended: Some(true), ..DomainChange::default() };
    bench.done(Change::ChangeDomain { domain, change });
    assert_eq!(bench.directory.login("example0001").unwrap().bar, Some(LoginBar::Suspended));
    assert_eq!(bench.resolve("jd@example.org"), Resolution::Suspended);
    assert!(bench.directory.is_local_domain(&name("example.org")));
}

#[test]
fn addresses() {
    let mut bench = Bench::new();
    let (domain, _) = bench.domain("example.org");
    let account = bench.account(domain, "a");
    let add = |account, text: &str| Change::AddAddress { account, local: local(text) };
    bench.done(add(account, "b"));
    let taken = |text: &str| Err(Refusal::NameTaken { name: format!("{text}@example.org") });
    assert_eq!(bench.ask(add(account, "B")), taken("B"));
    assert_eq!(bench.ask(add(account, "postmaster")), taken("postmaster"));
    let refused = bench.ask(Change::CreateAccount { domain, account: new_account("b") });
    assert_eq!(refused, taken("b"));
    assert_eq!(bench.alias(domain, "b", &[to("x@example.net")]).map(|_| Reply::Done), taken("b"));

    let switch = |enabled| Change::EnableAddress { account, local: local("b"), enabled };
    bench.done(switch(false));
    assert_eq!(bench.resolve("b@example.org"), Resolution::Disabled);
    bench.done(switch(true));
    assert_eq!(bench.targets("b@example.org"), ["example0002"]);

    let remove = |text: &str| Change::RemoveAddress { account, local: local(text) };
    assert_eq!(bench.ask(remove("a")), Err(Refusal::PrimaryAddress));
    assert_eq!(bench.ask(remove("c")), Err(Refusal::UnknownAddress { address: "c".into() }));
    let change = AccountChange { primary: Some(local("b")), ..AccountChange::default() };
    bench.done(Change::ChangeAccount { account, change });
    let record = bench.directory.account(account).unwrap();
    assert_eq!(bench.directory.primary_address(record), Some(address("b@example.org")));
    bench.done(remove("a"));
    assert_eq!(bench.resolve("a@example.org"), Resolution::Unknown);
    assert_eq!(bench.reloaded(), bench.directory);
}

#[test]
fn passwords_are_hashes() {
    let mut bench = Bench::new();
    let (_, account) = bench.domain("example.org");
    let set = |hash: &str| Change::SetPassword { account, password_hash: Some(PasswordHash::new(hash)) };
    for bad in ["", "secret", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0"] {
        assert_eq!(bench.ask(set(bad)), Err(Refusal::PasswordHash), "{bad}");
    }
    let hasher = Hasher::new(Parameters { memory_kib: 8, passes: 1, lanes: 1 }).unwrap();
    bench.done(set(hasher.hash("kilo7 bravo").unwrap().as_str()));
    let login = bench.directory.login("example0001").unwrap();
    assert!(hasher.verify(login.password_hash(), "kilo7 bravo"));
    assert!(!format!("{:?}", bench.directory).contains("argon2"));
    let audit = crate::audit(&bench.rows, &crate::AuditQuery { limit: 100, ..Default::default() }).unwrap();
    assert!(!format!("{audit:?}").contains("argon2"));
}

#[test]
fn operators() {
    let mut bench = Bench::new();
    assert!(!bench.directory.has_operator());
    assert_eq!(operator(&mut bench, "admin1"), Err(Refusal::InvalidOperatorName));
    let root = operator(&mut bench, "admin").unwrap();
    assert_eq!(operator(&mut bench, "admin"), Err(Refusal::NameTaken { name: "admin".into() }));
    assert_eq!(bench.directory.login("Admin").unwrap().account.id, root);
    assert_eq!(bench.ask(disable(root)), Err(Refusal::LastOperator));
    assert_eq!(bench.ask(Change::DeleteAccount { account: root }), Err(Refusal::LastOperator));
    assert_eq!(bench.ask(Change::AddAddress { account: root, local: local("x") }), Err(Refusal::NoMailbox));

    // Another one, with a mailbox.
    let (domain, _) = bench.domain("example.org");
    let second = bench.account(domain, "second");
    let role = |role| AccountChange { role: Some(role), ..AccountChange::default() };
    bench.done(Change::ChangeAccount { account: second, change: role(Role::Operator) });
    bench.done(Change::DeleteAccount { account: root });
    for change in [
        Change::ChangeAccount { account: second, change: role(Role::Owner) },
        Change::DeleteDomain { domain },
        Change::ChangeDomain { domain, change: DomainChange { suspended: Some(true), ..Default::default() } },
    ] {
        assert_eq!(bench.ask(change), Err(Refusal::LastOperator));
    }
    assert_eq!(bench.directory.operator_list().len(), 1);
    let destination = bench.directory.destination("example0002");
    assert_eq!(destination, Ok(Destination::Account(second)));
    assert!(matches!(bench.directory.destination("admin"), Err(Refusal::UnknownDestination { .. })));
    assert_eq!(bench.reloaded(), bench.directory);
}

#[test]
fn shards() {
    let mut bench = Bench::new();
    let (domain, admin) = bench.domain("example.org");
    assert_eq!(bench.directory.emptiest_shard(), Some(ShardId(2)));
    let mut new = new_account("a");
    new.shard = ShardId(3);
    let refused = bench.ask(Change::CreateAccount { domain, account: new });
    assert_eq!(refused, Err(Refusal::UnknownShard { shard: 3 }));
    let refused = bench.ask(Change::SetShards { shards: vec![ShardId(2)] });
    assert_eq!(refused, Err(Refusal::ShardInUse { shard: 1, accounts: 1 }));
    bench.done(Change::AssignShard { account: admin, shard: ShardId(2) });
    bench.done(Change::SetShards { shards: vec![ShardId(2), ShardId(3), ShardId(3)] });
    assert_eq!(bench.directory.shards(), [ShardId(2), ShardId(3)]);
    assert_eq!(bench.directory.emptiest_shard(), Some(ShardId(3)));
    assert_eq!(bench.reloaded(), bench.directory);
}

#[test]
fn lists_come_in_pages() {
    let mut bench = Bench::new();
    let (domain, _) = bench.domain("example.org");
    for number in 0..5 {
        bench.account(domain, &format!("user{number}"));
    }
    let first = bench.directory.account_list(domain, "user", None, 2);
    assert_eq!(
        first.items.iter().map(|a| a.username.as_str()).collect::<Vec<_>>(),
        ["example0002", "example0003"]
    );
    assert!(first.more);
    let after = first.items.last().map(|a| AccountId(a.id));
    let rest = bench.directory.account_list(domain, "USER", after, 3);
    assert_eq!((rest.items.len(), rest.more), (3, false));
    assert_eq!(bench.directory.account_list(domain, "example0005", None, 9).items.len(), 1);
    assert_eq!(bench.directory.alias_list(domain, "", None, 3).items.len(), 3);
    assert_eq!(bench.directory.alias_list(domain, "abu", None, 9).items[0].destinations, ["example0001"]);
    assert_eq!(bench.directory.domain_list("exam", None, 9).items.len(), 1);
    assert_eq!(bench.directory.domain_list("net", None, 9).items.len(), 0);
}

#[test]
fn texts_are_checked() {
    let mut bench = Bench::new();
    let (_, account) = bench.domain("example.org");
    for bad in ["a\u{0}b".to_owned(), "x".repeat(1_001), "a\rb".to_owned()] {
        let change = AccountChange { real_name: Some(bad), ..AccountChange::default() };
        let refused = bench.ask(Change::ChangeAccount { account, change });
        assert_eq!(refused, Err(Refusal::InvalidText { field: "real-name".into() }));
    }
}

/// Told by hand: `cargo test -p estafette-directory --release -- --ignored --nocapture large`.
#[test]
#[ignore = "a measurement"]
fn large() {
    const ACCOUNTS: u64 = 200_000;
    let resident_kib = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let mut bench = Bench::new();
    let mut seen = Vec::new();
    let started = std::time::Instant::now();
    // Not by `run`, which copies all rows each time.
    let apply = |bench: &mut Bench, change| {
        let command = Command { actor: Actor::System, origin: Origin::Internal, change };
        bench.directory.apply(&At::default(), &command, &mut bench.rows).unwrap().unwrap()
    };
    for number in 0..ACCOUNTS {
        if number % 100 == 0 {
            let new = new_domain(&format!("d{number}.test"), Standing::Plan(PlanId(1)));
            match apply(&mut bench, Change::CreateDomain(new)) {
                Reply::Domain { id, .. } => seen.push(id),
                other => panic!("{other:?}"),
            }
        }
        let mut new = new_account(&format!("first.last{number}"));
        new.real_name = "First Lastname".into();
        new.password_hash = Some(PasswordHash::new(
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE",
        ));
        apply(&mut bench, Change::CreateAccount { domain: *seen.last().unwrap(), account: new });
    }
    println!("applied in {:?}", started.elapsed());
    // The first one stays, so that its memory is not taken again and the difference is the second's own.
    let Bench { rows, directory: first, .. } = bench;
    let before = resident_kib();
    let started = std::time::Instant::now();
    let directory = Directory::load(&rows).unwrap();
    let bytes = (resident_kib().saturating_sub(before)) * 1024 / ACCOUNTS;
    println!("loaded in {:?}, about {bytes} bytes more for an account", started.elapsed());
    let started = std::time::Instant::now();
    for number in 0..ACCOUNTS {
        let domain = number - number % 100;
        assert!(directory.login(&format!("first.last{number}@d{domain}.test")).is_some());
        assert!(matches!(
            directory.resolve(&address(&format!("first.last{number}@d{domain}.test"))),
            Resolution::Deliver(_)
        ));
    }
    println!("a login and a resolution in {:?}", started.elapsed() / 200_000);
    assert_eq!(first.counts(), directory.counts());
}
