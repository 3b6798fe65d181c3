//! What one host may publish, derived from the cluster: names, callers, upstreams, listeners.

mod catalog;
mod directory;
pub mod exposure;
mod follow;
mod interest;
mod links;
mod local;
mod metadata;
mod peers;
pub mod plain;
mod publisher;
mod relations;
mod routes;
mod touched;
mod ways;

pub(crate) use peers::peers;
pub use publisher::{Marks, News, Published, Publisher};

use crate::ledger;
use crate::parts::Part;
use crate::probing::Ring;
use exposure::Exposure;
use exposure::round::Part as ExposedPart;
use follow::World;
use local::Local;
use model::change::Edit;
use model::cluster::Cluster;
use model::host::Environment;
use model::id::{HostId, ServiceId};
use model::record::{Record, RecordKey};
use model::service::{Kind, Template, Transport};
use model::view::HostView;
use relations::Relations;
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

/// The services that each service has a link to, and what stands behind those that are other names.
pub(crate) fn linked(cluster: &Cluster) -> BTreeMap<ServiceId, BTreeSet<ServiceId>> {
    let each = cluster.services().map(|service| {
        let (_, targets) = links::aliases(cluster, service);
        let met = targets.iter().flat_map(|target| links::met(cluster, target));
        (service.id.clone(), met.collect())
    });
    each.filter(|(_, targets): &(_, BTreeSet<ServiceId>)| !targets.is_empty()).collect()
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
            // And what metadata says of the service.
            (&old.revisions, &old.rollout, &old.scaled)
                != (&new.revisions, &new.rollout, &new.scaled)
                || (&old.blocked, old.incarnations) != (&new.blocked, new.incarnations)
        }
        (Some(Record::InstanceStatus(_, old)), Edit::Put(Record::InstanceStatus(_, new))) => {
            (old.phase, old.health, old.started_at) != (new.phase, new.health, new.started_at)
                || (&old.image_id, &old.container_id) != (&new.image_id, &new.container_id)
                || old.restarts != new.restarts
        }
        (Some(old), Edit::Put(new)) => old != new,
        _ => true,
    }
}

/// Derives what the host may publish when it is told of everything.
#[must_use]
pub fn view(cluster: &Cluster, host: &HostId) -> HostView {
    derive(cluster, host, None)
}

/// Derives what the host may publish when it is told of what it has to do with; `asked` are the
/// names that were asked for there.
#[must_use]
pub fn partial_view(cluster: &Cluster, host: &HostId, asked: &BTreeSet<String>) -> HostView {
    derive(cluster, host, Some(asked))
}

fn derive(cluster: &Cluster, host: &HostId, asked: Option<&BTreeSet<String>>) -> HostView {
    let (relations, ring) = (Relations::of(cluster), Ring::of(cluster));
    let world = World { cluster, relations: &relations, ring: &ring };
    let exposure = Exposure::of(cluster);
    let serves = exposure.is_served_by(cluster, host);
    let (dns, mut instances) = match asked {
        None => world.all(),
        Some(asked) => {
            let mut probing = publisher::probing(cluster, &relations, &ring);
            let interest = interest::of(cluster, &relations, host, asked, &exposure);
            world.part(&interest, &probing.remove(host).unwrap_or_default())
        }
    };
    if asked.is_none() || serves {
        exposure.add_to(&mut instances);
    }
    let local = Local::of(cluster, host);
    let exposed = ExposedPart::of(&exposure, cluster, host, &local);
    let Local { mut upstreams, mut listeners, floating, checks, .. } = local;
    upstreams.extend(exposure.upstreams().filter(|_| serves));
    listeners.extend(exposed.listeners);
    let callers = Arc::new(catalog::callers(cluster, &relations, host));
    let (index, partial) = (cluster.index(), asked.is_some());
    let empty = empty(cluster, host);
    let told = asked.map(directory::asked);
    let settings = catalog::settings(cluster).consul;
    let catalog = Arc::new(directory::Directory::of(cluster).view(
        &settings,
        catalog::access(cluster),
        told.as_ref(),
    ));
    let meta = metadata::whole(cluster, &relations, &ring);
    let meta = match asked {
        None => meta,
        Some(asked) => {
            let interest = interest::of(cluster, &relations, host, asked, &exposure);
            metadata::Scope::of(host, asked, interest).part(&meta)
        }
    };
    let empty = HostView { catalog, meta, ..empty };
    let view = HostView { index, partial, dns, instances, callers, upstreams, ..empty };
    HostView { listeners, floating, checks, ..view }
}

fn empty(cluster: &Cluster, host: &HostId) -> HostView {
    HostView::empty(cluster.environment().map_or("", |e| &e.id), host)
}
