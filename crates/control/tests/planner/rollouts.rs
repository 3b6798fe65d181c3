//! Rollouts: start-first and stop-first, good and bad versions, changes of mind.

use crate::world::{World, service};
use control::operate;
use model::change::Edit;
use model::instance::Goal;
use model::record::{Record, RecordKey};

/// A world where `shop/web` is done as this line says.
fn done(line: &str) -> World {
    let mut world = World::new();
    world.up(&[line]);
    world.until_done();
    world.fewest = usize::MAX;
    world.most_in_slot = 0;
    world
}

#[test]
fn a_new_version_takes_over_slot_by_slot_and_never_fewer_serve() {
    for (line, next, most) in [
        ("web image=good:1 scale=3 check", "web image=good:2 scale=3 check", 2),
        ("web image=good:1 scale=1", "web image=good:2 scale=1", 2),
        ("web image=good:1 scale=8 check", "web image=good:2 scale=8 check batch=8", 2),
    ] {
        let mut world = done(line);
        let before = world.slots("web").matches('*').count();
        world.up(&[next]);
        assert_eq!(world.rollout(), "running");
        world.until_done();
        assert!(world.fewest >= before, "{line}: never fewer serve: {}", world.fewest);
        assert_eq!(world.most_in_slot, most);
        world.run(5_000);
        assert!(!world.slots("web").contains("r1"), "{}", world.slots("web"));
        let quiet = world.cluster.clone();
        world.plan();
        assert_eq!(world.cluster, quiet, "what is as wanted is left alone");
    }
}

#[test]
fn who_is_let_go_since_others_serve_goes_only_while_they_do() {
    let mut world = done("web image=good:1 scale=2 check");
    world.up(&["web image=good:2 scale=2 check"]);
    let web = service("web");
    for _ in 0..100 {
        let plan = control::cluster::plan(&world.cluster, world.now);
        let removes = |edit: &Edit| matches!(edit, Edit::Put(Record::Instance(one)) if one.goal == Goal::Remove);
        let found = plan.proposals.iter().find(|one| one.change.edits.iter().any(removes));
        if let Some(proposal) = found {
            let serves = |status: &RecordKey| proposal.reads.iter().any(|(key, _)| key == status);
            let others = world.cluster.instances_of(&web).filter(|one| {
                one.goal == Goal::Run
                    && !proposal
                        .reads
                        .iter()
                        .any(|(key, _)| *key == RecordKey::Instance(one.id.clone()))
            });
            let others: Vec<_> =
                others.map(|one| RecordKey::InstanceStatus(one.id.clone())).collect();
            assert_eq!(others.len(), 2, "one new and one old: {others:?}");
            assert!(others.iter().all(serves), "{:?}", proposal.reads);
            return;
        }
        plan.proposals.iter().for_each(|proposal| world.commit(proposal));
        world.step();
    }
    panic!("nothing was let go: {}", world.slots("web"));
}

#[test]
fn a_batch_is_a_quarter_of_the_scale_or_what_is_asked_and_pauses_are_kept() {
    for (scale, batch, in_motion) in [(8, "", 2), (3, "", 1), (8, "batch=5", 5), (4, "batch=9", 4)]
    {
        let mut world = done(&format!("web image=good:1 scale={scale}"));
        world.up(&[&format!("web image=good:2 scale={scale} {batch}")]);
        assert_eq!(world.slots("web").matches("r2").count(), in_motion, "scale {scale} {batch}");
    }
    let mut world = done("web image=good:1 scale=2 check");
    world.up(&["web image=good:2 scale=2 check pause=20000"]);
    world.run(15_000);
    assert_eq!(world.slots("web"), "1r2* 2r1*", "the pause between two batches");
    world.run(15_000);
    assert_eq!(world.slots("web"), "1r2* 2r2*");
}

#[test]
fn a_new_instance_has_to_stay_well_for_a_while_but_one_that_is_known_does_not() {
    let mut world = done("web image=good:1 scale=1 check");
    world.up(&["web image=good:2 scale=1 check"]);
    world.run(3_500);
    assert_eq!(world.slots("web"), "1r1* 1r2*", "both serve for three seconds");
    world.run(2_500);
    assert_eq!((world.slots("web").as_str(), world.rollout()), ("1r2*", "done"));
    world.operate(operate::restart);
    world.run(3_000);
    assert_eq!(world.rollout(), "done", "the same revision made anew needs no proof");
    // One that crashes after it has taken over gives way to what was there before.
    let mut world = done("web image=good:1 scale=4 check");
    world.up(&["web image=good:2 scale=4 check"]);
    world.run(5_000);
    assert!(world.slots("web").contains("1r2* "), "{}", world.slots("web"));
    world.acts_as = [("web#1".into(), "exit")].into();
    world.run(8_000);
    world.acts_as.clear();
    world.run(8_000);
    assert_eq!(world.rollout(), "failed");
    assert!(world.slots("web").contains("1r1*"), "{}", world.slots("web"));
}

