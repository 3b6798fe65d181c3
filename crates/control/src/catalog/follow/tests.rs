//! The tables followed change by change are the catalog made from nothing, and their indexes move
//! exactly when what they stand for does.

use super::super::{Catalog, CheckStatus};
use super::*;
use model::change::{Change, Edit};
use model::container_spec::ContainerSpec;
use model::health::Health;
use model::host::{Environment, Host, HostFacts, HostLink};
use model::instance::{Goal, Instance, InstanceStatus, Phase, Target};
use model::plain::{PlainContainer, PlainPort, PlainState};
use model::record::{Record, RecordKey, Revision};
use model::registration::{
    CheckPlan, CheckProbe, CheckState, ClientCheck, ClientKey, ClientNode, ClientService,
};
use model::service::{PortMapping, Template, Transport};
use proptest::prelude::*;

fn put(record: Record) -> Edit {
    Edit::Put(record)
}

fn environment(id: &str) -> Edit {
    let environment = Environment::new(id.into(), "e", "10.42.0.0/16".parse().unwrap());
    put(Record::Environment(Arc::new(environment)))
}

fn host(n: u8, status: HostLink, zone: u8) -> Edit {
    let host = Host {
        id: format!("h{n}").parse().unwrap(),
        facts: HostFacts { address: format!("10.0.0.{n}"), ..HostFacts::default() },
        status,
        changed_at: Default::default(),
        unheard_since: Default::default(),
        scheduling: Default::default(),
        labels: [("zone".to_owned(), zone.to_string())].into(),
        reason: String::new(),
        membership: Default::default(),
    };
    put(Record::Host(Arc::new(host)))
}

fn plain_id(h: u8, n: u8) -> PlainId {
    PlainId { host: format!("h{h}").parse().unwrap(), container: format!("c{n}").parse().unwrap() }
}

/// A published container `n` on host `h`; its service is that of the number, its id may be one that
/// others claim too.
fn plain(h: u8, n: u8, service: u8, health: Health, network: &str, id: Option<u8>) -> Edit {
    let port = PlainPort {
        container_port: 80,
        protocol: Transport::Tcp,
        host_port: Some(30_000 + u16::from(n)),
        host_ip: None,
    };
    let id = id.map(|id| ("SERVICE_ID".to_owned(), id.to_string()));
    let name = ("SERVICE_NAME".to_owned(), format!("s{service}"));
    let plain = PlainContainer {
        name: format!("p{n}"),
        image: "web".into(),
        state: PlainState::Running,
        health,
        network: network.into(),
        ports: vec![port],
        labels: id.into_iter().chain([name]).collect(),
        ..PlainContainer::default()
    };
    put(Record::Plain(plain_id(h, n), Arc::new(plain)))
}

fn revision(labels: &[(&str, &str)]) -> Edit {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let revision = Revision {
        service: "shop/web".parse().unwrap(),
        number: 1,
        template: Template::of_container(ContainerSpec { labels, ..ContainerSpec::default() }),
        created_at: Default::default(),
    };
    put(Record::Revision(Arc::new(revision)))
}

fn instance_id(n: u8) -> InstanceId {
    InstanceId::new("shop/web".parse().unwrap(), u32::from(n), 1)
}

fn instance(n: u8, h: u8) -> Edit {
    let port = PortMapping {
        host_ip: None,
        host_port: None,
        container_port: 80,
        protocol: Transport::Tcp,
    };
    let instance = Instance {
        id: instance_id(n),
        host: format!("h{h}").parse().unwrap(),
        address: Some([10, 42, 0, n].into()),
        sidekick_addresses: BTreeMap::new(),
        container_name: format!("shop-web-{n}"),
        target: Target { revision: 1, restart: 0 },
        ports: vec![port],
        goal: Goal::Run,
        leaving: false,
        dropped: vec![],
        goal_at: Default::default(),
        reason: String::new(),
        placed_at: Default::default(),
    };
    put(Record::Instance(Arc::new(instance)))
}

