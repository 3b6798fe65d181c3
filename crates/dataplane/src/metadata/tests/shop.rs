//! An environment of two hosts and two stacks, seen from the first host.

use crate::metadata::World;
use model::balancer::{BalancerProtocol, PortRule};
use model::health::{Health, HealthCheck};
use model::id::{InstanceId, ServiceId};
use model::metadata::{
    MetaContainer, MetaEnvironment, MetaHost, MetaKind, MetaNetwork, MetaPart, MetaPlain,
    MetaService, MetaState, MetaView, ServiceFacts,
};
use model::service::{PortMapping, Transport};
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A container of ours on this host, and its sidekick.
pub(super) const WEB_1: &str = "shop/Web#1@7";
pub(super) const WEB_1_LOG: &str = "shop/Web#1@7+log";
/// Its address.
pub(super) const WEB: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 42, 0, 2));
/// The address of nobody.
pub(super) const OUTSIDER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

fn container(host: &str, address: Option<&str>, network: MetaNetwork) -> MetaContainer {
    MetaContainer {
        host: host.parse().unwrap(),
        host_address: if host == "alpha" { "192.0.2.1" } else { "192.0.2.2" }.into(),
        address: address.map(|address| address.parse().unwrap()),
        network,
        revision: 1,
        ports: vec![],
        state: MetaState::Running,
        health: Health::Unchecked,
        container_id: "c1".into(),
        started_at: Some(Timestamp(5)),
        starts: 1,
        probers: vec![],
    }
}

fn port(
    host_ip: Option<&str>,
    host_port: u16,
    container_port: u16,
    protocol: Transport,
) -> PortMapping {
    let host_ip = host_ip.map(|ip| ip.parse().unwrap());
    PortMapping { host_ip, host_port: Some(host_port), container_port, protocol }
}

fn web() -> MetaService {
    let ports = vec![
        port(None, 8080, 80, Transport::Tcp),
        port(Some("127.0.0.1"), 9090, 90, Transport::Udp),
    ];
    let primary = MetaPart {
        labels: [("team".to_owned(), "blue".to_owned())].into(),
        ports: ports.clone(),
        health_check: Some(HealthCheck::tcp(80)),
        ..MetaPart::default()
    };
    let parts: BTreeMap<String, MetaPart> =
        [(String::new(), primary), ("log".to_owned(), MetaPart::default())].into();
    let metadata = serde_json::json!({
        "deep": {"KEY3": "true", "list": [1, 2.5, {"name": "two", "x": "y"}, null]},
        "a b/c": "slash",
        "words": ["", "- x: y #", "no", "1e3", " lead", "two\nlines", "ü\u{1}\"\\", "0x1f", "~"],
    });
    let facts = ServiceFacts {
        state: "active".into(),
        scale: 2,
        create_index: 8,
        metadata: serde_json::from_value(metadata).unwrap(),
        links: [("other/db".to_owned(), "database".to_owned())].into(),
        revision: 1,
        ..ServiceFacts::default()
    };
    let revisions = Arc::new([(1, parts)].into());
    let mut service = MetaService { facts: Arc::new(facts), revisions, ..MetaService::default() };
    let first = MetaContainer {
        ports,
        health: Health::Healthy,
        probers: vec!["beta".parse().unwrap(), "alpha".parse().unwrap()],
        ..container("alpha", Some("10.42.0.2"), MetaNetwork::Managed)
    };
    let second = container("beta", Some("10.42.1.2"), MetaNetwork::Managed);
    let log = |host, address| container(host, Some(address), MetaNetwork::Of(None));
    for (id, one) in [
        (WEB_1, first),
        (WEB_1_LOG, log("alpha", "10.42.0.2")),
        ("shop/Web#2@8", second),
        ("shop/Web#2@8+log", log("beta", "10.42.1.2")),
    ] {
        service.containers.insert_mut(id.parse().unwrap(), Arc::new(one));
    }
    service
}

fn balancer() -> MetaService {
    let rule = PortRule {
        source_port: 80,
        protocol: BalancerProtocol::Http,
        hostname: "shop.test".into(),
        path: "/".into(),
        priority: 1,
        service: "shop/Web".parse().unwrap(),
        target_port: 80,
        weight: 1,
        backend_name: String::new(),
    };
    let facts = ServiceFacts {
        kind: MetaKind::Balancer,
        state: "active".into(),
        scale: 1,
        revision: 1,
        rules: vec![rule],
        ..ServiceFacts::default()
    };
    let revisions = Arc::new([(1, [(String::new(), MetaPart::default())].into())].into());
    let mut service = MetaService { facts: Arc::new(facts), revisions, ..MetaService::default() };
    let id: InstanceId = "shop/lb#1@1".parse().unwrap();
    let one = container("alpha", Some("10.42.0.9"), MetaNetwork::Managed);
    service
        .containers
        .insert_mut(id, Arc::new(MetaContainer { container_id: String::new(), ..one }));
    service
}

fn far() -> MetaService {
    let facts = ServiceFacts {
        kind: MetaKind::External,
        external_ips: vec!["198.51.100.7".parse().unwrap()],
        revision: 1,
        ..ServiceFacts::default()
    };
    MetaService { facts: Arc::new(facts), ..MetaService::default() }
}

/// A service with one container.
fn simple(id: &str, address: &str) -> MetaService {
    let facts = ServiceFacts {
        scale: 1,
        revision: 1,
        selected: vec!["alpha/ab12".into(), "gone/ab12".into()],
        ..ServiceFacts::default()
    };
    let revisions = Arc::new([(1, [(String::new(), MetaPart::default())].into())].into());
    let mut service = MetaService { facts: Arc::new(facts), revisions, ..MetaService::default() };
    let one = container("beta", Some(address), MetaNetwork::Host);
    service.containers.insert_mut(id.parse().unwrap(), Arc::new(one));
    service
}

/// Seen from `alpha`.
pub(super) fn shop() -> World {
    let environment = MetaEnvironment {
        id: "e1".into(),
        name: "Default".into(),
        prefix: 16,
        ..MetaEnvironment::default()
    };
    let mut view = MetaView { environment: Arc::new(environment), ..MetaView::default() };
    for (id, address) in [("alpha", "192.0.2.1"), ("beta", "192.0.2.2")] {
        let host = MetaHost {
            hostname: id.into(),
            address: address.into(),
            active: true,
            connected: true,
            labels: [("zone".to_owned(), id.to_owned())].into(),
            memory: 4 << 30,
            cpus: 2,
            disk: 0,
        };
        view.hosts.insert_mut(id.parse().unwrap(), Arc::new(host));
    }
    for (id, service) in [
        ("shop/Web", web()),
        ("shop/lb", balancer()),
        ("shop/far", far()),
        ("shop/empty", MetaService::default()),
        ("other/web", simple("other/web#1@1", "192.0.2.2")),
    ] {
        let id: ServiceId = id.parse().unwrap();
        view.services.insert_mut(id, Arc::new(service));
    }
    let plain = MetaPlain {
        host: "alpha".parse().unwrap(),
        host_address: "192.0.2.1".into(),
        name: "By-Hand".into(),
        container_id: "ab12".into(),
        hostname: "hand".into(),
        addresses: vec!["172.17.0.2".parse().unwrap()],
        managed: false,
        labels: [("who".to_owned(), "me".to_owned())].into(),
        ports: vec![],
        state: "running".into(),
        health: Health::Unchecked,
        started: true,
    };
    view.plain.insert_mut("alpha/ab12".into(), Arc::new(plain));
    World::new(Some("alpha".parse().unwrap()), &view)
}
