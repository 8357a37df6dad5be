//! The authority of a cluster: its key makes the certificates of the nodes.
//!
//! All keys are Ed25519, so a public key is 32 bytes and nothing about it is open. Times here are the wall clock's:
//! certificates know no other.

use crate::name::Subject;
use crate::{ClusterId, Error, NodeName};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;

/// The year from which on all certificates are good: a clock that was set back keeps no node out.
const CERTIFICATES_BEGIN: i32 = 2000;
/// The year in which an authority's certificate runs out.
const AUTHORITY_ENDS: i32 = 2100;

/// A node's public key (Ed25519).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

/// A node's own key. Only its public part leaves the node.
pub struct NodeKey(KeyPair);

impl NodeKey {
    /// A new one.
    pub fn create() -> Result<NodeKey, Error> {
        Ok(NodeKey(KeyPair::generate_for(&PKCS_ED25519)?))
    }

    /// One that was kept as [`NodeKey::pkcs8`].
    pub fn from_pkcs8(der: &[u8]) -> Result<NodeKey, Error> {
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &PKCS_ED25519);
        Ok(NodeKey(pair?))
    }

    /// The secret, as PKCS #8 in DER.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        self.0.serialized_der()
    }

    /// The part for the authority.
    pub fn public_key(&self) -> Result<PublicKey, Error> {
        let raw = self.0.public_key_raw();
        let key = raw.try_into().map_err(|_| Error::Identity("the key is not of the right size".to_owned()));
        key.map(PublicKey)
    }
}

/// The authority of a cluster.
pub struct Authority {
    cluster: ClusterId,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    pub fn create(cluster: ClusterId) -> Result<Authority, Error> {
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = authority_params(cluster)?.self_signed(&key)?.into();
        Ok(Authority { cluster, certificate, issuer: Issuer::new(authority_params(cluster)?, key) })
    }

    /// One that was kept: its [`certificate`](Authority::certificate) and [`key`](Authority::key).
    pub fn from_parts(cluster: ClusterId, certificate: Vec<u8>, key: &[u8]) -> Result<Authority, Error> {
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key), &PKCS_ED25519)?;
        let certificate = CertificateDer::from(certificate);
        if subject_of(&certificate) != Some(Subject { cluster, node: None }) {
            return Err(Error::Identity(format!("this is no authority of cluster {cluster}")));
        }
        let anchor =
            webpki::anchor_from_trusted_cert(&certificate).map_err(|e| Error::Identity(e.to_string()))?;
        if !anchor.subject_public_key_info.ends_with(key.public_key_raw()) {
            return Err(Error::Identity("the authority's key is of another certificate".to_owned()));
        }
        Ok(Authority { cluster, certificate, issuer: Issuer::new(authority_params(cluster)?, key) })
    }

    /// Its cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Its certificate, in DER: what nodes believe.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Its secret, as PKCS #8 in DER.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.issuer.key().serialized_der()
    }

    /// SHA-256 of its certificate: what a join token carries.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.certificate)
    }

    /// A certificate for `node`, in DER, from now on for `valid_for`.
    pub fn certify(&self, node: NodeName, key: PublicKey, valid_for: Duration) -> Result<Vec<u8>, Error> {
        let subject = Subject::node(self.cluster, node);
        let mut params = CertificateParams::new(vec![subject.dns_name()])?;
        params.distinguished_name.push(DnType::CommonName, format!("Estafette {node}"));
        params.serial_number = Some(serial_number()?);
        params.not_before = rcgen::date_time_ymd(CERTIFICATES_BEGIN, 1, 1);
        params.not_after = moment(SystemTime::now().checked_add(valid_for))?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(certificate.der().to_vec())
    }
}

/// The same for each cluster, so an authority can be read back without taking its certificate apart.
fn authority_params(cluster: ClusterId) -> Result<CertificateParams, Error> {
    let subject = Subject { cluster, node: None };
    let mut params = CertificateParams::new(vec![subject.dns_name()])?;
    params.distinguished_name.push(DnType::CommonName, format!("Estafette cluster {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_after = rcgen::date_time_ymd(AUTHORITY_ENDS, 1, 1);
    Ok(params)
}

/// Positive and random, so that no two certificates of an authority share one.
fn serial_number() -> Result<SerialNumber, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| Error::Identity(format!("no randomness: {e}")))?;
    Ok(SerialNumber::from_slice(&(u128::from_be_bytes(bytes) >> 1).to_be_bytes()))
}

fn moment(at: Option<SystemTime>) -> Result<OffsetDateTime, Error> {
    let since = at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let seconds = since.and_then(|since| i64::try_from(since.as_secs()).ok());
    let moment = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    moment.ok_or_else(|| Error::Identity("a certificate cannot be valid so long".to_owned()))
}

pub(crate) fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

/// Whom a certificate says that it is for. To be believed only of one that was verified.
pub(crate) fn subject_of(certificate: &CertificateDer<'_>) -> Option<Subject> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = parsed.valid_dns_names();
    let subject = Subject::parse(names.next()?)?;
    names.next().is_none().then_some(subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([3; 16]);

    #[test]
    fn an_authority_is_read_back_and_certifies_as_before() {
        let made = Authority::create(CLUSTER).unwrap();
        let kept = Authority::from_parts(CLUSTER, made.certificate().to_vec(), made.key()).unwrap();
        assert_eq!(kept.fingerprint(), made.fingerprint());
        let key = NodeKey::create().unwrap();
        for authority in [made, kept] {
            let valid_for = Duration::from_secs(3600);
            let der = authority.certify(NodeName(9), key.public_key().unwrap(), valid_for).unwrap();
            assert_eq!(subject_of(&der.into()), Some(Subject::node(CLUSTER, NodeName(9))));
        }
    }

    #[test]
    fn parts_that_do_not_belong_together_are_no_authority() {
        let (one, other) = (Authority::create(CLUSTER).unwrap(), Authority::create(CLUSTER).unwrap());
        let parts = |cluster, certificate: &[u8], key| {
            Authority::from_parts(cluster, certificate.to_vec(), key).err()
        };
        let of_node = one.certify(NodeName(1), PublicKey([1; 32]), Duration::ZERO).unwrap();
        assert!(parts(CLUSTER, one.certificate(), other.key()).is_some());
        assert!(parts(ClusterId([4; 16]), one.certificate(), one.key()).is_some());
        assert!(parts(CLUSTER, &of_node, one.key()).is_some());
        assert!(parts(CLUSTER, b"no certificate", one.key()).is_some());
        assert!(parts(CLUSTER, one.certificate(), b"no key").is_some());
    }

    #[test]
    fn a_key_is_read_back_and_too_long_a_life_is_refused() {
        let key = NodeKey::create().unwrap();
        let kept = NodeKey::from_pkcs8(key.pkcs8()).unwrap();
        assert_eq!(kept.public_key().unwrap(), key.public_key().unwrap());
        let authority = Authority::create(CLUSTER).unwrap();
        let forever = Duration::from_secs(u64::MAX / 4);
        assert!(authority.certify(NodeName(1), key.public_key().unwrap(), forever).is_err());
    }
}
