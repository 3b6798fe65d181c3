//! The host's planner in tables: what is wanted and seen goes in as words, phase and action come out.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

#[path = "host/company.rs"]
mod company;
#[path = "host/lease.rs"]
mod lease;

use control::host::{
    Action, Busy, BusyKind, HostPlan, Memo, Probe, Seen, SeenContainer, SeenInstance, plan,
};
use model::container_spec::ContainerSpec;
use model::health::Health;
use model::host::Environment;
use model::host_spec::{Ended, HostSpec, InstanceSpec};
use model::id::InstanceId;
use model::instance::{Goal, Phase, Target};
use model::limits::{CONTAINER_STARTS_PARALLEL_MAX, RESTART_BACKOFF_MS_MAX};
use model::service::RestartPolicy;
use model::time::{Generation, Timestamp};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const NOW: Timestamp = Timestamp(1_000_000);

fn id(n: u32) -> InstanceId {
    format!("shop/web#{n}@{n}").parse().unwrap()
}

fn ago(ms: i64) -> Timestamp {
    Timestamp(NOW.0 - ms)
}

/// `run|stop|remove [no|failure:N] [probed] [ended]`.
fn wanted(words: &str) -> InstanceSpec {
    let mut spec = InstanceSpec {
        goal: Goal::Run,
        ordered_at: None,
        target: Target { revision: 1, restart: 0 },
        container_name: "shop-web-1-abcdef".into(),
        container: Arc::new(ContainerSpec { image: "web:1".into(), ..ContainerSpec::default() }),
        address: None,
        search: vec![],
        system_labels: BTreeMap::new(),
        restart: RestartPolicy::Always,
        stop_grace_ms: 10_000,
        drain_ms: 10_000,
        probed: false,
        network_of: None,
        namespaces_of: BTreeSet::new(),
        volumes_from: vec![],
        sidekick_of: None,
        stop_after_ms: None,
        image_id: None,
        image_digest: None,
        settles: false,
        measured: false,
        ended: None,
    };
    for word in words.split_whitespace() {
        match word {
            "run" => spec.goal = Goal::Run,
            "stop" => spec.goal = Goal::Stop,
            "remove" => spec.goal = Goal::Remove,
            "no" => spec.restart = RestartPolicy::No,
            "probed" => spec.probed = true,
            "ended" => spec.ended = Some(Ended { exit_code: Some(3), reason: "exit 3".into() }),
            "settles" => spec.settles = true,
            "settled" => spec.image_id = Some("sha256:aa".into()),
            other => {
                let max_attempts = Some(other.strip_prefix("failure:").unwrap().parse().unwrap());
                spec.restart = RestartPolicy::OnFailure { max_attempts };
            }
        }
    }
    spec
}

/// Words: `up`, `made` (never started), `exit=CODE@MS-AGO`, `oom`, `twice`, `here` (the image),
/// `image=ID@MS-AGO`,
/// `starts=N`, `failures=N`, `failed=MS-AGO`, `permanent=MS-AGO`, `stopped` (by us), `probe=HEALTH`, `docker=HEALTH`,
/// `exited=CODE` (and its container is gone), `drained`, `unrendered`, `remark`, `unsure` (of what a failed action did), `pulling`, `starting`, `stopping`, `trouble`.
fn seen(words: &str) -> SeenInstance {
    let mut out = SeenInstance::default();
    let container = |id: &str| SeenContainer { id: id.into(), ..SeenContainer::default() };
    let health = |value: &str| match value {
        "healthy" => Health::Healthy,
        "unhealthy" => Health::Unhealthy,
        _ => Health::Initializing,
    };
    for word in words.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "up" | "twice" => out.containers.push(SeenContainer {
                running: true,
                started_at: Some(ago(5_000)),
                ..container(if key == "up" { "c1" } else { "c2" })
            }),
            "made" => out.containers.push(container("c1")),
            "exit" => {
                let (code, ms) = value.split_once('@').unwrap();
                out.containers.push(SeenContainer {
                    started_at: Some(ago(600_000)),
                    finished_at: Some(ago(ms.parse().unwrap())),
                    exit_code: Some(code.parse().unwrap()),
                    ..container("c1")
                });
            }
            "exited" => {
                out.memo.exited = Some(SeenContainer {
                    started_at: Some(ago(9_000)),
                    exit_code: Some(value.parse().unwrap()),
                    ..container("c1")
                });
            }
            "oom" => out.containers[0].oom_killed = true,
            "docker" => out.containers[0].docker_health = health(value),
            "here" => out.memo.pulled = true,
            "image" => {
                let (id, ms) = value.split_once('@').unwrap();
                out.memo.note_image(id.into(), "web@sha256:dd".into(), ago(ms.parse().unwrap()));
            }
            "unsure" => out.memo.unsure = true,
            "stopped" => out.memo.stopped = true,
            "starts" => out.memo.starts = value.parse().unwrap(),
            "failures" => out.memo.failures = value.parse().unwrap(),
            "failed" | "permanent" => {
                out.memo.failed_at = Some(ago(value.parse().unwrap()));
                out.memo.error = "it did not work".into();
                out.memo.permanent = key == "permanent";
                out.memo.failures = out.memo.failures.max(1);
            }
            "probe" => {
                out.probe = Some(Probe { health: health(value), detail: "answered 500".into() });
            }
            "drained" => out.drained = true,
            "trouble" => out.trouble = "port 80 is taken".into(),
            "unplugged" => out.unplugged = Some("no more addresses".into()),
            "unrendered" => out.unrendered = Some("shop.ctmpl waits for key x".into()),
            "remark" => out.remark = "shop.ctmpl: line 3: no such field".into(),
            "misfit" => out.misfit = true,
            "pulling" | "starting" | "stopping" => {
                let kind = match key {
                    "pulling" => BusyKind::Pulling,
                    "starting" => BusyKind::Starting,
                    _ => BusyKind::Stopping,
                };
                out.busy = Some(Busy { kind, progress: String::new() });
            }
            other => panic!("what is {other}?"),
        }
    }
    out
}

