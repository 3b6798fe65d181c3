//! One connection of the agent to the server: TLS, HTTP/2, and calls over it.

use super::{Frame, decode, encode};
use crate::link::LinkError;
use crate::tls::SERVER_NAME;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use model::limits::LINK_FRAME_BYTES_MAX;
use model::time::Timestamp;
use rustls::CertificateError;
use rustls::pki_types::{ServerName, UnixTime};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

/// A silent server is given up after this.
const KEEPALIVE: Duration = Duration::from_secs(2);
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection that carries much may be silent: an answer waits behind what is on its way.
const BULK_KEEPALIVE: Duration = Duration::from_secs(6);
/// So much of a bulky stream is on its way to the agent at a time, in bytes.
const BULK_WINDOW_BYTES: u32 = 512 * 1024;
/// So much of one answer to a client is on its way to the agent at a time, in bytes, …
const ANSWER_WINDOW_BYTES: u32 = 256 * 1024;
/// … and of all of them: a client that does not read holds up only its own.
const ANSWERS_WINDOW_BYTES: u32 = 128 * 1024 * 1024;
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// A session: little, and soon.
    Session,
    /// One stream that carries much.
    Bulk,
    /// What clients of this host ask: many streams, most of which wait.
    Forwards,
}

impl Load {
    /// Windows of a stream and of the connection, in bytes; none is hyper's choice.
    fn windows(self) -> Option<(u32, u32)> {
        match self {
            Self::Session => None,
            Self::Bulk => Some((BULK_WINDOW_BYTES, BULK_WINDOW_BYTES)),
            Self::Forwards => Some((ANSWER_WINDOW_BYTES, ANSWERS_WINDOW_BYTES)),
        }
    }

    fn keepalive(self) -> Duration {
        match self {
            Self::Session => KEEPALIVE,
            Self::Bulk | Self::Forwards => BULK_KEEPALIVE,
        }
    }
}

/// What an answer of the server means to an agent.
fn link_error(address: &str, status: &tonic::Status) -> LinkError {
    let address = address.to_owned();
    let why = status.message().to_owned();
    match status.code() {
        tonic::Code::PermissionDenied
        | tonic::Code::AlreadyExists
        | tonic::Code::InvalidArgument
        | tonic::Code::NotFound => LinkError::Refused { address, why },
        tonic::Code::Unauthenticated => LinkError::Void { address, why },
        _ => LinkError::Unreachable { address, why },
    }
}

/// One question, one answer.
pub(super) async fn call_once<Q: Serialize, A: DeserializeOwned>(
    address: &str,
    connection: Connection,
    path: &'static str,
    question: &Q,
) -> Result<A, LinkError> {
    let frame = encode(question).map_err(|status| link_error(address, &status))?;
    let mut grpc = tonic::client::Grpc::new(connection);
    let codec = ProstCodec::<Frame, Frame>::default();
    let asked = grpc.unary(tonic::Request::new(frame), PathAndQuery::from_static(path), codec);
    let answer = tokio::time::timeout(CALL_TIMEOUT, asked).await.map_err(|_elapsed| {
        let why = format!("no answer in {CALL_TIMEOUT:?}");
        LinkError::Unreachable { address: address.to_owned(), why }
    })?;
    let answer = answer.map_err(|status| link_error(address, &status))?;
    decode(answer.get_ref()).map_err(|status| link_error(address, &status))
}

/// Opens a stream of frames both ways.
pub(super) async fn call<S>(
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
pub(super) struct Connection(SendRequest<Body>);

impl Connection {
    /// Has it ended?
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

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
    let text = |time: UnixTime| {
        Timestamp(i64::try_from(time.as_secs()).unwrap_or(0).saturating_mul(1_000)).utc()
    };
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
            time,
            not_before,
        })) => LinkError::Clock {
            address,
            why: format!(
                "it is good from {}, and the clock of this host says {}; set the clocks (chrony or \
                 ntpd), and the agent connects by itself",
                text(*not_before),
                text(*time)
            ),
        },
        Some(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
            time,
            not_after,
        })) => LinkError::Clock {
            address,
            why: format!(
                "it was good until {}, and the clock of this host says {}; set the clocks (chrony \
                 or ntpd), or restart the server, which makes a new one",
                text(*not_after),
                text(*time)
            ),
        },
        Some(rustls::Error::InvalidCertificate(_)) => LinkError::Foreign { address },
        _ => LinkError::Unreachable { address, why: format!("tls: {error}") },
    }
}

/// Connects.
pub(super) async fn dial(
    address: &str,
    tls: Arc<rustls::ClientConfig>,
    load: Load,
) -> Result<Connection, LinkError> {
    let unreachable = |why: String| LinkError::Unreachable { address: address.to_owned(), why };
    let work = async {
        let tcp = TcpStream::connect(address).await.map_err(|e| unreachable(e.to_string()))?;
        tcp.set_nodelay(true).map_err(|e| unreachable(e.to_string()))?;
        let name = ServerName::try_from(SERVER_NAME).map_err(|e| unreachable(e.to_string()))?;
        let stream = tokio_rustls::TlsConnector::from(tls)
            .connect(name, tcp)
            .await
            .map_err(|e| tls_error(address, &e))?;
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        if let Some((stream, connection)) = load.windows() {
            builder.initial_stream_window_size(stream).initial_connection_window_size(connection);
        }
        let (sender, connection) = builder
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(load.keepalive())
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
