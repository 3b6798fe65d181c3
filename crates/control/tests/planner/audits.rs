//! The audit finds each thing that must never be, put in by hand.

use crate::world::World;
use control::audit::{Auditor, Violation, audit};
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

/// A small generator: the same numbers each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// One record is changed, taken away or put back, whether or not that may be.
fn disturb(dice: &mut Dice, whole: &World, world: &mut World) {
    let instances: Vec<Arc<Instance>> = whole.cluster.instances().cloned().collect();
    let at = usize::try_from(dice.below(instances.len() as u64)).unwrap();
    let mut one = (*instances[at]).clone();
    let id = one.id.service.clone();
    let small = dice.below(3);
    let record = match dice.below(12) {
        0 => Some(Record::Service(Arc::clone(whole.cluster.service(&id).unwrap()))),
        1 => Some(Record::Revision(Arc::clone(whole.cluster.revision(&id, 1).unwrap()))),
        2 => Some(Record::ServiceStatus(Arc::clone(whole.cluster.service_status(&id).unwrap()))),
        3 => Some(Record::Host(Arc::clone(whole.cluster.host(&one.host).unwrap()))),
        4 => {
            let mut host = (**whole.cluster.host(&one.host).unwrap()).clone();
            host.facts.memory = small << 30;
            Some(Record::Host(Arc::new(host)))
        }
        5..=8 => {
            one.address = Some(std::net::Ipv4Addr::new(10, 42, 0, u8::try_from(small).unwrap()));
            one.container_name = format!("name{}", dice.below(5));
            one.leaving = dice.below(3) == 0;
            one.goal = if dice.below(4) == 0 { Goal::Remove } else { Goal::Run };
            one.target.revision = 1 + u32::from(dice.below(6) == 0);
            for port in &mut one.ports {
                port.host_port = Some(80 + u16::try_from(dice.below(2)).unwrap());
            }
            Some(Record::Instance(Arc::new(one.clone())))
        }
        _ => None,
    };
    if let Some(record) = record {
        return world.put(record);
    }
    let key = match dice.below(6) {
        0 => RecordKey::Service(id),
        1 => RecordKey::Revision(id, 1),
        2 => RecordKey::ServiceStatus(id),
        3 => RecordKey::Host(one.host),
        _ => RecordKey::Instance(one.id),
    };
    let change = Change { edits: vec![Edit::Delete(key)] };
    world.commit(&Proposal { reads: vec![], change });
}

#[test]
fn who_follows_the_changes_finds_what_a_look_at_everything_finds() {
    let mut whole = World::new();
    whole.up(&["web image=good:1 scale=4 mem=1024 port=80", "api image=good:1 scale=2 port=81"]);
    whole.until_done();
    let mut dice = Dice(7);
    let mut most = 0;
    for _ in 0..20 {
        let mut world = World::new();
        world.cluster = whole.cluster.clone();
        let mut auditor = Auditor::default();
        let mut told: Vec<Violation> = auditor.follow(&world.cluster);
        for step in 0..200 {
            // Several changes may pass between two looks.
            for _ in 0..=dice.below(3) {
                disturb(&mut dice, &whole, &mut world);
            }
            let before: Vec<Violation> = auditor.violations().cloned().collect();
            let new = auditor.follow(&world.cluster);
            let mut found: Vec<Violation> = auditor.violations().cloned().collect();
            assert!(new.iter().all(|one| found.contains(one) && !before.contains(one)));
            let unsaid = found.iter().filter(|one| !before.contains(one) && !new.contains(one));
            assert_eq!(unsaid.count(), 0, "what is new is told");
            let mut expected = audit(&world.cluster);
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "step {step}");
            most = most.max(found.len());
            told.extend(new);
        }
        let kinds: std::collections::BTreeSet<_> =
            told.iter().map(|one| format!("{:?}", std::mem::discriminant(one))).collect();
        assert!(kinds.len() >= 9, "only {} kinds were met", kinds.len());
    }
    assert!(most >= 6, "many at once: {most}");
}
