//! What labels make of a container, and what the catalog says of hosts that go.

use super::registrator::{Named, Offered, services, words};
use super::{Catalog, CheckStatus, of_plain};
use model::change::{Change, Edit};
use model::cluster::Cluster;
use model::health::Health;
use model::host::{Environment, Host, HostLink};
use model::plain::{PlainContainer, PlainId, PlainPort, PlainState};
use model::record::Record;
use model::service::Transport;
use model::time::Index;
use std::collections::BTreeMap;
use std::sync::Arc;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn tcp(container_port: u16, port: u16) -> Offered {
    Offered { container_port, port, protocol: Transport::Tcp }
}

fn of(labels: &[(&str, &str)], ports: &[Offered]) -> Vec<Named> {
    services(&words(&BTreeMap::new(), &map(labels)), "hub.example:5000/team/web:1.2", ports)
}

#[test]
fn a_name_comes_from_its_port_then_from_all_then_from_the_image() {
    let one = [tcp(80, 32768)];
    let two = [tcp(80, 32768), tcp(443, 32769)];
    for (labels, ports, names) in [
        (&[][..], &one[..], &["web"][..]),
        (&[], &two, &["web-80", "web-443"]),
        (&[("SERVICE_NAME", "shop")], &one, &["shop"]),
        (&[("SERVICE_NAME", "shop")], &two, &["shop-80", "shop-443"]),
        (&[("SERVICE_NAME", "shop"), ("SERVICE_443_NAME", "tls")], &two, &["shop-80", "tls"]),
        (&[("SERVICE_443_IGNORE", "yes")], &two, &["web-80"]),
        (&[("SERVICE_IGNORE", "true")], &two, &[]),
        (&[("SERVICE_IGNORE", "false")], &one, &["web"]),
        (&[("service_name", "low")], &one, &["web"]),
        (&[("SERVICE_NAME", "a/b\n")], &one, &["a-b"]),
    ] {
        let found: Vec<String> = of(labels, ports).into_iter().map(|n| n.name).collect();
        assert_eq!(found, names, "{labels:?}");
    }
}

#[test]
fn tags_keep_their_order_and_a_comma_can_be_in_one() {
    let tagged = |text| of(&[("SERVICE_TAGS", text)], &[tcp(80, 80)]).remove(0).tags;
    assert_eq!(tagged("http,v1,eu"), ["http", "v1", "eu"]);
    assert_eq!(tagged("a\\,b, c ,,d"), ["a,b", "c", "d"]);
    let udp = Offered { container_port: 53, port: 53, protocol: Transport::Udp };
    assert_eq!(of(&[("SERVICE_TAGS", "dns")], &[udp]).remove(0).tags, ["dns", "udp"]);
}

#[test]
fn other_words_are_meta_labels_are_above_variables_and_secrets_stay() {
    let variables = map(&[("SERVICE_REGION", "eu"), ("SERVICE_X", "1"), ("SERVICE_PASSWORD", "p")]);
    let labels =
        map(&[("SERVICE_X", "2"), ("SERVICE_80_CHECK_HTTP", "/ping"), ("SERVICE_WEIGHT", "7")]);
    let all = services(&words(&variables, &labels), "web", &[tcp(80, 80)]);
    let meta = [("check_http", "/ping"), ("region", "eu"), ("weight", "7"), ("x", "2")];
    assert_eq!(all[0].meta, map(&meta));
    assert_eq!(all[0].check, map(&[("http", "/ping")]));
    assert_eq!(all[0].weight, Some(7));
}

fn world(status: HostLink, plain: PlainContainer) -> (Cluster, PlainId) {
    let mut cluster = Cluster::default();
    let facts = model::host::HostFacts { address: "10.0.0.7".into(), ..Default::default() };
    let host = Host {
        id: "h1".parse().unwrap(),
        facts,
        status,
        changed_at: Default::default(),
        unheard_since: Default::default(),
        scheduling: Default::default(),
        labels: BTreeMap::new(),
        reason: "the cable".into(),
        membership: Default::default(),
    };
    let id = PlainId { host: host.id.clone(), container: "abc".parse().unwrap() };
    let environment = Environment::new("e".into(), "e", "10.42.0.0/16".parse().unwrap());
    let records = [
        Record::Environment(Arc::new(environment)),
        Record::Host(Arc::new(host)),
        Record::Plain(id.clone(), Arc::new(plain)),
    ];
    let edits = records.into_iter().map(Edit::Put).collect();
    cluster.apply(Index(1), &Change { edits });
    (cluster, id)
}

fn published() -> PlainContainer {
    let port = |ip: &str| PlainPort {
        container_port: 9999,
        protocol: Transport::Tcp,
        host_port: Some(32768),
        host_ip: Some(ip.parse().unwrap()),
    };
    PlainContainer {
        name: "front".into(),
        image: "front".into(),
        state: PlainState::Running,
        network: "default".into(),
        ports: vec![port("0.0.0.0"), port("::")],
        ..PlainContainer::default()
    }
}

#[test]
fn a_published_port_is_one_entry_at_its_host_while_the_host_is_not_lost() {
    for (status, entries) in
        [(HostLink::Active, 1), (HostLink::Disconnected, 1), (HostLink::Lost, 0)]
    {
        let (cluster, _) = world(status, published());
        let catalog = Catalog::of(&cluster);
        let found = catalog.services.get("front").map_or(0, BTreeMap::len);
        assert_eq!(found, entries, "{status:?}");
        let wanted = if entries == 0 { CheckStatus::Critical } else { CheckStatus::Passing };
        assert_eq!(catalog.nodes["h1"].checks[0].status, wanted);
    }
    let (cluster, id) = world(HostLink::Active, published());
    let entry = of_plain(&cluster, &id, cluster.plain(&id).unwrap()).remove(0);
    assert_eq!((entry.address.as_str(), entry.port), ("10.0.0.7", 32768));
    assert_eq!(entry.id, "h1:front:9999");
}

#[test]
fn what_does_not_run_or_nobody_can_call_is_not_listed_and_health_is_dockers() {
    let loopback = |mut plain: PlainContainer| {
        plain.ports.iter_mut().for_each(|port| port.host_ip = Some("127.0.0.1".parse().unwrap()));
        plain
    };
    for (plain, entries) in [
        (PlainContainer { state: PlainState::Exited, ..published() }, 0),
        (PlainContainer { state: PlainState::Paused, ..published() }, 0),
        (PlainContainer { ports: vec![], ..published() }, 0),
        (loopback(published()), 0),
        (published(), 1),
    ] {
        let (cluster, id) = world(HostLink::Active, plain.clone());
        assert_eq!(of_plain(&cluster, &id, &plain).len(), entries, "{plain:?}");
    }
    for (health, status) in [
        (Health::Unchecked, CheckStatus::Passing),
        (Health::Healthy, CheckStatus::Passing),
        (Health::Initializing, CheckStatus::Critical),
        (Health::Unhealthy, CheckStatus::Critical),
    ] {
        let (cluster, id) = world(HostLink::Active, PlainContainer { health, ..published() });
        let entry = of_plain(&cluster, &id, cluster.plain(&id).unwrap()).remove(0);
        assert_eq!(entry.checks[0].status, status, "{health:?}");
    }
}
