//! Containers of one instance that need one another: the order of their starts and ends.

use super::NOW;
use super::{ago, host, seen, shown, wanted};
use control::host::{HostPlan, Seen, plan};
use model::host_spec::InstanceSpec;
use model::id::InstanceId;

fn primary() -> InstanceId {
    "shop/web#1@1".parse().unwrap()
}

fn sidekick(name: &str) -> InstanceId {
    format!("shop/web#1@1+{name}").parse().unwrap()
}

/// A sidekick in the network of its primary, with its volumes where `volumes` is said.
fn follower(words: &str) -> InstanceSpec {
    let mut spec =
        wanted(&words.replace("volumes", "").replace("alone", "").replace("processes", ""));
    spec.container_name = "shop-web-log-1-abcdef".into();
    spec.sidekick_of = Some(primary());
    if !words.contains("alone") {
        spec.network_of = Some(primary());
    }
    if words.contains("processes") {
        spec.namespaces_of = [primary()].into();
    }
    if words.contains("volumes") {
        spec.volumes_from = vec![(primary(), true)];
    }
    spec
}

/// The plan of a primary and its sidekick `log`; `joined=` and `after=MS-AGO` (start of the
/// network's owner when it was started) are words of the sidekick alone.
fn pair(goal: &str, first: &str, spec: &str, second: &str) -> HostPlan {
    let instances = [(primary(), wanted(goal)), (sidekick("log"), follower(spec))];
    let mut own = vec![];
    let (mut joined, mut run) = (String::new(), None);
    for word in second.split_whitespace() {
        match word.split_once('=') {
            Some(("joined", id)) => joined = id.into(),
            Some(("after", ms)) => run = Some(ago(ms.parse().unwrap())),
            _ => own.push(word),
        }
    }
    let mut known = seen(&own.join(" "));
    known.memo.joined_runs = run.map(|run| (primary(), run)).into_iter().collect();
    for container in &mut known.containers {
        container.id = "c2".into();
        container.joined.network.clone_from(&joined);
    }
    let mut all = Seen::default();
    all.instances.insert(primary(), seen(first));
    all.instances.insert(sidekick("log"), known);
    plan(&host(instances), &all, NOW)
}

#[test]
fn who_shares_a_network_starts_after_its_owner_and_again_after_it() {
    for (first, spec, second, action, reason) in [
        // Its image is fetched meanwhile; it is made once the owner runs.
        ("", "run", "", "pull web:1, pull web:1", ""),
        ("here starting", "run", "here", "-", "waits for its primary, whose network it shares"),
        ("here made", "run", "here", "start c1", "waits for its primary, whose network"),
        ("up", "run", "here", "create", ""),
        ("up", "run", "made", "start c2", ""),
        ("up", "run", "exit=1@9000 failures=1", "start c2", ""),
        ("exit=1@10 failures=1", "run", "exit=1@9000 failures=1", "-", "waits for its primary"),
        // The owner runs, and has no network yet.
        ("up unplugged", "run", "here", "-", "waits for its primary, whose network it shares"),
        ("up unplugged", "run", "up", "-", ""),
        ("up", "run alone processes", "up unplugged after=5001", "stop c2", "starts again after"),
        // It goes on while the owner is down, and starts again once the owner has.
        ("exit=1@10 failures=1", "run", "up", "-", ""),
        ("up", "run", "up after=5000", "-", ""),
        ("up", "run", "up after=5001", "stop c2", "starts again after its primary"),
        ("up", "run", "up after=5001 stopping", "-", "it is being stopped"),
        ("up", "run", "exit=143@10 stopped after=5001", "start c2", ""),
        // Who was not started by this agent is judged by the engine's times.
        ("up", "run", "up", "-", ""),
        // The owner was made anew: what was made for the old one can never start.
        ("up", "run", "up joined=c1 after=5000", "-", ""),
        ("up", "run", "up joined=shop-web-1-abcdef after=5000", "-", ""),
        ("up", "run", "up joined=c0 after=5000", "stop c2", "starts again after its primary"),
        ("up", "run", "exit=1@9000 failures=1 joined=c0", "remove c2", ""),
        ("up", "run", "exit=1@9000 failures=1 joined=c1", "start c2", ""),
        // One that has done its work stays done.
        ("up", "run no", "exit=0@10 joined=c0", "-", ""),
        ("here starting", "run no", "exit=0@10", "-", ""),
        // The same for processes and shared memory.
        (
            "here made",
            "run alone processes",
            "here",
            "start c1",
            "waits for its primary, whose name",
        ),
        ("up", "run alone processes", "here", "create", ""),
        ("up", "run alone processes", "up after=5001", "stop c2", "starts again after its primary"),
        // A network of its own waits for nobody; volumes are there once the container is.
        ("here", "run alone", "here", "create, create", ""),
        ("here", "run alone volumes", "here", "create", "waits for its primary, whose volumes"),
        ("made here", "run alone volumes", "here", "start c1, create", ""),
        ("", "run alone volumes", "made", "pull web:1, start c2", ""),
    ] {
        let plan = pair("run", first, spec, second);
        let status = &plan.statuses[&sidekick("log")];
        assert_eq!(shown(&plan), action, "{first} / {spec}: {second}: {}", status.reason);
        let expected = status.reason.starts_with(reason);
        assert!(expected, "{first} / {spec}: {second}: {}", status.reason);
    }
}