fn status(n: u8, health: Health, reason: &str) -> Edit {
    let status = InstanceStatus {
        phase: Phase::Running,
        health,
        reason: reason.into(),
        ..InstanceStatus::default()
    };
    put(Record::InstanceStatus(instance_id(n), Arc::new(status)))
}

struct World {
    cluster: Cluster,
    tables: Tables,
    at: u64,
}

impl World {
    fn new(edits: Vec<Edit>) -> Self {
        let mut world = Self { cluster: Cluster::default(), tables: Tables::default(), at: 10 };
        world.apply(edits);
        world
    }

    fn apply(&mut self, edits: Vec<Edit>) -> News {
        self.at += 1;
        self.cluster.apply(Index(self.at), &Change { edits });
        self.tables.follow(&self.cluster)
    }

    fn index(&self, service: &str) -> u64 {
        self.tables.service_index(service).0
    }
}

fn two_services() -> World {
    World::new(vec![
        environment("e"),
        host(1, HostLink::Active, 0),
        host(2, HostLink::Active, 0),
        plain(1, 1, 1, Health::Healthy, "default", None),
        plain(2, 2, 2, Health::Healthy, "default", None),
    ])
}

#[test]
fn one_services_change_does_not_move_another() {
    let mut world = two_services();
    let floor = world.at;
    assert_eq!((world.index("s1"), world.index("s2"), world.index("none")), (floor, floor, floor));
    let news = world.apply(vec![plain(1, 1, 1, Health::Unhealthy, "default", None)]);
    assert_eq!(
        (world.index("s1"), world.index("s2"), world.index("none")),
        (world.at, floor, floor)
    );
    assert_eq!(news.services, ["s1".to_owned()].into());
    assert!(!news.entries_changed && news.checks_changed, "only its check is another");
    assert_eq!(world.tables.entries_index().0, floor);
    assert_eq!(world.tables.checks_index().0, world.at);
    assert_eq!(
        (world.tables.place_index("h1").0, world.tables.place_index("h2").0),
        (world.at, floor)
    );
    let row = world.tables.services().get("s1").unwrap().rows.values().next().unwrap();
    assert_eq!(row.times, Times { created: Index(floor), modified: Index(floor) });
    assert_eq!(row.checks, [Times { created: Index(floor), modified: Index(world.at) }]);
}

#[test]
fn the_same_again_moves_nothing() {
    let mut world = two_services();
    let floor = world.at;
    let same = vec![
        plain(1, 1, 1, Health::Healthy, "default", None),
        host(1, HostLink::Active, 0),
        environment("e"),
    ];
    assert!(world.apply(same).is_empty());
    assert_eq!(world.index("s1"), floor);
    assert_eq!(world.tables.nodes_index().0, floor);
}

#[test]
fn the_end_of_a_service_is_its_index_and_nobody_elses() {
    let mut world = two_services();
    let floor = world.at;
    world.apply(vec![Edit::Delete(RecordKey::Plain(plain_id(1, 1)))]);
    let end = world.at;
    assert_eq!((world.index("s1"), world.index("s2"), world.index("none")), (end, floor, floor));
    world.apply(vec![Edit::Delete(RecordKey::Plain(plain_id(2, 2)))]);
    assert_eq!(world.index("s1"), end);
    world.apply(vec![plain(1, 1, 1, Health::Healthy, "default", None)]);
    assert_eq!(world.index("s1"), world.at);
    assert!(world.tables.gone.get("s1").is_none() && world.tables.gone_by.size() == 1);
}

