//! The audit that follows a cluster: only what a change can have touched is looked at again, so
//! that its cost follows the change. One that has seen nothing yet looks at everything.

use super::Violation;
use model::cluster::Cluster;
use model::container_spec::{ContainerSpec, NetworkMode};
use model::host;
use model::id::{HostId, InstanceId, ServiceId};
use model::instance::{Goal, Instance, Target};
use model::plain::PlainId;
use model::record::RecordKey;
use model::service::Transport;
use model::time::Index;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// What is looked at together: whoever holds it, or one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Address(Ipv4Addr),
    Name(String),
    Slot(ServiceId, u32, Target),
    Port(HostId, Transport, u16),
    Host(HostId),
    Instance(InstanceId),
    Service(ServiceId),
}

/// An instance as it was counted.
#[derive(Clone, Debug)]
struct Held {
    instance: Arc<Instance>,
    /// Reserved while it is to run, in thousandths of a core and in bytes.
    cpu: u64,
    memory: u64,
    /// Its process binds its ports itself, and is to run.
    binds: bool,
}

/// What is known of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    there: bool,
    /// The last incarnation given.
    given: u64,
}

/// What is remembered between two looks.
#[derive(Debug, Default)]
pub struct Auditor {
    /// Changes up to here are worked in; `None` before the first look.
    seen: Option<Index>,
    held: BTreeMap<InstanceId, Held>,
    /// Who holds what; `None` is before all.
    holders: BTreeSet<(Place, Option<Arc<InstanceId>>)>,
    /// Addresses of plain containers, with who has them.
    attached: BTreeMap<PlainId, Ipv4Addr>,
    attached_at: BTreeMap<Ipv4Addr, BTreeSet<PlainId>>,
    /// By host: what its instances reserve.
    reserved: BTreeMap<HostId, (u64, u64)>,
    services: BTreeMap<ServiceId, Known>,
    hosts: BTreeSet<HostId>,
    found: BTreeMap<Place, Vec<Violation>>,
}

impl Auditor {
    /// Works in what has changed; gives what is found now and was not before.
    pub fn follow(&mut self, cluster: &Cluster) -> Vec<Violation> {
        let known = self.seen.replace(cluster.index());
        let changed = known.and_then(|index| cluster.changed_since(index));
        let mut keys: Vec<RecordKey> = match changed {
            Some(changed) => changed.cloned().collect(),
            None => return self.look_at_all(cluster),
        };
        keys.sort();
        keys.dedup();
        if keys.contains(&RecordKey::Environment) {
            return self.look_at_all(cluster);
        }
        let (mut again, mut dirty) = (BTreeSet::new(), BTreeSet::new());
        for key in &keys {
            self.note(cluster, key, &mut again, &mut dirty);
        }
        for id in again {
            self.count(cluster, &id, &mut dirty);
        }
        self.check(cluster, dirty)
    }

