//! What clients of the Consul API registered, as it is exposed: by its tags, as containers are; its
//! health is that of its checks and of those of its node.

use super::offer::{Listed, Offer, Told, add, kinds};
use crate::catalog::{
    CheckStatus, Entry, NODE_CHECK, Node, node_named, of_node as entries, ours_on,
};
use crate::register::{NODE_MAINTENANCE, SERVICE_MAINTENANCE};
use model::cluster::Cluster;
use model::expose::Expose;
use model::health::Health;
use model::id::{HostId, InstanceId, ServiceId, ServiceName, StackName};
use model::limits::DRAIN_MS_DEFAULT;
use model::time::Timestamp;
use model::view::{Admit, Endpoint, ViewInstance};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The sidekick of the ids that stand for what clients registered.
const CLIENT: &str = "client";
/// The stack of them.
const STACK: &str = "registered";
/// Bytes of the hash that is told: as many as those of a plain container.
const HASH_BYTES: usize = 20;

/// What was registered on a node offers, and how views list it.
pub(super) fn of_node(cluster: &Cluster, settings: &Expose, name: &str) -> (Vec<Offer>, Listed) {
    let (mut offers, mut listed) = (vec![], Listed::new());
    // Most of what is registered has no such tag.
    let mut services = cluster.client_services_of(name);
    if !services.any(|one| kinds(settings, &one.tags).next().is_some()) {
        return (offers, listed);
    }
    let Some(node) = node_named(cluster, name) else { return (offers, listed) };
    let ours: BTreeSet<String> = ours_on(cluster, name).map(|entry| entry.id).collect();
    for entry in entries(cluster, name) {
        // What runs here is known better than anybody can tell.
        let wanted = kinds(settings, &entry.tags).next().is_some();
        let Some((id, host)) = id_of(&entry).filter(|_| wanted) else { continue };
        if ours.contains(&entry.id) {
            continue;
        }
        let worst = standing(&node, &entry);
        let weight = match worst {
            CheckStatus::Warning => entry.weights.warning,
            CheckStatus::Passing | CheckStatus::Critical => entry.weights.passing,
        };
        let address = address(&node, &entry);
        let endpoint = address.clone().map(|_| Endpoint {
            instance: id.clone(),
            port: entry.port,
            weight: u32::from(weight),
        });
        let Entry { service, tags, meta, .. } = &entry;
        add(
            settings,
            &Told { name: service, tags, meta, endpoint, drain_ms: DRAIN_MS_DEFAULT },
            &mut offers,
        );
        if let Ok(address) = address {
            listed.insert(id, Arc::new(seen(&node, &entry, host, address, worst)));
        }
    }
    (offers, listed)
}

/// The id under which views list an entry, and a host that there is not: nothing that a host sees
/// itself is about it.
fn id_of(entry: &Entry) -> Option<(InstanceId, HostId)> {
    let mut hash = Sha256::new();
    hash.update(entry.node.as_bytes());
    hash.update([0]);
    hash.update(entry.id.as_bytes());
    let hash = hash.finalize();
    let hex: String = hash.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect();
    let (stack, service) = (StackName::parse(STACK).ok()?, ServiceName::parse(&hex).ok()?);
    let sidekick = ServiceName::parse(CLIENT).ok();
    let id = InstanceId { sidekick, ..InstanceId::new(ServiceId { stack, service }, 0, 0) };
    Some((id, hex.parse().ok()?))
}

/// The worst of its checks and of those of its node.
fn standing(node: &Node, entry: &Entry) -> CheckStatus {
    let all = node.checks.iter().chain(&entry.checks).map(|check| check.status);
    all.max().unwrap_or(CheckStatus::Passing)
}

/// Where it can be called, or why nowhere.
fn address(node: &Node, entry: &Entry) -> Result<Ipv4Addr, String> {
    let text = if entry.address.is_empty() { &node.address } else { &entry.address };
    let of = format!("{} of node {}", entry.id, entry.node);
    let found: Ipv4Addr = text
        .parse()
        .map_err(|_other| format!("{of} is not served: its address {text:?} is no IPv4 address"))?;
    let of_this_host = found.is_loopback() || found.is_unspecified() || found.is_link_local();
    if of_this_host || found.is_multicast() || found.is_broadcast() {
        return Err(format!("{of} is not served: other hosts cannot call {found}"));
    }
    match entry.port {
        0 => Err(format!("{of} is not served: it was registered without a port")),
        _ => Ok(found),
    }
}

fn seen(
    node: &Node,
    entry: &Entry,
    host: HostId,
    address: Ipv4Addr,
    worst: CheckStatus,
) -> ViewInstance {
    // It was taken away on purpose, or its host is: it is not asked even when all others fail.
    let held = node.checks.iter().chain(&entry.checks).any(|check| {
        let away = [NODE_CHECK, NODE_MAINTENANCE].contains(&check.id.as_str())
            || check.id.starts_with(SERVICE_MAINTENANCE);
        away && check.status == CheckStatus::Critical
    });
    let checked = !entry.checks.is_empty() || node.checks.iter().any(|one| one.id != NODE_CHECK);
    ViewInstance {
        address,
        host,
        admit: if held { Admit::Draining } else { Admit::Active },
        check: None,
        probers: vec![],
        run: Timestamp::default(),
        ready_ports: vec![],
        running: true,
        health: match worst {
            CheckStatus::Critical => Health::Unhealthy,
            _ if checked => Health::Healthy,
            _ => Health::Unchecked,
        },
        counted: false,
        nobody_healthy: None,
    }
}
