//! Random sequences of commands over a small world, so that names collide and loops come close.

use super::*;
use crate::command::{AccountChange, DomainChange};
use crate::model::CatchAll;
use crate::tables::Mention;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 6] = ["a", "b", "A+x", "c", "postmaster", "abuse"];
const DOMAINS: [&str; 5] = ["x.test", "y.test", "s.x.test", "z.test", "out.test"];

/// Numbers, made into a command by what is in the directory at that time.
type Step = (u8, [u8; 5]);

fn pick<T: Copy>(list: &[T], number: u8) -> Option<T> {
    if list.is_empty() { None } else { list.get(usize::from(number) % list.len()).copied() }
}

fn accounts(directory: &Directory) -> Vec<AccountId> {
    let mut ids: Vec<AccountId> = directory.all_accounts().map(|account| account.id).collect();
    ids.sort_unstable();
    ids
}

fn destination(directory: &Directory, [a, b]: [u8; 2]) -> Destination {
    match pick(&accounts(directory), b) {
        Some(id) if a % 3 == 0 => Destination::Account(id),
        _ => to(&format!("{}@{}", NAMES[usize::from(a) % 6], DOMAINS[usize::from(b) % 5])),
    }
}

/// `None` when there is nothing to change yet. Below [`FIRST_REMOVAL`], nothing is taken away.
fn change(directory: &Directory, (kind, n): Step) -> Option<Change> {
    let domains: Vec<DomainId> = directory.domains.keys().copied().collect();
    let domain = pick(&domains, n[0]);
    let account = pick(&accounts(directory), n[1]);
    let mut aliases: Vec<AliasId> = directory.aliases.keys().copied().collect();
    aliases.sort_unstable();
    let alias = pick(&aliases, n[1]);
    let local = local(NAMES[usize::from(n[2]) % NAMES.len()]);
    let to = vec![destination(directory, [n[3], n[4]]), destination(directory, [n[4], n[3]])];
    let options = AliasOptions {
        deliver_locally: n[2] & 64 != 0,
        bounce: n[3] & 192 == 192,
        everyone: n[4] & 192 == 192,
    };
    let switch = n[3] & 1 != 0;
    Some(match kind {
        0 => {
            let mut new = new_domain(DOMAINS[usize::from(n[2]) % 4], Standing::Plan(PlanId(1)));
            if let Some(of) = domain.filter(|_| switch) {
                new.standing = Standing::Subdomain { of };
                new.administrator = Administrator::Existing(account?);
            }
            Change::CreateDomain(new)
        }
        1 | 2 => Change::CreateAccount { domain: domain?, account: NewAccount { local, ..new_account("q") } },
        3 => Change::AddAddress { account: account?, local },
        4 | 5 => Change::CreateAlias(NewAlias { domain: domain?, local, destinations: to, options }),
        6 | 7 => Change::ChangeAlias { alias: alias?, destinations: to, options },
        8 | 9 => Change::SetRedirection {
            account: account?,
            redirection: Some(Redirection { to, keep_copy: switch }),
        },
        10 => Change::ChangeMembers { group: account?, add: to, remove: vec![], keep_copy: Some(switch) },
        11 | 12 => {
            let services = Services { mailbox: n[2] & 1 != 0, group: switch, ..Services::default() };
            Change::SetServices { account: account?, services }
        }
        13 => Change::AddDomainAlias { domain: domain?, name: name(DOMAINS[usize::from(n[2]) % 5]) },
        14 => Change::SetCatchAll { domain: domain?, to: account.map(CatchAll::Account).filter(|_| switch) },
        15 => Change::SetCatchAll { domain: domain?, to: alias.map(CatchAll::Alias) },
        16 => Change::ChangeDomain {
            domain: domain?,
            change: DomainChange {
                administrator: account,
                suspended: Some(n[3] > 200),
                ..Default::default()
            },
        },
        17 => Change::ChangeAccount {
            account: account?,
            change: AccountChange { quota: Some(QuotaChoice::Bytes(u64::from(n[3]))), ..Default::default() },
        },
        18 => Change::EnableAddress { account: account?, local, enabled: switch },
        19 => Change::DeleteAccount { account: account? },
        20 => Change::DeleteAlias { alias: alias? },
        21 => Change::DeleteDomain { domain: domain? },
        22 => Change::RemoveAddress { account: account?, local },
        23 => Change::RemoveDomainAlias { name: name(DOMAINS[usize::from(n[2]) % 5]) },
        _ => Change::SetRedirection { account: account?, redirection: None },
    })
}

const FIRST_REMOVAL: u8 = 19;
const KINDS: u8 = 25;

fn steps(kinds: u8) -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec((0..kinds, any::<[u8; 5]>()), 0..60)
}

fn run(steps: &[Step]) -> Bench {
    let mut bench = Bench::new();
    bench.domain("x.test");
    for step in steps {
        if let Some(change) = change(&bench.directory, *step) {
            bench.ask(change).ok();
        }
    }
    bench
}

