//! Bytes on disk and in the log: versions, damage, and a fixture that must stay readable for ever.

use super::*;
use crate::Applied;
use crate::model::{Account, Services};
use crate::rows::Record;
use estafette_types::Username;

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

/// As the first version wrote it. When this fails, old stores cannot be read: add a version.
#[test]
fn the_first_version_of_an_account_is_readable() {
    let account = Account {
        id: AccountId(258),
        username: Username::parse("example0001").unwrap(),
        domain: Some(DomainId(3)),
        addresses: vec![crate::AccountAddress { local: local("Jan"), enabled: true }],
        real_name: "J".into(),
        quota_bytes: Some(300),
        password_hash: Some(crate::password::PasswordHash::new("$x")),
        role: Role::DomainAdministrator,
        services: Services::default(),
        disabled: false,
        locked: true,
        shard: Some(ShardId(2)),
        redirection: Some(Box::new(Redirection { to: vec![to("x@example.net")], keep_copy: true })),
        group: None,
        created_ms: 5,
        password_ms: 6,
    };
    let mut value =
        b"\x01\x82\x02\x0bexample0001\x01\x03\x01\x03Jan\x01\x01J\x01\xac\x02\x01\x02$x\x01".to_vec();
    value.extend_from_slice(
        b"\x01\x01\x00\x01\x01\x01\x00\x01\x01\x02\x01\x01\x01\x01x\x0bexample.net\x01\x00\x05\x06",
    );
    let key = b"d\x08\0\0\0\0\0\0\x01\x02".to_vec();
    assert_eq!(Record::Account(account.clone()).row().unwrap(), (key.clone(), value.clone()));
    assert_eq!(Record::read(&key, &value).unwrap(), Some(Record::Account(account)));
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
