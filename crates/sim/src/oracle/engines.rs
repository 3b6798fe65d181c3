//! What the engines are asked for and what happens there: which containers run, in truth.

use super::{Flaw, Oracle};
use crate::host::host_id;
use engine::fake::Op;
use engine::seen::{EngineEvent, EventAction, SeenContainer};
use model::host::HostLink;
use model::id::InstanceId;
use model::limits::DNS_LAME_DUCK_MS;
use model::record::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// A host, by its number, and a container on it.
pub(super) type Container = (usize, String);
/// For so long a trouble of a link may let a host stop what may run elsewhere.
const SILENCE: Duration = Duration::from_secs(90);
/// What shares a namespace of a container starts again within this time after it.
const JUST_STARTED: Duration = Duration::from_secs(10);

/// What the engines do, and what was done to them.
#[derive(Debug, Default)]
pub(super) struct Engines {
    /// Containers that run, by instance.
    running: BTreeMap<InstanceId, BTreeSet<Container>>,
    /// In which order they were started.
    started: BTreeMap<Container, (u64, Instant)>,
    starts: u64,
    /// Until when an engine, or who speaks with it, may not do what it should.
    away: BTreeMap<usize, Instant>,
    /// When the link of a host was in trouble last.
    silent: BTreeMap<usize, Instant>,
}

impl Engines {
    /// Does a container of it run?
    pub(super) fn runs(&self, id: &InstanceId) -> bool {
        self.running.get(id).is_some_and(|running| !running.is_empty())
    }

    /// Where containers of other instances of its service run, all that are of the same part.
    pub(super) fn others(&self, id: &InstanceId) -> Vec<(InstanceId, usize)> {
        let from = InstanceId::new(id.service.clone(), 0, 0);
        let all = self.running.range(from..).take_while(|(other, _)| other.service == id.service);
        all.filter(|(other, _)| other.instance() != id.instance() && other.sidekick == id.sidekick)
            .flat_map(|(other, on)| on.iter().map(|(host, _)| (other.clone(), *host)))
            .collect()
    }

    /// Could a host not do what it should at some time in the last seconds?
    pub(super) fn was_away(&self, host: usize, last: Duration) -> bool {
        self.away.get(&host).is_some_and(|until| *until + last >= Instant::now())
    }

    /// When a running container was started, as a number in order.
    pub(super) fn start_of(&self, container: &Container) -> Option<u64> {
        self.started.get(container).map(|(number, _)| *number)
    }
}

/// The containers whose namespaces a container shares, by id.
pub(super) fn owners(container: &SeenContainer) -> impl Iterator<Item = &str> {
    let modes = [&container.network_mode, &container.pid_mode, &container.ipc_mode];
    modes.into_iter().filter_map(|mode| mode.strip_prefix("container:"))
}

impl Oracle {
    /// An engine, or the agent that speaks with it, may not do what it should until then.
    pub(crate) fn note_away(&mut self, host: usize, until: Instant) {
        let known = self.engines.away.entry(host).or_insert(until);
        *known = (*known).max(until);
    }

    /// The link of a host is in trouble.
    pub(crate) fn note_silence(&mut self, host: usize) {
        self.engines.silent.insert(host, Instant::now());
    }

    /// A call of an engine.
    pub(crate) fn call(&mut self, host: usize, op: Op, container: Option<&SeenContainer>) {
        if !matches!(op, Op::Stop | Op::Remove | Op::Kill) {
            return;
        }
        let Some(container) = container else { return };
        let Some(instance) = container.instance.as_deref() else { return };
        let text = || format!("{op:?} of {} ({instance}) on h{host}", container.name);
        let id = instance.parse().ok().map(|id: InstanceId| id.instance());
        let ordered = id.as_ref().and_then(|id| self.ordered.get(id)).copied();
        let Some(ordered) = ordered else {
            let own = id.is_some_and(|id| self.may_have_ended_itself(host, &id));
            if !own && !self.follows(host, container) {
                self.flaw(Flaw::GoneUnasked(text()));
            }
            return;
        };
        let waited = ordered.elapsed();
        let lame_duck = Duration::from_millis(DNS_LAME_DUCK_MS * 9 / 10);
        let timed = !self.clocks_set.contains(&host) && container.running();
        let own = self.follows(host, container)
            || id.is_some_and(|id| self.may_have_ended_itself(host, &id));
        if timed && waited < lame_duck && !own {
            self.flaw(Flaw::Undrained(format!("{} {waited:?} after its order", text())));
        }
    }

    /// Is it a sidekick without its primary, or in a namespace that its owner has left? Then it ends,
    /// or starts again. An owner that was started a moment ago may have been another run of it that
    /// was joined, as far as the agent knows.
    fn follows(&self, host: usize, container: &SeenContainer) -> bool {
        let id = container.instance.as_deref().and_then(|text| text.parse::<InstanceId>().ok());
        let alone = |id: InstanceId| id.sidekick.is_some() && !self.engines.runs(&id.instance());
        id.is_some_and(alone)
            || owners(container).any(|owner| {
                let start = self.engines.started.get(&(host, owner.to_owned()));
                start.is_none_or(|(_, at)| at.elapsed() < JUST_STARTED)
            })
    }

    /// May its host have ended it because it did not hear the server?
    fn may_have_ended_itself(&self, host: usize, id: &InstanceId) -> bool {
        let silent = self.engines.silent.get(&host);
        self.promises.was_at_most_once(&id.service)
            && silent.is_some_and(|at| at.elapsed() < SILENCE)
    }

    /// The record of an instance goes: so have its containers, unless its host is not to be reached.
    pub(super) fn check_forgotten(&mut self, id: &InstanceId, before: Option<&Record>) {
        let Some(Record::Instance(old)) = before else { return };
        let host = self.cluster.host(&old.host);
        let reached = host.is_some_and(|host| host.status == HostLink::Active);
        let mut all = self.engines.running.range(id.clone()..);
        let runs = all.find(|(other, running)| other.instance() != *id || !running.is_empty());
        if reached && runs.is_some_and(|(other, _)| other.instance() == *id) {
            self.flaw(Flaw::ForgottenAlive(id.to_string()));
        }
    }

    /// Something happened to a container.
    pub(crate) fn event(&mut self, host: usize, event: &EngineEvent) {
        let Some(Ok(id)) = event.instance.as_ref().map(|text| text.parse::<InstanceId>()) else {
            return;
        };
        let key = (host, event.id.clone());
        match event.action {
            EventAction::Start => {
                self.engines.starts += 1;
                self.engines.started.insert(key.clone(), (self.engines.starts, Instant::now()));
                let running = self.engines.running.entry(id.clone()).or_default();
                running.insert(key);
                if running.len() > 1 {
                    let text = format!("{id}: {running:?}");
                    self.flaw(Flaw::TwoAtOnce(text));
                }
                self.check_alone(host, &id);
            }
            EventAction::Die { .. } | EventAction::Destroy => {
                self.engines.started.remove(&key);
                if let Some(running) = self.engines.running.get_mut(&id) {
                    running.remove(&key);
                    if running.is_empty() {
                        self.engines.running.remove(&id);
                    }
                }
            }
            _ => {}
        }
    }

    /// Was a host removed by people at some time? What ran there was given up by them.
    pub(super) fn was_removed(&self, host: usize) -> bool {
        self.removed_hosts.contains(&host_id(host))
    }
}
