//! The bytes of rows, of commands and of responses, as version 1 writes them: they lie on disks and in
//! logs, so what is in the files here stays readable for ever.
//!
//! When a test here fails, an encoding has changed: give it a new version byte, keep reading the old one,
//! and add a file; the lines that are there never change. A line for something new may be added.

use super::*;
use crate::audit::{AuditEntry, AuditField};
use crate::cluster::{AuthorityKey, Cluster, ClusterNode, FormerNode, JoinToken, Move, NodeState, Placement};
use crate::command::{AccountChange, DomainChange, NewCluster, NodeChange, Removed};
use crate::model::{Account, AccountAddress, Alias, CatchAll, Counters, Group, HostedDomain, Plan, Prefix};
use crate::password::PasswordHash;
use crate::refusal::LimitKind;
use crate::rows::{DomainAlias, Record, RecordName, audit_row, read_audit};
use crate::{Applied, Settings};
use estafette_raft::NodeId;
use estafette_types::Username;
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::mem::discriminant;

const ROWS: &str = include_str!("fixtures/rows_1.hex");
const COMMANDS: &str = include_str!("fixtures/commands_1.hex");
const RESPONSES: &str = include_str!("fixtures/responses_1.hex");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The lines of a file, each in columns.
fn lines(file: &str) -> Vec<Vec<&str>> {
    file.lines().map(|line| line.split(' ').collect()).collect()
}

fn same(made: &[String], file: &str) {
    let made = made.join("\n") + "\n";
    assert!(made == file, "an encoding has changed; this is how it is now:\n{made}");
}

/// How many variants an enum has, by the words of serde about an unknown one.
fn variants<T: DeserializeOwned>() -> usize {
    let error = serde_json::from_str::<T>("\"?\"").err().unwrap().to_string();
    error.split('`').count() / 2 - 1
}

fn username(text: &str) -> Username {
    Username::parse(text).unwrap()
}

fn account() -> Account {
    Account {
        id: AccountId(258),
        username: username("example0001"),
        domain: Some(DomainId(3)),
        addresses: vec![
            AccountAddress { local: local("Jan"), enabled: true },
            AccountAddress { local: local("zoë"), enabled: false },
        ],
        real_name: "Jan Z".into(),
        quota_bytes: Some(300),
        password_hash: Some(PasswordHash::new("$argon2id$x")),
        role: Role::DomainAdministrator,
        services: Services { group: true, filter: false, ..Services::default() },
        disabled: false,
        locked: true,
        shard: Some(ShardId(2)),
        redirection: Some(Box::new(Redirection { to: vec![to("x@example.net")], keep_copy: true })),
        group: Some(Box::new(Group { members: vec![Destination::Account(AccountId(9))], keep_copy: false })),
        created_ms: 5,
        password_ms: 1_700_000_000_000,
    }
}

fn operator() -> Account {
    Account {
        id: AccountId(1),
        username: username("admin"),
        domain: None,
        addresses: Vec::new(),
        real_name: "".into(),
        quota_bytes: None,
        password_hash: None,
        role: Role::Operator,
        services: Services { mailbox: false, redirect: false, ..Services::default() },
        disabled: true,
        locked: false,
        shard: None,
        redirection: None,
        group: None,
        created_ms: 0,
        password_ms: 0,
    }
}

fn domain() -> HostedDomain {
    HostedDomain {
        id: DomainId(3),
        name: name("example.org"),
        prefix: "example".into(),
        standing: Standing::Plan(PlanId(300)),
        description: "words".into(),
        contact: Some(address("c@example.com")),
        default_quota_bytes: 1 << 30,
        administrator: AccountId(258),
        suspended: true,
        catch_all: Some(CatchAll::Account(AccountId(9))),
        created_ms: 7,
        created_by: "console".into(),
    }
}

