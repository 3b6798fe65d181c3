//! Containers of the tree.

use super::parts::{health_check, labels_node, port_text};
use super::service::Service;
use super::tree::{Branch, Node, Reader, Version};
use super::world::Who;
use model::health::Health;
use model::id::InstanceId;
use model::metadata::labels::Labelled;
use model::metadata::{
    METADATA_ADDRESS, MetaContainer, MetaNetwork, MetaPart, MetaPlain, MetaService, MetaState,
};
use model::plain::NETWORK;

/// Keys of a container, in order.
pub(super) const KEYS: [&str; 31] = [
    "create_index",
    "dns",
    "dns_search",
    "environment_uuid",
    "external_id",
    "health_check",
    "health_check_hosts",
    "health_state",
    "host_uuid",
    "hostname",
    "ips",
    "labels",
    "links",
    "memory_reservation",
    "metadata_kind",
    "milli_cpu_reservation",
    "name",
    "network_from_container_uuid",
    "network_uuid",
    "ports",
    "primary_ip",
    "primary_mac_address",
    "service_index",
    "service_name",
    "service_uuid",
    "stack_name",
    "stack_uuid",
    "start_count",
    "state",
    "system",
    "uuid",
];

/// One container.
#[derive(Clone, Copy, Debug)]
pub(super) enum Container<'w> {
    /// Of a service.
    Instance { id: &'w InstanceId, one: &'w MetaContainer, service: &'w MetaService },
    /// A plain one.
    Plain { key: &'w str, one: &'w MetaPlain },
}

/// The container that is meant.
pub(super) fn find<'w>(reader: Reader<'w>, who: &'w Who) -> Option<Container<'w>> {
    let meta = &reader.world.meta;
    match who {
        Who::Instance(id) => {
            let service = meta.services.get(&id.service)?;
            let (id, one) = service.containers.get_key_value(id)?;
            Some(Container::Instance { id, one, service })
        }
        Who::Plain(key) => {
            let (key, one) = meta.plain.get_key_value(key)?;
            Some(Container::Plain { key, one })
        }
    }
}

/// All of them: those of services in the order of these, then the plain ones.
pub(super) fn all<'w>(reader: Reader<'w>) -> impl Iterator<Item = Node<'w>> {
    let services = reader.world.meta.services.values();
    let of_services = services.flat_map(|service| {
        let all = service.containers.iter();
        all.map(|(id, one)| Container::Instance { id, one, service })
    });
    let plain = reader.world.meta.plain.iter();
    let plain = plain.map(|(key, one)| Container::Plain { key, one });
    of_services.chain(plain).map(|one| Node::Branch(Branch::Container(one)))
}

/// The first container of this name or UUID among those that fit.
pub(super) fn named<'w>(
    reader: Reader<'w>,
    segment: &str,
    fits: impl Fn(Container<'w>) -> bool,
) -> Option<Node<'w>> {
    let lower = segment.to_lowercase();
    let found = reader.world.named(&lower);
    let mut found = found.filter_map(|who| find(reader, who)).filter(|one| {
        let name = match one {
            Container::Instance { id, .. } => reader.name(&id.public_name()),
            Container::Plain { one, .. } => reader.name(&one.name),
        };
        // Else it is the UUID by which it was found.
        (name == segment || !name.eq_ignore_ascii_case(segment)) && fits(*one)
    });
    found.next().map(|one| Node::Branch(Branch::Container(one)))
}

/// The value of a key.
pub(super) fn get<'w>(reader: Reader<'w>, of: Container<'w>, key: &str) -> Option<Node<'w>> {
    let node = match of {
        Container::Instance { id, one, service } => {
            instance(&Instance { reader, id, one, service }, key)
        }
        Container::Plain { key: id, one } => plain(reader, id, one, key),
    };
    node.or_else(|| common(reader, key))
}

/// What is the same for all, or not known of some.
fn common<'w>(reader: Reader<'w>, key: &str) -> Option<Node<'w>> {
    Some(match key {
        "dns" | "dns_search" | "health_check_hosts" => Node::List(vec![]),
        "links" => Node::Map(vec![]),
        "environment_uuid" => reader.environment_uuid(),
        "metadata_kind" => Node::text("container"),
        "system" => Node::Bool(false),
        key if KEYS.contains(&key) => Node::Null,
        _ => return None,
    })
}

