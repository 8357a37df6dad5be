//! Any commands in any order on a directory: what was found good is carried out, the rows give the
//! same directory again, and every address leads somewhere within bounds.
#![no_main]

use estafette_directory::{
    Actor, Administrator, At, Change, Command, Directory, Error, NewAccount, NewDomain, Origin, PlanFields,
    PlanId, QuotaChoice, Resolution, Role, RowSource, Rows, Standing, TARGETS_MAX, Visit,
};
use estafette_fuzz::head;
use estafette_types::{Address, Domain, DomainId, LocalPart, ShardId};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;
use std::ops::Range;

const COMMANDS_MAX: usize = 30;

#[derive(Default)]
struct Memory(BTreeMap<Vec<u8>, Vec<u8>>);

impl Rows for Memory {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Error> {
        self.0.insert(key, value);
        Ok(())
    }

    fn delete(&mut self, key: Vec<u8>) -> Result<(), Error> {
        self.0.remove(&key);
        Ok(())
    }

    fn delete_range(&mut self, range: Range<Vec<u8>>) -> Result<(), Error> {
        self.0.retain(|key, _| !range.contains(key));
        Ok(())
    }
}

impl RowSource for Memory {
    fn scan(&self, range: Range<Vec<u8>>, backwards: bool, visit: &mut Visit<'_>) -> Result<(), Error> {
        let rows = self.0.range(range);
        let mut rows: Box<dyn Iterator<Item = _>> =
            if backwards { Box::new(rows.rev()) } else { Box::new(rows) };
        while let Some((key, value)) = rows.next() {
            if !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }
}

/// What is there before the input: a plan, the domain `x.test` with `admin`, and `b`.
fn beginnings() -> Vec<Change> {
    let account = |name: &str| NewAccount {
        local: LocalPart::parse(name).expect("a local part"),
        real_name: String::new(),
        quota: QuotaChoice::Default,
        password_hash: None,
        role: Role::Owner,
        shard: ShardId(1),
    };
    let fields = PlanFields {
        name: "big".into(),
        storage_bytes: None,
        mailboxes: None,
        subdomains: None,
        aliases: None,
    };
    let domain = NewDomain {
        name: Domain::parse("x.test").expect("a domain"),
        prefix: None,
        standing: Standing::Plan(PlanId(1)),
        description: String::new(),
        contact: None,
        default_quota_bytes: None,
        administrator: Administrator::New(account("admin")),
    };
    vec![
        Change::SetShards { shards: vec![ShardId(1), ShardId(2)] },
        Change::CreatePlan(fields),
        Change::CreateDomain(domain),
        Change::CreateAccount { domain: DomainId(1), account: account("b") },
    ]
}

/// Every address that the directory has, and some that it may not have.
fn addresses(directory: &Directory) -> Vec<Address> {
    let accounts = directory.all_accounts().filter_map(|account| directory.primary_address(account));
    let others = ["a@x.test", "postmaster@x.test", "a@s.x.test", "nobody@y.test"];
    accounts.chain(others.iter().filter_map(|text| Address::parse(text).ok())).collect()
}

fuzz_target!(|data: &[u8]| {
    let (_, mut dice, mut rest) = head(data);
    let (mut directory, mut rows) = (Directory::default(), Memory::default());
    let mut at = At { time_ms: 1_790_000_000_000, index: 1, seed: [7; 16] };
    for change in beginnings() {
        let command = Command { actor: Actor::Console, origin: Origin::Internal, change };
        let applied = directory.apply(&at, &command, &mut rows).expect("rows in memory");
        applied.expect("a good beginning");
    }
    for _ in 0..COMMANDS_MAX {
        let Ok((command, after)) = postcard::take_from_bytes::<Command>(rest) else { break };
        rest = after;
        at.time_ms += [0, 1, 1000, 86_400_000][dice.below(4)];
        at.index += 1;
        let valid = directory.validate(&command).is_ok();
        let before = rows.0.clone();
        let applied = directory.apply(&at, &command, &mut rows).expect("rows in memory");
        assert_eq!(valid, applied.is_ok(), "{command:?}");
        assert!(valid || rows.0 == before, "a refused command left something behind");
    }
    let loaded = Directory::load(&rows).expect("rows that were written");
    assert!(loaded == directory, "the rows give another directory");
    for address in addresses(&directory) {
        if let Resolution::Deliver(targets) = directory.resolve(&address) {
            let count = targets.mailboxes.len() + targets.outside.len();
            assert!((1..=TARGETS_MAX).contains(&count));
        }
        let _ = directory.all_accounts().filter(|account| directory.owns(account.id, &address)).count();
    }
    let _ = (directory.resolve_postmaster(), directory.operator_list(), directory.plan_list());
});
