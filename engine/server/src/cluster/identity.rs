//! Who a node is: the files in `cluster/` of its data folder, and the token by which another one joins.
//!
//! The folder belongs to one node of one cluster for ever. The key never leaves it.

use crate::config::Endpoint;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use estafette_mesh::{Authority, ClusterId, Identity, NodeKey, NodeName};
use estafette_raft::NodeId;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder in the data folder.
const FOLDER: &str = "cluster";
/// Who the node is.
const FILE: &str = "identity.json";
/// Says that the node ended because it was removed from the cluster.
const REMOVED_FILE: &str = "removed";
/// The form of the file.
const VERSION: u8 = 1;
/// What a token begins with.
const TOKEN_PREFIX: &str = "estafette-join-1.";
/// How long a node's certificate is good.
pub(super) const CERTIFICATE_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// It is made anew when no more of that is left.
pub(super) const CERTIFICATE_LEFT_MIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// What goes wrong with a node's part in a cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// A file.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file does not say who the node is.
    #[error("{path} does not say who this node is: {reason}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Certificates and connections.
    #[error(transparent)]
    Mesh(#[from] estafette_mesh::Error),
    /// The port of the mesh.
    #[error("cannot listen on {} for other nodes: {source}", String::from(*address))]
    Listen {
        /// Where.
        address: Endpoint,
        /// Why.
        source: std::io::Error,
    },
    /// The node is a member already.
    #[error("this node belongs to a cluster already")]
    Joined,
    /// There are no other nodes.
    #[error("this node belongs to no cluster")]
    Alone,
    /// The program ends.
    #[error("what was begun with another node was cut off")]
    Cut,
    /// The folder is in use.
    #[error("{} holds a node already; a node joins with an empty folder", .0.display())]
    NotEmpty(PathBuf),
    /// Not a token, or one of a newer version.
    #[error("this is no join token that this version can read")]
    Token,
    /// It is no node any more.
    #[error("the node in {} was removed from its cluster: it can join with an empty folder", .0.display())]
    Removed(PathBuf),
    /// Nobody can be told to connect there.
    #[error(
        "other nodes cannot connect to {0}: set `cluster.advertise` to the host and port at which they reach this node"
    )]
    Advertised(String),
    /// Nobody took the node in.
    #[error("the cluster did not take this node in: {0}")]
    NotAdmitted(String),
    /// No source of randomness.
    #[error("the system gives no random bytes")]
    Random,
}

/// What the file says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    version: u8,
    /// 32 digits, hexadecimal.
    cluster: String,
    /// This node.
    pub(crate) node: NodeId,
    #[serde(with = "base")]
    key: Vec<u8>,
    #[serde(with = "base")]
    certificate: Vec<u8>,
    #[serde(with = "base")]
    authority: Vec<u8>,
    /// When the certificate was made, seconds since 1970.
    certified_s: u64,
    /// Where the other nodes were when it joined.
    pub(super) peers: Vec<(NodeId, String)>,
}

/// Bytes as text.
mod base {
    use super::{URL_SAFE_NO_PAD, *};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        URL_SAFE_NO_PAD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn now_s() -> u64 {
    crate::engine::now_ms() / 1000
}

impl Kept {
    pub(super) fn new(
        cluster: ClusterId,
        node: NodeId,
        key: &NodeKey,
        certificate: Vec<u8>,
        authority: Vec<u8>,
        peers: Vec<(NodeId, String)>,
    ) -> Kept {
        Kept {
            version: VERSION,
            cluster: cluster.to_string(),
            node,
            key: key.pkcs8().to_vec(),
            certificate,
            authority,
            certified_s: now_s(),
            peers,
        }
    }

    fn path(data: &Path) -> PathBuf {
        data.join(FOLDER).join(FILE)
    }

