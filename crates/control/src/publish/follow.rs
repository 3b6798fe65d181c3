//! What the changes from one cluster to the next come to, for each host that is followed. What is
//! derived again is what a change can have touched, as it was before and as it is now; the two are
//! compared.

use super::catalog::{self, Names, Unit};
use super::local::Local;
use super::publisher::{Publisher, Shared};
use super::relations::Relations;
use super::touched::Touched;
use super::{links, plain};
use crate::host::{Held, held};
use crate::probing::Ring;
use model::cluster::Cluster;
use model::delta::{Changes, Delta, SpecDelta, ViewDelta, changes};
use model::id::{HostId, InstanceId, ServiceId};
use model::instance::Instance;
use model::metadata::METADATA_NAME;
use model::view::{NameTarget, ViewInstance};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A cluster with what is derived from its services and hosts.
pub(super) struct World<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) relations: &'a Relations,
    pub(super) ring: &'a Ring,
}

impl World<'_> {
    fn unit(&self, id: &InstanceId) -> Unit {
        let instance = self.cluster.instance(id);
        let unit =
            |one: &Arc<Instance>| catalog::unit(self.cluster, self.relations, self.ring, one);
        instance.map(unit).unwrap_or_default()
    }

    fn names(&self, of: &BTreeSet<ServiceId>) -> Names {
        catalog::names(self.cluster, self.relations, of.iter())
    }

    fn held(&self, id: &InstanceId, host: &HostId) -> Held {
        let instance = self.cluster.instance(id).filter(|one| one.host == *host);
        let routed = &self.relations.routed;
        instance.map(|one| held(self.cluster, routed, one)).unwrap_or_default()
    }

    fn host_of(&self, id: &InstanceId) -> Option<&HostId> {
        self.cluster.instance(id).map(|one| &one.host)
    }

    /// Everything that views say of these services.
    fn entries<'a>(
        &self,
        of: impl Iterator<Item = &'a ServiceId> + Clone,
    ) -> (BTreeMap<InstanceId, Arc<ViewInstance>>, Names) {
        let names = catalog::names(self.cluster, self.relations, of.clone());
        let units = of.clone().flat_map(|id| self.cluster.instances_of(id));
        let units = units.map(|one| catalog::unit(self.cluster, self.relations, self.ring, one));
        let instances = units.flat_map(|unit| unit.instances);
        let outside = of.flat_map(|id| links::outside(self.cluster, id));
        (outside.chain(instances).collect(), names)
    }

    /// The names of plain containers that are not names of ours.
    pub(super) fn plain_names(&self) -> BTreeMap<String, NameTarget> {
        let free = plain::names(self.cluster).into_iter().filter(|(name, _)| !self.claims(name));
        free.map(|(name, named)| (name, NameTarget::Address(named.address))).collect()
    }

    /// Is this name ours, or that of one of our containers?
    fn claims(&self, name: &str) -> bool {
        if name == METADATA_NAME {
            return true;
        }
        let begins = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let services = self.relations.named.get(begins);
        services.is_some_and(|services| self.names(services).names.contains_key(name))
    }

    /// What every host is told where all are told alike.
    pub(super) fn all(&self) -> Shared {
        let services = self.cluster.services().map(|service| &service.id);
        // A service that is gone may have instances that are still to go.
        let instances = self.cluster.instances().map(|instance| &instance.id.service);
        let all: BTreeSet<&ServiceId> = services.chain(instances).collect();
        let (instances, names) = self.entries(all.iter().copied());
        let names = names.view(self.cluster, BTreeSet::new(), self.plain_names());
        (Arc::new(names), Arc::new(instances))
    }

    /// What a host is told that has to do with these services, and probes these containers.
    pub(super) fn part(
        &self,
        interest: &BTreeSet<ServiceId>,
        probed: &BTreeSet<InstanceId>,
    ) -> Shared {
        let (mut instances, names) = self.entries(interest.iter());
        for id in probed.iter().filter(|id| !interest.contains(&id.service)) {
            if let Some(one) = self.unit(&id.instance()).instances.remove(id) {
                instances.insert(id.clone(), one);
            }
        }
        let elsewhere = self.relations.elsewhere(interest);
        let names = names.view(self.cluster, elsewhere, self.plain_names());
        (Arc::new(names), Arc::new(instances))
    }
}

