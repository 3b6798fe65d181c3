//! Whatever people ask and hosts do: every plan passes the audit, comes to rest, takes nothing away
//! that serves, and once the trouble is over all is as wanted.

use crate::world::World;
use control::operate;
use model::host::HostLink;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Event {
    Up(&'static str, u32),
    Scale(u32),
    Restart,
    Stop,
    Start,
    /// Slot `n` does as if its image were another.
    Act(u32, &'static str),
    Well,
    Time(u64),
    Verb(&'static str),
    Drain(&'static str),
    Cordon(&'static str),
    Open(&'static str),
    Away(&'static str),
    Back(&'static str),
}

const HOSTS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

/// What people and hosts do besides.
fn wider() -> impl Strategy<Value = Event> {
    let host = || proptest::sample::select(HOSTS.to_vec());
    let verbs = vec!["pause", "resume", "promote", "abort", "finish", "rollback"];
    prop_oneof![
        6 => event(),
        2 => proptest::sample::select(verbs).prop_map(Event::Verb),
        1 => host().prop_map(Event::Drain),
        1 => host().prop_map(Event::Cordon),
        2 => host().prop_map(Event::Open),
        1 => host().prop_map(Event::Away),
        2 => host().prop_map(Event::Back),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let image = || {
        proptest::sample::select(vec![
            "good:1", "good:2", "good:3", "sick", "exit", "crash", "missing",
        ])
    };
    prop_oneof![
        2 => (image(), 1_u32..5).prop_map(|(image, scale)| Event::Up(image, scale)),
        1 => (0_u32..6).prop_map(Event::Scale),
        1 => Just(Event::Restart),
        1 => Just(Event::Stop),
        2 => Just(Event::Start),
        2 => (1_u32..5, image()).prop_map(|(n, image)| Event::Act(n, image)),
        1 => Just(Event::Well),
        5 => (1_u64..20).prop_map(|steps| Event::Time(steps * 500)),
    ]
}

fn apply(world: &mut World, event: &Event, more: &str) {
    match event {
        Event::Up(image, scale) => {
            world.up(&[&format!("web image={image} scale={scale} {more}")]);
        }
        Event::Scale(scale) => {
            world.operate(|cluster, id| operate::scale(cluster, id, *scale).unwrap());
        }
        Event::Restart => world.operate(operate::restart),
        Event::Stop => world.operate(operate::stop),
        Event::Start => world.operate(operate::start),
        Event::Act(n, image) => {
            world.acts_as.insert(format!("web#{n}"), image);
        }
        Event::Well => world.acts_as.clear(),
        // Most mean nothing at most times.
        Event::Verb(word) => drop(world.verb(word, None)),
        Event::Drain(host) => {
            let now = world.now;
            world.on_host(host, |cluster, id| {
                operate::host::drain(cluster, id, Some(30_000), false, now)
            });
        }
        Event::Cordon(host) => world.on_host(host, operate::host::cordon),
        Event::Open(host) => world.on_host(host, operate::host::uncordon),
        Event::Away(host) => world.set_link(host, HostLink::Disconnected),
        Event::Back(host) => world.set_link(host, HostLink::Active),
        Event::Time(ms) => world.run(*ms),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn anything_ends_as_wanted_once_a_good_version_is_asked_for(
        events in proptest::collection::vec(event(), 1..25),
        more in proptest::sample::select(vec!["check", "", "check order=stop", "check batch=3 pause=2000"]),
    ) {
        let mut world = World::new();
        for event in &events {
            apply(&mut world, event, more);
        }
        world.acts_as.clear();
        world.up(&[&format!("web image=good:9 scale=3 {more}")]);
        world.until_done();
        world.run(20_000);
        let service = world.cluster.services().next().unwrap();
        let r = service.target.revision;
        let restart = "'".repeat(service.target.restart as usize);
        let wanted = format!("1r{r}{restart}* 2r{r}{restart}* 3r{r}{restart}*");
        prop_assert_eq!(world.slots("web"), wanted, "{}", world.show());
        let quiet = world.cluster.clone();
        world.plan();
        prop_assert_eq!(&world.cluster, &quiet);
    }

    #[test]
    fn anything_ends_as_wanted_on_many_hosts_too(
        events in proptest::collection::vec(wider(), 1..30),
        more in proptest::sample::select(vec![
            "check", "check order=stop", "check canary=1", "check finish", "check failure=pause",
            "check retain", "check guard allow=web", "check loss=stop:20000", "check batch=2 unavailable=1 order=stop finish",
        ]),
    ) {
        let mut world = World::new();
        for host in &HOSTS[1..] {
            world.host(host, HostLink::Active);
        }
        for event in &events {
            apply(&mut world, event, more);
        }
        world.acts_as.clear();
        for host in HOSTS {
            world.on_host(host, operate::host::uncordon);
            world.set_link(host, HostLink::Active);
        }
        world.up(&[&format!("web image=good:9 scale=3 {more}")]);
        for _ in 0..20 {
            world.run(10_000);
            drop(world.verb("promote", None));
            drop(world.verb("resume", None));
            drop(world.verb("finish", None));
        }
        world.until_done();
        world.run(20_000);
        let service = world.cluster.services().next().unwrap();
        let r = service.target.revision;
        let restart = "'".repeat(service.target.restart as usize);
        let wanted = format!("1r{r}{restart}* 2r{r}{restart}* 3r{r}{restart}*");
        prop_assert_eq!(world.slots("web"), wanted, "{}", world.show());
        let quiet = world.cluster.clone();
        world.plan();
        prop_assert_eq!(&world.cluster, &quiet);
    }

    #[test]
    fn neither_drains_nor_verbs_take_away_what_serves(
        events in proptest::collection::vec(wider(), 1..20),
        scale in 1_u32..6,
    ) {
        let mut world = World::new();
        for host in &HOSTS[1..] {
            world.host(host, HostLink::Active);
        }
        world.up(&[&format!("web image=good:0 scale={scale} check")]);
        world.until_done();
        world.fewest = usize::MAX;
        let ours = |event: &Event| matches!(event,
            Event::Verb(_) | Event::Drain(_) | Event::Cordon(_) | Event::Open(_) | Event::Time(_)
            | Event::Restart);
        for (n, event) in events.iter().enumerate() {
            if let Event::Up(image, _) = event {
                world.up(&[&format!("web image={image} scale={scale} check")]);
            } else if ours(event) {
                apply(&mut world, event, "check");
            }
            world.run(500 * (n as u64 % 7));
        }
        world.run(100_000);
        prop_assert!(world.fewest >= scale as usize, "{} of {scale}\n{}", world.fewest, world.show());
    }

    #[test]
    fn no_change_of_version_takes_away_what_serves(
        images in proptest::collection::vec(
            (proptest::sample::select(vec!["good:1", "good:2", "sick", "exit", "crash", "missing", "mute"]), 0_u64..40),
            1..8,
        ),
        scale in 1_u32..6,
        batch in 1_u32..6,
    ) {
        let mut world = World::new();
        world.up(&[&format!("web image=good:0 scale={scale} check")]);
        world.until_done();
        world.fewest = usize::MAX;
        for (image, steps) in images {
            world.up(&[&format!("web image={image} scale={scale} check batch={batch}")]);
            world.run(steps * 500);
        }
        world.run(100_000);
        prop_assert!(world.fewest >= scale as usize, "{} of {scale}\n{}", world.fewest, world.show());
    }
}