/// A container of a service, seen by somebody.
struct Instance<'w> {
    reader: Reader<'w>,
    id: &'w InstanceId,
    one: &'w MetaContainer,
    service: &'w MetaService,
}

impl<'w> Instance<'w> {
    fn part(&self) -> Option<&'w MetaPart> {
        let name = self.id.sidekick.as_ref().map_or("", |name| name.as_str());
        self.service.revisions.get(&self.one.revision)?.get(name)
    }

    fn owns_network(&self) -> bool {
        self.one.network == MetaNetwork::Managed
    }

    /// Its own address: one that is in the network of another has none.
    fn address(&self) -> Option<String> {
        let shared = matches!(self.one.network, MetaNetwork::Of(_));
        self.one.address.filter(|_| !shared).map(|address| address.to_string())
    }

    fn labels(&self) -> Node<'w> {
        let environment = &self.reader.world.meta.environment;
        let part = self.part();
        let mut labels = part.map(|part| part.labels.clone()).unwrap_or_default();
        let ours = Labelled {
            environment: &environment.id,
            id: self.id,
            revision: self.one.revision,
            address: self.one.address.map(|address| (address, environment.prefix)),
            owns_network: self.owns_network() && self.one.address.is_some(),
            mac: part.map(|part| part.mac.as_str()).filter(|mac| !mac.is_empty()),
            pinned: part.filter(|part| part.pinned).map(|_| &self.one.host),
        };
        labels.extend(ours.labels());
        let all = labels.into_iter();
        Node::Map(all.map(|(key, value)| (key.into(), Node::text(value))).collect())
    }

    fn ports(&self) -> Node<'w> {
        let address = match self.reader.version {
            Version::V3 => "0.0.0.0",
            Version::V1 | Version::V2 => &*self.one.host_address,
        };
        Node::texts(self.one.ports.iter().map(|port| {
            port_text(port.host_ip, port.host_port, port.container_port, port.protocol, address)
        }))
    }

    /// How it stands, by what its own host knows, where that is this one.
    fn state(&self) -> MetaState {
        let told = self.one.state;
        let Some(seen) = self.reader.world.seen.get(self.id) else { return told };
        match (seen.container_id.is_some(), told) {
            (true, MetaState::Stopping) | (true, MetaState::Running) => told,
            (true, _) => MetaState::Running,
            (false, MetaState::Running | MetaState::Stopping) => MetaState::Stopped,
            (false, _) => told,
        }
    }

    fn starts(&self) -> u32 {
        let known = self.one.started_at.unwrap_or_default();
        let seen = self.reader.world.seen.get(self.id);
        let newer = seen.is_some_and(|seen| seen.container_id.is_some() && seen.started_at > known);
        self.one.starts.saturating_add(u32::from(newer))
    }

    fn health(&self) -> Node<'w> {
        let seen = self.reader.world.seen.get(self.id);
        health(seen.map_or(self.one.health, |seen| seen.health), self.starts())
    }

    fn external_id(&self) -> Node<'w> {
        let seen = self.reader.world.seen.get(self.id);
        let known = seen.and_then(|seen| seen.container_id.as_deref());
        Node::word(known.unwrap_or(&self.one.container_id))
    }

    fn network_from(&self) -> Node<'w> {
        match &self.one.network {
            MetaNetwork::Of(of) => {
                let owner = self.id.container(of.as_ref());
                self.reader.uuid("container", &owner.to_string())
            }
            _ => Node::Null,
        }
    }
}

