//! What one host may publish, derived from the cluster: names, callers, upstreams, listeners.

mod links;
mod routes;

use crate::host::search;
use crate::ledger;
use crate::parts::{Part, in_host_network, parts};
use model::cluster::Cluster;
use model::host::Environment;
use model::id::{HostId, InstanceId, ServiceId, ServiceName};
use model::instance::{Goal, Instance, Phase};
use model::limits::DNS_TTL_S;
use model::service::{Kind, PortMapping, Template, Transport};
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
                for target in links::behind(cluster, &rule.service) {
                    routed.entry(target).or_default().insert(rule.target_port);
                }
            }
        }
    }
    routed
}

/// Ports that must listen before the first request of a start is sent there: without any check of
/// the user, a balancer or host port never routes to a port that does not listen yet.
pub(crate) fn ready_ports(routed: &RoutedPorts, service: &ServiceId, part: &Part<'_>) -> Vec<u16> {
    let docker = part.container.healthcheck.as_ref();
    let has_docker_check =
        docker.is_some_and(|check| check.test.first().is_none_or(|word| word != "NONE"));
    if part.health_check.is_some() || has_docker_check || part.address.is_none() {
        return vec![];
    }
    let mut ports = match part.name {
        None => routed.get(service).cloned().unwrap_or_default(),
        Some(_) => BTreeSet::new(),
    };
    let tcp = part.ports.iter().filter(|p| p.protocol == Transport::Tcp);
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
            cnames: BTreeMap::new(),
        },
        callers: BTreeMap::new(),
        instances: BTreeMap::new(),
        upstreams: BTreeMap::new(),
        listeners: BTreeMap::new(),
    };
    let routed = routed_ports(cluster);
    add_instances(cluster, &routed, &mut view);
    links::add_outside(cluster, &mut view);
    add_names(cluster, &mut view);
    add_host_ports(cluster, host, &mut view);
    routes::add_balancers(cluster, host, &mut view);
    view.dns.names.insert("rancher-metadata".into(), NameTarget::Address(METADATA));
    view
}

fn add_instances(cluster: &Cluster, routed: &RoutedPorts, view: &mut HostView) {
    let mut aliases: BTreeMap<&ServiceId, BTreeMap<String, String>> = BTreeMap::new();
    for instance in cluster.instances() {
        let service = &instance.id.service;
        let Some(revision) = cluster.revision(service, instance.target.revision) else { continue };
        let template = &revision.template;
        if let (Kind::Balancer(_), Some(address)) = (&template.kind, instance.address) {
            if let Some(listed) = listed(cluster, instance, &instance.id, address) {
                view.instances
                    .insert(instance.id.clone(), ViewInstance { running: true, ..listed });
            }
            continue;
        }
        for part in parts(instance, template) {
            let hosts = || host_address(cluster, instance, template, part.name);
            let Some(address) = part.address.or_else(hosts) else { continue };
            let Some(mut listed) = listed(cluster, instance, &part.id, address) else { continue };
            if part.owns_address() {
                let search = search(&part.id, part.container);
                let known = || cluster.service(service).map(|s| links::aliases(cluster, s));
                let aliases =
                    aliases.entry(service).or_insert_with(|| known().unwrap_or_default()).clone();
                view.callers.insert(address, Caller { service: service.clone(), search, aliases });
            }
            listed.check = part.health_check.cloned();
            listed.ready_ports = ready_ports(routed, service, &part);
            view.instances.insert(part.id, listed);
        }
    }
}

/// The address of a container that is in its host's network.
fn host_address(
    cluster: &Cluster,
    instance: &Instance,
    template: &Template,
    name: Option<&ServiceName>,
) -> Option<Ipv4Addr> {
    let host = cluster.host(&instance.host).filter(|_| in_host_network(template, name))?;
    host.facts.address.parse().ok()
}

/// What a view says of one container; `None` when it is over.
fn listed(
    cluster: &Cluster,
    instance: &Instance,
    id: &InstanceId,
    address: Ipv4Addr,
) -> Option<ViewInstance> {
    let seen = cluster.instance_status(id);
    let phase = seen.map_or(Phase::Pending, |s| s.phase);
    let over = matches!(phase, Phase::Absent | Phase::Stopped | Phase::Completed);
    if instance.goal != Goal::Run && over {
        return None;
    }
    Some(ViewInstance {
        address,
        host: instance.host.clone(),
        admit: if instance.goal == Goal::Run { Admit::Active } else { Admit::Draining },
        check: None,
        ready_ports: vec![],
        running: matches!(phase, Phase::Running | Phase::Draining),
        health: seen.map(|s| s.health).unwrap_or_default(),
    })
}

fn add_names(cluster: &Cluster, view: &mut HostView) {
    let ids: Vec<InstanceId> = view.instances.keys().cloned().collect();
    let mut services: BTreeMap<String, Vec<InstanceId>> = BTreeMap::new();
    // Services without an instance have a name too: it is known and has no address.
    for service in cluster.services() {
        services.insert(dns_name(&service.id, None), vec![]);
        let revision = cluster.revision(&service.id, service.target.revision);
        for sidekick in revision.iter().flat_map(|r| r.template.sidekicks.keys()) {
            services.insert(dns_name(&service.id, Some(sidekick)), vec![]);
        }
    }
    for id in ids {
        if links::is_outside(&id) {
            services.entry(dns_name(&id.service, None)).or_default().push(id);
            continue;
        }
        let container = id.public_name().to_ascii_lowercase();
        let active = view.instances.get(&id).is_some_and(|i| i.admit == Admit::Active);
        // The instance that goes keeps its name until its successor is there.
        if active || !view.dns.names.contains_key(&container) {
            view.dns.names.insert(container, NameTarget::Instance(id.clone()));
        }
        services.entry(dns_name(&id.service, id.sidekick.as_ref())).or_default().push(id);
    }
    links::add_names(cluster, &mut services, view);
    for (name, ids) in services {
        view.dns.names.insert(name, NameTarget::Service(ids));
    }
}

/// `service.stack`, or `sidekick.service.stack`.
fn dns_name(id: &ServiceId, sidekick: Option<&ServiceName>) -> String {
    let name = match sidekick {
        None => format!("{}.{}", id.service, id.stack),
        Some(sidekick) => format!("{sidekick}.{}.{}", id.service, id.stack),
    };
    name.to_ascii_lowercase()
}

/// Host ports of containers: one listener for all instances of a service on this host.
fn add_host_ports(cluster: &Cluster, host: &HostId, view: &mut HostView) {
    for instance in cluster.instances().filter(|i| i.host == *host) {
        let service = &instance.id.service;
        let Some(revision) = cluster.revision(service, instance.target.revision) else { continue };
        let drain_ms = revision.template.drain_ms;
        for part in parts(instance, &revision.template) {
            if view.instances.contains_key(&part.id) {
                part.ports.iter().for_each(|port| add_host_port(&part.id, port, drain_ms, view));
            }
        }
    }
}

fn add_host_port(of: &InstanceId, port: &PortMapping, drain_ms: u64, view: &mut HostView) {
    let Some(number) = port.host_port else { return };
    let id = listener_id(port.host_ip, number, port.protocol);
    let upstream = format!("host:{id}");
    let empty = Upstream { endpoints: vec![], connect_timeout_ms: CONNECT_TIMEOUT_MS, drain_ms };
    let endpoint = Endpoint { instance: of.clone(), port: port.container_port, weight: 1 };
    view.upstreams.entry(upstream.clone()).or_insert(empty).endpoints.push(endpoint);
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
