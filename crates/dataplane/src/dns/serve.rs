//! The loops that take questions: a thread per UDP socket that does nothing but receive, answer
//! and send, and a task per TCP connection.

use super::Shared;
use super::answer::{self, Step, Transport, answer};
use super::forward::kept::{Asker, Key};
use super::forward::{Ask, ReplyTo};
use super::later::Waiting;
use super::wire::{self, Name, Query, Rcode, Reply};
use model::limits::{DNS_TCP_CONNECTIONS_MAX, DNS_TCP_IDLE_MS_MAX};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Receives until the socket is ended.
pub(super) fn udp(socket: &Arc<UdpSocket>, shared: &Shared, asks: &mpsc::Sender<Ask>) {
    let mut rng = SmallRng::from_os_rng();
    let mut message = [0u8; 4_096];
    let mut out = Vec::with_capacity(4_096);
    loop {
        let (length, from) = match socket.recv_from(&mut message) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                if shared.stopping.load(Ordering::Acquire) {
                    return;
                }
                // Out of memory and the like: it goes on when it has passed.
                tracing::warn!(%error, "dns question not received");
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        if length == 0 && shared.stopping.load(Ordering::Acquire) {
            return;
        }
        let table = shared.table.load();
        shared.queries.fetch_add(1, Ordering::Relaxed);
        let message = &message[..length];
        match answer(message, from.ip(), Transport::Udp, &table, &mut rng, &mut out) {
            Step::Send => {}
            Step::Drop => continue,
            Step::Forward(query) => {
                let to = || Some(ReplyTo::Udp { socket: socket.clone(), to: from });
                let asking = Asking { query: &query, target: None, transport: Transport::Udp };
                if !forward(asking, from.ip(), shared, asks, to, &mut out) {
                    continue;
                }
            }
            Step::Chase(query, target, ttl) => {
                let to = || Some(ReplyTo::Udp { socket: socket.clone(), to: from });
                let target = Some((target, ttl));
                let asking = Asking { query: &query, target, transport: Transport::Udp };
                if !forward(asking, from.ip(), shared, asks, to, &mut out) {
                    continue;
                }
            }
            Step::Later(query, name) => {
                let to = ReplyTo::Udp { socket: socket.clone(), to: from };
                if !later(message, &query, name, (from.ip(), Transport::Udp), shared, to, &mut out)
                {
                    continue;
                }
            }
        }
        if let Err(error) = socket.send_to(&out, from) {
            tracing::debug!(%from, %error, "dns answer not sent");
        }
    }
}

/// True when the answer is in `out` already: too many wait. Else it comes by `to`.
fn later(
    message: &[u8],
    query: &Query<'_>,
    name: Arc<str>,
    (source, transport): (IpAddr, Transport),
    shared: &Shared,
    to: ReplyTo,
    out: &mut Vec<u8>,
) -> bool {
    let waiting = Waiting { message: message.into(), name, source, transport, to };
    if shared.later.try_send(waiting).is_ok() {
        return false;
    }
    tracing::debug!(%source, "too many names are being asked for");
    Reply::to(query, out, answer::limit(query, transport), Rcode::ServFail).finish();
    true
}

/// What the host's resolvers are to be asked.
pub(super) struct Asking<'a, 'b> {
    pub(super) query: &'a Query<'b>,
    /// The name that is asked instead, for which ours stands, and for how many seconds it does.
    pub(super) target: Option<(Name, u32)>,
    pub(super) transport: Transport,
}

/// True when the answer is in `out` already; else it comes by `to`.
pub(super) fn forward(
    asking: Asking<'_, '_>,
    source: IpAddr,
    shared: &Shared,
    asks: &mpsc::Sender<Ask>,
    to: impl FnOnce() -> Option<ReplyTo>,
    out: &mut Vec<u8>,
) -> bool {
    let Asking { query, target, transport } = asking;
    let mut key = Key::of(query, shared.table.load().servers(source));
    let limit = answer::limit(query, transport);
    let mut asker = Asker::of(query, limit);
    if let Some((name, ttl)) = target {
        key.name = name.as_wire().into();
        asker.stands_for = Some((name.as_wire().into(), ttl));
    }
    let now = Instant::now();
    if let Some(kept) = shared.cache.with(|cache| cache.get(&key, now)) {
        kept.write(&asker, now, out);
        return true;
    }
    shared.forwarded.fetch_add(1, Ordering::Relaxed);
    // Room first: without it who asks is answered here.
    if let Ok(room) = asks.try_reserve()
        && let Some(to) = to()
    {
        room.send(Ask { key, asker, to });
        return false;
    }
    tracing::debug!(%source, "too many dns questions at a time");
    Reply::to(query, out, limit, Rcode::ServFail).finish();
    true
}

/// Accepts until it is dropped.
pub(super) async fn tcp(listener: TcpListener, shared: Arc<Shared>, asks: mpsc::Sender<Ask>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < DNS_TCP_CONNECTIONS_MAX => {
                match accepted {
                    Ok((stream, from)) => {
                        connections.spawn(connection(stream, from, shared.clone(), asks.clone()));
                    }
                    Err(error) => {
                        tracing::debug!(%error, "dns connection not accepted");
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection(
    mut stream: TcpStream,
    from: SocketAddr,
    shared: Arc<Shared>,
    asks: mpsc::Sender<Ask>,
) {
    let idle = Duration::from_millis(DNS_TCP_IDLE_MS_MAX);
    let mut out = vec![];
    loop {
        let message = async {
            let length = stream.read_u16().await?;
            let mut message = vec![0; usize::from(length)];
            stream.read_exact(&mut message).await?;
            io::Result::Ok(message)
        };
        let Ok(Ok(message)) = tokio::time::timeout(idle, message).await else { return };
        shared.queries.fetch_add(1, Ordering::Relaxed);
        if !reply(&message, from.ip(), &shared, &asks, &mut out).await {
            return;
        }
        let Ok(length) = u16::try_from(out.len()) else { return };
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&out);
        let Ok(Ok(())) = tokio::time::timeout(idle, stream.write_all(&framed)).await else {
            return;
        };
    }
}

/// False when there is no answer, and the connection is of no use.
async fn reply(
    message: &[u8],
    source: IpAddr,
    shared: &Shared,
    asks: &mpsc::Sender<Ask>,
    out: &mut Vec<u8>,
) -> bool {
    let mut rng = SmallRng::from_os_rng();
    let step = answer(message, source, Transport::Tcp, &shared.table.load(), &mut rng, out);
    let (query, target) = match step {
        Step::Send => return true,
        Step::Drop => return false,
        Step::Forward(query) => (query, None),
        Step::Chase(query, target, ttl) => (query, Some((target, ttl))),
        Step::Later(query, name) => {
            let (sender, receiver) = oneshot::channel();
            let (to, by) = (ReplyTo::Tcp(sender), (source, Transport::Tcp));
            if !later(message, &query, name, by, shared, to, out) {
                hear(receiver, message, out).await;
            }
            return true;
        }
    };
    let (sender, receiver) = oneshot::channel();
    let asking = Asking { query: &query, target, transport: Transport::Tcp };
    if !forward(asking, source, shared, asks, || Some(ReplyTo::Tcp(sender)), out) {
        hear(receiver, message, out).await;
    }
    true
}

async fn hear(receiver: oneshot::Receiver<Vec<u8>>, message: &[u8], out: &mut Vec<u8>) {
    match receiver.await {
        Ok(answer) => *out = answer,
        Err(_forwarder_ended) => wire::refuse(message, Rcode::ServFail, out),
    }
}
