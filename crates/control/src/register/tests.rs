//! Orders of clients: what they change, what they leave, and what is refused.

use super::*;
use crate::catalog::Catalog;
use model::host::{Host, HostFacts, HostLink};
use model::limits::CATALOG_META_MAX;
use model::plain::{PlainContainer, PlainId, PlainPort, PlainState};
use model::registration::CheckSeen;
use model::service::Transport;
use model::time::Index;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn host(id: &str) -> Record {
    let facts = HostFacts { address: "10.0.0.7".into(), ..HostFacts::default() };
    Record::Host(Arc::new(Host {
        id: id.parse().unwrap(),
        facts,
        status: HostLink::Active,
        changed_at: Timestamp(0),
        unheard_since: Timestamp(0),
        scheduling: Default::default(),
        labels: BTreeMap::new(),
        reason: String::new(),
        membership: Default::default(),
    }))
}

fn plain(labels: &[(&str, &str)], started_at: i64) -> Record {
    let id = PlainId { host: "h1".parse().unwrap(), container: "abc".parse().unwrap() };
    let port = PlainPort {
        container_port: 80,
        protocol: Transport::Tcp,
        host_port: Some(8080),
        host_ip: None,
    };
    let plain = PlainContainer {
        name: "front".into(),
        image: "front".into(),
        state: PlainState::Running,
        network: "default".into(),
        ports: vec![port],
        started_at: Timestamp(started_at),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..PlainContainer::default()
    };
    Record::Plain(id, Arc::new(plain))
}

/// A cluster that orders are given to.
struct World {
    cluster: Cluster,
    at: i64,
}

impl World {
    fn new() -> Self {
        let mut world = Self { cluster: Cluster::default(), at: 1 };
        world.apply(vec![Edit::Put(host("h1"))]);
        world
    }

    fn apply(&mut self, edits: Vec<Edit>) {
        self.at += 1;
        let index = Index(self.at.unsigned_abs());
        self.cluster.apply(index, &Change { edits });
    }

    /// How many records it changes.
    fn order(&mut self, order: &Order) -> Result<usize, Refused> {
        let proposal = decide(&self.cluster, order, Timestamp(self.at))?;
        for (key, modified) in &proposal.reads {
            assert_eq!(self.cluster.modified(key), *modified, "{key}");
        }
        let count = proposal.change.edits.len();
        if count > 0 {
            self.apply(proposal.change.edits);
        }
        Ok(count)
    }

    fn tell(&mut self, id: &str, status: CheckStatus, output: &str) -> Result<u64, Refused> {
        let (key, output) = (ClientKey::new("h1", id), output.to_owned());
        let telling = Telling { key, status, output };
        let (state, ttl) = told(&self.cluster, &telling, Timestamp(self.at))?;
        self.apply(Order::stand(&self.cluster, state).change.edits);
        Ok(ttl)
    }

    fn stands(&self, id: &str) -> (CheckStatus, String) {
        let check = self.cluster.client_check(&ClientKey::new("h1", id)).unwrap();
        crate::catalog::stands(&self.cluster, check)
    }
}

fn service(node: &str, id: &str) -> ClientService {
    ClientService {
        key: ClientKey::new(node, id),
        service: "web".into(),
        tags: vec![],
        address: String::new(),
        port: 80,
        meta: BTreeMap::new(),
        tagged_addresses: BTreeMap::new(),
        weight_passing: 1,
        weight_warning: 1,
        enable_tag_override: false,
    }
}

fn check(node: &str, id: &str, service: &str, probe: CheckProbe) -> ClientCheck {
    ClientCheck {
        key: ClientKey::new(node, id),
        name: id.into(),
        notes: String::new(),
        service: service.into(),
        plan: CheckPlan::of(probe),
        status: CheckStatus::Critical,
        deregister_after_ms: None,
        since: Timestamp(0),
    }
}