    /// Everything that is wrong now.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.found.values().flatten()
    }

    fn look_at_all(&mut self, cluster: &Cluster) -> Vec<Violation> {
        let before = std::mem::take(&mut self.found);
        *self = Self { seen: self.seen, ..Self::default() };
        let mut dirty = BTreeSet::new();
        for service in cluster.services() {
            self.services.insert(service.id.clone(), known(cluster, &service.id));
            dirty.insert(Place::Service(service.id.clone()));
        }
        self.hosts = cluster.hosts().map(|host| host.id.clone()).collect();
        for instance in cluster.instances() {
            self.count(cluster, &instance.id, &mut dirty);
        }
        for attachment in cluster.attachments() {
            self.count_attached(cluster, &attachment.id, &mut dirty);
        }
        let mut found = self.check(cluster, dirty);
        found.retain(|one| !before.values().flatten().any(|old| old == one));
        found
    }

    /// What a change of a record can have touched: instances to count again, places to look at.
    fn note(
        &mut self,
        cluster: &Cluster,
        key: &RecordKey,
        again: &mut BTreeSet<InstanceId>,
        dirty: &mut BTreeSet<Place>,
    ) {
        match key {
            RecordKey::Instance(id) => drop(again.insert(id.clone())),
            RecordKey::Revision(id, number) => {
                dirty.insert(Place::Service(id.clone()));
                let of = cluster.instances_of(id).filter(|i| i.target.revision == *number);
                again.extend(of.map(|i| i.id.clone()));
            }
            RecordKey::Service(id) | RecordKey::ServiceStatus(id) => {
                dirty.insert(Place::Service(id.clone()));
                let now = known(cluster, id);
                let before = match now.there {
                    true => self.services.insert(id.clone(), now),
                    false => self.services.remove(id),
                };
                if before != Some(now) {
                    let all = cluster.instances_of(id).map(|i| Place::Instance(i.id.clone()));
                    // Usually one more was given, and those that were there stay known.
                    let more = before.is_some_and(|old| now.there && old.given <= now.given);
                    dirty.extend(all.filter(|one| !more || self.found.contains_key(one)));
                }
            }
            RecordKey::Host(id) => {
                dirty.insert(Place::Host(id.clone()));
                dirty.extend(cluster.instances_on(id).filter_map(|one| slot(one)));
                let there = cluster.host(id).is_some();
                let was =
                    if there { !self.hosts.insert(id.clone()) } else { self.hosts.remove(id) };
                if was != there {
                    let on = cluster.instances_on(id).map(|i| Place::Instance(i.id.clone()));
                    dirty.extend(on);
                }
            }
            RecordKey::Attachment(id) => self.count_attached(cluster, id, dirty),
            RecordKey::Environment
            | RecordKey::Stack(_)
            | RecordKey::InstanceStatus(_)
            | RecordKey::Plain(_)
            | RecordKey::Floating(_)
            | RecordKey::ClientNode(_)
            | RecordKey::ClientService(_)
            | RecordKey::ClientCheck(_)
            | RecordKey::CheckState(_)
            | RecordKey::Query(_)
            | RecordKey::Token(_) => {}
        }
    }

    /// Counts an instance as it is now, in place of what was counted.
    fn count(&mut self, cluster: &Cluster, id: &InstanceId, dirty: &mut BTreeSet<Place>) {
        dirty.insert(Place::Instance(id.clone()));
        let shared = Some(Arc::new(id.clone()));
        if let Some(old) = self.held.remove(id) {
            for place in places(&old.instance) {
                dirty.insert(place.clone());
                self.holders.remove(&(place, shared.clone()));
            }
            let of_host = self.reserved.entry(old.instance.host.clone()).or_default();
            *of_host = (of_host.0.saturating_sub(old.cpu), of_host.1.saturating_sub(old.memory));
            dirty.insert(Place::Host(old.instance.host.clone()));
        }
        let Some(instance) = cluster.instance(id) else { return };
        for place in places(instance) {
            dirty.insert(place.clone());
            self.holders.insert((place, shared.clone()));
        }
        let held = Held::of(cluster, instance);
        let (cpu, memory) = self.reserved.entry(instance.host.clone()).or_default();
        *cpu = cpu.saturating_add(held.cpu);
        *memory = memory.saturating_add(held.memory);
        dirty.insert(Place::Host(instance.host.clone()));
        self.held.insert(id.clone(), held);
    }

    /// Counts the address of a plain container as it is now.
    fn count_attached(&mut self, cluster: &Cluster, id: &PlainId, dirty: &mut BTreeSet<Place>) {
        if let Some(old) = self.attached.remove(id) {
            if let Some(all) = self.attached_at.get_mut(&old) {
                all.remove(id);
                if all.is_empty() {
                    self.attached_at.remove(&old);
                }
            }
            dirty.insert(Place::Address(old));
        }
        if let Some(attachment) = cluster.attachment(id) {
            self.attached.insert(id.clone(), attachment.address);
            self.attached_at.entry(attachment.address).or_default().insert(id.clone());
            dirty.insert(Place::Address(attachment.address));
        }
    }

    /// What is wrong with an address as far as plain containers have it.
    fn look_at_attached(&self, cluster: &Cluster, address: Ipv4Addr) -> Vec<Violation> {
        let all: Vec<&PlainId> = self.attached_at.get(&address).into_iter().flatten().collect();
        let Some(first) = all.first().copied() else { return vec![] };
        let mut found = vec![];
        if !is_ours(cluster, address) {
            found.push(Violation::AttachedNotOurs(address, first.clone()));
        }
        let place = Place::Address(address);
        let instances = self.holders_of(&place);
        found.extend(instances.map(|held| {
            Violation::AttachedTwice(address, held.instance.id.to_string(), first.clone())
        }));
        found.extend(
            all.windows(2).map(|pair| {
                Violation::AttachedTwice(address, pair[0].to_string(), pair[1].clone())
            }),
        );
        found
    }

    /// Looks at places; gives what was not found there before.
    fn check(&mut self, cluster: &Cluster, dirty: BTreeSet<Place>) -> Vec<Violation> {
        let mut new = vec![];
        for place in dirty {
            let found = self.look(cluster, &place);
            let before = match found.is_empty() {
                true => self.found.remove(&place),
                false => self.found.insert(place, found.clone()),
            };
            let is_new = |one: &Violation| before.as_ref().is_none_or(|old| !old.contains(one));
            new.extend(found.into_iter().filter(is_new));
        }
        new
    }

    fn look(&self, cluster: &Cluster, place: &Place) -> Vec<Violation> {
        let twice = |say: &dyn Fn(&InstanceId, &InstanceId) -> Violation| {
            let holders: Vec<&Held> = self.holders_of(place).collect();
            let pair = |pair: &[&Held]| say(&pair[0].instance.id, &pair[1].instance.id);
            holders.windows(2).map(pair).collect::<Vec<_>>()
        };
        match place {
            Place::Address(address) => {
                let mut found =
                    twice(&|a, b| Violation::AddressTwice(*address, a.clone(), b.clone()));
                found.extend(self.look_at_attached(cluster, *address));
                found
            }
            Place::Name(name) => {
                twice(&|a, b| Violation::NameTwice(name.clone(), a.clone(), b.clone()))
            }
            Place::Slot(..) => {
                // One that is not heard may serve, or not: another one may run beside it for now.
                let heard = |held: &&Held| {
                    cluster.host(&held.instance.host).is_none_or(|host| host.is_observed())
                };
                let all: Vec<&InstanceId> =
                    self.holders_of(place).filter(heard).map(|held| &held.instance.id).collect();
                let pairs = all.windows(2);
                pairs.map(|pair| Violation::SlotTwice(pair[0].clone(), pair[1].clone())).collect()
            }
            Place::Port(_, protocol, number) => self.look_at_port(place, *protocol, *number),
            Place::Host(id) => self.look_at_host(cluster, id),
            Place::Instance(id) => self.look_at_instance(cluster, id),
            Place::Service(id) => {
                let service = cluster.service(id);
                let lost = service
                    .is_some_and(|service| cluster.revision(id, service.target.revision).is_none());
                lost.then(|| Violation::NoTarget(id.clone())).into_iter().collect()
            }
        }
    }

    /// Who holds a place, by service, slot and incarnation.
    fn holders_of<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a Held> {
        let from = (place.clone(), None);
        let all = self.holders.range(from..).take_while(move |(of, _)| of == place);
        all.filter_map(|(_, id)| self.held.get(id.as_deref()?))
    }

    fn look_at_port(&self, place: &Place, protocol: Transport, number: u16) -> Vec<Violation> {
        let mut found = vec![];
        let mut before: Vec<(Option<IpAddr>, &Held)> = vec![];
        for held in self.holders_of(place) {
            let id = &held.instance.id;
            let own = held
                .instance
                .ports
                .iter()
                .filter(|port| port.protocol == protocol && port.host_port == Some(number));
            for port in own {
                let clash = before.iter().find(|(ip, other)| {
                    let meet = ip.is_none() || port.host_ip.is_none() || *ip == port.host_ip;
                    let theirs = other.instance.id.service != id.service;
                    meet && (theirs || (held.binds && other.binds))
                });
                if let Some((_, other)) = clash {
                    let other = other.instance.id.clone();
                    found.push(Violation::PortTwice(number, other, id.clone()));
                }
                before.push((port.host_ip, held));
            }
        }
        found
    }

    fn look_at_host(&self, cluster: &Cluster, id: &HostId) -> Vec<Violation> {
        let Some(facts) = cluster.host(id).map(|host| &host.facts) else { return vec![] };
        let (cpu, memory) = self.reserved.get(id).copied().unwrap_or_default();
        let memory_over = memory > facts.memory;
        let cpu_over = cpu > u64::from(facts.cpus) * 1_000;
        let memory = memory_over.then(|| Violation::MemoryOver(id.clone(), memory));
        let cpu = cpu_over.then(|| Violation::CpuOver(id.clone(), cpu));
        memory.into_iter().chain(cpu).collect()
    }

    fn look_at_instance(&self, cluster: &Cluster, id: &InstanceId) -> Vec<Violation> {
        let Some(Held { instance, .. }) = self.held.get(id) else { return vec![] };
        let mut found = vec![];
        let mut own = BTreeSet::new();
        for address in addresses(instance) {
            if !own.insert(address) {
                found.push(Violation::AddressTwice(address, id.clone(), id.clone()));
            }
            if !is_ours(cluster, address) {
                found.push(Violation::AddressNotOurs(address, id.clone()));
            }
        }
        if cluster.service(&id.service).is_none() {
            found.push(Violation::NoService(id.clone()));
            return found;
        }
        if cluster.revision(&id.service, instance.target.revision).is_none() {
            found.push(Violation::NoRevision(id.clone(), instance.target.revision));
        }
        if id.incarnation > known(cluster, &id.service).given {
            found.push(Violation::Unknown(id.clone()));
        }
        if instance.goal == Goal::Run && cluster.host(&instance.host).is_none() {
            found.push(Violation::NoHost(id.clone()));
        }
        found
    }
}

