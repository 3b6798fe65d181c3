//! Connections to endpoints, and what a failed one means for the endpoint.

use super::connection::Connection;
use super::endpoint::Endpoint;
use super::shard::Shard;
use super::socket::Socket;
use model::limits::{
    PROXY_ENDPOINT_SILENCE_MS_MAX, PROXY_HEAD_BYTES_MAX, PROXY_PEER_SILENCE_MS_MAX,
};
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// Why there is no connection to an endpoint.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// It did not answer in time.
    #[error("no connection within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The kernel says no.
    #[error("{0}")]
    Refused(io::Error),
}

impl ConnectError {
    /// Does it say something of the endpoint, and not only of this process?
    fn blames_endpoint(&self) -> bool {
        use io::ErrorKind::{
            ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
        };
        match self {
            Self::TimedOut(_) => true,
            Self::Refused(error) => matches!(
                error.kind(),
                ConnectionRefused
                    | ConnectionReset
                    | HostUnreachable
                    | NetworkUnreachable
                    | TimedOut
            ),
        }
    }
}

/// Connects to `endpoint`. A failure puts it out of traffic for a while, a success back in.
pub(super) async fn tcp(
    shard: &Shard,
    endpoint: &Endpoint,
    timeout: Duration,
) -> Result<TcpStream, ConnectError> {
    let began = shard.exact_ms();
    let connected = tokio::time::timeout(timeout, TcpStream::connect(endpoint.shared.addr)).await;
    let error = match connected {
        Ok(Ok(stream)) => {
            shard.counters.connects.count();
            endpoint.shared.ejection.connected();
            if let Err(error) = set_options(&stream) {
                tracing::debug!(%error, "options of a connection to an endpoint were not set");
            }
            return Ok(stream);
        }
        Ok(Err(error)) => ConnectError::Refused(error),
        Err(_elapsed) => ConnectError::TimedOut(timeout),
    };
    shard.counters.connect_failures.count();
    if error.blames_endpoint() {
        endpoint.shared.ejection.failed(shard.exact_ms(), began);
    }
    tracing::debug!(
        endpoint = endpoint.shared.key, addr = %endpoint.shared.addr, %error,
        "endpoint cannot be reached"
    );
    Err(error)
}

/// Connects to `endpoint` for HTTP/1.
pub(super) async fn http(
    shard: &Shard,
    endpoint: &Endpoint,
    timeout: Duration,
) -> Result<Connection, ConnectError> {
    let stream = tcp(shard, endpoint, timeout).await?;
    if let Err(error) = notice_silence(&socket2::SockRef::from(&stream)) {
        tracing::debug!(%error, "options of a connection to an endpoint were not set");
    }
    let socket = Socket::new(stream);
    let connection = Connection::start(socket, 2 * PROXY_HEAD_BYTES_MAX).await;
    connection.map_err(|error| ConnectError::Refused(io::Error::other(error)))
}

/// A peer that vanished without a word is noticed by the kernel.
fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    detect_vanished(&socket2::SockRef::from(stream))
}

/// Sets keep-alive and the longest time without an acknowledgement.
pub(super) fn detect_vanished(socket: &socket2::Socket) -> io::Result<()> {
    detect(socket, Duration::from_millis(PROXY_PEER_SILENCE_MS_MAX))
}

/// The same for a connection that requests wait on.
fn notice_silence(socket: &socket2::Socket) -> io::Result<()> {
    detect(socket, Duration::from_millis(PROXY_ENDPOINT_SILENCE_MS_MAX))
}

/// Keep-alive begins after half of `silence`, in whole seconds as the kernel has it.
fn detect(socket: &socket2::Socket, silence: Duration) -> io::Result<()> {
    let second = Duration::from_secs(1);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time((silence / 2).max(second))
        .with_interval((silence / 5).max(second))
        .with_retries(4);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(silence))
}

/// Did an endpoint fall silent: nothing of what was sent to it has been acknowledged for long?
pub(super) fn is_silence(error: &(dyn std::error::Error + 'static)) -> bool {
    let is = |error: &(dyn std::error::Error + 'static)| {
        error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::TimedOut)
    };
    std::iter::successors(Some(error), |error| error.source()).any(is)
}
