//! The loop of the host: look, let `control::host::plan` think, act, report. One task owns all of
//! its state; whatever happens only wakes it.

mod clean;
mod hosts;
mod look;
mod measure;
mod plain;
mod plugs;
mod rendered;
mod trouble;
pub(crate) mod wires;

pub(crate) use hosts::Desk as HostsDesk;
pub use plugs::Plugs;

use crate::act::{self, Done, Effect, Failed, Tools};
use crate::dataplane::{DataplaneState, Local};
use crate::drain::{Drain, Drained};
use crate::images::ImageBook;
use crate::lease::LeaseClock;
use crate::observe;
use crate::plain::Task;
use crate::plug::{self, Done as Plugged};
use crate::render::Desk;
use crate::transfer::Fetcher;
use crate::watcher::Hint;
use api::link::Publication;
use clean::{Cleaner, Shelf};
use control::host::{Busy, BusyKind, ImageRemoval, Memo, Seen, SeenInstance};
use engine::Engine;
use engine::seen::{PlainList, PullProgress, SeenContainer};
use measure::{Measured, Meter};
use model::host::HostFacts;
use model::host_spec::HostSpec;
use model::host_status::HostStatus;
use model::id::{HostId, InstanceId};
use model::instance::{Goal, InstanceStatus};
use model::mutation::{Mutation, is_in};
use model::policy::HostPolicy;
use model::time::{Clock, Timestamp};
use model::view::HostView;
use model::wireguard::WireWish;
use network::{Fabric, FabricWish};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Everything is looked at again at least this often, whatever the events say.
const RESYNC: Duration = Duration::from_secs(30);
/// Pause after the containers could not be listed.
const RESYNC_RETRY: Duration = Duration::from_millis(500);
/// The network is compared with what is wished this often.
const NETWORK_PERIOD: Duration = Duration::from_secs(10);
/// Pause after the network could not be set up.
const NETWORK_RETRY: Duration = Duration::from_secs(1);
/// A plan is made at least this often.
const PERIOD: Duration = Duration::from_secs(5);
const PROGRESS_MAX: usize = 64;
/// What is told until the containers are listed: what was known of them may be of the past.
const NOT_LISTED: &str = "the containers have not been listed yet";

/// What a reconciler works with.
pub(crate) struct Parts<E, F> {
    pub(crate) host: HostId,
    pub(crate) dir: PathBuf,
    pub(crate) engine: E,
    pub(crate) fabric: F,
    pub(crate) clock: Clock,
    pub(crate) lease: LeaseClock,
    pub(crate) images: ImageBook,
    pub(crate) fetcher: Fetcher<E>,
    pub(crate) render: Desk,
    pub(crate) hosts: HostsDesk,
    pub(crate) publication: watch::Receiver<Option<Arc<Publication>>>,
    /// Names that are asked for here and that the view says nothing of.
    pub(crate) asked: watch::Sender<BTreeSet<String>>,
    pub(crate) view: watch::Sender<Option<Arc<HostView>>>,
    pub(crate) local: watch::Sender<Option<Arc<Local>>>,
    pub(crate) wire: watch::Sender<Option<Arc<WireWish>>>,
    pub(crate) dataplane: watch::Receiver<DataplaneState>,
    pub(crate) containers: watch::Sender<BTreeMap<InstanceId, Arc<SeenContainer>>>,
    pub(crate) own_pids: watch::Sender<Vec<u32>>,
    pub(crate) plugs: Plugs,
    /// What the fabric works with; `None` while it must stay as it is.
    pub(crate) anchor: watch::Sender<Option<wires::Anchor>>,
    pub(crate) status: watch::Sender<Option<Arc<HostStatus>>>,
    pub(crate) hints: mpsc::Receiver<Hint>,
}

