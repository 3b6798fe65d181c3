//! The fake's world: everything that is there, and what each call does to it. No call here waits;
//! time moves only when it is told to.

use super::Tap;
use super::fault::{Fault, FaultKind, Link, Op};
use super::program::Program;
use crate::error::{Error, ImageWhy, Result};
use crate::fit::{SeenNetwork, no_external_volume, volume_driver, volume_fits};
use crate::label;
use crate::reference;
use crate::seen::{
    DiskSpace, EngineEvent, EventAction, ImageInfo, RunState, SeenContainer, SeenVolume,
};
use crate::wish::{Attach, CreateRequest, NetworkWish};
use model::health::Health;
use model::limits::EVENTS_MAX;
use model::stack::VolumeSpec;
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Most calls remembered.
const CALLS_MAX: usize = 100_000;

/// An image.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) info: ImageInfo,
    /// `None` does what the command says.
    pub(super) program: Option<Program>,
    pub(super) files: Arc<ImageFiles>,
}

/// What an image is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ImageFiles {
    /// Its hash is the id.
    pub(super) config: Vec<u8>,
    /// From the lowest up.
    pub(super) layers: Vec<Vec<u8>>,
}

/// An image at its registry.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    pub(super) image: std::result::Result<Image, ImageWhy>,
    pub(super) pull_ms: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) seen: SeenContainer,
    pub(super) request: CreateRequest,
    /// Networks that it was connected to, with its address there.
    pub(super) connected: BTreeMap<String, Ipv4Addr>,
    program: Program,
    /// When its process ends, with which code.
    ends: Option<(i64, i64)>,
    /// Verdicts to come.
    verdicts: Vec<(i64, Health)>,
    pub(super) output: Vec<(i64, bool, String)>,
}

impl Container {
    /// When its process ends, as far as that is settled.
    pub(super) fn ends(&self) -> Option<i64> {
        self.ends.map(|(at, _)| at)
    }
}

#[derive(Default)]
pub(super) struct World {
    pub(super) now: i64,
    pub(super) link: Link,
    /// Counts the times that the engine went down: streams of an older life have ended.
    pub(super) life: u64,
    pub(super) deadline_ms: u64,
    made: u64,
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) networks: BTreeMap<String, SeenNetwork>,
    pub(super) volumes: BTreeMap<String, (VolumeSpec, BTreeMap<String, String>)>,
    /// By name, and by id those whose names went to others.
    pub(super) images: BTreeMap<String, Image>,
    pub(super) disk: DiskSpace,
    pub(super) remote: BTreeMap<String, Remote>,
    pub(super) execs: BTreeMap<String, Option<i64>>,
    pub(super) faults: Vec<Fault>,
    pub(super) calls: Vec<(Op, String)>,
    pub(super) events: Vec<EngineEvent>,
    /// Events that are no longer in `events`.
    pub(super) events_dropped: usize,
    /// By how much the clock was set since the beginning.
    pub(super) set_by: i64,
    /// Moments that calls wait for, as if the clock had never been set, with how many.
    pub(super) waits: BTreeMap<i64, usize>,
    pub(super) tap: Option<Listener>,
    /// What was due next when somebody was told of it last.
    armed: Option<i64>,
}

/// Hears everything that happens.
pub(super) type Listener = Box<dyn Fn(&Tap<'_>) + Send>;

/// What waiting calls look at, besides the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    events: usize,
    life: u64,
    link: Link,
}

pub(super) fn after(now: i64, ms: u64) -> i64 {
    now.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX))
}

fn not_found(operation: &str, id: &str) -> Error {
    Error::NotFound {
        operation: format!("{operation} container {id}"),
        message: format!("No such container: {id}"),
    }
}

impl World {
    pub(super) fn new_id(&mut self, what: &str) -> String {
        self.made += 1;
        format!("{what}{:08}", self.made)
    }

    pub(super) fn mark(&self) -> Mark {
        let events = self.events_dropped + self.events.len();
        Mark { events, life: self.life, link: self.link }
    }

