//! What of the catalog is exposed: names, ports, labels, who has what several want; and change by
//! change the same as from nothing.

#![expect(clippy::unwrap_used, reason = "a test may")]

use control::publish::exposure::{self, shown};
use control::publish::{self, News, Published, Publisher};
use model::balancer::{BalancerProtocol, BalancerSpec, PortRule};
use model::change::{Change, Edit};
use model::cluster::Cluster;
use model::container_spec::ContainerSpec;
use model::expose::{Balance, Expose, Outlier};
use model::health::Health;
use model::host::{Environment, Host, HostFacts, HostLink, Scheduling};
use model::id::{HostId, InstanceId, ServiceId};
use model::instance::{Goal, Instance, InstanceStatus, Phase, Target};
use model::plain::{PlainContainer, PlainId, PlainPort, PlainState};
use model::record::{Orders, Record, RecordKey, Revision, Service, ServiceSettings};
use model::service::{Kind, PortMapping, Template, Transport};
use model::time::{Index, Timestamp};
use model::view::{Admit, HostMatch, HostView, ListenerMode};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

const NOW: Timestamp = Timestamp(1_000_000);
const HOSTS: [&str; 2] = ["alpha", "beta"];

/// A cluster that changes, with what its hosts are told.
struct World {
    cluster: Cluster,
    told: [Told; 2],
}

/// Hosts that follow, and know everything or what they have to do with.
struct Told {
    publisher: Publisher,
    known: BTreeMap<HostId, Published>,
}

impl Told {
    fn new(publisher: Publisher) -> Self {
        Self { publisher, known: BTreeMap::new() }
    }

    fn follow(&mut self, cluster: &Cluster) {
        let news = self.publisher.follow(cluster);
        for host in cluster.hosts() {
            if !self.known.contains_key(&host.id) {
                self.publisher.attend(&host.id);
                let whole = self.publisher.whole(&host.id).unwrap();
                self.known.insert(host.id.clone(), whole);
            }
        }
        for (host, news) in news {
            match news {
                News::Delta(_, delta, _) => {
                    let known = self.known.get_mut(&host).unwrap();
                    delta.apply(&mut known.spec, &mut known.view).unwrap();
                }
                News::Whole => {
                    drop(self.known.insert(host.clone(), self.publisher.whole(&host).unwrap()));
                }
            }
        }
        for (host, known) in &self.known {
            let mut view = match known.view.partial {
                true => publish::partial_view(cluster, host, &BTreeSet::new()),
                false => publish::view(cluster, host),
            };
            view.index = known.view.index;
            assert_eq!(*known.view, view, "on {host}");
            assert_eq!(*self.publisher.whole(host).unwrap().view, view, "whole of {host}");
        }
    }
}

fn environment(expose: Expose) -> Record {
    let subnet = "10.42.0.0/16".parse().unwrap();
    let environment = Environment::new("e1".into(), "default", subnet);
    Record::Environment(Arc::new(Environment { expose, ..environment }))
}

fn on() -> Expose {
    Expose { domains: vec!["example.internal".into()], ..Expose::default() }
}

fn host(id: &str, status: HostLink, address: &str, labels: &[(&str, &str)]) -> Record {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Record::Host(Arc::new(Host {
        id: id.parse().unwrap(),
        facts: HostFacts { address: address.into(), ..HostFacts::default() },
        status,
        changed_at: NOW,
        unheard_since: NOW,
        scheduling: Scheduling::Active,
        labels,
        reason: String::new(),
        membership: model::host::Membership::default(),
    }))
}

/// Container `n` of a host, published at port 30000 + n.
fn plain(host: &str, n: u16, labels: &[(&str, &str)]) -> (PlainId, PlainContainer) {
    let id = PlainId { host: host.parse().unwrap(), container: format!("c{n}").parse().unwrap() };
    let one = PlainContainer {
        name: format!("p{n}"),
        image: "web:1".into(),
        state: PlainState::Running,
        network: "default".into(),
        ports: vec![PlainPort {
            container_port: 80,
            protocol: Transport::Tcp,
            host_port: Some(30_000 + n),
            host_ip: None,
        }],
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..PlainContainer::default()
    };
    (id, one)
}

fn template(kind: Kind) -> Template {
    Template { kind, ..Template::of_container(ContainerSpec::default()) }
}

