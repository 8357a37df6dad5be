//! How a node joins: what the new one asks, and what a member answers.
//!
//! The new node makes its key; only the public part leaves it. The token's secret is known by its hash alone to the
//! cluster. What was cut short can be repeated with the same folder: the same key gets the same number.

use super::found::{authority_of, key_hash};
use super::identity::{CERTIFICATE_LIFE, ClusterError, JoinToken, Kept, was_removed};
use crate::config::ClusterConfig;
use crate::engine::{Engine, EngineError};
use bytes::Bytes;
use estafette_directory::{Actor, Change, Origin, Reply};
use estafette_mesh::{ClusterId, NodeKey, NodeName, PublicKey, ask_to_join};
use estafette_raft::NodeId;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const VERSION: u8 = 1;
/// How long one member may take to answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);
/// The file of the key of a node that is joining.
const KEY_FILE: &str = "joining.key";

#[derive(Serialize, Deserialize)]
struct Asked {
    version: u8,
    secret: [u8; 32],
    public_key: [u8; 32],
    address: String,
    label: String,
}

#[derive(Serialize, Deserialize)]
struct Admitted {
    version: u8,
    node: u64,
    certificate: Vec<u8>,
    authority: Vec<u8>,
    peers: Vec<(u64, String)>,
}

/// Lets a node in, or says why not.
pub(super) async fn admit(engine: &Arc<Engine>, from: SocketAddr, request: Bytes) -> Result<Bytes, String> {
    let asked: Asked = postcard::from_bytes(&request)
        .ok()
        .filter(|asked: &Asked| asked.version == VERSION)
        .ok_or("the request to join is of another version of the program")?;
    let admitted = match admit_known(engine, from, asked).await {
        Ok(admitted) => admitted,
        Err(EngineError::Refused(refusal)) => return Err(refusal.to_string()),
        Err(error) => {
            tracing::warn!(%from, %error, "a node could not be let in");
            return Err(format!("the cluster cannot take a node in now: {error}"));
        }
    };
    postcard::to_allocvec(&admitted).map(Bytes::from).map_err(|error| error.to_string())
}

async fn admit_known(engine: &Arc<Engine>, from: SocketAddr, asked: Asked) -> Result<Admitted, EngineError> {
    let (_, authority) = authority_of(engine)?;
    let change = Change::AdmitNode {
        secret_hash: JoinToken::secret_hash(&asked.secret),
        key_hash: key_hash(&asked.public_key),
        address: asked.address,
        label: asked.label,
    };
    let reply = engine.change(Actor::System, Origin::Client(from.ip()), change).await?;
    let Reply::Node(node) = reply else {
        return Err(ClusterError::NotAdmitted("the directory gave another answer".to_owned()).into());
    };
    let certificate = authority
        .certify(NodeName(node.0), PublicKey(asked.public_key), CERTIFICATE_LIFE)
        .map_err(ClusterError::from)?;
    let peers = engine.directory.read().nodes().map(|node| (node.id.0, node.address.clone())).collect();
    engine.cluster.follow_directory(&engine.directory);
    tracing::info!(%node, %from, "a node joins");
    Ok(Admitted {
        version: VERSION,
        node: node.0,
        certificate,
        authority: authority.certificate().to_vec(),
        peers,
    })
}

/// How a node has joined.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) node: NodeId,
    /// It had before, and its server was not started yet.
    pub(crate) already: bool,
}

/// Joins a cluster with an empty data folder. The node's server is started afterwards.
///
/// # Errors
/// [`ClusterError::NotEmpty`], [`ClusterError::NotAdmitted`] with what the cluster said.
pub(crate) async fn join(
    data: &Path,
    settings: &ClusterConfig,
    token: &JoinToken,
) -> Result<Joined, ClusterError> {
    let (cluster, has_store) = (ClusterId(token.cluster), data.join("store").exists());
    if was_removed(data) {
        return Err(ClusterError::Removed(data.to_owned()));
    }
    match Kept::read(data)? {
        Some(kept) if kept.cluster() == Some(cluster) && !has_store => {
            let _ = std::fs::remove_file(data.join(KEY_FILE));
            return Ok(Joined { node: kept.node, already: true });
        }
        Some(_) => return Err(ClusterError::Joined),
        None if has_store => return Err(ClusterError::NotEmpty(data.to_owned())),
        None => {}
    }
    let address = settings.advertised().map_err(ClusterError::Advertised)?;
    let key = key(data)?;
    let public = key.public_key()?;
    let asked = Asked {
        version: VERSION,
        secret: token.secret,
        public_key: public.0,
        address,
        label: settings.label.clone(),
    };
    let request = Bytes::from(postcard::to_allocvec(&asked).map_err(|_| ClusterError::Token)?);
    let admitted = ask(token, request).await?;
    let node = NodeId(admitted.node);
    let peers = admitted.peers.into_iter().map(|(node, address)| (NodeId(node), address)).collect();
    let kept = Kept::new(cluster, node, &key, admitted.certificate, admitted.authority, peers);
    kept.write(data)?;
    let _ = std::fs::remove_file(data.join(KEY_FILE));
    Ok(Joined { node, already: false })
}

