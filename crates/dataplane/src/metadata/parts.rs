//! The smaller things of the tree: stacks, hosts, the network, labels, ports, checks.

use super::tree::{Branch, Node, Reader};
use model::health::{HealthCheck, Probe};
use model::id::{HostId, StackName};
use model::metadata::MetaHost;
use model::plain::NETWORK;
use model::policy::{PolicyPeer, PolicyRule};
use model::service::{PortMapping, Transport};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Keys of a stack, in order.
pub(super) const STACK: [&str; 7] =
    ["environment_name", "environment_uuid", "metadata_kind", "name", "services", "system", "uuid"];

/// Keys of a host, in order.
pub(super) const HOST: [&str; 13] = [
    "agent_ip",
    "agent_state",
    "environment_uuid",
    "hostId",
    "hostname",
    "labels",
    "local_storage_mb",
    "memory",
    "metadata_kind",
    "milli_cpu",
    "name",
    "state",
    "uuid",
];

const MB: u64 = 1024 * 1024;

fn whole(number: u64) -> Node<'static> {
    Node::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// All stacks that have a service.
pub(super) fn stacks<'w>(reader: Reader<'w>) -> impl Iterator<Item = Node<'w>> {
    let mut last: Option<&StackName> = None;
    let names =
        reader.world.meta.services.keys().filter_map(move |id| {
            (last.replace(&id.stack) != Some(&id.stack)).then_some(&id.stack)
        });
    names.map(|name| Node::Branch(Branch::Stack(name)))
}

/// The value of a key of a stack.
pub(super) fn stack<'w>(reader: Reader<'w>, name: &'w StackName, key: &str) -> Option<Node<'w>> {
    Some(match key {
        "environment_name" => Node::text(reader.world.meta.environment.name.as_str()),
        "environment_uuid" => reader.environment_uuid(),
        "metadata_kind" => Node::text("stack"),
        "name" => Node::text(reader.name(name.as_str())),
        "services" => Node::Branch(Branch::StackServices(name)),
        "system" => Node::Bool(false),
        "uuid" => reader.uuid("stack", name.as_str()),
        _ => return None,
    })
}

/// All hosts.
pub(super) fn hosts<'w>(reader: Reader<'w>) -> impl Iterator<Item = Node<'w>> {
    let all = reader.world.meta.hosts.iter();
    all.map(|(id, host)| Node::Branch(Branch::Host(id, host)))
}

/// What it is called.
fn host_name<'w>(id: &'w HostId, host: &'w MetaHost) -> &'w str {
    if host.hostname.is_empty() { id.as_str() } else { &host.hostname }
}

/// The first host of this name or UUID.
pub(super) fn host_named<'w>(reader: Reader<'w>, segment: &str) -> Option<Node<'w>> {
    let all = &reader.world.meta.hosts;
    let by_name = all.iter().find(|(id, host)| host_name(id, host) == segment);
    let by_uuid = || all.get_key_value(reader.world.host_of(segment)?);
    let (id, host) = by_name.or_else(by_uuid)?;
    Some(Node::Branch(Branch::Host(id, host)))
}

/// The value of a key of a host.
pub(super) fn host<'w>(
    reader: Reader<'w>,
    id: &'w HostId,
    host: &'w MetaHost,
    key: &str,
) -> Option<Node<'w>> {
    Some(match key {
        "agent_ip" => Node::text(host.address.as_str()),
        "agent_state" => Node::text(if host.connected { "active" } else { "disconnected" }),
        "environment_uuid" => reader.environment_uuid(),
        "hostId" if reader.version < super::tree::Version::V3 => {
            let hash = Sha256::digest(id.as_str());
            let number = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
            Node::Int(i64::from(number >> 1))
        }
        "hostname" => Node::text(host_name(id, host)),
        "labels" => labels_node(&host.labels),
        "local_storage_mb" => whole(host.disk / MB),
        "memory" => whole(host.memory / MB),
        "metadata_kind" => Node::text("host"),
        "milli_cpu" => whole(u64::from(host.cpus) * 1_000),
        "name" => Node::text(host_name(id, host)),
        "state" => Node::text(if host.active { "active" } else { "inactive" }),
        "uuid" => reader.uuid("host", id.as_str()),
        _ => return None,
    })
}

