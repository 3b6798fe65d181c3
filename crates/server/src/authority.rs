//! The cluster's own CA and the server's certificate, kept in the data folder (0600).

use api::tls::{self, Identity, TlsError};
use model::limits::CERTIFICATE_MS_DEFAULT;
use model::time::Timestamp;
use std::path::{Path, PathBuf};

/// Certificates that the server works with.
#[derive(Clone)]
pub struct Authority {
    /// The CA.
    pub ca: Identity,
    /// The server's certificate.
    pub server: Identity,
    /// SHA-256 of the CA certificate.
    pub pin: String,
    /// Life of an agent's certificate, in milliseconds.
    pub certificate_ms: u64,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("pin", &self.pin).finish_non_exhaustive()
    }
}

/// Why the certificates are not there.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read or written.
    #[error("certificate file {} cannot be {what}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// read or written.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The CA cannot sign any more, and a new one would lock out all agents.
    #[error("the CA of this server has lost its key {}: put it back from a copy", path.display())]
    KeyLost {
        /// Where it was.
        path: PathBuf,
    },
    /// A certificate cannot be made or read.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Authority {
    fn with_ca(ca: Identity, names: &[String], now: Timestamp) -> Result<Self, AuthorityError> {
        let server = tls::make_server(&ca, names, now)?;
        let pin = tls::pin(&ca.chain_pem)?;
        Ok(Self { ca, server, pin, certificate_ms: CERTIFICATE_MS_DEFAULT })
    }

    /// The same with another life of agents' certificates, in milliseconds.
    #[must_use]
    pub fn with_life(&self, certificate_ms: u64) -> Self {
        Self { certificate_ms, ..self.clone() }
    }

    /// Reads the CA from `dir`, or makes it there. The server's certificate is made anew at every
    /// start, for the names that it has now.
    ///
    /// # Errors
    /// `AuthorityError`.
    pub fn open(
        dir: &Path,
        environment: &str,
        names: &[String],
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
        if certificate.exists() && key.exists() {
            let ca = Identity { chain_pem: read(&certificate)?, key_pem: read(&key)? };
            return Self::with_ca(ca, names, now);
        }
        // The key is written first: a certificate alone has lost its own.
        if certificate.exists() {
            return Err(AuthorityError::KeyLost { path: key });
        }
        let ca = tls::make_ca(environment, now)?;
        write(&key, &ca.key_pem)?;
        write(&certificate, &ca.chain_pem)?;
        Self::with_ca(ca, names, now)
    }
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    std::fs::read_to_string(path).map_err(|source| AuthorityError::File {
        path: path.to_owned(),
        what: "read",
        source,
    })
}

fn write(path: &Path, text: &str) -> Result<(), AuthorityError> {
    crate::write_private(path, text).map_err(|source| AuthorityError::File {
        path: path.to_owned(),
        what: "written",
        source,
    })
}
