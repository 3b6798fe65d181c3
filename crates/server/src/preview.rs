//! What a new spec of a stack would do, for `remuda plan` and before `remuda up`. Pure.

use api::error::ErrorInfo;
use api::wire::{BlockedPlan, InstancePlan, Plan, ServiceChange, ServicePlan, StackRequest};
use control::cluster;
use model::cluster::Cluster;
use model::id::{HostId, StackName};
use model::limits::STACK_SERVICES_MAX;
use model::reason::{Lack, Reason};
use model::service::Transport;
use model::stack::StackSpec;
use model::time::Timestamp;
use std::collections::BTreeMap;

/// Limits that hold whoever made the spec.
///
/// # Errors
/// `Kind::Invalid` with the service and the limit.
pub fn validate(spec: &StackSpec) -> Result<(), ErrorInfo> {
    let count = spec.services.len();
    if count > STACK_SERVICES_MAX {
        let why = format!("there are {count} services; at most {STACK_SERVICES_MAX}");
        return Err(ErrorInfo::invalid(why));
    }
    for (name, service) in &spec.services {
        crate::validate::service(name, service).map_err(ErrorInfo::invalid)?;
    }
    crate::validate::floating(spec).map_err(ErrorInfo::invalid)
}

/// Can it be left to time: is it parked until there is room or somebody decides? What the file
/// itself clashes with is refused instead.
fn is_passing(reason: &Reason) -> bool {
    match reason {
        Reason::NoFit { lacks, .. } => !lacks
            .iter()
            .all(|(lack, _)| matches!(lack, Lack::Port { .. } | Lack::PortAddress { .. })),
        Reason::NoHost { known } => *known > 0,
        Reason::Waiting { .. }
        | Reason::NoAddress { .. }
        | Reason::Backoff { .. }
        | Reason::Paused
        | Reason::CanaryWaits { .. }
        | Reason::FinishWaits { .. }
        | Reason::DrainWaits { .. }
        | Reason::HostAway { .. }
        | Reason::FloatingIp { .. }
        | Reason::ScaleHeld { .. } => true,
        Reason::PortHeld { .. }
        | Reason::PortTaken { .. }
        | Reason::DependencyFailed { .. }
        | Reason::RolloutFailed { .. }
        | Reason::SchedulerDown { .. } => false,
    }
}

/// What a PUT of `request` changes.
///
/// # Errors
/// `Kind::Conflict` when a service cannot become what is wanted.
pub(crate) fn changes(
    cluster: &Cluster,
    stack: &StackName,
    request: &StackRequest,
    now: Timestamp,
) -> Result<cluster::StackDiff, ErrorInfo> {
    control::floating::may_have(cluster, stack, &request.spec)
        .map_err(|why| ErrorInfo::new(api::error::Kind::Conflict, why))?;
    let diff = cluster::diff(cluster, stack, &request.spec, request.remove_orphans, now);
    match diff.refused.first() {
        Some(why) => Err(ErrorInfo::new(api::error::Kind::Conflict, why.clone())),
        None => Ok(diff),
    }
}

/// The plan of a PUT of `request`.
///
/// # Errors
/// See `changes`.
pub(crate) fn plan(
    cluster: &Cluster,
    stack: &StackName,
    request: &StackRequest,
    foreign: &BTreeMap<(HostId, Transport, u16), String>,
    now: Timestamp,
) -> Result<Plan, ErrorInfo> {
    let diff = changes(cluster, stack, request, now)?;
    let outcome = cluster::simulate(cluster, &diff.proposal, foreign, now);
    Ok(Plan {
        index: cluster.index(),
        services: diff
            .services
            .iter()
            .map(|service| ServicePlan {
                service: service.id.to_string(),
                change: match service.change {
                    cluster::ServiceChange::Create => ServiceChange::Create,
                    cluster::ServiceChange::Update => ServiceChange::Update,
                    cluster::ServiceChange::Scale => ServiceChange::Scale,
                    cluster::ServiceChange::Retry => ServiceChange::Retry,
                    cluster::ServiceChange::Unchanged => ServiceChange::Unchanged,
                    cluster::ServiceChange::Remove => ServiceChange::Remove,
                },
                details: service.details.clone(),
            })
            .collect(),
        instances: outcome
            .steps
            .iter()
            .map(|step| InstancePlan {
                instance: step.subject.clone(),
                sign: step.sign.to_string(),
                host: step.host.clone(),
                why: step.why.clone(),
            })
            .collect(),
        blocked: outcome
            .blocked
            .iter()
            .map(|(service, blocked)| BlockedPlan {
                subject: match blocked.n {
                    0 => service.to_string(),
                    n => format!("{service}#{n}"),
                },
                reason: blocked.reason.to_string(),
                passing: is_passing(&blocked.reason),
            })
            .collect(),
    })
}
