//! The sockets of the metadata service, and its connections. How many there are is bounded, in all
//! and for each caller, so that nobody keeps the others out.

use super::respond::respond;
use super::{Listening, Shared};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::limits::{
    METADATA_BIND_RETRY_MS, METADATA_CONNECTIONS_MAX, METADATA_HEAD_BYTES_MAX,
    METADATA_HEAD_MS_MAX, METADATA_WRITE_MS_MAX,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections that the kernel has taken and we have not.
const BACKLOG: i32 = 1_024;

/// Listens at all addresses; it never returns.
pub(super) async fn run(
    listen: Vec<SocketAddr>,
    shared: Arc<Shared>,
    status: watch::Sender<Listening>,
) {
    let status = Arc::new(status);
    let mut tasks = JoinSet::new();
    for addr in listen {
        tasks.spawn(one(addr, shared.clone(), status.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "metadata task failed");
        }
    }
    std::future::pending::<()>().await;
}

async fn one(addr: SocketAddr, shared: Arc<Shared>, status: Arc<watch::Sender<Listening>>) {
    let mut told = String::new();
    let listener = loop {
        match bind(addr).and_then(|listener| Ok((listener.local_addr()?, listener))) {
            Ok((bound, listener)) => {
                tracing::info!(addr = %bound, "metadata listens");
                status.send_modify(|all| _ = all.insert(addr, Ok(bound)));
                break listener;
            }
            Err(error) => {
                let text = error.to_string();
                if text != told {
                    tracing::warn!(%addr, %error, "metadata cannot listen, trying again");
                    status.send_modify(|all| _ = all.insert(addr, Err(text.clone())));
                    told = text;
                }
                tokio::time::sleep(Duration::from_millis(METADATA_BIND_RETRY_MS)).await;
            }
        }
    };
    accept(listener, shared).await;
}

/// The address may come later, and go and come back. Never shares a port with another process.
fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv4() {
        socket.set_freebind_v4(true)?;
    } else {
        socket.set_freebind_v6(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => match Seat::take(&shared, from.ip()) {
                    Some(seat) => _ = connections.spawn(connection(stream, from.ip(), seat)),
                    None => refuse(&stream),
                },
                Err(error) => {
                    tracing::debug!(%error, "connection for metadata not accepted");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// What fits into the send buffer of a new connection is all that it gets.
fn refuse(stream: &TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\
        Content-Length: 45\r\nConnection: close\r\n\r\ntoo many connections to the metadata service\n";
    if let Err(error) = stream.try_write(ANSWER) {
        tracing::trace!(%error, "caller refused without a word");
    }
}

/// A connection counts until it ends.
#[derive(Debug)]
struct Seat {
    shared: Arc<Shared>,
    caller: IpAddr,
}

impl Seat {
    fn take(shared: &Arc<Shared>, caller: IpAddr) -> Option<Self> {
        let mut callers = shared.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let free = METADATA_CONNECTIONS_MAX.saturating_sub(callers.values().sum());
        let own = callers.entry(caller).or_default();
        if *own >= 4 * free {
            if *own == 0 {
                callers.remove(&caller);
            }
            return None;
        }
        *own += 1;
        Some(Self { shared: Arc::clone(shared), caller })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut callers = self.shared.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = callers.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                callers.remove(&self.caller);
            }
        }
    }
}

async fn connection(stream: TcpStream, source: IpAddr, seat: Seat) {
    // One who takes nothing of an answer is not waited for.
    let patience = Duration::from_millis(METADATA_WRITE_MS_MAX);
    let set = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(patience));
    if let Err(error) = set.and_then(|()| stream.set_nodelay(true)) {
        tracing::debug!(%error, "connection for metadata without its options");
    }
    let shared = &seat.shared;
    let service = service_fn(move |request| respond(request, source, Arc::clone(shared)));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(METADATA_HEAD_MS_MAX))
        .max_buf_size(METADATA_HEAD_BYTES_MAX)
        .half_close(false);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::trace!(%error, "connection for metadata ended");
    }
}
