//! Puts a dataplane together and takes it apart again.

use crate::check::Checker;
use crate::dns::{Dns, DnsOptions, Table};
use crate::effective::effective;
use crate::error::Error;
use crate::floating::Keeper;
use crate::metadata::{Kept, Metadata, MetadataOptions, Teller};
use crate::plane::{Inputs, Parts, Plane};
use crate::probe::Prober;
use crate::protocol::Report;
use crate::proxy::{Proxy, ProxyOptions};
use crate::state::{self, Remembered};
use crate::{admin, agent, folder};
use model::limits::{DATAPLANE_GRACE_MS, DATAPLANE_QUEUE_MAX};
use model::wireguard::{WireStatus, WireWish};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How a dataplane runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder, which exists and belongs to it: lock, socket, last View.
    pub dir: PathBuf,
    /// Serve this view (JSON) instead of the remembered one; nothing is remembered then.
    pub view: Option<PathBuf>,
    /// Names.
    pub dns: DnsOptions,
    /// Metadata.
    pub metadata: MetadataOptions,
    /// Threads that carry traffic; one for each processor when there is none named.
    pub proxy_threads: Option<usize>,
    /// Metrics, health and dump; `None` is nowhere. A port in use is only warned of.
    pub admin: Option<SocketAddr>,
    /// Who encrypts between hosts; `None` is nobody.
    pub wires: Option<WirePort>,
}

/// Whoever encrypts between hosts: a crate of its own, which this one may not know.
#[derive(Clone, Debug)]
pub struct WirePort {
    /// What it is to do; remembered here like the view, so that it is known before any agent comes.
    pub wish: watch::Sender<Option<Arc<WireWish>>>,
    /// How it fares.
    pub status: watch::Receiver<WireStatus>,
}

impl Options {
    /// A folder, and every default.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            view: None,
            dns: DnsOptions::default(),
            metadata: MetadataOptions::default(),
            proxy_threads: None,
            admin: Some(([127, 0, 0, 1], 7602).into()),
            wires: None,
        }
    }
}

/// Serves until `stop` comes, or an agent says so; SIGHUP ends nothing. Listeners, names and
/// probes that cannot be had are tried again by themselves.
///
/// # Errors
/// When another dataplane serves the folder, the folder or the view file cannot be used, or a
/// thread cannot be started.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), Error> {
    let dir = options.dir.clone();
    // Until the end of this function.
    let _lock = folder::lock(&dir).await?;
    let hangup = signal(SignalKind::hangup());
    let _ignored = hangup.map_err(|source| Error::Folder { path: dir.clone(), source })?;
    allow_files();
    let remembered = match &options.view {
        Some(path) => {
            Remembered { view: Some(Arc::new(state::view_file(path)?)), ..Remembered::default() }
        }
        None => state::load(&dir),
    };
    let teller = teller(&options, &dir, &remembered);
    let index = remembered.view.as_ref().map_or(0, |view| view.index.0);
    tracing::info!(dir = %dir.display(), view = index, "dataplane starts");

    let proxy_options =
        options.proxy_threads.map_or_else(ProxyOptions::default, |shards| ProxyOptions { shards });
    let thread = |source| Error::Thread { name: "proxy".into(), source };
    let proxy = Proxy::start(&proxy_options).map_err(thread)?;
    // Names are known before anybody can ask: a no at the start would be a wrong one.
    let table = remembered.view.as_ref().map(|view| {
        let live = &remembered.live;
        Table::of(view, &effective(view, &live.local, &live.probes))
    });
    let dns = Dns::start(options.dns, table.unwrap_or_default())?;
    let metadata = Metadata::start(options.metadata, teller.world())?;
    let (prober, verdicts) = Prober::start((*remembered.live.probes).clone())?;
    let keeper =
        Keeper::start().map_err(|source| Error::Thread { name: "floating".into(), source })?;
    let (report, reports) = watch::channel(Report::default());
    let (memory, memories) = watch::channel(remembered.clone());
    let known = (*remembered.live.checks).clone();
    let (checker, checked) = Checker::start(known, dns.listening())?;
    let (meta_memory, meta_memories) = watch::channel(None);
    let parts = Parts { dns, metadata, proxy, prober, keeper, checker };
    let memories_in = (memory, meta_memory);
    let plane = Plane::new(remembered.clone(), parts, options.wires, report, memories_in, teller);

    let (to_plane, messages) = mpsc::channel(DATAPLANE_QUEUE_MAX);
    let (asker, questions) = mpsc::channel(DATAPLANE_QUEUE_MAX);
    let mut doors = JoinSet::new();
    doors.spawn(agent::accept(folder::listen(&dir)?, to_plane, reports));
    if let Some(addr) = options.admin {
        match tokio::net::TcpListener::bind(addr).await {
            Ok(listener) => {
                doors.spawn(admin::serve(listener, asker));
            }
            Err(error) => tracing::warn!(%addr, %error, "no metrics: the port cannot be had"),
        }
    }
    let mut writer = JoinSet::new();
    if options.view.is_none() {
        writer.spawn(state::keep(dir.clone(), remembered, memories));
        writer.spawn(state::keep_metadata(dir.clone(), meta_memories));
    }
    let inputs = Inputs { messages, verdicts, checked, questions };
    let (proxy, keeper) = plane.run(inputs, stop).await;
    // Others take its floating addresses while it ends.
    keeper.stop().await;
    // The plane's end of the memory is gone: what is not written yet is written now.
    proxy.shutdown(Duration::from_millis(DATAPLANE_GRACE_MS)).await;
    while let Some(ended) = writer.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "state not written");
        }
    }
    folder::leave(&dir);
    doors.shutdown().await;
    tracing::info!("dataplane ends");
    Ok(())
}

/// What is told of metadata at first: what is remembered, or is in the file that is served.
fn teller(options: &Options, dir: &Path, remembered: &Remembered) -> Teller {
    let kept = match &options.view {
        Some(_) => None,
        None => state::load_metadata(dir),
    };
    let of_view = remembered.view.as_ref();
    let of_view = of_view.map(|view| Kept { host: view.host.clone(), meta: view.meta.clone() });
    Teller::new(kept.or(of_view))
}

/// Every connection is a file: as many as the host allows, not the few that a shell gives.
fn allow_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "limit of open files stays as it was");
    }
}
