//! What must hold, whatever happened: at every change of the store, at every call of an engine,
//! and at rest.

mod rest;

use control::audit::Violation;
use engine::fake::Op;
use engine::seen::{EngineEvent, EventAction, SeenContainer};
use model::change::Edit;
use model::cluster::Cluster;
use model::health::Health;
use model::host::{HostLink, Scheduling};
use model::id::{InstanceId, ServiceId};
use model::instance::{Goal, Instance, Phase};
use model::limits::{DNS_LAME_DUCK_MS, ROLLOUT_PROVEN_AGAIN_MS, SETTLE_MS_DEFAULT};
use model::record::{Record, RecordKey};
use model::rollout_policy::UpdateOrder;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use store::codec::Decoded;
use tokio::time::Instant;

/// Changes between two whole audits.
const WHOLE_AUDIT_EVERY: u64 = 100;
/// Flaws kept of one run; the first ones say most.
const FLAWS_MAX: usize = 50;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The independent audit found something.
    Audit(String),
    /// An incarnation was given twice.
    GivenTwice(String),
    /// An instance was given another host or address: two decisions did not know of each other.
    Moved(String),
    /// Two containers of one instance run at the same time.
    TwoAtOnce(String),
    /// A container was stopped or removed though no change had ordered it.
    GoneUnasked(String),
    /// A container was stopped before those who knew its address could have heard of it.
    Undrained(String),
    /// The record of an instance is gone and its container runs.
    ForgottenAlive(String),
    /// A service was taken below its promised minimum by our own doing.
    BelowMinimum(String),
    /// A container of ours that no instance stands for, and nobody told of it.
    Orphan(String),
    /// Two containers of one instance.
    Twice(String),
    /// An instance that should run has no running container.
    NotRunning(String),
    /// Something goes on that should have come to its end.
    NotQuiet(String),
    /// A service is not as wanted and nothing says why.
    NoReason(String),
    /// A loop that should go on for ever has ended: it panicked.
    Ended(String),
    /// The simulation itself is broken.
    Broken(String),
}

impl Flaw {
    /// Which kind it is: a shrunk run must fail in the same way.
    #[must_use]
    pub fn kind(&self) -> std::mem::Discriminant<Self> {
        std::mem::discriminant(self)
    }
}

/// The books of a run.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    cluster: Cluster,
    pub(crate) flaws: Vec<Flaw>,
    changes: u64,
    /// Every instance that there ever was.
    given: BTreeSet<InstanceId>,
    /// Those that some change ordered to stop or go, with the virtual time of the last order.
    ordered: BTreeMap<InstanceId, Instant>,
    /// Since when an instance has been seen as it is, in virtual time.
    since: BTreeMap<InstanceId, Instant>,
    /// Hosts whose clocks were set: what they time may come too early.
    clocks_set: BTreeSet<usize>,
    /// How far a server's clock was set forward at most: what it times may be as much too early.
    server_ahead: Duration,
    /// Containers that run, by instance.
    running: BTreeMap<String, BTreeSet<(usize, String)>>,
}

impl Oracle {
    /// The state as the store has told it.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The clock of a host was set.
    pub(crate) fn note_clock(&mut self, host: usize) {
        self.clocks_set.insert(host);
    }

    /// The clock of the server was set so far forward.
    pub(crate) fn note_server_clock(&mut self, ahead: Duration) {
        self.server_ahead = self.server_ahead.max(ahead);
    }

    pub(crate) fn flaw(&mut self, flaw: Flaw) {
        if self.flaws.len() < FLAWS_MAX && !self.flaws.contains(&flaw) {
            self.flaws.push(flaw);
        }
    }

    /// The simulation itself is broken.
    pub(crate) fn note(&mut self, what: String) {
        self.flaw(Flaw::Broken(what));
    }

