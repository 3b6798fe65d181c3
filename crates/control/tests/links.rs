//! Names of units, of what is outside and of aliases; further names that one service knows.

#![expect(clippy::unwrap_used, reason = "a test may")]

use control::publish;
use model::balancer::{BalancerProtocol, BalancerSpec, PortRule};
use model::change::{Change, Edit};
use model::cluster::Cluster;
use model::container_spec::{ContainerSpec, NetworkMode};
use model::health::HealthCheck;
use model::host::{Environment, Host, HostFacts, HostLink, Scheduling};
use model::id::ServiceId;
use model::instance::{Goal, Instance, InstanceStatus, Phase, Target};
use model::record::{Orders, Record, Revision, Service, ServiceSettings};
use model::service::{AliasSpec, ExternalSpec, Kind, Link, RestartPolicy, Sidekick, Template};
use model::time::{Index, Timestamp};
use model::view::{HostView, ListenerMode, NameTarget};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const NOW: Timestamp = Timestamp(1_000_000);

fn id(text: &str) -> ServiceId {
    text.parse().unwrap()
}

fn container(image: &str) -> Template {
    Template::of_container(ContainerSpec { image: image.into(), ..ContainerSpec::default() })
}

fn of_kind(kind: Kind) -> Template {
    Template { kind, ..container("") }
}

fn alias(targets: &[&str]) -> Template {
    of_kind(Kind::Alias(AliasSpec { targets: targets.iter().map(|target| id(target)).collect() }))
}

fn outside(addresses: &[&str], hostname: &str) -> Template {
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    of_kind(Kind::External(ExternalSpec { addresses, hostname: hostname.into() }))
}

/// A cluster of services; those of containers get instances with the addresses 10.42.0.n.
#[derive(Default)]
struct World {
    records: Vec<Record>,
    made: u8,
}

impl World {
    fn new() -> Self {
        let environment = Environment::new("e1".into(), "default", "10.42.0.0/16".parse().unwrap());
        let host = Host {
            id: "alpha".parse().unwrap(),
            facts: HostFacts { address: "192.0.2.1".into(), ..HostFacts::default() },
            status: HostLink::Active,
            changed_at: NOW,
            unheard_since: NOW,
            scheduling: Scheduling::Active,
            labels: BTreeMap::new(),
            reason: String::new(),
            membership: model::host::Membership::default(),
        };
        let records =
            vec![Record::Environment(Arc::new(environment)), Record::Host(Arc::new(host))];
        Self { records, made: 0 }
    }

    fn add(&mut self, name: &str, template: Template, scale: u32, settings: ServiceSettings) {
        let target = Target { revision: 1, restart: 0 };
        let service = Service {
            id: id(name),
            settings,
            scale,
            target,
            attempt: 0,
            orders: Orders::default(),
            goal: Goal::Run,
            created_at: NOW,
        };
        self.records.push(Record::Service(Arc::new(service)));
        let mut address = || {
            self.made += 1;
            Ipv4Addr::new(10, 42, 0, self.made)
        };
        let mut instances = vec![];
        for n in 1..=scale {
            let own = |name: &&model::id::ServiceName| {
                template.sidekicks[*name].container.network == NetworkMode::Managed
            };
            let instance = Instance {
                id: model::id::InstanceId::new(id(name), n, u64::from(n)),
                host: "alpha".parse().unwrap(),
                address: Some(address()),
                sidekick_addresses: template
                    .sidekicks
                    .keys()
                    .filter(own)
                    .map(|name| (name.clone(), address()))
                    .collect(),
                container_name: format!("c{n}"),
                target,
                ports: vec![],
                goal: Goal::Run,
                leaving: false,
                dropped: vec![],
                reason: String::new(),
                placed_at: NOW,
                goal_at: NOW,
            };
            instances.push(instance);
        }
        for instance in instances {
            for (sidekick, _) in template.containers() {
                let seen = InstanceStatus { phase: Phase::Running, ..InstanceStatus::default() };
                let id = instance.id.container(sidekick);
                self.records.push(Record::InstanceStatus(id, Arc::new(seen)));
            }
            self.records.push(Record::Instance(Arc::new(instance)));
        }
        let revision = Revision { service: id(name), number: 1, template, created_at: NOW };
        self.records.push(Record::Revision(Arc::new(revision)));
    }

