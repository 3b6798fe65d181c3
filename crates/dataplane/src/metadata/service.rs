//! Services of the tree. A sidekick is a service of its own, with the UUID of its primary.

use super::container::Container;
use super::parts::{health_check, labels_node, port_text_of};
use super::tree::{Branch, Node, Reader, Version};
use model::balancer::{BalancerProtocol, PortRule};
use model::id::{ServiceId, StackName};
use model::metadata::{MetaKind, MetaPart, MetaService};

/// Keys of a service, in order.
pub(super) const KEYS: [&str; 26] = [
    "containers",
    "create_index",
    "environment_uuid",
    "expose",
    "external_ips",
    "fqdn",
    "health_check",
    "hostname",
    "kind",
    "labels",
    "lb_config",
    "links",
    "metadata",
    "metadata_kind",
    "name",
    "ports",
    "primary_service_name",
    "scale",
    "sidekicks",
    "stack_name",
    "stack_uuid",
    "state",
    "system",
    "token",
    "uuid",
    "vip",
];

/// A service, or one of its sidekicks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service<'w> {
    pub(super) id: &'w ServiceId,
    pub(super) service: &'w MetaService,
    pub(super) sidekick: Option<&'w str>,
}

impl<'w> Service<'w> {
    /// That of a container.
    pub(super) fn of(reader: Reader<'w>, container: Container<'w>) -> Option<Self> {
        container.service(reader)
    }

    /// As it is at the revision that is wanted.
    fn part(&self) -> Option<&'w MetaPart> {
        let MetaService { facts, revisions, .. } = self.service;
        revisions.get(&facts.revision)?.get(self.sidekick.unwrap_or(""))
    }

    fn own_name(&self) -> &'w str {
        self.sidekick.unwrap_or(self.id.service.as_str())
    }

    fn sidekicks(self) -> impl Iterator<Item = &'w str> {
        let MetaService { facts, revisions, .. } = self.service;
        let parts = revisions.get(&facts.revision).into_iter().flat_map(|parts| parts.keys());
        parts.filter(|name| !name.is_empty()).map(String::as_str)
    }

    /// It, then its sidekicks.
    fn family(self) -> impl Iterator<Item = Self> {
        let sidekicks = self.sidekicks().map(move |name| Self { sidekick: Some(name), ..self });
        std::iter::once(self).chain(sidekicks)
    }
}

fn family<'w>(
    (id, service): (&'w ServiceId, &'w std::sync::Arc<MetaService>),
) -> impl Iterator<Item = Node<'w>> {
    let one = Service { id, service, sidekick: None };
    one.family().map(|one| Node::Branch(Branch::Service(one)))
}

/// All of them, by stack and name; sidekicks after their primary.
pub(super) fn all<'w>(reader: Reader<'w>) -> impl Iterator<Item = Node<'w>> {
    reader.world.meta.services.iter().flat_map(family)
}

/// Those of a stack; names only in the first version.
pub(super) fn of_stack<'w>(
    reader: Reader<'w>,
    name: &'w StackName,
) -> impl Iterator<Item = Node<'w>> {
    let all = reader.world.meta.services_of(name).flat_map(family);
    all.map(move |node| match node {
        Node::Branch(Branch::Service(one)) if reader.version == Version::V1 => {
            Node::text(one.own_name())
        }
        node => node,
    })
}

/// The first of this name or UUID.
pub(super) fn named<'w>(reader: Reader<'w>, segment: &str) -> Option<Node<'w>> {
    let by_name = all(reader).find(|node| match node {
        Node::Branch(Branch::Service(one)) => reader.name(one.own_name()) == segment,
        _ => false,
    });
    by_name.or_else(|| {
        let id = reader.world.service(segment)?;
        let (id, service) = reader.world.meta.services.get_key_value(id)?;
        Some(Node::Branch(Branch::Service(Service { id, service, sidekick: None })))
    })
}

/// Is a container one of this service?
pub(super) fn has(service: Service<'_>, container: Container<'_>) -> bool {
    match container {
        Container::Instance { id, .. } => {
            let sidekick = id.sidekick.as_ref().map(|name| name.as_str());
            id.service == *service.id && sidekick == service.sidekick
        }
        Container::Plain { key, .. } => {
            service.sidekick.is_none()
                && service.service.facts.selected.iter().any(|one| one == key)
        }
    }
}