/// What a background look came to.
enum Look {
    /// All containers of ours, and the plain ones.
    All(Result<Vec<SeenContainer>, String>, Result<PlainList, String>),
    /// One container.
    One(String, Result<Option<Box<SeenContainer>>, String>),
    /// The network was made as wished.
    Network(Result<(), String>),
    /// What came of the work on a plain container.
    Attached(Task, Result<(), String>),
    /// What came of the work of CNI on a container.
    Plugged(Box<Plugged>),
    /// Facts of the host.
    Facts(Box<HostFacts>),
    /// What measured containers have used so far.
    Usage(Vec<Measured>),
    /// The images of the host.
    Shelf(Result<Shelf, String>),
    /// What came of the removal of images.
    Swept(Vec<(ImageRemoval, Result<(), String>)>),
}

/// The loop's state.
pub(crate) struct Reconciler<E, F> {
    parts: Parts<E, F>,
    /// By instance, as last seen; `None` until the first look.
    containers: Option<BTreeMap<InstanceId, Vec<Arc<SeenContainer>>>>,
    memos: BTreeMap<InstanceId, Memo>,
    busy: BTreeMap<InstanceId, Busy>,
    drains: BTreeMap<InstanceId, Drain>,
    statuses: BTreeMap<InstanceId, InstanceStatus>,
    facts: HostFacts,
    plains: plain::Plains,
    plugs: Plugs,
    meter: Meter,
    cleaner: Cleaner,
    engine_problem: String,
    network_problem: String,
    resync_wanted: bool,
    resync_running: bool,
    resync_due: Instant,
    /// Containers that were looked at by themselves since the list was asked for.
    newer: BTreeSet<String>,
    /// Why the containers are not known as they are now; empty when they are.
    list_problem: String,
    network_due: Instant,
    network_running: bool,
    wires: Option<wires::Wires>,
    network_made: Option<Arc<FabricWish>>,
    /// The network policy that the host holds.
    policy_held: Arc<HostPolicy>,
    actions: JoinSet<Done>,
    looks: JoinSet<Look>,
    progress: mpsc::Sender<(InstanceId, PullProgress)>,
    progress_rx: mpsc::Receiver<(InstanceId, PullProgress)>,
}

impl<E: Engine, F: Fabric> Reconciler<E, F> {
    pub(crate) fn new(mut parts: Parts<E, F>) -> Self {
        let (progress, progress_rx) = mpsc::channel(PROGRESS_MAX);
        let plugs = std::mem::take(&mut parts.plugs);
        Self {
            parts,
            containers: None,
            memos: BTreeMap::new(),
            busy: BTreeMap::new(),
            drains: BTreeMap::new(),
            statuses: BTreeMap::new(),
            facts: HostFacts::default(),
            plains: plain::Plains::new(plugs.by_cni()),
            plugs,
            meter: Meter::default(),
            cleaner: Cleaner::default(),
            engine_problem: "docker has not been asked yet".into(),
            network_problem: "the network has not been set up yet".into(),
            resync_wanted: false,
            resync_running: false,
            resync_due: Instant::now(),
            newer: BTreeSet::new(),
            list_problem: NOT_LISTED.into(),
            network_due: Instant::now(),
            network_running: false,
            wires: None,
            network_made: None,
            policy_held: Arc::default(),
            actions: JoinSet::new(),
            looks: JoinSet::new(),
            progress,
            progress_rx,
        }
    }

