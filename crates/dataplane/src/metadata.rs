//! Rancher's metadata service: three versions of one tree, as text, JSON or YAML, each path by
//! itself, and long polls. A caller is known by its address. It answers from memory and waits for
//! nobody but for those changes that it is asked to wait for.

mod container;
mod parts;
mod path;
mod render;
mod respond;
mod serve;
mod service;
mod tree;
mod world;

#[cfg(test)]
mod tests;

pub(crate) use world::{Seen, SeenHere, World};

use crate::error::Error;
use model::id::HostId;
use model::limits::{
    DNS_ASKED_KEPT_MS, METADATA_ANSWERS_BYTES_MAX, METADATA_THREADS_MAX, METADATA_WAITS_MAX,
};
use model::metadata::{METADATA_ADDRESS, MetaDelta, MetaView};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot, watch};

/// How each configured address fares: what it is bound to, or why it is not.
pub(crate) type Listening = BTreeMap<SocketAddr, Result<SocketAddr, String>>;

/// How metadata is served.
#[derive(Clone, Debug)]
pub struct MetadataOptions {
    /// Addresses. One that cannot be bound is tried again for ever.
    pub listen: Vec<SocketAddr>,
    /// Threads that answer.
    pub threads: usize,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            listen: vec![(METADATA_ADDRESS, network::METADATA_PORT).into()],
            threads: cores.min(METADATA_THREADS_MAX),
        }
    }
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    world: watch::Sender<Arc<World>>,
    requests: AtomicU64,
    /// Requests that may wait for a change.
    waits: Semaphore,
    /// Kibibytes of large answers that may be held.
    answers: Arc<Semaphore>,
    /// Connections of each caller.
    callers: Mutex<HashMap<IpAddr, usize>>,
    /// When the metadata of the whole environment was last asked for here, while it was not known.
    asked: Mutex<Option<Instant>>,
    asked_news: watch::Sender<()>,
}

impl Shared {
    /// The whole environment is asked for: news while it is not known, else it is still wanted.
    fn ask(&self, partial: bool) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let known = asked.is_some();
        if known || partial {
            *asked = Some(Instant::now());
        }
        if partial && !known {
            self.asked_news.send_replace(());
        }
    }
}

/// The running server. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Metadata {
    shared: Arc<Shared>,
    listening: watch::Receiver<Listening>,
    runtime: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Metadata {
    /// Starts; the first question is answered from `world` already.
    pub(crate) fn start(options: MetadataOptions, world: World) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            world: watch::Sender::new(Arc::new(world)),
            requests: AtomicU64::new(0),
            waits: Semaphore::new(METADATA_WAITS_MAX),
            answers: Arc::new(Semaphore::new(METADATA_ANSWERS_BYTES_MAX / 1024)),
            callers: Mutex::default(),
            asked: Mutex::default(),
            asked_news: watch::Sender::new(()),
        });
        let failed = |source| Error::Thread { name: "metadata".into(), source };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads.max(1))
            .thread_name("metadata")
            .enable_all()
            .build()
            .map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (status, listening) = watch::channel(Listening::new());
        let inner = shared.clone();
        let thread = std::thread::Builder::new().name("metadata".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve::run(options.listen, inner, status) => {}
                    _dropped = stopped => {}
                }
            });
        });
        let thread = thread.map_err(failed)?;
        Ok(Self { shared, listening, runtime: Some((stop, thread)) })
    }

    /// Answers from this from now on, and wakes those who wait for a change.
    pub(crate) fn publish(&self, world: World) {
        self.shared.world.send_replace(Arc::new(world));
    }

    /// Is the metadata of the whole environment to be asked for?
    pub(crate) fn is_asked(&self) -> bool {
        let kept = Duration::from_millis(DNS_ASKED_KEPT_MS);
        let mut asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_some_and(|at| at.elapsed() >= kept) {
            *asked = None;
        }
        asked.is_some()
    }

    /// Changes when it is asked for.
    pub(crate) fn asked_changed(&self) -> watch::Receiver<()> {
        self.shared.asked_news.subscribe()
    }

    /// How the addresses fare.
    pub(crate) fn listening(&self) -> watch::Receiver<Listening> {
        self.listening.clone()
    }

    /// Totals since the start, and what is open now.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 3] {
        let callers = self.shared.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let connections: usize = callers.values().sum();
        let waiting = METADATA_WAITS_MAX.saturating_sub(self.shared.waits.available_permits());
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        [
            ("requests_total", self.shared.requests.load(Ordering::Relaxed)),
            ("connections", number(connections)),
            ("waiting", number(waiting)),
        ]
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.runtime.take() {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("metadata thread panicked");
            }
        }
    }
}

/// What is told, with the number of each moment.
#[derive(Debug)]
pub(crate) struct Teller {
    world: World,
    /// Other processes give other versions.
    run: u64,
    serial: u64,
}

impl Teller {
    /// Of what is remembered, if anything is.
    pub(crate) fn new(kept: Option<Kept>) -> Self {
        let (host, meta) = kept.map(|kept| (kept.host, kept.meta)).unzip();
        let world = World::new(host, &meta.unwrap_or_default());
        let mut teller = Self { world, run: rand::random(), serial: 0 };
        teller.turn();
        teller
    }

    /// Another version.
    fn turn(&mut self) {
        self.serial += 1;
        self.world.version = format!("{}-{:016x}", self.serial, self.run).into();
    }

    /// What is told now.
    pub(crate) fn world(&self) -> World {
        self.world.clone()
    }

    /// Tells all of a view; false when that was told already.
    pub(crate) fn replace(&mut self, host: HostId, meta: &MetaView) -> bool {
        if self.world.host.as_ref() == Some(&host) && self.world.meta == *meta {
            return false;
        }
        let world = World::new(Some(host), meta);
        let known = std::mem::replace(&mut self.world, world);
        self.world.seen = known.seen;
        self.turn();
        true
    }

    /// Tells what has changed; false when nothing has.
    pub(crate) fn change(&mut self, delta: &MetaDelta) -> bool {
        let news = !delta.is_empty();
        if news {
            self.world.change(delta);
            self.turn();
        }
        news
    }

    /// Tells what is known of containers here; false when it was known.
    pub(crate) fn see(&mut self, seen: SeenHere) -> bool {
        let news = *self.world.seen != seen;
        if news {
            self.world.seen = Arc::new(seen);
            self.turn();
        }
        news
    }

    /// To be remembered.
    pub(crate) fn kept(&self) -> Option<Kept> {
        Some(Kept { host: self.world.host.clone()?, meta: self.world.meta.clone() })
    }
}

/// What is remembered on disk: of which host, and what.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Kept {
    pub(crate) host: HostId,
    pub(crate) meta: MetaView,
}
