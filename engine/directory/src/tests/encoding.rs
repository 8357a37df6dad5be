//! Bytes on disk and in the log: versions and damage. What version 1 wrote: `fixtures.rs`.

use super::*;
use crate::Applied;

#[test]
fn commands_and_responses_round_trip() {
    let command = Command {
        actor: Actor::Account(AccountId(7)),
        origin: Origin::Client([192, 0, 2, 7].into()),
        change: Change::CreateDomain(new_domain("example.org", Standing::Plan(PlanId(1)))),
    };
    let bytes = command.encode().unwrap();
    assert_eq!(Command::decode(&bytes).unwrap(), command);
    let applied: Applied = Err(Refusal::AliasLoop { path: vec!["a".into(), "a".into()] });
    assert_eq!(Reply::decode_applied(&Reply::encode_applied(&applied).unwrap()).unwrap(), applied);
    for cut in 0..bytes.len() {
        assert!(Command::decode(&bytes[..cut]).is_err());
    }
    let mut newer = bytes;
    newer[0] = 9;
    assert!(matches!(Command::decode(&newer), Err(Error::Version { version: 9, .. })));
}

#[test]
fn damaged_rows_are_errors() {
    let mut bench = Bench::new();
    bench.domain("example.org");
    let whole = bench.rows.clone();
    for (key, value) in &whole.0 {
        for cut in 0..value.len() {
            let mut rows = whole.clone();
            rows.0.insert(key.clone(), value[..cut].to_vec());
            let audit_row = key[1] == 10;
            assert_eq!(Directory::load(&rows).is_ok(), audit_row, "{key:?} cut at {cut}");
        }
    }
    let mut rows = whole.clone();
    rows.0.retain(|key, _| key[1] != 6);
    assert!(matches!(Directory::load(&rows), Err(Error::Dangling { .. })));
    let mut rows = whole;
    rows.0.insert(vec![b'd', 0], vec![1]);
    assert!(matches!(Directory::load(&rows), Err(Error::Row { .. })));
}

#[test]
fn codes_are_words() {
    for refusal in [Refusal::UnknownPlan, Refusal::TooManyTargets, Refusal::LastOperator] {
        assert!(refusal.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
    }
    assert!(Refusal::UnknownPlan.is_unknown() && !Refusal::NoMailbox.is_unknown());
}
