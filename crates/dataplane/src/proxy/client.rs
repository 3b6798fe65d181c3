//! A client's HTTP connection: who it is, whether it is busy, and when it has been idle too long.

use super::bell::Bell;
use super::headers::Forwarded;
use super::listening::Listening;
use super::shard::Shard;
use super::socket::Socket;
use http::{HeaderName, HeaderValue};
use model::limits::{PROXY_CLIENT_IDLE_MS_MAX, PROXY_HEAD_MS_MAX};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// A client's connection, shared by its task, its request and the shard's sweep.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) shard: Rc<Shard>,
    pub(super) listening: Rc<Listening>,
    pub(super) forwarded: Forwarded,
    /// Rings to close it once it is idle.
    pub(super) close: Rc<Bell>,
    /// Rings to close it now.
    pub(super) abort: Rc<Bell>,
    /// Rings with every request.
    pub(super) asked: Rc<Bell>,
    /// Room for a copy of a request's headers, used again by the next request.
    pub(super) spare_headers: RefCell<Vec<(HeaderName, HeaderValue)>>,
    socket: Arc<Socket>,
    busy: Cell<bool>,
    idle: Cell<Idle>,
}

/// Since when nothing, or only a part of a head, has come.
#[derive(Clone, Copy, Debug)]
struct Idle {
    since_ms: u64,
    received: u64,
    head_since_ms: Option<u64>,
}

impl Client {
    /// A connection that has not asked anything yet.
    pub(super) fn new(
        shard: Rc<Shard>,
        listening: Rc<Listening>,
        forwarded: Forwarded,
        socket: Arc<Socket>,
    ) -> Rc<Self> {
        let now = shard.coarse_ms();
        // A new connection has as long for its first byte as for the rest of its head.
        let idle = Idle { since_ms: now, received: 0, head_since_ms: Some(now) };
        Rc::new(Self {
            shard,
            listening,
            forwarded,
            close: Rc::default(),
            abort: Rc::default(),
            asked: Rc::default(),
            spare_headers: RefCell::default(),
            socket,
            busy: Cell::new(false),
            idle: Cell::new(idle),
        })
    }

    /// Closes it when it has been idle, or at its head, for too long.
    pub(super) fn sweep(&self, now_ms: u64) {
        if self.busy.get() {
            return;
        }
        let mut idle = self.idle.get();
        match idle.head_since_ms {
            Some(since) if now_ms.saturating_sub(since) > PROXY_HEAD_MS_MAX => self.abort.ring(),
            Some(_) => {}
            None if self.socket.received() != idle.received => {
                idle.head_since_ms = Some(now_ms);
                self.idle.set(idle);
            }
            None if now_ms.saturating_sub(idle.since_ms) > PROXY_CLIENT_IDLE_MS_MAX => {
                self.close.ring();
            }
            None => {}
        }
    }
}

/// A request of a client in progress, until its answer is complete.
#[derive(Debug)]
pub(super) struct Busy(pub(super) Rc<Client>);

impl Busy {
    /// The client's head is complete.
    pub(super) fn new(client: Rc<Client>) -> Self {
        client.busy.set(true);
        client.asked.ring();
        Self(client)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let client = &self.0;
        client.busy.set(false);
        client.idle.set(Idle {
            since_ms: client.shard.coarse_ms(),
            received: client.socket.received(),
            head_since_ms: None,
        });
    }
}