/// A service of `scale` instances with labels, at 10.42.0.n, that runs on alpha.
fn service(name: &str, scale: u32, labels: &[(&str, &str)], template: Template) -> Vec<Record> {
    let id: ServiceId = name.parse().unwrap();
    let mut template = template;
    if let Kind::Container(container) = &mut template.kind {
        container.labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        template.ports = vec![PortMapping {
            host_ip: None,
            host_port: None,
            container_port: 8080,
            protocol: Transport::Tcp,
        }];
    }
    let target = Target { revision: 1, restart: 0 };
    let mut records = vec![
        Record::Service(Arc::new(Service {
            id: id.clone(),
            settings: ServiceSettings::default(),
            scale,
            target,
            attempt: 0,
            orders: Orders::default(),
            goal: Goal::Run,
            created_at: NOW,
        })),
        Record::Revision(Arc::new(Revision {
            service: id.clone(),
            number: 1,
            template: template.clone(),
            created_at: NOW,
        })),
    ];
    for n in 1..=scale {
        let instance = Instance {
            id: InstanceId::new(id.clone(), n, u64::from(n)),
            host: "alpha".parse().unwrap(),
            address: Some(Ipv4Addr::new(10, 42, 0, u8::try_from(n).unwrap())),
            sidekick_addresses: BTreeMap::new(),
            container_name: format!("c{n}"),
            target,
            ports: template.ports.clone(),
            goal: Goal::Run,
            leaving: false,
            dropped: vec![],
            reason: String::new(),
            placed_at: NOW,
            goal_at: NOW,
        };
        let seen = InstanceStatus { phase: Phase::Running, ..InstanceStatus::default() };
        records.push(Record::InstanceStatus(instance.id.clone(), Arc::new(seen)));
        records.push(Record::Instance(Arc::new(instance)));
    }
    records
}

/// A balancer on alpha that has this port.
fn balancer(port: u16) -> Vec<Record> {
    let rule = PortRule {
        source_port: port,
        protocol: BalancerProtocol::Http,
        hostname: String::new(),
        path: String::new(),
        priority: 0,
        service: "shop/web".parse().unwrap(),
        target_port: 8080,
        weight: 1,
        backend_name: String::new(),
    };
    let mut template = template(Kind::Balancer(BalancerSpec { rules: vec![rule] }));
    template.ports = vec![PortMapping {
        host_ip: None,
        host_port: Some(port),
        container_port: port,
        protocol: Transport::Tcp,
    }];
    service("shop/lb", 1, &[], template)
}

impl World {
    fn new(expose: Expose) -> Self {
        let told = [Told::new(Publisher::default()), Told::new(Publisher::new(0))];
        let mut world = Self { cluster: Cluster::default(), told };
        world.put(vec![
            environment(expose),
            host("alpha", HostLink::Active, "192.0.2.1", &[("edge", "true")]),
            host("beta", HostLink::Active, "192.0.2.2", &[]),
        ]);
        world
    }

    fn edit(&mut self, edits: Vec<Edit>) {
        let index = Index(self.cluster.index().0 + 1);
        self.cluster.apply(index, &Change { edits });
        let Self { cluster, told } = self;
        told.iter_mut().for_each(|told| told.follow(cluster));
    }

    fn put(&mut self, records: Vec<Record>) {
        self.edit(records.into_iter().map(Edit::Put).collect());
    }

    fn run(&mut self, host: &str, n: u16, labels: &[(&str, &str)]) {
        let (id, one) = plain(host, n, labels);
        self.put(vec![Record::Plain(id, Arc::new(one))]);
    }

    fn view(&self, host: &str) -> HostView {
        publish::view(&self.cluster, &host.parse().unwrap())
    }

    /// What each exposed port and each route of a host leads to, ports in the order of their ids.
    fn fronts(&self, host: &str) -> Vec<String> {
        let view = self.view(host);
        let mut all = vec![];
        for (id, listener) in &view.listeners {
            if !exposure::is_listener(id) {
                continue;
            }
            let of = |upstream: &str| upstream.split_once(' ').unwrap().0.to_owned();
            match &listener.mode {
                ListenerMode::Http { routes } => all.extend(routes.iter().map(|route| {
                    let host = match &route.host {
                        HostMatch::Exact(name) => name.clone(),
                        HostMatch::Suffix(name) => format!("*{name}"),
                        other => format!("{other:?}"),
                    };
                    format!("{host}:{} {}", listener.port, of(&route.upstream))
                })),
                ListenerMode::Forward { upstream } | ListenerMode::Port { upstream } => {
                    let (port, transport) = (listener.port, listener.transport);
                    all.push(format!("{port}/{transport} {}", of(upstream)));
                }
            }
        }
        all
    }