fn host(instances: impl IntoIterator<Item = (InstanceId, InstanceSpec)>) -> HostSpec {
    HostSpec {
        generation: Generation(1),
        host: "alpha".parse().unwrap(),
        environment: Environment {
            id: "e1".into(),
            name: "default".into(),
            subnet: "10.42.0.0/16".parse().unwrap(),
            rebalance: model::host::Rebalance::default(),
            overlay: model::host::OverlayMode::default(),
            policy: model::policy::NetworkPolicy::default(),
            keys: Default::default(),
            dns: Default::default(),
            expose: Default::default(),
            consul: Default::default(),
        },
        instances: instances.into_iter().collect(),
        balancers: BTreeMap::new(),
        volumes: BTreeMap::new(),
        images_kept: BTreeSet::new(),
        attachments: BTreeMap::new(),
        policy: Arc::default(),
        labels: Arc::default(),
        peers: Arc::default(),
    }
}

fn one(spec: &str, known: &str, problem: &str) -> HostPlan {
    let mut all = Seen { problem: problem.into(), ..Seen::default() };
    all.instances.insert(id(1), seen(known));
    plan(&host([(id(1), wanted(spec))]), &all, NOW)
}

/// `pull`, `create`, `start c1`, `stop c1`, `remove c1`, or `-`.
fn shown(plan: &HostPlan) -> String {
    let all: Vec<String> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::Pull { image, .. } => format!("pull {image}"),
            Action::Create { .. } => "create".into(),
            Action::Start { container, .. } => format!("start {container}"),
            Action::Stop { container, .. } => format!("stop {container}"),
            Action::Remove { container, .. } => format!("remove {container}"),
        })
        .collect();
    if all.is_empty() { "-".into() } else { all.join(", ") }
}

#[test]
fn a_container_is_made_of_the_image_that_was_settled_for_all_hosts() {
    for (spec, known, phase, action) in [
        ("run settles", "", "pulling", "pull web:1"),
        // It says what the name means here, and waits a moment for the word of the server.
        ("run settles", "image=sha256:aa@0", "pulling", "-"),
        ("run settles", "image=sha256:aa@1999", "pulling", "-"),
        ("run settles", "image=sha256:aa@2000", "starting", "create"),
        ("run", "image=sha256:aa@0", "starting", "create"),
        ("run settled", "image=sha256:aa@0", "starting", "create"),
        ("run settled", "image=sha256:bb@0", "pulling", "pull web:1"),
        ("run settled", "here", "pulling", "pull web:1"),
        ("run settled", "up image=sha256:bb@0", "running", "-"),
    ] {
        let plan = one(spec, known, "");
        let status = &plan.statuses[&id(1)];
        assert_eq!(status.phase.to_string(), phase, "{spec}, {known}");
        assert_eq!(shown(&plan), action, "{spec}, {known}");
    }
    let waits = one("run settles", "image=sha256:aa@500", "");
    assert_eq!(waits.wake_at, Some(NOW.plus_ms(1_500)));
    let status = &waits.statuses[&id(1)];
    assert_eq!(
        (status.image_id.as_str(), status.image_digest.as_str()),
        ("sha256:aa", "web@sha256:dd")
    );
    assert!(status.reason.contains("settled"), "{}", status.reason);
}

