//! What is blocked says which kinds of change may help, and the fleet says which of them came.

use super::*;

fn freed(world: &mut World, change: impl Fn(&mut World)) -> super::super::Wake {
    world.fleet.take_freed();
    change(world);
    world.fleet.take_freed()
}

#[test]
fn each_lack_waits_for_what_can_end_it() {
    for (wish, capacity, ports, labels) in [
        ("memory", true, false, false),
        ("cpu", true, false, false),
        ("port", false, true, false),
        ("container_label tier=x", false, false, true),
        ("container_label_ne tier=old", false, false, true),
        ("container shop-x-1", false, false, true),
        ("host_label zone=9", false, false, false),
    ] {
        let mut world = World::new(&["a"]);
        let mut old = template("tier=old");
        old.ports = vec![port(None, Some(80), 80)];
        container(&mut old).resources.memory_reserved = 3 << 30;
        container(&mut old).resources.cpu_reserved_milli = 3_000;
        world.on("a", "old", &old, 1);
        let mut web = template("");
        match wish {
            "memory" => container(&mut web).resources.memory_reserved = 2 << 30,
            "cpu" => container(&mut web).resources.cpu_reserved_milli = 2_000,
            "port" => web.ports = vec![port(None, Some(80), 80)],
            text => web.placement.constraints = vec![constraint(text)],
        }
        let wake = world.place(&id("web"), &web, 1).unwrap_err().wake;
        assert_eq!((wake.capacity, wake.ports, wake.labels), (capacity, ports, labels), "{wish}");
        assert!(wake.hosts, "another host may always help: {wish}");
        let first = world.cluster.instances().next().unwrap().id.clone();
        let gone = freed(&mut world, |world| world.remove(&first));
        let helped = world.place(&id("web"), &web, 1).is_ok();
        assert!(!helped || wake.is_met_by(gone), "{wish}: nobody would have tried again");
    }
}

#[test]
fn a_change_frees_only_its_kinds() {
    let mut world = World::new(&["a", "b"]);
    let (service, web) = (id("web"), template("tier=web"));
    let first = world.place(&service, &web, 1).unwrap();
    let second = freed(&mut world, |world| {
        world.place(&id("web"), &web, 2).unwrap();
        world.place(&id("web"), &web, 3).unwrap();
    });
    assert!(!second.capacity && !second.ports && !second.hosts);
    let again = freed(&mut world, |world| world.put(Record::Instance(Arc::clone(&first))));
    assert_eq!(again, super::super::Wake::default(), "the same once more changes nothing");
    let same = freed(&mut world, |world| world.change_host("a", |host| host.reason = "x".into()));
    assert_eq!(same, super::super::Wake::default());
    let away = freed(&mut world, |w| w.change_host("a", |h| h.status = HostLink::Disconnected));
    assert_eq!(away, super::super::Wake::default(), "what goes makes no room");
    let back = freed(&mut world, |w| w.change_host("a", |h| h.status = HostLink::Active));
    assert!(back.hosts && !back.capacity);
    let larger = freed(&mut world, |w| w.change_host("a", |h| h.facts.cpus = 64));
    assert!(larger.capacity && !larger.hosts);
    let label = freed(&mut world, |w| {
        w.change_host("a", |h| {
            h.labels.insert("zone".into(), "9".into());
        });
    });
    assert!(label.hosts);
    let gone = freed(&mut world, |world| world.remove(&first.id));
    assert!(gone.capacity && !gone.ports && !gone.hosts);
}

#[test]
fn an_address_that_a_slot_keeps_is_nobody_elses() {
    let mut world = World::new(&["a"]);
    let web = template("");
    let first = world.place(&id("web"), &web, 1).unwrap();
    let address = first.address.unwrap();
    let mut status = ServiceStatus::new(id("web"));
    status.incarnations = 1;
    status.retained.insert(1, address);
    world.put(Record::ServiceStatus(Arc::new(status)));
    world.remove(&first.id);
    let (other, own) = (id("other"), id("web"));
    let wants = |service| Ask { prefer: vec![address], ..World::ask(service, &web, 1) };
    assert_ne!(world.fleet.choose(&wants(&other)).unwrap().address, Some(address));
    assert_eq!(world.fleet.choose(&wants(&own)).unwrap().address, Some(address));
}
