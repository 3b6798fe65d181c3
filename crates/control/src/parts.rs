//! The containers of one instance: primary and sidekicks, each with what is its own and with the
//! container whose network it is in.

use model::container_spec::{ContainerSpec, NetworkMode};
use model::health::HealthCheck;
use model::id::{InstanceId, ServiceName};
use model::instance::Instance;
use model::service::{Kind, PortMapping, RestartPolicy, Template};
use std::net::Ipv4Addr;

/// One container of an instance.
pub(crate) struct Part<'a> {
    /// Its id: the instance's, with the sidekick's name.
    pub(crate) id: InstanceId,
    /// `None` is the primary.
    pub(crate) name: Option<&'a ServiceName>,
    /// What it is made from.
    pub(crate) container: &'a ContainerSpec,
    /// Our own check.
    pub(crate) health_check: Option<&'a HealthCheck>,
    /// When it starts again.
    pub(crate) restart: RestartPolicy,
    /// SIGTERM to SIGKILL, milliseconds.
    pub(crate) stop_grace_ms: u64,
    /// The host ports that are its own.
    pub(crate) ports: Vec<&'a PortMapping>,
    /// The container whose network it is in.
    pub(crate) network_of: Option<InstanceId>,
    /// Its address in the managed network, or that of the container whose network it is in.
    pub(crate) address: Option<Ipv4Addr>,
}

impl Part<'_> {
    /// Has it an address of its own?
    pub(crate) fn owns_address(&self) -> bool {
        self.network_of.is_none() && self.address.is_some()
    }
}

/// The containers of an instance, the primary first; none for a balancer.
pub(crate) fn parts<'a>(instance: &'a Instance, template: &'a Template) -> Vec<Part<'a>> {
    let Kind::Container(primary) = &template.kind else { return vec![] };
    let mut held = Held::of(instance);
    let mut all = vec![Part {
        id: instance.id.clone(),
        name: None,
        container: primary,
        health_check: template.health_check.as_ref(),
        restart: template.restart,
        stop_grace_ms: template.stop_grace_ms,
        ports: held.take(&template.ports),
        network_of: network_of(instance, template, None),
        address: address(instance, template, None),
    }];
    for (name, sidekick) in &template.sidekicks {
        all.push(Part {
            id: instance.id.container(Some(name)),
            name: Some(name),
            container: &sidekick.container,
            health_check: sidekick.health_check.as_ref(),
            restart: sidekick.restart,
            stop_grace_ms: sidekick.stop_grace_ms,
            ports: held.take(&sidekick.ports),
            network_of: network_of(instance, template, Some(name)),
            address: address(instance, template, Some(name)),
        });
    }
    all
}

fn network<'a>(template: &'a Template, name: Option<&ServiceName>) -> Option<&'a NetworkMode> {
    match name {
        None => template.container().map(|c| &c.network),
        Some(name) => template.sidekicks.get(name).map(|s| &s.container.network),
    }
}

/// The container that has the network: the last one of the chain; `None` when the chain has no end.
fn owner<'a>(
    template: &'a Template,
    name: Option<&'a ServiceName>,
) -> Option<Option<&'a ServiceName>> {
    let mut at = name;
    for _ in 0..=template.sidekicks.len() + 1 {
        match network(template, at)? {
            NetworkMode::Sibling(next) => at = next.as_ref(),
            NetworkMode::Managed | NetworkMode::Host | NetworkMode::None => return Some(at),
        }
    }
    None
}

/// Whose network it is in. In a circle each waits for its neighbour, and says so.
fn network_of(
    instance: &Instance,
    template: &Template,
    name: Option<&ServiceName>,
) -> Option<InstanceId> {
    let Some(NetworkMode::Sibling(next)) = network(template, name) else { return None };
    let of = owner(template, name).unwrap_or(next.as_ref());
    Some(instance.id.container(of))
}

fn address(
    instance: &Instance,
    template: &Template,
    name: Option<&ServiceName>,
) -> Option<Ipv4Addr> {
    match owner(template, name)? {
        None => instance.address,
        Some(name) => instance.sidekick_addresses.get(name).copied(),
    }
}

/// Is the container in the network of the host?
pub(crate) fn in_host_network(template: &Template, name: Option<&ServiceName>) -> bool {
    owner(template, name).and_then(|of| network(template, of)) == Some(&NetworkMode::Host)
}

/// The ports that an instance holds, each given to the container that asked for it.
struct Held<'a> {
    left: Vec<&'a PortMapping>,
}

impl<'a> Held<'a> {
    fn of(instance: &'a Instance) -> Self {
        Self { left: instance.ports.iter().collect() }
    }

    fn take(&mut self, wanted: &[PortMapping]) -> Vec<&'a PortMapping> {
        let mut own = vec![];
        for port in wanted {
            let fits = |held: &&PortMapping| {
                held.container_port == port.container_port
                    && held.protocol == port.protocol
                    && (port.host_port.is_none() || held.host_port == port.host_port)
                    && (port.host_ip.is_none() || held.host_ip == port.host_ip)
            };
            if let Some(at) = self.left.iter().position(fits) {
                own.push(self.left.remove(at));
            }
        }
        own
    }
}
