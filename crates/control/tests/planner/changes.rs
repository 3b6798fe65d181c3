//! What a new file changes: told to people, and nothing when nothing changes.

use crate::words::parse;
use crate::world::{World, service};
use control::cluster::{ServiceChange, diff};
use model::instance::Goal;
use model::placement::{Constraint, Subject};
use model::stack::StackSpec;

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

#[test]
fn what_was_made_to_be_started_later_stays_so_and_a_constraint_is_told_whole() {
    let mut world = World::new();
    let stack = service("web").stack;
    let (name, mut web) = parse("web image=good:1");
    web.create_stopped = true;
    let mut spec = StackSpec::default();
    spec.services.insert(name.parse().unwrap(), web.clone());
    let first = diff(&world.cluster, &stack, &spec, true, world.now);
    world.commit(&first.proposal);
    let again = diff(&world.cluster, &stack, &spec, true, world.now);
    assert_eq!(again.services[0].change, ServiceChange::Unchanged);
    assert_eq!(world.cluster.service(&service("web")).unwrap().goal, Goal::Stop);
    let on = Subject::HostLabel { key: "zone".into(), value: Some("a".into()) };
    web.template.placement.constraints = vec![Constraint { on, negated: false, soft: false }];
    spec.services.insert(name.parse().unwrap(), web);
    let moved = diff(&world.cluster, &stack, &spec, true, world.now);
    let told = moved.services[0].details.join("; ");
    assert!(told.contains("zone") && !told.contains("hidden"), "{told}");
}
