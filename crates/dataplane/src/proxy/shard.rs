//! A shard: one thread with its own runtime, listeners, upstreams and connections. Nothing on a
//! request's way is shared with another thread but the counters of endpoints.

use super::bell::Bell;
use super::client::Client;
use super::listening::Listening;
use super::status::ShardCounters;
use super::upstream::{Upstream, UpstreamSet};
use model::limits::{PROXY_CLIENTS_PER_SHARD_MAX, PROXY_COPY_BYTES};
use model::view::ListenerMode;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Time between two looks at what has been idle.
const SWEEP: Duration = Duration::from_secs(1);

/// What the control thread tells a shard.
#[derive(Debug)]
pub(super) enum Command {
    /// Take this over, then say that `step` is done.
    Update(Update),
    /// Stop listening, let connections end for this long, and end.
    Stop(Duration),
}

/// Upstreams that came or changed (`Some`) or went, by name.
pub(super) type UpstreamChanges = Vec<(Arc<str>, Option<Arc<UpstreamSet>>)>;

/// A part of the configuration that changed.
#[derive(Debug, Default)]
pub(super) struct Update {
    pub(super) step: u64,
    pub(super) upstreams: Arc<UpstreamChanges>,
    /// Listeners that close, then those that do something else, then those that are new.
    pub(super) close: Vec<u64>,
    pub(super) modes: Vec<(u64, Arc<ListenerMode>)>,
    pub(super) open: Vec<Opened>,
}

/// A new listener's sockets for one shard.
#[derive(Debug)]
pub(super) struct Opened {
    /// Number of the listener, never used again.
    pub(super) number: u64,
    pub(super) port: u16,
    pub(super) mode: Arc<ListenerMode>,
    pub(super) sockets: Sockets,
}

/// Bound sockets: IPv4 and IPv6, or one.
#[derive(Debug)]
pub(super) enum Sockets {
    Tcp(Vec<std::net::TcpListener>),
    Udp(Vec<std::net::UdpSocket>),
}

/// What one thread holds.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) counters: Arc<ShardCounters>,
    /// Buffer of every copy; borrowed only between two waits.
    pub(super) scratch: RefCell<Box<[u8]>>,
    /// Rings when tunnels and TCP connections must end.
    pub(super) cut: Rc<Bell>,
    upstreams: RefCell<HashMap<Arc<str>, Rc<Upstream>>>,
    listening: RefCell<HashMap<u64, Rc<Listening>>>,
    clients: RefCell<HashMap<u64, Rc<Client>>>,
    next_client: Cell<u64>,
    open: Cell<usize>,
    /// Rings when a connection ends.
    closed: Rc<Bell>,
    coarse_ms: Cell<u64>,
    epoch: Instant,
}

impl Shard {
    /// A shard that serves nothing yet; `epoch` is the same for all.
    pub(super) fn new(counters: Arc<ShardCounters>, epoch: Instant) -> Rc<Self> {
        Rc::new(Self {
            counters,
            scratch: RefCell::new(vec![0; PROXY_COPY_BYTES].into()),
            cut: Rc::default(),
            upstreams: RefCell::default(),
            listening: RefCell::default(),
            clients: RefCell::default(),
            next_client: Cell::new(0),
            open: Cell::new(0),
            closed: Rc::default(),
            coarse_ms: Cell::new(0),
            epoch,
        })
    }

    /// Carries out commands until `Stop`, or until nobody is left to give one. `applied` says the
    /// last step that is in force.
    pub(super) async fn run(
        self: Rc<Self>,
        mut commands: mpsc::Receiver<Command>,
        applied: watch::Sender<u64>,
    ) {
        let sweeper = tokio::task::spawn_local(Rc::clone(&self).sweep());
        while let Some(command) = commands.recv().await {
            match command {
                Command::Update(update) => {
                    let step = update.step;
                    self.apply(update).await;
                    applied.send_replace(step);
                }
                Command::Stop(grace) => {
                    self.stop(grace).await;
                    break;
                }
            }
        }
        sweeper.abort();
    }

    /// Milliseconds since the epoch, a second old at most: costs nothing.
    pub(super) fn coarse_ms(&self) -> u64 {
        self.coarse_ms.get()
    }

