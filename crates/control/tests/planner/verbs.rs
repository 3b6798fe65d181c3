//! Verbs of a rollout: pause, resume, promote, abort, finish, roll back, and what refuses them.

use crate::world::World;

fn done(line: &str) -> World {
    let mut world = World::new();
    world.up(&[line]);
    world.until_done();
    world.fewest = usize::MAX;
    world
}

#[test]
fn a_paused_rollout_stays_where_it_is_and_goes_on_when_told() {
    let mut world = done("web image=good:1 scale=4 check");
    world.up(&["web image=good:2 scale=4 check"]);
    world.run(5_000);
    world.verb("pause", None).unwrap();
    world.run(3_000);
    let paused = world.slots("web");
    assert!(paused.contains("r1") && paused.contains("r2"), "{paused}");
    world.run(60_000);
    assert_eq!(world.slots("web").matches("r1").count(), paused.matches("r1").count());
    assert_eq!(world.slots("web").matches("r2").count(), paused.matches("r2").count());
    assert!(world.blocked("web")[0].contains("paused"), "{:?}", world.blocked("web"));
    world.verb("resume", None).unwrap();
    world.until_done();
    world.run(3_000);
    assert_eq!(world.slots("web"), "1r2* 2r2* 3r2* 4r2*");
    assert!(world.fewest >= 4, "{}", world.fewest);
}

#[test]
fn an_abort_goes_back_to_what_served_and_never_fewer_serve() {
    for verb in ["abort", "rollback", "rollbackupgrade"] {
        let mut world = done("web image=good:1 scale=4 check");
        world.up(&["web image=good:2 scale=4 check"]);
        world.run(7_000);
        world.verb(verb, None).unwrap();
        world.until_done();
        world.run(3_000);
        assert_eq!(world.slots("web"), "1r1* 2r1* 3r1* 4r1*", "{verb}");
        assert!(world.fewest >= 4, "{verb}: {}", world.fewest);
    }
}

#[test]
fn canaries_wait_for_promote_or_abort() {
    for (verb, end) in [("promote", "r2"), ("abort", "r1")] {
        let mut world = done("web image=good:1 scale=5 check");
        world.up(&["web image=good:2 scale=5 check canary=2"]);
        world.run(60_000);
        assert_eq!(world.slots("web").matches("r2").count(), 2, "{}", world.slots("web"));
        let blocked = world.blocked("web");
        assert!(blocked[0].contains("2 of revision 2 run as canaries"), "{blocked:?}");
        // A canary that dies is made anew as what it was, another one as what served.
        world.acts_as = [("web#1".into(), "gone"), ("web#5".into(), "gone")].into();
        world.run(500);
        world.acts_as.clear();
        world.run(20_000);
        assert_eq!(world.slots("web").matches("r2").count(), 2, "{}", world.slots("web"));
        world.fewest = usize::MAX;
        world.verb(verb, None).unwrap();
        world.until_done();
        world.run(3_000);
        assert_eq!(world.slots("web").matches(end).count(), 5, "{}", world.slots("web"));
        assert!(world.fewest >= 5, "{verb}: {}", world.fewest);
    }
    let mut world = done("web image=good:1 scale=5 check");
    world.up(&["web image=sick:2 scale=5 check canary=2"]);
    world.run(60_000);
    assert_eq!(world.rollout(), "failed", "a bad canary rolls itself back");
    assert!(world.fewest >= 5);
}

#[test]
fn with_manual_finish_the_old_ones_are_kept_and_started_again_by_a_rollback() {
    let mut world = done("web image=good:1 scale=2 check finish");
    world.up(&["web image=good:2 scale=2 check finish"]);
    world.run(30_000);
    assert_eq!(world.rollout(), "finishing");
    assert_eq!(world.slots("web"), "(1r1) 1r2* (2r1) 2r2*");
    let kept: Vec<_> = world.ids_of_revision(1);
    world.verb("rollback", None).unwrap();
    world.run(30_000);
    assert_eq!(world.ids_of_revision(1), kept, "the same containers run again");
    assert!(world.fewest >= 2, "{}", world.fewest);
    // Now the other way: finished.
    world.up(&["web image=good:3 scale=2 check finish"]);
    world.run(30_000);
    assert_eq!(world.rollout(), "finishing", "{}", world.show());
    world.verb("finishupgrade", None).unwrap();
    world.until_done();
    world.run(3_000);
    assert_eq!(world.slots("web"), "1r3* 2r3*");
}