#[test]
fn stop_first_never_has_two_of_a_slot_at_a_time() {
    let mut world = done("web image=good:1 scale=3 check order=stop");
    world.up(&["web image=good:2 scale=3 check order=stop"]);
    assert_eq!(world.slots("web"), "[1r1*] 2r1* 3r1*", "the old one ends first");
    world.until_done();
    assert_eq!(world.most_in_slot, 1);
    assert_eq!(world.fewest, 2);
    world.run(3_000);
    assert_eq!(world.slots("web"), "1r2* 2r2* 3r2*");
}

#[test]
fn a_version_that_fails_stops_and_the_old_one_serves_on() {
    for (image, why) in [
        ("sick", "answered 500"),
        ("exit", "exited with code 3"),
        ("crash", "exited with code 1"),
        ("missing", "no such image"),
        ("mute", "not healthy 60 s after its start"),
        ("stuck", "the registry does not answer"),
    ] {
        let mut world = done("web image=good:1 scale=3 check");
        world.up(&[&format!("web image={image}:2 scale=3 check")]);
        world.run(130_000);
        assert_eq!(world.rollout(), "failed", "{image}");
        assert_eq!(world.slots("web"), "1r1* (1r2) 2r1* 3r1*", "{image}: evidence is kept");
        assert_eq!(world.fewest, 3, "{image}");
        let told = format!("{:?}", world.status("web").unwrap().rollout);
        assert!(told.contains(why), "{image}: {told}");
        world.run(60_000);
        assert_eq!(world.rollout(), "failed", "{image}: it is the last word");
    }
}

#[test]
fn with_stop_first_a_failed_version_makes_room_for_the_old_one_again() {
    for scale in [1, 3] {
        let mut world = done(&format!("web image=good:1 scale={scale} check order=stop"));
        world.up(&[&format!("web image=sick:2 scale={scale} check order=stop")]);
        world.run(60_000);
        assert_eq!(world.rollout(), "failed");
        assert_eq!(world.slots("web").matches("r1*").count(), scale, "{}", world.slots("web"));
        assert_eq!(world.most_in_slot, 1);
    }
}

#[test]
fn after_a_failure_a_good_version_or_the_old_one_or_a_new_try_brings_it_back() {
    let failed = || {
        let mut world = done("web image=good:1 scale=2 check");
        world.up(&["web image=sick:2 scale=2 check"]);
        world.run(10_000);
        assert_eq!(world.rollout(), "failed");
        world
    };
    let mut world = failed();
    world.up(&["web image=good:3 scale=2 check"]);
    world.until_done();
    world.run(3_000);
    assert_eq!(world.slots("web"), "1r3* 2r3*", "forward");
    assert_eq!(world.fewest, 2);

    let mut world = failed();
    world.up(&["web image=good:1 scale=2 check"]);
    world.until_done();
    world.run(3_000);
    assert_eq!(world.slots("web"), "1r3* 2r3*", "back: a new revision like the first");
    assert_eq!(world.fewest, 2);

    let mut world = failed();
    world.acts_as = [("web#1".into(), "good"), ("web#2".into(), "good")].into();
    world.up(&["web image=sick:2 scale=2 check"]);
    assert_eq!(world.rollout(), "running", "the same file once more is a new try");
    world.until_done();
    world.run(3_000);
    assert_eq!(world.slots("web"), "1r2* 2r2*");

    let mut world = failed();
    world.up(&["web image=sick:4 scale=2 check"]);
    world.run(10_000);
    assert_eq!(world.rollout(), "failed", "and once more");
    assert_eq!(world.slots("web"), "1r1* (1r3) 2r1*", "only the last evidence is kept");
    assert_eq!(world.fewest, 2);
}

#[test]
fn a_failed_service_that_is_stopped_and_started_serves_what_served_before() {
    let mut world = done("web image=good:1 scale=2 check");
    world.up(&["web image=sick:2 scale=2 check"]);
    world.run(10_000);
    world.operate(operate::stop);
    world.run(5_000);
    assert_eq!(world.slots("web"), "(1r1) (1r2) (2r1)");
    world.operate(operate::start);
    world.run(5_000);
    assert_eq!(world.slots("web"), "1r1* (1r2) 2r1*");
    assert_eq!(world.rollout(), "failed", "the failure is not forgotten");
    // Stopped in the middle of a rollout: what is ready of the new one goes on, the rest follows.
    let mut world = done("web image=good:1 scale=3 check");
    world.up(&["web image=good:2 scale=3 check"]);
    world.run(1_500);
    world.operate(operate::stop);
    world.run(5_000);
    assert!(!world.slots("web").contains('*'));
    world.operate(operate::start);
    world.until_done();
    world.run(5_000);
    assert_eq!(world.slots("web"), "1r2* 2r2* 3r2*");
}

