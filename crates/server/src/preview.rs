//! What a new spec of a stack would do, for `remuda plan` and before `remuda up`. Pure.

use api::error::ErrorInfo;
use api::wire::{BlockedPlan, InstancePlan, Plan, ServiceChange, ServicePlan, StackRequest};
use control::cluster;
use model::cluster::Cluster;
use model::id::{HostId, StackName};
use model::limits::{BALANCER_RULES_MAX, PORTS_MAX, SCALE_MAX, STACK_SERVICES_MAX};
use model::service::{Kind, Transport};
use model::stack::StackSpec;
use model::time::Timestamp;
use std::collections::BTreeMap;

/// Limits that hold whoever made the spec.
///
/// # Errors
/// `Kind::Invalid` with the service and the limit.
pub(crate) fn validate(spec: &StackSpec) -> Result<(), ErrorInfo> {
    let over = |what: String, limit: usize| {
        Err(ErrorInfo::invalid(format!("{what} is over the limit of {limit}")))
    };
    if spec.services.len() > STACK_SERVICES_MAX {
        return over(format!("{} services", spec.services.len()), STACK_SERVICES_MAX);
    }
    for (name, service) in &spec.services {
        if service.scale.is_some_and(|scale| scale > SCALE_MAX) {
            return over(format!("service {name}: its scale"), SCALE_MAX as usize);
        }
        if service.template.ports.len() > PORTS_MAX {
            return over(format!("service {name}: the number of its ports"), PORTS_MAX);
        }
        match &service.template.kind {
            Kind::Balancer(balancer) if balancer.rules.len() > BALANCER_RULES_MAX => {
                return over(
                    format!("service {name}: the number of its rules"),
                    BALANCER_RULES_MAX,
                );
            }
            Kind::Container(container) if container.image.is_empty() => {
                return Err(ErrorInfo::invalid(format!("service {name} has no image")));
            }
            Kind::Balancer(_) | Kind::Container(_) | Kind::External(_) | Kind::Alias(_) => {}
        }
    }
    Ok(())
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
                passing: matches!(blocked.reason, model::reason::Reason::Waiting { .. }),
            })
            .collect(),
    })
}
