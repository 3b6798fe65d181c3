//! The catalog as hosts are told of it, for the names of Consul: what changed and no more.

use crate::world::World;
use control::publish::{News, Publisher};
use model::catalog_view::Fitness;
use model::delta::CatalogDelta;
use model::dns::{DnsSettings, NobodyHealthy};
use model::health::Health;
use model::host::{Environment, HostLink};
use model::id::HostId;
use model::record::{Record, RecordKey};
use model::registration::{ClientKey, ClientNode};
use model::view::HostView;
use std::collections::BTreeMap;
use std::sync::Arc;

fn alpha() -> HostId {
    "alpha".parse().unwrap()
}

fn shop() -> World {
    let mut world = World::new();
    world.host("beta", HostLink::Active);
    world.up(&["web image=good:1 scale=3 check", "api image=good:1 scale=2"]);
    world.until_done();
    world
}

/// What the catalog says otherwise to a host.
fn told(news: &BTreeMap<HostId, News>) -> Option<CatalogDelta> {
    match news.get(&alpha())? {
        News::Delta(_, delta, _) => Some(delta.view.as_ref()?.catalog.clone()),
        News::Whole => panic!("the whole"),
    }
}

fn whole(publisher: &mut Publisher) -> Arc<HostView> {
    publisher.whole(&alpha()).unwrap().view
}

#[test]
fn one_container_that_changes_moves_its_own_entry_and_no_other() {
    let mut world = shop();
    let mut publisher = Publisher::default();
    publisher.attend(&alpha());
    publisher.follow(&world.cluster);
    let view = whole(&mut publisher);
    assert_eq!(view.catalog.services["shop-web"].len(), 3);
    assert_eq!(view.catalog.services["shop-api"].len(), 2);
    assert_eq!(view.catalog.nodes.keys().collect::<Vec<_>>(), ["alpha", "beta"]);
    assert!(view.catalog.elsewhere.is_empty());
    let instance = world.cluster.instances().find(|one| one.id.service.service.as_str() == "web");
    let instance = Arc::clone(instance.unwrap());
    let mut seen = world.seen(&instance);
    seen.health = Health::Unhealthy;
    world.put(Record::InstanceStatus(instance.id.clone(), Arc::new(seen)));
    let delta = told(&publisher.follow(&world.cluster)).unwrap();
    assert_eq!(delta.services.keys().collect::<Vec<_>>(), ["shop-web"]);
    let changed: Vec<_> = delta.services["shop-web"].values().flatten().collect();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].fitness, Fitness::Critical);
    assert_eq!(changed[0].instance, Some(instance.id.clone()));
    assert!(delta.nodes.is_empty() && delta.elsewhere.is_empty());
    // A host that is lost is another node, and offers nothing any more.
    world.set_link("beta", HostLink::Lost);
    let delta = told(&publisher.follow(&world.cluster)).unwrap();
    let beta = delta.nodes["beta"].as_ref().unwrap();
    assert_eq!(beta.fitness, Fitness::Critical);
    assert!(delta.services.values().flat_map(BTreeMap::values).any(Option::is_none));
}

#[test]
fn a_host_of_a_large_environment_is_told_of_a_service_once_it_is_asked_for_there() {
    let world = shop();
    let mut publisher = Publisher::new(0);
    publisher.attend(&alpha());
    publisher.follow(&world.cluster);
    let view = whole(&mut publisher);
    assert!(view.catalog.services.is_empty());
    assert_eq!(view.catalog.elsewhere.iter().collect::<Vec<_>>(), ["shop-api", "shop-web"]);
    publisher.ask(&alpha(), ["consul:shop-web".to_owned()]);
    let delta = told(&publisher.follow(&world.cluster)).unwrap();
    assert_eq!(delta.services["shop-web"].len(), 3);
    assert_eq!(delta.elsewhere, [("shop-web".to_owned(), false)].into());
    publisher.ask(&alpha(), []);
    let delta = told(&publisher.follow(&world.cluster)).unwrap();
    assert!(delta.services["shop-web"].values().all(Option::is_none));
    assert_eq!(delta.elsewhere, [("shop-web".to_owned(), true)].into());
}

