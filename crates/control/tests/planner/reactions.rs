//! What the planner does about instances that were well: unhealthy ones, lost hosts, back-off.

use crate::world::World;
use control::operate;
use model::host::HostLink;
use model::instance::{Goal, Phase};
use model::record::RecordKey;

fn done(lines: &[&str]) -> World {
    let mut world = World::new();
    world.up(lines);
    world.until_done();
    world.run(2_000);
    world.fewest = usize::MAX;
    world
}

#[test]
fn an_unhealthy_instance_is_replaced_once_and_stays_replaced() {
    let mut world = done(&["web image=good:1 scale=3 check"]);
    let before = world.status("web").unwrap().incarnations;
    world.acts_as = [("web#2".into(), "sick")].into();
    world.run(500);
    world.acts_as.clear();
    world.run(20_000);
    assert_eq!(world.slots("web"), "1r1* 2r1* 3r1*");
    assert_eq!(world.status("web").unwrap().incarnations, before + 1);
    assert_eq!(world.fewest, 2);
}

#[test]
fn when_all_are_unhealthy_they_are_not_all_taken_away_at_once() {
    let mut world = done(&["web image=good:1 scale=8 check"]);
    world.acts_as = (1..=8).map(|n| (format!("web#{n}"), "sick")).collect();
    let before = world.status("web").unwrap().incarnations;
    for _ in 0..40 {
        world.step();
        world.plan();
        let running = world.cluster.instances().filter(|i| i.goal == Goal::Run);
        let running = running.filter(|i| world.seen(i).phase == Phase::Running).count();
        assert!(running >= 6, "a quarter at most is away: {}", world.slots("web"));
    }
    let replaced = &world.status("web").unwrap().replacements;
    assert_eq!(replaced.len(), 8, "each had its turn: {replaced:?}");
    assert!(world.status("web").unwrap().incarnations >= before + 8);
}

#[test]
fn replacements_wait_longer_each_time_and_say_so() {
    let mut world = done(&["web image=good:1 scale=1 check"]);
    world.acts_as = [("web#1".into(), "sick")].into();
    let before = world.status("web").unwrap().incarnations;
    world.run(120_000);
    let made = world.status("web").unwrap().incarnations - before;
    assert!((6..=12).contains(&made), "doubling from half a second: {made} in two minutes");
    assert!(world.blocked("web").iter().all(|b| b.contains("answered 500")), "{}", world.show());
    world.acts_as.clear();
    world.run(61_000);
    assert_eq!((world.rollout(), world.slots("web").as_str()), ("done", "1r1*"));
    world.run(70_000);
    assert!(world.status("web").unwrap().replacements.is_empty(), "a minute of health forgets");
}

#[test]
fn a_disconnected_host_moves_nothing_and_a_removed_one_does() {
    let mut world = done(&["web image=good:1 scale=2 check"]);
    let before = world.cluster.clone();
    world.host("alpha", HostLink::Disconnected);
    world.plan();
    assert_eq!(world.slots("web"), "1r1* 2r1*");
    let ids = |cluster: &model::cluster::Cluster| {
        cluster.instances().map(|i| i.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&before), ids(&world.cluster));
    world.operate(|cluster, id| operate::scale(cluster, id, 3).unwrap());
    let blocked = world.blocked("web");
    assert_eq!(blocked[2], "#3 none of 1 hosts is connected");
    assert!(blocked[0].starts_with("#1 host alpha is away: replaced elsewhere"), "{blocked:?}");
    world.host("beta", HostLink::Active);
    world.plan();
    assert_eq!(world.blocked("web").len(), 2, "{:?}", world.blocked("web"));
    let gone = model::change::Change {
        edits: vec![model::change::Edit::Delete(RecordKey::Host("alpha".parse().unwrap()))],
    };
    world.commit(&model::change::Proposal { reads: vec![], change: gone });
    world.plan();
    world.until_done();
    let hosts: Vec<String> = world.cluster.instances().map(|i| i.host.to_string()).collect();
    assert_eq!(hosts, ["beta", "beta", "beta"]);
}

#[test]
fn a_job_that_is_done_stays_done() {
    let mut world = done(&["web image=once scale=1 restart=no"]);
    let before = world.cluster.clone();
    world.run(120_000);
    assert_eq!(before.instances().count(), 1);
    assert_eq!(world.cluster, before);
}

#[test]
fn down_takes_everything_and_leaves_no_record() {
    let mut world = done(&["web image=good:1 scale=3 check", "lb lb=80>web:80"]);
    let proposal = operate::remove_stack(&world.cluster, &"shop".parse().unwrap());
    world.commit(&proposal);
    world.plan();
    world.run(10_000);
    assert_eq!(world.cluster.services().count(), 0);
    assert_eq!(world.cluster.stacks().count(), 0);
    assert_eq!(world.cluster.instances().count(), 0);
    assert_eq!(world.cluster.instance_statuses().count(), 0);
    world.up(&["web image=good:1 scale=1 check"]);
    world.until_done();
}

#[test]
fn each_strategy_of_ranchers_reacts_in_its_own_way() {
    for (react, sick, replaced) in [
        ("", &[2][..], true),
        ("react=none", &[2][..], false),
        // Two healthy ones must remain.
        ("react=quorum:2", &[2][..], true),
        ("react=quorum:2", &[2, 3][..], false),
        ("react=quorum:3", &[2][..], false),
        ("react=quorum:1", &[2, 3][..], true),
    ] {
        let mut world = done(&[&format!("web image=good:1 scale=3 check {react}")]);
        let before = world.status("web").unwrap().incarnations;
        world.acts_as = sick.iter().map(|n| (format!("web#{n}"), "sick")).collect();
        world.run(3_000);
        let made = world.status("web").unwrap().incarnations > before;
        assert_eq!(made, replaced, "{react} with {sick:?} sick: {}", world.show());
    }
}

#[test]
fn one_that_does_not_get_healthy_in_its_time_is_replaced() {
    for (react, restarts, after_ms, replaced) in [
        ("react=init:5000", 0, 8_000, true),
        ("react=init:5000", 0, 3_000, false),
        ("react=init:5000", 1, 60_000, false),
        ("react=reinit:5000", 1, 8_000, true),
        ("react=reinit:5000", 0, 60_000, false),
    ] {
        let mut world = done(&[&format!("web image=good:1 scale=2 check {react}")]);
        let before = world.status("web").unwrap().incarnations;
        world.again("web", 1, restarts);
        world.acts_as = [("web#1".into(), "mute")].into();
        world.run(after_ms);
        let made = world.status("web").unwrap().incarnations > before;
        assert_eq!(made, replaced, "{react}, restarts {restarts}, {after_ms} ms: {}", world.show());
    }
}

#[test]
fn one_that_flaps_does_not_starve_the_others() {
    let mut world = done(&["web image=good:1 scale=3 check"]);
    // The replacement of the first never comes to a verdict.
    world.acts_as = [("web#1".into(), "sick")].into();
    world.run(1_000);
    world.acts_as = [("web#1".into(), "mute")].into();
    world.run(5_000);
    let before = world.status("web").unwrap().incarnations;
    world.acts_as.insert("web#3".into(), "sick");
    world.run(500);
    world.acts_as.remove("web#3");
    world.acts_as.insert("web#2".into(), "sick");
    world.run(40_000);
    let status = world.status("web").unwrap();
    assert!(status.replacements.contains_key(&2), "{}", world.show());
    assert!(status.incarnations > before, "{}", world.show());
}
