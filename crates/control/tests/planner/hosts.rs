//! Hosts that are cordoned, drained, lost and found; services that have one on each of them.

use crate::world::World;
use control::operate;
use model::host::HostLink;

/// Hosts alpha, beta and gamma, and `shop/web` done as this line says.
fn three(line: &str) -> World {
    let mut world = World::new();
    world.host("beta", HostLink::Active);
    world.host("gamma", HostLink::Active);
    world.up(&[line]);
    world.until_done();
    world.fewest = usize::MAX;
    world.most_in_slot = 0;
    world
}

fn drain(world: &mut World, host: &str, deadline_ms: Option<u64>, force: bool) {
    let now = world.now;
    world.on_host(host, |cluster, id| operate::host::drain(cluster, id, deadline_ms, force, now));
}

#[test]
fn a_cordoned_host_keeps_what_it_has_and_gets_nothing_new() {
    let mut world = three("web image=good:1 scale=3");
    assert_eq!(world.places(), "1:alpha 2:beta 3:gamma");
    world.on_host("beta", operate::host::cordon);
    world.operate(|cluster, id| operate::scale(cluster, id, 7).unwrap());
    world.run(5_000);
    assert_eq!(world.places().matches("beta").count(), 1, "{}", world.places());
    world.on_host("beta", operate::host::uncordon);
    world.operate(|cluster, id| operate::scale(cluster, id, 9).unwrap());
    assert!(world.places().matches("beta").count() > 1, "{}", world.places());
}

#[test]
fn a_drained_host_is_left_one_after_the_other_and_never_fewer_serve() {
    for (more, least) in [("check", 6), ("check batch=6", 6), ("check order=stop", 5)] {
        let mut world = three(&format!("web image=good:1 scale=6 {more}"));
        drain(&mut world, "alpha", None, false);
        world.run(60_000);
        assert!(!world.places().contains("alpha"), "{more}: {}", world.places());
        assert_eq!(world.slots("web").matches("r1*").count(), 6, "{more}");
        assert!(world.fewest >= least, "{more}: {}", world.fewest);
        assert_eq!(world.rollout(), "done", "{more}: a move is no rollout");
    }
}

#[test]
fn a_drain_that_nobody_can_take_up_says_why_and_ends_at_its_deadline() {
    let mut world = World::new();
    world.up(&["web image=good:1 scale=2 check"]);
    world.until_done();
    drain(&mut world, "alpha", Some(30_000), false);
    world.run(5_000);
    let blocked = world.blocked("web");
    assert!(blocked[0].contains("cannot leave draining host alpha"), "{blocked:?}");
    assert_eq!(world.slots("web"), "1r1* 2r1*");
    world.run(60_000);
    let blocked = world.blocked("web");
    assert!(blocked[0].contains("the time of the drain is over"), "{blocked:?}");
    assert_eq!(world.slots("web"), "1r1* 2r1*", "nothing is lost");
    drain(&mut world, "alpha", Some(1_000), true);
    world.run(10_000);
    assert_eq!(world.slots("web"), "", "with force they go");
    world.on_host("alpha", operate::host::uncordon);
    world.run(20_000);
    assert_eq!(world.slots("web"), "1r1* 2r1*");
}

#[test]
fn what_was_to_leave_stays_when_the_drain_is_called_off() {
    let mut world = three("web image=good:1 scale=3 check");
    let before = world.places();
    world.acts_as = [("web#1".into(), "mute")].into();
    drain(&mut world, "alpha", None, false);
    world.step();
    world.plan();
    assert!(world.places().starts_with("1!:alpha 1:"), "{}", world.places());
    world.acts_as.clear();
    world.on_host("alpha", operate::host::uncordon);
    world.run(10_000);
    assert_eq!(world.places(), before);
    assert_eq!(world.slots("web"), "1r1* 2r1* 3r1*");
}