/// What changed of what views say of one service.
#[derive(Default)]
struct Entries {
    instances: Changes<InstanceId, Arc<ViewInstance>>,
    names: Changes<String, NameTarget>,
    cnames: Changes<String, String>,
}

/// One round: from one world to the next.
pub(super) struct Round<'a> {
    pub(super) before: World<'a>,
    pub(super) now: World<'a>,
    pub(super) touched: Touched,
    units_touched: bool,
    /// By the service that they are of.
    entries: BTreeMap<ServiceId, Entries>,
    /// Services whose lists of containers are others.
    relisted: BTreeSet<ServiceId>,
    /// Hosts whose own ports, balancers and belongings may be others.
    owners: BTreeSet<HostId>,
    /// Hosts who may have other callers.
    asking: BTreeSet<HostId>,
    /// Instances whose records were written; true for those that are on another host than before.
    pub(super) placed: BTreeMap<InstanceId, bool>,
    pub(super) told: BTreeMap<HostId, Pending>,
}

/// What a host is to be told.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) delta: Delta,
    /// There is an order that it has to have heard, whatever it changes.
    ordered: bool,
}

impl Pending {
    pub(super) fn view(&mut self) -> &mut ViewDelta {
        self.delta.view.get_or_insert_default()
    }

    pub(super) fn spec(&mut self) -> &mut SpecDelta {
        self.delta.spec.get_or_insert_default()
    }
}