    /// Works for ever.
    pub(crate) async fn run(mut self) {
        let mut resync = tokio::time::interval(RESYNC);
        let mut wake = Instant::now();
        let mut heard = self.parts.lease.news();
        loop {
            tokio::select! {
                // What is rare goes first; hints, which may come in a flood, are all taken below.
                biased;
                _ = resync.tick() => {
                    self.resync_wanted = true;
                    self.look_at_facts();
                }
                changed = self.parts.publication.changed() => if changed.is_err() { return },
                Some(done) = self.actions.join_next() => self.finish(done),
                Some(look) = self.looks.join_next() => self.learn(look),
                changed = self.parts.dataplane.changed() => if changed.is_err() { return },
                changed = heard.changed() => if changed.is_err() { return },
                changed = self.parts.render.told.changed() => if changed.is_err() { return },
                Some((id, step)) = self.progress_rx.recv() => self.show(&id, &step),
                hint = self.parts.hints.recv() => match hint {
                    Some(hint) => self.hear(hint),
                    None => return,
                },
                () = tokio::time::sleep_until(wake) => {}
            }
            // What came together is worked on together.
            while let Ok(hint) = self.parts.hints.try_recv() {
                self.hear(hint);
            }
            while let Some(done) = self.actions.try_join_next() {
                self.finish(done);
            }
            let pause = self.pass();
            wake = Instant::now() + pause;
        }
    }

    fn owner(&self) -> Option<String> {
        self.parts.publication.borrow().as_ref().map(|p| p.spec.environment.id.clone())
    }

    fn show(&mut self, id: &InstanceId, step: &PullProgress) {
        if let Some(busy) = self.busy.get_mut(id).filter(|b| b.kind == BusyKind::Pulling) {
            busy.progress = match step.current.saturating_mul(100).checked_div(step.total) {
                Some(percent) => format!("{} {percent} %", step.status),
                None => step.status.clone(),
            };
        }
    }

