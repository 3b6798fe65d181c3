//! TLS of the cluster: its own CA, the server's certificate, and a client side that trusts a CA by
//! the hash of its certificate (from the join token). The agents' certificates: `certificate`.

use model::limits::{CA_MS, CERTIFICATE_SLACK_MS};
use model::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName as DistinguishedNames, RootCertStore,
    ServerConfig, SignatureScheme,
};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// ALPN of agents: only under it a client certificate is asked for.
pub const ALPN_AGENT: &[u8] = b"remuda-agent/1";
/// Name in the server's certificate that agents expect, whatever address they dial.
pub const SERVER_NAME: &str = "server.remuda.internal";

/// Why a certificate could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key could not be made.
    #[error("certificate {what} cannot be made")]
    Make {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate or key cannot be read.
    #[error("certificate or key {what} cannot be read: {why}")]
    Read {
        /// Which.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The TLS set-up was refused.
    #[error("tls cannot be set up")]
    Setup(#[from] rustls::Error),
}

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The chain, leaf first.
    pub chain_pem: String,
    /// The private key.
    pub key_pem: String,
}

pub(crate) fn make<T>(what: &str, result: Result<T, rcgen::Error>) -> Result<T, TlsError> {
    result.map_err(|source| TlsError::Make { what: what.to_owned(), source })
}

pub(crate) fn named(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

/// A certificate is good from one time to the other.
pub(crate) fn live(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at =
        |time: Timestamp| epoch + Duration::from_secs(u64::try_from(time.0 / 1_000).unwrap_or(0));
    (params.not_before, params.not_after) = (at(from), at(until));
}

fn long_lived(params: &mut CertificateParams, now: Timestamp) {
    let slack = i64::try_from(CERTIFICATE_SLACK_MS).unwrap_or(0);
    live(params, Timestamp(now.0.saturating_sub(slack)), now.plus_ms(CA_MS));
}

/// Makes a CA that is good for twenty years.
///
/// # Errors
/// `TlsError::Make`.
pub fn make_ca(environment: &str, now: Timestamp) -> Result<Identity, TlsError> {
    let key = make("of the CA", KeyPair::generate())?;
    let mut params = make("of the CA", CertificateParams::new(Vec::<String>::new()))?;
    params.distinguished_name = named(&format!("Remuda CA {environment}"));
    long_lived(&mut params, now);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = make("of the CA", params.self_signed(&key))?;
    Ok(Identity { chain_pem: certificate.pem(), key_pem: key.serialize_pem() })
}

pub(crate) fn issuer(ca: &Identity) -> Result<Issuer<'static, KeyPair>, TlsError> {
    let key = make("of the CA", KeyPair::from_pem(&ca.key_pem))?;
    make("of the CA", Issuer::from_ca_cert_pem(&ca.chain_pem, key))
}

/// Makes the server's certificate for `SERVER_NAME`, localhost and further names or addresses. Its
/// key is never written down, and it is made anew at each start: it may live as long as the CA.
///
/// # Errors
/// `TlsError` when the CA cannot be read or a name is not one.
pub fn make_server(ca: &Identity, names: &[String], now: Timestamp) -> Result<Identity, TlsError> {
    let mut all =
        vec![SERVER_NAME.to_owned(), "localhost".into(), "127.0.0.1".into(), "::1".into()];
    all.extend(names.iter().cloned());
    all.dedup();
    let key = make("of the server", KeyPair::generate())?;
    let mut params = make("of the server", CertificateParams::new(all))?;
    params.distinguished_name = named(SERVER_NAME);
    long_lived(&mut params, now);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = make("of the server", params.signed_by(&key, &issuer(ca)?))?;
    let chain_pem = format!("{}{}", certificate.pem(), ca.chain_pem);
    Ok(Identity { chain_pem, key_pem: key.serialize_pem() })
}

pub(crate) fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| TlsError::Read { what: "certificate", why: e.to_string() })
}

fn key(pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|e| TlsError::Read { what: "key", why: e.to_string() })
}

/// SHA-256 of the CA certificate, lower-case hex: the pin in a join token.
///
/// # Errors
/// `TlsError::Read`.
pub fn pin(ca_pem: &str) -> Result<String, TlsError> {
    let chain = chain(ca_pem)?;
    let first = chain
        .first()
        .ok_or(TlsError::Read { what: "certificate", why: "there is none in the file".into() })?;
    Ok(crate::token::hex(&Sha256::digest(first)))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// TLS of the HTTP API: no client certificate is asked for.
///
/// # Errors
/// `TlsError`.
pub fn api_config(server: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain(&server.chain_pem)?, key(&server.key_pem)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS of the agents' link: a certificate of our CA is asked for, and needed for all but enrolment.
/// One that is not good at this time passes: whoever has it hears why nothing else does.
///
/// # Errors
/// `TlsError`.
pub fn agent_server_config(server: &Identity, ca_pem: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(ca_pem)? {
        roots.add(certificate)?;
    }
    let inner =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|e| TlsError::Read { what: "CA certificate", why: e.to_string() })?;
    let verifier = Arc::new(AtAnyTime { inner });
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(&server.chain_pem)?, key(&server.key_pem)?)?;
    config.alpn_protocols = vec![ALPN_AGENT.to_vec()];
    Ok(Arc::new(config))
}

/// TLS of a client that trusts the CA with this hash and nobody else.
///
/// # Errors
/// `TlsError`.
pub fn pinned_client_config(
    pin: &str,
    identity: Option<&Identity>,
    alpn: &[u8],
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let verifier = Arc::new(Pinned { pin: pin.to_owned(), provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_auth_cert(chain(&identity.chain_pem)?, key(&identity.key_pem)?)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}

/// Accepts a chain whose CA certificate has the pinned hash and which is valid below it.
#[derive(Debug)]
struct Pinned {
    pin: String,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca = intermediates
            .iter()
            .find(|c| crate::token::same(&crate::token::hex(&Sha256::digest(c)), &self.pin))
            .ok_or(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let below = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|e| rustls::Error::General(e.to_string()))?;
        let name =
            ServerName::try_from(SERVER_NAME).map_err(|e| rustls::Error::General(e.to_string()))?;
        below.verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts a certificate of our CA whatever the time is: whether it is good now is judged where its
/// owner can be told, by the clock of the server.
#[derive(Debug)]
struct AtAnyTime {
    inner: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for AtAnyTime {
    fn root_hint_subjects(&self) -> &[DistinguishedNames] {
        self.inner.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let end = crate::certificate::read(end_entity).and_then(|c| u64::try_from(c.until.0).ok());
        let at = end.map_or(now, |ms| UnixTime::since_unix_epoch(Duration::from_millis(ms)));
        self.inner.verify_client_cert(end_entity, intermediates, at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