#[test]
fn what_is_wrong_with_a_file_is_said_and_keeps_nobody_from_serving() {
    for (words, reason, serves) in [
        ("here unrendered", "shop.ctmpl waits for key x", false),
        ("up remark", "shop.ctmpl: line 3: no such field", true),
        ("up remark trouble", "port 80 is taken", false),
        ("here failed=100 remark", "it did not work", false),
    ] {
        let seen = Seen { instances: [(id(1), seen(words))].into(), ..Seen::default() };
        let plan = plan(&host([(id(1), wanted("run"))]), &seen, NOW);
        let status = &plan.statuses[&id(1)];
        let up = status.phase == Phase::Running && status.health.serves();
        assert_eq!((status.reason.as_str(), up), (reason, serves), "{words}");
    }
}

#[test]
fn a_container_starts_once_all_of_its_files_are_there_and_its_image_may_come_before() {
    for (spec, known, phase, action) in [
        ("run", "unrendered", "pulling", "pull web:1"),
        ("run", "here unrendered", "starting", "-"),
        ("run", "here made unrendered", "starting", "-"),
        ("run", "exit=1@600 failures=1 unrendered", "backoff", "-"),
        ("run", "up unrendered", "running", "-"),
        ("stop", "up unrendered drained", "draining", "stop c1"),
        ("remove", "made unrendered", "stopped", "remove c1"),
    ] {
        let plan = one(spec, known, "");
        let phase_is = plan.statuses[&id(1)].phase.to_string();
        assert_eq!((phase_is.as_str(), shown(&plan).as_str()), (phase, action), "{spec} / {known}");
    }
}

#[test]
fn the_next_action_of_an_instance() {
    for (spec, known, phase, action) in [
        ("run", "", "pulling", "pull web:1"),
        ("run", "here", "starting", "create"),
        ("run", "pulling", "pulling", "-"),
        ("run", "here starting", "starting", "-"),
        ("run", "here made", "starting", "start c1"),
        ("run", "up", "running", "-"),
        ("run", "up twice", "running", "remove c2"),
        // A container that ended starts again, later each time.
        ("run", "exit=1@10 failures=1", "backoff", "-"),
        ("run", "exit=1@600 failures=1", "backoff", "start c1"),
        ("run", "exit=0@600 failures=1", "backoff", "start c1"),
        ("run", "exit=1@600 failures=4", "backoff", "-"),
        ("run", "exit=1@61000 failures=30", "backoff", "start c1"),
        ("run no", "exit=0@10", "completed", "-"),
        ("run no", "exit=7@10", "failed", "-"),
        ("run no", "exit=0@10 oom", "failed", "-"),
        ("run failure:2", "exit=0@10", "completed", "-"),
        ("run failure:2", "exit=1@9000 starts=1 failures=1", "backoff", "start c1"),
        ("run failure:2", "exit=1@9000 starts=2 failures=2", "backoff", "start c1"),
        ("run failure:2", "exit=1@9000 starts=3 failures=3", "failed", "-"),
        // What was stopped by us starts at once, whatever its policy and its past.
        ("run", "exit=143@10 failures=9 stopped", "starting", "start c1"),
        ("run no", "exit=0@10 stopped", "starting", "start c1"),
        ("run no", "exit=0@10 stopped starting", "starting", "-"),
        ("stop", "exit=0@10 stopped", "stopped", "-"),
        // It runs, and nobody can reach it.
        ("run", "up unplugged", "starting", "-"),
        ("stop", "up unplugged drained", "draining", "stop c1"),
        // It was made for another network driver, which a start would ask for.
        ("run", "up misfit", "running", "-"),
        ("run", "exit=1@600 failures=1 misfit", "starting", "remove c1"),
        ("run", "made misfit", "starting", "remove c1"),
        ("run no", "exit=0@10 misfit", "completed", "-"),
        ("stop", "exit=0@10 stopped misfit", "stopped", "-"),
        // A try that failed is made again after a while.
        ("run", "here failed=100", "backoff", "-"),
        ("run", "here failed=600", "backoff", "create"),
        ("run", "failed=600", "backoff", "pull web:1"),
        ("run", "permanent=600", "failed", "-"),
        ("run", "permanent=31000", "failed", "pull web:1"),
        // Ending: out of traffic first, then stopped, then gone.
        ("stop", "up", "draining", "-"),
        ("stop", "up drained", "draining", "stop c1"),
        ("stop", "up drained stopping", "draining", "-"),
        ("stop", "exit=0@10", "stopped", "-"),
        ("stop", "", "stopped", "-"),
        ("stop", "starting", "starting", "-"),
        ("remove", "up", "draining", "-"),
        ("remove", "up drained", "draining", "stop c1"),
        ("remove", "exit=137@10", "stopped", "remove c1"),
        ("remove", "made", "stopped", "remove c1"),
        ("remove", "", "absent", "-"),
        ("remove", "starting", "starting", "-"),
        ("remove", "up twice", "running", "remove c2"),
        // What an action that failed has made may be there and is not seen yet.
        ("stop", "unsure", "starting", "-"),
        ("remove", "unsure", "starting", "-"),
        ("remove", "made unsure", "starting", "-"),
        ("stop", "exit=1@10 unsure", "starting", "-"),
        ("stop", "exit=1@10 starting", "starting", "-"),
        ("remove", "exit=1@10 starting", "starting", "-"),
        ("remove", "exit=1@10 stopping", "stopped", "-"),
        ("stop", "up unsure drained", "draining", "stop c1"),
        // An end in the future: the clock was set back since.
        ("run", "exit=1@-9000 failures=3", "backoff", "start c1"),
        // It ran to its end, and somebody has pruned its container.
        ("run no", "", "pulling", "pull web:1"),
        ("run no ended", "", "completed", "-"),
        ("run no ended", "here", "completed", "-"),
        ("run no ended", "here unsure", "starting", "create"),
        ("run no ended", "here starting", "starting", "-"),
        ("run no ended", "up", "running", "-"),
        ("stop no ended", "", "stopped", "-"),
        ("run no", "exited=1", "failed", "-"),
        ("run no", "exited=0", "completed", "-"),
        ("run no", "here exited=1 unsure", "starting", "create"),
        ("run no", "here exited=0 stopped", "starting", "create"),
        ("run", "here exited=1", "starting", "create"),
        ("stop no", "exited=1", "stopped", "-"),
        ("run failure:1", "here exited=1 starts=1", "starting", "create"),
        ("run failure:1", "here exited=1 starts=2", "failed", "-"),
        ("remove no ended", "", "absent", "-"),
    ] {
        let plan = one(spec, known, "");
        let status = &plan.statuses[&id(1)];
        assert_eq!(
            (status.phase.to_string().as_str(), shown(&plan).as_str()),
            (phase, action),
            "{spec} / {known}: {}",
            status.reason
        );
    }
}

