//! Entries of services that Remuda runs: one for each container and port.

use super::registrator::{self, Named, Offered};
use super::{Check, CheckStatus, Entry, Origin, Weights, is_there, service_name};
use crate::parts::{Part, in_host_network, parts};
use model::cluster::Cluster;
use model::health::Health;
use model::id::{InstanceId, ServiceId};
use model::instance::{Goal, Instance, InstanceStatus, Phase};
use model::service::{Kind, Template, Transport};
use std::collections::{BTreeMap, BTreeSet};

/// What is offered by the instances of a service: those whose containers run, as far as is known.
#[must_use]
pub fn of_service(cluster: &Cluster, service: &ServiceId) -> Vec<Entry> {
    cluster.instances_of(service).flat_map(|instance| of_instance(cluster, instance)).collect()
}

/// What is offered by the containers of one instance, as far as they run.
#[must_use]
pub fn of_instance(cluster: &Cluster, instance: &Instance) -> Vec<Entry> {
    if !is_there(cluster, &instance.host) {
        return vec![];
    }
    let revision = cluster.revision(&instance.id.service, instance.target.revision);
    let Some(template) = revision.map(|revision| &revision.template) else { return vec![] };
    if matches!(template.kind, Kind::Balancer(_)) {
        return of_balancer(instance, template);
    }
    let host = cluster.host(&instance.host).map(|host| host.facts.address.clone());
    let mut all = vec![];
    for part in parts(instance, template) {
        let Some(seen) = cluster.instance_status(&part.id).filter(|seen| is_up(seen.phase)) else {
            continue;
        };
        let shared = || in_host_network(template, part.name).then(|| host.clone()).flatten();
        let address = part.address.map(|address| address.to_string()).or_else(shared);
        let Some(address) = address else { continue };
        for named in named(instance, &part) {
            all.push(entry(instance, &part.id, seen, &address, named));
        }
    }
    all
}

/// What one container of an instance offers, whether it runs or not.
pub(crate) fn named(instance: &Instance, part: &Part<'_>) -> Vec<Named> {
    let name = match part.name {
        None => service_name(&instance.id.service),
        Some(sidekick) => format!("{}-{sidekick}", service_name(&instance.id.service)),
    };
    let words = registrator::words(&part.container.environment, &part.container.labels);
    registrator::services(&words, &name, &offered(part))
}

fn is_up(phase: Phase) -> bool {
    matches!(phase, Phase::Running | Phase::Draining)
}

/// Its declared ports, else the one that is checked, else none.
fn offered(part: &Part<'_>) -> Vec<Offered> {
    let one = |port, protocol| Offered { container_port: port, port, protocol };
    let declared = part.ports.iter().map(|port| one(port.container_port, port.protocol));
    let declared: BTreeSet<Offered> = declared.collect();
    if !declared.is_empty() {
        return declared.into_iter().collect();
    }
    let port = part.health_check.map_or(0, |check| check.port);
    vec![one(port, Transport::Tcp)]
}

fn entry(
    instance: &Instance,
    id: &InstanceId,
    seen: &InstanceStatus,
    address: &str,
    named: Named,
) -> Entry {
    let mut meta = named.meta;
    meta.insert("stack".into(), instance.id.service.stack.to_string());
    meta.insert("revision".into(), instance.target.revision.to_string());
    let weight = named.weight.unwrap_or(1);
    let service_id = named.id.unwrap_or_else(|| {
        let udp = if named.offered.protocol == Transport::Udp { ":udp" } else { "" };
        let container = match &id.sidekick {
            None => instance.container_name.clone(),
            Some(sidekick) => format!("{}:{sidekick}", instance.container_name),
        };
        format!("{}:{container}:{}{udp}", instance.host, named.offered.container_port)
    });
    Entry {
        node: instance.host.to_string(),
        checks: vec![check(instance, &service_id, &named.name, seen)],
        id: service_id,
        service: named.name,
        tags: named.tags,
        address: address.to_owned(),
        port: named.offered.port,
        meta,
        weights: Weights { passing: weight, warning: weight.min(1) },
        tagged: BTreeMap::new(),
        tag_override: false,
        origin: Origin::Instance(id.clone()),
    }
}

/// One that goes takes no new traffic; what has no check of its own is as well as its process.
fn check(instance: &Instance, id: &str, service: &str, seen: &InstanceStatus) -> Check {
    let (status, output) = match (instance.goal, seen.phase, seen.health) {
        (Goal::Run, Phase::Running, health) if health.serves() => {
            (CheckStatus::Passing, "it runs".to_owned())
        }
        (Goal::Run, Phase::Running, Health::Initializing) => {
            (CheckStatus::Critical, "it has not been healthy yet".to_owned())
        }
        (Goal::Run, Phase::Running, health) => {
            (CheckStatus::Critical, format!("{health}: {}", seen.reason))
        }
        (_, phase, _) => (CheckStatus::Critical, format!("{phase}, it is being stopped")),
    };
    Check {
        id: format!("service:{id}"),
        name: format!("Service '{service}' check"),
        status,
        output,
        ..Check::default()
    }
}

/// A balancer has no container: it is where its instance is, at the ports of its host.
fn of_balancer(instance: &Instance, template: &Template) -> Vec<Entry> {
    let Some(address) = instance.address.filter(|_| instance.goal == Goal::Run) else {
        return vec![];
    };
    let ports = template.ports.iter().map(|port| {
        let port = port.host_port.unwrap_or(port.container_port);
        Offered { container_port: port, port, protocol: Transport::Tcp }
    });
    let mut ports: Vec<Offered> = ports.collect();
    ports.dedup();
    if ports.is_empty() {
        ports.push(Offered { container_port: 0, port: 0, protocol: Transport::Tcp });
    }
    let name = service_name(&instance.id.service);
    let named = registrator::services(&BTreeMap::new(), &name, &ports);
    let seen = InstanceStatus { phase: Phase::Running, ..InstanceStatus::default() };
    let entries = named
        .into_iter()
        .map(|named| entry(instance, &instance.id, &seen, &address.to_string(), named));
    entries.collect()
}
