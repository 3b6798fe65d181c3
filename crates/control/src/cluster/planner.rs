//! The planner that follows a cluster: only what a change can have touched is thought about again,
//! so that the cost follows the change. A planner that has seen nothing yet thinks about
//! everything: that is the oracle of the tests, and what a server does when it starts.

use super::draft::Draft;
use super::{ClusterPlan, attach, decide, leftovers, rebalance};
use crate::floating::Seats;
use crate::ledger::Ledger;
use crate::placement::external::{Answer, External, Key};
use crate::placement::{Fleet, Wake};
use model::cluster::Cluster;
use model::host::{Host, HostLink};
use model::id::{HostId, InstanceId, ServiceId};
use model::plain::PlainId;
use model::reason::{Blocked, Reason};
use model::record::RecordKey;
use model::scaling::Mode;
use model::time::{Index, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is remembered between two plans. Nothing of it is needed for a right plan: it only says
/// what need not be looked at.
#[derive(Debug, Default)]
pub struct Planner {
    /// Changes up to here are worked in; `None` before the first plan.
    seen: Option<Index>,
    /// Services to think about.
    dirty: BTreeSet<ServiceId>,
    /// When to think about a service again though nothing has changed.
    due: BTreeMap<ServiceId, Timestamp>,
    timers: BTreeSet<(Timestamp, ServiceId)>,
    /// What is taken, up to date with what is seen; `None` until somebody asks.
    fleet: Option<Fleet>,
    /// Instances that the last plan decided on: they are in the fleet whether or not they came.
    taken: Vec<InstanceId>,
    /// Services that wait for room, with what may make it; `None` is any change of what is taken
    /// or of a host.
    parked: BTreeMap<ServiceId, Option<Wake>>,
    /// By service: who waits for it.
    waiters: BTreeMap<ServiceId, BTreeSet<ServiceId>>,
    /// Services that follow the hosts.
    global: BTreeSet<ServiceId>,
    /// Services with two instances on one host: a new host may take one of them.
    crowded: BTreeSet<ServiceId>,
    /// Services of which a move is advised: it may be none any more once something is taken.
    advised: BTreeSet<ServiceId>,
    /// Hosts as they were at the last plan.
    hosts: BTreeMap<HostId, Arc<Host>>,
    /// The external scheduler, when one takes part.
    external: Option<External>,
    /// Plain containers that ask for an address.
    asking: BTreeSet<PlainId>,
    /// Those that the last plan gave one: they are in the fleet whether or not it came.
    attached: Vec<PlainId>,
    /// Records that may have nothing behind them any more.
    suspects: BTreeSet<RecordKey>,
    /// Floating addresses.
    seats: Seats,
}

impl Planner {
    /// A planner that places nothing without the word of an external scheduler.
    #[must_use]
    pub fn with_scheduler() -> Self {
        Self { external: Some(External::default()), ..Self::default() }
    }

    /// What the external scheduler said to one of `ClusterPlan::asks`.
    pub fn answer(&mut self, key: Key, answer: Answer) {
        if let Some(external) = &mut self.external {
            self.dirty.insert(key.0.clone());
            external.answer(key, answer);
        }
    }

    /// Plans for what has changed since the last plan, and for what is due.
    #[must_use]
    pub fn plan(&mut self, cluster: &Cluster, now: Timestamp) -> ClusterPlan {
        self.follow(cluster);
        self.take_due(now);
        if let Some(external) = &mut self.external {
            external.forget_old(now);
        }
        let mut plan = ClusterPlan::default();
        // One ledger a plan, so that two services of one plan never get the same thing.
        let dirty = std::mem::take(&mut self.dirty);
        if dirty.is_empty() {
            self.attach(cluster, &mut plan);
            return self.finish(cluster, plan);
        }
        let fleet = self.fleet.take().unwrap_or_else(|| Fleet::of(cluster));
        let mut ledger = Ledger::on(cluster, fleet, self.external.take());
        for id in dirty {
            let Some(service) = cluster.service(&id) else {
                self.forget(&id);
                continue;
            };
            let mut draft = Draft::new(cluster, service, now);
            decide(&mut draft, &mut ledger);
            self.note_blocked(&id, &draft.status.blocked, ledger.take_wake());
            self.note_dependencies(&draft);
            if rebalance::is_crowded(&draft) {
                self.crowded.insert(id.clone());
            } else {
                self.crowded.remove(&id);
            }
            if draft.status.advice.is_empty() {
                self.advised.remove(&id);
            } else {
                self.advised.insert(id.clone());
            }
            let (proposal, mut wake_at) = draft.finish();
            if let Some(again) = ledger.settle(&id, now) {
                wake_at = Some(wake_at.map_or(again, |at: Timestamp| at.min(again)));
            }
            self.set_due(&id, wake_at);
            if !proposal.is_empty() {
                plan.proposals.push(proposal);
                // Until it is seen to have been taken.
                self.dirty.insert(id);
            }
        }
        let (fleet, taken, external) = ledger.close();
        (self.fleet, self.taken, self.external) = (Some(fleet), taken, external);
        self.attach(cluster, &mut plan);
        self.finish(cluster, plan)
    }

    /// What every plan ends with.
    fn finish(&mut self, cluster: &Cluster, mut plan: ClusterPlan) -> ClusterPlan {
        self.tell_scheduler(&mut plan);
        plan.wake_at = self.timers.first().map(|(at, _)| *at);
        plan.proposals.extend(leftovers::sweep(cluster, &mut self.suspects));
        plan.proposals.extend(self.seats.decide(cluster));
        plan
    }

    /// Gives addresses to plain containers that ask for one: from the same fleet as those of
    /// instances.
    fn attach(&mut self, cluster: &Cluster, plan: &mut ClusterPlan) {
        if self.asking.is_empty() {
            return;
        }
        let fleet = self.fleet.get_or_insert_with(|| Fleet::of(cluster));
        let given = attach::decide(cluster, fleet, &mut self.asking);
        for (id, proposal) in given {
            self.attached.push(id);
            plan.proposals.push(proposal);
        }
    }

    fn tell_scheduler(&mut self, plan: &mut ClusterPlan) {
        if let Some(external) = &mut self.external {
            plan.asks = std::mem::take(&mut external.asks);
            plan.releases = std::mem::take(&mut external.releases);
        }
    }

    /// Brings the fleet up to what is seen, and wakes who waits for what came free.
    fn follow_fleet(&mut self, cluster: &Cluster, keys: &[&RecordKey]) {
        let Some(fleet) = &mut self.fleet else { return };
        for id in std::mem::take(&mut self.taken) {
            let status = RecordKey::ServiceStatus(id.service.clone());
            fleet.note(cluster, [&RecordKey::Instance(id), &status]);
        }
        for id in std::mem::take(&mut self.attached) {
            fleet.note(cluster, [&RecordKey::Attachment(id)]);
        }
        if let Some(external) = &mut self.external {
            let gone = keys.iter().filter_map(|key| match key {
                RecordKey::Instance(id) if cluster.instance(id).is_none() => fleet.noted(id),
                _ => None,
            });
            external.releases.extend(gone.map(|instance| fleet.release(instance)));
        }
        fleet.note(cluster, keys.iter().copied());
        let freed = fleet.take_freed();
        if freed.is_any() {
            // Where something came free, an instance may be better off.
            self.dirty.extend(self.crowded.iter().cloned());
        }
        if keys.iter().any(|key| matches!(key, RecordKey::Instance(_))) {
            self.dirty.extend(self.advised.iter().cloned());
        }
        self.wake_parked(|wait| wait.is_none_or(|wake| wake.is_met_by(freed)) && freed.is_any());
    }

    fn wake_parked(&mut self, woken: impl Fn(Option<Wake>) -> bool) {
        let all = self.parked.iter().filter(|(_, wait)| woken(**wait));
        let ids: Vec<ServiceId> = all.map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.parked.remove(&id);
            self.dirty.insert(id);
        }
    }

    /// Works in what has changed.
    fn follow(&mut self, cluster: &Cluster) {
        let known = self.seen.replace(cluster.index());
        let changed = known.and_then(|index| cluster.changed_since(index));
        let Some(changed) = changed else { return self.look_at_all(cluster) };
        let mut keys: Vec<&RecordKey> = changed.collect();
        keys.sort();
        keys.dedup();
        self.follow_fleet(cluster, &keys);
        for key in keys {
            self.seats.note(cluster, key);
            match key {
                RecordKey::Environment => return self.look_at_all(cluster),
                RecordKey::Stack(_) => drop(self.suspects.insert(key.clone())),
                RecordKey::Service(id) => {
                    self.note_mode(cluster, id);
                    self.touch(id);
                    if cluster.service(id).is_none() {
                        self.suspects.insert(RecordKey::Stack(id.stack.clone()));
                        let left = cluster.instances_of(id).map(|i| i.id.clone());
                        self.suspects.extend(left.map(RecordKey::Instance));
                    }
                }
                RecordKey::ServiceStatus(id) | RecordKey::Revision(id, _) => self.touch(id),
                RecordKey::Instance(id) => {
                    self.touch(&id.service);
                    if cluster.instance(id).is_none() {
                        self.suspects.insert(RecordKey::InstanceStatus(id.clone()));
                    }
                }
                RecordKey::InstanceStatus(id) => {
                    self.touch(&id.service);
                    self.suspects.insert(key.clone());
                }
                RecordKey::Host(id) => self.note_host(cluster, id),
                RecordKey::Plain(id) | RecordKey::Attachment(id) => {
                    if attach::lacks(cluster, id) {
                        self.asking.insert(id.clone());
                    }
                    self.suspects.insert(RecordKey::Plain(id.clone()));
                    self.suspects.insert(RecordKey::Attachment(id.clone()));
                }
                RecordKey::Token(_)
                | RecordKey::Floating(_)
                | RecordKey::ClientNode(_)
                | RecordKey::ClientService(_)
                | RecordKey::ClientCheck(_)
                | RecordKey::CheckState(_)
                | RecordKey::Query(_) => {}
            }
        }
    }

    fn look_at_all(&mut self, cluster: &Cluster) {
        *self = Self { seen: self.seen, external: self.external.take(), ..Self::default() };
        for service in cluster.services() {
            self.note_mode(cluster, &service.id);
            self.dirty.insert(service.id.clone());
        }
        self.hosts = cluster.hosts().map(|host| (host.id.clone(), Arc::clone(host))).collect();
        self.asking = attach::all(cluster);
        self.suspects = leftovers::all(cluster);
        self.seats = Seats::of(cluster);
    }

    fn touch(&mut self, id: &ServiceId) {
        self.dirty.insert(id.clone());
        if let Some(waiters) = self.waiters.get(id) {
            self.dirty.extend(waiters.iter().cloned());
        }
    }

    fn note_mode(&mut self, cluster: &Cluster, id: &ServiceId) {
        let global = cluster.service(id).is_some_and(|s| s.settings.mode == Mode::Global);
        if global {
            self.global.insert(id.clone());
        } else {
            self.global.remove(id);
        }
    }

    /// A host came, went or changed: those on it are looked at, those that follow the hosts, and
    /// those that wait for room.
    fn note_host(&mut self, cluster: &Cluster, id: &HostId) {
        let now = cluster.host(id).cloned();
        let before = match &now {
            Some(host) => self.hosts.insert(id.clone(), Arc::clone(host)),
            None => self.hosts.remove(id),
        };
        let matters = |host: &Host| {
            let facts = &host.facts;
            (
                host.status,
                host.is_observed(),
                host.scheduling,
                host.unheard_since,
                host.all_labels(),
                facts.cpus,
                facts.memory,
            )
        };
        if before.is_none() || now.is_none() {
            for (plain, _) in cluster.plains_on(id) {
                self.asking.insert(plain.clone());
                self.suspects.insert(RecordKey::Plain(plain.clone()));
            }
            let attached = cluster.attachments_on(id).map(|one| one.id.clone());
            self.suspects.extend(attached.map(RecordKey::Attachment));
        }
        if before.as_deref().map(matters) == now.as_deref().map(matters) {
            return;
        }
        self.touch_on(cluster, id);
        self.dirty.extend(self.global.iter().cloned());
        // What keeps them may be another thing now, even where nothing came free.
        self.wake_parked(|_| true);
        self.dirty.extend(self.crowded.iter().cloned());
        // How many are away decides whether anybody is replaced, and so does whether another one
        // takes him.
        let away = self.hosts.values().filter(|host| host.status != HostLink::Active);
        let away: Vec<HostId> = away.map(|host| host.id.clone()).collect();
        for id in away {
            self.touch_on(cluster, &id);
        }
    }

    fn touch_on(&mut self, cluster: &Cluster, host: &HostId) {
        for instance in cluster.instances_on(host) {
            if !self.dirty.contains(&instance.id.service) {
                self.dirty.insert(instance.id.service.clone());
            }
        }
    }

    fn take_due(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.timers.first().cloned()
            && at <= now
        {
            self.timers.remove(&(at, id.clone()));
            self.due.remove(&id);
            self.dirty.insert(id);
        }
    }

    fn set_due(&mut self, id: &ServiceId, at: Option<Timestamp>) {
        if let Some(old) = self.due.remove(id) {
            self.timers.remove(&(old, id.clone()));
        }
        if let Some(at) = at {
            self.due.insert(id.clone(), at);
            self.timers.insert((at, id.clone()));
        }
    }

    fn note_blocked(&mut self, id: &ServiceId, blocked: &[Blocked], wake: Wake) {
        self.parked.remove(id);
        for waiters in self.waiters.values_mut() {
            waiters.remove(id);
        }
        self.waiters.retain(|_, waiters| !waiters.is_empty());
        for one in blocked {
            match &one.reason {
                Reason::Waiting { on, .. } | Reason::DependencyFailed { on, .. } => {
                    self.waiters.entry(on.clone()).or_default().insert(id.clone());
                }
                Reason::NoHost { .. } | Reason::NoFit { .. } | Reason::NoAddress { .. } => {
                    self.parked.entry(id.clone()).or_insert(Some(wake));
                }
                Reason::PortHeld { .. }
                | Reason::PortTaken { .. }
                | Reason::DrainWaits { .. }
                | Reason::HostAway { .. }
                | Reason::SchedulerDown { .. }
                | Reason::ScaleHeld { .. } => drop(self.parked.insert(id.clone(), None)),
                Reason::RolloutFailed { .. }
                | Reason::Backoff { .. }
                | Reason::Paused
                | Reason::CanaryWaits { .. }
                | Reason::FloatingIp { .. }
                | Reason::FinishWaits { .. } => {}
            }
        }
    }

    /// Until its first instance is there a service follows what it depends on, even while something
    /// else keeps it: the reason that is told may become another one.
    fn note_dependencies(&mut self, draft: &Draft<'_>) {
        if draft.status.incarnations > 0 {
            return;
        }
        for name in draft.service.settings.depends_on.keys() {
            let on = ServiceId { stack: draft.service.id.stack.clone(), service: name.clone() };
            self.waiters.entry(on).or_default().insert(draft.service.id.clone());
        }
    }

    fn forget(&mut self, id: &ServiceId) {
        self.advised.remove(id);
        self.set_due(id, None);
        self.note_blocked(id, &[], Wake::default());
        self.global.remove(id);
        self.crowded.remove(id);
    }
}
