//! What clients registered, exposed: by its tags, by the word of its checks, beside containers; and
//! change by change the same as from nothing.

#![expect(clippy::unwrap_used, reason = "a test may")]

use control::publish::exposure::shown;
use control::publish::{self, News, Published, Publisher};
use model::change::{Change, Edit};
use model::cluster::Cluster;
use model::expose::Expose;
use model::health::Health;
use model::host::{Environment, Host, HostFacts, HostLink, Membership, Scheduling};
use model::id::HostId;
use model::plain::{PlainContainer, PlainId, PlainPort, PlainState};
use model::record::{Record, RecordKey};
use model::registration::{
    CheckPlan, CheckProbe, CheckState, CheckStatus, ClientCheck, ClientKey, ClientNode,
    ClientService,
};
use model::service::Transport;
use model::time::{Index, Timestamp};
use model::view::Admit;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const NOW: Timestamp = Timestamp(1_000_000);
const HOSTS: [&str; 2] = ["alpha", "beta"];
/// `out` is a node outside of any agent.
const NODES: [&str; 3] = ["alpha", "beta", "out"];

/// A cluster, and what two publishers tell: everything, and what a host has to do with.
struct World {
    cluster: Cluster,
    told: [(Publisher, BTreeMap<HostId, Published>); 2],
}

fn environment(expose: Expose) -> Record {
    let environment = Environment::new("e1".into(), "default", "10.42.0.0/16".parse().unwrap());
    Record::Environment(Arc::new(Environment { expose, ..environment }))
}

fn on() -> Expose {
    Expose { domains: vec!["example.internal".into()], ..Expose::default() }
}

fn host(n: usize, status: HostLink, address: &str) -> Record {
    Record::Host(Arc::new(Host {
        id: HOSTS[n].parse().unwrap(),
        facts: HostFacts { address: address.into(), ..HostFacts::default() },
        status,
        changed_at: NOW,
        unheard_since: NOW,
        scheduling: Scheduling::Active,
        labels: BTreeMap::new(),
        reason: String::new(),
        membership: Membership::default(),
    }))
}

