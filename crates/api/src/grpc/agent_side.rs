//! The agent's side of the gRPC link: dials out, one TLS connection per session.

use super::server_side::frames_of;
use super::{
    ATTACH, ENROLL, EnrollRequest, EnrollResponse, Frame, SESSION, STREAM_HEADER, decode, encode,
};
use crate::link::{AgentLink, Down, Hello, LinkError, SESSION_QUEUE_MAX, Session, Up};
use crate::stream::{Chunk, Duplex, STREAM_QUEUE_MAX};
use crate::tls::{self, Identity, SERVER_NAME};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use model::host::Environment;
use model::id::HostId;
use model::limits::LINK_FRAME_BYTES_MAX;
use rustls::pki_types::ServerName;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

/// A silent server is given up after this.
const KEEPALIVE: Duration = Duration::from_secs(2);
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// The link of an enrolled agent.
#[derive(Clone, Debug)]
pub struct GrpcLink {
    address: String,
    tls: Arc<rustls::ClientConfig>,
    /// Connection of the running session, for `attach`; held for a clone only.
    connection: Arc<Mutex<Option<Connection>>>,
}

impl GrpcLink {
    /// A link to `host:port` for an agent with a certificate.
    ///
    /// # Errors
    /// `TlsError` when the identity cannot be read.
    pub fn new(address: &str, pin: &str, identity: &Identity) -> Result<Self, tls::TlsError> {
        Ok(Self {
            address: address.to_owned(),
            tls: tls::pinned_client_config(pin, Some(identity), tls::ALPN_AGENT)?,
            connection: Arc::default(),
        })
    }

    fn connection(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl AgentLink for GrpcLink {
    async fn connect(&self, hello: Hello) -> Result<Session, LinkError> {
        let connection = dial(&self.address, Arc::clone(&self.tls)).await?;
        *self.connection() = Some(connection.clone());
        let (up, up_rx) = mpsc::channel::<Up>(SESSION_QUEUE_MAX);
        let (down_tx, down) = mpsc::channel(SESSION_QUEUE_MAX);
        let first = tokio_stream::once(Up::Hello(hello));
        let frames =
            first.chain(ReceiverStream::new(up_rx)).filter_map(|message| encode(&message).ok());
        let request = tonic::Request::new(frames);
        let mut frames = call(&self.address, connection, SESSION, request).await?;
        tokio::task::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                match decode::<Down>(&frame) {
                    Ok(message) => {
                        if down_tx.send(message).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::warn!(%error, "frame of a newer server skipped"),
                }
            }
        });
        Ok(Session { down, up })
    }

    async fn attach(&self, stream: u64) -> Result<Duplex, LinkError> {
        let connection = self.connection().clone().ok_or_else(|| LinkError::Unreachable {
            address: self.address.clone(),
            why: "there is no session".into(),
        })?;
        let (tx, out) = mpsc::channel::<Chunk>(STREAM_QUEUE_MAX);
        let (into, rx) = mpsc::channel::<Chunk>(STREAM_QUEUE_MAX);
        let mut request = tonic::Request::new(frames_of(out));
        request.metadata_mut().insert(STREAM_HEADER, stream.into());
        let mut frames = call(&self.address, connection, ATTACH, request).await?;
        tokio::task::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                let Some(chunk) = Chunk::decode(&frame.body) else { return };
                if into.send(chunk).await.is_err() {
                    return;
                }
            }
        });
        Ok(Duplex { tx, rx })
    }
}

/// What enrolment gives: the id, and the identity to keep on the host, 0600.
#[derive(Clone)]
pub struct Enrolled {
    /// The id that the server gave.
    pub host: HostId,
    /// The environment that the host is a member of now.
    pub environment: Environment,
    /// Certificate and key.
    pub identity: Identity,
}

