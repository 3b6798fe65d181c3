//! UDP forward: a session for each client address, to one endpoint, until it is quiet for long.

use super::config::EndpointState;
use super::endpoint::Lease;
use super::listening::{Listening, Mode};
use super::shard::Shard;
use model::limits::{PROXY_UDP_DRAIN_IDLE_MS_MAX, PROXY_UDP_IDLE_MS_MAX, PROXY_UDP_SESSIONS_MAX};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::{Rc, Weak};
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinHandle};

/// Datagrams taken before other tasks get their turn.
const BURST: usize = 32;

/// What receives on one socket of a listener in one shard.
#[derive(Debug)]
pub(super) struct Task {
    flow: Rc<Flow>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Flow {
    shard: Rc<Shard>,
    listening: Weak<Listening>,
    socket: UdpSocket,
    sessions: RefCell<HashMap<SocketAddr, Session>>,
}

#[derive(Debug)]
struct Session {
    socket: Rc<UdpSocket>,
    last_ms: Rc<Cell<u64>>,
    lease: Lease,
    replies: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.replies.abort();
    }
}

impl Task {
    /// Receives on `socket` until `stop`.
    pub(super) fn start(
        shard: &Rc<Shard>,
        listening: &Rc<Listening>,
        socket: std::net::UdpSocket,
    ) -> io::Result<Self> {
        let flow = Rc::new(Flow {
            shard: Rc::clone(shard),
            listening: Rc::downgrade(listening),
            socket: UdpSocket::from_std(socket)?,
            sessions: RefCell::default(),
        });
        let task = tokio::task::spawn_local(receive(Rc::clone(&flow)));
        Ok(Self { flow, task })
    }

    /// Ends sessions that are quiet, or whose endpoint is gone.
    pub(super) fn sweep(&self, now_ms: u64) {
        self.flow.sessions.borrow_mut().retain(|_, session| {
            let idle = now_ms.saturating_sub(session.last_ms.get());
            session.is_usable()
                && match session.lease.0.state.get() {
                    EndpointState::Up | EndpointState::Doubtful => idle <= PROXY_UDP_IDLE_MS_MAX,
                    _ => idle <= PROXY_UDP_DRAIN_IDLE_MS_MAX,
                }
        });
    }

    /// Stops receiving and ends all sessions.
    pub(super) async fn stop(self) {
        self.task.abort();
        if let Err(error) = self.task.await
            && !error.is_cancelled()
        {
            tracing::error!(%error, "a listener's task broke");
        }
        self.flow.sessions.take();
    }
}

impl Session {
    fn is_usable(&self) -> bool {
        self.lease.0.state.get() != EndpointState::Down && !self.lease.is_cut()
    }
}

async fn receive(flow: Rc<Flow>) {
    loop {
        if let Err(error) = flow.socket.readable().await {
            tracing::warn!(%error, "a socket for datagrams broke");
            return;
        }
        for _ in 0..BURST {
            let scratch = &mut *flow.shard.scratch.borrow_mut();
            match flow.socket.try_recv_from(scratch) {
                Ok((size, client)) => flow.forward(client, &scratch[..size]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => tracing::debug!(%error, "a datagram could not be received"),
            }
        }
        tokio::task::yield_now().await;
    }
}

impl Flow {
    /// Sends a client's datagram to its endpoint; to another one when that refuses it.
    fn forward(self: &Rc<Self>, client: SocketAddr, bytes: &[u8]) {
        let counters = &self.shard.counters;
        counters.datagrams.count();
        for _ in 0..2 {
            let usable = self.sessions.borrow().get(&client).is_some_and(Session::is_usable);
            if !usable {
                self.sessions.borrow_mut().remove(&client);
                if let Err(error) = self.open(client) {
                    tracing::debug!(%client, %error, "a datagram was dropped");
                    counters.datagrams_dropped.count();
                    return;
                }
            }
            let sent = match self.sessions.borrow().get(&client) {
                Some(session) => {
                    session.last_ms.set(self.shard.coarse_ms());
                    session.socket.try_send(bytes)
                }
                None => return,
            };
            match sent {
                Ok(_) => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.refused(client);
                }
                // A full buffer, or too large a datagram: it is lost, as on any way.
                Err(error) => {
                    tracing::debug!(%client, %error, "a datagram was dropped");
                    counters.datagrams_dropped.count();
                    return;
                }
            }
        }
    }

    /// The endpoint's host says that nobody listens there.
    fn refused(&self, client: SocketAddr) {
        if let Some(session) = self.sessions.borrow_mut().remove(&client) {
            let now = self.shard.exact_ms();
            session.lease.0.shared.ejection.failed(now, now);
        }
    }

    fn open(self: &Rc<Self>, client: SocketAddr) -> io::Result<()> {
        if self.sessions.borrow().len() >= PROXY_UDP_SESSIONS_MAX {
            return Err(io::Error::other("too many sessions"));
        }
        let mode = self.listening.upgrade().map(|listening| listening.mode());
        let Some(Mode::Forward(target)) = mode else {
            return Err(io::Error::other("the listener has no upstream"));
        };
        let upstream = target.upstream.borrow().clone();
        let endpoint = upstream.and_then(|upstream| upstream.pick(&[]));
        let lease = Lease::new(endpoint.ok_or_else(|| io::Error::other("no endpoint"))?);
        let addr = lease.0.shared.addr;
        let any = match addr {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.connect(addr)?;
        socket.set_nonblocking(true)?;
        let socket = Rc::new(UdpSocket::from_std(socket)?);
        let last_ms = Rc::new(Cell::new(self.shard.coarse_ms()));
        let replies = reply(Rc::clone(self), client, Rc::clone(&socket), Rc::clone(&last_ms));
        let replies = tokio::task::spawn_local(replies).abort_handle();
        lease.0.shared.count_request();
        let session = Session { socket, last_ms, lease, replies };
        self.sessions.borrow_mut().insert(client, session);
        Ok(())
    }
}

/// Sends what the endpoint says back to the client, until the session ends.
async fn reply(flow: Rc<Flow>, client: SocketAddr, socket: Rc<UdpSocket>, last_ms: Rc<Cell<u64>>) {
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        for _ in 0..BURST {
            let scratch = &mut *flow.shard.scratch.borrow_mut();
            match socket.try_recv(scratch) {
                Ok(size) => {
                    last_ms.set(flow.shard.coarse_ms());
                    if let Err(error) = flow.socket.try_send_to(&scratch[..size], client) {
                        tracing::debug!(%client, %error, "a reply was dropped");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return flow.refused(client);
                }
                Err(error) => tracing::debug!(%error, "a reply could not be received"),
            }
        }
        tokio::task::yield_now().await;
    }
}
