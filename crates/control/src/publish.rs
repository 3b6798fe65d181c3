//! What one host may publish, derived from the cluster: names, callers, upstreams, listeners.

mod routes;

use crate::host::search;
use crate::ledger;
use model::cluster::Cluster;
use model::container_spec::NetworkMode;
use model::host::Environment;
use model::id::{HostId, InstanceId, ServiceId};
use model::instance::{Goal, Instance, Phase};
use model::limits::{DNS_TTL_S, DRAIN_MS_DEFAULT};
use model::service::{Kind, Template, Transport};
use model::view::{
    Admit, Caller, DnsView, Endpoint, HostView, Listener, ListenerMode, NameTarget, Upstream,
    VIEW_FORMAT, ViewInstance,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// Zones that we answer with authority.
const ZONES: [&str; 2] = ["rancher.internal", "remuda.internal"];
/// Where metadata and DNS are found.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 250);
/// Milliseconds to connect to an endpoint of the same host before the next one is tried.
const CONNECT_TIMEOUT_MS: u64 = 250;

/// Target ports that balancers route to, by service.
pub(crate) type RoutedPorts = BTreeMap<ServiceId, BTreeSet<u16>>;

/// An environment for a cluster that has none yet: nothing is ever placed in it.
pub(crate) fn no_environment() -> Environment {
    let subnet = ipnet::Ipv4Net::default();
    Environment::new(String::new(), "", subnet)
}

/// Every target port of every balancer.
pub(crate) fn routed_ports(cluster: &Cluster) -> RoutedPorts {
    let mut routed = RoutedPorts::new();
    for service in cluster.services() {
        let Some(revision) = cluster.revision(&service.id, service.target.revision) else {
            continue;
        };
        if let Kind::Balancer(balancer) = &revision.template.kind {
            for rule in &balancer.rules {
                routed.entry(rule.service.clone()).or_default().insert(rule.target_port);
            }
        }
    }
    routed
}

/// Ports that must listen before the first request of a start is sent there: without any check of
/// the user, a balancer or host port never routes to a port that does not listen yet.
pub(crate) fn ready_ports(
    routed: &RoutedPorts,
    instance: &Instance,
    template: &Template,
) -> Vec<u16> {
    let Some(container) = template.container() else { return vec![] };
    let has_docker_check = container
        .healthcheck
        .as_ref()
        .is_some_and(|check| check.test.first().is_none_or(|word| word != "NONE"));
    if template.health_check.is_some() || has_docker_check || instance.address.is_none() {
        return vec![];
    }
    let mut ports = routed.get(&instance.id.service).cloned().unwrap_or_default();
    let tcp = template.ports.iter().filter(|p| p.protocol == Transport::Tcp);
    ports.extend(tcp.map(|port| port.container_port));
    ports.into_iter().collect()
}

/// Ids of the listeners of a balancer.
pub(crate) fn balancer_listeners(template: &Template) -> Vec<String> {
    ledger::wanted_ports(template)
        .iter()
        .filter_map(|port| Some(listener_id(port.host_ip, port.host_port?, port.protocol)))
        .collect()
}

fn listener_id(ip: Option<IpAddr>, port: u16, transport: Transport) -> String {
    match ip {
        Some(ip) => format!("{ip}:{port}/{transport}"),
        None => format!("*:{port}/{transport}"),
    }
}

/// Derives what the host may publish.
#[must_use]
pub fn view(cluster: &Cluster, host: &HostId) -> HostView {
    let mut view = HostView {
        format: VIEW_FORMAT,
        environment: cluster.environment().map(|e| e.id.clone()).unwrap_or_default(),
        host: host.clone(),
        index: cluster.index(),
        dns: DnsView {
            zones: ZONES.iter().map(|zone| (*zone).to_owned()).collect(),
            ttl_s: DNS_TTL_S,
            names: BTreeMap::new(),
        },
        callers: BTreeMap::new(),
        instances: BTreeMap::new(),
        upstreams: BTreeMap::new(),
        listeners: BTreeMap::new(),
    };
    let routed = routed_ports(cluster);
    add_instances(cluster, &routed, &mut view);
    add_names(cluster, &mut view);
    add_host_ports(cluster, host, &mut view);
    routes::add_balancers(cluster, host, &mut view);
    view.dns.names.insert("rancher-metadata".into(), NameTarget::Address(METADATA));
    view
}

fn address_of(cluster: &Cluster, instance: &Instance, template: &Template) -> Option<Ipv4Addr> {
    if instance.address.is_some() {
        return instance.address;
    }
    let host_network = template.container().is_some_and(|c| c.network == NetworkMode::Host);
    let host = cluster.host(&instance.host).filter(|_| host_network)?;
    host.facts.address.parse().ok()
}

fn add_instances(cluster: &Cluster, routed: &RoutedPorts, view: &mut HostView) {
    for instance in cluster.instances() {
        let service = &instance.id.service;
        let Some(revision) = cluster.revision(service, instance.target.revision) else { continue };
        let template = &revision.template;
        let Some(address) = address_of(cluster, instance, template) else { continue };
        let seen = cluster.instance_status(&instance.id);
        let phase = seen.map_or(Phase::Pending, |s| s.phase);
        let over = matches!(phase, Phase::Absent | Phase::Stopped | Phase::Completed);
        if instance.goal != Goal::Run && over {
            continue;
        }
        if instance.address.is_some() && template.container().is_some() {
            let caller = Caller { service: service.clone(), search: search(instance) };
            view.callers.insert(address, caller);
        }
        let balancer = matches!(template.kind, Kind::Balancer(_));
        view.instances.insert(
            instance.id.clone(),
            ViewInstance {
                address,
                host: instance.host.clone(),
                admit: if instance.goal == Goal::Run { Admit::Active } else { Admit::Draining },
                check: if balancer { None } else { template.health_check.clone() },
                ready_ports: ready_ports(routed, instance, template),
                running: balancer || matches!(phase, Phase::Running | Phase::Draining),
                health: seen.map(|s| s.health).unwrap_or_default(),
            },
        );
    }
}

fn add_names(cluster: &Cluster, view: &mut HostView) {
    let ids: Vec<InstanceId> = view.instances.keys().cloned().collect();
    let mut services: BTreeMap<String, Vec<InstanceId>> = BTreeMap::new();
    // Services without an instance have a name too: it is known and has no address.
    for service in cluster.services() {
        services.insert(dns_name(&service.id), vec![]);
    }
    for id in ids {
        let container = id.public_name().to_ascii_lowercase();
        let active = view.instances.get(&id).is_some_and(|i| i.admit == Admit::Active);
        // The instance that goes keeps its name until its successor is there.
        if active || !view.dns.names.contains_key(&container) {
            view.dns.names.insert(container, NameTarget::Instance(id.clone()));
        }
        services.entry(dns_name(&id.service)).or_default().push(id);
    }
    for (name, ids) in services {
        view.dns.names.insert(name, NameTarget::Service(ids));
    }
}

fn dns_name(id: &ServiceId) -> String {
    format!("{}.{}", id.service, id.stack).to_ascii_lowercase()
}

/// Host ports of containers: one listener for all instances of a service on this host.
fn add_host_ports(cluster: &Cluster, host: &HostId, view: &mut HostView) {
    for instance in cluster.instances().filter(|i| i.host == *host) {
        if !view.instances.contains_key(&instance.id) || instance.container_name.is_empty() {
            continue;
        }
        let template =
            cluster.revision(&instance.id.service, instance.target.revision).map(|r| &r.template);
        for port in &instance.ports {
            let Some(number) = port.host_port else { continue };
            let id = listener_id(port.host_ip, number, port.protocol);
            let upstream = format!("host:{id}");
            let endpoint =
                Endpoint { instance: instance.id.clone(), port: port.container_port, weight: 1 };
            view.upstreams
                .entry(upstream.clone())
                .or_insert_with(|| Upstream {
                    endpoints: vec![],
                    connect_timeout_ms: CONNECT_TIMEOUT_MS,
                    drain_ms: template.map_or(DRAIN_MS_DEFAULT, |t| t.drain_ms),
                })
                .endpoints
                .push(endpoint);
            view.listeners.entry(id).or_insert_with(|| Listener {
                ip: port.host_ip,
                port: number,
                transport: port.protocol,
                mode: match port.protocol {
                    Transport::Tcp => ListenerMode::Port { upstream },
                    Transport::Udp => ListenerMode::Forward { upstream },
                },
            });
        }
    }
}