    pub(super) fn has_due_waits(&self) -> bool {
        self.waits.keys().next().is_some_and(|first| *first <= self.uptime())
    }

    /// Is something due earlier than when this was asked last?
    pub(super) fn arm(&mut self) -> bool {
        let due = self.next_due();
        let earlier = due.is_some_and(|due| self.armed.is_none_or(|armed| due < armed));
        self.armed = due;
        earlier
    }

    /// Notes the call and gives the fault that strikes it.
    pub(super) fn called(&mut self, op: Op, subject: &str) -> Option<FaultKind> {
        if let Some(tap) = &self.tap {
            tap(&Tap::Call(op, subject, self.find(subject).map(|found| &found.seen)));
        } else {
            if self.calls.len() >= CALLS_MAX {
                self.calls.remove(0);
            }
            self.calls.push((op, subject.to_owned()));
        }
        if self.faults.is_empty() {
            return None;
        }
        let container = self.find(subject).map(|found| found.seen.clone());
        let mut subjects = vec![subject];
        if let Some(container) = &container {
            subjects.extend([container.id.as_str(), container.name.as_str()]);
        }
        let at = self.faults.iter().position(|fault| fault.is_for(op, &subjects))?;
        let fault = &mut self.faults[at];
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let kind = fault.kind;
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            self.faults.remove(at);
        }
        Some(kind)
    }

    /// By id or name.
    pub(super) fn find(&self, id: &str) -> Option<&Container> {
        self.containers.get(id).or_else(|| self.containers.values().find(|c| c.seen.name == id))
    }

    pub(super) fn id_of(&self, operation: &str, id: &str) -> Result<String> {
        self.find(id).map(|found| found.seen.id.clone()).ok_or_else(|| not_found(operation, id))
    }

    fn tell(&mut self, id: &str, action: EventAction) {
        let Some(container) = self.containers.get(id) else { return };
        let seen = &container.seen;
        let event = EngineEvent {
            time_ns: self.now.saturating_mul(1_000_000),
            id: id.to_owned(),
            name: seen.name.clone(),
            owner: seen.owner.clone(),
            instance: seen.instance.clone(),
            action,
        };
        if let Some(tap) = &self.tap {
            tap(&Tap::Event(&event));
        }
        if self.events.len() >= EVENTS_MAX {
            self.events.remove(0);
            self.events_dropped += 1;
        }
        self.events.push(event);
    }

    pub(super) fn list(&self, owner: &str) -> Vec<SeenContainer> {
        let ours = |c: &&Container| c.seen.owner.as_deref() == Some(owner);
        let mut found: Vec<SeenContainer> =
            self.containers.values().filter(ours).map(|c| c.seen.clone()).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    pub(super) fn create(&mut self, request: &CreateRequest) -> Result<String> {
        self.create_as(request, |_seen| {})
    }

    /// Makes a container that is seen in another way than it was asked for.
    pub(super) fn create_as(
        &mut self,
        request: &CreateRequest,
        dress: impl FnOnce(&mut SeenContainer),
    ) -> Result<String> {
        request.check()?;
        if let Some(there) = self.find(&request.name) {
            let same = |key| there.seen.labels.get(key) == request.labels.get(key);
            if same(label::ENVIRONMENT) && same(label::INSTANCE) {
                return Ok(there.seen.id.clone());
            }
            let by = format!("container {}", there.seen.id);
            return Err(Error::NameTaken { name: request.name.clone(), by });
        }
        for (other, _) in &request.volumes_from {
            self.id_of("create", other)?;
        }
        let Some(image) = self.image(&request.spec.image)?.cloned() else {
            let image = request.spec.image.clone();
            return Err(Error::ImageMissing { image, why: ImageWhy::NotHere });
        };
        let id = self.new_id("c");
        let mut seen = seen_of(&id, request, &image.info, Timestamp(self.now));
        dress(&mut seen);
        // As Docker does: a name becomes an id while the container is there.
        for mode in [&mut seen.network_mode, &mut seen.pid_mode, &mut seen.ipc_mode] {
            let other = mode.strip_prefix("container:").and_then(|other| self.find(other));
            if let Some(other) = other {
                *mode = format!("container:{}", other.seen.id);
            }
        }
        let program = image.program.clone().unwrap_or_else(|| {
            Program::of_command(request.spec.command.as_ref().unwrap_or(&image.info.command))
        });
        let container = Container {
            seen,
            request: request.clone(),
            connected: BTreeMap::new(),
            program,
            ends: None,
            verdicts: vec![],
            output: vec![],
        };
        self.containers.insert(id.clone(), container);
        self.tell(&id, EventAction::Create);
        Ok(id)
    }

    /// The containers whose namespaces it joins must be there and run.
    fn joined(&self, id: &str) -> Result<()> {
        let Some(seen) = self.find(id).map(|found| &found.seen) else { return Ok(()) };
        for mode in [&seen.network_mode, &seen.pid_mode, &seen.ipc_mode] {
            let Some(other) = mode.strip_prefix("container:") else { continue };
            let other = self.id_of("start", other)?;
            if !self.find(&other).is_some_and(|found| found.seen.running()) {
                return Err(Error::Docker {
                    operation: format!("start container {id}"),
                    status: 409,
                    message: format!(
                        "cannot join the namespace of container {other}: it does not run"
                    ),
                });
            }
        }
        Ok(())
    }

    /// By name or id.
    pub(super) fn image(&self, name: &str) -> Result<Option<&Image>> {
        let by_name = self.images.get(&image_key(name)?);
        let is_it = |image: &&Image| image.info.id == name || has_digest(image, name);
        Ok(by_name.or_else(|| self.images.values().find(is_it)))
    }

    pub(super) fn start(&mut self, id: &str) -> Result<()> {
        let id = self.id_of("start", id)?;
        self.joined(&id)?;
        let addresses = self.addresses_for(&id)?;
        let now = self.now;
        let Some(container) = self.containers.get_mut(&id) else { return Ok(()) };
        if container.seen.running() {
            return Ok(());
        }
        let program = container.program.clone();
        let seen = &mut container.seen;
        if let Some(why) = program.start_fails {
            seen.error.clone_from(&why);
            seen.exit_code = Some(127);
            let operation = format!("start container {id}");
            return Err(Error::Docker { operation, status: 400, message: why });
        }
        seen.state = RunState::Running;
        seen.started_at = Some(Timestamp(now));
        seen.exit_code = None;
        seen.oom_killed = false;
        seen.error.clear();
        seen.pid = Some(1_000);
        seen.addresses = addresses;
        seen.docker_health =
            if program.health.is_empty() { Health::Unchecked } else { Health::Initializing };
        container.ends = program.exits_after_ms.map(|ms| (after(now, ms), program.exit_code));
        container.verdicts = program.health.iter().map(|(ms, h)| (after(now, *ms), *h)).collect();
        container.output.extend(program.output.into_iter().map(|(err, line)| (now, err, line)));
        self.tell(&id, EventAction::Start);
        self.advance_to(now);
        Ok(())
    }

    /// Begins to stop: when the process will have ended is settled here.
    pub(super) fn begin_stop(&mut self, id: &str, grace_ms: u64) {
        let now = self.now;
        let Ok(id) = self.id_of("stop", id) else { return };
        let Some(container) = self.containers.get_mut(&id) else { return };
        if !container.seen.running() {
            return;
        }
        let stop = match container.program.stops_after_ms {
            Some(ms) if ms <= grace_ms => (after(now, ms), 143),
            _ => (after(now, grace_ms), 137),
        };
        container.ends = Some(container.ends.map_or(stop, |ends| ends.min(stop)));
        self.advance_to(now);
    }

    pub(super) fn kill(&mut self, id: &str, signal: &str) {
        let now = self.now;
        let Ok(id) = self.id_of("kill", id) else { return };
        let Some(container) = self.containers.get_mut(&id) else { return };
        if !container.seen.running() {
            return;
        }
        let name = signal.trim_start_matches("SIG");
        let end = match (name, container.program.stops_after_ms) {
            ("KILL" | "9", _) => Some((now, 137)),
            ("TERM" | "INT" | "QUIT", Some(ms)) => Some((after(now, ms), 143)),
            _ => None,
        };
        if let Some(end) = end {
            container.ends = Some(container.ends.map_or(end, |ends| ends.min(end)));
        }
        self.tell(
            &id,
            match crate::signal::number(name) {
                Some(signal) => EventAction::Kill { signal },
                None => EventAction::Other("kill".into()),
            },
        );
        self.advance_to(now);
    }

    pub(super) fn remove(&mut self, id: &str) {
        let Ok(id) = self.id_of("remove", id) else { return };
        self.end(&id, 137, false);
        self.tell(&id, EventAction::Destroy);
        self.containers.remove(&id);
    }

    /// The process ends now.
    pub(super) fn end(&mut self, id: &str, code: i64, oom: bool) {
        let now = self.now;
        let Some(container) = self.containers.get_mut(id) else { return };
        if !container.seen.running() {
            return;
        }
        let seen = &mut container.seen;
        seen.state = RunState::Exited;
        seen.finished_at = Some(Timestamp(now));
        seen.exit_code = Some(code);
        seen.oom_killed = oom;
        seen.pid = None;
        seen.addresses.clear();
        container.ends = None;
        container.verdicts.clear();
        if oom {
            self.tell(id, EventAction::Oom);
        }
        self.tell(id, EventAction::Die { exit_code: code });
    }

    pub(super) fn verdict(&mut self, id: &str, health: Health) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.seen.running() && container.seen.docker_health != health {
            container.seen.docker_health = health;
            self.tell(id, EventAction::HealthStatus(health));
        }
    }

    /// The next moment at which something happens by itself, or for which a call waits.
    pub(super) fn next_due(&self) -> Option<i64> {
        let own = self.next_of_a_process().map(|(at, _)| at);
        let wait = self.waits.keys().next().map(|at| at.saturating_add(self.set_by));
        own.into_iter().chain(wait).min()
    }

    fn next_of_a_process(&self) -> Option<(i64, String)> {
        let due = |c: &Container| {
            let verdict = c.verdicts.iter().map(|(at, _)| *at).min();
            let at = c.ends.map(|(at, _)| at).into_iter().chain(verdict).min()?;
            Some((at, c.seen.id.clone()))
        };
        self.containers.values().filter_map(due).min()
    }

    /// Time goes on; all that is due by then happens in its order.
    /// The present, as if the clock had never been set.
    pub(super) fn uptime(&self) -> i64 {
        self.now.saturating_sub(self.set_by)
    }

    /// Moves the present and all that is to come.
    pub(super) fn set_clock_by(&mut self, ms: i64) {
        self.now = self.now.saturating_add(ms);
        self.set_by = self.set_by.saturating_add(ms);
        self.armed = None;
        for container in self.containers.values_mut() {
            for (at, _) in &mut container.verdicts {
                *at = at.saturating_add(ms);
            }
            if let Some((at, _)) = &mut container.ends {
                *at = at.saturating_add(ms);
            }
        }
    }

    pub(super) fn advance_to(&mut self, target: i64) {
        while let Some((at, id)) = self.next_of_a_process() {
            if at > target {
                break;
            }
            self.now = self.now.max(at);
            let now = self.now;
            let Some(container) = self.containers.get_mut(&id) else { break };
            let due: Vec<Health> = container
                .verdicts
                .extract_if(.., |(at, _)| *at <= now)
                .map(|(_, health)| health)
                .collect();
            let ends = container.ends.filter(|(at, _)| *at <= now);
            let oom = container.program.oom;
            for health in due {
                self.verdict(&id, health);
            }
            if let Some((_, code)) = ends {
                self.end(&id, code, oom && code == 137);
            }
        }
        self.now = self.now.max(target);
    }

    pub(super) fn ensure_network(&mut self, wish: &NetworkWish) -> Result<()> {
        reference::path_safe("network name", &wish.name)?;
        let there: Vec<SeenNetwork> = self.networks.values().cloned().collect();
        if !crate::fit::network_is_there(&there, wish)? {
            let network = SeenNetwork {
                id: self.new_id("n"),
                name: wish.name.clone(),
                owner: wish.labels.get(label::ENVIRONMENT).cloned(),
                subnets: vec![wish.subnet],
            };
            self.networks.insert(wish.name.clone(), network);
        }
        Ok(())
    }

    pub(super) fn remove_network(&mut self, name: &str, owner: &str) -> Result<()> {
        let Some(there) = self.networks.get(name) else { return Ok(()) };
        if there.owner.as_deref() != Some(owner) {
            return Err(crate::fit::foreign(name));
        }
        let used = self.containers.values().any(|c| {
            c.seen.running()
                && matches!(&c.request.attach, Attach::Network { name: n, .. } if n == name)
        });
        if used {
            return Err(Error::Docker {
                operation: format!("remove network {name}"),
                status: 403,
                message: format!("network {name} has active endpoints"),
            });
        }
        self.networks.remove(name);
        Ok(())
    }

    pub(super) fn ensure_volume(
        &mut self,
        name: &str,
        spec: &VolumeSpec,
        labels: &BTreeMap<String, String>,
    ) -> Result<()> {
        reference::path_safe("volume name", name)?;
        if let Some((there, _)) = self.volumes.get(name) {
            return volume_fits(name, spec, volume_driver(there), &there.driver_opts);
        }
        if spec.external {
            return Err(no_external_volume(name));
        }
        let mut all = spec.labels.clone();
        all.extend(labels.clone());
        self.volumes.insert(name.to_owned(), (spec.clone(), all));
        Ok(())
    }

    pub(super) fn volumes_of(&self, owner: &str) -> Vec<SeenVolume> {
        let ours = self.volumes.iter().filter(|(_, (_, labels))| {
            labels.get(label::ENVIRONMENT).is_some_and(|found| found == owner)
        });
        let seen = ours.map(|(name, (spec, labels))| SeenVolume {
            name: name.clone(),
            driver: volume_driver(spec).to_owned(),
            labels: labels.clone(),
        });
        seen.collect()
    }
}

