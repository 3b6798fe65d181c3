//! When an instance counts as ready, and when a new one counts as failed.

use model::container_spec::ContainerSpec;
use model::health::Health;
use model::instance::{Instance, InstanceStatus, Phase};
use model::limits::{
    ROLLOUT_FAILURES_MAX, ROLLOUT_PROVEN_AGAIN_MS, ROLLOUT_PROVEN_MS, ROLLOUT_READY_MS_DEFAULT,
    ROLLOUT_STUCK_MS_DEFAULT, SETTLE_MS_DEFAULT,
};
use model::service::{Kind, RestartPolicy, Template};
use model::time::Timestamp;

/// Whether an instance is ready, or when to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    Yes,
    /// Not by itself.
    No,
    /// It is once it has run until then.
    At(Timestamp),
}

/// Does it serve, or has it done its one job?
pub(crate) fn ready(template: &Template, seen: &InstanceStatus, now: Timestamp) -> Ready {
    match seen.phase {
        Phase::Completed => Ready::Yes,
        Phase::Running if matches!(template.kind, Kind::Balancer(_)) => Ready::Yes,
        Phase::Running if seen.health == Health::Healthy => Ready::Yes,
        // Since when, by the server's clock: `started_at` is of the host's, which may be wrong.
        Phase::Running if seen.health == Health::Unchecked => {
            let settled = seen.changed_at.plus_ms(SETTLE_MS_DEFAULT);
            if now >= settled { Ready::Yes } else { Ready::At(settled) }
        }
        _ => Ready::No,
    }
}

/// When an instance that is ready has shown that it stays so.
pub(crate) fn proven_at(seen: &InstanceStatus, monitor_ms: Option<u64>) -> Timestamp {
    let window = monitor_ms.unwrap_or(ROLLOUT_PROVEN_MS);
    let window = if seen.restarts > 0 { window.max(ROLLOUT_PROVEN_AGAIN_MS) } else { window };
    seen.changed_at.plus_ms(window)
}

/// Milliseconds that a new instance has from its start until it must be ready.
pub(crate) fn ready_within_ms(template: &Template) -> u64 {
    let ours = template.health_check.as_ref().and_then(|check| check.initializing_timeout_ms);
    ours.unwrap_or_else(|| {
        ROLLOUT_READY_MS_DEFAULT.saturating_add(template.container().map_or(0, docker_check_ms))
    })
}

/// Longest time that Docker's own check may take to its first verdict.
fn docker_check_ms(container: &ContainerSpec) -> u64 {
    let Some(check) = &container.healthcheck else { return 0 };
    let interval = check.interval_ms.unwrap_or(30_000);
    let retries = u64::from(check.retries.unwrap_or(3));
    check.start_period_ms.unwrap_or(0).saturating_add(interval.saturating_mul(retries))
}

/// What the start of a new instance has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// It may still get ready; look again then.
    Pending(Option<Timestamp>),
    /// It has failed, and why.
    Failed(String),
}

/// Judges an instance that is not ready yet.
pub(crate) fn start(
    template: &Template,
    instance: &Instance,
    seen: &InstanceStatus,
    now: Timestamp,
) -> Start {
    let reason = || match seen.reason.as_str() {
        "" => format!("instance #{} is {}", instance.id.n, seen.phase),
        reason => reason.to_owned(),
    };
    let again = matches!(template.restart, RestartPolicy::Always | RestartPolicy::OnFailure { .. });
    match seen.phase {
        Phase::Failed => Start::Failed(reason()),
        Phase::Backoff | Phase::Running | Phase::Starting
            if again && seen.restarts >= ROLLOUT_FAILURES_MAX =>
        {
            let exit = seen.exit_code.map_or_else(String::new, |code| {
                format!("exited with code {code} and was started {} times", seen.restarts + 1)
            });
            let ended = || format!("it has ended {} times and was started again", seen.restarts);
            Start::Failed(match (exit.is_empty(), seen.reason.is_empty()) {
                (false, _) => exit,
                (true, false) => reason(),
                (true, true) => ended(),
            })
        }
        Phase::Running => {
            let limit = ready_within_ms(template);
            let since = seen.changed_at.max(instance.placed_at);
            if seen.health == Health::Unhealthy {
                Start::Failed(format!("unhealthy: {}", reason()))
            } else if now.since_ms(since) >= limit {
                let s = limit / 1000;
                Start::Failed(format!("not healthy {s} s after its start: {}", reason()))
            } else {
                Start::Pending(Some(since.plus_ms(limit)))
            }
        }
        // It was never made: an image or a mount that cannot be had, with a reason that may pass.
        Phase::Backoff if seen.started_at.is_none() => {
            let due = instance.placed_at.plus_ms(ROLLOUT_STUCK_MS_DEFAULT);
            if now < due { Start::Pending(Some(due)) } else { Start::Failed(reason()) }
        }
        Phase::Pending
        | Phase::Pulling
        | Phase::Starting
        | Phase::Backoff
        | Phase::Draining
        | Phase::Stopped
        | Phase::Completed
        | Phase::Absent => Start::Pending(None),
    }
}
