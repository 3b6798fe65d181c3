//! Plain containers: who gets an address of the managed network, how long it is kept, and which
//! names lead where.

use crate::world::World;
use control::audit::{Violation, audit};
use control::{host, publish};
use model::change::{Change, Edit, Proposal};
use model::host::{HostFacts, HostLink};
use model::id::HostId;
use model::plain::{
    Attachment, LABEL_NETWORK, LABEL_REQUESTED_IP, NETWORK, PlainContainer, PlainId, PlainPort,
    PlainState,
};
use model::record::{Record, RecordKey};
use model::service::Transport;
use model::view::NameTarget;
use std::net::Ipv4Addr;
use std::sync::Arc;

fn id(text: &str) -> PlainId {
    text.parse().unwrap()
}

/// A running container in words: `join`, `ip=…` (asked for), `at=…` (has it), `port=…` (on the
/// host), `local=…` (on the host's loopback), `in=…` (its network), `exited`.
fn plain(name: &str, words: &str) -> PlainContainer {
    let mut one = PlainContainer {
        name: name.into(),
        state: PlainState::Running,
        network: "default".into(),
        ..PlainContainer::default()
    };
    for word in words.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let published = |ip: Option<&str>| PlainPort {
            container_port: 80,
            protocol: Transport::Tcp,
            host_port: Some(value.parse().unwrap()),
            host_ip: ip.map(|ip| ip.parse().unwrap()),
        };
        match key {
            "join" => drop(one.labels.insert(LABEL_NETWORK.into(), "true".into())),
            "ip" => drop(one.labels.insert(LABEL_REQUESTED_IP.into(), value.into())),
            "at" => drop(one.addresses.insert(NETWORK.into(), value.parse().unwrap())),
            "port" => one.ports.push(published(None)),
            "local" => one.ports.push(published(Some("127.0.0.1"))),
            "in" => one.network = value.into(),
            "exited" => one.state = PlainState::Exited,
            other => panic!("what is {other}?"),
        }
    }
    one
}

impl World {
    fn sees(&mut self, at: &str, one: PlainContainer) {
        self.put(Record::Plain(id(at), Arc::new(one)));
        self.plan();
    }

    fn forgets(&mut self, key: RecordKey) {
        let change = Change { edits: vec![Edit::Delete(key)] };
        self.commit(&Proposal { reads: vec![], change });
        self.plan();
    }

    fn address_of(&self, at: &str) -> Option<Ipv4Addr> {
        self.cluster.attachment(&id(at)).map(|attachment| attachment.address)
    }

    /// `name=address` of all names that no stack has.
    fn plain_names(&self) -> String {
        let view = publish::view(&self.cluster, &"alpha".parse().unwrap());
        let names = view.dns.names.iter().filter(|(name, _)| *name != "rancher-metadata");
        let fixed = names.filter_map(|(name, target)| match target {
            NameTarget::Address(address) => Some(format!("{name}={address}")),
            NameTarget::Service(_) | NameTarget::Instance(_) => None,
        });
        fixed.collect::<Vec<_>>().join(" ")
    }
}

fn two_hosts() -> World {
    let mut world = World::new();
    world.host("beta", HostLink::Active);
    for (name, address) in [("alpha", "192.0.2.1"), ("beta", "192.0.2.2")] {
        let mut host = (**world.cluster.host(&name.parse().unwrap()).unwrap()).clone();
        host.facts = HostFacts { address: address.into(), ..host.facts };
        world.put(Record::Host(Arc::new(host)));
    }
    world.plan();
    world
}