impl<'a> Round<'a> {
    pub(super) fn new(before: World<'a>, now: World<'a>, mut touched: Touched) -> Self {
        touched.spread(&before, &now);
        Self {
            before,
            now,
            touched,
            units_touched: false,
            entries: BTreeMap::new(),
            relisted: BTreeSet::new(),
            owners: BTreeSet::new(),
            asking: BTreeSet::new(),
            placed: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// Brings the publisher to the new world: what each host is to be told comes back, without the
    /// marks of when.
    pub(super) fn run(mut self, publisher: &mut Publisher) -> BTreeMap<HostId, Delta> {
        self.directory(publisher);
        self.units_touched = !self.touched.units.is_empty();
        for (id, ordered) in std::mem::take(&mut self.touched.units) {
            self.unit(&id, ordered, publisher);
        }
        self.services();
        self.owners.extend(self.touched.plain.iter().map(|id| id.host.clone()));
        self.owners.extend(std::mem::take(&mut self.touched.labelled));
        self.owners.extend(std::mem::take(&mut self.touched.seated));
        self.owners(publisher);
        self.asking(publisher);
        self.spread_entries(publisher);
        self.expose(publisher);
        self.plain_names(publisher);
        self.peers(publisher);
        self.policy(publisher);
        let told = self.told.into_iter().filter_map(|(host, mut pending)| {
            let spec = pending.delta.spec.take();
            let said = spec.filter(|spec| pending.ordered || spec.entries() > 0);
            let spec = said.or_else(|| pending.ordered.then(SpecDelta::default));
            let view = pending.delta.view.filter(|view| view.entries() > 0);
            let delta = Delta { spec, view };
            (!delta.is_empty()).then_some((host, delta))
        });
        told.collect()
    }

    pub(super) fn tell(&mut self, host: &HostId, publisher: &Publisher) -> Option<&mut Pending> {
        let followed = publisher.hosts.contains_key(host);
        followed.then(|| self.told.entry(host.clone()).or_default())
    }

    /// One instance: what views say of it, and what its host holds.
    fn unit(&mut self, id: &InstanceId, ordered: bool, publisher: &mut Publisher) {
        let service = &id.service;
        let (old, new) = (self.before.unit(id), self.now.unit(id));
        let [was, is] = [&self.before, &self.now].map(|world| world.host_of(id).cloned());
        if old.instances != new.instances {
            let changes = changes(&old.instances, &new.instances);
            publisher.note_probers(&old, &new);
            self.tell_probers(&old, &new, service, publisher);
            self.entries.entry(service.clone()).or_default().instances.extend(changes);
        }
        let both: BTreeSet<HostId> = was.iter().chain(&is).cloned().collect();
        let listing = |world: &World<'_>| {
            let instance = world.cluster.instance(id);
            instance.map(|one| catalog::listing(world.cluster, one)).unwrap_or_default()
        };
        if listing(&self.before) != listing(&self.now) {
            self.relisted.insert(service.clone());
            self.owners.extend(both.iter().cloned());
        }
        if old.callers != new.callers {
            self.asking.extend(both.iter().cloned());
        }
        if ordered {
            // A balancer of another revision has to do with others too.
            let revision = |world: &World<'_>| {
                world.cluster.instance(id).map(|instance| instance.target.revision)
            };
            let other = was != is || revision(&self.before) != revision(&self.now);
            self.placed.insert(id.clone(), other);
        }
        if ordered
            || self.touched.services.contains(service)
            || self.touched.holdings.contains(service)
        {
            self.owners.extend(both.iter().cloned());
        }
        for host in &both {
            let [old, new] = [&self.before, &self.now].map(|world| world.held(id, host));
            let instances = changes(&old.instances, &new.instances);
            let balancers = changes(&old.balancers, &new.balancers);
            let heard = ordered && is.as_ref() == Some(host);
            if instances.is_empty() && balancers.is_empty() && !heard {
                continue;
            }
            let Some(pending) = self.tell(host, publisher) else { continue };
            pending.spec().instances.extend(instances);
            pending.spec().balancers.extend(balancers);
            pending.ordered |= heard;
        }
    }

