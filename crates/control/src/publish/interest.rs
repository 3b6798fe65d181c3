//! What a host has to do with. A small environment is known whole to every host. Of a large one a
//! host knows the stacks that have something on it, what those are linked to or lead to, what it
//! probes, and what was asked for there; of the rest it knows the names, and asks.

use super::exposure::Exposure;
use super::links;
use super::relations::Relations;
use model::cluster::Cluster;
use model::id::{HostId, ServiceId};
use model::service::Kind;
use std::collections::BTreeSet;

/// Is the environment too large to be known whole? Where it lies between, it stays as it was, so
/// that it does not go to and fro.
pub(super) fn is_partial(cluster: &Cluster, whole_max: usize, was: bool) -> bool {
    let few = if was { whole_max / 4 * 3 } else { whole_max };
    cluster.instance_count() > few
}

/// The services that a host has to do with; `asked` are the names that were asked for there.
pub(super) fn of(
    cluster: &Cluster,
    relations: &Relations,
    host: &HostId,
    asked: &BTreeSet<String>,
    exposure: &Exposure,
) -> BTreeSet<ServiceId> {
    let mut open: Vec<ServiceId> = vec![];
    let mut stacks = BTreeSet::new();
    for instance in cluster.instances_on(host) {
        let id = &instance.id.service;
        if stacks.insert(&id.stack) {
            open.extend(cluster.services_of(&id.stack).map(|service| service.id.clone()));
        }
        open.push(id.clone());
        open.extend(relations.linked.get(id).into_iter().flatten().cloned());
        let revision = cluster.revision(id, instance.target.revision);
        if let Some(Kind::Balancer(balancer)) = revision.map(|revision| &revision.template.kind) {
            open.extend(balancer.rules.iter().map(|rule| rule.service.clone()));
        }
    }
    if exposure.is_served_by(cluster, host) {
        open.extend(exposure.services().cloned());
    }
    open.extend(asked.iter().filter_map(|name| relations.named.get(name)).flatten().cloned());
    let mut known = BTreeSet::new();
    while let Some(id) = open.pop() {
        if known.contains(&id) {
            continue;
        }
        open.extend(links::behind(cluster, &id));
        open.extend(relations.kin(&id));
        known.insert(id);
    }
    known
}
