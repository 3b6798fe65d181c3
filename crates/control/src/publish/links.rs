//! Services that are names for others: aliases and what is outside; and the further names by which
//! the containers of one service know other services.

use super::catalog::{Draft, dns_name};
use model::cluster::Cluster;
use model::health::Health;
use model::id::{HostId, InstanceId, ServiceId};
use model::record::Service;
use model::service::{Kind, Template};
use model::time::Timestamp;
use model::view::{Admit, ViewInstance};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Where things outside are, for who wants a host.
const OUTSIDE: &str = "outside";

fn template<'a>(cluster: &'a Cluster, service: &Service) -> Option<&'a Template> {
    cluster.revision(&service.id, service.target.revision).map(|revision| &revision.template)
}

/// Lists the addresses of services outside as if each were an instance that always runs.
pub(super) fn add_outside(cluster: &Cluster, catalog: &mut Draft) {
    let Ok(host) = HostId::parse(OUTSIDE) else { return };
    for service in cluster.services() {
        let Some(Kind::External(outside)) = template(cluster, service).map(|t| &t.kind) else {
            continue;
        };
        for (n, address) in (1..).zip(&outside.addresses) {
            let IpAddr::V4(address) = *address else { continue };
            let listed = ViewInstance {
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
            };
            catalog.instances.insert(InstanceId::new(service.id.clone(), n, 0), listed);
        }
    }
}

/// Is it an address outside, or a plain container? No service ever gave the incarnation 0.
pub(super) fn is_outside(id: &InstanceId) -> bool {
    id.incarnation == 0
}

/// Everything that stands behind a service, aliases followed, circles cut.
pub(super) fn behind(cluster: &Cluster, service: &ServiceId) -> Vec<ServiceId> {
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
    found
}

/// Names of aliases, and names that are other host names.
pub(super) fn add_names(
    cluster: &Cluster,
    services: &mut BTreeMap<String, Vec<InstanceId>>,
    catalog: &mut Draft,
) {
    let mut hostnames: BTreeMap<&ServiceId, &str> = BTreeMap::new();
    let mut aliases: Vec<&ServiceId> = vec![];
    for service in cluster.services() {
        match template(cluster, service).map(|t| &t.kind) {
            Some(Kind::External(outside)) if !outside.hostname.is_empty() => {
                hostnames.insert(&service.id, &outside.hostname);
            }
            Some(Kind::Alias(_)) => aliases.push(&service.id),
            _ => {}
        }
    }
    for alias in aliases {
        let targets = behind(cluster, alias);
        let ids: Vec<InstanceId> = targets
            .iter()
            .filter_map(|id| services.get(&dns_name(id, None)))
            .flatten()
            .cloned()
            .collect();
        // Addresses and a host name cannot stand beside each other: addresses are surer.
        if ids.is_empty()
            && let Some(hostname) = targets.iter().find_map(|id| hostnames.get(id))
        {
            catalog.dns.cnames.insert(dns_name(alias, None), host_name(hostname));
        }
        services.insert(dns_name(alias, None), ids);
    }
    for (service, hostname) in hostnames {
        let name = dns_name(service, None);
        if services.get(&name).is_none_or(Vec::is_empty) {
            catalog.dns.cnames.insert(name, host_name(hostname));
        }
    }
}

fn host_name(text: &str) -> String {
    text.trim_end_matches('.').to_ascii_lowercase()
}

/// The further names by which a service's containers know others: `alias` and `alias.<stack>`, each
/// with the name that is meant. What was linked by name is stronger than what a selector finds.
pub(super) fn aliases(cluster: &Cluster, service: &Service) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let mut link = |alias: &str, target: &ServiceId| {
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
    names
}
