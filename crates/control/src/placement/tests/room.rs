//! Ports, addresses, spread and the rest of what a host has room for.

use super::*;
use model::container_spec::NetworkMode;
use model::placement::Strategy;

fn hosts_of(world: &World, service: &str) -> Vec<String> {
    world.cluster.instances_of(&id(service)).map(|i| i.host.to_string()).collect()
}

#[test]
fn instances_of_one_service_share_a_port_unless_their_process_binds_it() {
    let mut world = World::new(&["a"]);
    let mut web = template("");
    web.ports = vec![port(None, Some(80), 8080)];
    assert_eq!(said(world.place(&id("web"), &web, 1)), "a");
    assert_eq!(said(world.place(&id("web"), &web, 2)), "a");
    assert_eq!(said(world.place(&id("other"), &web, 1)), "1 host: 1 port 80/tcp taken by shop/web");
    container(&mut web).network = NetworkMode::Host;
    let mut world = World::new(&["a", "b"]);
    assert_eq!(said(world.place(&id("web"), &web, 1)), "a");
    assert_eq!(said(world.place(&id("web"), &web, 2)), "b");
    assert_eq!(said(world.place(&id("web"), &web, 3)), "2 hosts: 2 port 80/tcp taken by shop/web");
    let first = world.cluster.instances().next().unwrap().id.clone();
    world.set_goal(&first, Goal::Remove);
    assert!(world.place(&id("web"), &web, 3).is_err(), "it is bound until it is gone");
    world.set_goal(&first, Goal::Stop);
    assert!(world.place(&id("web"), &web, 3).is_ok(), "what is kept stopped is in nobody's way");
}

#[test]
fn ports_are_apart_by_address_and_protocol() {
    let mut world = World::new(&["a"]);
    let one = |mapping: PortMapping| {
        let mut web = template("");
        web.ports = vec![mapping];
        web
    };
    let udp = PortMapping { protocol: Transport::Udp, ..port(None, Some(80), 80) };
    assert_eq!(said(world.place(&id("s1"), &one(port(Some("10.0.0.1"), Some(80), 80)), 1)), "a");
    assert_eq!(said(world.place(&id("s2"), &one(port(Some("10.0.0.2"), Some(80), 80)), 1)), "a");
    assert_eq!(said(world.place(&id("s3"), &one(udp), 1)), "a");
    let all = said(world.place(&id("s4"), &one(port(None, Some(80), 80)), 1));
    assert_eq!(all, "1 host: 1 port 80/tcp taken by shop/s1", "all addresses clash with each one");
}

#[test]
fn a_port_that_nobody_named_is_chosen_alike_for_a_slot_and_never_twice_on_a_host() {
    let mut world = World::new(&["a"]);
    let mut web = template("");
    web.ports = vec![port(None, None, 80), port(None, None, 81)];
    let mut given = std::collections::BTreeSet::new();
    for n in 1..=200 {
        for mapping in &world.place(&id("web"), &web, n).unwrap().ports {
            let number = mapping.host_port.unwrap();
            assert!((32_768..=60_999).contains(&number));
            assert!(given.insert(number), "{number} twice");
        }
    }
    let before = world.cluster.instances().next().unwrap().clone();
    let service = id("web");
    let ask = Ask { before: Some(&before), ..World::ask(&service, &web, 1) };
    let place = world.fleet.choose(&ask).unwrap();
    assert_eq!(place.ports, before.ports, "a successor on the same host has the same");
    world.remove(&before.id);
    let again = world.place(&id("web"), &web, 1).unwrap();
    assert_eq!(again.ports, before.ports, "and one that comes later too");
}

#[test]
fn addresses_that_are_asked_for_are_given_when_they_are_free() {
    let mut world = World::new(&["a"]);
    let (service, web) = (id("web"), template(""));
    let wanted: Vec<std::net::Ipv4Addr> =
        ["10.42.255.7", "10.42.7.7", "10.42.7.8"].iter().map(|a| a.parse().unwrap()).collect();
    let mut given = vec![];
    for n in 1..=3 {
        let ask = Ask { prefer: wanted.clone(), ..World::ask(&service, &web, n) };
        world.revise(&service, 1, &web);
        let place = world.fleet.choose(&ask).unwrap();
        given.push(place.address.unwrap().to_string());
        world.commit(&ask, place);
    }
    assert_eq!(given[..2], ["10.42.7.7", "10.42.7.8"], "the first is Docker's to give");
    assert!(!wanted.iter().any(|a| a.to_string() == given[2]));
}

#[test]
fn instances_spread_over_hosts_and_zones_and_what_is_to_be_replaced_does_not_count() {
    let mut world = World::new(&["a zone=z1", "b zone=z1", "c zone=z1", "d zone=z2", "e zone=z2"]);
    let web = template("");
    for n in 1..=5 {
        world.place(&id("web"), &web, n).unwrap();
    }
    let mut hosts = hosts_of(&world, "web");
    assert_eq!(hosts[..2], ["a", "d"], "zones by turns");
    hosts.sort();
    assert_eq!(hosts, ["a", "b", "c", "d", "e"]);
    assert_eq!(said(world.place(&id("web"), &web, 6)), "d", "the zone with fewer");
    // A successor goes where its predecessor is when all others have more.
    for n in 1..=5 {
        let was =
            world.cluster.instances_of(&id("web")).find(|i| i.id.n == n).unwrap().host.clone();
        let place = world.fleet.choose(&World::ask(&id("web"), &web, n)).unwrap().host;
        assert!(was == place || was.as_str() == "d", "slot {n}: {was} -> {place}");
    }
}

