//! Clients that come back resume their TLS sessions, at any listener, also after the certificate changed.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use estafette_reactor::tls::{CertificateFiles, Certificates, self_signed};
use rustls::client::{Resumption, Tls12Resumption};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection, SupportedProtocolVersion,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_rustls::TlsAcceptor;

const TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;

/// Certificates of a folder, under two names.
fn certificates(folder: &Path) -> (Arc<Certificates>, CertificateFiles) {
    let (files, _) =
        self_signed(folder, &["mail.example.org".to_owned(), "mx.example.org".to_owned()]).unwrap();
    (Certificates::load(vec![files.clone()]).unwrap(), files)
}

/// A client that trusts the authority of a folder and remembers its sessions.
fn client(folder: &Path, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
    ClientConfig::builder_with_protocol_versions(&[version])
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Carries bytes between the two until neither has more to say.
fn carry(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), rustls::Error> {
    loop {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut answer = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        while server.wants_write() {
            server.write_tls(&mut answer).unwrap();
        }
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
        if bytes.is_empty() && answer.is_empty() {
            return Ok(());
        }
    }
}

/// One connection, with all that the server sends after the handshake.
fn connect(
    config: &Arc<ClientConfig>,
    acceptor: &TlsAcceptor,
    name: &'static str,
) -> Result<HandshakeKind, rustls::Error> {
    let mut client = ClientConnection::new(Arc::clone(config), name.try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::clone(acceptor.config())).unwrap();
    carry(&mut client, &mut server)?;
    assert!(!client.is_handshaking() && !server.is_handshaking());
    assert_eq!(client.handshake_kind(), server.handshake_kind());
    Ok(client.handshake_kind().unwrap())
}

#[test]
fn who_comes_back_resumes_at_any_listener() {
    for version in [TLS12, TLS13] {
        let folder = tempfile::tempdir().unwrap();
        let (certificates, _) = certificates(folder.path());
        let config = Arc::new(client(folder.path(), version));
        let (one, another) = (certificates.acceptor(), certificates.acceptor());
        let name = "mail.example.org";
        assert_eq!(connect(&config, &one, name), Ok(HandshakeKind::Full), "{version:?}");
        for acceptor in [&one, &another, &one] {
            assert_eq!(connect(&config, acceptor, name), Ok(HandshakeKind::Resumed), "{version:?}");
        }
        let stranger = Arc::new(client(folder.path(), version));
        assert_eq!(connect(&stranger, &one, name), Ok(HandshakeKind::Full), "{version:?}");
    }
}

/// Old clients of TLS 1.2.
#[test]
fn who_knows_no_tickets_resumes_too() {
    let folder = tempfile::tempdir().unwrap();
    let (certificates, _) = certificates(folder.path());
    let mut config = client(folder.path(), TLS12);
    config.resumption = Resumption::in_memory_sessions(8).tls12_resumption(Tls12Resumption::SessionIdOnly);
    let config = Arc::new(config);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        assert_eq!(connect(&config, &certificates.acceptor(), "mail.example.org"), Ok(kind));
    }
}

#[test]
fn a_ticket_is_of_no_use_to_another_process() {
    for version in [TLS12, TLS13] {
        let folder = tempfile::tempdir().unwrap();
        let (certificates, files) = certificates(folder.path());
        let config = Arc::new(client(folder.path(), version));
        let other = Certificates::load(vec![files]).unwrap();
        for acceptor in [certificates.acceptor(), other.acceptor()] {
            let kind = connect(&config, &acceptor, "mail.example.org");
            assert_eq!(kind, Ok(HandshakeKind::Full), "{version:?}");
        }
    }
}

#[test]
fn tickets_outlive_the_certificate() {
    for version in [TLS12, TLS13] {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (certificates, files) = certificates(old.path());
        let name = "mail.example.org";
        let config = Arc::new(client(old.path(), version));
        let acceptor = certificates.acceptor();
        assert_eq!(connect(&config, &acceptor, name), Ok(HandshakeKind::Full), "{version:?}");
        let (next, _) = self_signed(new.path(), &[name.to_owned()]).unwrap();
        for (from, to) in [(&next.chain, &files.chain), (&next.key, &files.key)] {
            fs::copy(from, to).unwrap();
            let later = SystemTime::now() + Duration::from_secs(10);
            fs::File::options().write(true).open(to).unwrap().set_modified(later).unwrap();
        }
        assert!(certificates.reload().unwrap());
        assert_eq!(connect(&config, &acceptor, name), Ok(HandshakeKind::Resumed), "{version:?}");
        let newcomer = Arc::new(client(new.path(), version));
        assert_eq!(connect(&newcomer, &acceptor, name), Ok(HandshakeKind::Full), "the new one is served");
        let stranger = Arc::new(client(old.path(), version));
        assert!(connect(&stranger, &acceptor, name).is_err(), "and the old one is not: {version:?}");
    }
}