    /// A change of the store.
    pub(crate) fn commit(&mut self, decoded: &Decoded) {
        let before = self.cluster.clone();
        let was_ready =
            |id: &InstanceId| before.instance(id).is_some_and(|one| self.serves(&before, one));
        let ready_before: BTreeSet<InstanceId> = decoded
            .edits
            .iter()
            .filter_map(|(_, edit)| instance_of(edit))
            .filter(was_ready)
            .collect();
        let slots_before = self.slots_of(&before, &ready_before);
        self.note_statuses(decoded);
        self.cluster.apply(decoded.index, &decoded.change());
        self.changes += 1;
        let mut let_go: BTreeSet<ServiceId> = BTreeSet::new();
        for (prev, edit) in &decoded.edits {
            if let Edit::Delete(RecordKey::Instance(id)) = edit {
                self.check_forgotten(id, prev.as_ref());
            }
            let Edit::Put(Record::Instance(new)) = edit else { continue };
            let old = match prev {
                Some(Record::Instance(old)) => Some(old),
                _ => None,
            };
            if let Some(old) = old
                && (&old.host, old.address) != (&new.host, new.address)
            {
                self.flaw(Flaw::Moved(new.id.to_string()));
            }
            if old.is_none() && !self.given.insert(new.id.clone()) {
                self.flaw(Flaw::GivenTwice(new.id.to_string()));
            }
            if new.goal != Goal::Run {
                if old.is_none_or(|old| old.goal == Goal::Run) {
                    self.ordered.insert(new.id.clone(), Instant::now());
                }
                if ready_before.contains(&new.id) && !self.is_people_s(new) {
                    let_go.insert(new.id.service.clone());
                }
            }
        }
        for service in let_go {
            let was = slots_before.get(&service).copied().unwrap_or(0);
            self.check_minimum(was, &service);
        }
        if self.changes.is_multiple_of(WHOLE_AUDIT_EVERY) {
            self.audit_whole();
        }
    }

    fn audit_whole(&mut self) {
        for violation in control::audit::audit(&self.cluster) {
            // Who removes a host leaves what was on it to the planner: it is gone at rest.
            if !matches!(violation, Violation::NoHost(_)) {
                self.flaw(Flaw::Audit(format!("{violation:?}")));
            }
        }
    }

    /// Instances of a running service were let go: enough others are ready, unless others than we
    /// had taken them away.
    fn check_minimum(&mut self, was: usize, id: &ServiceId) {
        let Some(service) = self.cluster.service(id) else { return };
        if service.goal != Goal::Run {
            return;
        }
        let scale = service.scale;
        let unavailable = match service.settings.update.order {
            Some(UpdateOrder::StopFirst) => {
                let batch = service.settings.update.batch_size.unwrap_or(scale / 4).max(1);
                service.settings.update.max_unavailable.unwrap_or(batch)
            }
            Some(UpdateOrder::StartFirst) | None => 0,
        };
        let promised = scale.saturating_sub(unavailable) as usize;
        let is = self.slots_with(&self.cluster, id, |one| self.is_ready(&self.cluster, one)).len();
        if is < promised.min(was) {
            let text = format!("{id}: {is} of {scale} ready, {was} before, {promised} promised");
            self.flaw(Flaw::BelowMinimum(text));
        }
    }

    /// A call of an engine.
    pub(crate) fn call(&mut self, host: usize, op: Op, container: Option<&SeenContainer>) {
        if !matches!(op, Op::Stop | Op::Remove | Op::Kill) {
            return;
        }
        let Some(container) = container else { return };
        let Some(instance) = container.instance.as_deref() else { return };
        let text = || format!("{op:?} of {} ({instance}) on h{host}", container.name);
        let primary = instance.parse().ok().map(|id: InstanceId| id.container(None));
        let Some(ordered) = primary.and_then(|id| self.ordered.get(&id)).copied() else {
            return self.flaw(Flaw::GoneUnasked(text()));
        };
        let waited = ordered.elapsed();
        let lame_duck = Duration::from_millis(DNS_LAME_DUCK_MS * 9 / 10);
        let timed = !self.clocks_set.contains(&host) && container.running();
        if timed && waited < lame_duck {
            self.flaw(Flaw::Undrained(format!("{} {waited:?} after its order", text())));
        }
    }

    /// The record of an instance goes: so has its container, unless its host is not to be reached.
    fn check_forgotten(&mut self, id: &InstanceId, before: Option<&Record>) {
        let Some(Record::Instance(old)) = before else { return };
        let host = self.cluster.host(&old.host);
        let reached = host.is_some_and(|host| host.status == HostLink::Active);
        let runs = self.running.get(&id.to_string()).is_some_and(|running| !running.is_empty());
        if reached && runs {
            self.flaw(Flaw::ForgottenAlive(id.to_string()));
        }
    }

