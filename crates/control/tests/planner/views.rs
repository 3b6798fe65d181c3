//! What a host may publish and hold, derived from clusters of the tables' kind.

use crate::world::World;
use control::publish::{News, Publisher};
use control::{host, operate, publish};
use model::change::{Change, Edit, Proposal};
use model::floating::{Floating, SeatKey};
use model::host::HostLink;
use model::id::HostId;
use model::instance::Goal;
use model::record::Record;
use model::registration::{CheckPlan, CheckProbe, CheckStatus, ClientCheck, ClientKey};
use model::scaling::{Metric, Scaling};
use model::time::Timestamp;
use model::view::{Admit, HostView, ListenerMode, NameTarget};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

fn alpha() -> HostId {
    "alpha".parse().unwrap()
}

fn view(world: &World) -> HostView {
    publish::view(&world.cluster, &alpha())
}

/// Endpoints of an upstream as `n:port`, draining ones in brackets.
fn endpoints(view: &HostView, upstream: &str) -> String {
    let upstream = view.upstreams.get(upstream);
    let upstream = upstream.unwrap_or_else(|| panic!("only {:?}", view.upstreams.keys()));
    let words = upstream.endpoints.iter().map(|endpoint| {
        let word = format!("{}:{}", endpoint.instance.n, endpoint.port);
        match view.instances[&endpoint.instance].admit {
            Admit::Active => word,
            Admit::Draining => format!("[{word}]"),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

const SHOP: [&str; 2] = ["lb lb=8080>web:80", "web image=good:1 scale=2 check port=9000"];

fn shop() -> World {
    let mut world = World::new();
    world.up(&SHOP);
    world.until_done();
    world
}

#[test]
fn names_ports_and_routes_of_a_stack() {
    let world = shop();
    let view = view(&world);
    let names: Vec<&str> = view.dns.names.keys().map(String::as_str).collect();
    let expect =
        ["lb.shop", "rancher-metadata", "shop-lb-1", "shop-web-1", "shop-web-2", "web.shop"];
    assert_eq!(names, expect);
    let NameTarget::Service(all) = &view.dns.names["web.shop"] else { panic!("a service") };
    assert_eq!(all.len(), 2);
    let listeners: Vec<&str> = view.listeners.keys().map(String::as_str).collect();
    assert_eq!(listeners, ["*:8080/tcp", "*:9000/tcp"]);
    assert_eq!(endpoints(&view, "host:*:9000/tcp"), "1:80 2:80");
    let ListenerMode::Http { routes } = &view.listeners["*:8080/tcp"].mode else {
        panic!("an http balancer")
    };
    assert_eq!(endpoints(&view, &routes[0].upstream), "1:80 2:80");
    for caller in view.callers.values() {
        assert_eq!(
            caller.search,
            ["web.shop.rancher.internal", "shop.rancher.internal", "rancher.internal"]
        );
    }
    assert_eq!(view.callers.len(), 2, "a balancer asks nothing");
}

#[test]
fn an_alias_that_gets_other_targets_leads_there_at_once_by_balancers_and_other_aliases_too() {
    let mut world = World::new();
    let services = |live: &'static str| {
        [
            "lb lb=8080>live:80 lb=8081>blue:80 lb=8082>green:80",
            "blue image=good:1 scale=2",
            "green image=good:1",
            live,
            "far alias=live",
        ]
    };
    let of = |world: &mut World| -> (Vec<String>, String) {
        world.publish();
        let view = view(world);
        let ids = |name: &str| match &view.dns.names[name] {
            NameTarget::Service(all) => all.iter().map(|id| id.service.service.to_string()),
            other => panic!("{other:?}"),
        };
        let ListenerMode::Http { routes } = &view.listeners["*:8080/tcp"].mode else {
            panic!("an http balancer")
        };
        (ids("far.shop").chain(ids("live.shop")).collect(), endpoints(&view, &routes[0].upstream))
    };
    world.up(&services("live alias=blue"));
    world.run(30_000);
    let blue = ["blue"; 4].map(str::to_owned).to_vec();
    assert_eq!(of(&mut world), (blue, "1:80 2:80".to_owned()));
    // Nothing of blue, green, the balancer or the other alias changes.
    world.up(&services("live alias=green"));
    world.run(30_000);
    let green = ["green"; 2].map(str::to_owned).to_vec();
    assert_eq!(of(&mut world), (green, "1:80".to_owned()));
}

#[test]
fn who_is_replaced_stays_listed_as_draining_until_it_is_gone() {
    let mut world = shop();
    let host_port = "host:*:9000/tcp";
    world.up(&["lb lb=8080>web:80", "web image=good:2 scale=2 check port=9000"]);
    world.run(500);
    assert_eq!(endpoints(&view(&world), host_port), "1:80 1:80 2:80", "the new one is listed too");
    while endpoints(&view(&world), host_port) == "1:80 1:80 2:80" {
        world.run(500);
    }
    assert_eq!(endpoints(&view(&world), host_port), "[1:80] 1:80 2:80 2:80");
    let NameTarget::Instance(named) = &view(&world).dns.names["shop-web-1"] else {
        panic!("an instance")
    };
    assert_eq!(world.cluster.instance(named).unwrap().goal, Goal::Run, "the name has moved on");
    world.until_done();
    world.run(5_000);
    assert_eq!(endpoints(&view(&world), host_port), "1:80 2:80");
}

#[test]
fn a_stopped_service_keeps_its_name_and_its_ports_answer_for_nobody() {
    let mut world = shop();
    world.operate(operate::stop);
    world.run(5_000);
    let view = view(&world);
    assert_eq!(view.dns.names["web.shop"], NameTarget::Service(vec![]));
    let ListenerMode::Http { routes } = &view.listeners["*:8080/tcp"].mode else {
        panic!("an http balancer")
    };
    assert_eq!(endpoints(&view, &routes[0].upstream), "");
    assert!(!view.listeners.contains_key("*:9000/tcp"));
}

#[test]
fn evidence_of_a_failed_rollout_takes_no_traffic() {
    let mut world = shop();
    world.up(&["lb lb=8080>web:80", "web image=sick scale=2 check port=9000"]);
    world.run(10_000);
    assert_eq!(world.slots("web"), "1r1* (1r2) 2r1*");
    assert_eq!(endpoints(&view(&world), "host:*:9000/tcp"), "1:80 2:80");
}

#[test]
fn a_host_is_told_what_goes_and_other_hosts_nothing_of_it() {
    let mut world = shop();
    world.host("beta", HostLink::Active);
    world.plan();
    assert!(host::spec(&world.cluster, &"beta".parse().unwrap()).instances.is_empty());
    let before = host::spec(&world.cluster, &alpha());
    assert_eq!((before.instances.len(), before.balancers.len()), (2, 1));
    let labels = &before.instances.values().next().unwrap().system_labels;
    for (label, value) in [
        ("io.remuda.environment", "e1"),
        ("io.rancher.stack.name", "shop"),
        ("io.rancher.stack_service.name", "shop/web"),
        ("io.rancher.container.name", "shop-web-1"),
    ] {
        assert_eq!(labels[label], value);
    }
    assert!(labels["io.rancher.container.ip"].ends_with("/16"));
    world.operate(|cluster, id| operate::scale(cluster, id, 1).unwrap());
    let after = host::spec(&world.cluster, &alpha());
    assert!(after.generation > before.generation);
    let goals: Vec<Goal> = after.instances.values().map(|one| one.goal).collect();
    assert_eq!(goals, [Goal::Run, Goal::Remove], "a removal is an entry, never an absence");
}

#[test]
fn requests_are_counted_where_the_scale_follows_them() {
    let mut world = shop();
    let counted = |world: &World| -> Vec<String> {
        let view = view(world);
        let counted = view.instances.iter().filter(|(_, one)| one.counted);
        counted.map(|(id, _)| id.public_name()).collect()
    };
    assert_eq!(counted(&world), [""; 0]);
    for (metric, expect) in
        [(Metric::Requests, &["shop-web-1", "shop-web-2"][..]), (Metric::Cpu, &[])]
    {
        let scaling =
            Scaling::Load { min: 2, max: 4, metric, target: 9, down_after_ms: 9, up_after_ms: 9 };
        world.operate(|cluster, id| {
            let mut service = (**cluster.service(id).unwrap()).clone();
            service.settings.scaling = Some(scaling);
            let edits = vec![Edit::Put(Record::Service(Arc::new(service)))];
            Proposal { reads: [].into(), change: Change { edits } }
        });
        assert_eq!(counted(&world), expect, "{metric:?}");
    }
}

#[test]
fn a_host_hears_of_an_order_that_changes_nothing_of_what_it_is_to_hold() {
    let mut world = shop();
    let generation = |world: &mut World| {
        world.publish();
        world.hosts.generation(&alpha())
    };
    let before = generation(&mut world);
    assert_eq!(generation(&mut world), before, "nothing was ordered");
    let mut instance = (**world.cluster.instances_on(&alpha()).next().unwrap()).clone();
    instance.reason = "another one".into();
    world.put(Record::Instance(Arc::new(instance)));
    let ordered = world.cluster.index().0;
    assert!(before < ordered && generation(&mut world) == ordered);
}

/// A floating address on `alpha`, with these voters.
fn floating(number: u64, voters: &[&str]) -> Floating {
    let voters: BTreeSet<HostId> = voters.iter().map(|id| id.parse().unwrap()).collect();
    let at = |host: &HostId| (host.clone(), Ipv4Addr::new(192, 0, 2, host.as_str().as_bytes()[0]));
    Floating {
        address: Ipv4Addr::new(192, 0, 2, 50),
        service: Some("shop/web".parse().unwrap()),
        number,
        candidates: [alpha()].into(),
        addresses: voters.iter().chain([&alpha()]).map(at).collect(),
        voters,
        settled: BTreeSet::new(),
        holder: None,
        why: String::new(),
        problems: BTreeMap::new(),
    }
}

/// What hosts are told change by change is held against it at every `put`.
#[test]
fn voters_and_candidates_of_a_floating_address_are_told_their_seats_with_a_key() {
    let mut world = shop();
    for id in ["beta", "gamma"] {
        world.host(id, HostLink::Active);
    }
    let mut publisher = Publisher::default().with_secret([7; 32]);
    let hosts = ["alpha", "beta", "gamma"].map(|id| id.parse::<HostId>().unwrap());
    hosts.iter().for_each(|host| publisher.attend(host));
    assert!(publisher.follow(&world.cluster).len() == 3, "each is told the whole");
    let address = Ipv4Addr::new(192, 0, 2, 50);
    world.put(Record::Floating(Arc::new(floating(1, &["beta"]))));
    let news = publisher.follow(&world.cluster);
    let told: Vec<&str> = news.keys().map(HostId::as_str).collect();
    assert_eq!(told, ["alpha", "beta"], "who has nothing to do with it hears nothing");
    let seat = |publisher: &mut Publisher, host: &HostId| {
        publisher.whole(host).unwrap().view.floating.get(&address).cloned()
    };
    let [one, other] = [0, 1].map(|n| seat(&mut publisher, &hosts[n]).unwrap());
    assert!(one.key == other.key && one.key != SeatKey::default());
    assert!(one.candidate && !other.candidate && one.number == 1);
    assert_eq!(one.upstreams, ["host:*:9000/tcp"], "its own port, and not that of the balancer");
    let Some(News::Delta(_, delta, _)) = news.get(&hosts[1]) else { panic!("{news:?}") };
    assert_eq!(delta.view.as_ref().unwrap().floating[&address].as_ref(), Some(&other));
    world.put(Record::Floating(Arc::new(floating(2, &["gamma"]))));
    assert_eq!(publisher.follow(&world.cluster).len(), 3, "beta is told that it has none");
    assert!(seat(&mut publisher, &hosts[1]).is_none());
    assert!(seat(&mut publisher, &hosts[2]).is_some_and(|seat| seat.number == 2));
}

/// What hosts are told change by change is held against it at every `put`.
#[test]
fn checks_that_clients_ask_for_are_told_to_their_host_alone() {
    let mut world = shop();
    world.host("beta", HostLink::Active);
    let check = |node: &str, id: &str, probe: CheckProbe| {
        Record::ClientCheck(Arc::new(ClientCheck {
            key: ClientKey::new(node, id),
            name: id.into(),
            notes: String::new(),
            service: String::new(),
            plan: CheckPlan::of(probe),
            status: CheckStatus::Critical,
            deregister_after_ms: None,
            since: Timestamp(7),
        }))
    };
    let tcp = |port: u16| CheckProbe::Tcp { address: format!("127.0.0.1:{port}") };
    world.put(check("alpha", "a", tcp(1)));
    world.put(check("alpha", "word", CheckProbe::Ttl(1_000)));
    world.put(check("outside", "b", tcp(2)));
    let told = |world: &World, host: &str| {
        let view = publish::view(&world.cluster, &host.parse().unwrap());
        view.checks
            .iter()
            .map(|(id, wish)| format!("{id} {:?}", wish.plan.probe))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&world, "alpha"), ["a Tcp { address: \"127.0.0.1:1\" }"]);
    assert!(told(&world, "beta").is_empty());
    world.put(check("alpha", "a", tcp(3)));
    assert_eq!(told(&world, "alpha"), ["a Tcp { address: \"127.0.0.1:3\" }"]);
}