#[test]
fn what_is_asked_to_be_spread_over_comes_before_hosts_level_by_level() {
    let hosts = ["a dc=x rack=1", "b dc=x rack=1", "c dc=x rack=2", "d dc=y rack=1", "e"];
    let mut world = World::new(&hosts);
    let mut web = template("");
    web.placement.spread_by = vec!["dc".into(), "rack".into()];
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for n in 1..=12 {
        let host = said(world.place(&id("web"), &web, n));
        *counts.entry(host).or_default() += 1;
    }
    let told: Vec<(&str, u32)> = counts.iter().map(|(host, n)| (host.as_str(), *n)).collect();
    assert_eq!(told, [("a", 1), ("b", 1), ("c", 2), ("d", 4), ("e", 4)]);
}

#[test]
fn without_labels_the_emptier_host_wins_and_with_reservations_the_one_with_more_left() {
    let mut world = World::new(&["a", "b"]);
    world.on("a", "old", &template(""), 1);
    assert_eq!(said(world.place(&id("web"), &template(""), 1)), "b");
    let mut big = template("");
    container(&mut big).resources.memory_reserved = 1 << 30;
    let mut world = World::new(&["a", "b"]);
    world.change_host("b", |host| host.facts.memory = 16 << 30);
    for n in 1..=3 {
        world.on("b", "old", &template(""), n);
    }
    assert_eq!(
        said(world.place(&id("web"), &big, 1)),
        "b",
        "memory before the number of instances"
    );
}

#[test]
fn binpack_fills_one_host_after_the_other() {
    let mut world = World::new(&["a", "b"]);
    let mut web = template("");
    web.placement.strategy = Strategy::Binpack;
    container(&mut web).resources.memory_reserved = 2 << 30;
    let hosts: Vec<String> = (1..=4).map(|n| said(world.place(&id("web"), &web, n))).collect();
    assert_eq!(hosts, ["a", "a", "b", "b"]);
}

#[test]
fn max_per_host_is_kept() {
    // deploy.placement.max_replicas_per_node
    let mut world = World::new(&["a", "b"]);
    let mut web = template("");
    web.placement.max_per_host = Some(2);
    for n in 1..=4 {
        assert!(world.place(&id("web"), &web, n).is_ok());
    }
    assert_eq!(said(world.place(&id("web"), &web, 5)), "2 hosts: 2 have 2 of it already");
}

#[test]
fn what_nobody_can_take_is_counted_by_what_each_host_lacks() {
    let mut world = World::new(&["a", "b", "c", "d", "e"]);
    let mut web = template("");
    web.ports = vec![port(None, Some(80), 80)];
    container(&mut web).resources.memory_reserved = 512 << 20;
    for (name, memory) in [("a", 100), ("b", 100)] {
        world.change_host(name, |host| host.facts.memory = memory << 20);
    }
    let mut proxy = template("");
    proxy.ports = vec![port(None, Some(80), 80)];
    world.on("c", "proxy", &proxy, 1);
    world.change_host("d", |host| host.scheduling = Scheduling::Cordoned);
    world.change_host("e", |host| host.status = HostLink::Lost);
    assert_eq!(
        said(world.place(&id("web"), &web, 1)),
        "5 hosts: 2 lack memory 512 MiB, 1 not connected, 1 cordoned, 1 port 80/tcp taken by shop/proxy"
    );
    for name in ["a", "b", "c", "d"] {
        world.change_host(name, |host| host.status = HostLink::Disconnected);
    }
    assert_eq!(said(world.place(&id("web"), &web, 1)), "none of 5 hosts is connected");
    assert_eq!(said(World::new(&[]).place(&id("web"), &web, 1)), "no host has joined yet");
}

#[test]
fn many_of_a_service_that_does_not_want_itself_beside_it_stop_when_every_host_has_one() {
    // More hosts than a sample looks at: they come from a heap.
    let names: Vec<String> = (0..120).map(|n| format!("h{n:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&names);
    let service = id("web");
    let mut template = template("");
    let own = constraint("container_label_ne io.rancher.stack_service.name=shop/web");
    template.placement.constraints.push(own);
    world.revise(&service, 1, &template);
    let wanted = 125;
    let mut placed = 0;
    for n in 1..=wanted {
        let ask = Ask { more: wanted - n + 1, ..World::ask(&service, &template, n) };
        let Ok(place) = world.fleet.choose(&ask) else { break };
        // As within one plan: nothing is committed between.
        let instance = Arc::new(Instance {
            id: InstanceId::new(service.clone(), n, u64::from(n)),
            host: place.host,
            address: place.address,
            sidekick_addresses: place.sidekick_addresses,
            container_name: String::new(),
            target: Target { revision: 1, restart: 0 },
            ports: place.ports,
            goal: Goal::Run,
            leaving: false,
            dropped: place.dropped,
            reason: String::new(),
            placed_at: Timestamp(0),
            goal_at: Timestamp(0),
        });
        world.fleet.take(&world.cluster, &instance);
        placed += 1;
    }
    assert_eq!(placed, 120, "one a host");
}
