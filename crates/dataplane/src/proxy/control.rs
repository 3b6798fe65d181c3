//! The control thread: compares configurations, binds listeners, and tells every shard what
//! changed. A request never waits for it.

use super::binding::{self, BindError};
use super::config::{ListenerConfig, ProxyConfig, UpstreamConfig};
use super::endpoint::Shared;
use super::holder;
use super::shard::{Command, Opened, Update, UpstreamChanges};
use super::status::{ListenerStatus, ShardCounters};
use super::upstream::{Member, UpstreamSet};
use arc_swap::ArcSwap;
use model::limits::{PROXY_BIND_RETRY_MS_MAX, PROXY_BIND_RETRY_MS_MIN};
use model::service::Transport;
use model::view::ListenerMode;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// A shard as the control thread sees it.
#[derive(Debug)]
pub(super) struct ShardHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) applied: watch::Receiver<u64>,
    pub(super) thread: std::thread::JoinHandle<()>,
}

/// What `status` reads, swapped whole.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) listeners: BTreeMap<String, ListenerStatus>,
    pub(super) upstreams: Vec<Arc<UpstreamSet>>,
    /// Endpoints that are in no set any more and still had something in flight.
    pub(super) retired: Vec<Arc<Shared>>,
    pub(super) counters: Vec<Arc<ShardCounters>>,
}

/// What the control thread holds.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) shards: Vec<ShardHandle>,
    pub(super) counters: Vec<Arc<ShardCounters>>,
    pub(super) changed: Arc<watch::Sender<u64>>,
    pub(super) published: Arc<ArcSwap<Published>>,
    pub(super) upstreams: BTreeMap<String, (UpstreamConfig, Arc<UpstreamSet>)>,
    pub(super) slots: BTreeMap<Address, Slot>,
    /// Listeners that cannot be, by id, and why.
    pub(super) refused: BTreeMap<String, String>,
    pub(super) retired: Vec<Arc<Shared>>,
    pub(super) step: u64,
    pub(super) next_number: u64,
}

/// What a socket listens on. Port 0 is another port for each id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    ip: Option<IpAddr>,
    port: u16,
    transport: Transport,
    of: Option<String>,
}

/// A listener that is wanted.
#[derive(Debug)]
pub(super) struct Slot {
    id: String,
    number: u64,
    mode: Arc<ListenerMode>,
    socket: SocketState,
}

#[derive(Debug)]
enum SocketState {
    Bound(Vec<std::net::SocketAddr>),
    Waiting { error: String, next: Instant, wait: Duration },
}

/// What to do to get from the listeners that are to those that are wanted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    close: Vec<Address>,
    /// Same address, another id or mode.
    adopt: Vec<(Address, String, ListenerMode)>,
    open: Vec<(Address, String, ListenerMode)>,
    refused: BTreeMap<String, String>,
}

fn plan(slots: &BTreeMap<Address, Slot>, wanted: &BTreeMap<String, ListenerConfig>) -> Plan {
    let mut plan = Plan::default();
    let mut taken: BTreeMap<Address, &str> = BTreeMap::new();
    for (id, listener) in wanted {
        if listener.transport == Transport::Udp
            && matches!(listener.mode, ListenerMode::Http { .. })
        {
            plan.refused.insert(id.clone(), "http needs tcp, the listener is udp".to_owned());
            continue;
        }
        let address = Address {
            ip: listener.ip,
            port: listener.port,
            transport: listener.transport,
            of: (listener.port == 0).then(|| id.clone()),
        };
        if let Some(other) = taken.get(&address) {
            plan.refused.insert(id.clone(), format!("listener {other} has the same address"));
            continue;
        }
        taken.insert(address.clone(), id);
        match slots.get(&address) {
            Some(slot) if slot.id == *id && *slot.mode == listener.mode => {}
            Some(_) => plan.adopt.push((address, id.clone(), listener.mode.clone())),
            None => plan.open.push((address, id.clone(), listener.mode.clone())),
        }
    }
    plan.close = slots.keys().filter(|address| !taken.contains_key(*address)).cloned().collect();
    plan
}

