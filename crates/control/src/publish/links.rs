//! Services that are names for others: aliases and what is outside; and the further names by which
//! the containers of one service know other services.

use super::catalog::{Names, dns_name, listed};
use super::plain;
use super::relations::Relations;
use model::cluster::Cluster;
use model::health::Health;
use model::id::{HostId, InstanceId, ServiceId};
use model::record::Service;
use model::service::{Kind, Template};
use model::time::Timestamp;
use model::view::{Admit, ViewInstance};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Where things outside are, for who wants a host.
const OUTSIDE: &str = "outside";

fn template<'a>(cluster: &'a Cluster, service: &Service) -> Option<&'a Template> {
    cluster.revision(&service.id, service.target.revision).map(|revision| &revision.template)
}

/// The addresses of a service outside, and the plain containers that it selects, listed as if each
/// were an instance of it.
pub(super) fn outside(
    cluster: &Cluster,
    service: &ServiceId,
) -> BTreeMap<InstanceId, Arc<ViewInstance>> {
    let mut listed = BTreeMap::new();
    let Some(service) = cluster.service(service) else { return listed };
    let kind = template(cluster, service).map(|t| &t.kind);
    if let (Some(Kind::External(outside)), Ok(host)) = (kind, HostId::parse(OUTSIDE)) {
        for (n, address) in (1..).zip(&outside.addresses) {
            let IpAddr::V4(address) = *address else { continue };
            let one = ViewInstance {
                address,
                host: host.clone(),
                admit: Admit::Active,
                check: None,
                probers: vec![],
                run: Timestamp::default(),
                ready_ports: vec![],
                running: true,
                health: Health::Unchecked,
                counted: false,
                nobody_healthy: None,
            };
            listed.insert(InstanceId::new(service.id.clone(), n, 0), Arc::new(one));
        }
    }
    plain::add_selected(cluster, service, &mut listed);
    listed
}

/// Is it an address outside, or a plain container? No service ever gave the incarnation 0.
pub(super) fn is_outside(id: &InstanceId) -> bool {
    id.incarnation == 0
}

/// Everything that stands behind a service, aliases followed, circles cut.
pub(super) fn behind(cluster: &Cluster, service: &ServiceId) -> Vec<ServiceId> {
    walk(cluster, service).0
}

/// Everything that decides what stands behind a service: itself, the aliases among that, and it.
pub(super) fn met(cluster: &Cluster, service: &ServiceId) -> BTreeSet<ServiceId> {
    walk(cluster, service).1
}

fn walk(cluster: &Cluster, service: &ServiceId) -> (Vec<ServiceId>, BTreeSet<ServiceId>) {
    let mut found = vec![];
    let mut known = BTreeSet::new();
    let mut open = vec![service.clone()];
    while let Some(id) = open.pop() {
        if !known.insert(id.clone()) {
            continue;
        }
        let kind = cluster.service(&id).and_then(|s| template(cluster, s)).map(|t| &t.kind);
        match kind {
            Some(Kind::Alias(alias)) => open.extend(alias.targets.iter().rev().cloned()),
            _ => found.push(id),
        }
    }
    (found, known)
}

/// The host name outside that a service stands for.
fn outside_name<'a>(cluster: &'a Cluster, service: &ServiceId) -> Option<&'a str> {
    match cluster.service(service).and_then(|s| template(cluster, s)).map(|t| &t.kind) {
        Some(Kind::External(outside)) if !outside.hostname.is_empty() => Some(&outside.hostname),
        _ => None,
    }
}

/// What stands behind the name of a service that is no alias.
fn bearers(cluster: &Cluster, relations: &Relations, service: &ServiceId) -> Vec<InstanceId> {
    let name = dns_name(service, None);
    let kin = relations.kin(service);
    let same = kin.iter().filter(|other| dns_name(other, None) == name);
    let all = same.flat_map(|other| listed(cluster, other).into_keys());
    all.filter(|id| id.sidekick.is_none()).collect()
}

/// Names of aliases, and names that are other host names.
pub(super) fn add_names<'a>(
    cluster: &Cluster,
    relations: &Relations,
    of: impl Iterator<Item = &'a ServiceId> + Clone,
    services: &mut BTreeMap<String, Vec<InstanceId>>,
    made: &mut Names,
) {
    for id in of.clone() {
        let kind = cluster.service(id).and_then(|s| template(cluster, s)).map(|t| &t.kind);
        if !matches!(kind, Some(Kind::Alias(_))) {
            continue;
        }
        let targets = behind(cluster, id);
        let ids: Vec<InstanceId> =
            targets.iter().flat_map(|target| bearers(cluster, relations, target)).collect();
        // Addresses and a host name cannot stand beside each other: addresses are surer.
        if ids.is_empty()
            && let Some(hostname) = targets.iter().find_map(|id| outside_name(cluster, id))
        {
            made.cnames.insert(dns_name(id, None), host_name(hostname));
        }
        services.insert(dns_name(id, None), ids);
    }
    for id in of {
        let name = dns_name(id, None);
        if let Some(hostname) = outside_name(cluster, id)
            && services.get(&name).is_none_or(Vec::is_empty)
        {
            made.cnames.insert(name, host_name(hostname));
        }
    }
}

fn host_name(text: &str) -> String {
    text.trim_end_matches('.').to_ascii_lowercase()
}

/// The further names by which a service's containers know others: `alias` and `alias.<stack>`, each
/// with the name that is meant; and the services that are. What was linked by name is stronger than
/// what a selector finds.
pub(super) fn aliases(
    cluster: &Cluster,
    service: &Service,
) -> (BTreeMap<String, String>, BTreeSet<ServiceId>) {
    let mut names = BTreeMap::new();
    let mut targets = BTreeSet::new();
    let mut link = |alias: &str, target: &ServiceId| {
        targets.insert(target.clone());
        let meant = dns_name(target, None);
        let alias = alias.to_ascii_lowercase();
        let long = format!("{alias}.{}", target.stack).to_ascii_lowercase();
        for name in [alias, long] {
            if name != meant {
                names.entry(name).or_insert_with(|| meant.clone());
            }
        }
    };
    for one in &service.settings.links {
        link(&one.alias, &one.service);
    }
    if let Some(selector) = &service.settings.selector_link {
        for other in cluster.services().filter(|other| other.id != service.id) {
            let container = template(cluster, other).and_then(Template::container);
            if container.is_some_and(|container| selector.matches(&container.labels)) {
                link(other.id.service.as_str(), &other.id);
            }
        }
    }
    (names, targets)
}
