//! Who is not let in, and that both sides learn why.

use crate::world::{CLUSTER, HOUR, Node, cluster, identity, soon};
use estafette_mesh::{Authority, ClusterId, Error, Lane, Settings};
use std::collections::BTreeMap;
use std::time::Duration;

/// Asks, and expects that nothing was sent, for this reason.
async fn not_sent(from: &Node, to: &Node, words: &str) {
    let error = from.ask(to, Lane::Urgent, "echo").await.unwrap_err();
    assert!(matches!(&error, Error::NotSent { why, .. } if why.contains(words)), "{error}");
    assert!(error.never_left());
}

#[tokio::test]
async fn a_node_of_another_cluster_is_not_believed() {
    let here = Authority::create(CLUSTER).unwrap();
    let there = Authority::create(ClusterId([0xd2; 16])).unwrap();
    let one = Node::start(&here, 1, Settings::default()).await;
    let two = Node::start(&there, 2, Settings::default()).await;
    one.knows(&[(&two, &two.address())]);
    two.knows(&[(&one, &one.address())]);
    let (c1, d2) = ("c1".repeat(16), "d2".repeat(16));
    not_sent(&one, &two, &format!("the certificate is of cluster {d2}, not of cluster {c1}")).await;
    not_sent(&two, &one, &format!("the certificate is of cluster {c1}, not of cluster {d2}")).await;
}

#[tokio::test]
async fn a_node_of_another_authority_is_not_believed() {
    let (here, there) = (Authority::create(CLUSTER).unwrap(), Authority::create(CLUSTER).unwrap());
    let one = Node::start(&here, 1, Settings::default()).await;
    let two = Node::start(&there, 2, Settings::default()).await;
    one.knows(&[(&two, &two.address())]);
    not_sent(&one, &two, "the certificate is by the authority of another cluster").await;
    // Nor is such an identity made, and none for another node or cluster.
    let key = estafette_mesh::NodeKey::create().unwrap();
    let der = here.certify(one.name, key.public_key().unwrap(), HOUR).unwrap();
    let made = |cluster, node, authority: &Authority| {
        estafette_mesh::Identity::new(cluster, node, der.clone(), &key, authority.certificate().to_vec())
    };
    made(CLUSTER, one.name, &here).unwrap();
    made(CLUSTER, one.name, &there).unwrap_err();
    made(CLUSTER, two.name, &here).unwrap_err();
    made(ClusterId([0; 16]), one.name, &here).unwrap_err();
}

#[tokio::test]
async fn a_node_that_was_not_dialled_is_not_asked() {
    let (_, nodes) = cluster(3, Settings::default()).await;
    let [one, two, three] = &nodes[..] else { panic!() };
    one.knows(&[(two, &three.address())]);
    not_sent(one, two, "the certificate is of node 3, not of node 2").await;
}

#[tokio::test]
async fn a_removed_node_is_refused_with_words_and_its_connections_end() {
    let (_, nodes) = cluster(3, Settings::default()).await;
    let [one, two, three] = &nodes[..] else { panic!() };
    three.ask(one, Lane::Urgent, "echo").await.unwrap();
    one.ask(three, Lane::Urgent, "echo").await.unwrap();
    one.knows(&[(two, &two.address())]);
    soon("the end of the connection", || {
        let links = &three.mesh.peers()[0].links;
        links[0].last_error.is_some()
    })
    .await;
    not_sent(three, one, "removed from the cluster").await;
    not_sent(one, three, "not among the peers").await;
    soon("the refusal", || {
        let peers = three.mesh.peers();
        let words =
            "the other side says: node 3 was removed from the cluster, or this node has not heard of it yet";
        peers[0].links[0].last_error.as_deref() == Some(words)
    })
    .await;
    // Others are not touched, and it may come back.
    one.ask(two, Lane::Urgent, "echo").await.unwrap();
    one.knows(&[(two, &two.address()), (three, &three.address())]);
    three.ask_until(one, Lane::Urgent, Result::is_ok).await;
}

#[tokio::test]
async fn a_certificate_that_ran_out_is_replaced_while_the_node_runs() {
    let (authority, nodes) = cluster(1, Settings::default()).await;
    let one = &nodes[0];
    let two = Node::start(&authority, 2, Settings::default()).await;
    let short = identity(&authority, 2, Duration::from_secs(2)).unwrap();
    let now = std::time::SystemTime::now();
    assert!(short.is_valid_at(now) && !short.is_valid_at(now + HOUR));
    two.mesh.renew(short).unwrap();
    tokio::time::sleep(Duration::from_millis(3100)).await;
    one.knows(&[(&two, &two.address())]);
    two.knows(&[(one, &one.address())]);
    not_sent(one, &two, "the certificate has run out").await;
    not_sent(&two, one, "this certificate has run out").await;
    two.mesh.renew(identity(&authority, 2, HOUR).unwrap()).unwrap();
    one.ask_until(&two, Lane::Urgent, Result::is_ok).await;
    two.ask_until(one, Lane::Urgent, Result::is_ok).await;
    assert!(two.mesh.renew(identity(&authority, 3, HOUR).unwrap()).is_err());
}

#[tokio::test]
async fn connections_stay_when_the_certificate_is_renewed() {
    let (authority, nodes) = cluster(2, Settings::default()).await;
    let [one, two] = &nodes[..] else { panic!() };
    one.ask(two, Lane::Bulk, "echo").await.unwrap();
    let call = tokio::spawn(one.mesh.call(two.name, Lane::Bulk, vec!["never".into()]));
    for node in &nodes {
        node.mesh.renew(identity(&authority, node.name.0, HOUR).unwrap()).unwrap();
    }
    one.ask(two, Lane::Bulk, "echo").await.unwrap();
    one.ask(two, Lane::Urgent, "echo").await.unwrap();
    assert!(!call.is_finished());
}

#[tokio::test]
async fn no_peers_are_known_before_they_are_named() {
    let authority = Authority::create(CLUSTER).unwrap();
    let one = Node::start(&authority, 1, Settings::default()).await;
    assert!(one.mesh.peers().is_empty());
    one.mesh.set_peers(BTreeMap::from([(one.name, one.address())]));
    assert!(one.mesh.peers().is_empty(), "a node is no peer of itself");
}