fn register(id: &str, checks: &[&str], replace_checks: bool) -> Order {
    let ttl = |name: &&str| check("h1", name, id, CheckProbe::Ttl(10_000));
    let checks = checks.iter().map(ttl).collect();
    Order::Service { service: service("h1", id), checks, replace_checks }
}

#[test]
fn who_registers_the_same_again_changes_nothing_and_a_check_stays_as_it_was() {
    let mut world = World::new();
    assert_eq!(world.order(&register("web", &["c1", "c2"], false)), Ok(3));
    assert_eq!(world.tell("c1", CheckStatus::Passing, "fine"), Ok(10_000));
    assert_eq!(world.order(&register("web", &["c1", "c2"], false)), Ok(0));
    assert_eq!(world.stands("c1"), (CheckStatus::Passing, "fine".into()));
    assert_eq!(world.order(&register("web", &["c1"], false)), Ok(0), "the other one stays");
    assert_eq!(world.order(&register("web", &["c1"], true)), Ok(1), "the other one goes");
    let mut other = register("web", &["c1"], false);
    if let Order::Service { service, checks, .. } = &mut other {
        service.port = 81;
        checks[0].notes = "new".into();
    }
    assert_eq!(world.order(&other), Ok(2));
    assert_eq!(world.stands("c1").0, CheckStatus::Passing, "no flapping");
    assert_eq!(world.order(&Order::NoService(ClientKey::new("h1", "web"))), Ok(3));
    assert_eq!(world.cluster.check_states().count(), 0);
}

#[test]
fn what_there_is_not_is_unknown_and_what_waits_for_no_word_takes_none() {
    let mut world = World::new();
    world.order(&register("web", &["c1"], false)).unwrap();
    let tcp = CheckProbe::Tcp { address: "127.0.0.1:1".into() };
    world.order(&Order::Check(check("h1", "t", "", tcp))).unwrap();
    let key = |id| ClientKey::new("h1", id);
    let unknown = |result| matches!(result, Err(Refused::Unknown(_)));
    assert!(unknown(world.order(&Order::NoService(key("nothing")))));
    assert!(unknown(world.order(&Order::NoCheck(key("nothing")))));
    let of_nothing = check("h1", "c", "nothing", CheckProbe::Ttl(1));
    assert!(unknown(world.order(&Order::Check(of_nothing))));
    let maintenance = Order::Maintenance { of: key("nothing"), on: true, reason: String::new() };
    assert!(unknown(world.order(&maintenance)));
    assert!(matches!(world.tell("t", CheckStatus::Passing, ""), Err(Refused::Bad(_))));
    assert!(matches!(world.tell("nothing", CheckStatus::Passing, ""), Err(Refused::Unknown(_))));
    let script = CheckProbe::Script { args: vec!["true".into()] };
    assert!(matches!(
        world.order(&Order::Check(check("h1", "s", "", script))),
        Err(Refused::Bad(_))
    ));
    let mut elsewhere = register("web", &[], false);
    if let Order::Service { service, .. } = &mut elsewhere {
        service.key.node = "stranger".into();
    }
    assert!(matches!(world.order(&elsewhere), Err(Refused::Bad(_))));
    let mut large = register("web", &[], false);
    if let Order::Service { service, .. } = &mut large {
        service.meta = (0..=CATALOG_META_MAX).map(|n| (n.to_string(), String::new())).collect();
    }
    assert!(matches!(world.order(&large), Err(Refused::Bad(_))));
}

