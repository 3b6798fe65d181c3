//! Every label of Rancher's scheduler, by name, as far as it is evaluated and not parsed.

use super::*;

/// Hosts `a` (zone 1, ssd) and `b` (zone 2); `db` runs on `a` with `tier=data` and a sidekick,
/// `cache` on `b`.
fn world() -> World {
    let mut world = World::new(&["a zone=Z1 disk=SSD", "b zone=z2"]);
    let mut db = template("Tier=Data");
    let log = ContainerSpec { labels: pairs("role=log"), ..ContainerSpec::default() };
    db.sidekicks.insert("log".parse().unwrap(), sidekick(log, vec![]));
    world.on("a", "db", &db, 1);
    world.on("b", "other/cache", &template("tier=cache"), 1);
    world
}

#[test]
fn each_affinity_finds_its_host_or_says_what_is_missing() {
    for (text, wanted) in [
        // io.rancher.scheduler.affinity:host_label and its suffixes
        ("host_label zone=z1", "a"),
        ("host_label zone=z2", "b"),
        ("host_label disk=ssd", "a"),
        ("host_label disk", "a"),
        ("host_label zone=z3", "2 hosts: 2 must have host label zone=z3"),
        ("host_label_ne zone=z1", "b"),
        ("host_label_ne zone", "2 hosts: 2 must not have host label zone"),
        ("host_label_ne color=red", "a"),
        ("host_label_soft zone=z2", "b"),
        ("host_label_soft zone=z3", "a, dropped should have host label zone=z3"),
        ("host_label_soft_ne zone=z1", "b"),
        ("host_label_soft_ne zone", "a, dropped should not have host label zone"),
        // io.rancher.scheduler.affinity:container_label and its suffixes
        ("container_label tier=data", "a"),
        ("container_label tier=cache", "b"),
        ("container_label role=log", "a"),
        ("container_label tier=none", "2 hosts: 2 must have container with label tier=none"),
        ("container_label tier", "a"),
        ("container_label_ne tier=data", "b"),
        ("container_label_ne tier", "2 hosts: 2 must not have container with label tier"),
        ("container_label_soft tier=cache", "b"),
        ("container_label_soft tier=none", "a, dropped should have container with label tier=none"),
        ("container_label_soft_ne tier=data", "b"),
        ("container_label_soft_ne tier", "a, dropped should not have container with label tier"),
        // labels that the system gives
        ("container_label io.rancher.stack.name=other", "b"),
        ("container_label io.rancher.project.name=other", "b"),
        ("container_label io.rancher.stack_service.name=shop/db", "a"),
        ("container_label io.rancher.stack_service.name=shop/db/log", "a"),
        ("container_label io.rancher.stack_service.name=db", "a"),
        ("container_label io.rancher.project_service.name=other/cache", "b"),
        ("container_label io.rancher.service.launch.config=log", "a"),
        ("container_label io.rancher.container.name=other-cache-1", "b"),
        ("container_label io.rancher.container.ip", "a"),
        ("container_label_ne io.rancher.stack_service.name=db", "b"),
        // io.rancher.scheduler.affinity:container and its suffixes
        ("container shop-db-1", "a"),
        ("container shop-db-log-1", "a"),
        ("container other-cache-1", "b"),
        ("container other-cache-1-abcdef", "b"),
        ("container shop-db-2", "2 hosts: 2 must have container shop-db-2"),
        ("container_ne shop-db-1", "b"),
        ("container_soft other-cache-1", "b"),
        ("container_soft nobody-1", "a, dropped should have container nobody-1"),
        ("container_soft_ne shop-db-log-1", "b"),
        // compose's node.hostname and node.id
        ("host b", "b"),
        ("host b.example", "b"),
        ("host_ne a", "b"),
        ("host c", "2 hosts: 2 must have host c"),
    ] {
        let mut web = template("");
        web.placement.constraints.push(constraint(text));
        assert_eq!(said(world().place(&id("web"), &web, 1)), wanted, "{text}");
    }
}

#[test]
fn soft_wishes_go_one_by_one_the_first_that_fails_first() {
    for (wishes, wanted) in [
        // Each host misses one: the first of the two goes.
        (
            vec!["host_label_soft zone=z2", "container_label_soft tier=data"],
            "a, dropped should have host label zone=z2",
        ),
        (
            vec!["container_label_soft tier=data", "host_label_soft zone=z2"],
            "b, dropped should have container with label tier=data",
        ),
        (
            vec!["host_label_soft x=1", "host_label_soft zone=z2"],
            "b, dropped should have host label x=1",
        ),
        (
            vec!["host_label_soft x=1", "host_label_soft y=1"],
            "a, dropped should have host label x=1 + should have host label y=1",
        ),
        (
            vec!["host_label zone=z2", "host_label_soft zone=z1"],
            "b, dropped should have host label zone=z1",
        ),
        (
            vec!["host_label zone=z3", "host_label_soft zone=z1"],
            "2 hosts: 2 must have host label zone=z3",
        ),
    ] {
        let mut web = template("");
        web.placement.constraints = wishes.iter().map(|text| constraint(text)).collect();
        assert_eq!(said(world().place(&id("web"), &web, 1)), wanted, "{wishes:?}");
    }
}

