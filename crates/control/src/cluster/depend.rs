//! `depends_on`: may the first instance of a service start?

use super::draft::Draft;
use crate::readiness::Ready;
use crate::unit;
use model::cluster::Cluster;
use model::id::ServiceId;
use model::instance::{Goal, InstanceStatus, Phase};
use model::reason::Reason;
use model::record::{Rollout, Service};
use model::service::Condition;
use model::time::Timestamp;

/// Why the first instance has to wait; `None` when it may start.
pub(super) fn waits(draft: &mut Draft<'_>) -> Option<Reason> {
    let depends_on = draft.service.settings.depends_on.clone();
    for (name, condition) in depends_on {
        let on = ServiceId { stack: draft.service.id.stack.clone(), service: name };
        let reason = match draft.cluster.service(&on) {
            Some(dependency) => {
                let (reason, wake_at) = judge(draft.cluster, dependency, condition, draft.now);
                if let Some(at) = wake_at {
                    draft.wake(at);
                }
                reason
            }
            None => Some(Reason::DependencyFailed {
                on: on.clone(),
                why: "there is no such service in the stack".into(),
            }),
        };
        if reason.is_some() {
            return reason;
        }
    }
    None
}

fn judge(
    cluster: &Cluster,
    dependency: &Service,
    condition: Condition,
    now: Timestamp,
) -> (Option<Reason>, Option<Timestamp>) {
    let on = dependency.id.clone();
    let template = cluster.revision(&on, dependency.target.revision).map(|r| &r.template);
    let mut wake_at = None;
    let (mut started, mut ready, mut completed) = (0, 0, 0);
    let mut failure = None;
    for instance in cluster.instances_of(&on).filter(|i| i.goal == Goal::Run) {
        let primary: InstanceStatus =
            cluster.instance_status(&instance.id).map(|s| (**s).clone()).unwrap_or_default();
        let sidekicks = unit::sidekicks(cluster, &instance.id, template);
        let seen = unit::folded(&primary, &sidekicks, true);
        match seen.phase {
            Phase::Completed => {
                completed += 1;
                started += 1;
            }
            Phase::Running => started += 1,
            Phase::Failed => failure = Some(seen.reason.clone()),
            _ => {}
        }
        match template.map(|t| unit::of_instance(t, &primary, &sidekicks, now)) {
            Some(Ready::Yes) => ready += 1,
            Some(Ready::At(at)) => wake_at = Some(wake_at.map_or(at, |w: Timestamp| w.min(at))),
            Some(Ready::No) | None => {}
        }
    }
    let scale = super::slots::scale_of(cluster, dependency);
    let (held, so_far) = match condition {
        Condition::Started => (started > 0 || scale == 0, format!("{started} started")),
        Condition::Healthy => (ready >= scale, format!("{ready} of {scale} ready")),
        Condition::Completed => (completed >= scale, format!("{completed} of {scale} completed")),
    };
    if held {
        return (None, None);
    }
    let rollout = cluster.service_status(&on).map(|status| status.rollout.clone());
    let failure = match (condition, rollout) {
        (Condition::Completed, _) => failure,
        (Condition::Healthy, Some(Rollout::Failed { why, .. })) => Some(why),
        (Condition::Healthy | Condition::Started, _) => None,
    };
    let reason = match failure {
        Some(why) => Reason::DependencyFailed { on, why },
        None => Reason::Waiting { on, condition, so_far },
    };
    (Some(reason), wake_at)
}