fn service(node: &str, id: &str, name: &str, tags: &[&str]) -> ClientService {
    ClientService {
        key: ClientKey::new(node, id),
        service: name.into(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        address: String::new(),
        port: 8080,
        meta: BTreeMap::new(),
        tagged_addresses: BTreeMap::new(),
        weight_passing: 3,
        weight_warning: 1,
        enable_tag_override: false,
    }
}

fn registered(service: ClientService) -> Record {
    Record::ClientService(Arc::new(service))
}

fn check(node: &str, id: &str, of: &str, status: CheckStatus) -> Record {
    Record::ClientCheck(Arc::new(ClientCheck {
        key: ClientKey::new(node, id),
        name: id.into(),
        notes: String::new(),
        service: of.into(),
        plan: CheckPlan::of(CheckProbe::Told),
        status,
        deregister_after_ms: None,
        since: NOW,
    }))
}

fn state(node: &str, id: &str, status: CheckStatus) -> Record {
    Record::CheckState(Arc::new(CheckState {
        key: ClientKey::new(node, id),
        run: NOW,
        status,
        output: String::new(),
        changed_at: NOW,
    }))
}

fn outside(address: &str) -> Record {
    let node = ClientNode { name: "out".into(), address: address.into(), ..ClientNode::default() };
    Record::ClientNode(Arc::new(node))
}

/// Container `web` of a host, which the catalog knows as `<host>:web:80`.
fn container(host: &str, state: PlainState) -> Record {
    let id = PlainId { host: host.parse().unwrap(), container: "c1".parse().unwrap() };
    let labels = [("SERVICE_NAME", "web"), ("SERVICE_TAGS", "http")];
    let one = PlainContainer {
        name: "web".into(),
        image: "web:1".into(),
        state,
        network: "default".into(),
        ports: vec![PlainPort {
            container_port: 80,
            protocol: Transport::Tcp,
            host_port: Some(30_000),
            host_ip: None,
        }],
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..PlainContainer::default()
    };
    Record::Plain(id, Arc::new(one))
}

impl World {
    fn new(expose: Expose) -> Self {
        let told = [Publisher::default(), Publisher::new(0)].map(|one| (one, BTreeMap::new()));
        let mut world = Self { cluster: Cluster::default(), told };
        world.put(vec![
            environment(expose),
            host(0, HostLink::Active, "192.0.2.1"),
            host(1, HostLink::Active, "192.0.2.2"),
        ]);
        world
    }

    fn put(&mut self, records: Vec<Record>) {
        self.edit(records.into_iter().map(Edit::Put).collect());
    }

    /// What every host is told by changes is what it is told from nothing.
    fn edit(&mut self, edits: Vec<Edit>) {
        self.cluster.apply(Index(self.cluster.index().0 + 1), &Change { edits });
        let cluster = &self.cluster;
        for (publisher, known) in &mut self.told {
            let news = publisher.follow(cluster);
            for host in cluster.hosts().filter(|host| !known.contains_key(&host.id)) {
                publisher.attend(&host.id);
            }
            for host in cluster.hosts() {
                let told = publisher.whole(&host.id).unwrap();
                let published = known.entry(host.id.clone()).or_insert_with(|| told.clone());
                match news.get(&host.id) {
                    Some(News::Delta(_, delta, _)) => {
                        delta.apply(&mut published.spec, &mut published.view).unwrap();
                    }
                    Some(News::Whole) => *published = told.clone(),
                    None => {}
                }
                let mut view = match published.view.partial {
                    true => publish::partial_view(cluster, &host.id, &BTreeSet::new()),
                    false => publish::view(cluster, &host.id),
                };
                view.index = published.view.index;
                assert_eq!(*published.view, view, "on {}", host.id);
                assert_eq!(*told.view, view, "whole of {}", host.id);
            }
        }
    }

    /// Where a front leads to: `address:port*weight`, with what is said against it.
    fn leads_to(&self, front: &str) -> Vec<String> {
        let view = publish::view(&self.cluster, &"alpha".parse().unwrap());
        let upstream = view.upstreams.get(front);
        let endpoints = upstream.map(|one| one.endpoints.clone()).unwrap_or_default();
        let word = |end: model::view::Endpoint| {
            let one = &view.instances[&end.instance];
            let draining = if one.admit == Admit::Draining { " draining" } else { "" };
            let ill = if one.health == Health::Unhealthy { " unhealthy" } else { "" };
            format!("{}:{}*{}{draining}{ill}", one.address, end.port, end.weight)
        };
        endpoints.into_iter().map(word).collect()
    }

    fn web(&self) -> Vec<String> {
        self.leads_to("web (exposed by http)")
    }

    fn problems(&self) -> Vec<String> {
        shown(&self.cluster).into_iter().flat_map(|one| one.problems).collect()
    }
}

#[test]
fn tags_of_registrations_are_served_as_those_of_containers_are() {
    let mut world = World::new(on());
    let here = service("alpha", "web-1", "web", &["v1", "http"]);
    let there =
        ClientService { address: "198.51.100.7".into(), ..service("out", "web", "web", &["http"]) };
    let port = service("beta", "db", "db-5432", &["tcp"]);
    let other = service("beta", "other", "other", &["v1"]);
    world.put(vec![
        outside("203.0.113.9"),
        registered(here),
        registered(there),
        registered(port),
        registered(other),
    ]);
    world.put(vec![container("beta", PlainState::Running)]);
    assert_eq!(world.web(), ["192.0.2.2:30000*1", "192.0.2.1:8080*3", "198.51.100.7:8080*3"]);
    assert_eq!(world.leads_to("db-5432 (exposed by tcp)"), ["192.0.2.2:8080*3"]);
    let names: Vec<(String, usize)> =
        shown(&world.cluster).into_iter().map(|one| (one.front.name, one.ready)).collect();
    assert_eq!(names, [("web".to_owned(), 3), ("db-5432".to_owned(), 1)]);
    world.edit(vec![Edit::Delete(RecordKey::ClientService(ClientKey::new("alpha", "web-1")))]);
    assert_eq!(world.web(), ["192.0.2.2:30000*1", "198.51.100.7:8080*3"]);
    // Its node has moved, and it has no address of its own.
    let moved = service("out", "web", "web", &["http"]);
    world.put(vec![registered(moved), outside("203.0.113.10")]);
    assert_eq!(world.web(), ["192.0.2.2:30000*1", "203.0.113.10:8080*3"]);
    assert_eq!(world.problems(), [""; 0]);
}

#[test]
fn the_health_of_a_registration_is_that_of_its_checks_and_of_its_node() {
    let mut world = World::new(on());
    world.put(vec![registered(service("alpha", "web", "web", &["http"]))]);
    assert_eq!(world.web(), ["192.0.2.1:8080*3"]);
    let rows = [
        (check("alpha", "own", "web", CheckStatus::Critical), "192.0.2.1:8080*3 unhealthy"),
        (state("alpha", "own", CheckStatus::Passing), "192.0.2.1:8080*3"),
        (state("alpha", "own", CheckStatus::Warning), "192.0.2.1:8080*1"),
        (check("alpha", "disk", "", CheckStatus::Critical), "192.0.2.1:8080*3 unhealthy"),
        (state("alpha", "disk", CheckStatus::Passing), "192.0.2.1:8080*1"),
        (
            check("alpha", "_service_maintenance:web", "web", CheckStatus::Critical),
            "192.0.2.1:8080*3 draining unhealthy",
        ),
        (state("alpha", "_service_maintenance:web", CheckStatus::Passing), "192.0.2.1:8080*1"),
        (host(0, HostLink::Disconnected, "192.0.2.1"), "192.0.2.1:8080*1"),
        (host(0, HostLink::Lost, "192.0.2.1"), "192.0.2.1:8080*3 draining unhealthy"),
        (host(0, HostLink::Active, "192.0.2.3"), "192.0.2.3:8080*1"),
        (
            check("alpha", "_node_maintenance", "", CheckStatus::Critical),
            "192.0.2.3:8080*3 draining unhealthy",
        ),
    ];
    for (n, (record, expect)) in rows.into_iter().enumerate() {
        world.put(vec![record]);
        assert_eq!(world.web(), [expect], "row {n}");
    }
    assert_eq!(shown(&world.cluster)[0].ready, 0);
}

#[test]
fn what_nobody_can_call_is_told() {
    let mut world = World::new(on());
    let at = |address: &str, port: u16| {
        let one = service("alpha", "web", "web", &["http"]);
        registered(ClientService { address: address.into(), port, ..one })
    };
    for (record, why) in [
        (at("www.example.test", 80), "its address \"www.example.test\" is no IPv4 address"),
        (at("2001:db8::1", 80), "is no IPv4 address"),
        (at("127.0.0.1", 80), "other hosts cannot call 127.0.0.1"),
        (at("", 0), "it was registered without a port"),
    ] {
        world.put(vec![record]);
        assert_eq!(world.web(), [""; 0]);
        let problems = world.problems();
        assert!(problems.len() == 1 && problems[0].contains(why), "{problems:?} is not {why}");
        assert!(problems[0].starts_with("web of node alpha is not served"), "{problems:?}");
    }
    world.put(vec![at("192.0.2.9", 81)]);
    assert_eq!((world.web(), world.problems()), (vec!["192.0.2.9:81*3".to_owned()], vec![]));
}

#[test]
fn what_runs_here_is_known_better_than_a_client_can_tell() {
    let mut world = World::new(on());
    // As Registrator beside us would register the same container.
    world.put(vec![registered(service("beta", "beta:web:80", "web", &["http"]))]);
    assert_eq!(world.web(), ["192.0.2.2:8080*3"]);
    world.put(vec![container("beta", PlainState::Running)]);
    assert_eq!(world.web(), ["192.0.2.2:30000*1"]);
    world.put(vec![container("beta", PlainState::Exited)]);
    assert_eq!(world.web(), ["192.0.2.2:8080*3"]);
}

#[derive(Clone, Debug)]
enum Step {
    Service { node: usize, id: usize, name: usize, tags: usize, address: usize },
    ServiceGone { node: usize, id: usize },
    Check { node: usize, id: usize, of: usize, status: usize },
    State { node: usize, id: usize, status: usize },
    CheckGone { node: usize, id: usize },
    Node(usize),
    NodeGone,
    Host { host: usize, lost: bool, address: u8 },
    Container { host: usize, runs: bool },
    Settings(usize),
}

const IDS: [&str; 3] = ["web", "beta:web:80", "db"];
const CHECKS: [&str; 3] = ["own", "_node_maintenance", "_service_maintenance:web"];
const STATUS: [CheckStatus; 3] =
    [CheckStatus::Passing, CheckStatus::Warning, CheckStatus::Critical];
const ADDRESSES: [&str; 4] = ["", "198.51.100.7", "127.0.0.1", "www.example.test"];

fn step() -> impl Strategy<Value = Step> {
    let n = || 0..3_usize;
    prop_oneof![
        6 => (n(), n(), n(), n(), 0..4_usize).prop_map(
            |(node, id, name, tags, address)| Step::Service { node, id, name, tags, address }
        ),
        2 => (n(), n()).prop_map(|(node, id)| Step::ServiceGone { node, id }),
        3 => (n(), n(), n(), n()).prop_map(
            |(node, id, of, status)| Step::Check { node, id, of, status }
        ),
        3 => (n(), n(), n()).prop_map(|(node, id, status)| Step::State { node, id, status }),
        1 => (n(), n()).prop_map(|(node, id)| Step::CheckGone { node, id }),
        1 => (0..4_usize).prop_map(Step::Node),
        1 => Just(Step::NodeGone),
        2 => (0..2_usize, any::<bool>(), 1..3_u8).prop_map(
            |(host, lost, address)| Step::Host { host, lost, address }
        ),
        2 => (0..2_usize, any::<bool>()).prop_map(|(host, runs)| Step::Container { host, runs }),
        1 => (0..3_usize).prop_map(Step::Settings),
    ]
}

fn edit(step: &Step) -> Edit {
    Edit::Put(match step {
        Step::Service { node, id, name, tags, address } => {
            let name = ["web", "db-5432", "api"][*name];
            let tags = [&["http"][..], &["tcp"], &["v1"]][*tags];
            let one = service(NODES[*node], IDS[*id], name, tags);
            registered(ClientService { address: ADDRESSES[*address].into(), ..one })
        }
        Step::ServiceGone { node, id } => {
            let key = ClientKey::new(NODES[*node], IDS[*id]);
            return Edit::Delete(RecordKey::ClientService(key));
        }
        Step::Check { node, id, of, status } => {
            let of = ["", "web", "db"][*of];
            check(NODES[*node], CHECKS[*id], of, STATUS[*status])
        }
        Step::State { node, id, status } => state(NODES[*node], CHECKS[*id], STATUS[*status]),
        Step::CheckGone { node, id } => {
            let key = ClientKey::new(NODES[*node], CHECKS[*id]);
            return Edit::Delete(RecordKey::ClientCheck(key));
        }
        Step::Node(address) => outside(["203.0.113.9", "", "x.test", "203.0.113.8"][*address]),
        Step::NodeGone => return Edit::Delete(RecordKey::ClientNode("out".into())),
        Step::Host { host: n, lost, address } => {
            let status = if *lost { HostLink::Lost } else { HostLink::Active };
            host(*n, status, &format!("192.0.{address}.{n}"))
        }
        Step::Container { host, runs } => {
            let state = if *runs { PlainState::Running } else { PlainState::Exited };
            container(HOSTS[*host], state)
        }
        Step::Settings(which) => environment(match which {
            0 => on(),
            1 => Expose { tcp_tag: "v1".into(), ..on() },
            _ => Expose { domains: vec![], ..on() },
        }),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn change_by_change_is_the_same_as_from_nothing(
        all in proptest::collection::vec(step(), 1..30),
    ) {
        let mut world = World::new(on());
        for step in &all {
            world.edit(vec![edit(step)]);
        }
    }
}