/// Its containers; names only in the first version.
pub(super) fn containers<'w>(
    reader: Reader<'w>,
    service: Service<'w>,
) -> impl Iterator<Item = Node<'w>> {
    let facts = &service.service.facts;
    let own = service.service.containers.iter();
    let own = own.map(move |(id, one)| Container::Instance { id, one, service: service.service });
    let selected = facts.selected.iter().filter_map(move |key| {
        let (key, one) = reader.world.meta.plain.get_key_value(key)?;
        Some(Container::Plain { key, one })
    });
    let all = own.chain(selected).filter(move |one| has(service, *one));
    all.map(move |one| match (reader.version, one) {
        (Version::V1, Container::Instance { id, .. }) => Node::text(id.public_name()),
        (Version::V1, Container::Plain { one, .. }) => Node::text(one.name.as_str()),
        (_, one) => Node::Branch(Branch::Container(one)),
    })
}

/// The value of a key.
pub(super) fn get<'w>(reader: Reader<'w>, of: Service<'w>, key: &str) -> Option<Node<'w>> {
    let facts = &of.service.facts;
    let whole = |number: u64| Node::Int(i64::try_from(number).unwrap_or(i64::MAX));
    Some(match key {
        "containers" => Node::Branch(Branch::ServiceContainers(of)),
        "create_index" => whole(facts.create_index),
        "environment_uuid" => reader.environment_uuid(),
        "expose" => Node::List(vec![]),
        "external_ips" => Node::texts(facts.external_ips.iter().map(ToString::to_string)),
        "health_check" => health_check(of.part().and_then(|part| part.health_check.as_ref())),
        "hostname" => Node::word(&facts.hostname),
        "kind" => Node::text(match facts.kind {
            MetaKind::Service => "service",
            MetaKind::Balancer => "loadBalancerService",
            MetaKind::External => "externalService",
            MetaKind::Alias => "dnsService",
        }),
        "labels" => of.part().map_or(Node::Map(vec![]), |part| labels_node(&part.labels)),
        "lb_config" if facts.kind == MetaKind::Balancer => balancer(&facts.rules),
        "links" => {
            let links = facts.links.iter();
            Node::Map(
                links
                    .map(|(key, alias)| (reader.name(key).into(), Node::text(alias.as_str())))
                    .collect(),
            )
        }
        "metadata" => Node::Map(
            facts
                .metadata
                .iter()
                .map(|(key, value)| (key.as_str().into(), Node::Json(value)))
                .collect(),
        ),
        "metadata_kind" => Node::text("service"),
        "name" => Node::text(reader.name(of.own_name())),
        "ports" => {
            Node::texts(of.part().into_iter().flat_map(|part| &part.ports).map(port_text_of))
        }
        "primary_service_name" => Node::text(reader.name(of.id.service.as_str())),
        "scale" => Node::Int(facts.scale.into()),
        "sidekicks" if of.sidekick.is_none() => {
            Node::texts(of.sidekicks().map(|name| reader.name(name)))
        }
        "sidekicks" => Node::List(vec![]),
        "stack_name" => Node::text(reader.name(of.id.stack.as_str())),
        "stack_uuid" => reader.uuid("stack", of.id.stack.as_str()),
        "state" => Node::word(&facts.state),
        "system" => Node::Bool(false),
        "uuid" => reader.uuid("service", &of.id.to_string()),
        key if KEYS.contains(&key) => Node::Null,
        _ => return None,
    })
}

fn balancer(rules: &[PortRule]) -> Node<'_> {
    Node::Map(vec![
        ("certs".into(), Node::List(vec![])),
        ("config".into(), Node::text("")),
        ("default_cert".into(), Node::text("")),
        ("port_rules".into(), Node::List(rules.iter().map(rule).collect())),
        ("stickiness_policy".into(), Node::Null),
    ])
}

fn rule(rule: &PortRule) -> Node<'_> {
    let text = |text| Node::text(text);
    Node::Map(vec![
        ("backend_name".into(), text(rule.backend_name.as_str())),
        ("container".into(), text("")),
        ("environment".into(), text("")),
        ("hostname".into(), text(rule.hostname.as_str())),
        ("path".into(), text(rule.path.as_str())),
        ("priority".into(), Node::Int(rule.priority.into())),
        (
            "protocol".into(),
            text(match rule.protocol {
                BalancerProtocol::Http => "http",
                BalancerProtocol::Tcp => "tcp",
            }),
        ),
        ("region".into(), text("")),
        ("selector".into(), text("")),
        ("service".into(), Node::text(rule.service.to_string())),
        ("source_port".into(), Node::Int(rule.source_port.into())),
        ("target_port".into(), Node::Int(rule.target_port.into())),
        ("weight".into(), Node::Int(rule.weight.into())),
    ])
}