    fn plain(&mut self, name: &str, template: Template, scale: u32) {
        self.add(name, template, scale, ServiceSettings::default());
    }

    fn view(&self) -> HostView {
        let mut cluster = Cluster::default();
        let edits = self.records.iter().cloned().map(Edit::Put).collect();
        cluster.apply(Index(7), &Change { edits });
        publish::view(&cluster, &"alpha".parse().unwrap())
    }
}

/// Addresses of a name, in order; `-` for one that is not known.
fn addresses(view: &HostView, name: &str) -> String {
    let of = |id| view.instances[id].address.to_string();
    match view.dns.names.get(name) {
        Some(NameTarget::Service(ids)) => ids.iter().map(of).collect::<Vec<_>>().join(" "),
        Some(NameTarget::Instance(id)) => of(id),
        Some(NameTarget::Address(address)) => address.to_string(),
        None => "-".into(),
    }
}

fn sidekick(network: NetworkMode) -> Sidekick {
    Sidekick {
        container: ContainerSpec { image: "side:1".into(), network, ..ContainerSpec::default() },
        ports: vec![],
        health_check: Some(HealthCheck::tcp(9)),
        restart: RestartPolicy::Always,
        stop_grace_ms: 1_000,
    }
}

#[test]
fn sidekicks_have_names_and_checks_and_ask_as_the_owner_of_their_network() {
    let mut world = World::new();
    let mut web = container("web:1");
    web.sidekicks.insert("Log".parse().unwrap(), sidekick(NetworkMode::Sibling(None)));
    web.sidekicks.insert("cache".parse().unwrap(), sidekick(NetworkMode::Managed));
    world.plain("shop/web", web.clone(), 2);
    world.plain("shop/empty", web, 0);
    let view = world.view();
    for (name, expect) in [
        ("web.shop", "10.42.0.1 10.42.0.3"),
        ("log.web.shop", "10.42.0.1 10.42.0.3"),
        ("cache.web.shop", "10.42.0.2 10.42.0.4"),
        ("shop-web-1", "10.42.0.1"),
        ("shop-web-log-2", "10.42.0.3"),
        ("shop-web-cache-2", "10.42.0.4"),
        ("cache.empty.shop", ""),
        ("cache.shop", "-"),
    ] {
        assert_eq!(addresses(&view, name), expect, "{name}");
    }
    let search = |n| view.callers[&Ipv4Addr::new(10, 42, 0, n)].search[0].clone();
    assert_eq!(search(1), "web.shop.rancher.internal");
    assert_eq!(search(2), "cache.web.shop.rancher.internal");
    assert_eq!(view.callers.len(), 4, "who shares a network is its owner");
    let checked = view.instances.iter().filter(|(_, one)| one.check.is_some()).count();
    assert_eq!(checked, 4, "each sidekick by its own check");
}