#[test]
fn clients_cannot_change_what_runs_here() {
    let mut world = World::new();
    world.apply(vec![Edit::Put(plain(&[], 5))]);
    let key = |id| ClientKey::new("h1", id);
    let node = |address: &str| Order::Node {
        node: ClientNode { name: "h1".into(), address: address.into(), ..Default::default() },
        skip_node: false,
        service: None,
        checks: vec![],
    };
    for (n, order) in [
        register("h1:front:80", &[], false),
        Order::NoService(key("h1:front:80")),
        Order::Check(check("h1", "c", "h1:front:80", CheckProbe::Ttl(1))),
        Order::Check(check("h1", "serfHealth", "", CheckProbe::Ttl(1))),
        Order::NoCheck(key("service:h1:front:80")),
        Order::Maintenance { of: key("h1:front:80"), on: true, reason: String::new() },
        Order::NoNode("h1".into()),
        node("10.9.9.9"),
    ]
    .into_iter()
    .enumerate()
    {
        let refused = world.order(&order);
        assert!(matches!(refused, Err(Refused::Forbidden(_))), "{n}: {refused:?}");
    }
    assert_eq!(world.order(&node("10.0.0.7")), Ok(0), "what is said already is so");
}

#[test]
fn maintenance_is_a_critical_check_until_it_ends() {
    let mut world = World::new();
    world.order(&register("web", &[], false)).unwrap();
    for id in ["web", ""] {
        let of = ClientKey::new("h1", id);
        let order = |on| Order::Maintenance { of: of.clone(), on, reason: "disk".into() };
        assert_eq!(world.order(&order(true)), Ok(1));
        assert_eq!(world.order(&order(true)), Ok(0));
        let check = world.cluster.client_checks().next().unwrap();
        assert_eq!((check.notes.as_str(), check.status), ("disk", CheckStatus::Critical));
        let name = if id.is_empty() { "_node_maintenance" } else { "_service_maintenance:web" };
        assert_eq!(check.key.id, name);
        assert_eq!(world.order(&order(false)), Ok(1));
        assert_eq!(world.order(&order(false)), Ok(0));
    }
}

#[test]
fn a_node_outside_comes_and_goes_with_all_that_is_on_it() {
    let mut world = World::new();
    let node = ClientNode { name: "db".into(), address: "db.example".into(), ..Default::default() };
    let order = |status, output: &str| {
        let ill = ClientCheck { status, ..check("db", "alive", "web", CheckProbe::Told) };
        let service = Some(service("db", "web"));
        let checks = vec![(ill, output.to_owned())];
        Order::Node { node: node.clone(), skip_node: false, service, checks }
    };
    assert_eq!(world.order(&order(CheckStatus::Passing, "ok")), Ok(4));
    assert_eq!(world.order(&order(CheckStatus::Passing, "ok")), Ok(0));
    assert_eq!(world.order(&order(CheckStatus::Warning, "slow")), Ok(1), "its state alone");
    let entry = Catalog::of(&world.cluster).services["web"].values().next().unwrap().clone();
    assert_eq!(entry.checks[0].status, CheckStatus::Warning);
    assert_eq!(world.order(&Order::NoNode("db".into())), Ok(4));
    assert_eq!(world.order(&Order::NoNode("db".into())), Ok(0));
    assert!(Catalog::of(&world.cluster).services.is_empty());
}

#[test]
fn silence_is_critical_once_with_what_was_said_last() {
    let mut world = World::new();
    world.order(&register("web", &["c1"], false)).unwrap();
    let key = ClientKey::new("h1", "c1");
    assert_eq!(expired(&world.cluster, &key, None, Timestamp(99)), None, "it was never well");
    world.tell("c1", CheckStatus::Passing, "fine").unwrap();
    let state = expired(&world.cluster, &key, None, Timestamp(99)).unwrap();
    assert_eq!(state.output, "TTL expired (last output before timeout follows): fine");
    assert_eq!((state.status, state.changed_at), (CheckStatus::Critical, Timestamp(99)));
    world.apply(Order::stand(&world.cluster, state).change.edits);
    assert_eq!(expired(&world.cluster, &key, None, Timestamp(100)), None);
}

