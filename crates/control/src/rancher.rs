//! How a service is in Rancher's words, for those who know Cattle: the states of its processes
//! (create, activate, update, upgrade, rollback …) and its health.

use model::cluster::Cluster;
use model::health::Health;
use model::id::ServiceId;
use model::instance::{Goal, Instance, Phase};
use model::reason::Reason;
use model::record::{Rollout, Service, ServiceStatus, Verdict};
use model::rollout_policy::FailureAction;
use model::service::RestartPolicy;

/// Has its container ended, or was it never there?
fn is_over(cluster: &Cluster, instance: &Instance) -> bool {
    let seen = cluster.instance_status(&instance.id);
    let phase = seen.map(|seen| seen.phase).unwrap_or_default();
    matches!(phase, Phase::Stopped | Phase::Absent | Phase::Completed | Phase::Failed)
        || (phase == Phase::Pending && instance.goal != Goal::Run)
}

fn serves(cluster: &Cluster, instance: &Instance) -> bool {
    cluster.instance_status(&instance.id).is_some_and(|seen| {
        seen.phase == Phase::Completed || (seen.phase == Phase::Running && seen.health.serves())
    })
}

/// Rancher's word for the state of a service. `updating-inactive` and `registering` are over at
/// once here: a change of a stopped service is one record.
#[must_use]
pub fn state(cluster: &Cluster, id: &ServiceId) -> &'static str {
    let Some(service) = cluster.service(id) else { return "removed" };
    let status = cluster.service_status(id);
    match (service.goal, status) {
        (Goal::Remove, _) => "removing",
        (Goal::Run, None) => "requested",
        (Goal::Stop, None) => "registering",
        (Goal::Stop, Some(_)) => {
            let mut all = cluster.instances_of(id);
            match all.all(|i| i.goal != Goal::Run && is_over(cluster, i)) {
                true => "inactive",
                false => "deactivating",
            }
        }
        (Goal::Run, Some(status)) => running(cluster, service, status),
    }
}

fn running(cluster: &Cluster, service: &Service, status: &ServiceStatus) -> &'static str {
    let target = service.target;
    let was_good =
        status.revisions.get(&target.revision).is_some_and(|r| r.verdict == Verdict::Good);
    match &status.rollout {
        Rollout::Finishing { target: at, .. } if *at == target => {
            match service.orders.finished == Some(target) {
                true => "finishing-upgrade",
                false => "upgraded",
            }
        }
        Rollout::Failed { target: at, before, attempt, .. }
            if *at == target && *attempt == service.attempt =>
        {
            let Some(before) = before else { return "activating" };
            match service.settings.update.on_failure {
                FailureAction::Pause => "canceled-upgrade",
                FailureAction::Rollback | FailureAction::Continue => {
                    let mut all = cluster.instances_of(&service.id).filter(|i| i.goal == Goal::Run);
                    match all.all(|i| i.target == *before && serves(cluster, i)) {
                        true => "active",
                        false => "rolling-back",
                    }
                }
            }
        }
        Rollout::Running { before: Some(before), .. } => {
            moving(service, status, before.revision, was_good)
        }
        Rollout::Failed { before: Some(before), .. } => {
            moving(service, status, before.revision, was_good)
        }
        Rollout::Finishing { target: at, .. } => moving(service, status, at.revision, was_good),
        Rollout::Running { before: None, .. } | Rollout::Failed { before: None, .. } => {
            if was_good { "updating-active" } else { "activating" }
        }
        Rollout::Done => done(cluster, service, was_good),
    }
}

/// The word while instances move from one version to another.
fn moving(service: &Service, status: &ServiceStatus, from: u32, was_good: bool) -> &'static str {
    let target = service.target;
    if from == target.revision {
        return "restarting";
    }
    if service.orders.paused {
        let told = status.blocked.iter().any(|b| b.reason == Reason::Paused);
        return if told { "canceled-upgrade" } else { "canceling-upgrade" };
    }
    // What has served before is gone back to.
    let back = service.orders.promoted == Some(target) && (was_good || target.revision < from);
    if back { "rolling-back" } else { "upgrading" }
}

/// The word while no rollout is known to be under way.
fn done(cluster: &Cluster, service: &Service, was_good: bool) -> &'static str {
    let id = &service.id;
    let running = || cluster.instances_of(id).filter(|i| i.goal == Goal::Run);
    let other = running().find(|i| i.target != service.target);
    if let Some(other) = other {
        return match other.target.revision == service.target.revision {
            true => "restarting",
            false if service.orders.paused => "canceling-upgrade",
            false => "upgrading",
        };
    }
    let ends = |i: &Instance| i.goal != Goal::Run && i.target.revision != service.target.revision;
    if service.orders.finished == Some(service.target)
        && cluster.instances_of(id).any(|i| ends(i) && !is_over(cluster, i))
    {
        return "finishing-upgrade";
    }
    let template = cluster.revision(id, service.target.revision).map(|r| &r.template);
    let has_instances = template.is_none_or(model::service::Template::has_instances);
    let wanted = crate::cluster::scale_of(cluster, service) as usize;
    let count = running().count();
    match () {
        () if !has_instances || wanted == 0 && count == 0 => "active",
        () if count > 0 && running().all(|i| is_over(cluster, i) && !serves(cluster, i)) => {
            "activating"
        }
        () if count == 0 && !was_good => "activating",
        () if count != wanted => "updating-active",
        () => "active",
    }
}

/// Rancher's word for the health of a service: `healthy`, `unhealthy`, `initializing`, `degraded`,
/// or `started-once` for what runs once and has.
#[must_use]
pub fn health(cluster: &Cluster, id: &ServiceId) -> &'static str {
    let Some(service) = cluster.service(id) else { return "healthy" };
    let template = cluster.revision(id, service.target.revision).map(|r| &r.template);
    let wanted = match template {
        Some(template) if !template.has_instances() => 0,
        _ => crate::cluster::scale_of(cluster, service) as usize,
    };
    let (mut well, mut starting, mut completed) = (0, 0, 0);
    for instance in cluster.instances_of(id).filter(|i| i.goal == Goal::Run) {
        let seen = cluster.instance_status(&instance.id).map(|s| (**s).clone()).unwrap_or_default();
        match (seen.phase, seen.health) {
            (Phase::Completed, _) => completed += 1,
            (Phase::Running, Health::Healthy | Health::Unchecked) => well += 1,
            (Phase::Running, Health::Initializing)
            | (Phase::Pending | Phase::Pulling | Phase::Starting, _) => starting += 1,
            _ => {}
        }
    }
    let once = template.is_some_and(|template| template.restart == RestartPolicy::Once);
    match () {
        () if once && wanted > 0 && completed >= wanted => "started-once",
        () if well + completed >= wanted => "healthy",
        () if starting > 0 => "initializing",
        () if well + completed > 0 => "degraded",
        () => "unhealthy",
    }
}
