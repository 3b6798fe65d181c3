//! An independent check of the cluster: written apart from the planner, empty after every plan.

use model::cluster::Cluster;
use model::host;
use model::id::{InstanceId, ServiceId};
use model::instance::Goal;
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
    /// Two services hold one host port.
    PortTwice(u16, InstanceId, InstanceId),
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

/// Checks everything; the order is that of the instances.
#[must_use]
pub fn audit(cluster: &Cluster) -> Vec<Violation> {
    let mut found = vec![];
    let mut addresses: BTreeMap<Ipv4Addr, &InstanceId> = BTreeMap::new();
    let mut names: BTreeMap<&str, &InstanceId> = BTreeMap::new();
    let mut slots: BTreeMap<(ServiceId, u32, u32, u32), &InstanceId> = BTreeMap::new();
    let mut ports: Vec<(String, u16, String, Option<IpAddr>, &InstanceId)> = vec![];
    for instance in cluster.instances() {
        let id = &instance.id;
        if let Some(address) = instance.address {
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
        for port in &instance.ports {
            let Some(number) = port.host_port else { continue };
            let host = instance.host.to_string();
            let protocol = port.protocol.to_string();
            let clash = ports.iter().find(|(h, n, p, ip, other)| {
                *h == host
                    && *n == number
                    && *p == protocol
                    && (ip.is_none() || port.host_ip.is_none() || *ip == port.host_ip)
                    && other.service != id.service
            });
            if let Some((.., other)) = clash {
                found.push(Violation::PortTwice(number, (*other).clone(), id.clone()));
            }
            ports.push((host, number, protocol, port.host_ip, id));
        }
        check_references(cluster, instance, &mut found);
    }
    for service in cluster.services() {
        if cluster.revision(&service.id, service.target.revision).is_none() {
            found.push(Violation::NoTarget(service.id.clone()));
        }
    }
    found
}

fn check_references(
    cluster: &Cluster,
    instance: &model::instance::Instance,
    found: &mut Vec<Violation>,
) {
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
