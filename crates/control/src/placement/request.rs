//! A request, worked out once: which hosts it may go to at all, which need a closer look, and what
//! is tested there.

use super::bits::Bits;
use super::order::Measure;
use super::ports::Wish;
use super::{Ask, Fleet, needs};
use model::id::HostId;
use model::instance::{Goal, Instance};
use model::limits::CONSTRAINTS_MAX;
use model::mutation::{Mutation, is_in};
use model::placement::{Constraint, Strategy, Subject};
use model::service::PortMapping;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Label by which Rancher names a service; a value without a stack is in the own one.
const STACK_SERVICE: [&str; 2] =
    ["io.rancher.stack_service.name", "io.rancher.project_service.name"];
/// Instances that are looked at as quickly as one host with all of its own.
const HOST_COSTS: u64 = 4;
/// Characters of the tail of Docker's name of a container, its sign included.
const NAME_TAIL: usize = 7;

/// Where a constraint holds.
#[derive(Clone, Debug)]
enum Where {
    /// On these hosts.
    Hosts(Bits),
    /// On hosts with an instance of one of these shapes.
    Shapes(Bits),
}

/// A constraint, worked out.
#[derive(Clone, Debug)]
pub(super) struct Test {
    /// Which one of the placement's.
    pub(super) nth: u8,
    negated: bool,
    at: Where,
}

impl Test {
    pub(super) fn passes(&self, fleet: &Fleet, host: u32) -> bool {
        let found = match &self.at {
            Where::Hosts(hosts) => hosts.has(host),
            // What is going still counts for who must not meet it, and no longer for who wants to.
            Where::Shapes(shapes) => fleet.hosts.get(host).present.iter().any(|present| {
                let count = if self.negated { present.here } else { present.run };
                count > 0 && shapes.has(present.shape)
            }),
        };
        found != self.negated
    }

    /// The same test for all hosts at once, as things are now.
    pub(super) fn now(&self, fleet: &Fleet) -> Self {
        Self { at: Where::Hosts(self.found(fleet).into_owned()), ..*self }
    }

    /// The hosts that have what it speaks of.
    fn found(&self, fleet: &Fleet) -> Cow<'_, Bits> {
        match &self.at {
            Where::Hosts(hosts) => Cow::Borrowed(hosts),
            Where::Shapes(shapes) => Cow::Owned(fleet.hosts_with(shapes, self.negated)),
        }
    }

    /// Leaves those of the hosts that pass.
    pub(super) fn narrow(&self, fleet: &Fleet, hosts: &mut Bits) {
        let found = self.found(fleet);
        if self.negated {
            hosts.subtract(&found);
        } else {
            hosts.intersect(&found);
        }
    }
}

/// What an instance needs of its host.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    pub(super) service: u32,
    pub(super) cpu: i64,
    pub(super) memory: i64,
    /// Host ports, each with whether its process binds it itself.
    pub(super) ports: Vec<(PortMapping, bool)>,
    /// That take instances and meet all hard constraints on hosts.
    pub(super) hosts: Bits,
    /// Whose ports or addresses need a closer look.
    pub(super) suspects: Bits,
    /// All hard constraints.
    pub(super) hard: Vec<Test>,
    /// Those of them that are not in `hosts` already.
    pub(super) tests: Vec<Test>,
    /// All soft ones.
    pub(super) soft: Vec<Test>,
    pub(super) max_per_host: Option<u32>,
    pub(super) requested: Option<HostId>,
    /// Labels of its containers; empty when no host asks for one.
    pub(super) labels: BTreeSet<(String, String)>,
    pub(super) spread_asked: bool,
    pub(super) binpack: bool,
    /// Something is asked for by the names of containers.
    pub(super) by_name: bool,
    /// Something is asked for by the labels of containers.
    pub(super) by_label: bool,
}

impl Demand {
    pub(super) fn measure(&self) -> Measure {
        Measure { binpack: self.binpack, memory: self.memory > 0, cpu: self.cpu > 0 }
    }

    /// Are there constraints on containers among these soft ones? Each placement may change them.
    pub(super) fn dropped_moves(&self, dropped: u128) -> bool {
        let of = self.soft.iter().zip(0_u32..).filter(|(_, nth)| dropped & (1 << nth) != 0);
        of.map(|(test, _)| test).any(|test| matches!(test.at, Where::Shapes(_)))
    }
}

