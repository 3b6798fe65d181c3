//! The audit finds each thing that must never be, put in by hand.

use crate::world::World;
use control::audit::{Violation, audit};
use model::change::{Change, Edit, Proposal};
use model::instance::{Goal, Instance};
use model::record::{Record, RecordKey};
use std::sync::Arc;

fn world() -> World {
    let mut world = World::new();
    world.up(&["web image=good:1 scale=2 port=80", "api image=good:1 port=81"]);
    world.until_done();
    assert!(audit(&world.cluster).is_empty());
    world
}

/// What the audit says once one instance of `shop/web` is changed so.
fn after(change: impl Fn(&mut Instance)) -> Vec<Violation> {
    let mut world = world();
    let mut instance = (**world.cluster.instances().last().unwrap()).clone();
    change(&mut instance);
    world.put(Record::Instance(Arc::new(instance)));
    audit(&world.cluster)
}

fn without(key: impl Fn(&World) -> RecordKey) -> Vec<Violation> {
    let mut world = world();
    let change = Change { edits: vec![Edit::Delete(key(&world))] };
    world.commit(&Proposal { reads: vec![], change });
    audit(&world.cluster)
}

#[test]
fn each_violation_is_found() {
    let web = || "shop/web".parse().unwrap();
    let found = after(|i| i.address = Some("10.42.0.2".parse().unwrap()));
    assert!(matches!(found[..], [Violation::AddressTwice(..)]), "{found:?}");
    for address in ["10.42.0.1", "10.42.255.9", "10.42.255.255", "10.43.0.9"] {
        let found = after(|i| i.address = Some(address.parse().unwrap()));
        assert!(matches!(found[..], [Violation::AddressNotOurs(..)]), "{address}: {found:?}");
    }
    let first = world().cluster.instances().next().unwrap().container_name.clone();
    let found = after(|i| i.container_name.clone_from(&first));
    assert!(matches!(found[..], [Violation::NameTwice(..)]), "{found:?}");
    let found = after(|i| i.ports[0].host_port = Some(81));
    assert!(matches!(found[..], [Violation::PortTwice(81, ..)]), "{found:?}");
    let found = after(|i| i.target.revision = 7);
    assert!(matches!(found[..], [Violation::NoRevision(_, 7)]), "{found:?}");
    let found = after(|i| i.id.incarnation = 1 << 40);
    assert!(found.iter().any(|v| matches!(v, Violation::Unknown(_))), "{found:?}");
    assert!(found.iter().any(|v| matches!(v, Violation::SlotTwice(..))), "{found:?}");
    let found = after(|i| i.host = "nowhere".parse().unwrap());
    assert!(matches!(found[..], [Violation::NoHost(_)]), "{found:?}");
    let found = after(|i| {
        i.host = "nowhere".parse().unwrap();
        i.goal = Goal::Remove;
    });
    assert!(found.is_empty(), "what goes may be of a host that went: {found:?}");
    let found = without(|_| RecordKey::Service(web()));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|v| matches!(v, Violation::NoService(_))), "{found:?}");
    let found = without(|_| RecordKey::Revision(web(), 1));
    assert!(found.iter().any(|v| matches!(v, Violation::NoTarget(_))), "{found:?}");
}

#[test]
fn what_is_reserved_beyond_a_host_or_bound_twice_is_found() {
    let mut world = World::new();
    world.up(&["web image=good:1 scale=4 mem=1024"]);
    world.until_done();
    assert!(audit(&world.cluster).is_empty());
    let mut one = (**world.cluster.instances().next().unwrap()).clone();
    one.id.incarnation += 1;
    one.id.n = 9;
    one.address = Some("10.42.77.77".parse().unwrap());
    one.container_name = "another".into();
    one.sidekick_addresses = [("log".parse().unwrap(), one.address.unwrap())].into();
    world.put(Record::Instance(Arc::new(one.clone())));
    let found = audit(&world.cluster);
    let over = |v: &Violation| matches!(v, Violation::MemoryOver(_, bytes) if *bytes == 5 << 30);
    assert!(found.iter().any(over), "{found:?}");
    assert!(found.iter().any(|v| matches!(v, Violation::AddressTwice(..))), "{found:?}");
    one.goal = Goal::Remove;
    one.sidekick_addresses.clear();
    world.put(Record::Instance(Arc::new(one)));
    let found = audit(&world.cluster);
    assert!(!found.iter().any(over), "what goes reserves nothing: {found:?}");
}