#[test]
fn a_service_that_keeps_away_from_itself_has_one_on_each_host() {
    let mut world = World::new(&["a", "b", "c"]);
    let mut web = template("");
    web.placement.constraints =
        vec![constraint("container_label_ne io.rancher.stack_service.name=web")];
    let mut hosts: Vec<String> = (1..=3).map(|n| said(world.place(&id("web"), &web, n))).collect();
    hosts.sort();
    assert_eq!(hosts, ["a", "b", "c"]);
    let fourth = said(world.place(&id("web"), &web, 4));
    assert!(fourth.starts_with("3 hosts: 3 must not have container with label"), "{fourth}");
    // As a wish it is dropped for the fourth.
    web.placement.constraints[0].soft = true;
    let service = id("web");
    let ask = Ask { revision: 2, ..World::ask(&service, &web, 4) };
    let place = world.fleet.choose(&ask).unwrap();
    assert_eq!((place.host.as_str(), place.dropped.len()), ("a", 1));
}

#[test]
fn require_any_takes_only_what_has_one_of_the_labels() {
    let hosts = ["a io.rancher.scheduler.require_any=role=web,gpu", "b"];
    for (labels, wanted) in [("", "b"), ("role=Web", "a"), ("GPU=2", "a"), ("role=db", "b")] {
        let mut world = World::new(&hosts);
        world.on("b", "full", &template(""), 1);
        assert_eq!(said(world.place(&id("web"), &template(labels), 1)), wanted, "{labels:?}");
    }
    // A sidekick's label will do, and one of the system.
    let mut world = World::new(&["a io.rancher.scheduler.require_any=role=log", "b"]);
    world.on("b", "full", &template(""), 1);
    let mut web = template("");
    let log = ContainerSpec { labels: pairs("role=log"), ..ContainerSpec::default() };
    web.sidekicks.insert("log".parse().unwrap(), sidekick(log, vec![]));
    assert_eq!(said(world.place(&id("web"), &web, 1)), "a");
    let mut world = World::new(&["a io.rancher.scheduler.require_any=gpu"]);
    assert_eq!(
        said(world.place(&id("web"), &template(""), 1)),
        "1 host: 1 take only containers with gpu"
    );
}

#[test]
fn scheduler_ips_are_the_only_addresses_of_a_host_that_ports_are_published_on() {
    let ips = "a io.rancher.scheduler.ips=10.0.0.1,10.0.0.2";
    let with = |ports: Vec<PortMapping>| {
        let mut web = template("");
        web.ports = ports;
        web
    };
    let mut world = World::new(&[ips]);
    let one = world.place(&id("one"), &with(vec![port(None, Some(80), 80)]), 1).unwrap();
    assert_eq!(one.ports, [port(Some("10.0.0.1"), Some(80), 80)]);
    // All ports of a request are on one address: 80 is taken on the first, so both go to the second.
    let both = with(vec![port(None, Some(80), 80), port(None, Some(443), 443)]);
    let two = world.place(&id("two"), &both, 1).unwrap();
    let second = |p| port(Some("10.0.0.2"), Some(p), p);
    assert_eq!(two.ports, [second(80), second(443)]);
    let third = said(world.place(&id("three"), &with(vec![port(None, Some(80), 80)]), 1));
    assert_eq!(third, "1 host: 1 no address with port 80 free");
    let asked = with(vec![port(Some("10.0.0.1"), Some(443), 443)]);
    assert_eq!(world.place(&id("four"), &asked, 1).unwrap().ports, asked.ports);
    let outside =
        said(world.place(&id("five"), &with(vec![port(Some("10.9.9.9"), Some(1), 1)]), 1));
    assert_eq!(outside, "1 host: 1 no address with port 1 free");
    // A chosen port is on an address of the list too.
    let chosen = world.place(&id("six"), &with(vec![port(None, None, 90)]), 1).unwrap();
    assert_eq!(chosen.ports[0].host_ip, Some("10.0.0.1".parse().unwrap()));
}