#[test]
fn who_asks_gets_an_address_that_nobody_else_has_and_keeps_it_until_it_is_gone() {
    let mut world = two_hosts();
    world.up(&["web image=good:1 scale=3"]);
    world.until_done();
    world.sees("alpha/a1", plain("redis", "join"));
    world.sees("alpha/a2", plain("other", ""));
    world.sees("beta/b1", plain("none", "join in=none"));
    world.sees("beta/b2", plain("host", "join in=host"));
    world.sees("beta/b3", plain("shares", "join in=container:b1"));
    world.sees("beta/b4", plain("ended", "join exited"));
    let held = world.address_of("alpha/a1").unwrap();
    assert!(world.address_of("beta/b1").is_some());
    for none in ["alpha/a2", "beta/b2", "beta/b3", "beta/b4"] {
        assert_eq!(world.address_of(none), None, "{none}");
    }
    let spec = host::spec(&world.cluster, &"alpha".parse().unwrap());
    let told: Vec<_> = spec.attachments.values().map(|one| (one.address, one.apart)).collect();
    assert_eq!(told, [(held, true)], "it has Docker's own network too");
    let beta: HostId = "beta".parse().unwrap();
    let routes = &spec.peers[&beta].routes;
    let theirs = world.address_of("beta/b1").unwrap();
    assert!(routes.iter().any(|route| route.contains(&theirs)), "{routes:?}");

    // It ends, and starts again: the address is the same one.
    world.sees("alpha/a1", plain("redis", "join exited"));
    assert_eq!(world.address_of("alpha/a1"), Some(held));
    world.set_link("alpha", HostLink::Lost);
    assert_eq!(world.address_of("alpha/a1"), Some(held), "nothing goes because it is not heard");
    world.set_link("alpha", HostLink::Active);
    world.sees("alpha/a1", plain("redis", &format!("join at={held}")));
    assert_eq!(world.address_of("alpha/a1"), Some(held));
    world.up(&["web image=good:1 scale=40"]);
    world.until_done();

    world.forgets(RecordKey::Plain(id("alpha/a1")));
    assert_eq!(world.address_of("alpha/a1"), None);
    world.sees("alpha/a9", plain("redis", "join"));
    assert_ne!(world.address_of("alpha/a9"), Some(held), "an address comes back late");
}

#[test]
fn a_wished_address_is_given_when_it_is_free_and_the_planner_s_to_give() {
    let mut world = two_hosts();
    for (at, words, given) in [
        ("alpha/a1", "ip=10.42.7.7", Some("10.42.7.7")),
        ("alpha/a2", "ip=10.42.7.7,10.42.7.8", Some("10.42.7.8")),
        ("beta/b1", "ip=10.42.7.7", None),
        ("beta/b2", "join at=10.42.9.9", Some("10.42.9.9")),
        ("beta/b3", "join at=10.42.255.3", None),
        ("beta/b4", "ip=10.42.0.1", None),
        ("beta/b5", "ip=192.168.0.9", None),
    ] {
        world.sees(at, plain("x", words));
        let found = world.address_of(at).unwrap();
        match given {
            Some(given) => assert_eq!(found.to_string(), given, "{at}"),
            None => assert!(!words.contains(&found.to_string()), "{at}: {found}"),
        }
    }
}

#[test]
fn nothing_of_a_host_that_left_stays() {
    let mut world = two_hosts();
    world.sees("beta/b1", plain("redis", "join"));
    world.sees("alpha/a1", plain("cache", "join"));
    world.forgets(RecordKey::Host("beta".parse().unwrap()));
    assert_eq!(world.address_of("beta/b1"), None);
    assert_eq!(world.cluster.plains().count(), 1);
    // What a host says that is not there any more has no effect.
    world.sees("beta/b7", plain("late", "join"));
    assert_eq!(world.cluster.plains().count(), 1);
}

#[test]
fn where_no_address_is_left_it_gets_the_first_that_comes_free() {
    let mut world = two_hosts();
    let mut environment = (**world.cluster.environment().unwrap()).clone();
    environment.subnet = "10.9.8.0/28".parse().unwrap();
    world.put(Record::Environment(Arc::new(environment)));
    let ids: Vec<String> = (0..8).map(|n| format!("alpha/a{n}")).collect();
    for id in &ids {
        world.sees(id, plain(&id.replace('/', ""), "join"));
    }
    let given = |world: &World| ids.iter().filter(|id| world.address_of(id).is_some()).count();
    assert_eq!(given(&world), 6, "a range of 16: network, gateway, and Docker's eight");
    let gone = ids.iter().find(|id| world.address_of(id).is_some()).unwrap().clone();
    world.forgets(RecordKey::Plain(id(&gone)));
    assert_eq!(given(&world), 6);
}

