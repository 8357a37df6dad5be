//! The way in of one who has no certificate.

use crate::world::{CLUSTER, cluster};
use bytes::Bytes;
use estafette_mesh::{Class, ClusterId, Error, Settings, ask_to_join};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn who_knows_the_fingerprint_and_the_secret_is_let_in() {
    let (authority, nodes) = cluster(2, Settings::default()).await;
    for node in &nodes {
        let ask = |request: &'static str| {
            let address = node.address();
            let fingerprint = authority.fingerprint();
            async move { ask_to_join(&address, CLUSTER, fingerprint, request.into(), SOON).await }
        };
        assert_eq!(ask("secret").await.unwrap(), "welcome");
        let error = ask("guess").await.unwrap_err();
        assert_eq!(error.class(), Class::Caller);
        assert!(
            matches!(&error, Error::Refused { why, .. } if &**why == "the other side says: the token is not known"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_of_another_authority_or_cluster_never_reads_the_secret() {
    let (authority, nodes) = cluster(1, Settings::default()).await;
    let address = nodes[0].address();
    let mut other = authority.fingerprint();
    other[31] ^= 1;
    for (cluster, fingerprint) in [(CLUSTER, other), (ClusterId([0; 16]), authority.fingerprint())] {
        let error = ask_to_join(&address, cluster, fingerprint, "secret".into(), SOON).await.unwrap_err();
        assert!(matches!(&error, Error::Unreached { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_request_to_join_is_bounded() {
    let (authority, nodes) = cluster(1, Settings::default()).await;
    let large = Bytes::from(vec![0; 64 * 1024 + 1]);
    let asked = ask_to_join(&nodes[0].address(), CLUSTER, authority.fingerprint(), large, SOON).await;
    let error = asked.unwrap_err();
    assert!(error.to_string().contains("larger than the limit of 65536"), "{error}");
}

#[tokio::test]
async fn requests_to_join_are_few_at_once_and_end_in_time() {
    let settings = Settings { joins_max: 2, join_timeout_ms: 400, ..Settings::default() };
    let (authority, nodes) = cluster(1, settings).await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let (address, fingerprint) = (nodes[0].address(), authority.fingerprint());
        asked.spawn(async move { ask_to_join(&address, CLUSTER, fingerprint, "slow".into(), SOON).await });
    }
    let mut said = Vec::new();
    while let Some(done) = asked.join_next().await {
        let Err(Error::Refused { why, .. }) = done.unwrap() else { panic!() };
        said.push(why.trim_start_matches("the other side says: ").to_owned());
    }
    let (many, slow) =
        ("too many ask to join at the moment; try again", "it took too long to let the node in");
    assert_eq!(said, [many, many, many, slow, slow]);
    let address = nodes[0].address();
    let asked = ask_to_join(&address, CLUSTER, authority.fingerprint(), "secret".into(), SOON).await;
    assert_eq!(asked.unwrap(), "welcome");
}

#[tokio::test]
async fn nobody_at_the_address_is_told() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let error = ask_to_join(&free, CLUSTER, [0; 32], Bytes::new(), SOON).await.unwrap_err();
    assert!(matches!(&error, Error::Unreached { address, .. } if *address == free), "{error}");
    // One who accepts and says nothing is not waited for.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let short = Duration::from_millis(200);
    let error = ask_to_join(&address, CLUSTER, [0; 32], Bytes::new(), short).await.unwrap_err();
    assert!(error.to_string().contains("no answer within 200 ms"), "{error}");
}
