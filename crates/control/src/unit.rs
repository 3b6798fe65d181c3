//! An instance is one unit of its primary and its sidekicks: for readiness, health and its end.

use crate::readiness::{Ready, ready};
use model::cluster::Cluster;
use model::health::Health;
use model::id::{InstanceId, ServiceName};
use model::instance::{InstanceStatus, Phase};
use model::reason::within_limit;
use model::service::Template;
use model::time::Timestamp;

/// What was seen of the sidekicks of an instance; one that nobody has seen is pending.
pub(crate) fn sidekicks(
    cluster: &Cluster,
    id: &InstanceId,
    template: Option<&Template>,
) -> Vec<(ServiceName, InstanceStatus)> {
    let names = template.into_iter().flat_map(|template| template.sidekicks.keys());
    names
        .map(|name| {
            let seen = cluster.instance_status(&id.container(Some(name)));
            (name.clone(), seen.map(|seen| (**seen).clone()).unwrap_or_default())
        })
        .collect()
}

/// Is the instance ready: its primary, and each sidekick that is there to stay? A primary that has
/// run to its end has ended the unit.
pub(crate) fn of_instance(
    template: &Template,
    primary: &InstanceStatus,
    sidekicks: &[(ServiceName, InstanceStatus)],
    now: Timestamp,
) -> Ready {
    let mut worst = ready(template, primary, now);
    if primary.phase == Phase::Completed {
        return worst;
    }
    for (_, seen) in sidekicks {
        worst = match (worst, ready(template, seen, now)) {
            (Ready::No, _) | (_, Ready::No) => return Ready::No,
            (Ready::At(a), Ready::At(b)) => Ready::At(a.max(b)),
            (Ready::At(at), Ready::Yes) | (Ready::Yes, Ready::At(at)) => Ready::At(at),
            (Ready::Yes, Ready::Yes) => Ready::Yes,
        };
    }
    worst
}

/// How far behind a container is that should run; the unit is as far as its last one.
fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Completed => 0,
        Phase::Running => 1,
        Phase::Draining => 2,
        Phase::Starting => 3,
        Phase::Pulling => 4,
        Phase::Pending => 5,
        Phase::Absent => 6,
        Phase::Stopped => 7,
        Phase::Backoff => 8,
        Phase::Failed => 9,
    }
}

/// How far from its end a container is that is to go.
fn presence(phase: Phase) -> u8 {
    match phase {
        Phase::Absent => 0,
        Phase::Stopped | Phase::Completed | Phase::Failed => 1,
        Phase::Backoff | Phase::Pending => 2,
        Phase::Pulling | Phase::Starting => 3,
        Phase::Running => 4,
        Phase::Draining => 5,
    }
}

/// What was seen of the unit, as if it were one container: it is as well as the worst of its
/// containers, and gone when all of them are. A primary that has run to its end has ended the unit.
pub(crate) fn folded(
    primary: &InstanceStatus,
    sidekicks: &[(ServiceName, InstanceStatus)],
    stays: bool,
) -> InstanceStatus {
    let mut unit = primary.clone();
    if stays && primary.phase == Phase::Completed {
        return unit;
    }
    let weight = |phase| if stays { rank(phase) } else { presence(phase) };
    for (name, seen) in sidekicks {
        let health = worse(unit.health, seen.health);
        let gone = seen.health == health && unit.health != health && !health.serves();
        if weight(seen.phase) > weight(unit.phase) || (gone && seen.phase == unit.phase) {
            unit.phase = seen.phase;
            unit.exit_code = seen.exit_code;
            unit.reason = match seen.reason.as_str() {
                "" if stays => format!("sidekick {name} is {}", seen.phase),
                "" => String::new(),
                why => within_limit(format!("sidekick {name}: {why}")),
            };
        }
        unit.health = health;
        unit.restarts = unit.restarts.max(seen.restarts);
        unit.changed_at = unit.changed_at.max(seen.changed_at);
    }
    unit
}