impl Control {
    /// Follows the configuration until `stop`, or until nobody can change it any more.
    pub(super) async fn run(
        mut self,
        mut config: watch::Receiver<(u64, Arc<ProxyConfig>)>,
        in_force: watch::Sender<u64>,
        mut stop: oneshot::Receiver<Duration>,
    ) {
        let grace = loop {
            let retry = self.next_retry();
            tokio::select! {
                grace = &mut stop => break grace.unwrap_or_default(),
                changed = config.changed() => {
                    if changed.is_err() {
                        break Duration::ZERO;
                    }
                    let (number, config) = config.borrow_and_update().clone();
                    self.apply(&config).await;
                    in_force.send_replace(number);
                }
                () = sleep_until(retry) => {
                    self.open_waiting().await;
                    self.publish();
                }
            }
        };
        for shard in &self.shards {
            if shard.commands.send(Command::Stop(grace)).await.is_err() {
                tracing::error!("a thread of the proxy had ended before it was stopped");
            }
        }
        for shard in self.shards {
            shard.commands.closed().await;
            if shard.thread.join().is_err() {
                tracing::error!("a thread of the proxy broke");
            }
        }
    }

    async fn apply(&mut self, config: &ProxyConfig) {
        let upstreams = Arc::new(self.set_upstreams(&config.upstreams));
        let plan = plan(&self.slots, &config.listeners);
        let mut close = Vec::new();
        for address in &plan.close {
            if let Some(slot) = self.slots.remove(address) {
                close.push(slot.number);
            }
        }
        let mut modes = Vec::new();
        for (address, id, mode) in plan.adopt {
            if let Some(slot) = self.slots.get_mut(&address) {
                slot.id = id;
                slot.mode = Arc::new(mode);
                modes.push((slot.number, Arc::clone(&slot.mode)));
            }
        }
        self.refused = plan.refused;
        for (address, id, mode) in plan.open {
            self.next_number += 1;
            let (number, mode) = (self.next_number, Arc::new(mode));
            let wait = Duration::from_millis(PROXY_BIND_RETRY_MS_MIN);
            let socket = SocketState::Waiting { error: String::new(), next: Instant::now(), wait };
            self.slots.insert(address, Slot { id, number, mode, socket });
        }
        // Addresses become free before others are bound, since the new ones may overlap them.
        self.tell(|_| Update {
            upstreams: Arc::clone(&upstreams),
            close: close.clone(),
            modes: modes.clone(),
            ..Update::default()
        })
        .await;
        self.open_waiting().await;
        self.publish();
    }

    /// Gives every shard an update and waits until it is in force.
    async fn tell(&mut self, mut update: impl FnMut(usize) -> Update) {
        self.step += 1;
        for (index, shard) in self.shards.iter().enumerate() {
            let update = Update { step: self.step, ..update(index) };
            if shard.commands.send(Command::Update(update)).await.is_err() {
                tracing::error!(shard = index, "a thread of the proxy has ended");
            }
        }
        for shard in &mut self.shards {
            let step = self.step;
            if shard.applied.wait_for(|applied| *applied >= step).await.is_err() {
                tracing::error!("a thread of the proxy has ended");
            }
        }
    }

    /// Binds the listeners whose time has come, and hands them to the shards.
    async fn open_waiting(&mut self) {
        let now = Instant::now();
        let shards = self.shards.len();
        let mut opened: Vec<Vec<Opened>> = (0..shards).map(|_| Vec::new()).collect();
        for (address, slot) in &mut self.slots {
            let SocketState::Waiting { error, next, wait } = &mut slot.socket else { continue };
            if *next > now {
                continue;
            }
            match binding::bind(address.ip, address.port, address.transport, shards) {
                Ok(bound) => {
                    let port = bound.addresses.first().map_or(address.port, |a| a.port());
                    for (list, sockets) in opened.iter_mut().zip(bound.shards) {
                        let (number, mode) = (slot.number, Arc::clone(&slot.mode));
                        list.push(Opened { number, port, mode, sockets });
                    }
                    tracing::info!(listener = slot.id, port, "listener is open");
                    slot.socket = SocketState::Bound(bound.addresses);
                }
                Err(failed) => {
                    if error.is_empty() {
                        *error = describe(&failed).await;
                        tracing::warn!(listener = slot.id, %error, "listener is not open");
                    }
                    *next = Instant::now() + *wait;
                    *wait = (*wait * 2).min(Duration::from_millis(PROXY_BIND_RETRY_MS_MAX));
                }
            }
        }
        if opened.iter().any(|list| !list.is_empty()) {
            self.tell(|index| Update {
                open: std::mem::take(&mut opened[index]),
                ..Update::default()
            })
            .await;
        }
    }

    fn next_retry(&self) -> Option<Instant> {
        let waiting = self.slots.values().filter_map(|slot| match &slot.socket {
            SocketState::Waiting { next, .. } => Some(*next),
            SocketState::Bound(_) => None,
        });
        waiting.min()
    }

