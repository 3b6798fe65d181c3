//! A client for one conversation: one kept connection over TCP, TLS or a Unix socket, one question
//! at a time. Answers have a largest size and every step a deadline.

use crate::error::Error;
use crate::settings::{Consul, Tls};
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use model::limits::TEMPLATE_ANSWER_BYTES_MAX;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;

/// To connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Where Linux keeps the authorities that it trusts.
const TRUSTED: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Who is asked, and with which headers.
#[derive(Clone)]
pub struct Target {
    place: Place,
    /// For messages.
    shown: String,
    host: String,
    headers: HeaderMap,
}

#[derive(Clone)]
enum Place {
    Tcp(String),
    Tls(String, Arc<rustls::ClientConfig>, ServerName<'static>),
    Unix(PathBuf),
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Target {
    /// The Consul API that the settings name.
    ///
    /// # Errors
    /// An address, token or certificate that cannot be used.
    pub fn consul(settings: &Consul) -> Result<Self, Error> {
        let mut target = Self::new(&settings.address, 8500, Some(&settings.tls))?;
        let wrong = |what: &str| Error::Address {
            address: settings.address.clone(),
            why: format!("the {what} cannot be sent in a header"),
        };
        if !settings.token.is_empty() {
            let token = settings.token.parse().map_err(|_odd| wrong("token"))?;
            target.headers.insert("x-consul-token", token);
        }
        if !settings.namespace.is_empty() {
            let namespace = settings.namespace.parse().map_err(|_odd| wrong("namespace"))?;
            target.headers.insert("x-consul-namespace", namespace);
        }
        if !settings.auth.is_empty() {
            let encoded = base64::engine::general_purpose::STANDARD.encode(&settings.auth);
            let value = format!("Basic {encoded}").parse().map_err(|_odd| wrong("auth"))?;
            target.headers.insert(header::AUTHORIZATION, value);
        }
        Ok(target)
    }

    /// An address, with the port that it has when it names none, and TLS where that is allowed.
    ///
    /// # Errors
    /// An address or certificate that cannot be used.
    pub fn new(address: &str, port: u16, tls: Option<&Tls>) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Address { address: address.to_owned(), why: why.to_owned() };
        let headers = HeaderMap::new();
        let shown = address.to_owned();
        if let Some(path) = address.strip_prefix("unix://") {
            let place = Place::Unix(path.into());
            return Ok(Self { place, shown, host: "localhost".into(), headers });
        }
        let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
        let secure = match scheme {
            "https" => true,
            "http" => false,
            "" => tls.is_some_and(|tls| tls.enabled),
            _ => return Err(wrong("its scheme is not known")),
        };
        let authority = rest.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '?', ' ', '@']) {
            return Err(wrong("it is not host:port"));
        }
        let bracketed = authority.ends_with(']');
        let has_port = !bracketed && authority.rsplit_once(':').is_some();
        if let Some((_, port)) = authority.rsplit_once(':').filter(|_| has_port) {
            port.parse::<u16>().map_err(|_no| wrong("its port is no number"))?;
        }
        let socket = if has_port {
            authority.to_owned()
        } else {
            format!("{authority}:{}", if secure && scheme == "https" { 443 } else { port })
        };
        let host = authority.to_owned();
        if !secure {
            return Ok(Self { place: Place::Tcp(socket), shown, host, headers });
        }
        let tls = tls.ok_or_else(|| wrong("https is not offered here"))?;
        let name = if tls.server_name.is_empty() {
            socket.rsplit_once(':').map_or(socket.as_str(), |(host, _)| host)
        } else {
            tls.server_name.as_str()
        };
        let name = name.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(name).map_err(|_odd| wrong("its host is no name"))?;
        let place = Place::Tls(socket, Arc::new(tls_config(tls)?), name);
        Ok(Self { place, shown, host, headers })
    }

    /// The address, for messages.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    fn broken(&self, why: impl std::fmt::Display) -> Error {
        Error::Server { address: self.shown.clone(), why: why.to_string() }
    }
}

fn tls_config(tls: &Tls) -> Result<rustls::ClientConfig, Error> {
    let wrong = |what: &Path, why: String| Error::Tls { what: what.display().to_string(), why };
    let setup = |e: rustls::Error| wrong(Path::new("tls"), e.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(setup)?;
    let builder = if tls.verify {
        let mut roots = rustls::RootCertStore::empty();
        for file in authorities(tls)? {
            let read = CertificateDer::pem_file_iter(&file);
            for certificate in read.map_err(|e| wrong(&file, e.to_string()))? {
                let certificate = certificate.map_err(|e| wrong(&file, e.to_string()))?;
                // A system's bundle may hold what is not understood: the others still count.
                let (_good, _bad) = roots.add_parsable_certificates([certificate]);
            }
        }
        builder.with_root_certificates(roots)
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(unverified::AnyCertificate(provider)))
    };
    let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(cert).map_err(|e| wrong(cert, e.to_string()))?.collect();
    let chain = chain.map_err(|e| wrong(cert, e.to_string()))?;
    let own = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, e.to_string()))?;
    builder.with_client_auth_cert(chain, own).map_err(setup)
}