#[test]
fn a_sidekick_ends_after_its_primary() {
    for (first, second, action, reason) in [
        ("up drained", "up drained", "stop c1", "waits for its primary to end"),
        ("up drained stopping", "up drained", "-", "waits for its primary to end"),
        ("exit=0@10 stopping", "up drained", "-", "waits for its primary to end"),
        ("exit=0@10", "up drained", "remove c1, stop c2", "it is being stopped"),
        ("", "up", "-", "requests in flight end"),
        ("", "exit=0@10", "remove c2", ""),
        ("starting", "exit=0@10", "remove c2", ""),
        ("starting", "up drained", "-", "waits for its primary to end"),
    ] {
        let plan = pair("remove", first, "remove", second);
        assert_eq!(shown(&plan), action, "{first} / {second}");
        let reason_is = &plan.statuses[&sidekick("log")].reason;
        assert!(reason_is.starts_with(reason), "{first} / {second}: {reason_is}");
    }
    let stop = pair("stop", "exit=0@10", "stop", "up drained");
    assert_eq!(shown(&stop), "stop c2");
    let gone = pair("remove", "", "remove", "");
    assert!(gone.statuses.values().all(|status| status.phase.to_string() == "absent"));
}

#[test]
fn a_sidekick_ends_when_its_primary_has_run_to_its_end() {
    for (goal, first, second, action, phase) in [
        ("run no", "exit=0@10", "up", "stop c2", "draining"),
        ("run no", "exit=1@10", "up", "stop c2", "draining"),
        ("run no ended", "", "up", "stop c2", "draining"),
        ("run no", "exit=0@10", "up stopping", "-", "draining"),
        ("run no", "exit=0@10", "exit=143@10 stopped", "-", "completed"),
        ("run no", "exit=0@10", "here", "-", "completed"),
        // It was ended by us, or comes back: it is not over.
        ("run no", "exit=0@10 stopped", "up", "start c1", "running"),
        ("run", "exit=0@10 failures=1", "up", "-", "running"),
        ("run no", "up", "up", "-", "running"),
    ] {
        for spec in ["run", "run alone"] {
            let plan = pair(goal, first, spec, second);
            let status = &plan.statuses[&sidekick("log")];
            assert_eq!(shown(&plan), action, "{goal}, {first} / {spec}: {second}");
            assert_eq!(status.phase.to_string(), phase, "{goal}, {first} / {spec}: {second}");
        }
    }
}

#[test]
fn containers_that_wait_for_each_other_or_for_nobody_say_so() {
    let (a, b) = (sidekick("a"), sidekick("b"));
    let on = |id: &InstanceId| InstanceSpec { network_of: Some(id.clone()), ..follower("run") };
    let spec =
        host([(a.clone(), on(&b)), (b.clone(), on(&a)), (sidekick("c"), on(&sidekick("x")))]);
    let mut all = Seen::default();
    for id in spec.instances.keys() {
        all.instances.insert(id.clone(), seen("here"));
    }
    let plan = plan(&spec, &all, NOW);
    assert_eq!(shown(&plan), "-");
    assert_eq!(plan.statuses[&a].reason, "waits for \"b\", whose network it shares");
    assert_eq!(plan.statuses[&b].reason, "waits for \"a\", whose network it shares");
    assert_eq!(plan.statuses[&sidekick("c")].reason, "waits for \"x\", which there is not");
}