/// Enrols this host: makes a key, sends a request with the token, takes the certificate.
/// The server is trusted only if its CA has the hash in the token.
///
/// # Errors
/// `LinkError::Unreachable` (try again) or `LinkError::Refused` (the token is no good).
pub async fn enroll(
    address: &str,
    token: &str,
    pin: &str,
    host: HostId,
) -> Result<Enrolled, LinkError> {
    let refused = |why: String| LinkError::Refused { address: address.to_owned(), why };
    let tls = tls::pinned_client_config(pin, None, tls::ALPN_AGENT)
        .map_err(|e| refused(e.to_string()))?;
    let (request_pem, key_pem) = tls::make_request().map_err(|e| refused(e.to_string()))?;
    let connection = dial(address, tls).await?;
    let body = EnrollRequest { token: token.to_owned(), host, request_pem };
    let frame = encode(&body).map_err(|e| refused(e.message().to_owned()))?;
    let mut grpc = tonic::client::Grpc::new(connection);
    let codec = ProstCodec::<Frame, Frame>::default();
    let answer = grpc
        .unary(tonic::Request::new(frame), PathAndQuery::from_static(ENROLL), codec)
        .await
        .map_err(|status| link_error(address, &status))?;
    let answer: EnrollResponse =
        decode(answer.get_ref()).map_err(|e| refused(e.message().to_owned()))?;
    let identity = Identity { chain_pem: answer.certificate_pem, key_pem };
    Ok(Enrolled { host: answer.host, environment: answer.environment, identity })
}

fn link_error(address: &str, status: &tonic::Status) -> LinkError {
    let address = address.to_owned();
    let why = status.message().to_owned();
    match status.code() {
        tonic::Code::PermissionDenied
        | tonic::Code::Unauthenticated
        | tonic::Code::AlreadyExists
        | tonic::Code::InvalidArgument
        | tonic::Code::NotFound => LinkError::Refused { address, why },
        _ => LinkError::Unreachable { address, why },
    }
}

async fn call<S>(
    address: &str,
    connection: Connection,
    path: &'static str,
    request: tonic::Request<S>,
) -> Result<tonic::Streaming<Frame>, LinkError>
where
    S: tokio_stream::Stream<Item = Frame> + Send + 'static,
{
    let mut grpc = tonic::client::Grpc::new(connection)
        .max_decoding_message_size(LINK_FRAME_BYTES_MAX)
        .max_encoding_message_size(LINK_FRAME_BYTES_MAX);
    let codec = ProstCodec::<Frame, Frame>::default();
    let answer = grpc
        .streaming(request, PathAndQuery::from_static(path), codec)
        .await
        .map_err(|status| link_error(address, &status))?;
    Ok(answer.into_inner())
}

/// An HTTP/2 connection as tonic's client wants it.
#[derive(Clone, Debug)]
struct Connection(SendRequest<Body>);

impl tower::Service<http::Request<Body>> for Connection {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let mut sender = self.0.clone();
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(http::uri::Scheme::HTTPS);
        parts.authority = Some(http::uri::Authority::from_static(SERVER_NAME));
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
        Box::pin(async move { sender.send_request(request).await })
    }
}

/// A server of another CA will not become ours by trying again.
fn tls_error(address: &str, error: &std::io::Error) -> LinkError {
    let address = address.to_owned();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => LinkError::Foreign { address },
        _ => LinkError::Unreachable { address, why: format!("tls: {error}") },
    }
}

async fn dial(address: &str, tls: Arc<rustls::ClientConfig>) -> Result<Connection, LinkError> {
    let unreachable = |why: String| LinkError::Unreachable { address: address.to_owned(), why };
    let work = async {
        let tcp = TcpStream::connect(address).await.map_err(|e| unreachable(e.to_string()))?;
        tcp.set_nodelay(true).map_err(|e| unreachable(e.to_string()))?;
        let name = ServerName::try_from(SERVER_NAME).map_err(|e| unreachable(e.to_string()))?;
        let stream = tokio_rustls::TlsConnector::from(tls)
            .connect(name, tcp)
            .await
            .map_err(|e| tls_error(address, &e))?;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| unreachable(e.to_string()))?;
        tokio::task::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the server ended");
            }
        });
        Ok(Connection(sender))
    };
    tokio::time::timeout(DIAL_TIMEOUT, work)
        .await
        .map_err(|_elapsed| unreachable(format!("no answer in {DIAL_TIMEOUT:?}")))?
}
