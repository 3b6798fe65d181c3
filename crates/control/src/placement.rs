//! The scheduler: which host takes an instance, with its address and host ports. `Fleet` is what is
//! taken, over all services; it is kept up to date change by change, so that placing one instance
//! costs what the request costs and not what the cluster does. It decides and never acts, and the
//! same fleet gives the same answer.
//!
//! A host is chosen in three steps: what it must meet (`request`, `check`), soft wishes dropped
//! one by one when no host meets them all (`choose`), and the best of those that are left
//! (`score`). Many instances of one service come from the kept order of all hosts (`group`, `order`),
//! few of them in a large cluster from a sample; a full scan is what both are measured against in
//! the tests.

mod addresses;
mod attached;
mod bits;
mod check;
mod choose;
pub mod external;
mod group;
mod hosts;
mod lacks;
pub(crate) mod needs;
mod order;
mod ports;
mod request;
mod score;
mod services;
mod spread;
#[cfg(test)]
mod tests;

pub(crate) use choose::seed;

use addresses::Addresses;
use attached::Attached;
use group::Group;
use hosts::Hosts;
use model::cluster::Cluster;
use model::host::Environment;
use model::id::{HostId, InstanceId, ServiceId, ServiceName};
use model::instance::{Goal, Instance};
use model::plain::PlainId;
use model::reason::Reason;
use model::record::RecordKey;
use model::scaling::Mode;
use model::service::{PortMapping, Template};
use ports::{Hold, Ports};
use services::{Cast, Held, Services, Shapes};
use spread::Spread;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What is to be placed.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// Of which service.
    pub service: &'a ServiceId,
    /// Of which revision.
    pub revision: u32,
    /// The template of that revision.
    pub template: &'a Template,
    /// Which slot: what is in it already does not count where instances are spread.
    pub n: u32,
    /// The last instance of the slot, whose chosen ports are taken again on the same host.
    pub before: Option<&'a Instance>,
    /// Exactly there: an instance of a global service.
    pub pin: Option<&'a HostId>,
    /// Addresses to take first, if they are free.
    pub prefer: Vec<Ipv4Addr>,
    /// How many of this service are about to be placed, this one among them.
    pub more: u32,
}

/// Where an instance goes, with all that is fixed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where.
    pub host: HostId,
    /// Address of the primary in the managed network.
    pub address: Option<Ipv4Addr>,
    /// Addresses of sidekicks that have one of their own.
    pub sidekick_addresses: BTreeMap<ServiceName, Ipv4Addr>,
    /// Host ports, each with its number.
    pub ports: Vec<PortMapping>,
    /// Soft constraints that could not be met, as they read.
    pub dropped: Vec<String>,
}

/// Why an instance could not be placed, and what may change that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unplaced {
    /// Why.
    pub reason: Reason,
    /// A change of one of these kinds may make room.
    pub wake: Wake,
}

/// Kinds of change that may let something be placed that could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// Reserved cpu or memory was given back, an instance went, a host grew, an address came free.
    pub capacity: bool,
    /// A host port was given back.
    pub ports: bool,
    /// A container came to a host or left it, as far as constraints on containers go.
    pub labels: bool,
    /// A host joined, began to take instances, or has other labels.
    pub hosts: bool,
}

impl Wake {
    /// May what waits for this go on after that?
    #[must_use]
    pub fn is_met_by(self, freed: Self) -> bool {
        (self.capacity && freed.capacity)
            || (self.ports && freed.ports)
            || (self.labels && freed.labels)
            || (self.hosts && freed.hosts)
    }

    /// Is it anything at all?
    #[must_use]
    pub fn is_any(self) -> bool {
        self != Self::default()
    }

    /// Both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            capacity: self.capacity || other.capacity,
            ports: self.ports || other.ports,
            labels: self.labels || other.labels,
            hosts: self.hosts || other.hosts,
        }
    }
}

/// Do the two records of one instance hold the same things?
fn same(a: &Instance, b: &Instance) -> bool {
    a.host == b.host
        && (a.target.revision, a.goal, a.leaving) == (b.target.revision, b.goal, b.leaving)
        && a.ports == b.ports
        && (a.address, &a.sidekick_addresses) == (b.address, &b.sidekick_addresses)
}

/// What is taken, and what is left.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    environment: Option<Arc<Environment>>,
    hosts: Hosts,
    services: Services,
    shapes: Shapes,
    ports: Ports,
    addresses: Addresses,
    /// Addresses of plain containers.
    attached: BTreeMap<PlainId, Attached>,
    /// By the labels that are spread over; emptied when hosts change.
    spreads: BTreeMap<Vec<String>, Arc<Spread>>,
    /// The heap of the service that is being placed.
    group: Option<Box<Group>>,
    /// The last refusal, which stays true until something changes.
    refused: Option<(u32, u32, u64, Unplaced)>,
    /// Counts changes.
    version: u64,
    freed: Wake,
    /// Something was asked for that goes by the names of containers.
    names_matter: bool,
}