fn plan_fields() -> PlanFields {
    PlanFields {
        name: "big".into(),
        storage_bytes: Some(1 << 40),
        mailboxes: Some(300),
        subdomains: Some(0),
        aliases: None,
    }
}

fn settings() -> Settings {
    Settings { audit_days: 400, detail_separator: Some('+'), postmaster_domain: Some(DomainId(3)) }
}

fn alias() -> Alias {
    Alias {
        id: AliasId(300),
        domain: DomainId(3),
        local: local("info"),
        destinations: vec![Destination::Account(AccountId(258)), to("Out.Side@example.net")],
        options: AliasOptions { deliver_locally: true, bounce: false, everyone: true },
        created_ms: 8,
    }
}

fn records() -> Vec<Record> {
    let sub = HostedDomain {
        id: DomainId(4),
        name: name("müller.example"),
        standing: Standing::Subdomain { of: DomainId(3) },
        contact: None,
        suspended: false,
        catch_all: Some(CatchAll::Alias(AliasId(300))),
        ..domain()
    };
    let counters = Counters { plan: 2, domain: 3, account: 300, alias: 5, audit: 6, audit_from_ms: 70_000 };
    vec![
        Record::Counters(counters),
        Record::Settings(settings()),
        Record::Settings(Settings { audit_days: 1, detail_separator: None, postmaster_domain: None }),
        Record::Shards(vec![ShardId(1), ShardId(300)]),
        Record::Plan(Plan { id: PlanId(300), fields: plan_fields() }),
        Record::Prefix(Prefix { name: "example".into(), next_number: 10_000, domain: Some(DomainId(3)) }),
        Record::Prefix(Prefix { name: "old".into(), next_number: 1, domain: None }),
        Record::Domain(domain()),
        Record::Domain(sub),
        Record::DomainAlias(DomainAlias { name: name("example.test"), domain: DomainId(3) }),
        Record::Account(account()),
        Record::Account(operator()),
        Record::Alias(alias()),
    ]
}

fn records_of_cluster() -> Vec<Record> {
    let (key_hash, secret_hash) = ([7; 32], [9; 32]);
    let node = |state| ClusterNode {
        id: NodeId(300),
        address: "n.example:7400".into(),
        label: "east".into(),
        key_hash,
        admitted_ms: 70_000,
        state,
    };
    let token = JoinToken {
        secret_hash,
        expires_ms: 90_000,
        label: Some("east".into()),
        made_ms: 80_000,
        used_by: Some(NodeId(300)),
    };
    vec![
        Record::Cluster(Cluster {
            id: [5; 16],
            authority_certificate: vec![1, 2],
            authority_key: AuthorityKey::new(vec![3]),
            replicas: 3,
            replace_after_ms: 600_000,
        }),
        Record::Node(node(NodeState::Active)),
        Record::Node(node(NodeState::Leaving)),
        Record::Node(node(NodeState::Dead)),
        Record::FormerNode(FormerNode { id: NodeId(2), key_hash, removed_ms: 70_000 }),
        Record::JoinToken(JoinToken { label: None, used_by: None, ..token.clone() }),
        Record::JoinToken(token),
        Record::Placement(Placement {
            shard: ShardId(300),
            replicas: vec![NodeId(1), NodeId(300)],
            begun: true,
        }),
        Record::Placement(Placement { shard: ShardId(2), replicas: vec![NodeId(1)], begun: false }),
        Record::Move(moving()),
        Record::LastShard(ShardId(300)),
        Record::MoveRate(300),
        Record::LastMove(70_000),
    ]
}

fn moving() -> Move {
    Move { account: AccountId(258), from: ShardId(1), to: ShardId(300), begun_ms: 70_000 }
}

