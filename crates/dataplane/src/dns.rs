//! DNS of the host: names of the View with authority, everything else from the host's resolvers.
//! It answers from tables in memory and waits for nobody.

mod answer;
mod bind;
mod consul;
mod forward;
mod later;
mod mark;
mod serve;
mod table;
mod wire;

#[cfg(test)]
mod tests;

pub use forward::resolvers::Resolvers;
pub(crate) use table::Table;

use crate::error::Error;
use arc_swap::ArcSwap;
use forward::{Ask, SharedCache};
use later::Waiting;
use model::limits::{DNS_BIND_RETRY_MS, DNS_FORWARDS_MAX, DNS_THREADS_MAX};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// How DNS is served.
#[derive(Clone, Debug)]
pub struct DnsOptions {
    /// Addresses, by UDP and TCP each. One that cannot be bound is tried again for ever.
    pub listen: Vec<SocketAddr>,
    /// UDP threads for each address.
    pub threads: usize,
    /// Who is asked what is not ours.
    pub resolvers: Resolvers,
}

impl Default for DnsOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            listen: vec![([169, 254, 169, 250], 7653).into(), ([127, 0, 0, 1], 8600).into()],
            threads: cores.min(DNS_THREADS_MAX),
            resolvers: Resolvers::File("/etc/resolv.conf".into()),
        }
    }
}

/// How each configured address fares: what it is bound to, or why it is not.
pub(crate) type Listening = BTreeMap<SocketAddr, Result<SocketAddr, String>>;

/// What all DNS threads share.
#[derive(Debug)]
struct Shared {
    table: ArcSwap<Table>,
    cache: Arc<SharedCache>,
    queries: AtomicU64,
    forwarded: AtomicU64,
    stopping: AtomicBool,
    /// Questions for names that the server is asked for.
    later: mpsc::Sender<Waiting>,
    asked: later::Asked,
    /// Sockets and threads as they come: taken by `Dns::drop`.
    threads: Mutex<Vec<(Arc<UdpSocket>, JoinHandle<()>)>>,
}

/// The running servers. They end when it is dropped.
#[derive(Debug)]
pub(crate) struct Dns {
    shared: Arc<Shared>,
    listening: watch::Receiver<Listening>,
    /// Changes with the table.
    tables: watch::Sender<()>,
    /// Changes with the names that are asked for.
    asked: watch::Receiver<()>,
    runtime: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Dns {
    /// Starts; the first question is answered from `table` already.
    pub(crate) fn start(options: DnsOptions, table: Table) -> Result<Self, Error> {
        let (later, waiting) = mpsc::channel(DNS_FORWARDS_MAX);
        let shared = Arc::new(Shared {
            later,
            asked: later::Asked::default(),
            table: ArcSwap::from_pointee(table),
            cache: Arc::default(),
            queries: AtomicU64::new(0),
            forwarded: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            threads: Mutex::default(),
        });
        let failed = |source| Error::Thread { name: "dns".into(), source };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (sender, listening) = watch::channel(Listening::new());
        let (tables, table_news) = watch::channel(());
        let (asked_news, asked) = watch::channel(());
        let inner = shared.clone();
        let later = (waiting, table_news, asked_news);
        let thread = std::thread::Builder::new().name("dns".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = run(options, inner, sender, later) => {}
                    _dropped = stopped => {}
                }
            });
        });
        let thread = thread.map_err(failed)?;
        Ok(Self { shared, listening, tables, asked, runtime: Some((stop, thread)) })
    }

    /// Answers from the table that is made of the one before from now on.
    pub(crate) fn publish(&self, make: impl FnOnce(&Table) -> Table) {
        let table = make(&self.shared.table.load());
        self.shared.table.store(Arc::new(table));
        self.tables.send_replace(());
    }

    /// The names that are to be asked for.
    pub(crate) fn asked(&self) -> BTreeSet<String> {
        self.shared.asked.names(&self.shared.table.load(), Instant::now())
    }

    /// Changes when there are more of them.
    pub(crate) fn asked_changed(&self) -> watch::Receiver<()> {
        self.asked.clone()
    }

    /// How the addresses fare.
    pub(crate) fn listening(&self) -> watch::Receiver<Listening> {
        self.listening.clone()
    }

    /// Totals since the start: questions, questions given to the host's resolvers, answers kept.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 3] {
        let kept = self.shared.cache.with(|cache| cache.len());
        [
            ("queries_total", self.shared.queries.load(Ordering::Relaxed)),
            ("forwarded_total", self.shared.forwarded.load(Ordering::Relaxed)),
            ("cached", u64::try_from(kept).unwrap_or(u64::MAX)),
        ]
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        if let Some((stop, thread)) = self.runtime.take() {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("dns thread panicked");
            }
        }
        let mut threads = self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for (socket, _) in threads.iter() {
            bind::end(socket);
        }
        for (_, thread) in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("dns thread panicked");
            }
        }
    }
}

/// Binds, accepts and forwards; it never returns.
async fn run(
    options: DnsOptions,
    shared: Arc<Shared>,
    status: watch::Sender<Listening>,
    (waiting, tables, asked): (mpsc::Receiver<Waiting>, watch::Receiver<()>, watch::Sender<()>),
) {
    let (asks, questions) = mpsc::channel(DNS_FORWARDS_MAX);
    let mut tasks = JoinSet::new();
    let asked = Arc::new(asked);
    tasks.spawn(later::run(waiting, shared.clone(), asks.clone(), tables, asked));
    tasks.spawn(forward::run(questions, options.resolvers, shared.cache.clone()));
    let status = Arc::new(status);
    for addr in options.listen {
        let (shared, asks, status) = (shared.clone(), asks.clone(), status.clone());
        tasks.spawn(listen(addr, options.threads, shared, asks, status));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "dns task failed");
        }
    }
}

async fn listen(
    addr: SocketAddr,
    threads: usize,
    shared: Arc<Shared>,
    asks: mpsc::Sender<Ask>,
    status: Arc<watch::Sender<Listening>>,
) {
    let mut told = String::new();
    let listener = loop {
        match bind::bind(addr, threads).and_then(|bound| serve(bound, &shared, &asks)) {
            Ok((listener, bound)) => {
                tracing::info!(addr = %bound, "dns listens");
                status.send_modify(|all| {
                    all.insert(addr, Ok(bound));
                });
                break listener;
            }
            Err(error) => {
                let text = error.to_string();
                if text != told {
                    tracing::warn!(%addr, %error, "dns cannot listen, trying again");
                    status.send_modify(|all| {
                        all.insert(addr, Err(text.clone()));
                    });
                    told = text;
                }
                tokio::time::sleep(Duration::from_millis(DNS_BIND_RETRY_MS)).await;
            }
        }
    };
    serve::tcp(listener, shared, asks).await;
}

/// Starts the threads of an address.
fn serve(
    bound: bind::Bound,
    shared: &Arc<Shared>,
    asks: &mpsc::Sender<Ask>,
) -> std::io::Result<(tokio::net::TcpListener, SocketAddr)> {
    let listener = tokio::net::TcpListener::from_std(bound.tcp)?;
    for (index, socket) in bound.udp.into_iter().enumerate() {
        let (own, inner, asks) = (socket.clone(), shared.clone(), asks.clone());
        let thread = std::thread::Builder::new().name(format!("dns-udp-{index}"));
        let thread = thread.spawn(move || serve::udp(&own, &inner, &asks))?;
        shared.threads.lock().unwrap_or_else(PoisonError::into_inner).push((socket, thread));
    }
    Ok((listener, bound.addr))
}