#[test]
fn aliases_follow_their_targets_and_cut_circles() {
    let mut world = World::new();
    world.plain("shop/a", container("a"), 2);
    world.plain("other/b", container("b"), 1);
    world.plain("shop/mail", outside(&["198.51.100.7", "2001:db8::1"], ""), 0);
    world.plain("shop/cloud", outside(&[], "API.Example.com."), 0);
    world.plain("shop/all", alias(&["shop/inner", "other/b"]), 0);
    world.plain("shop/inner", alias(&["shop/a", "shop/mail", "shop/a", "shop/all"]), 0);
    world.plain("shop/far", alias(&["shop/cloud"]), 0);
    world.plain("shop/mixed", alias(&["shop/cloud", "shop/mail"]), 0);
    world.plain("shop/self", alias(&["shop/self"]), 0);
    world.plain("shop/lost", alias(&["shop/nobody"]), 0);
    let view = world.view();
    for (name, expect) in [
        ("mail.shop", "198.51.100.7"),
        ("inner.shop", "10.42.0.1 10.42.0.2 198.51.100.7 10.42.0.3"),
        ("all.shop", "10.42.0.1 10.42.0.2 198.51.100.7 10.42.0.3"),
        ("mixed.shop", "198.51.100.7"),
        ("self.shop", ""),
        ("lost.shop", ""),
        ("shop-mail-1", "-"),
    ] {
        assert_eq!(addresses(&view, name), expect, "{name}");
    }
    let cnames: Vec<(&str, &str)> =
        view.dns.cnames.iter().map(|(name, host)| (name.as_str(), host.as_str())).collect();
    let host = "api.example.com";
    assert_eq!(cnames, [("cloud.shop", host), ("far.shop", host)]);
}

#[test]
fn links_are_names_for_one_service_alone() {
    let mut world = World::new();
    let mut labelled = container("db");
    if let Kind::Container(container) = &mut labelled.kind {
        container.labels.insert("tier".into(), "data".into());
    }
    world.plain("other/DB", labelled.clone(), 1);
    world.plain("shop/db", labelled, 1);
    let link = |service: &str, alias: &str| Link { service: id(service), alias: alias.into() };
    let settings = ServiceSettings {
        links: vec![link("other/DB", "Postgres"), link("shop/db", "db")],
        selector_link: Some("tier=data".parse().unwrap()),
        ..ServiceSettings::default()
    };
    world.add("shop/web", container("web"), 1, settings);
    let view = world.view();
    let web = &view.callers[&Ipv4Addr::new(10, 42, 0, 3)];
    let known: Vec<(&str, &str)> =
        web.aliases.iter().map(|(name, meant)| (name.as_str(), meant.as_str())).collect();
    let expect = [
        // What was linked by name is stronger than what the selector finds in the other stack.
        ("db", "db.shop"),
        ("postgres", "db.other"),
        ("postgres.other", "db.other"),
    ];
    assert_eq!(known, expect);
    assert!(view.callers[&Ipv4Addr::new(10, 42, 0, 1)].aliases.is_empty());
}

#[test]
fn a_balancer_routes_to_what_stands_behind_an_alias_and_to_addresses_outside() {
    let mut world = World::new();
    world.plain("shop/a", container("a"), 1);
    world.plain("shop/mail", outside(&["198.51.100.7", "198.51.100.8"], ""), 0);
    world.plain("shop/all", alias(&["shop/mail", "shop/a"]), 0);
    let rule = PortRule {
        source_port: 8080,
        protocol: BalancerProtocol::Http,
        hostname: String::new(),
        path: String::new(),
        priority: 0,
        service: id("shop/all"),
        target_port: 81,
        weight: 1,
        backend_name: String::new(),
    };
    world.plain("shop/lb", of_kind(Kind::Balancer(BalancerSpec { rules: vec![rule] })), 1);
    let view = world.view();
    let ListenerMode::Http { routes } = &view.listeners["*:8080/tcp"].mode else {
        panic!("an http balancer")
    };
    let upstream = &view.upstreams[&routes[0].upstream];
    let endpoints: Vec<String> = upstream
        .endpoints
        .iter()
        .map(|endpoint| format!("{}:{}", view.instances[&endpoint.instance].address, endpoint.port))
        .collect();
    assert_eq!(endpoints, ["198.51.100.7:81", "198.51.100.8:81", "10.42.0.1:81"]);
    let own = "shop/a#1@1".parse().unwrap();
    assert_eq!(view.instances[&own].ready_ports, [81], "it must listen before it is asked");
}