#[test]
fn what_a_dataplane_found_counts_for_the_start_that_it_asked() {
    let mut world = World::new();
    let labels = [("SERVICE_CHECK_HTTP", "/ping"), ("SERVICE_CHECK_INTERVAL", "1s")];
    world.apply(vec![Edit::Put(plain(&labels, 5))]);
    let host = "h1".parse().unwrap();
    let id = "service:h1:front:80".to_owned();
    let listed = |world: &World| {
        let catalog = Catalog::of(&world.cluster);
        let entry = catalog.services["front"].values().next().unwrap().clone();
        let of = |check: &crate::catalog::Check| (check.status, check.output.clone());
        entry.checks.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(listed(&world), [(CheckStatus::Critical, String::new())], "not asked yet");
    let wish = crate::catalog::checks::wishes(&world.cluster, &host).remove(&id).unwrap();
    assert_eq!(wish.run, Timestamp(5));
    for (run, at, changes, stands) in [
        (4, 10, 0, CheckStatus::Critical),
        (5, 11, 1, CheckStatus::Passing),
        (5, 12, 0, CheckStatus::Passing),
    ] {
        let output = "HTTP GET: 200 OK".to_owned();
        let seen = CheckSeen { status: CheckStatus::Passing, output, run: Timestamp(run) };
        let seen = [(id.clone(), seen.clone()), ("other".into(), seen)].into();
        let edits = heard(&world.cluster, &host, &seen, Timestamp(at));
        assert_eq!(edits.len(), changes, "{run} {at}");
        world.apply(edits);
        assert_eq!(listed(&world)[0].0, stands, "{run} {at}");
    }
    world.apply(vec![Edit::Put(plain(&labels, 6))]);
    assert_eq!(listed(&world)[0].0, CheckStatus::Critical, "another start, nothing known");
}

/// What a simple model of an agent would do.
#[derive(Clone, Copy, Debug)]
enum Move {
    Put(u8, u8),
    Drop(u8),
    Check(u8, u8),
    DropCheck(u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        (0..4_u8, 0..3_u8).prop_map(|(s, c)| Move::Put(s, c)),
        (0..4_u8).prop_map(Move::Drop),
        (0..6_u8, 0..4_u8).prop_map(|(c, s)| Move::Check(c, s)),
        (0..6_u8).prop_map(Move::DropCheck),
    ];
    prop::collection::vec(one, 0..40)
}

proptest! {
    #[test]
    fn services_and_checks_come_and_go_as_in_a_simple_model(moves in moves()) {
        let mut world = World::new();
        let mut services: BTreeSet<String> = BTreeSet::new();
        let mut checks: BTreeMap<String, String> = BTreeMap::new();
        let s = |n: u8| format!("s{n}");
        let c = |n: u8| format!("c{n}");
        for step in moves {
            match step {
                Move::Put(n, count) => {
                    let ids: Vec<String> = (0..count).map(c).collect();
                    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                    prop_assert!(world.order(&register(&s(n), &ids, false)).is_ok());
                    services.insert(s(n));
                    checks.extend((0..count).map(|k| (c(k), s(n))));
                }
                Move::Drop(n) => {
                    let gone = world.order(&Order::NoService(ClientKey::new("h1", &s(n))));
                    prop_assert_eq!(gone.is_ok(), services.remove(&s(n)));
                    checks.retain(|_, of| *of != s(n));
                }
                Move::Check(k, n) => {
                    let new = check("h1", &c(k), &s(n), CheckProbe::Ttl(1_000));
                    let put = world.order(&Order::Check(new));
                    prop_assert_eq!(put.is_ok(), services.contains(&s(n)));
                    if put.is_ok() {
                        checks.insert(c(k), s(n));
                    }
                }
                Move::DropCheck(k) => {
                    let gone = world.order(&Order::NoCheck(ClientKey::new("h1", &c(k))));
                    prop_assert_eq!(gone.is_ok(), checks.remove(&c(k)).is_some());
                }
            }
            let known = world.cluster.client_services().map(|one| one.key.id.clone());
            prop_assert_eq!(known.collect::<BTreeSet<_>>(), services.clone());
            let known = world.cluster.client_checks();
            let known = known.map(|one| (one.key.id.clone(), one.service.clone()));
            prop_assert_eq!(known.collect::<BTreeMap<_, _>>(), checks.clone());
        }
    }
}
