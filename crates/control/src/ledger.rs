//! What is taken: addresses, host ports and reserved resources, over all services. One ledger a
//! plan, so that two services of one plan never get the same thing.

use model::cluster::Cluster;
use model::host::{self, Host};
use model::id::{HostId, ServiceId};
use model::instance::{Goal, Instance};
use model::reason::{Lack, Reason};
use model::service::{Kind, PortMapping, Template, Transport};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Host ports that the planner chooses from when none is named.
const CHOSEN_PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Who holds a port, and on which address of the host.
type Holding = (Option<IpAddr>, ServiceId);

/// What is taken.
#[derive(Debug)]
pub(crate) struct Ledger<'a> {
    cluster: &'a Cluster,
    addresses: BTreeSet<Ipv4Addr>,
    /// Rotates, so that an address comes back as late as possible.
    next_address: u64,
    ports: BTreeMap<(HostId, Transport, u16), Vec<Holding>>,
    load: BTreeMap<HostId, Load>,
}

#[derive(Clone, Debug, Default)]
struct Load {
    instances: usize,
    by_service: BTreeMap<ServiceId, usize>,
    cpu_milli: u64,
    memory: u64,
}

/// Where an instance goes, with all that is fixed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: HostId,
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) ports: Vec<PortMapping>,
}

/// What is to be placed.
pub(crate) struct Ask<'a> {
    /// Of which service.
    pub(crate) service: &'a ServiceId,
    /// From what.
    pub(crate) template: &'a Template,
    /// The last instance of the slot.
    pub(crate) before: Option<&'a Instance>,
    /// Exactly there.
    pub(crate) pin: Option<&'a HostId>,
    /// Addresses to take first.
    pub(crate) prefer: Vec<Ipv4Addr>,
}

/// Host ports that a template wants: a container's mappings, a balancer's source ports.
pub(crate) fn wanted_ports(template: &Template) -> Vec<PortMapping> {
    match &template.kind {
        Kind::Container(_) | Kind::External(_) | Kind::Alias(_) => template.ports.clone(),
        Kind::Balancer(balancer) => {
            let ports: BTreeSet<u16> = balancer.rules.iter().map(|r| r.source_port).collect();
            ports
                .into_iter()
                .map(|port| PortMapping {
                    host_ip: None,
                    host_port: Some(port),
                    container_port: port,
                    protocol: Transport::Tcp,
                })
                .collect()
        }
    }
}

fn reserved(template: &Template) -> (u64, u64) {
    template.container().map_or((0, 0), |container| {
        let resources = &container.resources;
        (resources.cpu_reserved_milli, u64::try_from(resources.memory_reserved).unwrap_or(0))
    })
}

fn managed(template: &Template) -> bool {
    template.container().is_none_or(|c| c.network == model::container_spec::NetworkMode::Managed)
}

fn overlap(a: Option<IpAddr>, b: Option<IpAddr>) -> bool {
    a.is_none() || b.is_none() || a == b
}

impl<'a> Ledger<'a> {
    pub(crate) fn of(cluster: &'a Cluster) -> Self {
        let mut ledger = Self {
            cluster,
            addresses: BTreeSet::new(),
            next_address: 0,
            ports: BTreeMap::new(),
            load: BTreeMap::new(),
        };
        for service in cluster.services() {
            let made = cluster.service_status(&service.id).map_or(0, |s| s.incarnations);
            ledger.next_address = ledger.next_address.wrapping_add(made);
        }
        for instance in cluster.instances() {
            ledger.take(instance);
        }
        ledger
    }

    /// Notes what an instance holds. A removed one holds its address and ports until it is gone.
    pub(crate) fn take(&mut self, instance: &Instance) {
        let service = &instance.id.service;
        self.addresses.extend(instance.address);
        self.take_ports(instance);
        let load = self.load.entry(instance.host.clone()).or_default();
        load.instances += 1;
        *load.by_service.entry(service.clone()).or_default() += 1;
        if instance.goal == Goal::Run
            && let Some(revision) = self.cluster.revision(service, instance.target.revision)
        {
            let (cpu, memory) = reserved(&revision.template);
            load.cpu_milli = load.cpu_milli.saturating_add(cpu);
            load.memory = load.memory.saturating_add(memory);
        }
    }

    /// Notes the host ports that an instance holds.
    pub(crate) fn take_ports(&mut self, instance: &Instance) {
        for port in &instance.ports {
            if let Some(number) = port.host_port {
                self.ports
                    .entry((instance.host.clone(), port.protocol, number))
                    .or_default()
                    .push((port.host_ip, instance.id.service.clone()));
            }
        }
    }

    /// Who else holds one of these ports on the host? Instances of one service share a port: the
    /// dataplane listens once and balances over them.
    pub(crate) fn port_holder(
        &self,
        host: &HostId,
        service: &ServiceId,
        ports: &[PortMapping],
    ) -> Option<Reason> {
        ports.iter().find_map(|port| {
            let number = port.host_port?;
            let holders = self.ports.get(&(host.clone(), port.protocol, number))?;
            let (_, holder) =
                holders.iter().find(|(ip, id)| id != service && overlap(*ip, port.host_ip))?;
            Some(Reason::PortHeld {
                port: number,
                transport: port.protocol,
                holder: holder.clone(),
                host: host.clone(),
            })
        })
    }

