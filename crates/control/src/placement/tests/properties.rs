//! Whatever is placed, taken away and changed: the scheduler says what the oracle says, and a fleet
//! that followed every change says what a new one does.

use super::oracle::verdict;
use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    /// So many of a service, one by one or as many at once.
    Place(usize, u32, bool),
    Remove(usize),
    SetGoal(usize, Goal),
    Leave(usize),
    Host(usize, HostChange),
}

#[derive(Clone, Copy, Debug)]
enum HostChange {
    Away,
    Back,
    Cordon,
    Zone(u8),
    Choosy,
    Memory(u64),
    Gone,
}

fn services() -> Vec<(ServiceId, Template)> {
    let mut all = vec![];
    let mut add = |name: &str, labels: &str, change: &dyn Fn(&mut Template)| {
        let mut template = template(labels);
        change(&mut template);
        all.push((id(name), template));
    };
    let wishes = |texts: &[&str]| texts.iter().map(|text| constraint(text)).collect::<Vec<_>>();
    add("plain", "", &|_| {});
    add("port", "tier=web", &|t| t.ports = vec![port(None, Some(80), 80), port(None, None, 81)]);
    add("rival", "", &|t| t.ports = vec![port(None, Some(80), 80)]);
    add("memory", "", &|t| container(t).resources.memory_reserved = 700 << 20);
    add("cpu", "", &|t| {
        container(t).resources.cpu_reserved_milli = 700;
        t.placement.strategy = model::placement::Strategy::Binpack;
    });
    add("apart", "", &|t| {
        t.placement.constraints =
            wishes(&["container_label_ne io.rancher.stack_service.name=shop/apart"]);
    });
    add("near", "gpu=1", &|t| {
        t.placement.constraints = wishes(&["container_label tier=web", "host_label_soft zone=1"]);
    });
    add("soft", "", &|t| {
        t.placement.constraints = wishes(&[
            "container_label_soft_ne io.rancher.stack_service.name=shop/soft",
            "host_label_soft zone=0",
            "host_label_soft_ne disk=ssd",
        ]);
    });
    add("zones", "", &|t| {
        t.placement.spread_by = vec!["zone".into(), "disk".into()];
        t.placement.max_per_host = Some(2);
        container(t).resources.memory_reserved = 100 << 20;
    });
    add("hard", "gpu=2", &|t| {
        t.placement.constraints = wishes(&["host_label disk=ssd", "host_label_ne zone=2"]);
        container(t).resources.cpu_reserved_milli = 300;
    });
    all
}

fn event() -> impl Strategy<Value = Event> {
    let change = prop_oneof![
        Just(HostChange::Away),
        Just(HostChange::Back),
        Just(HostChange::Cordon),
        (0_u8..4).prop_map(HostChange::Zone),
        Just(HostChange::Choosy),
        (1_u64..8).prop_map(HostChange::Memory),
        Just(HostChange::Gone),
    ];
    prop_oneof![
        6 => (0_usize..10, 1_u32..16, any::<bool>()).prop_map(|(s, n, at_once)| Event::Place(s, n, at_once)),
        2 => any::<usize>().prop_map(Event::Remove),
        2 => (any::<usize>(), prop_oneof![Just(Goal::Stop), Just(Goal::Remove), Just(Goal::Run)])
            .prop_map(|(at, goal)| Event::SetGoal(at, goal)),
        1 => any::<usize>().prop_map(Event::Leave),
        2 => (any::<usize>(), change).prop_map(|(at, change)| Event::Host(at, change)),
    ]
}

fn nth(world: &World, at: usize) -> Option<Instance> {
    let all: Vec<&Arc<Instance>> = world.cluster.instances().collect();
    (!all.is_empty()).then(|| (**all[at % all.len()]).clone())
}

