//! All that a node needs to be believed by others: its key, its certificate, and the authority's certificate.

use crate::authority::subject_of;
use crate::name::Subject;
use crate::{ClusterId, Error, NodeKey, NodeName};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, TrustAnchor, UnixTime};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
use webpki::KeyUsage;

/// What a node shows to others, and what it believes of them.
#[derive(Clone)]
pub struct Identity {
    cluster: ClusterId,
    node: NodeName,
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) trust: Trust,
}

impl Identity {
    /// Puts the parts together (certificates in DER), if they belong together and the certificate has not run out.
    pub fn new(
        cluster: ClusterId,
        node: NodeName,
        certificate: Vec<u8>,
        key: &NodeKey,
        authority_certificate: Vec<u8>,
    ) -> Result<Identity, Error> {
        let (own, authority) =
            (CertificateDer::from(certificate), CertificateDer::from(authority_certificate));
        let trust = Trust::new(cluster, &authority)?;
        let verified = trust.verify(&own, &[], UnixTime::now(), KeyUsage::server_auth());
        let subject = verified.map_err(|e| Error::Identity(e.to_string()))?;
        if subject != node {
            return Err(Error::Identity(format!("the certificate is of {subject}, not of {node}")));
        }
        let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()));
        // The authority's certificate goes along: who joins knows only its fingerprint.
        let certified = CertifiedKey::from_der(vec![own, authority], secret, &provider());
        let certified = Arc::new(certified.map_err(|e| Error::Identity(e.to_string()))?);
        Ok(Identity { cluster, node, certified, trust })
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeName {
        self.node
    }

    /// Whether others believe the certificate at that time: false once it has run out.
    #[must_use]
    pub fn is_valid_at(&self, at: SystemTime) -> bool {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = UnixTime::since_unix_epoch(since);
        let verify = |own| self.trust.verify(own, &[], at, KeyUsage::server_auth()).is_ok();
        self.certified.end_entity_cert().is_ok_and(verify)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} of {})", self.node, self.cluster)
    }
}

pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// The one authority that is believed, for its own cluster.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    pub(crate) cluster: ClusterId,
    anchor: TrustAnchor<'static>,
}

/// Why a certificate is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Disbelief {
    #[error("the certificate is of cluster {found}, not of cluster {wanted}")]
    OtherCluster { found: ClusterId, wanted: ClusterId },
    #[error("the certificate is not by the authority of cluster {0}")]
    OtherAuthority(ClusterId),
    #[error("the certificate has run out, or is not valid yet: see to the clocks")]
    Expired,
    #[error("the certificate is of {found}, not of {wanted}")]
    OtherNode { found: NodeName, wanted: NodeName },
    #[error("the certificate cannot be used: {0}")]
    Unusable(String),
}

impl Trust {
    pub(crate) fn new(cluster: ClusterId, authority: &CertificateDer<'_>) -> Result<Trust, Error> {
        if subject_of(authority) != Some(Subject { cluster, node: None }) {
            return Err(Error::Identity(format!("this is no authority of cluster {cluster}")));
        }
        let anchor = webpki::anchor_from_trusted_cert(authority);
        let anchor = anchor.map_err(|e| Error::Identity(e.to_string()))?.to_owned();
        Ok(Trust { cluster, anchor })
    }

    /// The node whose certificate this is, if it may be believed.
    pub(crate) fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<NodeName, Disbelief> {
        let unusable = |e: webpki::Error| Disbelief::Unusable(e.to_string());
        let parsed = webpki::EndEntityCert::try_from(certificate).map_err(unusable)?;
        let subject = subject_of(certificate);
        let other = subject.map(|s| s.cluster).filter(|cluster| *cluster != self.cluster);
        let anchors = std::slice::from_ref(&self.anchor);
        let algorithms = provider().signature_verification_algorithms.all;
        match parsed.verify_for_usage(algorithms, anchors, intermediates, now, usage, None, None) {
            Ok(_) => (),
            Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => {
                return Err(Disbelief::Expired);
            }
            // What it says of its cluster is not proven, and told only to explain.
            Err(_) => {
                return Err(match other {
                    Some(found) => Disbelief::OtherCluster { found, wanted: self.cluster },
                    None => Disbelief::OtherAuthority(self.cluster),
                });
            }
        }
        match subject {
            Some(Subject { cluster, node: Some(node) }) if cluster == self.cluster => Ok(node),
            _ => Err(Disbelief::Unusable("it names no node of this cluster".to_owned())),
        }
    }
}
