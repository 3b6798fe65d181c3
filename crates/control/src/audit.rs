//! An independent check of the cluster: written apart from the planner, empty after every plan.

use model::cluster::Cluster;
use model::container_spec::{ContainerSpec, NetworkMode};
use model::host;
use model::id::{HostId, InstanceId, ServiceId};
use model::instance::{Goal, Instance};
use model::service::Transport;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two instances have one address.
    AddressTwice(Ipv4Addr, InstanceId, InstanceId),
    /// An address that is not the planner's to give.
    AddressNotOurs(Ipv4Addr, InstanceId),
    /// Two instances have one container name.
    NameTwice(String, InstanceId, InstanceId),
    /// Two services hold one host port, or two instances whose processes bind it themselves.
    PortTwice(u16, InstanceId, InstanceId),
    /// The instances that are to run on a host reserve more memory than it has, in bytes.
    MemoryOver(HostId, u64),
    /// The instances that are to run on a host reserve more cpu than it has, in thousandths.
    CpuOver(HostId, u64),
    /// Two instances of one version are to run in one slot, and neither is leaving.
    SlotTwice(InstanceId, InstanceId),
    /// An instance of a service that is not there.
    NoService(InstanceId),
    /// An instance of a revision that is not there.
    NoRevision(InstanceId, u32),
    /// An incarnation that was never given.
    Unknown(InstanceId),
    /// An instance that is to run on a host that is not there.
    NoHost(InstanceId),
    /// The wanted revision of a service is not there.
    NoTarget(ServiceId),
}

/// A port of a host.
type PortKey<'a> = (&'a HostId, Transport, u16);
/// Who holds it on which address, and whether its process binds it itself.
type Holder<'a> = (Option<IpAddr>, &'a InstanceId, bool);

/// Checks everything; the order is that of the instances.
#[must_use]
pub fn audit(cluster: &Cluster) -> Vec<Violation> {
    let mut found = vec![];
    let mut addresses: BTreeMap<Ipv4Addr, &InstanceId> = BTreeMap::new();
    let mut names: BTreeMap<&str, &InstanceId> = BTreeMap::new();
    let mut slots: BTreeMap<(ServiceId, u32, u32, u32), &InstanceId> = BTreeMap::new();
    let mut ports: BTreeMap<PortKey<'_>, Vec<Holder<'_>>> = BTreeMap::new();
    let mut reserved: BTreeMap<&HostId, (u64, u64)> = BTreeMap::new();
    for instance in cluster.instances() {
        let id = &instance.id;
        for address in instance.address.iter().chain(instance.sidekick_addresses.values()).copied()
        {
            if let Some(other) = addresses.insert(address, id) {
                found.push(Violation::AddressTwice(address, other.clone(), id.clone()));
            }
            let subnet = cluster.environment().map(|e| e.subnet);
            let ours = subnet.is_some_and(|net| {
                net.contains(&address)
                    && address != net.network()
                    && address != net.broadcast()
                    && address != host::gateway(net)
                    && !host::docker_range(net).contains(&address)
            });
            if !ours {
                found.push(Violation::AddressNotOurs(address, id.clone()));
            }
        }
        if !instance.container_name.is_empty()
            && let Some(other) = names.insert(&instance.container_name, id)
        {
            let name = instance.container_name.clone();
            found.push(Violation::NameTwice(name, other.clone(), id.clone()));
        }
        if instance.goal == Goal::Run && !instance.leaving {
            let target = instance.target;
            let slot = (id.service.clone(), id.n, target.revision, target.restart);
            if let Some(other) = slots.insert(slot, id) {
                found.push(Violation::SlotTwice(other.clone(), id.clone()));
            }
        }
        check_ports(cluster, instance, &mut ports, &mut found);
        add_reserved(cluster, instance, &mut reserved);
        check_references(cluster, instance, &mut found);
    }
    for (host, (cpu, memory)) in reserved {
        let Some(facts) = cluster.host(host).map(|host| &host.facts) else { continue };
        if memory > facts.memory {
            found.push(Violation::MemoryOver(host.clone(), memory));
        }
        if cpu > u64::from(facts.cpus) * 1_000 {
            found.push(Violation::CpuOver(host.clone(), cpu));
        }
    }
    for service in cluster.services() {
        if cluster.revision(&service.id, service.target.revision).is_none() {
            found.push(Violation::NoTarget(service.id.clone()));
        }
    }
    found
}

fn check_ports<'a>(
    cluster: &Cluster,
    instance: &'a Instance,
    ports: &mut BTreeMap<PortKey<'a>, Vec<Holder<'a>>>,
    found: &mut Vec<Violation>,
) {
    let id = &instance.id;
    let revision = cluster.revision(&id.service, instance.target.revision);
    let on_host = |container: &ContainerSpec| container.network == NetworkMode::Host;
    let binds = revision.is_some_and(|r| r.template.container().is_some_and(on_host));
    for port in &instance.ports {
        let Some(number) = port.host_port else { continue };
        let holders = ports.entry((&instance.host, port.protocol, number)).or_default();
        let clash = holders.iter().find(|(ip, other, other_binds)| {
            let meet = ip.is_none() || port.host_ip.is_none() || *ip == port.host_ip;
            let both_run = instance.goal == Goal::Run && *other_binds;
            meet && (other.service != id.service || (binds && both_run))
        });
        if let Some((_, other, _)) = clash {
            found.push(Violation::PortTwice(number, (*other).clone(), id.clone()));
        }
        holders.push((port.host_ip, id, binds && instance.goal == Goal::Run));
    }
}

fn add_reserved<'a>(
    cluster: &Cluster,
    instance: &'a Instance,
    reserved: &mut BTreeMap<&'a HostId, (u64, u64)>,
) {
    let revision = cluster.revision(&instance.id.service, instance.target.revision);
    let Some(revision) = revision.filter(|_| instance.goal == Goal::Run) else { return };
    for (_, container) in revision.template.containers() {
        let (cpu, memory) = reserved.entry(&instance.host).or_default();
        *cpu = cpu.saturating_add(container.resources.cpu_reserved_milli);
        let more = u64::try_from(container.resources.memory_reserved).unwrap_or(0);
        *memory = memory.saturating_add(more);
    }
}

fn check_references(cluster: &Cluster, instance: &Instance, found: &mut Vec<Violation>) {
    let id = &instance.id;
    if cluster.service(&id.service).is_none() {
        found.push(Violation::NoService(id.clone()));
        return;
    }
    if cluster.revision(&id.service, instance.target.revision).is_none() {
        found.push(Violation::NoRevision(id.clone(), instance.target.revision));
    }
    let given = cluster.service_status(&id.service).map_or(0, |status| status.incarnations);
    if id.incarnation > given {
        found.push(Violation::Unknown(id.clone()));
    }
    if instance.goal == Goal::Run && cluster.host(&instance.host).is_none() {
        found.push(Violation::NoHost(id.clone()));
    }
}