    /// Where an exposed service leads to, as `address:port*weight`, draining ones in brackets.
    fn leads_to(&self, host: &str, name: &str, kind: &str) -> Vec<String> {
        let view = self.view(host);
        let upstream = view.upstreams.get(&format!("{name} (exposed by {kind})"));
        let endpoints = upstream.map(|upstream| upstream.endpoints.clone()).unwrap_or_default();
        let word = |end: model::view::Endpoint| {
            let one = &view.instances[&end.instance];
            let word = format!("{}:{}*{}", one.address, end.port, end.weight);
            if one.admit == Admit::Draining { format!("[{word}]") } else { word }
        };
        endpoints.into_iter().map(word).collect()
    }

    fn problems(&self) -> Vec<String> {
        let all = shown(&self.cluster).into_iter();
        all.flat_map(|one| {
            let name = format!("{} {}", one.front.kind.as_str(), one.front.name);
            one.problems.into_iter().map(move |why| format!("{name}: {why}"))
        })
        .collect()
    }
}

#[test]
fn tags_say_what_is_served_by_name_and_what_by_port_on_every_host() {
    let mut world = World::new(on());
    world.run("alpha", 1, &[("SERVICE_NAME", "web"), ("SERVICE_TAGS", "v1,http")]);
    world.run(
        "beta",
        2,
        &[("SERVICE_NAME", "web"), ("SERVICE_TAGS", "http"), ("SERVICE_WEIGHT", "3")],
    );
    world.run("beta", 3, &[("SERVICE_NAME", "tcpfront-9999"), ("SERVICE_TAGS", "tcp")]);
    world.run("beta", 4, &[("SERVICE_NAME", "other"), ("SERVICE_TAGS", "v1")]);
    let labels = [("SERVICE_TAGS", "http")];
    let own = template(Kind::Container(Box::default()));
    world.put(service("shop/api", 2, &labels, own));
    let fronts = [
        "shop-api.example.internal:80 shop-api",
        "web.example.internal:80 web",
        "9999/tcp tcpfront-9999",
    ];
    for host in HOSTS {
        assert_eq!(world.fronts(host), fronts, "{host}");
        assert_eq!(world.leads_to(host, "web", "http"), ["192.0.2.1:30001*1", "192.0.2.2:30002*3"]);
        assert_eq!(world.leads_to(host, "tcpfront-9999", "tcp"), ["192.0.2.2:30003*1"]);
        assert_eq!(
            world.leads_to(host, "shop-api", "http"),
            ["10.42.0.1:8080*1", "10.42.0.2:8080*1"]
        );
    }
    assert_eq!(world.problems(), Vec::<String>::new());
    let (id, one) = plain("alpha", 1, &[("SERVICE_NAME", "web"), ("SERVICE_TAGS", "http")]);
    let stopping = PlainContainer { stopping: true, ..one };
    world.put(vec![Record::Plain(id.clone(), Arc::new(stopping))]);
    assert_eq!(world.leads_to("beta", "web", "http"), ["[192.0.2.1:30001*1]", "192.0.2.2:30002*3"]);
    world.edit(vec![Edit::Delete(RecordKey::Plain(id))]);
    assert_eq!(world.leads_to("beta", "web", "http"), ["192.0.2.2:30002*3"]);
}

