//! The listener: HTTP/1.1 on one port, bodies read whole within their limit, connections counted.
//! It knows no endpoint; who answers is a `Handler`.

use crate::answer::Answer;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::limits::{CONSUL_BODY_BYTES_MAX, CONSUL_CONNECTIONS_MAX, CONSUL_SNAPSHOT_BYTES_MAX};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A connection that says nothing for so long is closed. Clients close theirs after 90 s.
const IDLE: Duration = Duration::from_secs(120);
/// A body of which nothing comes for so long is given up.
const BODY_SILENCE: Duration = Duration::from_secs(30);
/// Connections that are refused at a time; more are closed without a word.
const REFUSALS: usize = 64;
/// Longest time that a refusal takes.
const REFUSAL: Duration = Duration::from_secs(5);
/// Pause before a port that somebody has is tried again.
const BIND_AGAIN: Duration = Duration::from_secs(2);

/// A body on its way out.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A request that has come, with its whole body.
#[derive(Debug)]
pub struct Arrived {
    /// Its head.
    pub parts: Parts,
    /// Its body.
    pub body: Bytes,
    /// The host whose agent it came to; `None` when it came to the server itself.
    pub node: Option<String>,
}

/// Who answers.
pub trait Handler: Clone + Send + Sync + 'static {
    /// The answer to a request whose head alone says that it will not be let through: its body is
    /// not read, and holds nobody up.
    fn refuses(&self, _parts: &Parts) -> Option<Answer> {
        None
    }

    /// Room for bodies of snapshots, which are large: one that finds none is not read.
    fn snapshot_room(&self) -> &Semaphore;

    /// Answers one request. Dropped when the client hangs up.
    fn handle(&self, arrived: Arrived) -> impl Future<Output = http::Response<Body>> + Send;
}

/// Listens on `address` for ever. While somebody else has the port it says so once and tries
/// again; that is no error, since the server of this machine may have it.
pub async fn serve(address: SocketAddr, handler: impl Handler) {
    serve_at_most(CONSUL_CONNECTIONS_MAX, address, handler).await;
}

/// The same with room for another number of connections.
pub async fn serve_at_most(most: usize, address: SocketAddr, handler: impl Handler) {
    let mut told = false;
    let socket = loop {
        match TcpListener::bind(address).await {
            Ok(socket) => break socket,
            Err(error) => {
                if !told {
                    tracing::info!(%address, %error, "consul port is taken or its address is not there yet, tried again until it can be had");
                }
                told = true;
                tokio::time::sleep(BIND_AGAIN).await;
            }
        }
    };
    tracing::info!(%address, "consul api listens");
    accept_at_most(most, socket, handler).await;
}

/// Serves a socket for ever. Blocking queries of every client of a host may wait at a time; who
/// comes when there is no room is told so at once, since in the kernel's queue he would wait for
/// minutes without a word.
pub async fn accept(socket: TcpListener, handler: impl Handler) {
    accept_at_most(CONSUL_CONNECTIONS_MAX, socket, handler).await;
}

async fn accept_at_most(most: usize, socket: TcpListener, handler: impl Handler) {
    let (room, refusals) = (Arc::new(Semaphore::new(most)), Arc::new(Semaphore::new(REFUSALS)));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let (tcp, peer) = match socket.accept().await {
            Ok(come) => come,
            Err(error) => {
                tracing::warn!(%error, "connection to the consul api not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if let Ok(place) = Arc::clone(&room).try_acquire_owned() {
            let handler = handler.clone();
            tasks.spawn(async move {
                let _place = place;
                connection(tcp, peer, handler).await;
            });
        } else if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
            tasks.spawn(async move {
                let _place = place;
                refuse(tcp, peer, most).await;
            });
        }
    }
}

/// Answers the first request of a connection for which there is no room, and closes it.
async fn refuse(tcp: TcpStream, peer: SocketAddr, most: usize) {
    let service = service_fn(move |_request| async move {
        let text = format!("{most} connections are open here: close some, or ask another agent");
        let mut response = respond(Answer::error(StatusCode::TOO_MANY_REQUESTS, text));
        response.headers_mut().insert("connection", http::HeaderValue::from_static("close"));
        Ok::<_, Infallible>(response)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REFUSAL)
        .serve_connection(TokioIo::new(tcp), service);
    let served = tokio::time::timeout(REFUSAL, served).await;
    tracing::debug!(%peer, most, ?served, "connection refused, there is no room");
}

async fn connection(tcp: TcpStream, peer: SocketAddr, handler: impl Handler) {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%peer, %error, "connection of a client");
    }
    let service = service_fn(|request| {
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(take(request, None, &handler).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(tcp), service);
    if let Err(error) = served.await {
        tracing::debug!(%peer, %error, "connection of a client ended");
    }
}

/// Reads the body of a request within its limit and has it answered. `node` is the host whose
/// agent it came to, `None` for the server itself.
pub async fn take<B>(
    request: http::Request<B>,
    node: Option<String>,
    handler: &impl Handler,
) -> http::Response<Body>
where
    B: http_body::Body<Data = Bytes> + Unpin + Send,
    B::Error: std::fmt::Display,
{
    let (parts, incoming) = request.into_parts();
    if let Some(answer) = handler.refuses(&parts) {
        return respond(answer);
    }
    let is_snapshot = parts.method == Method::PUT && parts.uri.path() == "/v1/snapshot";
    let (max, _room) = match is_snapshot {
        false => (CONSUL_BODY_BYTES_MAX, None),
        true => match handler.snapshot_room().try_acquire() {
            Ok(room) => (CONSUL_SNAPSHOT_BYTES_MAX, Some(room)),
            Err(_none) => return respond(busy()),
        },
    };
    match read(incoming, max).await {
        Ok(body) => handler.handle(Arrived { parts, body, node }).await,
        Err(answer) => respond(answer),
    }
}

fn busy() -> Answer {
    let why = "another snapshot is being put back: try again when that is done";
    let again = http::HeaderValue::from_static("5");
    Answer::error(StatusCode::TOO_MANY_REQUESTS, why).with(http::header::RETRY_AFTER, again)
}

async fn read<B>(mut incoming: B, max: usize) -> Result<Bytes, Answer>
where
    B: http_body::Body<Data = Bytes> + Unpin + Send,
    B::Error: std::fmt::Display,
{
    let hint = incoming.size_hint();
    let told = usize::try_from(hint.lower()).unwrap_or(usize::MAX);
    if told > max {
        return Err(Answer::too_large(told, max));
    }
    let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
    loop {
        let frame = tokio::time::timeout(BODY_SILENCE, incoming.frame()).await;
        let frame = frame.map_err(|_silent| {
            Answer::error(StatusCode::REQUEST_TIMEOUT, "the body of the request did not come")
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|e| Answer::bad(format!("Failed to read the body: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let bytes = first.len() + rest.len() + data.len();
        if bytes > max {
            return Err(Answer::too_large(bytes, max));
        }
        match (first.is_empty(), rest.is_empty()) {
            (true, true) => first = data,
            (_, true) => {
                rest.extend_from_slice(&first);
                rest.extend_from_slice(&data);
                first = Bytes::new();
            }
            (_, false) => rest.extend_from_slice(&data),
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// An answer as HTTP.
#[must_use]
pub fn respond(answer: Answer) -> http::Response<Body> {
    let body = Full::new(answer.body).map_err(|never| match never {}).boxed_unsync();
    let mut response = http::Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = *answer.headers;
    response.headers_mut().insert("vary", http::HeaderValue::from_static("Accept-Encoding"));
    response
}

#[cfg(test)]
mod tests;