    fn finish(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                // Which one is not known: all that is under way is looked at anew.
                tracing::error!(%error, "an action ended badly");
                self.busy.clear();
                self.resync_wanted = true;
                return;
            }
        };
        let id = done.instance;
        let now = self.parts.clock.now();
        let kind = self.busy.remove(&id).map(|busy| busy.kind);
        match done.result {
            Ok(Effect::Pulled { found, settled }) => {
                self.note_image(&id, &found.id);
                let digest = self.digest_of(&id, &found.digests);
                let memo = self.memos.entry(id).or_default();
                memo.note_image(settled.unwrap_or(found.id), digest, now);
            }
            Ok(Effect::Started(container)) => {
                tracing::info!(instance = %id, container = container.id, "container started");
                self.memos.entry(id).or_default().note_start();
                self.parts.images.used(&container.image_id, &container.image);
                // When it was over before it was looked at, that end is noted there.
                self.put(container);
            }
            Ok(Effect::Stopped(container)) => {
                tracing::info!(instance = %id, container = container.id, "container stopped");
                self.put(container);
                // That was ours: its end is no failure, and its next start waits for nothing.
                self.memos.entry(id).or_default().stopped = true;
            }
            Ok(Effect::Gone(container)) => {
                tracing::info!(instance = %id, container, "container gone");
                self.forget(&container);
            }
            Err(Failed { why, permanent }) => {
                tracing::warn!(instance = %id, error = why, "action failed");
                let memo = self.memos.entry(id).or_default();
                memo.note_failure(why, permanent, now);
                if kind != Some(BusyKind::Pulling) {
                    // It may have happened all the same.
                    memo.unsure = true;
                    self.resync_wanted = true;
                }
            }
        }
    }

    /// One pass: views out, drains judged, plan made and begun, status out. Returns the pause.
    fn pass(&mut self) -> Duration {
        let now = self.parts.clock.now();
        let publication = self.parts.publication.borrow_and_update().clone();
        let state = self.parts.dataplane.borrow_and_update().clone();
        self.tell_pids(&state);
        let Some(publication) = publication else {
            self.report(None, &state);
            return PERIOD;
        };
        let view = Arc::clone(&publication.view);
        self.parts.view.send_if_modified(|known| {
            if known.as_ref() == Some(&view) {
                return false;
            }
            *known = Some(view);
            true
        });
        self.begin_looks(&publication);
        self.begin_measuring(&publication.spec);
        self.begin_cleaning();
        if self.containers.is_none() {
            self.report(Some(&publication), &state);
            return RESYNC_RETRY;
        }
        let stops_at = self.plains.tidy(now);
        self.publish_local();
        self.wish_rendered(&publication.spec);
        self.wish_hosts(&publication, &state);
        let attach_at = self.begin_attaching(&publication.spec, now);
        let plug_at = self.begin_plugging(&publication.spec, now);
        self.memos.values_mut().for_each(|memo| memo.note_clock(now));
        let mut wake: Option<Timestamp> = None;
        let seen = self.seen(&publication, &state, now, &mut wake);
        let plan = control::host::plan(&publication.spec, &seen, now);
        for action in plan.actions {
            let (instance, kind) = act::subject(&action);
            let instance = instance.clone();
            self.busy.insert(instance.clone(), Busy { kind, progress: String::new() });
            if kind == BusyKind::Starting {
                self.note_company(&publication.spec, &instance);
            }
            self.actions.spawn(act::act(self.tools(), action, Arc::clone(&publication.spec)));
        }
        let mut statuses = plan.statuses;
        for (id, placement) in &publication.spec.balancers {
            let status = observe::balancer(placement, &state, publication.view.index, now);
            statuses.insert(id.clone(), status);
        }
        self.statuses = statuses
            .into_iter()
            .map(|(id, new)| {
                let kept = observe::keep_time(self.statuses.get(&id), new);
                (id, kept)
            })
            .collect();
        self.memos.retain(|id, _| publication.spec.instances.contains_key(id));
        self.report(Some(&publication), &state);
        let wake = [wake, plan.wake_at, attach_at, plug_at, stops_at].into_iter().flatten().min();
        let until = wake.map_or(PERIOD, |at| Duration::from_millis(at.since_ms(now).max(1)));
        // A list that failed is tried again soon, whatever else is due.
        until.min(if self.resync_wanted { RESYNC_RETRY } else { PERIOD })
    }

    fn tools(&self) -> Tools<E> {
        Tools {
            engine: self.parts.engine.clone(),
            fetcher: self.parts.fetcher.clone(),
            resolv_dir: self.parts.dir.join("resolv"),
            rendered_dir: self.parts.render.dir.clone(),
            by_cni: self.plugs.by_cni(),
            progress: self.progress.clone(),
        }
    }

    /// The digest under which the registry of a container's image has it; empty for none.
    fn digest_of(&self, id: &InstanceId, digests: &[String]) -> String {
        let publication = self.parts.publication.borrow();
        let spec = publication.as_ref().and_then(|p| p.spec.instances.get(id));
        let name = spec.and_then(|spec| engine::image_name(&spec.container.image));
        let repository = |text: &str| {
            let text = engine::image_name(text)?;
            let rest = text.split('@').next().unwrap_or_default();
            let colon = rest.rfind(':').filter(|at| !rest[*at..].contains('/'));
            Some(rest[..colon.unwrap_or(rest.len())].to_owned())
        };
        let wanted = name.as_deref().and_then(repository);
        let found = digests.iter().find(|digest| wanted.is_some() && repository(digest) == wanted);
        found.cloned().unwrap_or_default()
    }

    /// Notes under which name an image was pulled.
    fn note_image(&self, id: &InstanceId, image: &str) {
        let publication = self.parts.publication.borrow();
        let spec = publication.as_ref().and_then(|p| p.spec.instances.get(id));
        let name = spec.map_or(image, |spec| spec.container.image.as_str());
        // An older revision goes by the id: its name may be another image's by now.
        let by_id = spec.is_some_and(|spec| spec.image_id.as_deref() == Some(image));
        self.parts.images.used(image, if by_id { image } else { name });
    }

    /// Notes the runs of the containers whose namespaces one is about to join.
    fn note_company(&mut self, spec: &HostSpec, id: &InstanceId) {
        let Some(wanted) = spec.instances.get(id) else { return };
        let owners = wanted.network_of.iter().chain(&wanted.namespaces_of);
        let all = self.containers.as_ref();
        let runs = owners.filter_map(|owner| {
            let running = all?.get(owner)?.iter().find(|container| container.running())?;
            Some((owner.clone(), running.started_at?))
        });
        let runs = runs.collect();
        self.memos.entry(id.clone()).or_default().joined_runs = runs;
    }

    fn tell_pids(&self, state: &DataplaneState) {
        let pids = vec![std::process::id(), state.pid];
        self.parts.own_pids.send_if_modified(|known| {
            let changed = *known != pids;
            *known = pids;
            changed
        });
    }

    /// Begins the looks that are due: the list of containers, the network.
    fn begin_looks(&mut self, publication: &Publication) {
        let environment = &publication.spec.environment;
        let resync_due = self.resync_wanted && Instant::now() >= self.resync_due;
        if resync_due && !self.resync_running && self.engine_problem.is_empty() {
            self.resync_wanted = false;
            self.resync_running = true;
            self.newer.clear();
            let (engine, owner) = (self.parts.engine.clone(), environment.id.clone());
            self.looks.spawn(async move {
                let (ours, plain) = tokio::join!(engine.list(&owner), engine.list_plain());
                let ours = ours.map_err(|e| api::error::chain(&e));
                Look::All(ours, plain.map_err(|e| api::error::chain(&e)))
            });
        }
        let (stale, anchor) = (self.plugs.stale(), self.plugs.anchor());
        let free = stale.is_none().then(|| anchor.clone());
        self.parts.anchor.send_if_modified(|known| {
            let news = *known != free;
            known.clone_from(&free);
            news
        });
        let wires = wires::Wires::of(&publication.spec, anchor, self.wires.take());
        let wish = Arc::clone(&wires.wish);
        self.parts.wire.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&wires.wire);
            *known = Some(Arc::clone(&wires.wire));
            changed
        });
        self.wires = Some(wires);
        let due = self.network_made.as_ref() != Some(&wish) || Instant::now() >= self.network_due;
        if !due || self.network_running || !self.engine_problem.is_empty() {
            return;
        }
        if Instant::now() < self.network_due && !self.network_problem.is_empty() {
            return;
        }
        self.network_running = true;
        self.network_made = Some(Arc::clone(&wish));
        let (spec, folder) = (Arc::clone(&publication.spec), self.parts.dir.clone());
        let (engine, fabric) = (self.parts.engine.clone(), self.parts.fabric.clone());
        let by_cni = self.plugs.by_cni();
        self.looks.spawn(async move {
            let result = async {
                stale.map_or(Ok(()), Err)?;
                if by_cni {
                    wires::leave_docker(&engine, &spec.environment.id).await?;
                } else {
                    let facts = fabric.facts().await.map_err(|e| api::error::chain(&e))?;
                    let docker = wires::docker(&spec, &folder, facts.mtu);
                    engine.ensure_network(&docker).await.map_err(|e| api::error::chain(&e))?;
                }
                let status = fabric.ensure(&wish).await.map_err(|e| api::error::chain(&e))?;
                for repair in status.repaired {
                    tracing::info!(%repair, "network set up");
                }
                wires::segment_problem(&wish, &status.off_segment).map_or(Ok(()), Err)
            };
            Look::Network(result.await)
        });
    }

    /// Everything that the planner wants to know.
    fn seen(
        &mut self,
        publication: &Publication,
        state: &DataplaneState,
        now: Timestamp,
        wake: &mut Option<Timestamp>,
    ) -> Seen {
        let troubles = observe::port_troubles(Some(&publication.view), state);
        let problem = match self.engine_trouble() {
            "" => String::new(),
            engine => format!("docker: {engine}"),
        };
        let network_problem = self.network_wait(publication, state);
        let lease = self.parts.lease.now();
        let mut seen = Seen { instances: BTreeMap::new(), problem, network_problem, lease };
        self.drains.retain(|id, drain| {
            let spec = publication.spec.instances.get(id);
            spec.is_some_and(|spec| drain.is_by(spec.goal, spec.ordered_at))
        });
        for (id, spec) in &publication.spec.instances {
            let known = self.containers.as_ref().and_then(|all| all.get(id));
            let known = known.map_or(&[][..], Vec::as_slice);
            let trouble = observe::paused(known).or_else(|| troubles.get(id).cloned());
            let containers: Vec<_> = known.iter().map(|seen| observe::container(seen)).collect();
            let running = containers.iter().find(|c| c.running);
            let mut drained = false;
            if spec.goal != Goal::Run && running.is_some() {
                let drain = self
                    .drains
                    .entry(id.clone())
                    .or_insert_with(|| Drain::begin(spec.ordered_at, publication.view.index, now));
                drain.note(state.report.view, now);
                let active = state.report.active.get(id).copied().unwrap_or(0);
                match drain.judge(active, spec.drain_ms, now) {
                    _ if is_in(Mutation::ForgetDrain) => drained = true,
                    Drained::Yes => drained = true,
                    Drained::At(at) => *wake = Some(wake.map_or(at, |known| known.min(at))),
                }
            }
            if spec.goal != Goal::Run && running.is_none() && !containers.is_empty() {
                self.memos.entry(id.clone()).or_default().stopped = true;
            }
            let probe = observe::probe(state, id, running.and_then(|c| c.started_at));
            let runs = known.iter().find(|c| c.running());
            let unplugged = runs.and_then(|c| self.plugs.unplugged(c, spec, &publication.spec));
            let by_cni = self.plugs.by_cni();
            let rendered = self.rendered(id, spec);
            let misfit = known.iter().any(|c| plug::is_misfit(c, spec, by_cni));
            seen.instances.insert(
                id.clone(),
                SeenInstance {
                    probe,
                    busy: self.busy.get(id).cloned(),
                    memo: self.memos.get(id).cloned().unwrap_or_default(),
                    drained,
                    trouble: trouble.unwrap_or_default(),
                    unplugged,
                    unrendered: rendered.waits,
                    remark: rendered.remark,
                    misfit,
                    containers,
                },
            );
        }
        seen
    }

    /// Sends the status up when it differs from the last one.
    fn report(&self, publication: Option<&Publication>, state: &DataplaneState) {
        self.parts.asked.send_if_modified(|known| {
            let news = *known != state.report.asked;
            known.clone_from(&state.report.asked);
            news
        });
        let mut facts = self.facts.clone();
        facts.engine_problem = self.engine_trouble().to_owned();
        facts.dataplane_problem.clone_from(&state.problem);
        facts.network_driver = self.plugs.words();
        facts.strays = self.strays(publication);
        facts.plain_left_out = self.plains.left_out;
        facts.disk.clone_from(&self.cleaner.disk);
        facts.expose_refused = observe::expose_refused(publication.map(|p| &*p.view), state);
        if let Some(publication) = publication.filter(|_| self.engine_problem.is_empty()) {
            facts.network_problem = self.network_trouble(publication, state);
        }
        facts.wireguard = state.report.wire.as_ref().map(|w| w.keys.clone()).unwrap_or_default();
        let status = HostStatus {
            host: self.parts.host.clone(),
            number: 0,
            generation: publication.map(|p| p.spec.generation).unwrap_or_default(),
            view: state.report.view,
            facts,
            instances: self.statuses.clone(),
            plain: self.plains.told().filter(|_| self.engine_trouble().is_empty()),
            probes: observe::probes_of_others(publication, state),
            usage: self.meter.usage.clone(),
            requests: state.report.requests.clone(),
            floating: state.report.floating.clone(),
            checks: state.report.checks.clone(),
        };
        self.parts.status.send_if_modified(|known| {
            if known.as_deref() == Some(&status) {
                return false;
            }
            *known = Some(Arc::new(status));
            true
        });
    }
}
