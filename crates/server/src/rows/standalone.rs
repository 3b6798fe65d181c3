//! Rows of plain containers: how each is reached, and what keeps it from the managed network.

use api::wire::StandaloneRow;
use control::publish::plain::{self, Named, Reach};
use model::cluster::Cluster;
use model::plain::{
    NETWORK, PlainContainer, PlainId, PlainPort, PlainState, asks_for_network, has_own_network,
};
use std::collections::BTreeMap;

/// The first of our zones, in which names are told.
const ZONE: &str = "rancher.internal";

fn port_text(port: &PlainPort) -> String {
    let inside = format!("{}/{}", port.container_port, port.protocol);
    match (port.host_ip, port.host_port) {
        (Some(ip), Some(number)) => format!("{ip}:{number}->{inside}"),
        (None, Some(number)) => format!("{number}->{inside}"),
        (_, None) => inside,
    }
}

/// Is it in the managed network with the address that was decided?
fn is_connected(cluster: &Cluster, id: &PlainId, plain: &PlainContainer) -> bool {
    let decided = cluster.attachment(id).map(|attachment| attachment.address);
    decided.is_some() && plain.addresses.get(NETWORK).copied() == decided
}

fn reason(
    cluster: &Cluster,
    id: &PlainId,
    plain: &PlainContainer,
    named: Option<&Named>,
) -> String {
    let mut parts = vec![];
    let up = plain.state.is_up();
    if let Some(host) = cluster.host(&id.host).filter(|host| !host.is_observed()) {
        parts.push(format!("host {} is not heard: this is from before", host.id));
    }
    if !plain.problem.is_empty() {
        parts.push(plain.problem.clone());
    } else if asks_for_network(&plain.labels) && !has_own_network(&plain.network) {
        let whose = if plain.network == "host" { "its host" } else { "another container" };
        parts.push(format!("it has the network of {whose} and cannot be in the managed one"));
    } else if up && plain.is_to_join() && cluster.attachment(id).is_none() {
        parts.push("waits for an address in the managed network".to_owned());
    } else if up && plain.is_to_join() && !is_connected(cluster, id, plain) {
        parts.push("is about to be connected to the managed network".to_owned());
    }
    if let Some(other) = named.filter(|named| named.id != *id) {
        let name = plain::dns_name(&plain.name);
        parts.push(format!("the name {name} leads to the one on host {}", other.id.host));
    }
    parts.join("; ")
}

/// All plain containers, by host and name.
#[must_use]
pub(crate) fn standalone_rows(cluster: &Cluster) -> Vec<StandaloneRow> {
    let names = plain::names(cluster);
    let mut rows: Vec<StandaloneRow> =
        cluster.plains().map(|(id, plain)| row(cluster, id, plain, &names)).collect();
    rows.sort_by(|a, b| (&a.host, &a.name).cmp(&(&b.host, &b.name)));
    rows
}