fn worse(a: Health, b: Health) -> Health {
    let rank = |health| match health {
        Health::Unchecked => 0,
        Health::Healthy => 1,
        Health::Initializing => 2,
        Health::Unhealthy => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::container_spec::ContainerSpec;
    use model::limits::SETTLE_MS_DEFAULT;

    const NOW: Timestamp = Timestamp(100_000);

    /// `running`, `running:healthy`, `running:unhealthy`, `starting`, `backoff` …
    fn seen(words: &str) -> InstanceStatus {
        let (phase, health) = words.split_once(':').unwrap_or((words, ""));
        InstanceStatus {
            phase: serde_json::from_value(phase.into()).unwrap(),
            health: match health {
                "" => Health::Unchecked,
                other => serde_json::from_value(other.into()).unwrap(),
            },
            started_at: Some(Timestamp(NOW.0 - 60_000)),
            ..InstanceStatus::default()
        }
    }

    fn sidekick(words: &str) -> Vec<(ServiceName, InstanceStatus)> {
        let one = |(at, words)| (format!("s{at}").parse().unwrap(), seen(words));
        words.split_whitespace().enumerate().map(one).collect()
    }

    #[test]
    fn a_unit_is_as_well_as_the_worst_of_its_containers() {
        for (primary, sidekicks, phase, health) in [
            ("running", "", "running", "-"),
            ("running", "running", "running", "-"),
            ("running:healthy", "running", "running", "healthy"),
            ("running:healthy", "running:unhealthy", "running", "unhealthy"),
            ("running:healthy", "running:initializing", "running", "initializing"),
            ("running:healthy", "completed running", "running", "healthy"),
            ("running:healthy", "starting", "starting", "healthy"),
            ("running", "running backoff", "backoff", "-"),
            ("running", "failed backoff", "failed", "-"),
            ("running", "pending", "pending", "-"),
            ("starting", "running", "starting", "-"),
            ("completed", "running", "completed", "-"),
        ] {
            let unit = folded(&seen(primary), &sidekick(sidekicks), true);
            let got = (unit.phase.to_string(), unit.health.to_string());
            assert_eq!((got.0.as_str(), got.1.as_str()), (phase, health), "{primary} {sidekicks}");
        }
        let unit = folded(&seen("running"), &sidekick("backoff"), true);
        assert_eq!(unit.reason, "sidekick s0 is backoff");
        let mut sick = sidekick("running:unhealthy");
        sick[0].1.reason = "answered 500".into();
        let unit = folded(&seen("running:healthy"), &sick, true);
        assert_eq!(unit.reason, "sidekick s0: answered 500");
    }

    #[test]
    fn a_unit_is_gone_when_all_of_its_containers_are() {
        for (primary, sidekicks, phase) in [
            ("absent", "", "absent"),
            ("absent", "absent absent", "absent"),
            ("absent", "absent draining", "draining"),
            ("absent", "stopped", "stopped"),
            ("absent", "pending", "pending"),
            ("draining", "running", "draining"),
            ("stopped", "stopped", "stopped"),
        ] {
            let unit = folded(&seen(primary), &sidekick(sidekicks), false);
            assert_eq!(unit.phase.to_string(), phase, "{primary} {sidekicks}");
        }
    }

    #[test]
    fn a_unit_is_ready_when_each_container_is_or_has_completed() {
        let template = Template::of_container(ContainerSpec::default());
        let late = Timestamp(NOW.0 - 10).plus_ms(SETTLE_MS_DEFAULT);
        for (primary, sidekicks, young, ready) in [
            ("running:healthy", "", false, Ready::Yes),
            ("running:healthy", "running completed", false, Ready::Yes),
            ("running:healthy", "running:initializing", false, Ready::No),
            ("running:healthy", "backoff", false, Ready::No),
            ("running:initializing", "running", false, Ready::No),
            ("running:healthy", "running", true, Ready::At(late)),
            ("completed", "starting", true, Ready::Yes),
            ("running", "failed", true, Ready::No),
        ] {
            let mut parts = sidekick(sidekicks);
            if young {
                parts[0].1.changed_at = Timestamp(NOW.0 - 10);
            }
            let got = of_instance(&template, &seen(primary), &parts, NOW);
            assert_eq!(got, ready, "{primary} {sidekicks}");
        }
    }
}