#[test]
fn a_lost_host_is_handled_as_each_service_says() {
    for (policy, after_ms, moved) in [
        ("", 12_000, true),
        ("", 8_000, false),
        ("loss=keep", 600_000, false),
        ("loss=replace:60000", 40_000, false),
        ("loss=replace:60000", 63_000, true),
        ("loss=stop:30000", 31_000, false),
        ("loss=stop:30000", 35_000, true),
    ] {
        let mut world = three(&format!("web image=good:1 scale=3 {policy}"));
        world.host("beta", HostLink::Disconnected);
        world.run(after_ms);
        let elsewhere = world.places().replace("2!:beta", "").replace("2:beta", "");
        assert_eq!(elsewhere.contains("2:"), moved, "{policy} {after_ms}: {}", world.places());
        if !moved {
            let blocked = world.blocked("web");
            assert!(blocked[0].contains("#2 host beta is away"), "{policy}: {blocked:?}");
        }
    }
}

#[test]
fn a_host_that_comes_back_causes_no_restart_no_double_and_no_flapping() {
    let mut world = three("web image=good:1 scale=3 check");
    let before = world.ids_of_revision(1);
    world.host("beta", HostLink::Disconnected);
    world.run(8_000);
    world.host("beta", HostLink::Active);
    world.run(20_000);
    assert_eq!(world.ids_of_revision(1), before, "it was away for too short a time");
    world.host("beta", HostLink::Lost);
    world.run(60_000);
    assert_eq!(world.slots("web"), "1r1* [2r1*] 2r1* 3r1*", "{}", world.show());
    let moved = world.places();
    world.host("beta", HostLink::Active);
    world.run(30_000);
    assert_eq!(world.places(), moved, "the new one stays");
    assert_eq!(world.slots("web"), "1r1* 2r1* 3r1*", "the old one is gone");
}

#[test]
fn while_most_hosts_are_away_nobody_is_replaced() {
    let mut world = three("web image=good:1 scale=3 check");
    let before = world.places();
    world.host("beta", HostLink::Lost);
    world.host("gamma", HostLink::Lost);
    world.run(60_000);
    assert_eq!(world.places(), before);
    let blocked = world.blocked("web");
    assert!(blocked[0].contains("2 of 3 hosts are away: nobody is replaced"), "{blocked:?}");
}

#[test]
fn hosts_that_joined_and_were_never_there_are_not_away() {
    let mut world = three("web image=good:1 scale=3 check");
    for host in ["delta", "epsilon", "zeta"] {
        world.host(host, HostLink::Joined);
    }
    world.host("beta", HostLink::Lost);
    world.run(60_000);
    assert!(world.blocked("web").is_empty(), "1 of 3 is away, and not 4 of 6");
    assert_eq!(world.slots("web"), "1r1* [2r1*] 2r1* 3r1*", "{}", world.show());
}

#[test]
fn a_global_service_follows_the_hosts() {
    let mut world = three("web image=good:1 global check");
    assert_eq!(world.places(), "1:alpha 2:beta 3:gamma");
    world.host("delta", HostLink::Active);
    world.run(5_000);
    assert_eq!(world.places(), "1:alpha 2:beta 3:gamma 4:delta");
    drain(&mut world, "beta", None, false);
    world.run(5_000);
    assert_eq!(world.places(), "1:alpha 3:gamma 4:delta");
    world.host("gamma", HostLink::Lost);
    world.run(60_000);
    assert_eq!(world.places(), "1:alpha 3:gamma 4:delta", "it is waited for");
    world.host("epsilon", HostLink::Active);
    world.run(5_000);
    assert_eq!(world.places(), "1:alpha 2:epsilon 3:gamma 4:delta", "an index is used again");
    world.host("gamma", HostLink::Active);
    world.up(&["web image=good:2 global check"]);
    world.until_done();
    assert_eq!(world.places(), "1:alpha 2:epsilon 3:gamma 4:delta");
    assert!(operate::scale(&world.cluster, &"shop/web".parse().unwrap(), 3).is_err());
}

#[test]
fn a_balancer_is_fixed_to_hosts_by_their_label_one_on_each() {
    let mut world = World::new();
    world.host("beta", HostLink::Active);
    world.host_with("gamma", HostLink::Active, &[("edge", "true")]);
    world.host_with("delta", HostLink::Active, &[("edge", "true")]);
    world.up(&["web lb=8080>api:80 global label=edge", "api image=good:1"]);
    world.until_done();
    let hosts = |world: &World| {
        let of = crate::world::service("web");
        let mut all: Vec<String> =
            world.cluster.instances_of(&of).map(|one| one.host.to_string()).collect();
        all.sort();
        all.join(" ")
    };
    assert_eq!(hosts(&world), "delta gamma");
    for host in ["delta", "gamma"] {
        let view = control::publish::view(&world.cluster, &host.parse().unwrap());
        assert!(view.listeners.contains_key("*:8080/tcp"), "{host} listens");
    }
    let labels = [("edge".to_owned(), Some("true".to_owned()))].into();
    world.on_host("beta", |cluster, id| operate::host::label(cluster, id, &labels).unwrap());
    world.until_done();
    assert_eq!(hosts(&world), "beta delta gamma", "who gets the label gets one");
}