fn change_host(world: &mut World, at: usize, change: HostChange, many: usize) {
    let name = format!("h{:03}", at % many);
    let known = world.cluster.host(&name.parse().unwrap()).cloned();
    let mut one = known.map_or_else(|| host(&name, "", 4, 4 << 30), |host| (*host).clone());
    match change {
        HostChange::Away => one.status = HostLink::Disconnected,
        HostChange::Back => (one.status, one.scheduling) = (HostLink::Active, Scheduling::Active),
        HostChange::Cordon => one.scheduling = Scheduling::Cordoned,
        HostChange::Zone(zone) => {
            one.labels.insert("Zone".into(), zone.to_string());
        }
        HostChange::Choosy => {
            one.labels.insert("io.rancher.scheduler.require_any".into(), "gpu=1,tier".into());
        }
        HostChange::Memory(gib) => one.facts.memory = gib << 30,
        HostChange::Gone => {
            world.edit(Edit::Delete(RecordKey::Host(one.id)));
            return;
        }
    }
    world.put(Record::Host(Arc::new(one)));
}

/// Places one and compares with the oracle. `exact`: the score must be the best one.
fn place(world: &mut World, ask: &Ask<'_>, exact: bool) -> Result<bool, TestCaseError> {
    let wanted = verdict(&world.cluster, ask);
    match world.fleet.choose(ask) {
        Err(unplaced) => {
            prop_assert!(wanted.fits.is_empty(), "{}: {}", ask.service, unplaced.reason);
            Ok(false)
        }
        Ok(place) => {
            let score = wanted.fits.get(&place.host);
            prop_assert!(score.is_some(), "{} does not fit on {}", ask.service, place.host);
            let mut dropped = place.dropped.clone();
            dropped.sort();
            prop_assert_eq!(&dropped, &wanted.dropped, "{}", ask.service);
            if exact {
                prop_assert_eq!(score, wanted.fits.values().min(), "{}#{}", ask.service, ask.n);
            }
            world.commit(ask, place);
            Ok(true)
        }
    }
}

fn run(hosts: usize, events: &[Event]) -> Result<(), TestCaseError> {
    let services = services();
    let lines: Vec<String> = (0..hosts)
        .map(|n| {
            let disk = if n % 3 == 0 { " disk=SSD" } else { "" };
            let ips = if n % 7 == 0 { " io.rancher.scheduler.ips=10.0.0.1,10.0.0.2" } else { "" };
            format!("h{n:03} zone={}{disk}{ips}", n % 3)
        })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut world = World::new(&lines);
    for (service, template) in &services {
        world.revise(service, 1, template);
    }
    let mut slot = 0;
    for event in events {
        match event {
            Event::Place(which, many, at_once) => {
                let (service, template) = &services[*which];
                for left in (1..=*many).rev() {
                    slot += 1;
                    let more = if *at_once { left } else { 1 };
                    let n = if left % 3 == 0 { slot / 2 + 1 } else { slot };
                    let ask = Ask { more, ..World::ask(service, template, n) };
                    let exact = hosts <= 100 || (*at_once && *many >= 8);
                    if !place(&mut world, &ask, exact && (hosts <= 100 || more >= 8))? {
                        break;
                    }
                }
            }
            Event::Remove(at) => {
                if let Some(one) = nth(&world, *at) {
                    world.remove(&one.id);
                }
            }
            Event::SetGoal(at, goal) => {
                if let Some(one) = nth(&world, *at) {
                    world.set_goal(&one.id, *goal);
                }
            }
            Event::Leave(at) => {
                if let Some(mut one) = nth(&world, *at) {
                    one.leaving = !one.leaving;
                    world.put(Record::Instance(Arc::new(one)));
                }
            }
            Event::Host(at, change) => change_host(&mut world, *at, *change, hosts + 2),
        }
    }
    let mut fresh = Fleet::of(&world.cluster);
    for (service, template) in &services {
        let ask = World::ask(service, template, 9_999);
        // Which addresses were given back of late only the one knows that saw it.
        let choose = |fleet: &mut Fleet| {
            fleet.choose(&ask).map(|place| Place { address: place.address.and(None), ..place })
        };
        prop_assert_eq!(choose(&mut fresh), choose(&mut world.fleet), "{}", service);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_small_cluster_is_placed_as_the_oracle_does(
        hosts in 1_usize..12,
        events in proptest::collection::vec(event(), 1..14),
    ) {
        run(hosts, &events)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn in_a_large_one_heaps_are_exact_and_samples_fit(
        hosts in 101_usize..140,
        events in proptest::collection::vec(event(), 1..10),
    ) {
        run(hosts, &events)?;
    }
}
