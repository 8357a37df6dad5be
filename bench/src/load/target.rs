//! Where a server is, and how connections to it are made: in plain, with TLS, or with STARTTLS.

use super::connection::Connection;
use crate::error::BenchError;
use clap::Args;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A server, as a load is told of it.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Target {
    /// Where: host:port.
    #[arg(long)]
    pub(crate) address: String,
    /// TLS from the first byte.
    #[arg(long)]
    pub(crate) tls: bool,
    /// TLS after STARTTLS (STLS in POP3).
    #[arg(long, conflicts_with = "tls")]
    pub(crate) starttls: bool,
    /// PEM file of the authority that the server's certificate must come from; without, any is taken.
    #[arg(long)]
    pub(crate) ca: Option<PathBuf>,
}

/// How many TLS sessions a client remembers to resume.
const REMEMBERED_SESSIONS: usize = 32;

impl Target {
    /// A server in plain.
    pub(crate) fn plain(address: &str) -> Target {
        Target { address: address.to_owned(), ..Target::default() }
    }

    /// A server with TLS from the first byte.
    pub(crate) fn tls(address: &str) -> Target {
        Target { tls: true, ..Target::plain(address) }
    }

    /// What opens connections. One that resumes offers what it was given in earlier handshakes of its own.
    pub(super) fn dialer(&self, resume: bool) -> Result<Dialer, BenchError> {
        let tls = if self.tls || self.starttls { Some(self.connector(resume)?) } else { None };
        Ok(Dialer { address: self.address.clone(), implicit: self.tls, tls })
    }

    /// What makes a connection one of TLS, and the name that the server is called by.
    pub(crate) fn connector(&self, resume: bool) -> Result<(TlsConnector, ServerName<'static>), BenchError> {
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(BenchError::tls)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(BenchError::tls)?;
        let mut config = match &self.ca {
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_file_iter(path).map_err(BenchError::tls)? {
                    roots.add(certificate.map_err(BenchError::tls)?).map_err(BenchError::tls)?;
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
                .with_no_client_auth(),
        };
        config.resumption =
            if resume { Resumption::in_memory_sessions(REMEMBERED_SESSIONS) } else { Resumption::disabled() };
        Ok((TlsConnector::from(Arc::new(config)), name))
    }
}

/// Opens connections to one server.
#[derive(Clone)]
pub(super) struct Dialer {
    address: String,
    implicit: bool,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dialer {
    /// A connection; with TLS from the first byte, the handshake is done.
    pub(super) async fn open(&self) -> Result<Connection, BenchError> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Connection::new(stream);
        if self.implicit
            && let Some((connector, name)) = &self.tls
        {
            connection.handshake(connector, name).await?;
        }
        Ok(connection)
    }

    /// STARTTLS is to be said before anything else.
    pub(super) fn starts_tls(&self) -> bool {
        self.tls.is_some() && !self.implicit
    }

    /// The handshake, after the server has agreed to STARTTLS.
    pub(super) async fn handshake(&self, connection: &mut Connection) -> Result<(), BenchError> {
        match &self.tls {
            Some((connector, name)) => connection.handshake(connector, name).await,
            None => Ok(()),
        }
    }
}

/// Takes every certificate, but only from who holds its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