#[test]
fn global_services_are_on_hosts_by_hard_host_labels_alone() {
    // io.rancher.scheduler.global, and io.rancher.service.requested.host.id for each instance
    let hosts =
        ["a zone=z1", "b zone=z1", "c zone=z2", "d zone=z1 io.rancher.scheduler.require_any=gpu"];
    let mut world = World::new(&hosts);
    world.change_host("b", |host| host.scheduling = Scheduling::Cordoned);
    let mut agent = template("");
    agent.placement.constraints = vec![
        constraint("host_label zone=z1"),
        constraint("host_label_soft zone=z9"),
        constraint("container_label nobody=1"),
    ];
    let service = id("agent");
    let eligible = world.fleet.eligible(&World::ask(&service, &agent, 1));
    let told: Vec<(&str, bool)> = eligible.iter().map(|(id, open)| (id.as_str(), *open)).collect();
    assert_eq!(told, [("a", true), ("b", false)]);
    agent.placement.constraints.truncate(1);
    let pin: HostId = "b".parse().unwrap();
    let ask = Ask { pin: Some(&pin), ..World::ask(&service, &agent, 2) };
    let refused = world.fleet.choose(&ask).unwrap_err();
    assert_eq!(refused.reason.to_string(), "1 host: 1 cordoned");
    let pin: HostId = "a".parse().unwrap();
    let ask = Ask { pin: Some(&pin), ..World::ask(&service, &agent, 1) };
    assert_eq!(world.fleet.choose(&ask).unwrap().host, pin);
}

#[test]
fn a_requested_host_is_the_only_one() {
    // io.rancher.service.requested.host.id
    let mut world = World::new(&["a", "b"]);
    let mut web = template("");
    web.placement.requested_host = Some("b".parse().unwrap());
    for n in 1..=3 {
        assert_eq!(said(world.place(&id("web"), &web, n)), "b");
    }
    world.change_host("b", |host| host.status = HostLink::Disconnected);
    assert_eq!(
        said(world.place(&id("web"), &web, 4)),
        "2 hosts: 1 not connected, 1 not the requested host b"
    );
    let mut near = template("");
    near.placement.constraints =
        vec![constraint("container_label io.rancher.service.requested.host.id=b")];
    world.change_host("b", |host| host.status = HostLink::Active);
    assert_eq!(said(world.place(&id("near"), &near, 1)), "b");
}

#[test]
fn reservations_are_of_the_whole_instance() {
    // mem_reservation and milli_cpu_reservation
    let mut world = World::new(&["a", "b"]);
    let mut web = template("");
    container(&mut web).resources.memory_reserved = 1 << 30;
    container(&mut web).resources.cpu_reserved_milli = 500;
    let mut log = ContainerSpec::default();
    log.resources.memory_reserved = 1 << 30;
    log.resources.cpu_reserved_milli = 1_000;
    web.sidekicks.insert("log".parse().unwrap(), sidekick(log, vec![]));
    let hosts: Vec<String> = (1..=5).map(|n| said(world.place(&id("web"), &web, n))).collect();
    assert_eq!(hosts, ["a", "b", "a", "b", "2 hosts: 2 lack memory 2048 MiB"]);
    container(&mut web).resources.memory_reserved = 0;
    web.sidekicks.clear();
    container(&mut web).resources.cpu_reserved_milli = 1_500;
    world.revise(&id("cpu"), 1, &web);
    assert_eq!(said(world.place(&id("cpu"), &web, 1)), "2 hosts: 2 lack cpu 1.5");
    // What is to stop gives its reservation back at once, and its address only when it is gone.
    let first = world.cluster.instances().next().unwrap().clone();
    world.set_goal(&first.id, Goal::Remove);
    assert_eq!(said(world.place(&id("cpu"), &web, 1)), first.host.to_string());
}

#[test]
fn sidekicks_are_placed_with_their_primary_and_have_addresses_of_their_own() {
    // io.rancher.sidekicks, io.rancher.service.deployment.unit
    let mut world = World::new(&["a", "b"]);
    let mut web = template("");
    let network = |network| ContainerSpec { network, ..ContainerSpec::default() };
    use model::container_spec::NetworkMode;
    for (name, mode) in [
        ("log", NetworkMode::Managed),
        ("net", NetworkMode::Sibling(None)),
        ("node", NetworkMode::Host),
    ] {
        let ports = vec![port(None, Some(9_000 + name.len() as u16), 9_000)];
        web.sidekicks.insert(name.parse().unwrap(), sidekick(network(mode), ports));
    }
    let one = world.place(&id("web"), &web, 1).unwrap();
    let names: Vec<&str> = one.sidekick_addresses.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["log"]);
    assert!(
        one.address.is_some() && !one.sidekick_addresses.values().any(|a| Some(*a) == one.address)
    );
    assert_eq!(one.ports.len(), 3, "the ports of all sidekicks are held");
    let mut near = template("");
    near.placement.constraints =
        vec![constraint("container_label io.rancher.service.deployment.unit")];
    assert_eq!(said(world.place(&id("near"), &near, 1)), one.host.to_string());
}
