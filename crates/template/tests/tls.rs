//! https: a server is believed by its authority, or not at all unless somebody says so.

#![expect(clippy::unwrap_used, reason = "a test may")]

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use std::time::Duration;
use template::http::{Client, Target};
use template::settings::{Consul, Tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]";

/// A server with a certificate of its own for `localhost`; its address, and the certificate.
async fn serve() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = made.self_signed(&key).unwrap();
    let own = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], own)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Who does not believe it hangs up here.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut asked = [0; 4096];
            if stream.read(&mut asked).await.is_ok() {
                stream.write_all(ANSWER).await.unwrap();
            }
        }
    });
    (format!("https://localhost:{port}"), certificate.pem())
}

async fn ask(address: &str, tls: Tls) -> Result<u16, String> {
    let consul = Consul { address: address.to_owned(), tls, ..Consul::default() };
    let target = Arc::new(Target::consul(&consul).map_err(|e| e.to_string())?);
    let reply = Client::new(target).get("/", "application/json", Duration::from_secs(30)).await;
    reply.map(|reply| reply.status.as_u16()).map_err(|e| e.to_string())
}

#[tokio::test]
async fn a_server_is_believed_by_its_authority_only() {
    let (address, pem) = serve().await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let trusting = Tls { ca_cert: Some(ca), ..Tls::default() };
    assert_eq!(ask(&address, trusting.clone()).await, Ok(200));
    let other = Tls { server_name: "elsewhere".into(), ..trusting };
    assert!(ask(&address, other).await.unwrap_err().contains("tls"));
    assert!(ask(&address, Tls::default()).await.unwrap_err().contains("tls"));
    let careless = Tls { verify: false, ..Tls::default() };
    assert_eq!(ask(&address, careless).await, Ok(200));
}