impl Held {
    fn of(cluster: &Cluster, instance: &Arc<Instance>) -> Self {
        let mut held = Self { instance: Arc::clone(instance), cpu: 0, memory: 0, binds: false };
        let revision = cluster.revision(&instance.id.service, instance.target.revision);
        let Some(revision) = revision.filter(|_| instance.goal == Goal::Run) else { return held };
        for (_, container) in revision.template.containers() {
            held.cpu = held.cpu.saturating_add(container.resources.cpu_reserved_milli);
            let more = u64::try_from(container.resources.memory_reserved).unwrap_or(0);
            held.memory = held.memory.saturating_add(more);
        }
        let on_host = |container: &ContainerSpec| container.network == NetworkMode::Host;
        held.binds = revision.template.container().is_some_and(on_host);
        held
    }
}

/// Is the address the planner's to give?
fn is_ours(cluster: &Cluster, address: Ipv4Addr) -> bool {
    cluster.environment().map(|e| e.subnet).is_some_and(|net| {
        net.contains(&address)
            && address != net.network()
            && address != net.broadcast()
            && address != host::gateway(net)
            && !host::docker_range(net).contains(&address)
    })
}

fn known(cluster: &Cluster, id: &ServiceId) -> Known {
    let given = cluster.service_status(id).map_or(0, |status| status.incarnations);
    Known { there: cluster.service(id).is_some(), given }
}

fn addresses(instance: &Instance) -> impl Iterator<Item = Ipv4Addr> {
    instance.address.iter().chain(instance.sidekick_addresses.values()).copied()
}

/// The slot that an instance is to keep.
fn slot(instance: &Instance) -> Option<Place> {
    let id = &instance.id;
    let stays = instance.goal == Goal::Run && !instance.leaving;
    stays.then(|| Place::Slot(id.service.clone(), id.n, instance.target))
}

/// What an instance holds that others may hold too.
fn places(instance: &Instance) -> Vec<Place> {
    let mut places: Vec<Place> = addresses(instance).map(Place::Address).collect();
    if !instance.container_name.is_empty() {
        places.push(Place::Name(instance.container_name.clone()));
    }
    places.extend(slot(instance));
    for port in &instance.ports {
        let Some(number) = port.host_port else { continue };
        places.push(Place::Port(instance.host.clone(), port.protocol, number));
    }
    places
}
