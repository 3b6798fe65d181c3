//! What a new file changes: told to people, and nothing when nothing changes.

use crate::world::World;
use control::cluster::ServiceChange;

#[test]
fn each_kind_of_edit_is_told() {
    let before = "web image=good:1 scale=2 check port=80";
    for (after, change, detail) in [
        (before, ServiceChange::Unchanged, ""),
        ("web image=good:1 check port=80", ServiceChange::Unchanged, ""),
        ("web image=good:1 scale=3 check port=80", ServiceChange::Scale, "scale: 2 -> 3"),
        (
            "web image=good:2 scale=2 check port=80",
            ServiceChange::Update,
            "image: good:1 -> good:2",
        ),
        ("web image=good:1 scale=2 port=80", ServiceChange::Update, "health_check: "),
        ("web image=good:1 scale=2 check port=81", ServiceChange::Update, "ports: "),
        ("web image=good:1 scale=2 check port=80 batch=2", ServiceChange::Update, "rollout"),
        ("web lb=80>api:80 scale=2", ServiceChange::Update, "balancer"),
    ] {
        let mut world = World::new();
        world.up(&[before]);
        world.until_done();
        let diff = world.diff(&[after]);
        assert_eq!(diff.services.len(), 1);
        assert_eq!(diff.services[0].change, change, "{after}");
        let told = diff.services[0].details.join("; ");
        assert!(told.contains(detail), "{after}: {told}");
        assert_eq!(diff.proposal.is_empty(), change == ServiceChange::Unchanged, "{after}");
        let steps = world.preview(&[after]).steps.len();
        assert_eq!(steps == 0, diff.proposal.is_empty() || detail == "rollout", "{after}");
    }
}

#[test]
fn services_that_are_new_gone_or_failed() {
    let mut world = World::new();
    let diff = world.diff(&["web image=good:1", "api image=good:1"]);
    assert!(diff.services.iter().all(|one| one.change == ServiceChange::Create));
    world.up(&["web image=good:1 check", "api image=good:1"]);
    world.until_done();
    let diff = world.diff(&["web image=good:1 check"]);
    let changes: Vec<_> = diff.services.iter().map(|one| one.change).collect();
    assert_eq!(changes, [ServiceChange::Unchanged, ServiceChange::Remove]);
    world.up(&["web image=sick check", "api image=good:1"]);
    world.run(10_000);
    assert_eq!(world.rollout(), "failed");
    let diff = world.diff(&["web image=sick check", "api image=good:1"]);
    let changes: Vec<_> = diff.services.iter().map(|one| one.change).collect();
    assert_eq!(changes, [ServiceChange::Unchanged, ServiceChange::Retry]);
}

#[test]
fn a_plan_tells_of_global_services_and_jobs_what_will_be() {
    let mut world = World::new();
    world.host("beta", model::host::HostLink::Active);
    let told = |world: &World, line: &str| {
        let steps = world.preview(&[line]).steps;
        steps.iter().map(|s| format!("{} {} {}", s.sign, s.subject, s.host)).collect::<Vec<_>>()
    };
    assert_eq!(
        told(&world, "web image=good:1 global"),
        ["+ shop/web#1 alpha", "+ shop/web#2 beta"]
    );
    assert!(told(&world, "web image=once:1 job=-").is_empty(), "a job has nothing until it runs");
    assert_eq!(told(&world, "web image=good:1 fit=2,5,1").len(), 2);
}