/// Is this `name@sha256:…` of the image?
pub(super) fn has_digest(image: &Image, name: &str) -> bool {
    let wanted = reference::image_name(name).filter(|name| name.contains('@'));
    let digests = &image.info.digests;
    wanted.is_some() && digests.iter().any(|digest| reference::image_name(digest) == wanted)
}

/// `name:tag`.
pub(super) fn image_key(image: &str) -> Result<String> {
    let name = reference::image(image)?;
    Ok(format!("{}:{}", name.name, name.tag))
}

fn seen_of(id: &str, request: &CreateRequest, image: &ImageInfo, now: Timestamp) -> SeenContainer {
    let mut labels = image.labels.clone();
    labels.extend(request.spec.labels.clone());
    labels.extend(request.labels.clone());
    SeenContainer {
        id: id.to_owned(),
        name: request.name.clone(),
        owner: labels.get(label::ENVIRONMENT).cloned(),
        instance: labels.get(label::INSTANCE).cloned(),
        labels,
        image: request.spec.image.clone(),
        image_id: image.id.clone(),
        created_at: Some(now),
        network_mode: match &request.attach {
            Attach::Network { name, .. } => name.clone(),
            Attach::Container(other) => format!("container:{other}"),
            Attach::Host => "host".into(),
            Attach::None => "none".into(),
        },
        pid_mode: request.spec.pid.clone().unwrap_or_default(),
        ipc_mode: request.spec.ipc.clone().unwrap_or_default(),
        ..SeenContainer::default()
    }
}
