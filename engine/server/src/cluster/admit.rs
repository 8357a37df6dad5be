//! How a node joins: what the new one asks, and what a member answers.
//!
//! The new node makes its key; only the public part leaves it. The token's secret is known by its hash alone to the
//! cluster. What was cut short can be repeated with the same folder: the same key gets the same number.

use super::found::{authority_of, key_hash};
use super::identity::{CERTIFICATE_LIFE, ClusterError, JoinToken, Kept};
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

/// Joins a cluster with an empty data folder; gives the node's number. Its server is started afterwards.
///
/// # Errors
/// [`ClusterError::NotEmpty`], [`ClusterError::NotAdmitted`] with what the cluster said.
pub(crate) async fn join(
    data: &Path,
    settings: &ClusterConfig,
    token: &JoinToken,
) -> Result<NodeId, ClusterError> {
    if Kept::read(data)?.is_some() {
        return Err(ClusterError::Joined);
    }
    if data.join("store").exists() {
        return Err(ClusterError::NotEmpty(data.to_owned()));
    }
    let key = key(data)?;
    let public = key.public_key()?;
    let asked = Asked {
        version: VERSION,
        secret: token.secret,
        public_key: public.0,
        address: settings.advertised(),
        label: settings.label.clone(),
    };
    let request = Bytes::from(postcard::to_allocvec(&asked).map_err(|_| ClusterError::Token)?);
    let cluster = ClusterId(token.cluster);
    let mut problem = ClusterError::NotAdmitted("the token names no address".to_owned());
    for address in &token.addresses {
        match ask_to_join(address, cluster, token.fingerprint, request.clone(), ASK_TIMEOUT).await {
            Ok(answer) => {
                let admitted: Admitted = postcard::from_bytes(&answer).map_err(|_| ClusterError::Token)?;
                let node = NodeId(admitted.node);
                let peers =
                    admitted.peers.into_iter().map(|(node, address)| (NodeId(node), address)).collect();
                let kept = Kept::new(cluster, node, &key, admitted.certificate, admitted.authority, peers);
                kept.write(data)?;
                let _ = std::fs::remove_file(data.join(KEY_FILE));
                return Ok(node);
            }
            Err(error) => problem = ClusterError::NotAdmitted(format!("{address}: {error}")),
        }
    }
    Err(problem)
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
