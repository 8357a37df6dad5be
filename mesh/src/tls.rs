//! TLS between nodes: 1.3 alone, both sides verified against the one authority, nothing resumed.
//!
//! A client verifies that the server is the node that it dialled; a server takes clients without a certificate too,
//! and `listener.rs` answers them nothing but requests to join. Why a handshake failed is told in words.

use crate::authority::{fingerprint, subject_of};
use crate::identity::{Disbelief, Identity, Trust, provider};
use crate::name::Subject;
use crate::{ClusterId, Error, NodeName};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::io;
use std::sync::Arc;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use webpki::KeyUsage;

/// An identity, ready for handshakes of both sides.
pub(crate) struct Tls {
    pub(crate) identity: Identity,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) connector: TlsConnector,
}

impl Tls {
    pub(crate) fn new(identity: Identity) -> Result<Tls, Error> {
        let bad = |e: rustls::Error| Error::Identity(e.to_string());
        let provider = Arc::new(provider());
        let shown = Arc::new(SingleCertAndKey::from(Arc::clone(&identity.certified)));
        let verifier = Arc::new(Members { trust: identity.trust.clone(), provider: Arc::clone(&provider) });
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(bad)?
            .with_client_cert_verifier(Arc::clone(&verifier) as Arc<dyn ClientCertVerifier>)
            .with_cert_resolver(Arc::clone(&shown) as _);
        // A session that is resumed would be believed by an earlier look at the certificate.
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        let client = client_config(verifier, provider)?;
        let mut client = client.with_client_cert_resolver(shown);
        private(&mut client);
        Ok(Tls {
            identity,
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }

    /// The name under which a node is dialled.
    pub(crate) fn server_name(&self, node: NodeName) -> Result<ServerName<'static>, Error> {
        let name = Subject::node(self.identity.cluster(), node).dns_name();
        ServerName::try_from(name).map_err(|e| Error::Identity(e.to_string()))
    }
}

/// For one who has no certificate: believes any node of the cluster whose authority has this fingerprint.
pub(crate) fn joiner(cluster: ClusterId, fingerprint: [u8; 32]) -> Result<TlsConnector, Error> {
    let provider = Arc::new(provider());
    let verifier = Arc::new(ByFingerprint { cluster, fingerprint, provider: Arc::clone(&provider) });
    let mut config = client_config(verifier, provider)?.with_no_client_auth();
    private(&mut config);
    Ok(TlsConnector::from(Arc::new(config)))
}

type ClientBuilder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn client_config(
    verifier: Arc<dyn ServerCertVerifier>,
    provider: Arc<CryptoProvider>,
) -> Result<ClientBuilder, Error> {
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
    let builder = builder.map_err(|e| Error::Identity(e.to_string()))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

/// No name of a node in clear text, nothing resumed.
fn private(config: &mut ClientConfig) {
    config.enable_sni = false;
    config.resumption = rustls::client::Resumption::disabled();
}

/// The node on the other side of a handshake that succeeded; none if it showed no certificate.
pub(crate) fn peer(session: &rustls::CommonState) -> Option<NodeName> {
    subject_of(session.peer_certificates()?.first()?)?.node
}

/// What the verifiers of both sides must have beside their own duty: signatures as the provider knows them.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls12_signature(
                message,
                certificate,
                signed,
                &self.provider.signature_verification_algorithms,
            )
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            verify_tls13_signature(
                message,
                certificate,
                signed,
                &self.provider.signature_verification_algorithms,
            )
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

/// Verifies both sides of connections between nodes.
#[derive(Debug)]
struct Members {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

fn disbelieve(why: Disbelief) -> rustls::Error {
    rustls::Error::InvalidCertificate(match why {
        // The alerts for these say something to the other side.
        Disbelief::Expired => CertificateError::Expired,
        Disbelief::OtherAuthority(_) => CertificateError::UnknownIssuer,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}

impl ServerCertVerifier for Members {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.trust.verify(certificate, intermediates, now, KeyUsage::server_auth());
        let found = verified.map_err(disbelieve)?;
        match Subject::parse(&name.to_str()).and_then(|subject| subject.node) {
            Some(wanted) if wanted == found => Ok(ServerCertVerified::assertion()),
            Some(wanted) => Err(disbelieve(Disbelief::OtherNode { found, wanted })),
            None => Err(disbelieve(Disbelief::Unusable("no node was dialled".to_owned()))),
        }
    }

    signatures!();
}

impl ClientCertVerifier for Members {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.trust.verify(certificate, intermediates, now, KeyUsage::client_auth());
        verified.map(|_| ClientCertVerified::assertion()).map_err(disbelieve)
    }

    signatures!();
}

/// Verifies a server for one who knows no more than the fingerprint of the authority.
#[derive(Debug)]
struct ByFingerprint {
    cluster: ClusterId,
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates.iter().find(|c| fingerprint(c) == self.fingerprint);
        let authority = authority.ok_or_else(|| disbelieve(Disbelief::OtherAuthority(self.cluster)))?;
        let trust = Trust::new(self.cluster, authority)
            .map_err(|e| disbelieve(Disbelief::Unusable(e.to_string())))?;
        let verified = trust.verify(certificate, &[], now, KeyUsage::server_auth());
        verified.map(|_| ServerCertVerified::assertion()).map_err(disbelieve)
    }

    signatures!();
}

/// What a failure of a handshake or connection means, in words.
pub(crate) fn words(error: &io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "the other side closed the connection".to_owned(),
            _ => error.to_string(),
        };
    };
    match tls {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => why.to_string(),
        rustls::Error::InvalidCertificate(CertificateError::Expired) => Disbelief::Expired.to_string(),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate is by the authority of another cluster".to_owned()
        }
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA => {
                "the other side believes another authority: it belongs to another cluster".to_owned()
            }
            AlertDescription::CertificateExpired => {
                "for the other side this certificate has run out, or is not valid yet: see to the clocks"
                    .to_owned()
            }
            AlertDescription::CertificateUnknown => {
                "the other side did not expect this node at this address".to_owned()
            }
            other => format!("the other side ended the handshake: {other:?}"),
        },
        other => other.to_string(),
    }
}
