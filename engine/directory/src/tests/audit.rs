//! The audit.

use super::*;
use crate::audit::{AuditEntry, AuditField, AuditQuery, audit};
use crate::command::AccountChange;
use crate::model::Settings;

fn page(bench: &Bench, query: AuditQuery) -> Vec<AuditEntry> {
    audit(&bench.rows, &query).unwrap()
}

#[test]
fn who_what_when_from_where() {
    let mut bench = Bench::new();
    let (domain, admin) = bench.domain("example.org");
    bench.domain("example.net");
    let change = AccountChange { real_name: Some("A B".into()), disabled: Some(false), ..Default::default() };
    let command = Command {
        actor: Actor::Account(admin),
        origin: Origin::Client([192, 0, 2, 7].into()),
        change: Change::ChangeAccount { account: admin, change },
    };
    let at = At { time_ms: 5_000, ..At::default() };
    bench.directory.apply(&at, &command, &mut bench.rows).unwrap().unwrap();
    bench.now_ms = 6_000;
    // What is refused is no change.
    bench.ask(Change::DeleteAccount { account: admin }).unwrap_err();

    let all = page(&bench, AuditQuery { limit: 100, ..Default::default() });
    let actions: Vec<&str> = all.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(
        actions,
        ["account.change", "domain.create", "domain.create", "plan.create", "cluster.shards"]
    );
    let last = &all[0];
    assert_eq!((last.time_ms, last.actor.as_str(), last.actor_account), (5_000, "example0001", Some(admin)));
    assert_eq!((last.origin, last.object.as_str()), (command.origin, "example0001"));
    let field = |name: &str, before: &str, after: &str| AuditField {
        name: name.into(),
        before: Some(before.into()),
        after: Some(after.into()),
    };
    assert_eq!(last.fields, [field("real-name", "", "A B")]);
    assert_eq!(all[1].actor, "console");

    let mine = page(&bench, AuditQuery { limit: 100, domain: Some(domain), ..Default::default() });
    assert_eq!(mine.len(), 2);
    let first = page(&bench, AuditQuery { limit: 2, ..Default::default() });
    let before = first.last().map(|entry| (entry.time_ms, entry.sequence));
    let rest = page(&bench, AuditQuery { limit: 100, before, ..Default::default() });
    assert_eq!([first, rest].concat(), all);
    assert_eq!(page(&bench, AuditQuery { limit: 100, from_ms: 5_000, ..Default::default() }).len(), 1);
    assert!(page(&bench, AuditQuery::default()).is_empty());
}

#[test]
fn entries_expire_by_the_time_of_the_log() {
    const DAY_MS: u64 = 86_400_000;
    let mut bench = Bench::new();
    let plan = |name: &str| {
        Change::CreatePlan(PlanFields {
            name: name.into(),
            storage_bytes: None,
            mailboxes: None,
            subdomains: None,
            aliases: None,
        })
    };
    bench.now_ms = 100 * DAY_MS;
    bench.done(plan("a"));
    let count = |bench: &Bench| page(bench, AuditQuery { limit: 100, ..Default::default() }).len();
    assert_eq!(count(&bench), 3);
    bench.now_ms = 401 * DAY_MS;
    bench.done(plan("b"));
    assert_eq!(count(&bench), 2, "the first two were over 400 days old");
    bench.done(Change::SetSettings(Settings { audit_days: 30, ..Settings::default() }));
    assert_eq!(count(&bench), 2, "the new setting acts at once");
    assert_eq!(bench.reloaded(), bench.directory);
}
