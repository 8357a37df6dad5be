//! What is taken out of requests. The handlers themselves are tested with the real program, in `tests/clients`.

use super::Failure;
use super::caller::credentials;
use super::extract::{Confirmation, QuotaInput, local_part, present};
use super::import::{BATCH_MESSAGES_MAX, flags, import_id, parse_batch};
use axum::http::Request;
use axum::response::IntoResponse;
use bytes::Bytes;
use estafette_directory::{QuotaChoice, Refusal};
use estafette_mailbox::SystemFlags;
use serde::Deserialize;

const ID: &str = "00112233445566778899aabbccddeeff";

fn batch(text: impl Into<Bytes>) -> Result<Vec<usize>, Failure> {
    parse_batch(text.into(), 100).map(|messages| messages.iter().map(|message| message.body.len()).collect())
}

#[test]
fn batches_are_parted_by_their_sizes() {
    let text = format!(
        "{{\"id\":\"{ID}\",\"size\":3}}\na\nb{{\"id\":\"{ID}\",\"flags\":[\"\\\\Seen\"],\"date_ms\":-1,\"size\":0}}\n"
    );
    assert_eq!(batch(text).unwrap(), [3, 0]);
    assert_eq!(batch("").unwrap(), [0usize; 0]);
}

#[test]
fn bad_batches_are_refused() {
    let line = |fields: &str| format!("{{\"id\":\"{ID}\",{fields}}}\n");
    for text in [
        "\n".to_owned(),
        "{}\n".to_owned(),
        line("\"size\":4") + "abc",
        line("\"size\":-1"),
        line("\"size\":1,\"more\":1") + "a",
        line("\"size\":1").trim_end().to_owned(),
        "x".repeat(200_000),
        line("\"size\":18446744073709551615"),
        line("\"size\":0").repeat(BATCH_MESSAGES_MAX + 1),
    ] {
        assert!(batch(text.clone()).is_err(), "{}", &text[..text.len().min(100)]);
    }
    assert!(matches!(batch(line("\"size\":101") + &"x".repeat(101)), Err(Failure::TooLarge { limit: 100 })));
    assert_eq!(batch(line("\"size\":0").repeat(BATCH_MESSAGES_MAX)).unwrap().len(), BATCH_MESSAGES_MAX);
}

#[test]
fn identifiers_are_sixteen_bytes() {
    let bytes = import_id(ID).unwrap().message;
    assert_eq!((bytes[0], bytes[15]), (0, 0xff));
    for bad in [
        "",
        "00",
        &ID[1..],
        &format!("{ID}0"),
        "+0112233445566778899aabbccddeeff",
        "0011223344556677889xaabbccddeeff",
    ] {
        assert!(import_id(bad).is_err(), "{bad}");
    }
}

#[test]
fn flags_are_told_from_keywords() {
    let flags = |text: &str| flags(text.split_whitespace());
    let found = flags("\\seen \\Recent work Work $Label1 \\Draft").unwrap();
    assert_eq!(found.system, SystemFlags::SEEN.with(SystemFlags::DRAFT));
    assert_eq!(
        found.keywords.iter().map(|keyword| keyword.as_str()).collect::<Vec<_>>(),
        ["work", "$Label1"]
    );
    assert!(flags("\\Unknown").is_err() && flags("a(b").is_err() && flags("ü").is_err());
}

#[test]
fn credentials_of_the_header() {
    let of = |value: &[u8]| {
        let request = Request::builder().header("authorization", value).body(()).unwrap();
        credentials(&request.into_parts().0).ok()
    };
    let pair = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
    assert_eq!(of(b"Basic YTpiOmM="), pair("a", "b:c"));
    assert_eq!(of(b"basic  w6Q6w7w="), pair("ä", "ü"));
    for bad in [
        "Basic",
        "Basic YQ==",
        "Bearer YTpi",
        "Basic !!!",
        "Basic //79",
        &format!("Basic {}", "YTpi".repeat(1000)),
    ] {
        assert_eq!(of(bad.as_bytes()), None, "{bad}");
    }
    assert_eq!(of(b"Basic \xff"), None);
    assert!(credentials(&Request::new(()).into_parts().0).is_err());
}

#[test]
fn values_have_their_forms() {
    let quota = |text: &str| serde_json::from_str::<QuotaInput>(text).map(QuotaChoice::from).ok();
    assert_eq!(quota("5"), Some(QuotaChoice::Bytes(5)));
    assert_eq!(quota("\"unlimited\""), Some(QuotaChoice::Unlimited));
    assert_eq!(quota("\"default\""), Some(QuotaChoice::Default));
    assert!(quota("-1").is_none() && quota("\"5G\"").is_none() && quota("null").is_none());
    assert_eq!(local_part("x", "a.b").unwrap(), local_part("x", "a.b@example.org").unwrap());
    assert!(
        local_part("x", "a\0b").is_err() && local_part("x", "@").is_err() && local_part("x", "").is_err()
    );
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Field {
    #[serde(deserialize_with = "present")]
    value: Option<Option<u8>>,
}

#[test]
fn null_is_told_from_nothing() {
    let read = |text: &str| serde_json::from_str::<Field>(text).unwrap().value;
    assert_eq!(
        (read("{}"), read("{\"value\":null}"), read("{\"value\":1}")),
        (None, Some(None), Some(Some(1)))
    );
}

#[test]
fn deletions_need_the_name() {
    let confirmation =
        |text: &str| serde_json::from_str::<Confirmation>(text).unwrap().check("ex0001").is_ok();
    assert!(confirmation("{\"confirm\":\"EX0001\"}"));
    assert!(!confirmation("{}") && !confirmation("{\"confirm\":\"ex0002\"}"));
}

#[test]
fn failures_have_their_status() {
    for (failure, status) in [
        (Failure::from(Refusal::NotAllowed), 403),
        (Failure::from(Refusal::UnknownAlias), 404),
        (Failure::from(Refusal::LastOperator), 409),
        (Failure::from(Refusal::NoDestinations), 422),
        (Failure::from(estafette_mailbox::Refusal::OverQuota), 422),
        (Failure::from(estafette_delivery::Error::NoShard(estafette_types::ShardId(1))), 503),
        (Failure::from(estafette_delivery::Error::Raft(estafette_raft::Error::Full)), 503),
        (Failure::from(estafette_mailbox::Error::Version(9)), 500),
        (Failure::TooManyFailures, 429),
    ] {
        let words = failure.to_string();
        assert_eq!(failure.into_response().status().as_u16(), status, "{words}");
    }
    let challenge = Failure::LoginNeeded.into_response();
    assert!(challenge.headers().contains_key("www-authenticate"));
}