#[test]
fn a_failed_service_can_be_scaled_with_what_serves() {
    let mut world = done("web image=good:1 scale=2 check");
    world.up(&["web image=sick:2 scale=2 check"]);
    world.run(10_000);
    world.operate(|cluster, id| operate::scale(cluster, id, 4).unwrap());
    world.run(5_000);
    assert_eq!(world.slots("web"), "1r1* (1r2) 2r1* 3r1* 4r1*");
    world.operate(|cluster, id| operate::scale(cluster, id, 1).unwrap());
    world.run(5_000);
    assert_eq!(world.slots("web"), "1r1* (1r2)");
    world.operate(|cluster, id| operate::scale(cluster, id, 0).unwrap());
    world.run(5_000);
    assert_eq!(world.slots("web"), "");
    world.operate(|cluster, id| operate::scale(cluster, id, 2).unwrap());
    world.run(5_000);
    assert_eq!(world.slots("web"), "1r1* 2r1*", "what had failed is not what comes back");
}

#[test]
fn a_first_deployment_that_fails_says_so_goes_on_trying_and_can_be_mended() {
    for image in ["sick", "exit", "missing", "stuck"] {
        let mut world = World::new();
        world.up(&[&format!("web image={image} scale=2 check")]);
        world.run(130_000);
        assert_eq!(world.rollout(), "failed", "{image}");
        assert!(!world.slots("web").contains('('), "{image}: {}", world.slots("web"));
        // Its cause goes away by itself: it gets well.
        let mut mended = World { cluster: world.cluster.clone(), ..World::new() };
        mended.now = world.now;
        mended.acts_as = [("web#1".into(), "good"), ("web#2".into(), "good")].into();
        mended.until_done();
        // Or by a better file: what never served makes room at once.
        world.up(&["web image=good:2 scale=2 check"]);
        world.until_done();
        world.run(5_000);
        assert_eq!(world.slots("web"), "1r2* 2r2*", "{image}");
    }
    // The same file again is a new try with new containers.
    let mut world = World::new();
    world.up(&["web image=missing scale=1"]);
    world.run(5_000);
    assert_eq!(world.rollout(), "failed");
    world.acts_as = [("web#1".into(), "good")].into();
    let before = world.status("web").unwrap().incarnations;
    world.up(&["web image=missing scale=1"]);
    assert!(world.status("web").unwrap().incarnations > before);
    world.until_done();
}

#[test]
fn an_instance_lost_after_a_failed_first_deployment_is_made_again() {
    let mut world = World::new();
    world.acts_as = [("web#2".into(), "missing")].into();
    world.up(&["web image=good:1 scale=2 check"]);
    world.run(5_000);
    assert_eq!((world.rollout(), world.slots("web").as_str()), ("failed", "1r1* 2r1"));
    world.acts_as.insert("web#1".into(), "sick");
    world.run(1_000);
    world.acts_as.clear();
    world.run(20_000);
    assert_eq!((world.rollout(), world.slots("web").as_str()), ("done", "1r1* 2r1*"));
}

#[test]
fn a_change_in_the_middle_of_a_rollout_goes_to_the_newest() {
    let mut world = done("web image=good:1 scale=4 check");
    world.up(&["web image=good:2 scale=4 check"]);
    world.run(1_500);
    world.up(&["web image=good:3 scale=4 check"]);
    world.until_done();
    world.run(5_000);
    assert_eq!(world.slots("web"), "1r3* 2r3* 3r3* 4r3*");
    assert_eq!(world.fewest, 4);
    // A bad one on top of one under way: what was good before both is what comes back.
    world.up(&["web image=good:4 scale=4 check"]);
    world.run(1_500);
    world.up(&["web image=sick:5 scale=4 check"]);
    world.run(20_000);
    assert_eq!(world.rollout(), "failed");
    assert!(world.fewest >= 4, "{}", world.show());
}

#[test]
fn a_restart_makes_every_instance_anew_without_a_gap() {
    let mut world = done("web image=good:1 scale=3 check");
    world.operate(operate::restart);
    world.until_done();
    world.run(5_000);
    assert_eq!(world.slots("web"), "1r1'* 2r1'* 3r1'*");
    assert_eq!(world.fewest, 3);
    world.operate(operate::stop);
    world.run(3_000);
    world.operate(operate::restart);
    world.until_done();
    world.run(5_000);
    assert_eq!(world.slots("web"), "1r1''* 2r1''* 3r1''*", "a stopped one starts");
}

#[test]
fn what_is_known_to_be_good_outlives_many_revisions() {
    let mut world = done("web image=good:1 scale=1 check order=stop");
    for n in 2..30 {
        world.up(&[&format!("web image=sick:{n} scale=1 check order=stop")]);
        world.run(20_000);
        assert_eq!(world.rollout(), "failed");
    }
    assert!(world.slots("web").contains("1r1*"), "{}", world.slots("web"));
}
