//! Connections of a check through the overlay: who connects says the number of the check and hears
//! it again.

use super::{ProbeWish, Wires};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use model::limits::{NET_CHECK_PEERS_PARALLEL_MAX, NET_CHECK_TCP_MS_MAX};
use model::net_check::NetTarget;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_millis(NET_CHECK_TCP_MS_MAX);
/// Connections that wait to be taken.
const BACKLOG: u32 = 64;

fn socket(wish: &ProbeWish) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    if let Some(device) = &wish.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    socket.bind(SocketAddr::new(wish.address.into(), 0))?;
    Ok(socket)
}

/// Listens where only hosts of the overlay reach it.
pub(super) fn listen(wish: &ProbeWish) -> io::Result<TcpListener> {
    socket(wish)?.listen(BACKLOG)
}

/// Answers who knows the number of the check, for ever.
pub(super) async fn serve(listener: TcpListener, check: u64) {
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            come = listener.accept(), if open.len() < NET_CHECK_PEERS_PARALLEL_MAX => match come {
                Ok((stream, _)) => open.push(timeout(PATIENCE, answer(stream, check))),
                Err(error) => {
                    tracing::debug!(%error, "connection of a check not taken");
                    tokio::time::sleep(PATIENCE / 10).await;
                }
            },
            Some(done) = open.next() => if let Ok(Err(error)) = done {
                tracing::debug!(%error, "connection of a check broke");
            },
        }
    }
}

async fn answer(mut stream: TcpStream, check: u64) -> io::Result<()> {
    if stream.read_u64().await? == check {
        stream.write_u64(check).await?;
    }
    stream.shutdown().await
}

/// Connects to all of them and notes why one cannot be reached.
pub(super) async fn connect_all(wires: &Wires, targets: &[NetTarget]) {
    let all: FuturesUnordered<_> = targets
        .iter()
        .map(|target| async move {
            let why = match timeout(PATIENCE, connect(&wires.wish, target)).await {
                Ok(Ok(())) => String::new(),
                Ok(Err(error)) => error.to_string(),
                Err(_elapsed) => format!("no connection within {PATIENCE:?}"),
            };
            let mut book = wires.book();
            let peer = book.peer(target.number);
            peer.connected = why.is_empty();
            peer.tcp = why;
        })
        .collect();
    all.collect::<Vec<()>>().await;
}

async fn connect(wish: &ProbeWish, target: &NetTarget) -> io::Result<()> {
    let at = SocketAddrV4::new(target.address, target.tcp_port);
    let mut stream = socket(wish)?.connect(at.into()).await?;
    stream.write_u64(wish.check).await?;
    let heard = stream.read_u64().await?;
    if heard == wish.check {
        return Ok(());
    }
    Err(io::Error::other("somebody else answers"))
}