#[test]
fn a_global_service_is_only_on_hosts_with_its_labels() {
    let mut world = World::new();
    world.host_with("beta", HostLink::Active, &[("Disk", "ssd")]);
    world.host_with("gamma", HostLink::Active, &[("disk", "hdd")]);
    world.up(&["web image=good:1 global label=disk"]);
    world.until_done();
    assert_eq!(world.places(), "1:beta 2:gamma");
    let labels = [("disk".to_owned(), Some("ssd".to_owned()))].into();
    world.on_host("alpha", |cluster, id| operate::host::label(cluster, id, &labels).unwrap());
    world.run(5_000);
    assert_eq!(world.places(), "1:beta 2:gamma 3:alpha");
    let labels = [("disk".to_owned(), None)].into();
    world.on_host("alpha", |cluster, id| operate::host::label(cluster, id, &labels).unwrap());
    world.run(5_000);
    assert_eq!(world.places(), "1:beta 2:gamma", "a label that went takes its instance along");
}

#[test]
fn a_host_is_removed_only_when_nothing_is_lost_unseen() {
    let mut world = three("web image=good:1 scale=3");
    let beta = "beta".parse().unwrap();
    let refused = operate::host::remove(&world.cluster, &beta, false).unwrap_err();
    assert!(refused.why.contains("is connected"), "{refused}");
    world.host("beta", HostLink::Disconnected);
    let refused = operate::host::remove(&world.cluster, &beta, false).unwrap_err();
    assert!(refused.why.contains("1 instances are to run"), "{refused}");
    world.on_host("beta", |cluster, id| operate::host::remove(cluster, id, true).unwrap());
    world.run(10_000);
    assert!(!world.places().contains("beta"), "{}", world.places());
    assert_eq!(world.slots("web"), "1r1* 2r1* 3r1*");
}

#[test]
fn a_host_that_joins_gets_instances_gradually_if_the_environment_says_so() {
    use model::host::Rebalance;
    for (policy, moved) in [(Rebalance::Off, 0), (Rebalance::Suggest, 0), (Rebalance::On, 2)] {
        let mut world = World::new();
        world.rebalance(policy);
        world.host("beta", HostLink::Active);
        world.up(&["web image=good:1 scale=6 check"]);
        world.until_done();
        world.host("gamma", HostLink::Active);
        world.fewest = usize::MAX;
        world.run(20_000);
        let advice = world.status("web").unwrap().advice.clone();
        let told = advice.contains("to gamma (0): `remuda host rebalance on`");
        assert_eq!(told, policy == Rebalance::Suggest, "{advice}");
        world.run(15_000);
        let begun = world.places().matches("gamma").count();
        assert!(begun <= 1, "one at a time: {}", world.places());
        world.run(120_000);
        assert_eq!(world.places().matches("gamma").count(), moved, "{}", world.places());
        assert_eq!(world.slots("web").matches("r1*").count(), 6);
        assert!(world.fewest >= 6, "never fewer serve: {}", world.fewest);
        let before = world.places();
        world.run(300_000);
        assert_eq!(world.places(), before, "it comes to rest");
    }
}

#[test]
fn advice_to_move_goes_when_something_else_has_taken_the_room() {
    let mut world = World::new();
    world.rebalance(model::host::Rebalance::Suggest);
    let web = "web image=good:1 scale=2 check mem=1024";
    world.up(&[web]);
    world.until_done();
    world.host("gamma", HostLink::Active);
    world.run(20_000);
    let advice = |world: &World| world.status("web").unwrap().advice.clone();
    assert!(advice(&world).contains("to gamma"), "{}", advice(&world));
    world.up(&[web, "big image=good:1 mem=3500"]);
    world.run(20_000);
    assert_eq!(advice(&world), "", "there is no room on gamma any more");
}
