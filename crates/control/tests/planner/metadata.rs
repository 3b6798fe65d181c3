//! What views say of metadata, and of the metadata of whom.

use crate::world::World;
use control::publish;
use model::host::HostLink;
use model::id::{HostId, InstanceId};
use model::metadata::{METADATA_NAME, MetaKind, MetaNetwork, MetaState, MetaView};
use std::collections::BTreeSet;

fn meta(world: &World) -> MetaView {
    publish::view(&world.cluster, &"alpha".parse().unwrap()).meta
}

/// `n+sidekick state` of the containers of a service.
fn containers(meta: &MetaView, service: &str) -> Vec<String> {
    let service = meta.services.get(&service.parse().unwrap()).unwrap();
    let word = |id: &InstanceId, state: MetaState| {
        let sidekick = id.sidekick.as_ref().map(|name| format!("+{name}")).unwrap_or_default();
        format!("{}{sidekick} {}", id.n, state.word())
    };
    service.containers.iter().map(|(id, one)| word(id, one.state)).collect()
}

#[test]
fn services_containers_and_hosts_are_told_with_what_is_known_of_them() {
    let mut world = World::new();
    world.up(&["lb lb=8080>web:80", "web image=good:1 scale=2 check port=9000", "live alias=web"]);
    world.until_done();
    let meta = meta(&world);
    assert_eq!(meta.environment.id, "e1");
    assert!(!meta.partial);
    assert_eq!(containers(&meta, "shop/web"), ["1 running", "2 running"]);
    assert_eq!(containers(&meta, "shop/lb").len(), 1, "a balancer has a container");
    assert_eq!(containers(&meta, "shop/live"), [""; 0]);
    let facts = |id: &str| meta.services.get(&id.parse().unwrap()).unwrap().facts.clone();
    let web = facts("shop/web");
    assert_eq!((web.kind, web.scale), (MetaKind::Service, 2));
    assert_eq!(web.state, "active");
    assert_eq!(facts("shop/lb").rules[0].target_port, 80);
    assert_eq!(facts("shop/live").kind, MetaKind::Alias);
    let all = &meta.services.get(&"shop/web".parse().unwrap()).unwrap().containers;
    let web_1 = &meta.services.get(&"shop/web".parse().unwrap()).unwrap().revisions[&1][""];
    assert_eq!(web_1.ports[0].host_port, Some(9000));
    let (last, one) = all.iter().last().unwrap();
    assert_eq!(web.create_index, last.incarnation);
    assert_eq!((one.network.clone(), one.revision, one.starts), (MetaNetwork::Managed, 1, 1));
    assert!(one.address.is_some() && one.ports[0].host_port == Some(9000));
    assert_eq!(one.probers, ["alpha".parse::<HostId>().unwrap()], "its own host probes it");
    assert_eq!(meta.hosts.iter().next().unwrap().1.cpus, 4);
}

#[test]
fn what_was_replaced_is_not_told_any_more_and_what_was_stopped_is() {
    let mut world = World::new();
    world.up(&["web image=good:1 scale=1"]);
    world.until_done();
    let index = |world: &World| {
        let meta = meta(world);
        assert_eq!(containers(&meta, "shop/web"), ["1 running"]);
        let (_, service) = meta.services.iter().next().unwrap();
        (service.containers.keys().next().unwrap().incarnation, service.facts.revision)
    };
    let (before, revision) = index(&world);
    world.up(&["web image=good:2 scale=1"]);
    world.until_done();
    // The old one is told of as long as it drains.
    world.run(60_000);
    let (after, next) = index(&world);
    assert!(after > before && next == revision + 1, "a create index is never reused");
    world.operate(control::operate::stop);
    world.run(30_000);
    assert_eq!(containers(&meta(&world), "shop/web"), ["1 stopped"]);
    assert_eq!(meta(&world).services.iter().next().unwrap().1.facts.state, "inactive");
}

#[test]
fn a_host_of_a_large_environment_is_told_what_it_has_to_do_with_until_it_asks() {
    let mut world = World::new();
    world.host("beta", HostLink::Active);
    world.up(&["web image=good:1 scale=1"]);
    world.until_done();
    let of = |host: &str, asked: &[&str]| {
        let asked: BTreeSet<String> = asked.iter().map(|name| (*name).to_owned()).collect();
        publish::partial_view(&world.cluster, &host.parse().unwrap(), &asked).meta
    };
    let on = &world.cluster.instances().next().unwrap().host;
    let other = if on.as_str() == "alpha" { "beta" } else { "alpha" };
    let there = of(on.as_str(), &[]);
    assert!(there.partial);
    assert_eq!((there.services.size(), there.hosts.size()), (1, 1), "its stack, and itself");
    let elsewhere = of(other, &[]);
    assert_eq!((elsewhere.services.size(), elsewhere.hosts.size()), (0, 1));
    let asked = of(other, &[METADATA_NAME]);
    assert!(!asked.partial);
    assert_eq!((asked.services.size(), asked.hosts.size()), (1, 2));
    assert_eq!(asked, meta(&world));
}
