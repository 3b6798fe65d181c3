//! An endpoint: what all shards know of it (`Shared`), what one shard holds of it (`Endpoint`),
//! and the count of what is in flight (`Lease`).

use super::bell::{Bell, Wait};
use super::config::EndpointState;
use super::connection::Connection;
use super::ejection::Ejection;
use super::select::Load;
use model::limits::{PROXY_POOL_IDLE_MAX, PROXY_POOL_IDLE_MS_MAX};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What all shards know of one start of an instance at one address.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) key: String,
    pub(super) run: u64,
    pub(super) addr: SocketAddr,
    pub(super) ejection: Ejection,
    in_flight: AtomicU64,
    /// Beside the other number, which every request touches anyway.
    requests: AtomicU64,
    /// Somebody waits for `in_flight` to become 0.
    leaving: AtomicBool,
    changed: Arc<watch::Sender<u64>>,
}

impl Shared {
    /// An endpoint with nothing in flight; `changed` hears when a leaving one gets there again.
    pub(super) fn new(
        key: String,
        run: u64,
        addr: SocketAddr,
        changed: Arc<watch::Sender<u64>>,
    ) -> Self {
        Self {
            key,
            run,
            addr,
            ejection: Ejection::default(),
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            changed,
        }
    }

    /// Requests, connections and sessions in flight, in all shards.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(SeqCst)
    }

    /// HTTP requests, TCP connections and UDP sessions that went to it since it is known here.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Counts a request that it has got, or a connection or session that was opened to it.
    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// Says whether anybody waits for it to become idle.
    pub(super) fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, SeqCst);
    }
}

/// What one shard holds of an endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) shared: Arc<Shared>,
    pub(super) weight: Cell<u32>,
    pub(super) state: Cell<EndpointState>,
    /// Credit among endpoints that tie.
    pub(super) turn: Cell<i64>,
    /// Rings when it goes down: what waits for its answer may look elsewhere.
    pub(super) down: Rc<Bell>,
    /// Rings when its time to drain is over: what is still open is cut.
    pub(super) cut: Rc<Bell>,
    idle: RefCell<Vec<Idle>>,
    drain: RefCell<Option<AbortHandle>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since_ms: u64,
}

impl Endpoint {
    /// This shard's part of `shared`.
    pub(super) fn new(shared: Arc<Shared>, weight: u32, state: EndpointState) -> Self {
        Self {
            shared,
            weight: Cell::new(weight),
            state: Cell::new(state),
            turn: Cell::new(0),
            down: Rc::default(),
            cut: Rc::default(),
            idle: RefCell::default(),
            drain: RefCell::default(),
        }
    }

    /// What it carries, when it may take something new.
    pub(super) fn load(&self) -> Option<Load> {
        let weight = self.weight.get();
        (self.state.get().takes() && weight > 0)
            .then(|| Load { in_flight: self.shared.in_flight.load(Relaxed), weight })
    }

    /// Takes an idle connection. `certain`: only one that the kernel says is still open.
    pub(super) fn checkout(&self, certain: bool) -> Option<Connection> {
        loop {
            let mut connection = self.idle.borrow_mut().pop()?.connection;
            if connection.is_idle() && (!certain || connection.socket.is_quiet()) {
                return Some(connection);
            }
        }
    }

    /// Puts a connection that can take a request back, unless there are enough.
    pub(super) fn checkin(&self, connection: Connection, now_ms: u64) {
        let mut idle = self.idle.borrow_mut();
        if self.state.get().takes() && idle.len() < PROXY_POOL_IDLE_MAX {
            idle.push(Idle { connection, since_ms: now_ms });
        }
    }

    /// Closes idle connections that were not used for long, or that the endpoint closed.
    pub(super) fn reap(&self, now_ms: u64) {
        self.idle.borrow_mut().retain_mut(|idle| {
            idle.since_ms + PROXY_POOL_IDLE_MS_MAX > now_ms && idle.connection.is_idle()
        });
    }

    /// None of the idle connections is of use any more.
    pub(super) fn forget_idle(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Follows the configuration. What drains has `drain` for its connections.
    pub(super) fn set(self: &Rc<Self>, weight: u32, state: EndpointState, drain: Duration) {
        self.weight.set(weight);
        if self.state.replace(state) == state {
            return;
        }
        if let Some(task) = self.drain.borrow_mut().take() {
            task.abort();
        }
        match state {
            // Whoever says so has seen it work, which is newer than our own failures.
            EndpointState::Up => self.shared.ejection.connected(),
            EndpointState::Doubtful => {}
            EndpointState::Draining => {
                self.forget_idle();
                let endpoint = Rc::clone(self);
                let task = tokio::task::spawn_local(async move {
                    tokio::time::sleep(drain).await;
                    endpoint.cut.ring();
                });
                *self.drain.borrow_mut() = Some(task.abort_handle());
            }
            EndpointState::Down => {
                self.forget_idle();
                self.down.ring();
            }
        }
    }
}

/// Something in flight on an endpoint: counted from its making to its drop.
#[derive(Debug)]
pub(super) struct Lease(pub(super) Rc<Endpoint>, u64);

impl Lease {
    /// Counts one more.
    pub(super) fn new(endpoint: Rc<Endpoint>) -> Self {
        endpoint.shared.in_flight.fetch_add(1, SeqCst);
        let cuts = endpoint.cut.rings();
        Self(endpoint, cuts)
    }

    /// Waits until the endpoint's time to drain is over.
    pub(super) fn cut(&self) -> Wait {
        self.0.cut.after(self.1)
    }

    /// Is the endpoint's time to drain over?
    pub(super) fn is_cut(&self) -> bool {
        self.0.cut.rings() > self.1
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let shared = &self.0.shared;
        if shared.in_flight.fetch_sub(1, SeqCst) == 1 && shared.leaving.load(SeqCst) {
            shared.changed.send_modify(|changes| *changes += 1);
        }
    }
}