#[test]
fn ends_are_remembered_up_to_a_limit_and_no_index_goes_back() {
    let mut world = two_services();
    world.apply(vec![Edit::Delete(RecordKey::Plain(plain_id(1, 1)))]);
    let end = world.index("s1");
    for n in 0..CATALOG_GONE_MAX {
        let index = Index(world.at + 1 + n as u64);
        world.tables.gone.insert_mut(format!("x{n}"), index);
        world.tables.gone_by.insert_mut((index, format!("x{n}")), ());
    }
    world.tables.forget();
    assert_eq!(world.tables.gone.size(), CATALOG_GONE_MAX);
    assert_eq!(world.index("s1"), end, "forgotten, and the floor has risen to it");
    assert_eq!(world.index("none"), end);
}

#[test]
fn a_node_moves_what_is_on_it() {
    let mut world = two_services();
    let floor = world.at;
    let news = world.apply(vec![host(1, HostLink::Disconnected, 0)]);
    assert_eq!((world.index("s1"), world.index("s2")), (world.at, floor));
    assert_eq!(news.nodes, ["h1".to_owned()].into());
    assert!(news.entries.is_empty(), "the entry is what it was");
    world.apply(vec![host(1, HostLink::Lost, 0)]);
    assert!(world.tables.services().get("s1").is_none());
    assert_eq!(world.index("s1"), world.at);
    let check = &world.tables.nodes().get("h1").unwrap().value.checks[0];
    assert_eq!(check.status, CheckStatus::Critical);
    world.apply(vec![host(1, HostLink::Active, 0)]);
    assert_eq!(world.tables.entries_on("h1").count(), 1, "it is back");
}

#[test]
fn who_shares_a_network_follows_its_owner() {
    let mut world = two_services();
    world.apply(vec![plain(1, 3, 3, Health::Healthy, "container:c1", None)]);
    let address = |world: &World| {
        let rows = world.tables.services().get("s3").map(|service| service.rows.clone());
        rows.map(|rows| rows.values().next().unwrap().value.address.clone())
    };
    assert_eq!(address(&world).as_deref(), Some("10.0.0.1"));
    world.apply(vec![Edit::Delete(RecordKey::Plain(plain_id(1, 1)))]);
    assert_eq!(address(&world), None, "nobody can reach it any more");
    assert_eq!(world.tables.catalog(), Catalog::of(&world.cluster));
}

#[test]
fn of_those_who_claim_an_id_the_last_is_believed_and_the_next_when_it_goes() {
    let mut world = two_services();
    let claim = |n| plain(1, n, 5, Health::Healthy, "default", Some(1));
    world.apply(vec![claim(6), claim(5)]);
    let port = |world: &World| {
        let rows = &world.tables.services().get("s5").unwrap().rows;
        rows.values().map(|row| row.value.port).collect::<Vec<_>>()
    };
    assert_eq!(port(&world), [30_006]);
    world.apply(vec![Edit::Delete(RecordKey::Plain(plain_id(1, 6)))]);
    assert_eq!(port(&world), [30_005]);
}

#[test]
fn a_catalog_that_is_known_whole_has_one_index() {
    let world = two_services();
    let catalog = Catalog::of(&world.cluster);
    let (tables, news) = Tables::of(&catalog, Index(77));
    assert_eq!(tables.catalog(), catalog);
    assert_eq!(news.services.len(), 2);
    for index in [
        tables.service_index("s1"),
        tables.service_index("none"),
        tables.place_index("h2"),
        tables.nodes_index(),
        tables.entries_index(),
        tables.checks_index(),
    ] {
        assert_eq!(index, Index(77));
    }
}

#[test]
fn what_is_too_long_ago_to_be_known_is_compared() {
    let mut world = two_services();
    let floor = world.at;
    for _ in 0..=model::limits::RECENT_KEYS_MAX {
        world.at += 1;
        world.cluster.apply(Index(world.at), &Change { edits: vec![environment("e")] });
    }
    let news = world.apply(vec![Edit::Delete(RecordKey::Plain(plain_id(1, 1)))]);
    assert_eq!(news.services, ["s1".to_owned()].into());
    assert_eq!((world.index("s1"), world.index("s2")), (world.at, floor));
}

