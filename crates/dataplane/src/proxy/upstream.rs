//! One shard's set of endpoints of an upstream: who takes the next request, and the wait for
//! somebody who can.

use super::bell::Bell;
use super::config::EndpointState;
use super::endpoint::{Endpoint, Shared};
use super::select;
use model::expose::Balance;
use model::limits::{PROXY_AGAIN_MS, PROXY_WAIT_MS_MAX, PROXY_WAITING_MAX};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A set of endpoints as the control thread gives it to every shard.
#[derive(Debug)]
pub(super) struct UpstreamSet {
    pub(super) endpoints: Vec<Member>,
    pub(super) connect_timeout: Duration,
    pub(super) drain: Duration,
    pub(super) stop: Duration,
    pub(super) balance: Balance,
}

/// An endpoint in a set.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) shared: Arc<Shared>,
    pub(super) weight: u32,
    pub(super) state: EndpointState,
}

/// One shard's part of an upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) name: Arc<str>,
    endpoints: RefCell<Rc<[Rc<Endpoint>]>>,
    connect_timeout: Cell<Duration>,
    drain: Cell<Duration>,
    balance: Cell<Balance>,
    /// Rings when the set or the state of an endpoint in it changes.
    changed: Rc<Bell>,
    waiting: Cell<usize>,
    cursor: Cell<usize>,
    removed: Cell<bool>,
    /// Time zero of `Ejection`.
    epoch: Instant,
}

/// Why no endpoint could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unavailable {
    /// None that may take something came up in time.
    NoEndpoint,
    /// The pause is over after which those that could not be reached may be asked anew.
    Pause,
    /// Too many wait already.
    QueueFull,
    /// The upstream was taken out of the configuration.
    Removed,
}

impl Upstream {
    /// An upstream without endpoints.
    pub(super) fn new(name: Arc<str>, epoch: Instant) -> Self {
        Self {
            name,
            endpoints: RefCell::new(Rc::new([])),
            connect_timeout: Cell::new(Duration::ZERO),
            drain: Cell::new(Duration::ZERO),
            balance: Cell::default(),
            changed: Rc::default(),
            waiting: Cell::new(0),
            cursor: Cell::new(0),
            removed: Cell::new(false),
            epoch,
        }
    }

