//! Entries of plain containers, as Registrator made them.

use super::registrator::{self, Named, Offered};
use super::{Check, CheckStatus, Entry, Origin, Weights, checks, is_there};
use crate::publish::plain::{Reach, reach};
use model::cluster::Cluster;
use model::health::Health;
use model::plain::{PlainContainer, PlainId, PlainState};
use model::service::Transport;
use std::collections::{BTreeMap, BTreeSet};

/// What a plain container offers while it runs: with an address of the managed network its ports
/// there, else the ports that its host publishes.
#[must_use]
pub fn of_plain(cluster: &Cluster, id: &PlainId, plain: &PlainContainer) -> Vec<Entry> {
    if plain.state != PlainState::Running || !is_there(cluster, &id.host) {
        return vec![];
    }
    let (address, ports) = match reach(cluster, id, plain) {
        Reach::Own(address) => (address, exposed(plain)),
        Reach::Host(address) if plain.network == "host" => (address, exposed(plain)),
        Reach::Host(address) => (address, published(plain)),
        Reach::Nowhere => return vec![],
    };
    let words = registrator::words(&plain.variables, &plain.labels);
    let named = registrator::services(&words, &plain.image, &ports);
    let address = address.to_string();
    named.into_iter().map(|named| entry(cluster, id, plain, &address, named)).collect()
}

fn exposed(plain: &PlainContainer) -> Vec<Offered> {
    let all = plain.ports.iter().map(|port| Offered {
        container_port: port.container_port,
        port: port.container_port,
        protocol: port.protocol,
    });
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Docker tells a port once for each family: one of them is enough. What is bound to loopback
/// nobody else can call.
fn published(plain: &PlainContainer) -> Vec<Offered> {
    let others = plain.ports.iter().filter(|port| !port.host_ip.is_some_and(|ip| ip.is_loopback()));
    let all = others.filter_map(|port| {
        let host_port = port.host_port?;
        let container_port = port.container_port;
        Some(Offered { container_port, port: host_port, protocol: port.protocol })
    });
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

fn entry(
    cluster: &Cluster,
    id: &PlainId,
    plain: &PlainContainer,
    address: &str,
    named: Named,
) -> Entry {
    let weight = named.weight.unwrap_or(1);
    let service_id = named.id.clone().unwrap_or_else(|| {
        let udp = if named.offered.protocol == Transport::Udp { ":udp" } else { "" };
        format!("{}:{}:{}{udp}", id.host, plain.name, named.offered.container_port)
    });
    let (status, output) = match plain.health {
        _ if plain.stopping => (CheckStatus::Critical, "it is being stopped".to_owned()),
        Health::Unhealthy => (CheckStatus::Critical, "its HEALTHCHECK fails".to_owned()),
        Health::Initializing => {
            (CheckStatus::Critical, "its HEALTHCHECK has not passed yet".to_owned())
        }
        Health::Healthy | Health::Unchecked => (CheckStatus::Passing, "it runs".to_owned()),
    };
    let asked = checks::of_plain(cluster, id, plain, &service_id, address, &named);
    let docker = if asked.is_some() { "docker" } else { "service" };
    let check = Check {
        id: format!("{docker}:{service_id}"),
        name: format!("Service '{}' check", named.name),
        status,
        output,
        ..Check::default()
    };
    Entry {
        node: id.host.to_string(),
        id: service_id,
        service: named.name,
        tags: named.tags,
        address: address.to_owned(),
        port: named.offered.port,
        meta: named.meta,
        weights: Weights { passing: weight, warning: weight.min(1) },
        tagged: BTreeMap::new(),
        tag_override: false,
        origin: Origin::Plain(id.clone()),
        checks: asked
            .into_iter()
            .chain((docker == "service" || plain.health != Health::Unchecked).then_some(check))
            .collect(),
    }
}