/// Asks the members that the token names, one after the other, until one lets the node in. What one of them said is told rather
/// than that another could not be reached.
async fn ask(token: &JoinToken, request: Bytes) -> Result<Admitted, ClusterError> {
    let (mut refused, mut unreached) = (None, None);
    for address in &token.addresses {
        let asked =
            ask_to_join(address, ClusterId(token.cluster), token.fingerprint, request.clone(), ASK_TIMEOUT);
        let error = match asked.await {
            Ok(answer) => return postcard::from_bytes(&answer).map_err(|_| ClusterError::Token),
            Err(error) => error,
        };
        let of_whom = matches!(error, estafette_mesh::Error::Refused { .. });
        let told = if of_whom { &mut refused } else { &mut unreached };
        *told = Some(format!("{address}: {error}"));
    }
    let problem = refused.or(unreached).unwrap_or_else(|| "the token names no address".to_owned());
    Err(ClusterError::NotAdmitted(problem))
}

/// The key of a join that was cut short, or a new one.
fn key(data: &Path) -> Result<NodeKey, ClusterError> {
    use std::io::Write;
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let path = data.join(KEY_FILE);
    let failed = |source| ClusterError::File { path: path.clone(), source };
    if let Ok(bytes) = std::fs::read(&path)
        && let Ok(key) = NodeKey::from_pkcs8(&bytes)
    {
        return Ok(key);
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed)?;
    let key = NodeKey::create()?;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path).map_err(failed)?;
    file.write_all(key.pkcs8()).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::identity::mark_removed;
    use estafette_mesh::Authority;

    #[tokio::test]
    async fn a_node_that_has_joined_is_told_so_until_it_was_started() {
        let (folder, id) = (tempfile::tempdir().unwrap(), ClusterId([7; 16]));
        let (authority, key) = (Authority::create(id).unwrap(), NodeKey::create().unwrap());
        let certificate =
            authority.certify(NodeName(3), key.public_key().unwrap(), CERTIFICATE_LIFE).unwrap();
        let authority = authority.certificate().to_vec();
        Kept::new(id, NodeId(3), &key, certificate, authority, Vec::new()).write(folder.path()).unwrap();
        let join = async |cluster| {
            let token = JoinToken { cluster, fingerprint: [0; 32], secret: [0; 32], addresses: Vec::new() };
            super::join(folder.path(), &ClusterConfig::default(), &token).await
        };
        assert_eq!(join(id.0).await.unwrap(), Joined { node: NodeId(3), already: true });
        assert!(matches!(join([8; 16]).await, Err(ClusterError::Joined)));
        mark_removed(folder.path()).unwrap();
        assert!(matches!(join(id.0).await, Err(ClusterError::Removed(_))));
        std::fs::remove_file(folder.path().join("cluster/removed")).unwrap();
        std::fs::create_dir(folder.path().join("store")).unwrap();
        assert!(matches!(join(id.0).await, Err(ClusterError::Joined)));
    }

    /// The first address does not answer; the last that could not be reached is told.
    #[tokio::test]
    async fn who_joins_asks_all_members() {
        let authority = Authority::create(ClusterId([7; 16])).unwrap();
        let nobody = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let addresses = vec![nobody(), nobody()];
        let token = JoinToken {
            cluster: [7; 16],
            fingerprint: authority.fingerprint(),
            secret: [0; 32],
            addresses: addresses.clone(),
        };
        let error = ask(&token, Bytes::new()).await.err().unwrap().to_string();
        assert!(error.contains(&addresses[1]), "{error}");
    }
}
