//! TLS of checks: trust in the authorities of the machine, or in nobody where the check says so.

use model::registration::CheckTls;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where distributions keep the authorities that a machine trusts.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Speaks TLS over a connection; `alpn` is what is spoken inside.
pub(super) async fn wrap(
    stream: TcpStream,
    host: &str,
    how: &CheckTls,
    alpn: &[u8],
) -> Result<TlsStream<TcpStream>, String> {
    let mut config = if how.skip_verify { any()? } else { trusted()? };
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = if how.server_name.is_empty() { host } else { &how.server_name };
    let name = name.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(name).map_err(|error| format!("tls: {error}"))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| format!("tls: {error}"))
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(ring::default_provider())).clone()
}

fn broken(error: impl std::fmt::Display) -> String {
    format!("tls cannot be set up: {error}")
}

/// The authorities of the machine, read once.
fn roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let mut roots = RootCertStore::empty();
        let pem = AUTHORITIES.into_iter().find_map(|path| std::fs::read(path).ok());
        let pem = pem.unwrap_or_default();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        Arc::new(roots)
    };
    ROOTS.get_or_init(read).clone()
}

fn trusted() -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(broken)?;
    Ok(builder.with_root_certificates(roots()).with_no_client_auth())
}

fn any() -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(broken)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
    Ok(builder.with_no_client_auth())
}

/// Takes every certificate whose owner has its key.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = provider();
        verify_tls12_signature(message, cert, dss, &known.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = provider();
        verify_tls13_signature(message, cert, dss, &known.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
