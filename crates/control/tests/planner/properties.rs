//! Whatever people ask and hosts do: every plan passes the audit, comes to rest, takes nothing away
//! that serves, and once the trouble is over all is as wanted.

use crate::world::World;
use control::operate;
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
        Event::Scale(scale) => world.operate(|cluster, id| operate::scale(cluster, id, *scale)),
        Event::Restart => world.operate(operate::restart),
        Event::Stop => world.operate(operate::stop),
        Event::Start => world.operate(operate::start),
        Event::Act(n, image) => {
            world.acts_as.insert(format!("web#{n}"), image);
        }
        Event::Well => world.acts_as.clear(),
        Event::Time(ms) => world.run(*ms),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

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