#[test]
fn labels_say_how_and_those_that_cannot_be_read_are_told_and_do_not_count() {
    for (labels, balance, outlier, problem) in [
        (&[][..], Balance::LeastConn, (3, 60_000), ""),
        (&[("SERVICE_BALANCE", "round_robin")], Balance::RoundRobin, (3, 60_000), ""),
        (&[("SERVICE_LEAST_CONN", "false")], Balance::RoundRobin, (3, 60_000), ""),
        (&[("SERVICE_LEAST_CONN", "true")], Balance::LeastConn, (3, 60_000), ""),
        (
            &[("SERVICE_MAX_FAILS", "5"), ("SERVICE_80_FAIL_TIMEOUT", "10s")],
            Balance::LeastConn,
            (5, 10_000),
            "",
        ),
        (&[("SERVICE_MAX_FAILS", "-1")], Balance::LeastConn, (3, 60_000), "SERVICE_MAX_FAILS"),
        (
            &[("SERVICE_FAIL_TIMEOUT", "1d")],
            Balance::LeastConn,
            (3, 60_000),
            "SERVICE_FAIL_TIMEOUT",
        ),
        (&[("SERVICE_BALANCE", "best")], Balance::LeastConn, (3, 60_000), "SERVICE_BALANCE"),
        (&[("SERVICE_WEIGHT", "much")], Balance::LeastConn, (3, 60_000), "SERVICE_WEIGHT"),
        (&[("SERVICE_HOSTNAME", "a b!")], Balance::LeastConn, (3, 60_000), "SERVICE_HOSTNAME"),
    ] {
        let mut world = World::new(on());
        let all = [&[("SERVICE_NAME", "web"), ("SERVICE_TAGS", "http")][..], labels].concat();
        world.run("alpha", 1, &all);
        let upstream = &world.view("beta").upstreams["web (exposed by http)"];
        let (max_fails, fail_timeout_ms) = outlier;
        assert_eq!(upstream.balance, balance, "{labels:?}");
        assert_eq!(upstream.outlier, Some(Outlier { max_fails, fail_timeout_ms }), "{labels:?}");
        let problems = world.problems();
        assert_eq!(problems.is_empty(), problem.is_empty(), "{problems:?}");
        assert!(problems.iter().all(|text| text.contains(problem)), "{problems:?}");
    }
}

#[test]
fn what_two_services_want_the_owner_of_the_name_has_and_the_other_is_told() {
    let mut world = World::new(on());
    let http = |name: &'static str| [("SERVICE_NAME", name), ("SERVICE_TAGS", "http")];
    let thief = [&http("api")[..], &[("SERVICE_HOSTNAME", "web.example.internal,*.shop.test")]];
    world.run("alpha", 1, &thief.concat());
    world.run("alpha", 2, &http("web"));
    world.run("alpha", 3, &http("Web"));
    world.run("alpha", 4, &http("no name"));
    let tcp = |name: &'static str| [("SERVICE_NAME", name), ("SERVICE_TAGS", "tcp")];
    world.run("alpha", 5, &tcp("db-5432"));
    world.run("alpha", 6, &tcp("pg-5432"));
    world.run("alpha", 7, &tcp("redis"));
    world.run("alpha", 8, &tcp("x-80"));
    let fronts = [
        "5432/tcp db-5432",
        "api.example.internal:80 api",
        // `Web` is the first of the two by name.
        "web.example.internal:80 Web",
        "*.shop.test:80 api",
    ];
    assert_eq!(world.fronts("alpha"), fronts);
    let problems = world.problems();
    for (name, why) in [
        ("http api", "host name web.example.internal is that of service Web"),
        ("http web", "host name web.example.internal is that of service Web"),
        ("http no name", "cannot be a host name"),
        ("tcp pg-5432", "port 5432 is that of service db-5432"),
        ("tcp redis", "does not end in a port"),
        ("tcp x-80", "port 80 is that of the services with names"),
    ] {
        let told = |text: &&String| text.starts_with(&format!("{name}: ")) && text.contains(why);
        assert!(problems.iter().any(|text| told(&text)), "{name} {why}: {problems:?}");
    }
    assert_eq!(problems.len(), 6, "{problems:?}");
}

#[test]
fn a_port_of_a_stack_stays_the_stacks_and_other_hosts_serve_it() {
    let mut world = World::new(on());
    world.run("alpha", 1, &[("SERVICE_NAME", "web"), ("SERVICE_TAGS", "http")]);
    world.put(balancer(80));
    assert_eq!(world.fronts("alpha"), Vec::<String>::new());
    assert!(world.view("alpha").listeners.contains_key("*:80/tcp"));
    assert_eq!(world.fronts("beta"), ["web.example.internal:80 web"]);
    let told = "http web: port 80/tcp cannot be served on alpha (it is that of shop/lb)";
    assert_eq!(world.problems(), [told]);
    let troubles = world.told[0].publisher.exposure_troubles().unwrap();
    assert_eq!(troubles["port 80/tcp of host alpha"], "a stack has it");
    assert_eq!(world.told[0].publisher.exposure_troubles(), None, "told once");
    world.edit(vec![Edit::Delete(RecordKey::Instance("shop/lb#1@1".parse().unwrap()))]);
    assert_eq!(world.fronts("alpha"), ["web.example.internal:80 web"]);
    let one = Record::Host(Arc::new(Host {
        facts: HostFacts {
            address: "192.0.2.2".into(),
            expose_refused: [("80/tcp".to_owned(), "in use by nginx".to_owned())].into(),
            ..HostFacts::default()
        },
        ..(**world.cluster.host(&"beta".parse().unwrap()).unwrap()).clone()
    }));
    world.put(vec![one]);
    let told = "http web: port 80/tcp cannot be served on beta (in use by nginx)";
    assert_eq!(world.problems(), [told]);
}

