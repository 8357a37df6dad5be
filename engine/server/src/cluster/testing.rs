//! Nodes for tests that know each other without a directory that says so.

use super::{Cluster, Kept, Link};
use crate::config::{ClusterConfig, Endpoint};
use estafette_mesh::{Authority, Lane, NodeKey, NodeName};
use estafette_raft::{Node as RaftNode, NodeId};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A node of the cluster of this authority, that listens on any port.
pub(crate) async fn member(
    data: &Path,
    raft: &Arc<RaftNode>,
    authority: &Authority,
    node: NodeId,
) -> Arc<Cluster> {
    let key = NodeKey::create().unwrap();
    let public = key.public_key().unwrap();
    let certificate = authority.certify(NodeName(node.0), public, Duration::from_secs(3600)).unwrap();
    let id = authority.cluster();
    let kept = Kept::new(id, node, &key, certificate, authority.certificate().to_vec(), Vec::new());
    let listen = Endpoint { address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), port: 0 };
    let settings = ClusterConfig { listen, ..ClusterConfig::default() };
    let link = Arc::new(Link::default());
    let cluster = Cluster::new(data.to_owned(), settings, Arc::clone(raft), link, Some(kept));
    cluster.connect().await.unwrap();
    Arc::new(cluster)
}

/// Tells all of all, and waits until they reach each other.
pub(crate) async fn acquaint(all: &[&Arc<Cluster>]) {
    let peers: Vec<(NodeId, String)> =
        all.iter().map(|one| (one.id(), one.mesh().unwrap().address().to_string())).collect();
    all.iter().for_each(|one| one.set_peers(peers.iter().cloned()));
    for (one, (other, _)) in all.iter().flat_map(|one| peers.iter().map(move |peer| (one, peer))) {
        while !one.reaches(*other) {
            let _ = one.mesh().unwrap().call(NodeName(other.0), Lane::Urgent, Vec::new()).await;
        }
    }
}