fn row(
    cluster: &Cluster,
    id: &PlainId,
    plain: &PlainContainer,
    names: &BTreeMap<String, Named>,
) -> StandaloneRow {
    let reach = plain::reach(cluster, id, plain);
    let name = plain::dns_name(&plain.name);
    let named = names.get(&name).filter(|_| reach != Reach::Nowhere);
    let joins = plain.is_to_join();
    let connected = is_connected(cluster, id, plain);
    StandaloneRow {
        kind: "standalone".into(),
        name: plain.name.clone(),
        host: id.host.to_string(),
        status: plain.state.to_string(),
        health: plain.health,
        ready: plain.state == PlainState::Running && plain.health.serves() && (connected || !joins),
        address: match reach {
            Reach::Own(address) | Reach::Host(address) => address.to_string(),
            Reach::Nowhere => String::new(),
        },
        dns: named
            .filter(|named| named.id == *id)
            .map(|_| format!("{name}.{ZONE}"))
            .unwrap_or_default(),
        ports: plain.ports.iter().map(port_text).collect(),
        network: if connected { "managed".into() } else { plain.network.clone() },
        image: plain.image.clone(),
        container_name: plain.name.clone(),
        container_id: id.container.to_string(),
        created_at: plain.created_at,
        started_at: plain.state.is_up().then_some(plain.started_at),
        exit_code: plain.exit_code,
        labels: plain.labels.clone(),
        variables: plain.variables.clone(),
        reason: reason(cluster, id, plain, named),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::change::{Change, Edit};
    use model::health::Health;
    use model::host::{Environment, Host, HostFacts, HostLink, Scheduling};
    use model::plain::{Attachment, LABEL_NETWORK};
    use model::record::Record;
    use model::service::Transport;
    use model::time::{Index, Timestamp};
    use std::sync::Arc;

    fn cluster(link: HostLink, records: Vec<Record>) -> Cluster {
        let subnet = "10.42.0.0/16".parse().unwrap();
        let host = Host {
            id: "h1".parse().unwrap(),
            facts: HostFacts { address: "192.0.2.1".into(), ..HostFacts::default() },
            status: link,
            changed_at: Timestamp(0),
            unheard_since: Timestamp(0),
            scheduling: Scheduling::Active,
            labels: BTreeMap::new(),
            reason: String::new(),
            membership: model::host::Membership::default(),
        };
        let base = [
            Record::Environment(Arc::new(Environment::new("e1".into(), "default", subnet))),
            Record::Host(Arc::new(host)),
        ];
        let edits = base.into_iter().chain(records).map(Edit::Put).collect();
        let mut cluster = Cluster::default();
        cluster.apply(Index(1), &Change { edits });
        cluster
    }

    fn joins(network: &str) -> PlainContainer {
        PlainContainer {
            name: "redis".into(),
            state: PlainState::Running,
            network: network.into(),
            labels: [(LABEL_NETWORK.to_owned(), "true".to_owned())].into(),
            ..PlainContainer::default()
        }
    }

    fn shown(link: HostLink, plain: PlainContainer, address: Option<&str>) -> StandaloneRow {
        let id: PlainId = "h1/ab".parse().unwrap();
        let mut records = vec![Record::Plain(id.clone(), Arc::new(plain))];
        if let Some(address) = address {
            let address = address.parse().unwrap();
            records.push(Record::Attachment(Arc::new(Attachment { id, address })));
        }
        standalone_rows(&cluster(link, records)).remove(0)
    }

    #[test]
    fn a_row_says_how_it_is_reached_and_what_keeps_it() {
        let connected = || {
            let mut one = joins("default");
            one.addresses.insert(NETWORK.into(), "10.42.7.7".parse().unwrap());
            one
        };
        let sick = PlainContainer { health: Health::Unhealthy, ..connected() };
        let trouble = PlainContainer { problem: "Address already in use".into(), ..joins("none") };
        let published = PlainContainer {
            name: "web".into(),
            state: PlainState::Running,
            network: "default".into(),
            ports: vec![PlainPort {
                container_port: 80,
                protocol: Transport::Tcp,
                host_port: Some(8080),
                host_ip: None,
            }],
            ..PlainContainer::default()
        };
        let active = HostLink::Active;
        for (row, ready, address, dns, reason) in [
            (shown(active, joins("default"), None), false, "", "", "waits for an address"),
            (shown(active, joins("none"), Some("10.42.7.7")), false, "", "", "about to be"),
            (
                shown(active, connected(), Some("10.42.7.7")),
                true,
                "10.42.7.7",
                "redis.rancher.internal",
                "",
            ),
            (
                shown(active, sick, Some("10.42.7.7")),
                false,
                "10.42.7.7",
                "redis.rancher.internal",
                "",
            ),
            (shown(active, trouble, Some("10.42.7.7")), false, "", "", "already in use"),
            (
                shown(active, joins("host"), None),
                true,
                "192.0.2.1",
                "redis.rancher.internal",
                "network of its host",
            ),
            (shown(active, joins("container:ab"), None), true, "", "", "of another container"),
            (shown(active, published, None), true, "192.0.2.1", "web.rancher.internal", ""),
            (
                shown(HostLink::Lost, connected(), Some("10.42.7.7")),
                true,
                "10.42.7.7",
                "redis.rancher.internal",
                "host h1 is not heard",
            ),
        ] {
            assert_eq!((row.ready, row.address.as_str(), row.dns.as_str()), (ready, address, dns));
            assert!(row.reason.contains(reason), "{reason:?}: {row:?}");
            assert_eq!(row.reason.is_empty(), reason.is_empty(), "{row:?}");
        }
    }
}