    /// Milliseconds since the proxy started.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// See `UpstreamConfig::connect_timeout`.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout.get()
    }

    /// See `UpstreamConfig::drain`.
    pub(super) fn drain(&self) -> Duration {
        self.drain.get()
    }

    /// Takes over a new set. An endpoint that was there before keeps all it has; one that is no
    /// longer there drains, or is down when the same instance has started anew.
    pub(super) fn replace(&self, set: &UpstreamSet) {
        self.connect_timeout.set(set.connect_timeout);
        self.drain.set(set.drain);
        self.balance.set(set.balance);
        let before = self.endpoints.borrow().clone();
        let mut known: HashMap<*const Shared, Rc<Endpoint>> =
            before.iter().map(|e| (Arc::as_ptr(&e.shared), Rc::clone(e))).collect();
        let mut now = Vec::with_capacity(set.endpoints.len());
        for member in &set.endpoints {
            let endpoint = known.remove(&Arc::as_ptr(&member.shared)).unwrap_or_else(|| {
                // Down first, so that `set` sees the change and starts what the state needs.
                let shared = Arc::clone(&member.shared);
                Rc::new(Endpoint::new(shared, member.weight, EndpointState::Down))
            });
            endpoint.set(member.weight, member.state, set.drain.saturating_add(set.stop));
            now.push(endpoint);
        }
        for gone in known.into_values() {
            let again = set.endpoints.iter().any(|member| member.shared.key == gone.shared.key);
            retire(&gone, again, set.drain);
        }
        *self.endpoints.borrow_mut() = now.into();
        self.changed.ring();
    }

    /// It was taken out of the configuration.
    pub(super) fn remove(&self) {
        self.removed.set(true);
        let before = self.endpoints.replace(Rc::new([]));
        for endpoint in before.iter() {
            retire(endpoint, false, self.drain.get());
        }
        self.changed.ring();
    }

    /// Closes what has been idle for long.
    pub(super) fn reap(&self, now_ms: u64) {
        for endpoint in self.endpoints.borrow().iter() {
            endpoint.reap(now_ms);
        }
    }

    /// The endpoint for the next request, none of `tried`. Those in doubt, and then those that
    /// could not be reached, are asked only when there is nobody else.
    pub(super) fn pick(&self, tried: &[Rc<Endpoint>]) -> Option<Rc<Endpoint>> {
        let endpoints = self.endpoints.borrow();
        let start = self.cursor.get();
        if endpoints.is_empty() {
            return None;
        }
        let untried = |i: usize| {
            let endpoint = &endpoints[i];
            let mut load = endpoint.load()?;
            if self.balance.get() == Balance::RoundRobin {
                // Those that are equal take turns.
                load.in_flight = 0;
            }
            (!tried.iter().any(|t| Rc::ptr_eq(t, endpoint))).then_some(load)
        };
        let admitted =
            |i: usize| untried(i).filter(|_| endpoints[i].shared.ejection.admits(|| self.now_ms()));
        let sure = |i: usize| admitted(i).filter(|_| endpoints[i].state.get() == EndpointState::Up);
        let turn = |i: usize, n: i64| {
            let turn = &endpoints[i].turn;
            turn.set(turn.get().saturating_add(n));
            turn.get()
        };
        let chosen = select::least(endpoints.len(), start, sure, turn)
            .or_else(|| select::least(endpoints.len(), start, admitted, turn))
            .or_else(|| select::least(endpoints.len(), start, untried, turn))?;
        self.cursor.set((start + 1) % endpoints.len());
        let endpoint = Rc::clone(&endpoints[chosen]);
        let try_ms = u64::try_from(self.connect_timeout.get().as_millis()).unwrap_or(u64::MAX);
        endpoint.shared.ejection.chosen(|| self.now_ms(), try_ms);
        Some(endpoint)
    }

    /// Like `pick`, but waits for an endpoint until `deadline`, which the first wait sets. `again`:
    /// some of `tried` only could not be reached and may be asked anew after a pause.
    pub(super) async fn acquire(
        &self,
        tried: &[Rc<Endpoint>],
        again: bool,
        deadline: &mut Option<Instant>,
    ) -> Result<Rc<Endpoint>, Unavailable> {
        if let Some(endpoint) = self.pick(tried) {
            return Ok(endpoint);
        }
        if self.waiting.get() >= PROXY_WAITING_MAX {
            return Err(Unavailable::QueueFull);
        }
        let until = *deadline
            .get_or_insert_with(|| Instant::now() + Duration::from_millis(PROXY_WAIT_MS_MAX));
        let _place = Place::take(&self.waiting);
        let pause = Instant::now() + Duration::from_millis(PROXY_AGAIN_MS);
        loop {
            if self.removed.get() {
                return Err(Unavailable::Removed);
            }
            let changed = self.changed.after(self.changed.rings());
            if let Some(endpoint) = self.pick(tried) {
                return Ok(endpoint);
            }
            let end = if again { pause.min(until) } else { until };
            if tokio::time::timeout_at(end, changed).await.is_err() {
                let over = end == until;
                return Err(if over { Unavailable::NoEndpoint } else { Unavailable::Pause });
            }
        }
    }
}

fn retire(endpoint: &Rc<Endpoint>, started_anew: bool, drain: Duration) {
    match endpoint.state.get() {
        // Its time to drain already runs.
        EndpointState::Draining if !started_anew => {}
        _ if started_anew => endpoint.set(0, EndpointState::Down, drain),
        _ => endpoint.set(0, EndpointState::Draining, drain),
    }
}

/// A place in the queue.
struct Place<'a>(&'a Cell<usize>);

impl<'a> Place<'a> {
    fn take(waiting: &'a Cell<usize>) -> Self {
        waiting.set(waiting.get() + 1);
        Self(waiting)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