/// The managed network.
pub(super) fn network<'w>(reader: Reader<'w>) -> Node<'w> {
    let policy = &reader.world.meta.environment.policy;
    Node::Map(vec![
        ("default_policy_action".into(), Node::text(policy.default.to_string())),
        ("environment_uuid".into(), reader.environment_uuid()),
        ("host_ports".into(), Node::Bool(true)),
        ("is_default".into(), Node::Bool(true)),
        ("metadata".into(), Node::Map(vec![])),
        ("metadata_kind".into(), Node::text("network")),
        ("name".into(), Node::text(NETWORK)),
        ("policy".into(), Node::List(policy.rules.iter().map(rule).collect())),
        ("uuid".into(), reader.uuid("network", NETWORK)),
    ])
}

/// A rule of the network policy, in Rancher's words.
fn rule(rule: &PolicyRule) -> Node<'_> {
    let some = |key: &'static str, text: Option<String>| Some((key.into(), Node::text(text?)));
    let peer = |key: &'static str, peer: Option<&PolicyPeer>| {
        let peer = peer?;
        let all = [
            some("selector", peer.selector.as_ref().map(ToString::to_string)),
            some("service", peer.service.as_ref().map(ToString::to_string)),
            some("stack", peer.stack.as_ref().map(ToString::to_string)),
        ];
        Some((key.into(), Node::Map(all.into_iter().flatten().collect())))
    };
    let between = rule.between.as_ref().map(|between| {
        let all = [
            some("groupBy", between.group_by.clone()),
            some("selector", between.selector.as_ref().map(ToString::to_string)),
        ];
        ("between".into(), Node::Map(all.into_iter().flatten().collect()))
    });
    let ports = rule.ports.iter().map(|ports| Node::text(ports.to_string()));
    let ports = (!rule.ports.is_empty()).then(|| ("ports".into(), Node::List(ports.collect())));
    let all = [
        some("action", Some(rule.action.to_string())),
        between,
        peer("from", rule.from.as_ref()),
        ports,
        peer("to", rule.to.as_ref()),
        some("within", rule.within.as_ref().map(ToString::to_string)),
    ];
    Node::Map(all.into_iter().flatten().collect())
}

/// Labels as they are.
pub(super) fn labels_node(labels: &BTreeMap<String, String>) -> Node<'_> {
    let all = labels.iter();
    Node::Map(all.map(|(key, value)| (key.as_str().into(), Node::text(value.as_str()))).collect())
}

/// A port of a container; `address` is that of ports of all addresses.
pub(super) fn port_text(
    host_ip: Option<IpAddr>,
    host_port: Option<u16>,
    container_port: u16,
    transport: Transport,
    address: &str,
) -> String {
    let Some(host_port) = host_port else { return format!("{container_port}/{transport}") };
    match host_ip.filter(|ip| !ip.is_unspecified()) {
        Some(ip) => format!("{ip}:{host_port}:{container_port}/{transport}"),
        None => format!("{address}:{host_port}:{container_port}/{transport}"),
    }
}

/// A port of a service, as it was asked for.
pub(super) fn port_text_of(port: &PortMapping) -> String {
    let PortMapping { host_ip, host_port, container_port, protocol } = port;
    match (host_ip, host_port) {
        (Some(ip), Some(port)) => format!("{ip}:{port}:{container_port}/{protocol}"),
        (_, Some(port)) => format!("{port}:{container_port}/{protocol}"),
        (_, None) => format!("{container_port}/{protocol}"),
    }
}

/// A check of ours.
pub(super) fn health_check(check: Option<&HealthCheck>) -> Node<'_> {
    let Some(check) = check else { return Node::Null };
    let line = match &check.probe {
        Probe::Tcp => String::new(),
        Probe::Http { method, path, version } => format!("{method} \"{path}\" \"{version}\""),
    };
    Node::Map(vec![
        ("healthy_threshold".into(), Node::Int(check.healthy_threshold.into())),
        ("interval".into(), whole(check.interval_ms)),
        ("port".into(), Node::Int(check.port.into())),
        ("request_line".into(), Node::text(line)),
        ("response_timeout".into(), whole(check.timeout_ms)),
        ("unhealthy_threshold".into(), Node::Int(check.unhealthy_threshold.into())),
    ])
}
