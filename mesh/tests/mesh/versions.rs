//! Nodes of neighbouring versions work together, as while a cluster is brought from one to the next.

use crate::world::{CLUSTER, Node, soon};
use estafette_mesh::hello::Versions;
use estafette_mesh::{Authority, Lane, NodeName, Settings};
use std::collections::BTreeMap;

async fn speaking(authority: &Authority, node: u64, lowest: u16, highest: u16) -> Node {
    let versions = Versions { lowest, highest };
    Node::start(authority, node, Settings { versions, ..Settings::default() }).await
}

/// What two nodes agreed upon, as the one that dials tells.
fn agreed(from: &Node, to: &Node) -> Option<u16> {
    let peers = from.mesh.peers();
    let peer = peers.iter().find(|peer| peer.node == to.name)?;
    peer.links.iter().find(|link| link.lane == Lane::Urgent)?.version
}

#[tokio::test]
async fn neighbours_speak_the_highest_version_that_both_know() {
    let authority = Authority::create(CLUSTER).unwrap();
    let nodes = [
        speaking(&authority, 1, 1, 1).await,
        speaking(&authority, 2, 1, 2).await,
        speaking(&authority, 3, 2, 3).await,
    ];
    let peers: BTreeMap<NodeName, String> = nodes.iter().map(|n| (n.name, n.address())).collect();
    nodes.iter().for_each(|node| node.mesh.set_peers(peers.clone()));
    let [one, two, three] = &nodes;
    for (from, to, version) in [(one, two, 1), (two, one, 1), (two, three, 2), (three, two, 2)] {
        assert_eq!(from.ask(to, Lane::Urgent, "who..").await.unwrap(), format!("{} on Urgent", from.name));
        assert_eq!(agreed(from, to), Some(version));
        let (answer, stream) = from.stream(to, "echo").await.unwrap();
        assert_eq!(answer, format!("hello {}", from.name));
        drop(stream);
    }
    // Two versions apart: both say why, and neither stops talking to the one between.
    for (from, to) in [(one, three), (three, one)] {
        let error = from.ask(to, Lane::Urgent, "echo").await.unwrap_err();
        assert!(error.to_string().contains("the other side speaks versions"), "{error}");
        assert_eq!(agreed(from, to), None);
    }
    one.ask(two, Lane::Bulk, "echo").await.unwrap();
    three.ask(two, Lane::Bulk, "echo").await.unwrap();
}

#[tokio::test]
async fn a_node_that_was_brought_to_the_next_version_agrees_anew() {
    let authority = Authority::create(CLUSTER).unwrap();
    let one = speaking(&authority, 1, 1, 2).await;
    let old = speaking(&authority, 2, 1, 1).await;
    let address = old.address();
    one.knows(&[(&old, &address)]);
    old.knows(&[(&one, &one.address())]);
    one.ask(&old, Lane::Urgent, "echo").await.unwrap();
    assert_eq!(agreed(&one, &old), Some(1));
    drop(old);
    soon("the end of the connection", || one.mesh.peers()[0].links[0].last_error.is_some()).await;
    let versions = Versions { lowest: 1, highest: 2 };
    let new = Node::at(&authority, 2, Settings { versions, ..Settings::default() }, &address).await;
    new.knows(&[(&one, &one.address())]);
    one.ask_until(&new, Lane::Urgent, Result::is_ok).await;
    assert_eq!(agreed(&one, &new), Some(2));
}