/// Where mail goes next, told again in the plainest way; switches of domains and addresses not minded.
fn next(directory: &Directory, node: Mention) -> Vec<Mention> {
    let find = |address: &Address| -> Option<Mention> {
        let exact = |address: &Address| {
            let alias = directory.alias_at(address).map(|alias| Mention::Alias(alias.id));
            alias.or_else(|| directory.account_at(address).map(|account| Mention::Account(account.id)))
        };
        let base = address.local.as_str().split_once('+').map(|(user, _)| user.to_owned());
        let base = base.map(|user| Address { local: local(&user), domain: address.domain.clone() });
        let caught = || match directory.domain_named(&address.domain)?.catch_all? {
            CatchAll::Account(id) => Some(Mention::Account(id)),
            CatchAll::Alias(id) => Some(Mention::Alias(id)),
        };
        exact(address).or_else(|| base.and_then(|base| exact(&base))).or_else(caught)
    };
    let to = |destination: &Destination| match destination {
        Destination::Account(id) => Some(Mention::Account(*id)),
        Destination::Address(address) => find(address),
    };
    match node {
        Mention::Account(id) => {
            let account = directory.account(id).unwrap();
            account.passes_to().filter_map(|(destination, _)| to(destination)).collect()
        }
        Mention::Alias(id) => {
            let alias = directory.alias(id).unwrap();
            if alias.options.bounce {
                return Vec::new();
            }
            let mut nodes: Vec<Mention> = alias.destinations.iter().filter_map(to).collect();
            let domain = directory.domain(alias.domain).unwrap().name.clone();
            let same = Address { local: alias.local.clone(), domain };
            if let Some(account) = directory.account_at(&same).filter(|_| alias.options.deliver_locally) {
                nodes.push(Mention::Account(account.id));
            }
            let here = |account: &&std::sync::Arc<crate::Account>| {
                alias.options.everyone && account.domain == Some(alias.domain) && !account.services.group
            };
            nodes.extend(directory.all_accounts().filter(here).map(|account| Mention::Account(account.id)));
            nodes
        }
    }
}

fn has_loop(directory: &Directory) -> bool {
    let accounts = directory.all_accounts().map(|account| Mention::Account(account.id));
    let all: Vec<Mention> = accounts.chain(directory.aliases.keys().map(|id| Mention::Alias(*id))).collect();
    let edges: BTreeMap<Mention, Vec<Mention>> =
        all.iter().map(|node| (*node, next(directory, *node))).collect();
    all.iter().any(|start| {
        let (mut seen, mut open) = (BTreeSet::new(), edges[start].clone());
        while let Some(node) = open.pop() {
            if seen.insert(node) {
                open.extend(&edges[&node]);
            }
        }
        seen.contains(start)
    })
}

fn every_address() -> impl Iterator<Item = Address> {
    NAMES.into_iter().flat_map(|n| DOMAINS.into_iter().map(move |d| address(&format!("{n}@{d}"))))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// What is loaded equals what was in memory; the same commands give the same rows.
    #[test]
    fn rows_and_memory_agree(steps in steps(KINDS)) {
        let bench = run(&steps);
        prop_assert_eq!(bench.reloaded(), bench.directory);
        prop_assert_eq!(run(&steps).rows, bench.rows);
    }

    /// Nothing that is saved makes a loop.
    #[test]
    fn loops_are_never_saved(steps in steps(FIRST_REMOVAL)) {
        let bench = run(&steps);
        prop_assert!(!has_loop(&bench.directory));
        for address in every_address() {
            if let Resolution::Deliver(targets) = bench.directory.resolve(&address) {
                prop_assert!(targets.loops.is_empty());
            }
        }
    }

    /// Also where removals made loops: resolution ends, has each target once, and reaches exactly the
    /// mailboxes that the plain graph reaches.
    #[test]
    fn resolution_ends(steps in steps(KINDS)) {
        let bench = run(&steps);
        let directory = &bench.directory;
        for address in every_address() {
            let resolution = directory.resolve(&address);
            prop_assert_eq!(
                matches!(resolution, Resolution::NotLocal),
                !directory.is_local_domain(&address.domain)
            );
            if let Resolution::Deliver(targets) = resolution {
                let boxes: BTreeSet<AccountId> = targets.mailboxes.iter().map(|t| t.account).collect();
                let outside: BTreeSet<&Address> = targets.outside.iter().map(|t| &t.address).collect();
                prop_assert_eq!(boxes.len(), targets.mailboxes.len());
                prop_assert_eq!(outside.len(), targets.outside.len());
                prop_assert!(!boxes.is_empty() || !outside.is_empty());
                prop_assert!(outside.iter().all(|a| !directory.is_local_domain(&a.domain)));
            }
            for id in accounts(directory) {
                directory.owns(id, &address);
            }
        }
        // The default addresses of every domain are held by something.
        for entry in directory.domains.values() {
            for name in crate::DEFAULT_ADDRESSES {
                prop_assert!(entry.locals.contains_key(name));
            }
        }
    }
}
