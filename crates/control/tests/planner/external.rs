//! With an external scheduler nothing is placed without its word, and what it reserved is given
//! back when nobody needs it.

use crate::world::World;
use control::cluster::{ClusterPlan, Planner};
use control::placement::external::Answer;
use model::change::{Change, Edit, Proposal};
use model::host::HostLink;
use model::record::RecordKey;

/// Plans and commits until nothing moves; the last plan that had questions or releases.
fn plan(world: &mut World, planner: &mut Planner) -> ClusterPlan {
    let mut all = ClusterPlan::default();
    for _ in 0..20 {
        let next = planner.plan(&world.cluster, world.now);
        all.asks.extend(next.asks);
        all.releases.extend(next.releases);
        all.wake_at = next.wake_at;
        if next.proposals.is_empty() {
            break;
        }
        for proposal in &next.proposals {
            world.commit(proposal);
        }
    }
    all
}

fn world(line: &str) -> (World, Planner) {
    let mut world = World::new();
    world.host("beta", HostLink::Active);
    let diff = world.diff(&[line]);
    world.commit(&diff.proposal);
    (world, Planner::with_scheduler())
}

fn reserved(host: &str) -> Answer {
    Answer::Reserved { host: host.parse().unwrap(), ports: vec![] }
}

#[test]
fn an_instance_goes_where_it_was_reserved_and_is_released_when_it_is_gone() {
    let (mut world, mut planner) = world("web image=good:1 scale=2");
    let first = plan(&mut world, &mut planner);
    assert_eq!(world.slots("web"), "", "nothing without its word");
    assert!(
        world.blocked("web")[0].contains("the external scheduler"),
        "{:?}",
        world.blocked("web")
    );
    assert_eq!(first.asks[0].candidates.len(), 2);
    planner.answer(first.asks[0].key.clone(), reserved("beta"));
    let second = plan(&mut world, &mut planner);
    let host = world.cluster.instances().next().unwrap().host.to_string();
    assert_eq!(host, "beta", "though alpha would have been ours");
    let key = second.asks.last().unwrap().key.clone();
    assert_eq!(key.1, 2, "the next one is asked for");
    planner.answer(key, reserved("beta"));
    let third = plan(&mut world, &mut planner);
    assert_eq!(world.slots("web"), "1r1 2r1");
    assert!(third.releases.is_empty() && world.blocked("web").is_empty());
    let gone = world.cluster.instances().next().unwrap().id.clone();
    let edits = vec![Edit::Delete(RecordKey::Instance(gone))];
    world.commit(&Proposal { reads: vec![], change: Change { edits } });
    let fourth = plan(&mut world, &mut planner);
    let request = &fourth.releases[0]["data"]["schedulerRequest"];
    assert_eq!(
        (&request["hostID"], &request["phase"]),
        (&"beta".into(), &"instance.deallocate".into())
    );
}

#[test]
fn one_that_is_down_or_refuses_is_a_reason_and_is_asked_again_later() {
    let (mut world, mut planner) = world("web image=good:1");
    for (answer, why) in [
        (
            Answer::Down("it is asleep".into()),
            "#1 the external scheduler gave no answer: it is asleep",
        ),
        (Answer::Refused, "#1 2 hosts: 2 left out by the external scheduler"),
    ] {
        let asked = plan(&mut world, &mut planner);
        planner.answer(asked.asks[0].key.clone(), answer);
        let told = plan(&mut world, &mut planner);
        assert_eq!(world.blocked("web"), [why]);
        let at = told.wake_at.expect("it is asked again");
        assert!(at > world.now);
        world.now = at;
    }
    let asked = plan(&mut world, &mut planner);
    planner.answer(asked.asks[0].key.clone(), reserved("alpha"));
    plan(&mut world, &mut planner);
    assert_eq!(world.slots("web"), "1r1");
}

#[test]
fn what_was_reserved_for_nothing_is_given_back() {
    let (mut world, mut planner) = world("web image=good:1");
    let asked = plan(&mut world, &mut planner);
    let proposal = control::operate::stop(&world.cluster, &"shop/web".parse().unwrap());
    world.commit(&proposal);
    planner.answer(asked.asks[0].key.clone(), reserved("beta"));
    let told = plan(&mut world, &mut planner);
    assert_eq!(world.slots("web"), "");
    assert_eq!(told.releases[0]["data"]["schedulerRequest"]["hostID"], "beta");
}