impl Fleet {
    pub(super) fn demand(&mut self, ask: &Ask<'_>, service: u32) -> Demand {
        let placement = &ask.template.placement;
        let (cpu, memory) = needs::reserved(ask.template);
        let exclusive = needs::exclusive_ports(ask.template);
        let mut demand = Demand {
            service,
            cpu,
            memory,
            ports: needs::wanted_ports(ask.template)
                .into_iter()
                .map(|port| {
                    let own = exclusive.contains(&(port.container_port, port.protocol));
                    (port, own)
                })
                .collect(),
            hosts: self.hosts.takes.clone(),
            suspects: Bits::default(),
            hard: vec![],
            tests: vec![],
            soft: vec![],
            max_per_host: placement.max_per_host,
            requested: ask.pin.or(placement.requested_host.as_ref()).cloned(),
            labels: BTreeSet::new(),
            spread_asked: !placement.spread_by.is_empty(),
            binpack: placement.strategy == Strategy::Binpack,
            by_name: placement.constraints.iter().any(|c| goes_by_name(&c.on)),
            by_label: placement
                .constraints
                .iter()
                .any(|c| matches!(c.on, Subject::ContainerLabel { .. })),
        };
        self.names_matter |= demand.by_name;
        if let Some(id) = &demand.requested {
            demand.hosts.intersect(&self.hosts.index(id).into_iter().collect());
        }
        for (nth, constraint) in (0_u8..).zip(placement.constraints.iter().take(CONSTRAINTS_MAX)) {
            let at = self.locate(&constraint.on, ask);
            let test = Test { nth, negated: constraint.negated, at };
            if constraint.soft {
                demand.soft.push(test);
                continue;
            }
            if is_in(Mutation::IgnoreConstraint) {
                continue;
            }
            match &test.at {
                Where::Hosts(hosts) if test.negated => demand.hosts.subtract(hosts),
                Where::Hosts(hosts) => demand.hosts.intersect(hosts),
                Where::Shapes(_) => demand.tests.push(test.clone()),
            }
            demand.hard.push(test);
        }
        self.suspect(&mut demand);
        if !self.hosts.choosy.is_empty() {
            demand.labels = self.labels_of(ask);
        }
        demand
    }

    fn labels_of(&self, ask: &Ask<'_>) -> BTreeSet<(String, String)> {
        let environment = self.environment.as_ref().map_or("", |e| e.id.as_str());
        needs::labels(environment, ask.service, ask.revision, ask.template)
    }

    /// Hosts where a port may be taken, or where only some addresses may be used.
    fn suspect(&self, demand: &mut Demand) {
        let mut suspects = Bits::default();
        for (port, exclusive) in &demand.ports {
            if port.host_ip.is_some() {
                suspects.unite(&self.hosts.with_ips);
            }
            if let Some(number) = port.host_port {
                let wish = Wish {
                    transport: port.protocol,
                    port: number,
                    ip: port.host_ip,
                    service: demand.service,
                    exclusive: *exclusive,
                };
                suspects.unite(&self.ports.suspects(&wish));
            }
        }
        demand.suspects = suspects;
    }

    fn locate(&self, subject: &Subject, ask: &Ask<'_>) -> Where {
        match subject {
            Subject::HostLabel { key, value } => {
                let value = value.as_ref().map(|value| value.to_lowercase());
                let hosts = self.hosts.labelled(&key.to_lowercase(), value.as_deref());
                Where::Hosts(hosts.cloned().unwrap_or_default())
            }
            Subject::Host { name } => Where::Hosts(self.hosts_named(&name.to_lowercase())),
            Subject::Container { name } => {
                Where::Hosts(self.hosts_with_container(&name.to_lowercase()))
            }
            Subject::ContainerLabel { key, value } => {
                let key = key.to_lowercase();
                let value = value.as_ref().map(|value| full_name(&key, value, ask));
                if needs::PER_INSTANCE.contains(&key.as_str()) {
                    return Where::Hosts(self.hosts_with_own_label(&key, value.as_deref()));
                }
                let shapes = self.shapes.labelled(&key, value.as_deref());
                // Nobody has it: no host needs a look.
                if shapes.is_empty() {
                    Where::Hosts(Bits::default())
                } else {
                    Where::Shapes(shapes)
                }
            }
        }
    }

    /// Hosts with an instance of one of these shapes, those that are going among them or not.
    fn hosts_with(&self, shapes: &Bits, going_too: bool) -> Bits {
        let members: u64 = shapes.iter().map(|s| u64::from(self.shapes.get(s).members)).sum();
        let counts = |goal: Goal| goal == Goal::Run || (going_too && goal != Goal::Stop);
        // A host has some tens of instances: so many members are looked through as quickly.
        if members < HOST_COSTS * self.hosts.order.len() as u64 {
            let services: BTreeSet<u32> =
                shapes.iter().map(|shape| self.shapes.get(shape).service).collect();
            let held = services.iter().flat_map(|of| self.services.get(*of).members.values());
            let here = held.filter(|h| shapes.has(h.shape) && counts(h.instance.goal));
            return here.map(|held| held.host).collect();
        }
        let has = |host: &&u32| {
            self.hosts.get(**host).present.iter().any(|present| {
                let count = if going_too { present.here } else { present.run };
                count > 0 && shapes.has(present.shape)
            })
        };
        self.hosts.order.iter().filter(has).copied().collect()
    }

    fn hosts_named(&self, name: &str) -> Bits {
        let is = |index: &&u32| {
            let entry = self.hosts.get(**index);
            let hostname = entry.record.as_ref().map_or("", |host| host.facts.hostname.as_str());
            self.hosts.id(**index).as_str().to_lowercase() == name
                || hostname.to_lowercase() == name
        };
        self.hosts.order.iter().filter(is).copied().collect()
    }