    /// Hosts that probe it, and have nothing to do with its service otherwise.
    fn tell_probers(&mut self, old: &Unit, new: &Unit, service: &ServiceId, publisher: &Publisher) {
        if !publisher.partial {
            return;
        }
        let probers = |unit: &'_ Unit, id: &InstanceId| -> BTreeSet<HostId> {
            let of = unit.instances.get(id);
            of.into_iter().flat_map(|one| one.probers.iter().cloned()).collect()
        };
        let ids: BTreeSet<&InstanceId> = old.instances.keys().chain(new.instances.keys()).collect();
        for id in ids {
            let (was, is) = (probers(old, id), probers(new, id));
            for host in was.union(&is) {
                if publisher.has_to_do_with(host, service) {
                    continue;
                }
                let entry = is.contains(host).then(|| new.instances.get(id).cloned()).flatten();
                if let Some(pending) = self.tell(host, publisher) {
                    pending.view().instances.insert(id.clone(), entry);
                }
            }
        }
    }

    /// Names of services whose containers or records are others, and of those that are other names
    /// for them; and the hosts of balancers that lead to them.
    fn services(&mut self) {
        if self.may_select_others() {
            for relations in [self.before.relations, self.now.relations] {
                self.relisted.extend(relations.selecting.iter().cloned());
            }
        }
        let mut named: BTreeSet<ServiceId> = self.touched.services.clone();
        named.extend(self.relisted.iter().cloned());
        let mut done: BTreeSet<ServiceId> = BTreeSet::new();
        for relations in [self.before.relations, self.now.relations] {
            let changed: Vec<ServiceId> = named.iter().cloned().collect();
            for service in &changed {
                for same in relations.kin(service) {
                    named.extend(relations.aliased_by.get(&same).into_iter().flatten().cloned());
                }
                let balancers = relations.led_by.get(service).into_iter().flatten();
                for world in [&self.before, &self.now] {
                    let all = balancers.clone().flat_map(|id| world.cluster.instances_of(id));
                    self.owners.extend(all.map(|instance| instance.host.clone()));
                }
            }
        }
        for service in &named {
            let outside = |world: &World<'_>| links::outside(world.cluster, service);
            let outside = changes(&outside(&self.before), &outside(&self.now));
            let entries = self.entries.entry(service.clone()).or_default();
            entries.instances.extend(outside);
            if done.contains(service) {
                continue;
            }
            let mut group = self.before.relations.kin(service);
            group.extend(self.now.relations.kin(service));
            let (old, new) = (self.before.names(&group), self.now.names(&group));
            entries.names.extend(changes(&old.names, &new.names));
            entries.cnames.extend(changes(&old.cnames, &new.cnames));
            done.extend(group);
        }
    }

    /// Can services that count plain containers as theirs count others, or find them otherwise?
    fn may_select_others(&self) -> bool {
        let touched = &self.touched;
        let shared = || {
            let mut plains = self.now.cluster.plains();
            plains.any(|(_, plain)| plain.network.starts_with("container:"))
        };
        touched.hosts || !touched.plain.is_empty() || (self.units_touched && shared())
    }

    /// Ports, balancers and belongings of hosts.
    fn owners(&mut self, publisher: &mut Publisher) {
        for host in std::mem::take(&mut self.owners) {
            let Some(followed) = publisher.hosts.get_mut(&host) else { continue };
            let new = Local::of(self.now.cluster, &host);
            let old = std::mem::replace(&mut followed.local, new.clone());
            if old == new {
                continue;
            }
            let Some(pending) = self.tell(&host, publisher) else { continue };
            let mut seats = changes(&old.floating, &new.floating);
            publisher.seal(seats.iter_mut().filter_map(|(ip, seat)| Some((*ip, seat.as_mut()?))));
            let view = pending.view();
            view.floating.extend(seats);
            view.upstreams.extend(changes(&old.upstreams, &new.upstreams));
            view.listeners.extend(changes(&old.listeners, &new.listeners));
            view.checks.extend(changes(&old.checks, &new.checks));
            let spec = pending.spec();
            spec.volumes.extend(changes(&old.volumes, &new.volumes));
            spec.attachments.extend(changes(&old.attachments, &new.attachments));
            if old.labels != new.labels {
                spec.labels = Some(new.labels);
            }
            if old.images_kept != new.images_kept {
                spec.images_kept = Some(new.images_kept);
                // It may be the empty set, which is a change as well.
                pending.ordered = true;
            }
        }
    }

    fn asking(&mut self, publisher: &Publisher) {
        for host in std::mem::take(&mut self.asking) {
            let [old, new] = [&self.before, &self.now]
                .map(|world| catalog::callers(world.cluster, world.relations, &host));
            let callers = changes(&old, &new);
            if let Some(pending) = self.tell(&host, publisher).filter(|_| !callers.is_empty()) {
                pending.view().callers.extend(callers);
            }
        }
    }

    /// Tells what changed of services to the hosts that have to do with them, before and now.
    fn spread_entries(&mut self, publisher: &mut Publisher) {
        let turned = self.turned(publisher);
        let entries = std::mem::take(&mut self.entries);
        for (service, entries) in &entries {
            let hosts: Vec<HostId> = match publisher.partial {
                false => publisher.hosts.keys().cloned().collect(),
                true => publisher.interested.get(service).into_iter().flatten().cloned().collect(),
            };
            for host in &hosts {
                if turned.get(host).is_some_and(|turned| turned.contains(service)) {
                    continue;
                }
                let Some(pending) = self.tell(host, publisher) else { continue };
                let view = pending.view();
                view.instances.extend(entries.instances.clone());
                view.names.extend(entries.names.clone());
                view.cnames.extend(entries.cnames.clone());
            }
        }
    }

    /// Services that hosts have to do with since this round, or had until it: they are told all of
    /// them, or that it is gone.
    fn turned(&mut self, publisher: &mut Publisher) -> BTreeMap<HostId, BTreeSet<ServiceId>> {
        let mut turned = BTreeMap::new();
        if !publisher.partial {
            return turned;
        }
        let mut hosts: BTreeSet<HostId> = match self.touched.related {
            true => publisher.hosts.keys().cloned().collect(),
            false => BTreeSet::new(),
        };
        for id in self.placed.iter().filter(|(_, moved)| **moved).map(|(id, _)| id) {
            let both = [&self.before, &self.now];
            hosts.extend(both.iter().filter_map(|world| world.host_of(id).cloned()));
        }
        hosts.extend(publisher.asked_anew.iter().cloned());
        let renamed = self.before.relations.renamed(self.now.relations);
        for host in hosts {
            let Some(known) = publisher.hosts.get(&host) else { continue };
            let (relations, cluster) = (self.now.relations, self.now.cluster);
            let new = publisher.interest(cluster, relations, &host, &known.asked);
            let old = publisher.set_interest(&host, new.clone());
            if old == new && !self.touched.related {
                continue;
            }
            let mut turn: BTreeSet<ServiceId> = old.symmetric_difference(&new).cloned().collect();
            for id in turn.clone() {
                turn.extend(self.before.relations.kin(&id));
                turn.extend(relations.kin(&id));
            }
            let (was, is): (Vec<_>, Vec<_>) = (
                turn.iter().filter(|id| old.contains(*id)).collect(),
                turn.iter().filter(|id| new.contains(*id)).collect(),
            );
            let (mut had, names_had) = self.before.entries(was.iter().copied());
            let (mut has, names) = self.now.entries(is.iter().copied());
            // What it probes it is told apart from that.
            let probed = publisher.probing.get(&host).into_iter().flatten();
            for id in probed.filter(|id| turn.contains(&id.service)) {
                let entry = |world: &World<'_>| world.unit(&id.instance()).instances.remove(id);
                has.extend(entry(&self.now).map(|one| (id.clone(), one)));
            }
            had.retain(|id, _| !has.contains_key(id));
            let elsewhere = [(self.before.relations, &old), (relations, &new)];
            let among = (old == new).then_some(&renamed);
            let [gone, there] =
                elsewhere.map(|(relations, known)| relations.elsewhere_of(known, among));
            let Some(pending) = self.tell(&host, publisher) else { continue };
            let view = pending.view();
            view.instances.extend(changes(&had, &has));
            view.names.extend(changes(&names_had.names, &names.names));
            view.cnames.extend(changes(&names_had.cnames, &names.cnames));
            view.elsewhere.extend(gone.difference(&there).map(|name| (name.clone(), false)));
            view.elsewhere.extend(there.difference(&gone).map(|name| (name.clone(), true)));
            turned.insert(host, turn);
        }
        turned
    }

    /// Names of plain containers are told to every host, unless one of ours has the name.
    fn plain_names(&mut self, publisher: &mut Publisher) {
        if publisher.plain.is_empty() && self.now.cluster.plains().next().is_none() {
            return;
        }
        let new = self.now.plain_names();
        let changed = changes(&publisher.plain, &new);
        if changed.is_empty() {
            return;
        }
        publisher.plain = new;
        let hosts: Vec<HostId> = publisher.hosts.keys().cloned().collect();
        for host in &hosts {
            let Some(pending) = self.tell(host, publisher) else { continue };
            let names = &mut pending.view().names;
            for (name, target) in &changed {
                match target {
                    Some(target) => drop(names.insert(name.clone(), Some(target.clone()))),
                    // It may be one of ours since this round.
                    None => _ = names.entry(name.clone()).or_insert(None),
                }
            }
        }
    }
}
