//! Certificates: chosen by SNI, read from files, reloaded without a restart, made at the first start.
//!
//! All listeners share one configuration of TLS, so a client may resume at one what it began at another. What it
//! needs for that lies with the client, in a ticket under keys that only this process has; here nothing is kept of
//! a session. A new certificate leaves tickets valid: they speak for a handshake that was made, under a name that
//! is asked for again.

use crate::Error;
use arc_swap::ArcSwap;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio_rustls::TlsAcceptor;

/// Sessions kept of clients that know no tickets (TLS 1.2 alone); past it the oldest goes.
const SESSIONS_MAX: usize = 1024;

/// A certificate chain and its key, as PEM files, and the names it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The names it serves (`mail.example.org`, `*.example.org`); empty for the one that serves all others.
    pub names: Vec<String>,
}

/// The certificates in use, and the configuration of TLS that serves them.
#[derive(Debug)]
pub struct Certificates {
    files: Vec<CertificateFiles>,
    current: Arc<ArcSwap<Loaded>>,
    config: Arc<ServerConfig>,
}

#[derive(Debug)]
struct Loaded {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    fallback: Arc<CertifiedKey>,
    changed: Vec<Option<SystemTime>>,
}

impl Certificates {
    /// Reads all files; at least one certificate is needed, the first serves names not found.
    pub fn load(files: Vec<CertificateFiles>) -> Result<Arc<Certificates>, Error> {
        let current = Arc::new(ArcSwap::from_pointee(read_all(&files)?));
        let config = Arc::new(config(Resolver(Arc::clone(&current)))?);
        Ok(Arc::new(Certificates { files, current, config }))
    }

    /// Reads the files again if one of them changed; on an error the ones in use stay. True if changed.
    pub fn reload(&self) -> Result<bool, Error> {
        if modified(&self.files) == self.current.load().changed {
            return Ok(false);
        }
        self.current.store(Arc::new(read_all(&self.files)?));
        Ok(true)
    }

    /// What listeners use; certificates are looked up anew for each handshake.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

fn config(certificates: Resolver) -> Result<ServerConfig, Error> {
    let verifier = WebPkiClientVerifier::no_client_auth();
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(certificates));
    // What comes with the first flight can be sent again by anybody.
    config.max_early_data_size = 0;
    // Keys are changed every six hours, and those before them still taken.
    config.ticketer = Ticketer::new()?;
    config.send_tls13_tickets = 1;
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    Ok(config)
}

#[derive(Debug)]
struct Resolver(Arc<ArcSwap<Loaded>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let loaded = self.0.load();
        let found = hello.server_name().and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wild = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
            loaded.by_name.get(&name).or_else(|| wild.and_then(|wild| loaded.by_name.get(&wild))).cloned()
        });
        Some(found.unwrap_or_else(|| Arc::clone(&loaded.fallback)))
    }
}

fn modified(files: &[CertificateFiles]) -> Vec<Option<SystemTime>> {
    let of = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    files.iter().flat_map(|f| [of(&f.chain), of(&f.key)]).collect()
}

fn read_all(files: &[CertificateFiles]) -> Result<Loaded, Error> {
    let changed = modified(files);
    let mut by_name = HashMap::new();
    let mut fallback = None;
    for file in files {
        let key = Arc::new(read(file)?);
        for name in &file.names {
            by_name.insert(name.to_ascii_lowercase(), Arc::clone(&key));
        }
        fallback.get_or_insert(key);
    }
    let fallback = fallback.ok_or_else(|| Error::Certificate {
        path: PathBuf::new(),
        reason: "no certificate is configured".to_owned(),
    })?;
    Ok(Loaded { by_name, fallback, changed })
}

fn read(files: &CertificateFiles) -> Result<CertifiedKey, Error> {
    let bad = |path: &Path, reason: String| Error::Certificate { path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| bad(&files.chain, e.to_string()))?;
    if chain.is_empty() {
        return Err(bad(&files.chain, "it holds no certificate".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| bad(&files.key, e.to_string()))?;
    let signer =
        rustls::crypto::ring::sign::any_supported_type(&key).map_err(|e| bad(&files.key, e.to_string()))?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(e) => Err(bad(&files.key, e.to_string())),
    }
}

/// Makes an authority and a certificate signed by it, in `folder`, unless they are there. Returns
/// the certificate's files and the path of the authority's certificate, which clients may trust.
pub fn self_signed(folder: &Path, names: &[String]) -> Result<(CertificateFiles, PathBuf), Error> {
    let files =
        CertificateFiles { chain: folder.join("cert.pem"), key: folder.join("key.pem"), names: Vec::new() };
    let authority = folder.join("ca.pem");
    if files.chain.exists() && files.key.exists() && authority.exists() {
        return Ok((files, authority));
    }
    let bad = |path: &Path, reason: String| Error::Certificate { path: path.to_owned(), reason };
    fs::create_dir_all(folder).map_err(|e| bad(folder, e.to_string()))?;
    let (ca, chain, key) = make(names).map_err(|e| bad(&files.chain, e.to_string()))?;
    for (path, text, secret) in
        [(&authority, &ca, false), (&files.key, &key, true), (&files.chain, &chain, false)]
    {
        write_file(path, text, secret).map_err(|e| bad(path, e.to_string()))?;
    }
    Ok((files, authority))
}

fn make(names: &[String]) -> Result<(String, String, String), rcgen::Error> {
    let years = rcgen::date_time_ymd(2060, 1, 1);
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::<String>::new())?;
    ca.distinguished_name.push(DnType::CommonName, "Estafette self-made authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.not_after = years;
    let ca_cert = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new(names.to_vec())?;
    leaf.distinguished_name.push(DnType::CommonName, names.first().cloned().unwrap_or_default());
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.not_after = years;
    leaf.use_authority_key_identifier_extension = true;
    let cert = leaf.signed_by(&key, &issuer)?;
    Ok((ca_cert.pem(), cert.pem(), key.serialize_pem()))
}

fn write_file(path: &Path, text: &str, secret: bool) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mode = if secret { 0o600 } else { 0o644 };
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