#[test]
fn names_lead_to_who_can_be_reached_and_never_take_one_of_a_stack() {
    let mut world = two_hosts();
    world.up(&["web image=good:1"]);
    world.until_done();
    world.sees("alpha/a1", plain("Redis", "join"));
    let redis = world.address_of("alpha/a1").unwrap();
    assert_eq!(world.plain_names(), "", "it is not connected yet");
    world.sees("alpha/a1", plain("Redis", &format!("join at={redis}")));
    assert_eq!(world.plain_names(), format!("redis={redis}"));
    world.sees("alpha/a1", plain("Redis", "join exited"));
    assert_eq!(world.plain_names(), format!("redis={redis}"), "until it is gone");
    world.sees("beta/b1", plain("published", "port=8080"));
    world.sees("beta/b2", plain("bound", "in=host"));
    world.sees("beta/b3", plain("beside", "in=container:b2"));
    world.sees("beta/b4", plain("hidden", ""));
    world.sees("beta/b5", plain("loopback", "local=8081"));
    world.sees("beta/b6", plain("ended", "port=8082 exited"));
    // Neither the name of a service, nor of an instance, nor of the internet.
    world.sees("beta/b7", plain("web.shop", "in=host"));
    world.sees("beta/b8", plain("shop-web-1", "in=host"));
    world.sees("beta/b9", plain("rancher-metadata", "in=host"));
    assert_eq!(
        world.plain_names(),
        format!(
            "beside=192.0.2.2 bound=192.0.2.2 published=192.0.2.2 redis={redis} web-shop=192.0.2.2"
        )
    );
    // A name that two hosts have: an address of its own goes before one of the host.
    world.sees("alpha/a2", plain("twice", "port=8080"));
    world.sees("beta/ba", plain("twice", "port=8080"));
    assert!(world.plain_names().contains("twice=192.0.2.1"), "{}", world.plain_names());
    world.sees("beta/ba", plain("twice", "join"));
    let own = world.address_of("beta/ba").unwrap();
    world.sees("beta/ba", plain("twice", &format!("join at={own}")));
    assert!(world.plain_names().contains(&format!("twice={own}")), "{}", world.plain_names());
    world.forgets(RecordKey::Plain(id("alpha/a1")));
    assert!(!world.plain_names().contains("redis"), "{}", world.plain_names());
}

#[test]
fn the_audit_finds_an_address_that_two_have_or_that_is_not_the_planner_s() {
    let mut world = two_hosts();
    world.up(&["web image=good:1"]);
    world.until_done();
    let instance = world.cluster.instances().next().unwrap().address.unwrap();
    world.sees("alpha/a1", plain("one", "join"));
    world.sees("beta/b1", plain("two", "join"));
    let other = world.address_of("beta/b1").unwrap();
    for (address, twice) in
        [(instance, true), (other, true), ("10.42.255.4".parse().unwrap(), false)]
    {
        let attachment = Attachment { id: id("alpha/a1"), address };
        world.put(Record::Attachment(Arc::new(attachment)));
        let found = audit(&world.cluster);
        match (twice, &found[..]) {
            (true, [Violation::AttachedTwice(at, ..)]) => assert_eq!(*at, address),
            (false, [Violation::AttachedNotOurs(at, _)]) => assert_eq!(*at, address),
            _ => panic!("{address}: {found:?}"),
        }
    }
}

#[test]
fn a_service_counts_the_plain_containers_that_its_selector_finds() {
    let mut world = two_hosts();
    world.up(&["lb lb=8080>web:80", "web image=good:1"]);
    world.until_done();
    let mut service = (**world.cluster.service(&crate::world::service("web")).unwrap()).clone();
    service.settings.selector_container = Some("tier=web".parse().unwrap());
    world.put(Record::Service(Arc::new(service)));
    world.plan();
    let web = crate::world::service("web");
    let own = world.cluster.instances_of(&web).next().unwrap().address.unwrap().to_string();
    let labelled = |words: &str| {
        let mut one = plain("beside", words);
        one.labels.insert("tier".into(), "web".into());
        one
    };
    // What `web.shop` leads to, and what the balancer on alpha does.
    let ends = |world: &World| {
        let view = publish::view(&world.cluster, &"alpha".parse().unwrap());
        let NameTarget::Service(all) = &view.dns.names["web.shop"] else { panic!("a service") };
        let text = |id| {
            let one = &view.instances[id];
            format!("{}{}", one.address, if one.running { "" } else { "!" })
        };
        let mut found: Vec<String> = all.iter().map(text).collect();
        found.sort();
        let upstream = view.upstreams.iter().find(|(id, _)| id.starts_with("shop/web:80"));
        let mut behind: Vec<String> =
            upstream.unwrap().1.endpoints.iter().map(|end| text(&end.instance)).collect();
        behind.sort();
        assert_eq!(found, behind);
        found.join(" ")
    };
    world.sees("beta/b1", labelled("port=80"));
    world.sees("beta/b2", plain("other", "join"));
    assert_eq!(ends(&world), own, "one without an address of its own has other ports");
    world.sees("beta/b3", labelled("join"));
    let at = world.address_of("beta/b3").unwrap().to_string();
    world.sees("beta/b3", labelled(&format!("join at={at}")));
    let sorted = |mark: &str| {
        let mut both = [own.clone(), format!("{at}{mark}")];
        both.sort();
        both.join(" ")
    };
    assert_eq!(ends(&world), sorted(""));
    world.set_link("beta", HostLink::Lost);
    assert_eq!(ends(&world), sorted("!"));
    world.set_link("beta", HostLink::Active);
    world.sees("beta/b3", labelled("join exited"));
    assert_eq!(ends(&world), own);
}