fn edits() -> impl Strategy<Value = Edit> {
    let link = prop_oneof![
        Just(HostLink::Active),
        Just(HostLink::Disconnected),
        Just(HostLink::Lost),
        Just(HostLink::Joined)
    ];
    let health =
        prop_oneof![Just(Health::Healthy), Just(Health::Unhealthy), Just(Health::Unchecked)];
    let health2 = health.clone();
    let network = prop_oneof![
        3 => Just("default"), 1 => Just("container:c1"), 1 => Just("host"),
    ];
    prop_oneof![
        2 => (1..4_u8, link, 0..2_u8).prop_map(|(n, link, zone)| host(n, link, zone)),
        1 => (1..4_u8).prop_map(|n| Edit::Delete(RecordKey::Host(format!("h{n}").parse().unwrap()))),
        6 => (1..4_u8, 1..5_u8, 1..4_u8, health, network, prop::option::of(1..3_u8))
            .prop_map(|(h, n, s, health, net, id)| plain(h, n, s, health, net, id)),
        3 => (1..4_u8, 1..5_u8).prop_map(|(h, n)| Edit::Delete(RecordKey::Plain(plain_id(h, n)))),
        3 => (1..4_u8, 1..4_u8).prop_map(|(n, h)| instance(n, h)),
        2 => (1..4_u8).prop_map(|n| Edit::Delete(RecordKey::Instance(instance_id(n)))),
        3 => (1..4_u8, health2, 0..2_u8)
            .prop_map(|(n, health, why)| status(n, health, ["slow", "down"][usize::from(why)])),
        1 => (1..4_u8).prop_map(|n| Edit::Delete(RecordKey::InstanceStatus(instance_id(n)))),
        1 => prop_oneof![
            Just(revision(&[])),
            Just(revision(&[("SERVICE_TAGS", "a,b")])),
            Just(revision(&[("SERVICE_NAME", "s1")])),
        ],
        1 => prop_oneof![Just(environment("e")), Just(environment("f"))],
        6 => clients(),
    ]
}

/// What clients register on hosts and on a node outside, and how their checks stand.
fn clients() -> impl Strategy<Value = Edit> {
    let node = |n: u8| if n == 0 { "db".to_owned() } else { format!("h{n}") };
    let key = move |n, id: u8| ClientKey::new(&node(n), &format!("c{id}"));
    let address = |n: u8| format!("10.9.0.{n}");
    let outside =
        move |n| ClientNode { name: "db".into(), address: address(n), ..Default::default() };
    let service = move |(n, id, service, port)| {
        let named = format!("s{service}");
        put(Record::ClientService(Arc::new(client_service(key(n, id), named, port))))
    };
    let check = move |(n, id, of, alias): (u8, u8, Option<u8>, bool)| {
        let service = of.map(|of| format!("c{of}")).unwrap_or_default();
        let probe = match alias {
            true => CheckProbe::Alias { service: "c1".into() },
            false => CheckProbe::Told,
        };
        put(Record::ClientCheck(Arc::new(client_check(key(n, id), service, probe))))
    };
    let state = move |(n, id, warns)| {
        let status = if warns { CheckStatus::Warning } else { CheckStatus::Passing };
        let state = CheckState {
            key: key(n, id),
            run: Default::default(),
            status,
            output: String::new(),
            changed_at: Default::default(),
        };
        put(Record::CheckState(Arc::new(state)))
    };
    prop_oneof![
        (1..3_u8).prop_map(move |n| put(Record::ClientNode(Arc::new(outside(n))))),
        Just(Edit::Delete(RecordKey::ClientNode("db".into()))),
        (0..3_u8, 1..3_u8, 1..4_u8, 1..3_u16).prop_map(service),
        (0..3_u8, 1..3_u8)
            .prop_map(move |(n, id)| Edit::Delete(RecordKey::ClientService(key(n, id)))),
        (0..3_u8, 1..4_u8, prop::option::of(1..3_u8), any::<bool>()).prop_map(check),
        (0..3_u8, 1..4_u8)
            .prop_map(move |(n, id)| Edit::Delete(RecordKey::ClientCheck(key(n, id)))),
        (0..3_u8, 1..4_u8, any::<bool>()).prop_map(state),
        (0..3_u8, 1..4_u8).prop_map(move |(n, id)| Edit::Delete(RecordKey::CheckState(key(n, id)))),
    ]
}

