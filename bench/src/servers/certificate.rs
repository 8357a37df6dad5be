//! The certificate that all servers of a comparison show: of one kind and size, so that handshakes compare.

use crate::error::BenchError;
use std::path::{Path, PathBuf};

/// A self-signed certificate (ECDSA, P-256) and its key in PEM files.
pub(super) struct Certificate {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

impl Certificate {
    /// Makes one in this folder.
    pub(super) fn make(folder: &Path) -> Result<Certificate, BenchError> {
        let names = ["127.0.0.1".to_owned(), "load.test".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(BenchError::tls)?;
        let certificate = Certificate { chain: folder.join("chain.pem"), key: folder.join("key.pem") };
        std::fs::write(&certificate.chain, made.cert.pem())?;
        std::fs::write(&certificate.key, made.signing_key.serialize_pem())?;
        Ok(certificate)
    }
}
