//! The proxy: HTTP by route, TCP and UDP by port, to endpoints that come and go while no request
//! is dropped. Each shard is a thread of its own; `apply` swaps what changed and touches nothing
//! else. It must never let a request wait for the control thread.

mod config;
mod status;
mod routes;
mod select;
mod ejection;
mod retry;
mod headers;
mod bell;
mod socket;
mod connection;
mod endpoint;
mod upstream;
mod connect;
mod request_body;
mod answer;
mod client;
mod http;
mod forward;
mod upgrade;
mod tunnel;
mod tcp;
mod port;
mod udp;
mod listening;
mod shard;
mod binding;
mod holder;
mod control;

pub use config::{
    EndpointConfig, EndpointState, ListenerConfig, ProxyConfig, ProxyOptions, UpstreamConfig,
};
pub use status::{Counters, ListenerStatus, ProxyStatus};

use arc_swap::ArcSwap;
use control::{Control, Published, ShardHandle};
use model::limits::PROXY_SHARDS_MAX;
use shard::{Command, Shard};
use status::ShardCounters;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Updates that may wait for a shard; the control thread sends one at a time.
const COMMANDS_MAX: usize = 4;

/// A running proxy. Dropping it stops it at once; `shutdown` lets requests end.
#[derive(Debug)]
pub struct Proxy {
    config: watch::Sender<(u64, Arc<ProxyConfig>)>,
    in_force: watch::Receiver<u64>,
    published: Arc<ArcSwap<Published>>,
    changed: Arc<watch::Sender<u64>>,
    stop: Option<oneshot::Sender<Duration>>,
    control: Option<thread::JoinHandle<()>>,
}

/// The proxy does not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proxy has stopped")]
pub struct Stopped;

impl Proxy {
    /// Starts the threads; nothing is served until the first `apply`.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start(options: &ProxyOptions) -> io::Result<Self> {
        let epoch = Instant::now();
        let changed = Arc::new(watch::Sender::new(0));
        let published = Arc::new(ArcSwap::from_pointee(Published::default()));
        let mut shards = Vec::new();
        let mut counters = Vec::new();
        for index in 0..options.shards.clamp(1, PROXY_SHARDS_MAX) {
            let own = Arc::new(ShardCounters::default());
            counters.push(Arc::clone(&own));
            shards.push(start_shard(index, own, epoch)?);
        }
        let control = Control {
            shards,
            counters,
            changed: Arc::clone(&changed),
            published: Arc::clone(&published),
            upstreams: Default::default(),
            slots: Default::default(),
            refused: Default::default(),
            retired: Vec::new(),
            step: 0,
            next_number: 0,
        };
        let (config, new_config) = watch::channel((0, Arc::new(ProxyConfig::default())));
        let (now_in_force, in_force) = watch::channel(0);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let control = thread::Builder::new().name("proxy-control".to_owned()).spawn(move || {
            runtime.block_on(control.run(new_config, now_in_force, stopped));
        })?;
        Ok(Self { config, in_force, published, changed, stop: Some(stop), control: Some(control) })
    }

    /// Takes `config` over, at once: the future that comes back only waits until it is in force
    /// in every shard. One that comes before the last is in force replaces it. Listeners that
    /// cannot be bound do not hold it up, the status names them.
    ///
    /// # Errors
    /// `Stopped` when the proxy does not run any more.
    pub fn apply(
        &self,
        config: Arc<ProxyConfig>,
    ) -> impl Future<Output = Result<(), Stopped>> + Send + use<> {
        let mut number = 0;
        self.config.send_modify(|current| {
            number = current.0 + 1;
            *current = (number, config);
        });
        let mut in_force = self.in_force.clone();
        async move {
            let done = in_force.wait_for(|done| *done >= number).await;
            done.map(|_| ()).map_err(|_closed| Stopped)
        }
    }

    /// The proxy as it is now. In-flight counts of endpoints that were taken out are in it until
    /// they are 0.
    #[must_use]
    pub fn status(&self) -> ProxyStatus {
        let published = self.published.load();
        let mut status =
            ProxyStatus { listeners: published.listeners.clone(), ..ProxyStatus::default() };
        let members = published.upstreams.iter().flat_map(|set| &set.endpoints);
        let shared = members.map(|member| &member.shared).chain(&published.retired);
        for endpoint in shared {
            let in_flight = endpoint.in_flight();
            if in_flight > 0 {
                *status.in_flight.entry(endpoint.key.clone()).or_default() += in_flight;
            }
        }
        for counters in &published.counters {
            counters.add_to(&mut status.counters);
        }
        status
    }

    /// Requests, connections and sessions so far, by the endpoint keys that are wanted: the sum over
    /// all upstreams. It goes down when an instance starts anew or leaves an upstream.
    #[must_use]
    pub fn requests(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, u64> {
        let published = self.published.load();
        let members = published.upstreams.iter().flat_map(|set| &set.endpoints);
        let mut requests = BTreeMap::new();
        for endpoint in members.map(|member| &member.shared).filter(|one| wanted(&one.key)) {
            *requests.entry(endpoint.key.clone()).or_default() += endpoint.requests();
        }
        requests
    }

    /// Hears when a listener's status changes, and when an endpoint that drains, is down, or was
    /// taken out has nothing in flight any more. Only a hint: read `status`.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Stops listening, lets what is in flight end for `grace`, and stops.
    pub async fn shutdown(mut self, grace: Duration) {
        self.tell_to_stop(grace);
        let mut in_force = self.in_force.clone();
        // Its other side goes when the control thread ends.
        while in_force.changed().await.is_ok() {}
    }

    fn tell_to_stop(&mut self, grace: Duration) {
        if let Some(stop) = self.stop.take()
            && stop.send(grace).is_err()
        {
            tracing::error!("the proxy had stopped by itself");
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tell_to_stop(Duration::ZERO);
        if let Some(control) = self.control.take()
            && control.join().is_err()
        {
            tracing::error!("the proxy's control thread broke");
        }
    }
}

fn start_shard(
    index: usize,
    counters: Arc<ShardCounters>,
    epoch: Instant,
) -> io::Result<ShardHandle> {
    let (commands, receiver) = mpsc::channel::<Command>(COMMANDS_MAX);
    let (now_applied, applied) = watch::channel(0);
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new().name(format!("proxy-{index}")).spawn(move || {
        // The runtime cannot move between threads, so it is made in its own.
        let made = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default());
        let (runtime, result) = match made {
            Ok(runtime) => (Some(runtime), Ok(())),
            Err(error) => (None, Err(error)),
        };
        if ready.send(result).is_ok()
            && let Some(runtime) = runtime
        {
            runtime.block_on(Shard::new(counters, epoch).run(receiver, now_applied));
        }
    })?;
    is_ready.recv().map_err(io::Error::other)??;
    Ok(ShardHandle { commands, applied, thread })
}