    /// Reads it; `None` if the node belongs to no cluster.
    pub(crate) fn read(data: &Path) -> Result<Option<Kept>, ClusterError> {
        let path = Kept::path(data);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|source| ClusterError::File { path: path.clone(), source })?,
        };
        let kept: Kept = serde_json::from_slice(&text)
            .map_err(|error| ClusterError::Unreadable { path: path.clone(), reason: error.to_string() })?;
        if kept.version != VERSION {
            let reason = format!("version {} is newer than this program", kept.version);
            return Err(ClusterError::Unreadable { path, reason });
        }
        Ok(Some(kept))
    }

    /// Writes it so that it is there whole or not at all, readable by the owner alone.
    pub(super) fn write(&self, data: &Path) -> Result<(), ClusterError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| ClusterError::File { path: Kept::path(data), source: error.into() })?;
        write(data, FILE, &text)
    }

    pub(super) fn cluster(&self) -> Option<ClusterId> {
        ClusterId::parse(&self.cluster)
    }

    pub(super) fn key(&self) -> Result<NodeKey, ClusterError> {
        Ok(NodeKey::from_pkcs8(&self.key)?)
    }

    /// As the mesh takes it.
    pub(super) fn identity(&self) -> Result<Identity, ClusterError> {
        let cluster = self.cluster().ok_or(ClusterError::Token)?;
        let node = NodeName(self.node.0);
        Ok(Identity::new(cluster, node, self.certificate.clone(), &self.key()?, self.authority.clone())?)
    }

    /// True when the certificate is to be made anew.
    pub(super) fn is_to_be_renewed(&self) -> bool {
        let age = now_s().saturating_sub(self.certified_s);
        age + CERTIFICATE_LEFT_MIN.as_secs() >= CERTIFICATE_LIFE.as_secs()
    }

    /// The same with a new certificate.
    pub(super) fn renewed(&self, authority: &Authority) -> Result<Kept, ClusterError> {
        let public = self.key()?.public_key()?;
        let certificate = authority.certify(NodeName(self.node.0), public, CERTIFICATE_LIFE)?;
        Ok(Kept { certificate, certified_s: now_s(), ..self.clone() })
    }
}

/// Writes a file of the folder so that it is there whole or not at all, readable by the owner alone.
fn write(data: &Path, name: &str, text: &[u8]) -> Result<(), ClusterError> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let folder = data.join(FOLDER);
    let path = folder.join(name);
    let written = || -> std::io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let part = path.with_extension("part");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&part, &path)?;
        std::fs::File::open(&folder)?.sync_all()
    };
    written().map_err(|source| ClusterError::File { path: path.clone(), source })
}

/// Leaves a mark that the node was removed: once it has ended, nobody can ask it whether it was.
pub(super) fn mark_removed(data: &Path) -> Result<(), ClusterError> {
    write(data, REMOVED_FILE, b"This node was removed from its cluster; its data folder can be removed.\n")
}

/// True if the node of this folder ended because it was removed from its cluster.
pub(crate) fn was_removed(data: &Path) -> bool {
    data.join(FOLDER).join(REMOVED_FILE).exists()
}

/// What lets one node join: which cluster, whom to believe, where to ask, and a secret that works once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinToken {
    pub(super) cluster: [u8; 16],
    pub(super) fingerprint: [u8; 32],
    pub(super) secret: [u8; 32],
    pub(super) addresses: Vec<String>,
}

impl JoinToken {
    pub(super) fn secret_hash(secret: &[u8; 32]) -> [u8; 32] {
        blake3::hash(secret).into()
    }

    /// As people carry it.
    pub(crate) fn text(&self) -> String {
        format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(postcard::to_allocvec(self).unwrap_or_default()))
    }

    /// Reads it.
    pub(crate) fn parse(text: &str) -> Result<JoinToken, ClusterError> {
        let coded = text.trim().strip_prefix(TOKEN_PREFIX).ok_or(ClusterError::Token)?;
        let bytes = URL_SAFE_NO_PAD.decode(coded).map_err(|_| ClusterError::Token)?;
        postcard::from_bytes(&bytes).map_err(|_| ClusterError::Token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_damaged_ones_are_refused() {
        let token = JoinToken {
            cluster: [1; 16],
            fingerprint: [2; 32],
            secret: [3; 32],
            addresses: vec!["192.0.2.1:7400".to_owned()],
        };
        assert_eq!(JoinToken::parse(&format!(" {}\n", token.text())).unwrap(), token);
        for bad in ["", "hello", "estafette-join-1.", "estafette-join-2.AAAA", &token.text()[..60]] {
            assert!(matches!(JoinToken::parse(bad), Err(ClusterError::Token)), "{bad}");
        }
    }

    #[test]
    fn an_identity_comes_back_and_only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        assert!(Kept::read(folder.path()).unwrap().is_none());
        let cluster = ClusterId([7; 16]);
        let (authority, key) = (Authority::create(cluster).unwrap(), NodeKey::create().unwrap());
        let public = key.public_key().unwrap();
        let certificate = authority.certify(NodeName(3), public, CERTIFICATE_LIFE).unwrap();
        let kept =
            Kept::new(cluster, NodeId(3), &key, certificate, authority.certificate().to_vec(), Vec::new());
        kept.write(folder.path()).unwrap();
        let read = Kept::read(folder.path()).unwrap().unwrap();
        assert_eq!((read.node, read.cluster()), (NodeId(3), Some(cluster)));
        read.identity().unwrap();
        assert!(!read.is_to_be_renewed());
        let mode = Kept::path(folder.path()).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_node_is_marked_as_removed_once_it_is() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!was_removed(folder.path()));
        mark_removed(folder.path()).unwrap();
        mark_removed(folder.path()).unwrap();
        assert!(was_removed(folder.path()) && Kept::read(folder.path()).unwrap().is_none());
    }
}