#[test]
fn what_the_environment_says_of_names_is_told_with_the_whole() {
    let mut world = shop();
    let mut publisher = Publisher::default();
    publisher.attend(&alpha());
    publisher.follow(&world.cluster);
    let mut dns =
        DnsSettings { ttl_s: 30, nobody_healthy: NobodyHealthy::None, ..Default::default() };
    dns.consul.domain = String::new();
    let environment = (**world.cluster.environment().unwrap()).clone();
    world.put(Record::Environment(Arc::new(Environment { dns, ..environment })));
    let news = publisher.follow(&world.cluster);
    assert!(matches!(news.get(&alpha()), Some(News::Whole)));
    let view = whole(&mut publisher);
    assert_eq!((view.dns.ttl_s, view.dns.nobody_healthy), (30, NobodyHealthy::None));
    assert!(view.catalog.services.is_empty() && view.catalog.nodes.is_empty(), "turned off");
}

/// Nodes by name, and where and how well each place of `shared` is.
fn shown(view: &HostView) -> (Vec<(String, String)>, Vec<String>) {
    let nodes = view.catalog.nodes.iter().map(|(name, node)| (name.clone(), node.address.clone()));
    let offers = view.catalog.services.get("shared").into_iter().flat_map(|all| all.values());
    let offers = offers.map(|offer| {
        let at = view.catalog.nodes.get(&offer.node).map_or("", |node| node.address.as_str());
        let address = if offer.address.is_empty() { at } else { &offer.address };
        format!("{address}:{}", offer.port)
    });
    (nodes.collect(), offers.collect())
}

#[test]
fn nodes_whose_names_differ_by_case_alone_are_not_mixed_up() {
    let mut world = World::new();
    let node = |name: &str, address: &str| {
        let node = ClientNode { name: name.into(), address: address.into(), ..Default::default() };
        Record::ClientNode(Arc::new(node))
    };
    let service = |node: &str, port: u16| {
        let text =
            format!(r#"{{"key":{{"node":"{node}","id":"s"}},"service":"shared","port":{port}}}"#);
        Record::ClientService(Arc::new(serde_json::from_str(&text).unwrap()))
    };
    let mut publisher = Publisher::default();
    publisher.attend(&alpha());
    publisher.follow(&world.cluster);
    let of = |publisher: &mut Publisher, world: &World| {
        publisher.follow(&world.cluster);
        let told = shown(&whole(publisher));
        let mut fresh = Publisher::default();
        fresh.attend(&alpha());
        fresh.follow(&world.cluster);
        assert_eq!(told, shown(&whole(&mut fresh)), "as from nothing");
        let nodes = told.0.into_iter().filter(|(name, _)| name == "db");
        (nodes.map(|(_, address)| address).collect::<Vec<_>>(), told.1)
    };
    let expect = |node: &str, offers: &[&str]| {
        (vec![node.to_owned()], offers.iter().map(|&one| one.to_owned()).collect::<Vec<_>>())
    };
    world.put(node("db", "192.0.2.2"));
    world.put(service("db", 2));
    assert_eq!(of(&mut publisher, &world), expect("192.0.2.2", &["192.0.2.2:2"]));
    // Another one: the first in the order of bytes has the name, and each service its own place.
    world.put(node("DB", "192.0.2.1"));
    world.put(service("DB", 1));
    let both = expect("192.0.2.1", &["192.0.2.1:1", "192.0.2.2:2"]);
    assert_eq!(of(&mut publisher, &world), both);
    world.put(node("db", "192.0.2.3"));
    let moved = expect("192.0.2.1", &["192.0.2.1:1", "192.0.2.3:2"]);
    assert_eq!(of(&mut publisher, &world), moved);
    // It goes, and the other one has the name again.
    world.remove(RecordKey::ClientService(ClientKey::new("DB", "s")));
    world.remove(RecordKey::ClientNode("DB".into()));
    assert_eq!(of(&mut publisher, &world), expect("192.0.2.3", &["192.0.2.3:2"]));
}