    fn set_upstreams(&mut self, wanted: &BTreeMap<String, UpstreamConfig>) -> UpstreamChanges {
        let mut changes = UpstreamChanges::new();
        let mut leaving = Vec::new();
        self.upstreams.retain(|name, (_, set)| {
            let stays = wanted.contains_key(name);
            if !stays {
                leaving.extend(set.endpoints.iter().map(|member| Arc::clone(&member.shared)));
                changes.push((name.as_str().into(), None));
            }
            stays
        });
        for (name, config) in wanted {
            let before = self.upstreams.get(name);
            if before.is_some_and(|(before, _)| before == config) {
                continue;
            }
            let old = before.map_or(&[][..], |(_, set)| &set.endpoints);
            let (set, gone) = make_set(config, old, &self.changed);
            leaving.extend(gone);
            let set = Arc::new(set);
            changes.push((name.as_str().into(), Some(Arc::clone(&set))));
            self.upstreams.insert(name.clone(), (config.clone(), set));
        }
        for shared in leaving {
            shared.set_leaving(true);
            self.retired.push(shared);
        }
        changes
    }

    fn publish(&mut self) {
        self.retired.retain(|shared| shared.in_flight() > 0);
        let mut listeners: BTreeMap<String, ListenerStatus> = self
            .refused
            .iter()
            .map(|(id, error)| (id.clone(), error))
            .map(|(id, error)| (id, ListenerStatus { bound: vec![], error: Some(error.clone()) }))
            .collect();
        for slot in self.slots.values() {
            let status = match &slot.socket {
                SocketState::Bound(bound) => ListenerStatus { bound: bound.clone(), error: None },
                SocketState::Waiting { error, .. } => {
                    ListenerStatus { bound: vec![], error: Some(error.clone()) }
                }
            };
            listeners.insert(slot.id.clone(), status);
        }
        let differs = self.published.load().listeners != listeners;
        self.published.store(Arc::new(Published {
            listeners,
            upstreams: self.upstreams.values().map(|(_, set)| Arc::clone(set)).collect(),
            retired: self.retired.clone(),
            counters: self.counters.clone(),
        }));
        if differs {
            self.changed.send_modify(|changes| *changes += 1);
        }
    }
}

/// The set for `config`, with what `old` has of it, and those of `old` that are not in it.
fn make_set(
    config: &UpstreamConfig,
    old: &[Member],
    changed: &Arc<watch::Sender<u64>>,
) -> (UpstreamSet, Vec<Arc<Shared>>) {
    let mut known: HashMap<_, &Arc<Shared>> = old
        .iter()
        .map(|m| ((m.shared.key.as_str(), m.shared.run, m.shared.addr), &m.shared))
        .collect();
    let mut seen = BTreeSet::new();
    let mut endpoints = Vec::with_capacity(config.endpoints.len());
    for endpoint in &config.endpoints {
        let identity = (endpoint.key.as_str(), endpoint.run, endpoint.addr);
        if !seen.insert(identity) {
            continue;
        }
        let shared = known.remove(&identity).map_or_else(
            || {
                let key = endpoint.key.clone();
                Arc::new(Shared::new(key, endpoint.run, endpoint.addr, Arc::clone(changed)))
            },
            Arc::clone,
        );
        shared.set_leaving(!endpoint.state.takes());
        shared.ejection.follow(config.outlier);
        endpoints.push(Member { shared, weight: endpoint.weight, state: endpoint.state });
    }
    let gone = known.into_values().cloned().collect();
    let UpstreamConfig { connect_timeout, drain, stop, balance, .. } = *config;
    let set = UpstreamSet { endpoints, connect_timeout, drain, stop, balance };
    (set, gone)
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The error with its cause, and with who holds the port when that is it.
async fn describe(error: &BindError) -> String {
    let (port, transport) = (error.address.port(), error.transport);
    let cause = match error.source.kind() {
        std::io::ErrorKind::AddrInUse => {
            let found = tokio::task::spawn_blocking(move || holder::find(port, transport)).await;
            match found.ok().flatten() {
                Some(who) => format!("address already in use (by {who})"),
                None => "address already in use".to_owned(),
            }
        }
        std::io::ErrorKind::AddrNotAvailable => "no such address on this host".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.source().map_or_else(String::new, ToString::to_string),
    };
    format!("{error}: {cause}")
}

#[cfg(test)]
mod tests;
