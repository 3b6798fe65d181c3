//! Jobs, and scales that a policy decides on.

use crate::world::World;
use control::operate;
use model::host::HostLink;

const MINUTE: u64 = 60_000;

#[test]
fn a_job_runs_by_the_clock_and_keeps_the_last_results() {
    let mut world = World::new();
    world.up(&["web image=once:1 job=*/5"]);
    world.run(3 * MINUTE);
    assert_eq!(world.runs(), "", "the clock says 16:40: the next one that matches is 20:00");
    world.run(18 * MINUTE);
    assert_eq!(world.runs(), "3 ok, 4 ok", "two results are kept");
    assert_eq!(world.cluster.instances().count(), 2, "with their containers");
}

#[test]
fn a_run_can_be_asked_for_and_fails_with_its_reason() {
    let mut world = World::new();
    world.up(&["web image=once:1 job=-"]);
    world.run(MINUTE);
    assert_eq!(world.runs(), "");
    world.operate(|cluster, id| operate::run(cluster, id).unwrap());
    world.run(5_000);
    assert_eq!(world.runs(), "1 ok");
    world.up(&["web image=missing:1 job=-"]);
    world.operate(|cluster, id| operate::run(cluster, id).unwrap());
    world.run(5_000);
    assert_eq!(world.runs(), "1 ok, 2 failed (no such image)");
    world.up(&["web image=good:1 job=-"]);
    world.operate(|cluster, id| operate::run(cluster, id).unwrap());
    world.run(5_000);
    assert_eq!(world.runs(), "1 ok, 2 failed (no such image), 3 running");
    world.run(3 * MINUTE);
    assert_eq!(
        world.runs(),
        "2 failed (no such image), 3 failed (it took longer than 120 s)",
        "a run that takes too long is stopped"
    );
    world.operate(operate::stop);
    let refused = operate::run(&world.cluster, &"shop/web".parse().unwrap()).unwrap_err();
    assert!(refused.why.contains("is stopped"), "{refused}");
}

#[test]
fn two_runs_at_once_are_as_the_job_says() {
    for (policy, wanted) in [
        ("forbid", "1 running, 2 skipped (the run before it is not over)"),
        ("allow", "1 running, 2 running"),
        ("replace", "1 failed (replaced by the next run), 2 running"),
    ] {
        let mut world = World::new();
        world.up(&[&format!("web image=good:1 job=* at-once={policy}")]);
        while !world.runs().contains("2 ") {
            world.run(500);
        }
        if policy == "replace" {
            let told = "1 failed (replaced by the next run), 2 waiting";
            assert_eq!(world.runs(), told, "what was replaced is still ending");
        }
        world.run(5_000);
        assert_eq!(world.runs(), wanted, "{policy}");
    }
}

#[test]
fn a_run_that_finds_no_host_waits_and_is_left_out_in_the_end() {
    let mut world = World::new();
    world.host("alpha", HostLink::Disconnected);
    world.up(&["web image=once:1 job=-"]);
    world.operate(|cluster, id| operate::run(cluster, id).unwrap());
    world.run(5_000);
    assert_eq!(world.runs(), "1 waiting");
    assert!(!world.blocked("web").is_empty(), "it says why");
    world.run(2 * MINUTE);
    assert!(world.runs().starts_with("1 skipped (it could not begin in 60 s:"), "{}", world.runs());
    world.host("alpha", HostLink::Active);
    world.operate(|cluster, id| operate::run(cluster, id).unwrap());
    world.run(5_000);
    assert!(world.runs().ends_with("2 ok"), "{}", world.runs());
}

#[test]
fn what_came_due_while_nobody_planned_runs_once_or_is_left_out() {
    let mut world = World::new();
    world.up(&["web image=once:1 job=*/5"]);
    world.run(6 * MINUTE);
    let before = world.status("web").unwrap().runs_made;
    // The server is away for an hour.
    world.now = world.now.plus_ms(60 * MINUTE);
    world.plan();
    world.run(10_000);
    let after = world.status("web").unwrap().runs_made;
    assert!(after <= before + 1, "{before} -> {after}: {}", world.runs());
}

#[test]
fn a_scale_policy_grows_to_its_most_or_to_what_fits() {
    let mut world = World::new();
    world.up(&["web image=good:1 fit=2,7,2 check"]);
    assert_eq!(world.slots("web").matches("r1").count(), 2, "it begins with the least");
    world.run(60_000);
    assert_eq!(world.slots("web").matches("r1*").count(), 7);
    let mut world = World::new();
    world.up(&["web image=good:1 fit=1,9,1 mem=1024"]);
    world.run(60_000);
    assert_eq!(world.slots("web").matches("r1*").count(), 4, "four fit");
    let blocked = world.blocked("web");
    assert!(blocked[0].contains("4 of at most 9 fit: 1 host: 1 lack memory"), "{blocked:?}");
    world.host("beta", HostLink::Active);
    world.run(60_000);
    assert_eq!(world.slots("web").matches("r1*").count(), 8, "a new host makes room");
    assert!(operate::scale(&world.cluster, &"shop/web".parse().unwrap(), 3).is_err());
}

#[test]
fn a_service_made_stopped_waits_for_its_first_start() {
    let mut world = World::new();
    world.up(&["web image=good:1 scale=2 stopped"]);
    world.run(10_000);
    assert_eq!(world.slots("web"), "");
    world.operate(operate::start);
    world.until_done();
    assert_eq!(world.slots("web"), "1r1* 2r1*");
}

#[test]
fn addresses_are_kept_or_taken_as_asked() {
    let mut world = World::new();
    world.up(&["web image=good:1 scale=2 retain ips=10.42.7.7,10.42.0.1,10.99.0.1"]);
    world.until_done();
    let before = world.addresses();
    assert!(before.starts_with("1=10.42.7.7 2=10.42."), "the gateway is not given: {before}");
    world.up(&["web image=good:2 scale=2 retain ips=10.42.7.7"]);
    world.until_done();
    world.run(5_000);
    assert_eq!(world.addresses(), before, "kept across an upgrade");
    world.operate(operate::restart);
    world.until_done();
    world.run(5_000);
    assert_eq!(world.addresses(), before);
}

#[test]
fn copies_do_not_become_one_a_host_nor_runs() {
    let mut world = World::new();
    world.up(&["web image=good:1 scale=2"]);
    for (line, why) in [
        ("web image=good:1 global", "is replicated and cannot become global"),
        ("web image=good:1 job=-", "is replicated and cannot become a job"),
    ] {
        let refused = world.diff(&[line]).refused;
        assert!(refused[0].contains(why), "{refused:?}");
    }
}
