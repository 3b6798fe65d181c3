//! Rancher's words: every process of its service life cycle, with its states, and every verb.

use crate::world::{World, service};
use control::{operate, rancher};
use model::host::HostLink;

fn state(world: &World) -> &'static str {
    rancher::state(&world.cluster, &service("web"))
}

fn health(world: &World) -> &'static str {
    rancher::health(&world.cluster, &service("web"))
}

/// The states that a service goes through while `ms` pass, each once in a row.
fn states(world: &mut World, ms: u64) -> Vec<&'static str> {
    let mut seen = vec![state(world)];
    for _ in 0..ms / 500 {
        world.step();
        world.plan();
        if seen.last() != Some(&state(world)) {
            seen.push(state(world));
        }
    }
    seen
}

fn active(line: &str) -> World {
    let mut world = World::new();
    world.up(&[line]);
    world.until_done();
    world
}

const WEB: &str = "web image=good:1 scale=4 check batch=1";
const NEXT: &str = "web image=good:2 scale=4 check batch=1";

#[test]
fn create_and_activate() {
    let mut world = World::new();
    assert_eq!(state(&world), "removed", "there is none");
    let diff = world.diff(&[WEB]);
    world.commit(&diff.proposal);
    assert_eq!(state(&world), "requested", "nobody has looked at it");
    world.plan();
    assert_eq!(states(&mut world, 20_000), ["activating", "active"]);
    let mut world = World::new();
    let diff = world.diff(&["web image=good:1 stopped"]);
    world.commit(&diff.proposal);
    assert_eq!(state(&world), "registering");
    world.plan();
    assert_eq!(states(&mut world, 5_000), ["inactive"], "start_on_create: false");
    world.operate(operate::start);
    assert_eq!(states(&mut world, 20_000), ["activating", "active"]);
}

#[test]
fn update_and_deactivate_and_remove() {
    let mut world = active(WEB);
    world.operate(|cluster, id| operate::scale(cluster, id, 6).unwrap());
    let seen = states(&mut world, 20_000);
    assert_eq!(seen, ["updating-active", "active"]);
    world.operate(operate::stop);
    assert_eq!(states(&mut world, 20_000), ["deactivating", "inactive"]);
    world.operate(operate::start);
    assert_eq!(states(&mut world, 20_000).last(), Some(&"active"));
    world.operate(operate::remove_service);
    assert_eq!(states(&mut world, 20_000), ["removing", "removed"]);
}

#[test]
fn restart() {
    let mut world = active(WEB);
    world.operate(operate::restart);
    assert_eq!(states(&mut world, 60_000), ["restarting", "active"]);
}

#[test]
fn upgrade_and_finishupgrade() {
    let mut world = active(&format!("{WEB} finish"));
    world.up(&[&format!("{NEXT} finish")]);
    assert_eq!(states(&mut world, 60_000), ["upgrading", "upgraded"]);
    world.verb("finishupgrade", None).unwrap();
    let seen = states(&mut world, 20_000);
    assert_eq!(seen.last(), Some(&"active"), "{seen:?}");
    let mut world = active(&format!("{WEB} finish"));
    world.up(&[&format!("{NEXT} finish")]);
    world.run(60_000);
    // Said, and not yet carried out.
    let verb = operate::rollout::Verb::parse("finishupgrade", None).unwrap();
    let said = operate::rollout::verb(&world.cluster, &service("web"), verb).unwrap();
    world.commit(&said);
    assert_eq!(state(&world), "finishing-upgrade");
}

#[test]
fn cancelupgrade_and_continueupgrade() {
    let mut world = active(WEB);
    world.up(&[NEXT]);
    world.run(5_000);
    let verb = operate::rollout::Verb::parse("cancelupgrade", None).unwrap();
    let said = operate::rollout::verb(&world.cluster, &service("web"), verb).unwrap();
    world.commit(&said);
    assert_eq!(state(&world), "canceling-upgrade", "said, and not yet carried out");
    world.plan();
    assert_eq!(states(&mut world, 10_000), ["canceled-upgrade"]);
    world.verb("continueupgrade", None).unwrap();
    assert_eq!(states(&mut world, 60_000), ["upgrading", "active"]);
}

#[test]
fn rollback_from_every_state_that_has_it() {
    for from in ["upgrading", "upgraded", "canceled-upgrade"] {
        let mut world = active(&format!("{WEB} finish"));
        world.up(&[&format!("{NEXT} finish")]);
        match from {
            "upgrading" => world.run(5_000),
            "upgraded" => world.run(60_000),
            _ => {
                world.run(5_000);
                world.verb("cancelupgrade", None).unwrap();
            }
        }
        assert_eq!(state(&world), from);
        world.verb("rollback", None).unwrap();
        let seen = states(&mut world, 60_000);
        assert_eq!(seen[0], "rolling-back", "{from}: {seen:?}");
        assert_eq!(seen.last(), Some(&"active"), "{from}: {seen:?}");
    }
}

#[test]
fn a_bad_version_rolls_back_by_itself_and_is_active_again() {
    let mut world = active(WEB);
    world.up(&["web image=sick:2 scale=4 check batch=1"]);
    let seen = states(&mut world, 60_000);
    assert_eq!(seen.first(), Some(&"upgrading"), "{seen:?}");
    assert_eq!(seen.last(), Some(&"active"), "{seen:?}");
    let mut world = active(WEB);
    world.up(&["web image=sick:2 scale=4 check batch=1 failure=pause"]);
    assert_eq!(states(&mut world, 60_000), ["upgrading", "canceled-upgrade"]);
}

#[test]
fn every_word_for_health() {
    let mut world = World::new();
    world.up(&["web image=mute:1 scale=2 check"]);
    world.run(2_000);
    assert_eq!(health(&world), "initializing");
    let mut world = active("web image=good:1 scale=2 check");
    assert_eq!(health(&world), "healthy");
    world.acts_as = [("web#1".into(), "sick")].into();
    world.step();
    assert_eq!(health(&world), "degraded");
    world.acts_as = [("web#1".into(), "sick"), ("web#2".into(), "sick")].into();
    world.step();
    assert_eq!(health(&world), "unhealthy");
    let mut world = World::new();
    world.up(&["web image=once:1 scale=2 restart=once"]);
    world.run(5_000);
    assert_eq!(health(&world), "started-once");
    assert_eq!(state(&world), "active");
    let mut world = active("web image=good:1 global");
    world.host("beta", HostLink::Active);
    world.plan();
    assert_eq!(health(&world), "initializing", "the new host has none yet");
    world.until_done();
    assert_eq!(health(&world), "healthy");
}