impl Fleet {
    /// All of a cluster.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let mut fleet = Self { environment: cluster.environment().cloned(), ..Self::default() };
        for host in cluster.hosts() {
            fleet.hosts.put(host);
        }
        for service in cluster.services() {
            fleet.note_status(cluster, &service.id);
        }
        for instance in cluster.instances() {
            fleet.take(cluster, instance);
        }
        for attachment in cluster.attachments() {
            fleet.attach(attachment);
        }
        fleet.freed = Wake::default();
        fleet
    }

    /// Brings what is noted under these keys to what the cluster says. Levels, not steps: a key that
    /// is named twice or without need changes nothing.
    pub fn note<'a>(&mut self, cluster: &Cluster, keys: impl IntoIterator<Item = &'a RecordKey>) {
        for key in keys {
            match key {
                RecordKey::Environment => {
                    self.environment = cluster.environment().cloned();
                    self.other();
                }
                RecordKey::Host(id) => self.note_host(cluster, id),
                RecordKey::Service(id) | RecordKey::ServiceStatus(id) => {
                    self.note_status(cluster, id);
                }
                RecordKey::Instance(id) => match cluster.instance(id) {
                    Some(instance) => self.take(cluster, instance),
                    None => self.give_back(id),
                },
                RecordKey::Attachment(id) => self.note_attachment(cluster, id),
                RecordKey::Stack(_)
                | RecordKey::Revision(..)
                | RecordKey::InstanceStatus(_)
                | RecordKey::Token(_)
                | RecordKey::Plain(_)
                | RecordKey::Floating(_)
                | RecordKey::ClientNode(_)
                | RecordKey::ClientService(_)
                | RecordKey::ClientCheck(_)
                | RecordKey::CheckState(_)
                | RecordKey::Query(_) => {}
            }
        }
    }

    /// What came free since this was last asked: what waits for none of it need not be tried again.
    pub fn take_freed(&mut self) -> Wake {
        std::mem::take(&mut self.freed)
    }

    fn note_host(&mut self, cluster: &Cluster, id: &HostId) {
        let change = match cluster.host(id) {
            Some(host) => self.hosts.put(host).1,
            None => match self.hosts.remove(id) {
                Some(_) => hosts::HostChange { any: true, ..hosts::HostChange::default() },
                None => return,
            },
        };
        if change.any {
            self.other();
            self.spreads.clear();
        }
        self.freed.hosts |= change.hosts;
        self.freed.capacity |= change.capacity;
    }

    fn note_status(&mut self, cluster: &Cluster, id: &ServiceId) {
        let status = cluster.service_status(id);
        let known = cluster.service(id).is_some();
        if !known && status.is_none() && self.services.index(id).is_none() {
            return;
        }
        let index = self.services.intern(id);
        let before = std::mem::take(&mut self.services.get_mut(index).kept);
        let now: Vec<Ipv4Addr> =
            status.map(|s| s.retained.values().copied().collect()).unwrap_or_default();
        for address in before.iter().filter(|address| !now.contains(address)) {
            self.addresses.unkeep(*address, index);
            self.freed.capacity = true;
        }
        for address in &now {
            self.addresses.keep(*address, index);
        }
        self.services.get_mut(index).kept = now;
        let made = status.map(|s| s.incarnations);
        self.services.count(index, made.or(known.then_some(0)));
        if self.services.vacate(index) {
            self.other();
        }
    }

    /// Notes an instance as it is: where it is, its ports and addresses, and what it reserves. What
    /// was noted of it before is forgotten.
    pub fn take(&mut self, cluster: &Cluster, instance: &Arc<Instance>) {
        let id = &instance.id;
        // What comes out of the heap is known already.
        let last = self.group.as_ref().and_then(|group| group.last());
        let service = last.map(|(service, _)| service);
        let service = service.filter(|index| self.services.get(*index).id == id.service);
        let service = service.unwrap_or_else(|| self.services.intern(&id.service));
        let key = (id.n, id.incarnation);
        if let Some(held) = self.services.get_mut(service).members.get_mut(&key)
            && same(&held.instance, instance)
        {
            held.instance = Arc::clone(instance);
            return;
        }
        let host = last.map(|(_, host)| host);
        let host = host.filter(|index| *self.hosts.id(*index) == instance.host);
        let host = host.unwrap_or_else(|| self.hosts.intern(&instance.host));
        let revision = instance.target.revision;
        let shape = match self.services.get(service).shape(revision) {
            Some(shape) => shape,
            None => {
                // Who is not to be beside these labels does not know yet that they are anywhere.
                self.group = self.group.take().filter(|group| !group.demand.by_label);
                let cast = self.cast(cluster, service, &id.service, revision);
                self.shapes.make(self.services.get_mut(service), revision, cast)
            }
        };
        let held = Held { instance: Arc::clone(instance), host, shape };
        self.count(service, &held, true);
        self.services.made(service, id.incarnation);
        let members = &mut self.services.get_mut(service).members;
        if let Some(before) = members.insert(key, held) {
            self.forget(service, &before);
        }
        self.changed(service, host);
    }

    /// Forgets an instance and all that it held.
    pub fn give_back(&mut self, id: &InstanceId) {
        let Some(service) = self.services.index(&id.service) else { return };
        let members = &mut self.services.get_mut(service).members;
        let Some(held) = members.remove(&(id.n, id.incarnation)) else { return };
        self.forget(service, &held);
        self.services.vacate(service);
        self.other();
    }

    fn forget(&mut self, service: u32, held: &Held) {
        self.count(service, held, false);
        self.shapes.vacate(self.services.get_mut(service), held.shape);
        if self.hosts.vacate(held.host) {
            self.spreads.clear();
        }
    }

    fn cast(&self, cluster: &Cluster, index: u32, service: &ServiceId, revision: u32) -> Cast {
        let environment = self.environment.as_ref().map_or("", |e| e.id.as_str());
        let known = cluster.revision(service, revision);
        let global = cluster.service(service).is_some_and(|s| s.settings.mode == Mode::Global);
        let (cpu, memory) = known.map_or((0, 0), |r| needs::reserved(&r.template));
        Cast {
            service: index,
            cpu,
            memory,
            exclusive: known.map(|r| needs::exclusive_ports(&r.template)).unwrap_or_default(),
            pinned: global || known.is_some_and(|r| r.template.placement.requested_host.is_some()),
            sidekicks: known
                .map(|r| r.template.sidekicks.keys().cloned().collect())
                .unwrap_or_default(),
            labels: known
                .map(|r| needs::labels(environment, service, revision, &r.template))
                .unwrap_or_default(),
        }
    }

    /// Adds or takes away all that an instance counts for.
    fn count(&mut self, service: u32, held: &Held, add: bool) {
        let Held { instance, host, shape } = held;
        let step = |count: &mut u32, counts: bool| {
            if counts {
                *count = if add { *count + 1 } else { count.saturating_sub(1) };
            }
        };
        let (run, here) = (instance.goal == Goal::Run, instance.goal != Goal::Stop);
        let entry = self.hosts.get_mut(*host);
        let own = entry.own_mut(service);
        step(&mut own.run, run);
        step(&mut own.stay, run && !instance.leaving);
        step(&mut own.all, true);
        if own.all == 0 {
            entry.own.retain(|own| own.service != service);
        }
        let present = entry.present_mut(*shape);
        let before = (present.run > 0, present.here > 0);
        step(&mut present.run, run);
        step(&mut present.here, here);
        step(&mut present.all, true);
        let turned = before != (present.run > 0, present.here > 0);
        self.freed.labels |= turned || self.names_matter;
        if present.all == 0 {
            entry.present.retain(|present| present.shape != *shape);
        }
        let mut left = self.hosts.left(*host);
        let of = self.shapes.get(*shape);
        step(&mut left.instances, run);
        if run {
            let sign = if add { -1 } else { 1 };
            left.cpu = left.cpu.saturating_add(sign * of.cpu);
            left.memory = left.memory.saturating_add(sign * of.memory);
            self.hosts.set_left(*host, left);
        }
        for port in &instance.ports {
            let Some(number) = port.host_port else { continue };
            let exclusive = of.exclusive.contains(&(port.container_port, port.protocol));
            let stopped = instance.goal == Goal::Stop;
            let hold = Hold { ip: port.host_ip, service, exclusive, stopped };
            if add {
                self.ports.hold(*host, port.protocol, number, hold);
            } else {
                self.ports.release(*host, port.protocol, number, hold);
            }
        }
        self.freed.ports |= !add && !instance.ports.is_empty();
        self.freed.capacity |= !add && (run || instance.address.is_some());
        for address in instance.address.iter().chain(instance.sidekick_addresses.values()) {
            if add {
                self.addresses.hold(*address, *host);
            } else {
                self.addresses.release(*address);
            }
        }
        self.shapes.count(*shape, add);
    }

    /// Reads a little of all that placing on a host reads. Done for several hosts one after another
    /// the waits for memory overlap, which take most of the time in a large cluster.
    #[inline]
    fn touch(&self, host: u32) -> u32 {
        let entry = self.hosts.get(host);
        entry.own.last().map_or(0, |own| own.service)
            ^ entry.present.last().map_or(0, |present| present.shape)
            ^ self.hosts.id(host).as_str().bytes().next().map_or(0, u32::from)
            ^ self.hosts.left(host).instances
            ^ self.ports.touch(host)
            ^ self.addresses.touch(host)
    }

    /// Something else changed than by a placement. The group goes at once: the places of services and
    /// hosts that it knows may be others' from now on.
    fn other(&mut self) {
        self.version += 1;
        self.group = None;
    }

    /// Something changed; the heap goes on when it was the instance that came out of it.
    fn changed(&mut self, service: u32, host: u32) {
        self.version += 1;
        let version = self.version;
        match &mut self.group {
            Some(group) if group.is_expected(service, host, version) => group.took(version),
            group => *group = None,
        }
    }
}