    /// Hosts with a container of this name: Rancher's, `stack-service-[sidekick-]n`, or Docker's,
    /// which has a tail.
    fn hosts_with_container(&self, name: &str) -> Bits {
        let mut hosts = Bits::default();
        // The slot is the last word, or the one before the tail.
        let slots: Vec<u32> =
            name.rsplit('-').take(2).filter_map(|word| word.parse().ok()).collect();
        for (at, _) in name.match_indices('-') {
            let Some(prefix) = name.get(..at) else { continue };
            for service in self.services.named(prefix) {
                for n in &slots {
                    let in_slot = (*n, 0)..=(*n, u64::MAX);
                    for (_, held) in self.services.get(*service).members.range(in_slot) {
                        if self.has_name(held, name) {
                            hosts.set(held.host, true);
                        }
                    }
                }
            }
        }
        hosts
    }

    fn has_name(&self, held: &super::services::Held, name: &str) -> bool {
        let Instance { id, container_name, .. } = &*held.instance;
        if container_name.to_lowercase() == name {
            return true;
        }
        let without_tail = name.len().checked_sub(NAME_TAIL).and_then(|end| name.get(..end));
        let sidekicks = self.shapes.get(held.shape).sidekicks.iter();
        id.public_name().to_lowercase() == name
            || sidekicks.map(|sidekick| id.container(Some(sidekick)).public_name()).any(|public| {
                let public = public.to_lowercase();
                public == name || Some(public.as_str()) == without_tail
            })
    }

    /// Hosts with an instance whose own label has this value: each instance is looked at.
    fn hosts_with_own_label(&self, key: &str, value: Option<&str>) -> Bits {
        if let ("io.rancher.container.name", Some(name)) = (key, value) {
            return self.hosts_with_container(name);
        }
        let environment = self.environment.as_ref();
        let members = self.services.all.iter().flat_map(|service| service.members.values());
        let has = |held: &&super::services::Held| {
            let Instance { id, address, sidekick_addresses, host, .. } = &*held.instance;
            let mut addresses = address.iter().chain(sidekick_addresses.values());
            match (key, value) {
                ("io.rancher.container.ip", None) => addresses.next().is_some(),
                ("io.rancher.container.ip", Some(value)) => {
                    let prefix = environment.map_or(32, |e| e.subnet.prefix_len());
                    addresses.any(|address| {
                        value == address.to_string() || value == format!("{address}/{prefix}")
                    })
                }
                ("io.rancher.service.requested.host.id", value) => {
                    let pinned = self.shapes.get(held.shape).pinned;
                    pinned && value.is_none_or(|value| host.as_str().to_lowercase() == value)
                }
                ("io.remuda.instance", Some(value)) => id.to_string().to_lowercase() == value,
                (_, Some(_)) => false,
                (_, None) => true,
            }
        };
        members.filter(has).map(|held| held.host).collect()
    }

    /// Of these hosts those that meet what is asked of hosts, whatever is on them.
    pub(super) fn meeting_host_constraints(&self, ask: &Ask<'_>, mut hosts: Bits) -> Bits {
        let placement = &ask.template.placement;
        if let Some(id) = &placement.requested_host {
            hosts.intersect(&self.hosts.index(id).into_iter().collect());
        }
        for Constraint { on, negated, soft } in &placement.constraints {
            let on_hosts = matches!(on, Subject::HostLabel { .. } | Subject::Host { .. });
            let Where::Hosts(of) = self.locate(on, ask) else { continue };
            match (on_hosts && !*soft, *negated) {
                (true, false) => hosts.intersect(&of),
                (true, true) => hosts.subtract(&of),
                (false, _) => {}
            }
        }
        if !self.hosts.choosy.is_empty() {
            let labels = self.labels_of(ask);
            let refuses = |host: &u32| !self.is_accepted(*host, &labels);
            let refused: Bits = self.hosts.choosy.iter().filter(refuses).collect();
            hosts.subtract(&refused);
        }
        hosts
    }

    /// Does a host that asks for a label take containers with these?
    pub(super) fn is_accepted(&self, host: u32, labels: &BTreeSet<(String, String)>) -> bool {
        let any_of = &self.hosts.get(host).require_any;
        any_of.is_empty()
            || any_of.iter().any(|(key, value)| {
                labels
                    .iter()
                    .any(|(k, v)| k == key && value.as_ref().is_none_or(|value| v == value))
            })
    }
}

/// Does it tell one instance of a service from another?
fn goes_by_name(subject: &Subject) -> bool {
    match subject {
        Subject::Container { .. } => true,
        Subject::ContainerLabel { key, .. } => {
            needs::PER_INSTANCE.contains(&key.to_lowercase().as_str())
        }
        Subject::HostLabel { .. } | Subject::Host { .. } => false,
    }
}

/// A value as it is compared: in lower case, and a service without a stack is in the own one.
fn full_name(key: &str, value: &str, ask: &Ask<'_>) -> String {
    let value = value.to_lowercase();
    if STACK_SERVICE.contains(&key) && !value.contains('/') && !value.is_empty() {
        return format!("{}/{value}", ask.service.stack.as_str().to_lowercase());
    }
    value
}