fn authorities(tls: &Tls) -> Result<Vec<PathBuf>, Error> {
    let mut files: Vec<PathBuf> = tls.ca_cert.iter().cloned().collect();
    if let Some(folder) = &tls.ca_path {
        let read = |source| Error::Read { path: folder.clone(), source };
        for entry in std::fs::read_dir(folder).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if path.extension().is_some_and(|e| e == "pem" || e == "crt") {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        files.extend(TRUSTED.iter().map(PathBuf::from).find(|path| path.exists()));
    }
    Ok(files)
}

/// `verify = false`, which somebody has to ask for.
mod unverified {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};
    use std::sync::Arc;

    #[derive(Debug)]
    pub(super) struct AnyCertificate(pub(super) Arc<CryptoProvider>);

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _leaf: &CertificateDer<'_>,
            _between: &[CertificateDer<'_>],
            _name: &ServerName<'_>,
            _ocsp: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(
                message,
                cert,
                signature,
                &self.0.signature_verification_algorithms,
            )
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(
                message,
                cert,
                signature,
                &self.0.signature_verification_algorithms,
            )
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A conversation with a target: its connection is kept, and ends with it.
pub struct Client {
    target: Arc<Target>,
    open: Option<(SendRequest<Empty<Bytes>>, AbortHandle)>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

impl Client {
    /// A conversation that has not begun.
    #[must_use]
    pub fn new(target: Arc<Target>) -> Self {
        Self { target, open: None }
    }

    fn close(&mut self) {
        if let Some((_, task)) = self.open.take() {
            task.abort();
        }
    }

    async fn connect(&self) -> Result<Box<dyn Io>, Error> {
        let broken = |e: std::io::Error| self.target.broken(e);
        match &self.target.place {
            Place::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(broken)?)),
            Place::Tcp(socket) => Ok(Box::new(tcp(socket).await.map_err(broken)?)),
            Place::Tls(socket, config, name) => {
                let tcp = tcp(socket).await.map_err(broken)?;
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name.clone(), tcp).await;
                Ok(Box::new(stream.map_err(|e| self.target.broken(format!("tls: {e}")))?))
            }
        }
    }

    async fn dial(&mut self) -> Result<(), Error> {
        let io = tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await;
        let io = io.map_err(|_late| {
            self.target.broken(format!("no connection in {CONNECT_TIMEOUT:?}"))
        })??;
        let (sender, connection) =
            handshake(TokioIo::new(io)).await.map_err(|e| self.target.broken(e))?;
        let task = tokio::task::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        self.open = Some((sender, task.abort_handle()));
        Ok(())
    }

    /// GET of a path with its query, answered within `timeout`.
    ///
    /// # Errors
    /// `Error::Server` when there is no whole answer.
    pub async fn get(
        &mut self,
        path: &str,
        accept: &'static str,
        timeout: Duration,
    ) -> Result<Reply, Error> {
        let asked = tokio::time::timeout(timeout, self.ask(path, accept)).await;
        let reply = asked
            .unwrap_or_else(|_late| Err(self.target.broken(format!("no answer in {timeout:?}"))));
        if reply.is_err() {
            self.close();
        }
        reply
    }

    async fn ask(&mut self, path: &str, accept: &'static str) -> Result<Reply, Error> {
        // A kept connection may have ended meanwhile: then a new one is tried once.
        if self.open.as_ref().is_some_and(|(sender, _)| !sender.is_closed()) {
            match self.over_open(path, accept).await {
                Ok(reply) => return Ok(reply),
                Err(error) => tracing::debug!(%error, "kept connection is gone"),
            }
        }
        self.close();
        self.dial().await?;
        self.over_open(path, accept).await
    }

    async fn over_open(&mut self, path: &str, accept: &'static str) -> Result<Reply, Error> {
        let target = Arc::clone(&self.target);
        let Some((sender, _)) = &mut self.open else {
            return Err(target.broken("there is no connection"));
        };
        let mut request = Request::get(path)
            .header(header::HOST, &target.host)
            .header(header::ACCEPT, accept)
            .body(Empty::new())
            .map_err(|e| target.broken(format!("{path} cannot be asked: {e}")))?;
        let headers = target.headers.iter().map(|(k, v)| (k.clone(), v.clone()));
        request.headers_mut().extend(headers);
        sender.ready().await.map_err(|e| target.broken(e))?;
        let answer = sender.send_request(request).await.map_err(|e| target.broken(e))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, TEMPLATE_ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|e| target.broken(format!("{path}: {e}")))?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }
}

async fn tcp(socket: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(socket).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_their_ports() {
        for (address, expect) in [
            ("127.0.0.1:8500", "127.0.0.1:8500"),
            ("consul", "consul:8500"),
            ("http://consul/", "consul:8500"),
            ("http://[::1]:99", "[::1]:99"),
            ("[::1]", "[::1]:8500"),
        ] {
            let target = Target::new(address, 8500, None).unwrap();
            let Place::Tcp(socket) = &target.place else { panic!("{address}") };
            assert_eq!(socket, expect, "{address}");
        }
        let unix = Target::new("unix:///run/x", 1, None).unwrap();
        assert!(matches!(unix.place, Place::Unix(path) if path == Path::new("/run/x")));
        for wrong in ["", "http://", "ftp://x", "a b", "x:port", "https://x", "u@h:1"] {
            assert!(Target::new(wrong, 1, None).is_err(), "{wrong}");
        }
        let secure = Target::new("https://10.0.0.1:1", 1, Some(&Tls::default())).unwrap();
        assert!(matches!(secure.place, Place::Tls(..)));
        let named = Tls { enabled: true, verify: false, ..Tls::default() };
        let secure = Target::new("consul:8501", 1, Some(&named)).unwrap();
        assert!(matches!(secure.place, Place::Tls(..)));
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused_without_being_told() {
        let settings = Consul { token: "se\ncret".into(), ..Consul::default() };
        let Err(error) = Target::consul(&settings) else { panic!("taken") };
        assert!(!error.to_string().contains("cret"), "{error}");
    }
}