    /// Milliseconds since the epoch.
    pub(super) fn exact_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The upstream of this name.
    pub(super) fn upstream(&self, name: &str) -> Option<Rc<Upstream>> {
        self.upstreams.borrow().get(name).cloned()
    }

    /// Counts a connection until the result is dropped.
    pub(super) fn open(self: &Rc<Self>) -> Open {
        self.open.set(self.open.get() + 1);
        Open(Rc::clone(self))
    }

    /// Waits until one more connection may be taken.
    pub(super) async fn room(&self) {
        while self.open.get() >= PROXY_CLIENTS_PER_SHARD_MAX {
            self.closed.after(self.closed.rings()).await;
        }
    }

    /// Remembers a client's connection for the sweep; the result is its number.
    pub(super) fn enter(&self, client: Rc<Client>) -> u64 {
        let number = self.next_client.get();
        self.next_client.set(number + 1);
        self.clients.borrow_mut().insert(number, client);
        number
    }

    /// Forgets a client's connection.
    pub(super) fn leave(&self, number: u64) {
        self.clients.borrow_mut().remove(&number);
    }

    async fn apply(self: &Rc<Self>, update: Update) {
        let came_or_went = self.set_upstreams(&update.upstreams);
        for number in update.close {
            let closing = self.listening.borrow_mut().remove(&number);
            if let Some(listening) = closing {
                listening.close(self).await;
                self.end_clients_of(&listening);
            }
        }
        if came_or_went {
            for listening in self.listening.borrow().values() {
                listening.resolve(self);
            }
        }
        for (number, mode) in update.modes {
            if let Some(listening) = self.listening.borrow().get(&number) {
                listening.set_mode(self, &mode);
            }
        }
        for opened in update.open {
            self.listen(opened);
        }
    }

    /// Says whether an upstream came or went, so that names must be looked up again.
    fn set_upstreams(&self, changes: &[(Arc<str>, Option<Arc<UpstreamSet>>)]) -> bool {
        let mut came_or_went = false;
        for (name, set) in changes {
            let mut upstreams = self.upstreams.borrow_mut();
            match set {
                Some(set) => {
                    let upstream = upstreams.entry(Arc::clone(name)).or_insert_with(|| {
                        came_or_went = true;
                        Rc::new(Upstream::new(Arc::clone(name), self.epoch))
                    });
                    upstream.replace(set);
                }
                None => {
                    if let Some(upstream) = upstreams.remove(name) {
                        came_or_went = true;
                        upstream.remove();
                    }
                }
            }
        }
        came_or_went
    }

    fn listen(self: &Rc<Self>, opened: Opened) {
        let listening = Rc::new(Listening::new(self, opened.port, &opened.mode));
        let result = match opened.sockets {
            Sockets::Tcp(sockets) => {
                sockets.into_iter().try_for_each(|socket| listening.accept_on(self, socket))
            }
            Sockets::Udp(sockets) => {
                sockets.into_iter().try_for_each(|socket| listening.receive_on(self, socket))
            }
        };
        if let Err(error) = result {
            tracing::error!(port = opened.port, %error, "a bound socket could not be served");
        }
        self.listening.borrow_mut().insert(opened.number, listening);
    }

    fn end_clients_of(&self, listening: &Rc<Listening>) {
        for client in self.clients.borrow().values() {
            if Rc::ptr_eq(&client.listening, listening) {
                client.close.ring();
            }
        }
    }

    async fn sweep(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = self.exact_ms();
            self.coarse_ms.set(now);
            for upstream in self.upstreams.borrow().values() {
                upstream.reap(now);
            }
            for client in self.clients.borrow().values() {
                client.sweep(now);
            }
            for listening in self.listening.borrow().values() {
                listening.sweep(now);
            }
        }
    }

    async fn stop(self: &Rc<Self>, grace: Duration) {
        let until = Instant::now() + grace;
        let all = self.listening.take();
        for listening in all.values() {
            listening.close(self).await;
        }
        loop {
            // A connection that was taken at the last moment is asked to end as well.
            for client in self.clients.borrow().values() {
                client.close.ring();
            }
            if self.open.get() == 0 {
                return;
            }
            let closed = self.closed.after(self.closed.rings());
            if tokio::time::timeout_at(until, closed).await.is_err() {
                self.cut.ring();
                return;
            }
        }
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Open(Rc<Shard>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.closed.ring();
    }
}