#[test]
fn what_has_ended_keeps_its_exit_code_when_its_container_is_gone() {
    let status = &one("run no ended", "", "").statuses[&id(1)];
    assert_eq!((status.exit_code, status.reason.as_str()), (Some(3), "exit 3"));
}

#[test]
fn health_and_its_reason() {
    for (spec, known, health, reason) in [
        ("run", "up", Health::Unchecked, ""),
        ("run", "up docker=healthy", Health::Healthy, ""),
        ("run", "up docker=unhealthy", Health::Unhealthy, "docker health check: "),
        ("run probed", "up", Health::Initializing, "its health check has not begun"),
        ("run probed", "up probe=healthy", Health::Healthy, ""),
        ("run probed", "up probe=unhealthy docker=healthy", Health::Unhealthy, "answered 500"),
        ("run probed", "up probe=healthy trouble", Health::Initializing, "port 80 is taken"),
        (
            "run probed",
            "exit=1@10 failures=1 probe=healthy",
            Health::Unchecked,
            "exited with code 1",
        ),
        ("run", "exit=1@10 failures=3 oom", Health::Unchecked, "out of memory (3 times)"),
        ("run", "failed=100", Health::Unchecked, "it did not work"),
        ("run", "pulling", Health::Unchecked, ""),
        ("run", "failed=9000 pulling", Health::Unchecked, "it did not work; it is tried again"),
        (
            "run",
            "exit=3@900 failures=2 starting",
            Health::Unchecked,
            "code 3 (2 times); it is tried",
        ),
    ] {
        let plan = one(spec, known, "");
        let status = &plan.statuses[&id(1)];
        assert_eq!(status.health, health, "{spec} / {known}");
        assert!(status.reason.contains(reason), "{spec} / {known}: {}", status.reason);
        assert_eq!(
            status.reason.is_empty(),
            reason.is_empty(),
            "{spec} / {known}: {}",
            status.reason
        );
    }
}