fn client_service(key: ClientKey, service: String, port: u16) -> ClientService {
    ClientService {
        key,
        service,
        tags: vec![],
        address: String::new(),
        port,
        meta: BTreeMap::new(),
        tagged_addresses: BTreeMap::new(),
        weight_passing: 1,
        weight_warning: 1,
        enable_tag_override: false,
    }
}

fn client_check(key: ClientKey, service: String, probe: CheckProbe) -> ClientCheck {
    ClientCheck {
        name: key.id.clone(),
        key,
        notes: String::new(),
        service,
        plan: CheckPlan::of(probe),
        status: CheckStatus::Critical,
        deregister_after_ms: None,
        since: Default::default(),
    }
}

/// What a service is for one who asks for its health: its entries with their nodes.
fn told(catalog: &Catalog) -> BTreeMap<String, Vec<(Entry, Node)>> {
    let services = catalog.services.iter().map(|(name, entries)| {
        let entries = entries.values().map(|entry| {
            let node = catalog.nodes.get(&entry.node).map(|node| (**node).clone());
            ((**entry).clone(), node.unwrap_or_default())
        });
        (name.clone(), entries.collect())
    });
    services.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn followed_it_is_the_same_and_indexes_move_exactly_with_it(
        changes in prop::collection::vec(prop::collection::vec(edits(), 1..4), 1..25),
    ) {
        let mut world = World::new(vec![environment("e"), revision(&[])]);
        for edits in changes {
            let before = world.tables.clone();
            let news = world.apply(edits);
            let (old, new) = (before.catalog(), Catalog::of(&world.cluster));
            prop_assert_eq!(&world.tables.catalog(), &new);
            let (was, is) = (told(&old), told(&new));
            let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
            for name in names {
                let moved = was.get(name) != is.get(name);
                prop_assert_eq!(news.services.contains(name), moved, "{}", name);
                let index = if moved { Index(world.at) } else { before.service_index(name) };
                prop_assert_eq!(world.tables.service_index(name), index, "{}", name);
            }
            for (list, moved) in [
                (world.tables.nodes_index(), bare_nodes(&old) != bare_nodes(&new)),
                (world.tables.entries_index(), bare(&old) != bare(&new)),
                (world.tables.checks_index(), checks(&old) != checks(&new)),
            ] {
                prop_assert_eq!(list == Index(world.at), moved);
            }
            let on: usize = new.nodes.keys().map(|node| world.tables.entries_on(node).count()).sum();
            let all: usize = new.services.values().map(BTreeMap::len).sum();
            prop_assert_eq!(on, all, "every entry is on a node that is there");
        }
    }
}

fn bare(catalog: &Catalog) -> Vec<Entry> {
    let all = catalog.services.values().flat_map(BTreeMap::values);
    all.map(|entry| entry.bare()).collect()
}

fn bare_nodes(catalog: &Catalog) -> Vec<Node> {
    catalog.nodes.values().map(|node| node.bare()).collect()
}

fn checks(catalog: &Catalog) -> Vec<(String, String, Check)> {
    let nodes = catalog.nodes.values().flat_map(|node| {
        node.checks.iter().map(|check| (node.name.clone(), String::new(), check.clone()))
    });
    let entries = catalog.services.values().flat_map(BTreeMap::values).flat_map(|entry| {
        let place = (entry.node.clone(), format!("{}/{}", entry.service, entry.id));
        entry.checks.iter().map(move |check| (place.0.clone(), place.1.clone(), check.clone()))
    });
    nodes.chain(entries).collect()
}