    /// Something happened to a container.
    pub(crate) fn event(&mut self, host: usize, event: &EngineEvent) {
        let Some(instance) = &event.instance else { return };
        let key = (host, event.id.clone());
        match event.action {
            EventAction::Start => {
                let running = self.running.entry(instance.clone()).or_default();
                running.insert(key);
                if running.len() > 1 {
                    let text = format!("{instance}: {running:?}");
                    self.flaw(Flaw::TwoAtOnce(text));
                }
            }
            EventAction::Die { .. } | EventAction::Destroy => {
                if let Some(running) = self.running.get_mut(instance) {
                    running.remove(&key);
                }
            }
            _ => {}
        }
    }

    /// Notes since when each instance has been as it is.
    fn note_statuses(&mut self, decoded: &Decoded) {
        for (prev, edit) in &decoded.edits {
            let Edit::Put(Record::InstanceStatus(id, new)) = edit else { continue };
            let same = matches!(prev, Some(Record::InstanceStatus(_, old))
                if (old.phase, old.health, old.started_at)
                    == (new.phase, new.health, new.started_at));
            if !same {
                self.since.insert(id.clone(), Instant::now());
            }
        }
    }

    /// Did people order it, whatever that takes away: a host that was removed, or is drained by
    /// force?
    fn is_people_s(&self, instance: &Instance) -> bool {
        self.cluster
            .host(&instance.host)
            .is_none_or(|host| matches!(host.scheduling, Scheduling::Draining { force: true, .. }))
    }

    /// Is it ready, as far as the store knows? Without a check it must have run for a while.
    fn is_ready(&self, cluster: &Cluster, instance: &Instance) -> bool {
        let settle = Duration::from_millis(SETTLE_MS_DEFAULT).saturating_sub(self.server_ahead);
        let settled = || {
            let since = self.since.get(&instance.id).map(Instant::elapsed);
            since.is_some_and(|since| since >= settle)
        };
        instance.goal == Goal::Run
            && cluster.instance_status(&instance.id).is_some_and(|seen| match seen.phase {
                Phase::Running if seen.health == Health::Unchecked => settled(),
                Phase::Running => seen.health.serves(),
                Phase::Completed => true,
                _ => false,
            })
    }

    /// Does it serve in truth, whatever the store knows: it is ready, its container runs, and it is
    /// not between two of its crashes?
    fn serves(&self, cluster: &Cluster, instance: &Instance) -> bool {
        let id = &instance.id;
        let running = self.running.get(&id.to_string()).is_some_and(|running| !running.is_empty());
        let crashed = cluster.instance_status(id).is_some_and(|seen| seen.restarts > 0);
        let least = if crashed { ROLLOUT_PROVEN_AGAIN_MS } else { SETTLE_MS_DEFAULT };
        let since = self.since.get(id).map(Instant::elapsed);
        let proven = since.is_some_and(|since| since >= Duration::from_millis(least));
        self.is_ready(cluster, instance) && running && proven
    }

    /// Slots of a service, up to its scale, with an instance that is as asked.
    fn slots_with(
        &self,
        cluster: &Cluster,
        id: &ServiceId,
        is: impl Fn(&Instance) -> bool,
    ) -> BTreeSet<u32> {
        let scale = self.cluster.service(id).map_or(0, |service| service.scale);
        cluster
            .instances_of(id)
            .filter(|instance| {
                // What was said last of a host that is away counts for nothing.
                let host = cluster.host(&instance.host);
                host.is_some_and(|host| host.is_observed())
                    && instance.id.n <= scale
                    && is(instance)
            })
            .map(|instance| instance.id.n)
            .collect()
    }

    /// Slots of these instances' services that were served.
    fn slots_of(
        &self,
        before: &Cluster,
        instances: &BTreeSet<InstanceId>,
    ) -> BTreeMap<ServiceId, usize> {
        let services: BTreeSet<&ServiceId> = instances.iter().map(|id| &id.service).collect();
        let count =
            |id: &ServiceId| self.slots_with(before, id, |one| self.serves(before, one)).len();
        services.into_iter().map(|id| (id.clone(), count(id))).collect()
    }
}

/// The instance that an edit puts.
fn instance_of(edit: &Edit) -> Option<InstanceId> {
    match edit {
        Edit::Put(Record::Instance(instance)) => Some(instance.id.clone()),
        _ => None,
    }
}
