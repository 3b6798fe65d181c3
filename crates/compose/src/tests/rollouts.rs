//! How a change goes, and what a lost host leads to.

use super::web;
use model::rollout_policy::{FailureAction, Finish, UpdateOrder, UpdatePolicy};
use model::service::LossPolicy;

#[test]
fn update_config_is_read_whole() {
    let update = web(
        "deploy:\n  update_config:\n    parallelism: 2\n    delay: 10s\n    order: stop-first\n    \
         failure_action: pause\n    monitor: 1m",
    )
    .service()
    .update;
    let expected = UpdatePolicy {
        batch_size: Some(2),
        interval_ms: 10_000,
        order: Some(UpdateOrder::StopFirst),
        monitor_ms: Some(60_000),
        on_failure: FailureAction::Pause,
        ..UpdatePolicy::default()
    };
    assert_eq!(update, expected);
    for (word, action) in [
        ("rollback", FailureAction::Rollback),
        ("pause", FailureAction::Pause),
        ("continue", FailureAction::Continue),
    ] {
        let swarm = web(&format!("deploy: {{update_config: {{failure_action: {word}}}}}"));
        assert_eq!(swarm.service().update.on_failure, action);
        let own = web(&format!("rollout: {{on_failure: {word}}}"));
        assert_eq!(own.service().update.on_failure, action);
    }
    web("deploy: {update_config: {max_failure_ratio: 0.1}}")
        .warned("three failures stop an update");
    web("deploy: {rollback_config: {parallelism: 1}}").warned("a rollback goes like an update");
}

#[test]
fn rollout_says_what_the_others_cannot() {
    let update = web(
        "rollout:\n  batch_size: 3\n  interval: 5s\n  order: start_first\n  max_unavailable: 2\n  \
         monitor: 30s\n  on_failure: continue\n  canary: 1\n  finish: manual",
    )
    .service()
    .update;
    let expected = UpdatePolicy {
        batch_size: Some(3),
        interval_ms: 5_000,
        order: Some(UpdateOrder::StartFirst),
        max_unavailable: Some(2),
        monitor_ms: Some(30_000),
        on_failure: FailureAction::Continue,
        canary: Some(1),
        finish: Finish::Manual,
    };
    assert_eq!(update, expected);
    assert_eq!(web("x-remuda-rollout: {canary: 2}").service().update.canary, Some(2));
    assert_eq!(web("rollout: {canary: 0, finish: auto}").service().update, UpdatePolicy::default());
}

#[test]
fn rollout_wins_over_upgrade_strategy_and_that_over_update_config() {
    let update = web("deploy: {update_config: {parallelism: 1, delay: 1s, order: start-first}}\n\
         upgrade_strategy: {batch_size: 2, interval_millis: 2000, start_first: false}\n\
         rollout: {batch_size: 3}")
    .service()
    .update;
    assert_eq!((update.batch_size, update.interval_ms), (Some(3), 2_000));
    assert_eq!(update.order, Some(UpdateOrder::StopFirst));
}

#[test]
fn the_policy_for_a_lost_host_has_a_short_and_a_long_form() {
    for (lines, policy) in [
        ("", None),
        ("on_loss: keep", Some(LossPolicy::Keep)),
        ("on_loss: replace", Some(LossPolicy::Replace { after_ms: 10_000 })),
        ("on_loss: {policy: replace, after: 2m}", Some(LossPolicy::Replace { after_ms: 120_000 })),
        ("on_loss: stop", Some(LossPolicy::StopAfter { after_ms: 60_000 })),
        ("on_loss: {policy: stop, after: 30s}", Some(LossPolicy::StopAfter { after_ms: 30_000 })),
        ("x-remuda-on_loss: keep", Some(LossPolicy::Keep)),
    ] {
        assert_eq!(web(lines).service().on_loss, policy, "{lines}");
    }
    web("on_loss: {policy: keep, after: 2m}").warned("after has no effect with keep");
}

#[test]
fn a_policy_that_cannot_be_read_is_refused_at_its_place() {
    for (lines, message, expected) in [
        ("rollout: {order: both}", "rollout: order is \"both\"", "start-first or stop-first"),
        ("rollout: {finish: never}", "finish is \"never\"", "auto or manual"),
        ("rollout: {on_failure: cry}", "on_failure is \"cry\"", "rollback, pause or continue"),
        ("rollout: {batch_size: 0}", "batch_size is \"0\"", "from 1 to 10000"),
        ("rollout: {canary: -1}", "canary is \"-1\"", "from 0 to 10000"),
        ("rollout: {monitor: 5}", "monitor is \"5\"", "a duration"),
        ("rollout: {order: stop-first, max_unavailable: 0}", "max_unavailable is 0", "at least 1"),
        ("rollout: fast", "rollout is \"fast\"", "a map"),
        (
            "deploy: {update_config: {failure_action: x}}",
            "failure_action is \"x\"",
            "rollback, pause",
        ),
        ("deploy: {update_config: {order: x}}", "order is \"x\"", "start-first or stop-first"),
        ("on_loss: panic", "policy is \"panic\"", "keep, replace or stop"),
        ("on_loss: {after: 1m}", "policy is \"\"", "keep, replace or stop"),
        ("on_loss: {policy: stop, after: 1s}", "after is 1000 ms", "at least 10s"),
        ("on_loss: {policy: stop, after: soon}", "after is \"soon\"", "a duration"),
    ] {
        let errors = web(lines).refused();
        let first = &errors.errors[0];
        assert!(first.message.contains(message), "{lines}: {errors}");
        assert!(first.expected.as_deref().unwrap_or("").contains(expected), "{lines}: {errors}");
        assert_eq!(first.line, 4, "{errors}");
    }
}