#[test]
fn a_rollback_goes_to_the_last_good_revision_or_to_any_that_is_kept() {
    let mut world = done("web image=good:1 scale=2 check");
    for n in 2..=4 {
        let image = if n == 3 { "sick" } else { "good" };
        world.up(&[&format!("web image={image}:{n} scale=2 check")]);
        world.run(60_000);
    }
    assert_eq!(world.slots("web"), "1r4* 2r4*");
    world.verb("rollback", None).unwrap();
    world.until_done();
    world.run(3_000);
    assert_eq!(world.slots("web"), "1r2* 2r2*", "revision 3 had failed");
    world.verb("rollback", Some(1)).unwrap();
    world.until_done();
    world.run(3_000);
    assert_eq!(world.slots("web"), "1r1* 2r1*");
    for (word, to, why) in [
        ("rollback", Some(9), "revision 9 of shop/web is not kept (kept: 1, 2, 3, 4)"),
        ("rollback", Some(1), "is at revision 1 already"),
        ("pause", None, "no rollout is under way"),
        ("promote", None, "no rollout is under way"),
        ("abort", None, "no rollout is under way"),
        ("finish", None, "nothing of shop/web waits"),
    ] {
        let refused = world.verb(word, to).unwrap_err();
        assert!(refused.contains(why), "{word}: {refused}");
    }
    assert!(world.fewest >= 2);
}

#[test]
fn a_rollback_to_a_revision_that_was_pruned_is_refused() {
    let mut world = done("web image=good:0 scale=1");
    for n in 1..=14 {
        world.up(&[&format!("web image=good:{n} scale=1")]);
        world.until_done();
        world.run(3_000);
    }
    let refused = world.verb("rollback", Some(2)).unwrap_err();
    assert!(refused.contains("revision 2 of shop/web is not kept"), "{refused}");
    world.verb("rollback", Some(10)).unwrap();
    world.until_done();
}

#[test]
fn a_failure_rolls_back_pauses_or_goes_on_as_the_file_says() {
    // Two of four slots had been taken over before the version began to fail.
    let mut world = done("web image=good:1 scale=4 check");
    world.up(&["web image=good:2 scale=4 check"]);
    world.run(9_000);
    let moved = world.slots("web").matches("r2*").count();
    assert!((1..4).contains(&moved), "{}", world.slots("web"));
    world.acts_as = [("web#4".into(), "sick"), ("web#3".into(), "sick")].into();
    world.run(20_000);
    world.acts_as.clear();
    world.run(60_000);
    assert_eq!(world.rollout(), "failed");
    assert_eq!(world.slots("web").matches("r1*").count(), 4, "all back: {}", world.slots("web"));
    assert_eq!(world.slots("web").matches("r2*").count(), 0, "{}", world.slots("web"));
    let mut world = done("web image=good:1 scale=4 check failure=pause");
    world.up(&["web image=sick:2 scale=4 check failure=pause"]);
    world.run(60_000);
    assert_eq!(world.rollout(), "failed");
    assert_eq!(world.slots("web").matches("r1*").count(), 4, "{}", world.slots("web"));
    assert!(world.slots("web").contains("1r2"), "{}", world.slots("web"));
    world.verb("abort", None).unwrap();
    world.until_done();
    world.run(3_000);
    assert_eq!(world.slots("web"), "1r1* 2r1* 3r1* 4r1*");
    let mut world = done("web image=good:1 scale=3 check failure=continue");
    world.up(&["web image=sick:2 scale=3 check failure=continue"]);
    world.run(60_000);
    assert_eq!(world.rollout(), "running");
    assert_eq!(world.slots("web").matches("r1*").count(), 3, "{}", world.slots("web"));
    assert!(world.fewest >= 3);
}

#[test]
fn max_unavailable_bounds_what_stop_first_takes_away() {
    for (line, least) in [
        ("scale=6 check order=stop batch=6 unavailable=2", 4),
        ("scale=6 check order=stop batch=3", 3),
    ] {
        let mut world = done(&format!("web image=good:1 {line}"));
        world.up(&[&format!("web image=good:2 {line}")]);
        world.until_done();
        assert_eq!(world.fewest, least, "{line}");
        assert_eq!(world.most_in_slot, 1, "{line}");
    }
}

#[test]
fn the_monitor_time_is_how_long_a_new_one_must_stay_well() {
    let mut world = done("web image=good:1 scale=1 check");
    world.up(&["web image=good:2 scale=1 check monitor=20000"]);
    world.run(18_000);
    assert_eq!(world.slots("web"), "1r1* 1r2*");
    world.run(6_000);
    assert_eq!(world.slots("web"), "1r2*");
}

#[test]
fn the_verdict_of_each_revision_is_kept() {
    let mut world = done("web image=good:1 scale=2 check");
    world.up(&["web image=sick:2 scale=2 check"]);
    world.run(30_000);
    world.up(&["web image=good:3 scale=2 check"]);
    world.run(1_000);
    world.up(&["web image=good:4 scale=2 check"]);
    world.until_done();
    let revisions = world.status("web").unwrap().revisions.clone();
    let told: Vec<String> = revisions.iter().map(|(n, r)| format!("{n} {:?}", r.verdict)).collect();
    assert_eq!(told[0], "1 Good");
    assert!(told[1].starts_with("2 Failed") && told[1].contains("answered 500"), "{told:?}");
    assert_eq!(told[2..], ["3 Superseded".to_owned(), "4 Good".to_owned()]);
}
