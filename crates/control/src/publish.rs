//! What one host may publish, derived from the cluster: names, callers, upstreams, listeners.

mod catalog;
mod links;
mod peers;
pub mod plain;
mod publisher;
mod routes;

pub(crate) use catalog::Catalog;
pub(crate) use peers::peers;
pub use publisher::{Published, Publisher};

use crate::ledger;
use crate::parts::{Part, parts};
use crate::probing::Ring;
use model::change::Edit;
use model::cluster::Cluster;
use model::host::Environment;
use model::id::{HostId, InstanceId, ServiceId};
use model::instance::Instance;
use model::record::{Record, RecordKey};
use model::service::{Kind, PortMapping, Template, Transport};
use model::view::{Endpoint, HostView, Listener, ListenerMode, Upstream, VIEW_FORMAT};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

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

/// May an edit change what some host holds or publishes? What is not known to be without effect
/// counts as having one.
#[must_use]
pub fn concerns(before: Option<&Record>, edit: &Edit) -> bool {
    match (before, edit) {
        (_, Edit::Put(Record::Token(_)) | Edit::Delete(RecordKey::Token(_))) => false,
        (Some(Record::ServiceStatus(old)), Edit::Put(Record::ServiceStatus(new))) => {
            // Images that are kept for a rollback.
            old.revisions != new.revisions
        }
        (Some(Record::InstanceStatus(_, old)), Edit::Put(Record::InstanceStatus(_, new))) => {
            (old.phase, old.health, old.started_at) != (new.phase, new.health, new.started_at)
                || old.image_id != new.image_id
        }
        (Some(old), Edit::Put(new)) => old != new,
        _ => true,
    }
}

/// Derives what the host may publish.
#[must_use]
pub fn view(cluster: &Cluster, host: &HostId) -> HostView {
    let placed: Vec<&Arc<Instance>> = cluster.instances_on(host).collect();
    let catalog = Catalog::of(cluster, &routed_ports(cluster), &Ring::of(cluster), None);
    view_of(cluster, host, &catalog, &placed)
}

/// The same for many hosts of one cluster: the catalog is made once, and `placed` are the
/// instances of the host in the order of their ids.
pub(crate) fn view_of(
    cluster: &Cluster,
    host: &HostId,
    catalog: &Catalog,
    placed: &[&Arc<Instance>],
) -> HostView {
    let mut view = HostView {
        format: VIEW_FORMAT,
        environment: cluster.environment().map(|e| e.id.clone()).unwrap_or_default(),
        host: host.clone(),
        index: cluster.index(),
        dns: Arc::clone(&catalog.dns),
        callers: Arc::clone(&catalog.callers),
        instances: Arc::clone(&catalog.instances),
        upstreams: BTreeMap::new(),
        listeners: BTreeMap::new(),
    };
    add_host_ports(cluster, placed, &mut view);
    routes::add_balancers(cluster, placed, &mut view);
    view
}

/// Host ports of containers: one listener for all instances of a service on this host.
fn add_host_ports(cluster: &Cluster, placed: &[&Arc<Instance>], view: &mut HostView) {
    for instance in placed {
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