#[test]
fn only_the_hosts_that_are_chosen_serve_and_nothing_is_served_while_it_is_off() {
    let selector = Some("edge=true".parse().unwrap());
    let mut world = World::new(Expose { hosts: selector, http_port: 8000, ..on() });
    world.run("beta", 1, &[("SERVICE_NAME", "web"), ("SERVICE_TAGS", "http")]);
    assert_eq!(world.fronts("alpha"), ["web.example.internal:8000 web"]);
    assert_eq!(world.fronts("beta"), Vec::<String>::new());
    assert_eq!(shown(&world.cluster)[0].at, ["http://web.example.internal:8000/"]);
    world.put(vec![host("beta", HostLink::Active, "192.0.2.2", &[("edge", "true")])]);
    assert_eq!(world.fronts("beta"), ["web.example.internal:8000 web"]);
    world.put(vec![environment(Expose { domains: vec![], ..on() })]);
    assert_eq!(world.fronts("alpha"), Vec::<String>::new());
    assert!(world.view("alpha").upstreams.is_empty());
    assert!(shown(&world.cluster).is_empty());
}

#[test]
fn one_container_s_change_is_told_as_its_upstream_and_no_more() {
    let mut world = World::new(on());
    for n in 1..5 {
        world.run("alpha", n, &[("SERVICE_NAME", "web"), ("SERVICE_TAGS", "http")]);
    }
    world.run("alpha", 5, &[("SERVICE_NAME", "api"), ("SERVICE_TAGS", "http")]);
    let (id, one) = plain("beta", 6, &[("SERVICE_NAME", "web"), ("SERVICE_TAGS", "http")]);
    let edits = vec![Edit::Put(Record::Plain(id, Arc::new(one)))];
    world.cluster.apply(Index(world.cluster.index().0 + 1), &Change { edits });
    let news = world.told[0].publisher.follow(&world.cluster);
    for host in HOSTS {
        let News::Delta(_, delta, _) = &news[&host.parse::<HostId>().unwrap()] else {
            panic!("the whole")
        };
        let view = delta.view.as_ref().unwrap();
        let upstreams: Vec<&String> = view.upstreams.keys().collect();
        assert_eq!(upstreams, ["web (exposed by http)"]);
        assert_eq!((view.listeners.len(), view.instances.len()), (0, 1));
    }
}

#[test]
fn the_id_of_a_plain_container_is_never_that_of_an_instance() {
    let id = |text: &str| exposure::id_of_plain(&text.parse().unwrap()).unwrap();
    let long = format!("h1/{}", "0123456789abcdef".repeat(4));
    for text in ["h1/abc", &long] {
        assert!(exposure::is_plain(&id(text)), "{text}");
        let again: InstanceId = id(text).to_string().parse().unwrap();
        assert_eq!(again, id(text));
    }
    for other in ["h1/abc#1@1", "h1/abc#1@0", "h1/abc#0@0", "h1/abc#1@1+plain"] {
        assert!(!exposure::is_plain(&other.parse().unwrap()), "{other}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Plain { host: usize, n: u16, name: usize, tags: usize, extra: usize, state: usize },
    PlainGone { host: usize, n: u16 },
    Host { host: usize, edge: bool, lost: bool, address: u8 },
    Service { name: usize, scale: u32, tags: usize },
    Instance { name: usize, n: u32, goal: usize, phase: usize },
    Balancer(u16),
    BalancerGone,
    Settings(usize),
}

const NAMES: [&str; 6] = ["web", "Web", "api", "db-5432", "pg-5432", "x-80"];
const TAGS: [&str; 5] = ["http", "tcp", "http,tcp", "v1", "udp"];
const EXTRA: [(&str, &str); 5] = [
    ("SERVICE_X", "y"),
    ("SERVICE_HOSTNAME", "web.example.internal"),
    ("SERVICE_HOSTNAME", "*.b.test,c.test"),
    ("SERVICE_BALANCE", "round_robin"),
    ("SERVICE_WEIGHT", "7"),
];
const SERVICES: [&str; 2] = ["shop/web", "shop/api"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_usize, 0..4_u16, 0..6_usize, 0..5_usize, 0..5_usize, 0..6_usize).prop_map(
            |(host, n, name, tags, extra, state)| Step::Plain { host, n, name, tags, extra, state }
        ),
        2 => (0..2_usize, 0..4_u16).prop_map(|(host, n)| Step::PlainGone { host, n }),
        2 => (0..2_usize, any::<bool>(), any::<bool>(), 1..3_u8).prop_map(
            |(host, edge, lost, address)| Step::Host { host, edge, lost, address }
        ),
        2 => (0..2_usize, 0..4_u32, 0..5_usize).prop_map(
            |(name, scale, tags)| Step::Service { name, scale, tags }
        ),
        3 => (0..2_usize, 1..4_u32, 0..4_usize, 0..3_usize).prop_map(
            |(name, n, goal, phase)| Step::Instance { name, n, goal, phase }
        ),
        1 => proptest::sample::select(vec![80, 5432]).prop_map(Step::Balancer),
        1 => Just(Step::BalancerGone),
        1 => (0..4_usize).prop_map(Step::Settings),
    ]
}

