//! Where instances go and what keeps them from it: ports, memory, addresses, dependencies.

use crate::world::{World, service};
use control::operate;
use model::host::HostLink;

#[test]
fn a_port_of_another_service_is_a_reason_and_frees_itself() {
    let mut world = World::new();
    world.up(&["web image=good:1 port=80", "other image=good:1 port=80"]);
    assert_eq!(world.slots("web"), "", "one of the two has it: the first by name");
    assert_eq!(world.blocked("web"), ["#1 1 host: 1 port 80/tcp taken by shop/other"]);
    world.up(&["web image=good:1 port=80"]);
    world.until_done();
    world.run(5_000);
    assert_eq!(world.slots("web"), "1r1*");
}

#[test]
fn a_balancer_moves_in_place_but_not_to_a_port_of_another() {
    let mut world = World::new();
    world.up(&["web image=good:1 lb=80>api:80", "api image=good:1 port=81"]);
    world.until_done();
    world.up(&["web lb=82>api:80", "api image=good:1 port=81"]);
    world.until_done();
    let incarnations = world.status("web").unwrap().incarnations;
    assert_eq!(world.slots("web"), "1r2*", "no instance was made for it");
    world.up(&["web lb=81>api:80", "api image=good:1 port=81"]);
    world.run(2_000);
    assert_eq!(world.slots("web"), "1r2*", "the old version serves");
    assert_eq!(world.blocked("web"), ["#1 port 81/tcp on host alpha is held by shop/api"]);
    world.up(&["web lb=81>api:80", "api image=good:1"]);
    world.run(10_000);
    assert_eq!((world.slots("web").as_str(), world.rollout()), ("1r3*", "done"));
    assert_eq!(world.status("web").unwrap().incarnations, incarnations);
}

#[test]
fn the_preview_names_what_would_be_blocked() {
    let mut world = World::new();
    world.up(&["api image=good:1 port=81"]);
    for (line, reason) in [
        ("web image=good:1 port=81", "1 port 81/tcp taken by shop/api"),
        ("web lb=81>api:80", "1 port 81/tcp taken by shop/api"),
        ("web image=good:1 mem=9999", "memory 9999 MiB"),
        ("web image=good:1 after=nothing:healthy", "there is no such service in the stack"),
    ] {
        let outcome = world.preview(&["api image=good:1 port=81", line]);
        let told: Vec<String> = outcome.blocked.iter().map(|(_, b)| b.reason.to_string()).collect();
        assert!(told.iter().any(|one| one.contains(reason)), "{line}: {told:?}");
    }
    let outcome = world.preview(&["api image=good:1 port=81"]);
    assert_eq!((outcome.steps.len(), outcome.blocked.len()), (0, 0), "no change, no step");
}

#[test]
fn reserved_memory_is_counted_and_given_back() {
    let mut world = World::new();
    world.up(&["web image=good:1 scale=5 mem=1024"]);
    assert_eq!(world.slots("web").matches("r1").count(), 4);
    let blocked = world.blocked("web");
    assert!(blocked[0].starts_with("#5 1 host: 1 lack memory 1024 MiB"), "{blocked:?}");
    world.up(&["web image=good:1 scale=4 mem=1024"]);
    world.until_done();
    assert!(world.blocked("web").is_empty());
}

#[test]
fn what_a_stopped_one_held_and_others_have_now_is_not_given_twice_while_its_host_is_away() {
    let mut world = World::new();
    world.up(&["web image=good:1 mem=3000", "zoo image=good:1 mem=2000"]);
    assert_eq!((world.slots("web").as_str(), world.slots("zoo").as_str()), ("1r1", ""));
    let stop = operate::stop(&world.cluster, &service("web"));
    world.commit(&stop);
    world.run(5_000);
    assert_eq!(world.slots("zoo"), "1r1*");
    world.set_link("alpha", HostLink::Disconnected);
    let start = operate::start(&world.cluster, &service("web"));
    world.commit(&start);
    world.plan();
    assert_eq!(control::audit::audit(&world.cluster), []);
    world.set_link("alpha", HostLink::Active);
    world.run(5_000);
    assert_eq!((world.slots("web").as_str(), world.slots("zoo").as_str()), ("", "1r1*"));
}

#[test]
fn a_dependency_holds_the_first_instance_back_until_its_condition() {
    for (after, image, held) in [
        ("db:started", "image=good:1 check", "waits for shop/db to start (0 started)"),
        ("db:healthy", "image=good:1 check", "waits for shop/db to get healthy (0 of 1 ready)"),
        (
            "db:completed",
            "image=once restart=no",
            "waits for shop/db to complete (0 of 1 completed)",
        ),
    ] {
        let mut world = World::new();
        let db = format!("db {image}");
        let web = format!("web image=good:1 after={after}");
        world.up(&[&web, &db]);
        assert_eq!(world.slots("web"), "");
        assert_eq!(world.blocked("web"), [format!("#0 {held}")]);
        world.until_done();
        // Only the first start waits: what runs does not stop when its dependency does.
        world.acts_as = [("db#1".into(), "sick")].into();
        world.run(30_000);
        assert_eq!(world.slots("web"), "1r1*", "{after}");
    }
}

#[test]
fn a_dependency_that_failed_is_said_to_have_and_may_recover() {
    let mut world = World::new();
    world.up(&["web image=good:1 after=db:healthy", "db image=missing"]);
    world.run(5_000);
    assert_eq!(
        world.blocked("web"),
        ["#0 its dependency shop/db failed: instance #1: no such image"]
    );
    world.acts_as = [("db#1".into(), "good")].into();
    world.until_done();
    assert_eq!(world.slots("web"), "1r1*");
}

#[test]
fn every_instance_has_an_address_of_its_own_that_comes_back_late() {
    let mut world = World::new();
    let mut given = std::collections::BTreeSet::new();
    for n in 0..20 {
        world.up(&[&format!("web image=good:{n} scale=10 batch=10")]);
        world.until_done();
        for instance in world.cluster.instances() {
            given.insert((instance.address.unwrap(), instance.id.to_string()));
        }
    }
    let addresses: std::collections::BTreeSet<_> = given.iter().map(|(a, _)| a).collect();
    assert_eq!(addresses.len(), given.len(), "no address was used twice in 200 instances");
}

#[test]
fn what_was_stopped_starts_again_only_where_there_is_room_for_it() {
    let mut world = World::new();
    world.up(&["web image=good:1 scale=2 mem=1500"]);
    world.until_done();
    world.operate(operate::stop);
    world.run(5_000);
    // 4 GiB: what was stopped has given its memory to others.
    world.up(&["web image=good:1 scale=2 mem=1500 stopped", "api image=good:1 scale=2 mem=1500"]);
    world.run(5_000);
    world.operate(operate::stop);
    world.run(5_000);
    world.operate(operate::start);
    world.run(5_000);
    let blocked = world.blocked("web");
    assert!(blocked[0].contains("lack memory 1500 MiB"), "{blocked:?}");
    world.host("beta", HostLink::Active);
    world.run(10_000);
    assert_eq!(world.slots("web"), "1r1* 2r1*", "{}", world.show());
}
