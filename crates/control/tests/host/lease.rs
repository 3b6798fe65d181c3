//! The dead-man lease: containers of which at most one may run in the cluster.

use super::{NOW, host, id, seen, shown, wanted};
use control::host::{HostPlan, Lease, Seen, plan};

/// A container that must be dead 30 s after the server last heard, with 10 s to stop: it begins to
/// end after 18 s.
fn silent(lease: Lease, policy: &str, known: &str) -> HostPlan {
    let mut spec = wanted(policy);
    spec.stop_after_ms = Some(30_000);
    let mut all = Seen { lease, ..Seen::default() };
    all.instances.insert(id(1), seen(known));
    all.instances.insert(id(2), seen(known));
    plan(&host([(id(1), spec), (id(2), wanted(policy))]), &all, NOW)
}

#[test]
fn it_is_dead_in_time_and_starts_only_when_the_server_is_heard() {
    let heard = |ms| Lease { unheard_ms: Some(ms), renewed: true };
    let booted = |unheard_ms| Lease { unheard_ms, renewed: false };
    for (lease, policy, known, phase, action) in [
        (heard(500), "run", "up", "running", "-"),
        (heard(17_999), "run", "up", "running", "-"),
        (heard(18_000), "run", "up", "draining", "stop c1"),
        (heard(18_000), "run", "up stopping", "draining", "-"),
        (heard(90_000), "run", "up", "draining", "stop c1"),
        // An agent that has just begun lets it go on for as long as it may, and starts none.
        (booted(Some(5_000)), "run", "up", "running", "-"),
        (booted(Some(18_000)), "run", "up", "draining", "stop c1"),
        (booted(None), "run", "up", "draining", "stop c1"),
        (booted(Some(5_000)), "run", "here", "backoff", "-"),
        (booted(None), "run", "exit=1@9000 failures=1", "backoff", "-"),
        (heard(18_000), "run", "exit=143@10 stopped", "backoff", "-"),
        (heard(18_000), "run", "made", "backoff", "-"),
        (heard(500), "run", "exit=143@10 stopped", "starting", "start c1"),
        (heard(500), "run", "here", "starting", "create"),
        // What has done its work has, and an image may come meanwhile.
        (booted(None), "run no", "exit=0@10", "completed", "-"),
        (booted(None), "run", "", "pulling", "pull web:1"),
        (booted(None), "remove", "up", "draining", "-"),
    ] {
        let mut plan = silent(lease, policy, known);
        let other = plan.statuses.remove(&id(2)).unwrap();
        plan.actions.retain(|action| match action {
            control::host::Action::Pull { instance, .. }
            | control::host::Action::Create { instance }
            | control::host::Action::Start { instance, .. }
            | control::host::Action::Stop { instance, .. }
            | control::host::Action::Remove { instance, .. } => *instance == id(1),
        });
        let status = &plan.statuses[&id(1)];
        let got = (status.phase.to_string(), shown(&plan));
        assert_eq!((got.0.as_str(), got.1.as_str()), (phase, action), "{lease:?} {policy} {known}");
        let waits = status.reason.contains("the server");
        assert!(!other.reason.contains("the server"), "others are not troubled: {}", other.reason);
        let held = policy == "run" && (phase == "draining" || phase == "backoff");
        assert_eq!(waits, held, "{}", status.reason);
    }
}

#[test]
fn the_grace_never_reaches_beyond_the_end_of_the_lease() {
    for (unheard_ms, grace) in [(18_000, 10_000), (25_500, 4_000), (29_500, 0), (99_000, 0)] {
        let plan = silent(Lease { unheard_ms: Some(unheard_ms), renewed: true }, "run", "up");
        let control::host::Action::Stop { grace_ms, .. } = plan.actions[0] else {
            panic!("{:?}", plan.actions)
        };
        assert_eq!(grace_ms, grace, "after {unheard_ms} ms");
    }
}

#[test]
fn it_looks_again_when_the_lease_ends() {
    let plan = silent(Lease { unheard_ms: Some(3_000), renewed: true }, "run", "up");
    assert_eq!(plan.wake_at, Some(NOW.plus_ms(15_000)));
}

#[test]
fn a_network_that_is_in_trouble_keeps_nothing_alive() {
    let mut all = Seen { network_problem: "no nft".into(), ..Seen::default() };
    all.instances.insert(id(1), seen("up drained"));
    all.instances.insert(id(2), seen("here"));
    let plan = plan(&host([(id(1), wanted("remove")), (id(2), wanted("run"))]), &all, NOW);
    assert_eq!(shown(&plan), "stop c1");
    assert_eq!(plan.statuses[&id(2)].reason, "no nft");
}
