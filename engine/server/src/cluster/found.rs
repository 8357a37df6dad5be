//! How a cluster begins, and how a node keeps its certificate good.

use super::identity::{CERTIFICATE_LIFE, ClusterError, JoinToken, Kept};
use super::{Cluster, SOLE_NODE};
use crate::engine::{Engine, EngineError};
use estafette_directory::{Actor, AuthorityKey, Change, NewCluster, NodeChange, Origin};
use estafette_mesh::{Authority, ClusterId, NodeKey, NodeName};
use estafette_raft::NodeId;
use std::sync::Arc;
use std::time::Duration;

/// How long a join token is good when nothing else is said.
pub(crate) const TOKEN_VALID_MS: u64 = 24 * 3600 * 1000;

/// The hash of a public key, as the directory keeps it.
pub(super) fn key_hash(key: &[u8]) -> [u8; 32] {
    blake3::hash(key).into()
}

fn authority(engine: &Engine) -> Option<(ClusterId, Result<Authority, estafette_mesh::Error>)> {
    let directory = engine.directory.read();
    let cluster = directory.cluster()?;
    let id = ClusterId(cluster.id);
    let certificate = cluster.authority_certificate.clone();
    Some((id, Authority::from_parts(id, certificate, cluster.authority_key.as_bytes())))
}

/// The authority of the cluster of this node.
pub(super) fn authority_of(engine: &Engine) -> Result<(ClusterId, Authority), ClusterError> {
    let (id, made) = authority(engine).ok_or(ClusterError::NotAdmitted("there is no cluster".to_owned()))?;
    Ok((id, made?))
}

/// True if no other node has come since this one founded its cluster.
fn is_founder_alone(own: NodeId, mut nodes: impl Iterator<Item = NodeId>) -> bool {
    own == SOLE_NODE && nodes.next() == Some(SOLE_NODE) && nodes.next().is_none()
}

impl Cluster {
    /// Makes a cluster of this node. Called again after it was cut short, it goes on where it was.
    pub(crate) async fn found(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        actor: Actor,
        origin: Origin,
    ) -> Result<(), EngineError> {
        if self.is_joined() {
            return self.found_again(engine, actor, origin).await;
        }
        let address = self.settings.advertised().map_err(ClusterError::Advertised)?;
        let (id, authority) = match authority(engine) {
            Some((id, authority)) => (id, authority.map_err(ClusterError::from)?),
            None => {
                let id = ClusterId::random().map_err(ClusterError::from)?;
                (id, Authority::create(id).map_err(ClusterError::from)?)
            }
        };
        let key = NodeKey::create().map_err(ClusterError::from)?;
        let public = key.public_key().map_err(ClusterError::from)?;
        let founded = NewCluster {
            id: id.0,
            authority_certificate: authority.certificate().to_vec(),
            authority_key: AuthorityKey::new(authority.key().to_vec()),
            node: SOLE_NODE,
            address,
            label: self.settings.label.clone(),
            key_hash: key_hash(&public.0),
        };
        engine.change(actor, origin, Change::FoundCluster(founded)).await?;
        let certificate =
            authority.certify(NodeName(SOLE_NODE.0), public, CERTIFICATE_LIFE).map_err(ClusterError::from)?;
        let kept = Kept::new(id, SOLE_NODE, &key, certificate, authority.certificate().to_vec(), Vec::new());
        kept.write(&self.data)?;
        *self.kept.write() = Some(Arc::new(kept));
        self.connect().await?;
        tracing::info!(cluster = %id, "this node is a cluster now");
        Ok(())
    }

    /// There is little to do as long as no other node is there: whoever founded may not have had the token yet, or have said
    /// another address in the settings since.
    async fn found_again(&self, engine: &Engine, actor: Actor, origin: Origin) -> Result<(), EngineError> {
        let is_alone = is_founder_alone(self.id(), engine.directory.read().nodes().map(|node| node.id));
        if !is_alone {
            return Err(ClusterError::Joined.into());
        }
        let address = self.settings.advertised().map_err(ClusterError::Advertised)?;
        let known = engine.directory.read().node(SOLE_NODE).map(|node| node.address.clone());
        if known.as_ref() != Some(&address) {
            let change = NodeChange::Address(address);
            engine.change(actor, origin, Change::ChangeNode { node: SOLE_NODE, change }).await?;
        }
        if self.mesh().is_none() {
            self.connect().await?;
        }
        Ok(())
    }

    /// Makes a token with which one node may join.
    pub(crate) async fn token(
        &self,
        engine: &Engine,
        actor: Actor,
        origin: Origin,
        valid: Duration,
        label: Option<String>,
    ) -> Result<JoinToken, EngineError> {
        let (id, authority) = authority_of(engine)?;
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|_| ClusterError::Random)?;
        let change = Change::CreateJoinToken {
            secret_hash: JoinToken::secret_hash(&secret),
            valid_ms: u64::try_from(valid.as_millis()).unwrap_or(u64::MAX),
            label,
        };
        engine.change(actor, origin, change).await?;
        let addresses = engine.directory.read().nodes().map(|node| node.address.clone()).collect();
        Ok(JoinToken { cluster: id.0, fingerprint: authority.fingerprint(), secret, addresses })
    }

    /// Makes a new certificate when the old one has not long to go; true if it did.
    pub(super) fn renew(&self, engine: &Engine) -> Result<bool, ClusterError> {
        let Some(kept) = self.kept.read().clone().filter(|kept| kept.is_to_be_renewed()) else {
            return Ok(false);
        };
        let (_, authority) = authority_of(engine)?;
        let renewed = kept.renewed(&authority)?;
        renewed.write(&self.data)?;
        if let Some(mesh) = self.mesh() {
            mesh.renew(renewed.identity()?)?;
        }
        *self.kept.write() = Some(Arc::new(renewed));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_founded_again_by_its_first_node_alone() {
        let is_alone = |own, nodes: &[u64]| is_founder_alone(NodeId(own), nodes.iter().copied().map(NodeId));
        assert!(is_alone(1, &[1]));
        for (own, nodes) in [(1, vec![1, 2]), (2, vec![2]), (1, vec![2]), (2, vec![1]), (1, vec![])] {
            assert!(!is_alone(own, &nodes), "{own} {nodes:?}");
        }
    }
}