#[test]
fn rows() {
    let entry = |origin| AuditEntry {
        time_ms: 70_000,
        sequence: 300,
        actor: "example0001".into(),
        actor_account: Some(AccountId(258)),
        origin,
        action: "alias.create".into(),
        object: "info@example.org".into(),
        domain: Some(DomainId(3)),
        fields: vec![AuditField { name: "to".into(), before: None, after: Some("x".into()) }],
    };
    let entries = origins().map(entry);
    let records = [records(), records_of_cluster()].concat();
    let record_rows = records.iter().map(|record| record.row().unwrap());
    let made: Vec<_> = record_rows.chain(entries.iter().map(|entry| audit_row(entry).unwrap())).collect();
    let made: Vec<_> = made.iter().map(|(key, value)| format!("{} {}", hex(key), hex(value))).collect();
    same(&made, ROWS);
    for (number, line) in lines(ROWS).into_iter().enumerate() {
        let (key, value) = (unhex(line[0]), unhex(line[1]));
        match records.get(number) {
            Some(record) => assert_eq!(Record::read(&key, &value).unwrap().as_ref(), Some(record)),
            None => assert_eq!(read_audit(&value).unwrap(), entries[number - records.len()]),
        }
    }
    // Every kind of row is there: records, the audit (10), records of the cluster.
    let kinds: HashSet<u8> = lines(ROWS).iter().map(|line| unhex(line[0])[1]).collect();
    assert_eq!(kinds, (1..=19).collect());
    let removed = RecordName::DomainAlias(name("example.test"));
    assert!(lines(ROWS).iter().any(|line| unhex(line[0]) == removed.key()));
}