fn plain_step(host: usize, n: u16, name: usize, tags: usize, extra: usize, state: usize) -> Record {
    let labels = [("SERVICE_NAME", NAMES[name]), ("SERVICE_TAGS", TAGS[tags]), EXTRA[extra]];
    let (id, mut one) = plain(HOSTS[host], n, &labels);
    match state {
        0 => one.state = PlainState::Exited,
        1 => one.stopping = true,
        2 => one.health = Health::Unhealthy,
        3 => one.network = "container:c0".into(),
        _ => {}
    }
    Record::Plain(id, Arc::new(one))
}

fn edits(world: &World, step: &Step) -> Vec<Edit> {
    let put = |records: Vec<Record>| records.into_iter().map(Edit::Put).collect::<Vec<_>>();
    let id = |host: &usize, n: &u16| plain(HOSTS[*host], *n, &[]).0;
    match step {
        Step::Plain { host, n, name, tags, extra, state } => {
            put(vec![plain_step(*host, *n, *name, *tags, *extra, *state)])
        }
        Step::PlainGone { host, n } => vec![Edit::Delete(RecordKey::Plain(id(host, n)))],
        Step::Host { host: n, edge, lost, address } => {
            let status = if *lost { HostLink::Lost } else { HostLink::Active };
            let labels: &[(&str, &str)] = if *edge { &[("edge", "true")] } else { &[] };
            put(vec![host(HOSTS[*n], status, &format!("192.0.{address}.{n}"), labels)])
        }
        Step::Service { name, scale, tags } => {
            let labels = [("SERVICE_TAGS", TAGS[*tags])];
            let own = template(Kind::Container(Box::default()));
            put(service(SERVICES[*name], *scale, &labels, own))
        }
        Step::Instance { name, n, goal, phase } => {
            let id = InstanceId::new(SERVICES[*name].parse().unwrap(), *n, u64::from(*n));
            let Some(known) = world.cluster.instance(&id) else { return vec![] };
            if *goal == 3 {
                return vec![Edit::Delete(RecordKey::Instance(id))];
            }
            let goal = [Goal::Run, Goal::Stop, Goal::Remove][*goal];
            let phase = [Phase::Running, Phase::Absent, Phase::Pending][*phase];
            let seen = InstanceStatus { phase, ..InstanceStatus::default() };
            let next = Instance { goal, ..(**known).clone() };
            put(vec![Record::InstanceStatus(id, Arc::new(seen)), Record::Instance(Arc::new(next))])
        }
        Step::Balancer(port) => put(balancer(*port)),
        Step::BalancerGone => {
            vec![Edit::Delete(RecordKey::Instance("shop/lb#1@1".parse().unwrap()))]
        }
        Step::Settings(which) => {
            let selector = || Some("edge=true".parse().unwrap());
            let settings = match which {
                0 => on(),
                1 => Expose { hosts: selector(), ..on() },
                2 => Expose { udp_tag: "udp".into(), http_port: 5432, ..on() },
                _ => Expose { domains: vec![], ..on() },
            };
            put(vec![environment(settings)])
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn change_by_change_is_the_same_as_from_nothing(
        all in proptest::collection::vec(step(), 1..30),
        off in any::<bool>(),
    ) {
        let mut world = World::new(if off { Expose::default() } else { on() });
        for step in &all {
            let edits = edits(&world, step);
            if !edits.is_empty() {
                world.edit(edits);
            }
        }
    }
}