fn instance<'w>(of: &Instance<'w>, key: &str) -> Option<Node<'w>> {
    let Instance { reader, id, one, service } = of;
    let facts = &service.facts;
    let service = id.sidekick.as_ref().unwrap_or(&id.service.service);
    Some(match key {
        "create_index" => Node::Int(i64::try_from(id.incarnation).unwrap_or(i64::MAX)),
        "dns" => {
            let users = of.part().map(|part| part.dns.clone()).unwrap_or_default();
            Node::texts([METADATA_ADDRESS.to_string()].into_iter().chain(users))
        }
        "dns_search" => {
            Node::texts(of.part().into_iter().flat_map(|part| &part.dns_search).map(String::as_str))
        }
        "external_id" => of.external_id(),
        "health_check" => health_check(of.part().and_then(|part| part.health_check.as_ref())),
        "health_check_hosts" => {
            Node::List(one.probers.iter().map(|host| reader.uuid("host", host.as_str())).collect())
        }
        "health_state" => of.health(),
        "host_uuid" => reader.uuid("host", one.host.as_str()),
        "hostname" => of.part().map_or(Node::Null, |part| Node::word(&part.hostname)),
        "ips" => Node::texts(of.address()),
        "labels" => of.labels(),
        "memory_reservation" => of.part().map_or(Node::Null, |p| Node::Int(p.memory_reservation)),
        "milli_cpu_reservation" => of.part().map_or(Node::Null, |part| {
            Node::Int(i64::try_from(part.milli_cpu_reservation).unwrap_or(i64::MAX))
        }),
        "name" => Node::text(reader.name(&id.public_name())),
        "network_from_container_uuid" => of.network_from(),
        "network_uuid" if of.owns_network() => reader.uuid("network", NETWORK),
        "ports" => of.ports(),
        "primary_ip" => of.address().map_or(Node::Null, Node::text),
        "primary_mac_address" => of.part().map_or(Node::Null, |part| Node::word(&part.mac)),
        "service_index" => Node::text(id.n.to_string()),
        "service_name" => Node::text(reader.name(service.as_str())),
        "service_uuid" => reader.uuid("service", &id.service.to_string()),
        "stack_name" => Node::text(reader.name(id.service.stack.as_str())),
        "stack_uuid" => reader.uuid("stack", id.service.stack.as_str()),
        "start_count" => Node::Int(of.starts().into()),
        "state" if facts.kind == model::metadata::MetaKind::Balancer => {
            Node::text(one.state.word())
        }
        "state" => Node::text(of.state().word()),
        "uuid" => reader.uuid("container", &id.to_string()),
        _ => return None,
    })
}

fn health(health: Health, starts: u32) -> Node<'static> {
    match health {
        Health::Unchecked => Node::Null,
        Health::Initializing if starts > 1 => Node::text("reinitializing"),
        Health::Initializing => Node::text("initializing"),
        Health::Healthy => Node::text("healthy"),
        Health::Unhealthy => Node::text("unhealthy"),
    }
}

fn plain<'w>(reader: Reader<'w>, id: &'w str, one: &'w MetaPlain, key: &str) -> Option<Node<'w>> {
    Some(match key {
        "external_id" => Node::text(one.container_id.as_str()),
        "health_state" => health(one.health, u32::from(one.started)),
        "host_uuid" => reader.uuid("host", one.host.as_str()),
        "hostname" => Node::word(&one.hostname),
        "ips" => Node::texts(one.addresses.iter().map(ToString::to_string)),
        "labels" => labels_node(&one.labels),
        "name" => Node::text(reader.name(&one.name)),
        "network_uuid" if one.managed => reader.uuid("network", NETWORK),
        "ports" => {
            let address = match reader.version {
                Version::V3 => "0.0.0.0",
                Version::V1 | Version::V2 => &*one.host_address,
            };
            Node::texts(one.ports.iter().map(|port| {
                port_text(port.host_ip, port.host_port, port.container_port, port.protocol, address)
            }))
        }
        "primary_ip" => one.addresses.first().map_or(Node::Null, |ip| Node::text(ip.to_string())),
        "start_count" => Node::Int(one.started.into()),
        "state" => Node::text(one.state.as_str()),
        "uuid" => reader.uuid("plain", id),
        _ => return None,
    })
}

impl<'w> Container<'w> {
    /// Its service; none for a plain one.
    pub(super) fn service(self, reader: Reader<'w>) -> Option<Service<'w>> {
        let Self::Instance { id, .. } = self else { return None };
        let (key, service) = reader.world.meta.services.get_key_value(&id.service)?;
        Some(Service { id: key, service, sidekick: id.sidekick.as_ref().map(|name| name.as_str()) })
    }
}