fn origins() -> [Origin; 4] {
    [
        Origin::Internal,
        Origin::LocalSocket,
        Origin::Client([192, 0, 2, 7].into()),
        Origin::Client([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into()),
    ]
}

fn changes_of_domains() -> Vec<Change> {
    let new = NewDomain {
        prefix: Some("ex".into()),
        description: "words".into(),
        contact: Some(address("c@example.com")),
        default_quota_bytes: Some(300),
        administrator: Administrator::Existing(AccountId(9)),
        ..new_domain("sub.example.org", Standing::Subdomain { of: DomainId(3) })
    };
    let change = DomainChange {
        description: Some("other".into()),
        contact: Some(None),
        default_quota_bytes: Some(300),
        plan: Some(PlanId(2)),
        suspended: Some(true),
        administrator: Some(AccountId(9)),
    };
    vec![
        Change::CreatePlan(plan_fields()),
        Change::ChangePlan { plan: PlanId(300), fields: plan_fields() },
        Change::DeletePlan { plan: PlanId(300) },
        Change::CreateDomain(new_domain("example.org", Standing::Plan(PlanId(1)))),
        Change::CreateDomain(new),
        Change::ChangeDomain { domain: DomainId(300), change },
        Change::ChangeDomain { domain: DomainId(3), change: DomainChange::default() },
        Change::DeleteDomain { domain: DomainId(3) },
        Change::AddDomainAlias { domain: DomainId(3), name: name("example.test") },
        Change::RemoveDomainAlias { name: name("example.test") },
        Change::SetCatchAll { domain: DomainId(3), to: Some(CatchAll::Alias(AliasId(4))) },
        Change::SetShards { shards: vec![ShardId(1), ShardId(300)] },
        Change::SetSettings(settings()),
    ]
}

fn changes_of_accounts() -> Vec<Change> {
    let hash = || Some(PasswordHash::new("$argon2id$x"));
    let id = AccountId(258);
    let new = NewAccount { quota: QuotaChoice::Bytes(300), password_hash: hash(), ..new_account("jan") };
    let unlimited = NewAccount { quota: QuotaChoice::Unlimited, role: Role::Operator, ..new_account("zoë") };
    let change = AccountChange {
        real_name: Some("J".into()),
        quota: Some(QuotaChoice::Default),
        role: Some(Role::DomainAdministrator),
        disabled: Some(true),
        locked: Some(false),
        primary: Some(local("j")),
    };
    vec![
        Change::CreateAccount { domain: DomainId(3), account: new },
        Change::CreateAccount { domain: DomainId(3), account: unlimited },
        Change::CreateOperator { username: username("root"), real_name: "R".into(), password_hash: hash() },
        Change::ChangeAccount { account: id, change },
        Change::ChangeAccount { account: id, change: AccountChange::default() },
        Change::DeleteAccount { account: id },
        Change::AddAddress { account: id, local: local("j") },
        Change::EnableAddress { account: id, local: local("j"), enabled: true },
        Change::RemoveAddress { account: id, local: local("j") },
        Change::SetPassword { account: id, password_hash: hash() },
        Change::SetServices { account: id, services: account().services },
        Change::SetRedirection { account: id, redirection: account().redirection.map(|box_| *box_) },
        Change::ChangeMembers {
            group: id,
            add: vec![to("x@example.net")],
            remove: vec![Destination::Account(AccountId(9))],
            keep_copy: Some(true),
        },
        Change::CreateAlias(NewAlias {
            domain: DomainId(3),
            local: local("info"),
            destinations: alias().destinations,
            options: alias().options,
        }),
        Change::ChangeAlias { alias: AliasId(300), destinations: Vec::new(), options: alias().options },
        Change::DeleteAlias { alias: AliasId(300) },
        Change::AssignShard { account: id, shard: ShardId(300) },
    ]
}

fn changes_of_cluster() -> Vec<Change> {
    let (key_hash, secret_hash, node) = ([7; 32], [9; 32], NodeId(300));
    let (address, label) = (|| "n.example:7400".to_owned(), || "east".to_owned());
    let new = NewCluster {
        id: [5; 16],
        authority_certificate: vec![1, 2],
        authority_key: AuthorityKey::new(vec![3]),
        node: NodeId(1),
        address: address(),
        label: label(),
        key_hash,
    };
    let change = |change| Change::ChangeNode { node, change };
    vec![
        Change::FoundCluster(new),
        Change::CreateJoinToken { secret_hash, valid_ms: 300, label: Some(label()) },
        Change::CreateJoinToken { secret_hash, valid_ms: 300, label: None },
        Change::RevokeJoinToken { secret_hash },
        Change::AdmitNode { secret_hash, key_hash, address: address(), label: label() },
        change(NodeChange::Address(address())),
        change(NodeChange::Label(label())),
        change(NodeChange::State(NodeState::Active)),
        change(NodeChange::State(NodeState::Leaving)),
        change(NodeChange::State(NodeState::Dead)),
        Change::RemoveNode { node },
        Change::PlaceShard { shard: ShardId(300), replicas: vec![NodeId(1), node] },
        Change::AddShards { total: 300 },
        Change::SetClusterSettings { replicas: 5, replace_after_ms: 300 },
        Change::BeginMove { account: AccountId(258), to: ShardId(300) },
        Change::FinishMove(moving()),
        Change::AbandonMove(moving()),
        Change::PostponeMove(moving()),
        Change::SetMoveRate { kib_per_second: 300 },
    ]
}

#[test]
fn commands() {
    let changes = [changes_of_domains(), changes_of_accounts(), changes_of_cluster()].concat();
    let kinds: HashSet<_> = changes.iter().map(discriminant).collect();
    assert_eq!(kinds.len(), variants::<Change>(), "a change has no line");
    let actors = [Actor::System, Actor::Console, Actor::Account(AccountId(300))];
    let from = actors.iter().cycle().zip(origins().into_iter().cycle());
    let commands: Vec<Command> = changes
        .into_iter()
        .zip(from)
        .map(|(change, (actor, origin))| Command { actor: *actor, origin, change })
        .collect();
    let line = |command: &Command| format!("{} {}", command.change.code(), hex(&command.encode().unwrap()));
    same(&commands.iter().map(line).collect::<Vec<_>>(), COMMANDS);
    for (line, command) in lines(COMMANDS).iter().zip(&commands) {
        assert_eq!(Command::decode(&unhex(line[1])).unwrap(), *command, "{}", line[0]);
    }
}

fn replies() -> Vec<Reply> {
    let name = username("example0001");
    vec![
        Reply::Done,
        Reply::Plan(PlanId(300)),
        Reply::Domain { id: DomainId(3), administrator: AccountId(258), username: name.clone() },
        Reply::Account { id: AccountId(258), username: name },
        Reply::Alias(AliasId(300)),
        Reply::Removed(vec![
            Removed { account: AccountId(258), shard: Some(ShardId(2)) },
            Removed { account: AccountId(1), shard: None },
        ]),
        Reply::Node(NodeId(300)),
        Reply::Shards(vec![ShardId(1), ShardId(300)]),
    ]
}

fn refusals() -> Vec<Refusal> {
    use Refusal::*;
    let a = || "a".to_owned();
    let limit = |limit| PlanLimit { limit, allowed: 1, used: 300, asked: u64::MAX };
    vec![
        UnknownPlan,
        UnknownDomain,
        UnknownAccount,
        UnknownAlias,
        UnknownAddress { address: a() },
        UnknownShard { shard: 300 },
        UnknownDestination { text: a() },
        NameTaken { name: a() },
        PrefixTaken { prefix: a() },
        InvalidPrefix,
        InvalidOperatorName,
        InvalidDomain { name: a() },
        InvalidText { field: a() },
        limit(LimitKind::Mailboxes),
        limit(LimitKind::Storage),
        limit(LimitKind::Subdomains),
        limit(LimitKind::Aliases),
        PlanInUse { domains: 300 },
        HasSubdomains,
        NotSubdomain { name: a(), parent: "b".into() },
        SubdomainPlan,
        AliasLoop { path: vec![a(), "b".into(), a()] },
        TooManyTargets,
        TooMany { field: a(), max: 300 },
        NoDestinations,
        PrimaryAddress,
        DefaultAddress { name: a() },
        AdministratorNeeded { domain: a() },
        LastOperator,
        OtherDomain,
        NoMailbox,
        ShardInUse { shard: 300, accounts: 5 },
        PasswordHash,
        NotAllowed,
        Exhausted,
        IsCluster,
        NoCluster,
        UnknownNode { node: 300 },
        NodeRemoved { node: 300 },
        UnknownToken,
        TokenUsed { node: 300 },
        TokenExpired,
        InvalidNodeAddress { address: a() },
        NodeInUse { node: 300, shards: 5 },
        NodeDead { node: 300 },
        LastNode,
        NoReplicas,
        NodeTwice { node: 300 },
        OutOfRange { field: a(), min: 1, max: 300 },
        AccountMoving { shard: 300 },
        NotMoving,
    ]
}

#[test]
fn responses() {
    let replies: Vec<Reply> = replies();
    let kinds: HashSet<_> = replies.iter().map(discriminant).collect();
    assert_eq!(kinds.len(), variants::<Reply>(), "a reply has no line");
    let refusals = refusals();
    let kinds: HashSet<_> = refusals.iter().map(discriminant).collect();
    assert_eq!(kinds.len(), variants::<Refusal>(), "a refusal has no line");
    let all: Vec<Applied> = replies.into_iter().map(Ok).chain(refusals.into_iter().map(Err)).collect();
    let line = |applied: &Applied| {
        let word = applied.as_ref().map_or_else(Refusal::code, |_| "done");
        format!("{word} {}", hex(&Reply::encode_applied(applied).unwrap()))
    };
    same(&all.iter().map(line).collect::<Vec<_>>(), RESPONSES);
    for (line, applied) in lines(RESPONSES).iter().zip(&all) {
        assert_eq!(Reply::decode_applied(&unhex(line[1])).unwrap(), *applied, "{}", line[0]);
    }
}