#[test]
fn while_the_engine_is_away_nothing_is_begun_and_the_reason_is_shown() {
    for (spec, known) in [
        ("run", ""),
        ("run", "exit=1@9000 failures=1"),
        ("remove", "up drained"),
        ("run", "up twice"),
    ] {
        let plan = one(spec, known, "docker: it does not answer");
        assert_eq!(shown(&plan), "-", "{spec} / {known}");
        if known != "up twice" {
            assert_eq!(plan.statuses[&id(1)].reason, "docker: it does not answer");
        }
    }
    let plan = one("run probed", "up probe=healthy", "docker: it does not answer");
    assert_eq!(plan.statuses[&id(1)].reason, "", "what runs is not troubled by it");
}

#[test]
fn only_so_many_are_made_at_a_time_and_what_is_not_in_the_spec_is_left_alone() {
    let many = u32::try_from(CONTAINER_STARTS_PARALLEL_MAX + 10).unwrap();
    let spec = host((1..=many).map(|n| (id(n), wanted("run"))));
    let mut all = Seen::default();
    for n in 1..=many {
        let busy = if n <= 3 { "here starting" } else { "here" };
        all.instances.insert(id(n), seen(busy));
    }
    all.instances.insert(id(9_999), seen("up"));
    let plan = plan(&spec, &all, NOW);
    assert_eq!(plan.actions.len(), CONTAINER_STARTS_PARALLEL_MAX - 3);
    assert!(!plan.statuses.contains_key(&id(9_999)), "absence never removes");
}

#[test]
fn the_memory_of_failures_grows_and_is_forgotten_after_a_long_life() {
    let mut memo = Memo::default();
    memo.note_start();
    let ended = |ran_ms: u64| SeenContainer {
        started_at: Some(ago(i64::try_from(ran_ms).unwrap())),
        finished_at: Some(NOW),
        exit_code: Some(1),
        ..SeenContainer::default()
    };
    for expect in 1..=5 {
        memo.note_exit(&ended(10), NOW);
        assert_eq!(memo.failures, expect);
    }
    memo.note_exit(&ended(RESTART_BACKOFF_MS_MAX + 1), NOW);
    assert_eq!(memo.failures, 1);
    memo.pulled = true;
    memo.note_failure("no space left".into(), false, NOW);
    assert_eq!((memo.failures, memo.pulled), (2, false), "the image is looked at anew");
    memo.note_start();
    assert!(memo.error.is_empty() && !memo.permanent);
    memo.stopped = true;
    memo.note_start();
    assert_eq!((memo.failures, memo.failed_at, memo.stopped), (0, None, false));
}

fn any_seen() -> impl Strategy<Value = String> {
    let word = |words: &'static [&'static str]| proptest::sample::select(words);
    (
        word(&["", "up", "made", "exit=0@10", "exit=1@900", "exit=1@900000", "up twice"]),
        word(&["", "here", "failed=1", "failed=9000", "permanent=1", "permanent=99000"]),
        word(&[
            "",
            "starts=1 failures=1",
            "starts=9 failures=9",
            "starts=4000000000 failures=4000000000",
        ]),
        word(&["", "drained", "pulling", "starting", "stopping", "trouble", "probe=unhealthy"]),
    )
        .prop_map(|(a, b, c, d)| format!("{a} {b} {c} {d}"))
}

proptest! {
    #[test]
    fn one_action_an_instance_never_beside_another_and_a_wish_to_look_again_in_the_future(
        goal in proptest::sample::select(vec!["run", "stop", "remove", "run no", "run failure:2"]),
        known in any_seen(),
        problem in proptest::sample::select(vec!["", "docker: it does not answer"]),
    ) {
        let plan = one(goal, &known, problem);
        prop_assert!(plan.actions.len() <= 1);
        prop_assert!(plan.wake_at.is_none_or(|at| at > NOW), "{:?}", plan.wake_at);
        let state = seen(&known);
        if state.busy.is_some() || !problem.is_empty() {
            prop_assert_eq!(shown(&plan), "-");
        }
        // Nothing that runs is stopped or removed unless it was told so, or is a second one.
        let touches = plan.actions.iter().any(|a| matches!(a, Action::Stop { .. } | Action::Remove { .. }));
        if goal.starts_with("run") && state.containers.len() < 2 {
            prop_assert!(!touches, "{goal} / {known}: {}", shown(&plan));
        }
        // Waiting without an action has a time to look again, or ends in something that stays.
        let status = &plan.statuses[&id(1)];
        let waits = plan.actions.is_empty() && problem.is_empty() && state.busy.is_none();
        let done = ["running", "completed", "stopped", "absent", "draining"];
        let failed_for_good = status.reason.contains("not started again");
        if waits && !done.contains(&status.phase.to_string().as_str()) && !failed_for_good {
            prop_assert!(plan.wake_at.is_some(), "{goal} / {known}: {} {}", status.phase, status.reason);
        }
    }
}
