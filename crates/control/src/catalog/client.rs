//! Nodes and entries that clients registered, and how their checks stand.

use super::{
    Check, CheckStatus, Entry, NODE_CHECK, Node, Origin, Weights, node_check, of_instance, of_plain,
};
use model::cluster::Cluster;
use model::id::HostId;
use model::registration::{CheckProbe, CheckState, ClientCheck, ClientKey, ClientNode};
use std::sync::Arc;

/// A node that a client registered.
#[must_use]
pub fn of_client_node(cluster: &Cluster, node: &ClientNode) -> Node {
    Node {
        name: node.name.clone(),
        id: node.id.clone(),
        address: node.address.clone(),
        tagged_addresses: node.tagged_addresses.clone(),
        meta: node.meta.clone(),
        host: None,
        checks: node_checks(cluster, &node.name),
    }
}

/// The checks that clients registered for a node itself.
#[must_use]
pub fn node_checks(cluster: &Cluster, node: &str) -> Vec<Check> {
    let own = cluster.client_checks_of(node).filter(|check| check.service.is_empty());
    own.map(|check| of_check(cluster, check)).collect()
}

/// What clients registered on a node, by id. All of it follows from the records of that node alone,
/// and from its host.
#[must_use]
pub fn of_node(cluster: &Cluster, node: &str) -> Vec<Entry> {
    let mut checks: Vec<&Arc<ClientCheck>> =
        cluster.client_checks_of(node).filter(|check| !check.service.is_empty()).collect();
    checks.sort_by(|a, b| (&a.service, &a.key.id).cmp(&(&b.service, &b.key.id)));
    let all = cluster.client_services_of(node).map(|service| {
        let from = checks.partition_point(|check| check.service < service.key.id);
        let own = checks[from..].iter().take_while(|check| check.service == service.key.id);
        Entry {
            node: node.to_owned(),
            id: service.key.id.clone(),
            service: service.service.clone(),
            tags: service.tags.clone(),
            address: service.address.clone(),
            port: service.port,
            meta: service.meta.clone(),
            weights: Weights { passing: service.weight_passing, warning: service.weight_warning },
            tagged: service.tagged_addresses.clone(),
            tag_override: service.enable_tag_override,
            origin: Origin::Client,
            checks: own.map(|check| of_check(cluster, check)).collect(),
        }
    });
    all.collect()
}

/// Is a service of a node one that runs here as a container? Clients cannot change it.
#[must_use]
pub fn is_ours(cluster: &Cluster, node: &str, service: &str) -> bool {
    ours_on(cluster, node).any(|entry| entry.id == service)
}

/// What runs on a node as containers of ours or of others.
pub fn ours_on(cluster: &Cluster, node: &str) -> impl Iterator<Item = Entry> {
    let host = node.parse::<HostId>().ok();
    host.into_iter().flat_map(move |host| {
        let instances = cluster.instances_on(&host).flat_map(|one| of_instance(cluster, one));
        let plain = cluster.plains_on(&host).flat_map(|(id, plain)| of_plain(cluster, id, plain));
        instances.chain(plain).collect::<Vec<_>>()
    })
}

/// Is a check of a node one that we make ourselves? Clients cannot change it.
#[must_use]
pub fn is_our_check(cluster: &Cluster, node: &str, check: &str) -> bool {
    let is_host = node.parse::<HostId>().is_ok_and(|host| cluster.host(&host).is_some());
    let service = check.strip_prefix("service:").or_else(|| check.strip_prefix("docker:"));
    (check == NODE_CHECK && is_host) || service.is_some_and(|id| is_ours(cluster, node, id))
}

/// A check as it stands.
#[must_use]
pub(super) fn of_check(cluster: &Cluster, check: &ClientCheck) -> Check {
    let (status, output) = match &check.plan.probe {
        CheckProbe::Alias { service } => alias(cluster, check, service),
        _ => stands(cluster, check),
    };
    Check {
        id: check.key.id.clone(),
        name: check.name.clone(),
        status,
        notes: check.notes.clone(),
        output,
        kind: check.plan.kind().to_owned(),
    }
}

/// What is known of a check that is asked or told.
#[must_use]
pub fn stands(cluster: &Cluster, check: &ClientCheck) -> (CheckStatus, String) {
    let state = cluster.check_state(&check.key).filter(|state| state.run == check.since);
    state.map_or_else(
        || (check.status, String::new()),
        |state: &Arc<CheckState>| (state.status, state.output.clone()),
    )
}

/// As well as the worst check of a service of the same node and of the node. Other aliases are left
/// out, so that two that name each other say something.
fn alias(cluster: &Cluster, of: &ClientCheck, service: &str) -> (CheckStatus, String) {
    let node = of.key.node.as_str();
    let key = ClientKey::new(node, service);
    if !service.is_empty() && cluster.client_service(&key).is_none() {
        let why = format!("Service {service} could not be found on node {node}");
        return (CheckStatus::Critical, why);
    }
    let others = cluster.client_checks_of(node).filter(|check| {
        let is_alias = matches!(check.plan.probe, CheckProbe::Alias { .. });
        !is_alias && (check.service.is_empty() || check.service == service)
    });
    let mut worst = (CheckStatus::Passing, "All checks passing.".to_owned());
    let host = node.parse::<HostId>().ok().and_then(|id| cluster.host(&id));
    let host = host.map(|host| (NODE_CHECK.to_owned(), node_check(host).status));
    let found = others.map(|check| (check.name.clone(), stands(cluster, check).0));
    for (name, status) in host.into_iter().chain(found) {
        if status > worst.0 {
            worst = (status, format!("Aliased check \"{name}\" failing"));
        }
    }
    worst
}

#[cfg(test)]
mod tests;
