//! The agent of one host. It chooses nothing: the spec says what to hold, the view what to publish.
//!
//! ```text
//! server ⇄ session ──Publication──▶ reconcile ──actions──▶ engine, network
//!             ▲                        │  ▲ ◀── events, inspect ── engine
//!             └────── HostStatus ──────┘  └── view, local ──▶ dataplane process ── reports ──▶
//! ```
//!
//! Its death stops changes on this host and nothing else.

mod act;
mod consul;
mod dataplane;
mod drain;
mod hosts;
mod images;
mod journal;
mod lease;
mod net_check;
mod observe;
mod plain;
mod plug;
mod reconcile;
mod render;
mod session;
mod stopping;
mod streams;
mod supply;
mod transfer;
mod watcher;

pub use crate::consul::{serve_consul, serve_containers};
pub use crate::dataplane::{DataplaneCommand, DataplanePort, DataplaneState, Local};
pub use crate::journal::Journal;
pub use crate::plug::unplug_all;
pub use crate::reconcile::Plugs;

use api::link::AgentLink;
use engine::Engine;
use model::id::HostId;
use model::time::Clock;
use network::Fabric;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Docker's name of the managed network.
pub const NETWORK: &str = model::plain::NETWORK;
/// Label of the managed network: the agent's folder that it was made for.
pub const FOLDER_LABEL: &str = "io.remuda.folder";
/// Its bridge on the host.
pub const BRIDGE: &str = "remuda0";

/// What an agent is started with.
#[derive(Debug)]
pub struct Options<L, E, F> {
    /// Its host.
    pub host: HostId,
    /// Its folder.
    pub dir: PathBuf,
    /// The way to the server.
    pub link: L,
    /// The container engine.
    pub engine: E,
    /// The host's network.
    pub fabric: F,
    /// The time.
    pub clock: Clock,
    /// Where the last publication is kept; `None` is its folder.
    pub journal: Option<Journal>,
    /// The environment that it is a member of, when it joined one: publications of another one
    /// are refused.
    pub environment: Option<String>,
    /// What its containers get their network from; the default is Docker.
    pub plugs: Plugs,
    /// How the dataplane is started; `None` when somebody else serves `Agent::dataplane_port`.
    pub dataplane: Option<DataplaneCommand>,
}

/// An agent that is ready to run.
#[derive(Debug)]
pub struct Agent<L, E, F> {
    options: Options<L, E, F>,
    consul: Option<SocketAddr>,
    view: watch::Sender<Option<std::sync::Arc<model::view::HostView>>>,
    local: watch::Sender<Option<std::sync::Arc<Local>>>,
    wire: watch::Sender<Option<std::sync::Arc<model::wireguard::WireWish>>>,
    state: watch::Sender<DataplaneState>,
}

impl<L: AgentLink, E: Engine, F: Fabric> Agent<L, E, F> {
    /// Prepares an agent; nothing is touched yet.
    #[must_use]
    pub fn new(options: Options<L, E, F>) -> Self {
        Self {
            options,
            consul: None,
            view: watch::Sender::new(None),
            local: watch::Sender::new(None),
            wire: watch::Sender::new(None),
            state: watch::Sender::new(DataplaneState::default()),
        }
    }

    /// Templates of containers ask the Consul API at `consul`, on this host; without one they say so.
    #[must_use]
    pub fn asking(self, consul: Option<SocketAddr>) -> Self {
        Self { consul, ..self }
    }

    /// The agent's side of the dataplane.
    #[must_use]
    pub fn dataplane_port(&self) -> DataplanePort {
        DataplanePort {
            view: self.view.subscribe(),
            local: self.local.subscribe(),
            wire: self.wire.subscribe(),
            state: self.state.clone(),
        }
    }

    /// Works until the future is dropped. Containers and dataplane go on after it.
    pub async fn run(self) {
        let port = self.dataplane_port();
        let Self { options, consul, view, local, wire, state } = self;
        let journal = options.journal.unwrap_or_else(|| Journal::folder(&options.dir));
        let lease = lease::LeaseClock::open(journal.clone(), options.clock.clone()).await;
        let images = images::ImageBook::open(journal.clone(), options.clock.clone()).await;
        let publication = watch::Sender::new(journal.read().await);
        let (containers, seen) = watch::channel(BTreeMap::new());
        let (status, status_rx) = watch::channel(None);
        let (asked, asked_rx) = watch::channel(BTreeSet::new());
        let (own_pids, own_pids_rx) = watch::channel(vec![]);
        let (anchor, anchor_rx) = watch::channel(None);
        let (hints, hints_rx) = mpsc::channel(watcher::HINTS_MAX);
        let mut tasks = JoinSet::new();
        if let Some(command) = options.dataplane {
            tasks.spawn(dataplane::keep(command, port));
        }
        let (asks, questions) = transfer::questions();
        let (giver, fetcher) = transfer::sides(&options.engine, &options.dir, asks);
        tasks.spawn(transfer::tidy(fetcher.clone()));
        let streams = streams::Streams {
            giver,
            engine: options.engine.clone(),
            fabric: options.fabric.clone(),
            containers: seen,
            publication: publication.subscribe(),
            dataplane: state.subscribe(),
            own_pids: own_pids_rx,
            anchor: anchor_rx,
            images: images.clone(),
        };
        let (hosts_wish, hosts_wished) = watch::channel(hosts::Wish::new());
        let rendered = options.dir.join(render::FOLDER);
        let (engine, clock) = (options.engine.clone(), options.clock.clone());
        let (renderer, desk) = render::sides(rendered, engine, clock, consul);
        let reconciler = reconcile::Reconciler::new(reconcile::Parts {
            host: options.host.clone(),
            dir: options.dir,
            engine: options.engine.clone(),
            fabric: options.fabric,
            clock: options.clock,
            lease: lease.clone(),
            images,
            fetcher,
            render: desk,
            hosts: reconcile::HostsDesk::new(hosts_wish),
            publication: publication.subscribe(),
            view,
            local,
            wire,
            dataplane: state.subscribe(),
            containers,
            own_pids,
            plugs: options.plugs,
            anchor,
            asked,
            status,
            hints: hints_rx,
        });
        let uplink = session::Uplink {
            host: options.host,
            link: options.link,
            journal,
            unwritten: false,
            environment: options.environment,
            lease,
            streams,
            questions,
            publication,
            asked: asked_rx,
            status: status_rx,
        };
        tasks.spawn(uplink.run());
        tasks.spawn(watcher::watch(options.engine, hints));
        tasks.spawn(hosts::keep(hosts_wished));
        tasks.spawn(renderer.run());
        tasks.spawn(reconciler.run());
        // None of them ends by itself; a defect in one ends the agent rather than half of it.
        if let Some(Err(error)) = tasks.join_next().await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}