    fn choose_ports(
        &self,
        host: &HostId,
        wanted: &[PortMapping],
        before: Option<&Instance>,
    ) -> Vec<PortMapping> {
        let mut chosen: BTreeSet<(Transport, u16)> = BTreeSet::new();
        let mut out = Vec::with_capacity(wanted.len());
        for port in wanted {
            let mut port = port.clone();
            if port.host_port.is_none() {
                let kept = before.filter(|i| i.host == *host).and_then(|i| {
                    let same = |p: &&PortMapping| {
                        p.container_port == port.container_port && p.protocol == port.protocol
                    };
                    i.ports.iter().find(same).and_then(|p| p.host_port)
                });
                let free = |number: &u16| {
                    !chosen.contains(&(port.protocol, *number))
                        && !self.ports.contains_key(&(host.clone(), port.protocol, *number))
                };
                port.host_port = kept.or_else(|| CHOSEN_PORTS.clone().find(free));
            }
            chosen.extend(port.host_port.map(|number| (port.protocol, number)));
            out.push(port);
        }
        out
    }

    /// The first of these that is ours to give and free.
    fn preferred(&self, wanted: &[Ipv4Addr]) -> Option<Ipv4Addr> {
        let subnet = self.cluster.environment()?.subnet;
        let dockers = host::docker_range(subnet);
        let ours = |address: &Ipv4Addr| {
            subnet.contains(address)
                && *address != subnet.network()
                && *address != subnet.broadcast()
                && *address != host::gateway(subnet)
                && !dockers.contains(address)
        };
        wanted.iter().copied().find(|a| ours(a) && !self.addresses.contains(a))
    }

    fn free_address(&self) -> Option<Ipv4Addr> {
        let subnet = self.cluster.environment()?.subnet;
        let (network, broadcast) = (u32::from(subnet.network()), u32::from(subnet.broadcast()));
        let dockers = host::docker_range(subnet);
        let gateway = host::gateway(subnet);
        let size = u64::from(broadcast - network);
        (0..size)
            .map(|step| {
                let offset = 1 + (self.next_address + step) % size.max(1);
                let offset = u32::try_from(offset).unwrap_or(1);
                Ipv4Addr::from(network.saturating_add(offset))
            })
            .find(|address| {
                u32::from(*address) < broadcast
                    && *address != gateway
                    && !dockers.contains(address)
                    && !self.addresses.contains(address)
            })
    }

    /// Chooses a host with its address and ports, and takes them.
    ///
    /// # Errors
    /// Why no host can take it: the reason of the best one.
    pub(crate) fn place(&mut self, ask: &Ask<'_>) -> Result<Place, Reason> {
        let Ask { service, template, before, .. } = *ask;
        let wanted = wanted_ports(template);
        let (cpu, memory) = reserved(template);
        let known = u32::try_from(self.cluster.hosts().count()).unwrap_or(u32::MAX);
        let mut hosts: Vec<(usize, usize, &Arc<Host>)> = self
            .cluster
            .hosts()
            .filter(|host| host.takes_instances() && ask.pin.is_none_or(|pin| *pin == host.id))
            .map(|host| {
                let load = self.load.get(&host.id);
                let own = load.and_then(|l| l.by_service.get(service)).copied().unwrap_or(0);
                (own, load.map_or(0, |l| l.instances), host)
            })
            .collect();
        hosts.sort_by(|a, b| (a.0, a.1, &a.2.id).cmp(&(b.0, b.1, &b.2.id)));
        let mut why = Reason::NoHost { known };
        for (_, _, host) in hosts {
            if let Some(reason) = self.port_holder(&host.id, service, &wanted) {
                why = reason;
                continue;
            }
            if let Some(reason) = self.lacking(host, cpu, memory) {
                why = reason;
                continue;
            }
            let address = if managed(template) {
                match self.preferred(&ask.prefer).or_else(|| self.free_address()) {
                    Some(address) => Some(address),
                    None => {
                        let subnet = self.cluster.environment().map(|e| e.subnet.to_string());
                        return Err(Reason::NoAddress { subnet: subnet.unwrap_or_default() });
                    }
                }
            } else {
                None
            };
            let ports = self.choose_ports(&host.id, &wanted, before);
            self.next_address = self.next_address.wrapping_add(1);
            return Ok(Place { host: host.id.clone(), address, ports });
        }
        Err(why)
    }

    fn lacking(&self, host: &Host, cpu: u64, memory: u64) -> Option<Reason> {
        let load = self.load.get(&host.id).cloned().unwrap_or_default();
        let cpu_all = u64::from(host.facts.cpus) * 1000;
        if cpu > 0 && load.cpu_milli.saturating_add(cpu) > cpu_all {
            let free = cpu_all.saturating_sub(load.cpu_milli);
            let _left = free;
            return Some(Reason::NoFit {
                hosts: 1,
                lacks: vec![(Lack::Cpu { wanted: format!("{cpu}m") }, 1)],
            });
        }
        if memory > 0 && load.memory.saturating_add(memory) > host.facts.memory {
            let free = host.facts.memory.saturating_sub(load.memory) / (1024 * 1024);
            let _left = free;
            return Some(Reason::NoFit {
                hosts: 1,
                lacks: vec![(
                    Lack::Memory { wanted: format!("{} MiB", memory / (1024 * 1024)) },
                    1,
                )],
            });
        }
        None
    }
}
