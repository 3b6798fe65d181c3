//! What one instance takes from its host, read off its template: reserved resources, host ports,
//! addresses, and the labels that its containers have.

use model::container_spec::{ContainerSpec, NetworkMode};
use model::id::{ServiceId, ServiceName};
use model::service::{Kind, PortMapping, Template, Transport};
use std::collections::BTreeSet;

/// Host ports that a template wants: those of the primary, then those of its sidekicks by name; a
/// balancer's source ports.
pub(crate) fn wanted_ports(template: &Template) -> Vec<PortMapping> {
    match &template.kind {
        Kind::Container(_) | Kind::External(_) | Kind::Alias(_) => {
            let sidekicks = template.sidekicks.values().flat_map(|one| one.ports.iter());
            template.ports.iter().chain(sidekicks).cloned().collect()
        }
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

/// Reserved cpu in thousandths of a core and memory in bytes: Rancher's `milli_cpu_reservation` and
/// `mem_reservation`, of the primary and its sidekicks together.
pub(crate) fn reserved(template: &Template) -> (i64, i64) {
    template.containers().fold((0_i64, 0_i64), |(cpu, memory), (_, container)| {
        let resources = &container.resources;
        let more = i64::try_from(resources.cpu_reserved_milli).unwrap_or(i64::MAX);
        (cpu.saturating_add(more), memory.saturating_add(resources.memory_reserved.max(0)))
    })
}

/// Has the primary, or the balancer, an address of the managed network?
pub(crate) fn has_address(template: &Template) -> bool {
    match &template.kind {
        Kind::Container(container) => container.network == NetworkMode::Managed,
        Kind::Balancer(_) => true,
        Kind::External(_) | Kind::Alias(_) => false,
    }
}

/// Sidekicks that have an address of their own.
pub(crate) fn addressed_sidekicks(template: &Template) -> impl Iterator<Item = &ServiceName> {
    let own = |container: &ContainerSpec| container.network == NetworkMode::Managed;
    template.sidekicks.iter().filter(move |(_, one)| own(&one.container)).map(|(name, _)| name)
}

/// Ports in the container that are the host's own: its process binds them there, so that no two
/// instances of the service can be on one host. All others are served by the dataplane, which
/// shares one among the instances of a service.
pub(crate) fn exclusive_ports(template: &Template) -> Vec<(u16, Transport)> {
    let mut all = vec![];
    let mut add = |name: Option<&ServiceName>, ports: &[PortMapping]| {
        if in_host_network(template, name) {
            all.extend(ports.iter().map(|port| (port.container_port, port.protocol)));
        }
    };
    add(None, &template.ports);
    for (name, one) in &template.sidekicks {
        add(Some(name), &one.ports);
    }
    all
}

fn network<'a>(template: &'a Template, name: Option<&ServiceName>) -> Option<&'a NetworkMode> {
    match name {
        None => template.container().map(|container| &container.network),
        Some(name) => template.sidekicks.get(name).map(|one| &one.container.network),
    }
}

/// Is the container in the network of its host, itself or by the container whose network it has?
fn in_host_network(template: &Template, name: Option<&ServiceName>) -> bool {
    let mut at = name;
    for _ in 0..=template.sidekicks.len() + 1 {
        match network(template, at) {
            Some(NetworkMode::Host) => return true,
            Some(NetworkMode::Sibling(next)) => at = next.as_ref(),
            Some(NetworkMode::Managed | NetworkMode::None) | None => return false,
        }
    }
    false
}

/// The labels of all containers of an instance that every instance of the revision has alike, keys
/// and values in lower case: Rancher compares them so. Those that tell one instance from another
/// are in `PER_INSTANCE`.
pub(crate) fn labels(
    environment: &str,
    service: &ServiceId,
    revision: u32,
    template: &Template,
) -> BTreeSet<(String, String)> {
    const PRIMARY: &str = "io.rancher.service.primary.launch.config";
    let stack = service.stack.as_str();
    let mut all: BTreeSet<(String, String)> = BTreeSet::new();
    let mut add = |key: &str, value: &str| {
        all.insert((key.to_lowercase(), value.to_lowercase()));
    };
    add("io.remuda.environment", environment);
    add("io.rancher.environment.uuid", environment);
    add("io.remuda.revision", &revision.to_string());
    add("io.rancher.stack.name", stack);
    add("io.rancher.project.name", stack);
    let names = std::iter::once(None).chain(template.sidekicks.keys().map(Some));
    for name in names {
        let full = match name {
            None => service.to_string(),
            Some(name) => format!("{service}/{name}"),
        };
        add("io.rancher.stack_service.name", &full);
        add("io.rancher.project_service.name", &full);
        add("io.rancher.service.launch.config", name.map_or(PRIMARY, ServiceName::as_str));
    }
    for (_, container) in template.containers() {
        for (key, value) in &container.labels {
            add(key, value);
        }
        if container.network == NetworkMode::Managed {
            add("io.rancher.cni.network", "remuda");
        }
        if let Some(mac) = &container.mac_address {
            add("io.rancher.container.mac_address", mac);
        }
    }
    all
}

/// Labels of containers whose values follow the instance.
pub(crate) const PER_INSTANCE: &[&str] = &[
    "io.remuda.instance",
    "io.rancher.container.ip",
    "io.rancher.container.name",
    "io.rancher.container.uuid",
    "io.rancher.service.deployment.unit",
    "io.rancher.service.requested.host.id",
];
