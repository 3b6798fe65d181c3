//! What people see of a cluster: rows of stacks, services, instances and hosts. Pure.

mod exposed;
mod host;
mod instance;
mod standalone;

pub(crate) use exposed::{add_reasons, exposed_rows};
pub(crate) use host::{host_detail, host_row};
pub(crate) use instance::{image_of, instance_rows};
pub(crate) use standalone::standalone_rows;

use api::wire::{
    BlockedRow, BlockedThing, FloatingRow, JobRow, ScaledRow, ServiceDetail, ServiceRow,
    StackDetail, StackRow,
};
use control::{cluster::scale_of, rancher};
use model::cluster::Cluster;
use model::id::{HostId, ServiceId, StackName};
use model::instance::{Goal, Phase};
use model::reason::{Blocked, Reason};
use model::record::{RecordKey, Rollout, RunOutcome, Service, ServiceStatus};
use model::scaling::Mode;
use model::service::{Kind, Template};
use model::time::{Index, Timestamp};
use std::collections::BTreeSet;

/// Where the rollout is. What the planner wrote of an earlier wish is told as a rollout that has
/// begun: it has not looked at the new one yet.
#[must_use]
pub(crate) fn rollout_of(service: &Service, status: Option<&ServiceStatus>) -> Rollout {
    let wanted = service.target;
    match status.map(|s| s.rollout.clone()).unwrap_or_default() {
        Rollout::Failed { target, before, attempt, at, .. }
            if target != wanted || attempt != service.attempt =>
        {
            Rollout::Running { target: wanted, before, since: at }
        }
        Rollout::Finishing { target, since, .. } if target != wanted => {
            Rollout::Running { target: wanted, before: Some(target), since }
        }
        Rollout::Running { target, before, since } if target != wanted => {
            Rollout::Running { target: wanted, before, since }
        }
        rollout => rollout,
    }
}

/// What blocks it, without waits that somebody has ended though the planner has not looked yet.
#[must_use]
pub(crate) fn blocked_of(service: &Service, status: Option<&ServiceStatus>) -> Vec<Blocked> {
    let target = service.target;
    let orders = &service.orders;
    let holds = |blocked: &&Blocked| match &blocked.reason {
        Reason::Paused => orders.paused,
        Reason::CanaryWaits { revision, .. } => {
            *revision == target.revision && orders.promoted != Some(target)
        }
        Reason::FinishWaits { revision } => {
            *revision == target.revision && orders.finished != Some(target)
        }
        _ => true,
    };
    status.map(|s| s.blocked.iter().filter(holds).cloned().collect()).unwrap_or_default()
}

/// Its floating address, and who has it.
fn floating_row(cluster: &Cluster, service: &Service) -> Option<FloatingRow> {
    let ip = service.settings.floating_ip.as_ref()?;
    let known = cluster.floating(ip.address).filter(|f| f.service.as_ref() == Some(&service.id));
    let holder = known.and_then(|known| known.holder.as_ref());
    let names = |hosts: &BTreeSet<HostId>| hosts.iter().map(ToString::to_string).collect();
    Some(FloatingRow {
        address: ip.address,
        host: holder.map(|holder| holder.host.to_string()),
        since: holder.map(|holder| holder.since),
        candidates: known.map(|known| names(&known.candidates)).unwrap_or_default(),
        voters: known.map(|known| names(&known.voters)).unwrap_or_default(),
        problems: known
            .iter()
            .flat_map(|k| &k.problems)
            .map(|(h, w)| format!("{h}: {w}"))
            .collect(),
    })
}

/// Everything of all services that is wanted and cannot be done now.
#[must_use]
pub(crate) fn blocked_things(cluster: &Cluster) -> Vec<BlockedThing> {
    let mut all = vec![];
    for service in cluster.services().filter(|service| service.goal == Goal::Run) {
        let status = cluster.service_status(&service.id).map(|status| &**status);
        let floating = control::floating::blocked(cluster, service);
        for blocked in blocked_of(service, status).into_iter().chain(floating) {
            let subject = match blocked.n {
                0 => service.id.to_string(),
                n => format!("{}#{n}", service.id),
            };
            all.push(BlockedThing { subject, reason: blocked.reason.to_string() });
        }
    }
    all
}

/// Instances that it should have now, those of a global service that found no room with them.
fn wanted(cluster: &Cluster, service: &Service, template: Option<&Template>) -> u32 {
    if template.is_some_and(|template| !template.has_instances()) {
        return 0;
    }
    let scale = scale_of(cluster, service);
    if service.settings.mode != Mode::Global {
        return scale;
    }
    let placed: BTreeSet<u32> =
        cluster.instances_of(&service.id).filter(|i| i.goal == Goal::Run).map(|i| i.id.n).collect();
    let blocked = cluster.service_status(&service.id).map(|s| s.blocked.clone());
    let blocked: BTreeSet<u32> = blocked.unwrap_or_default().iter().map(|b| b.n).collect();
    let missing = blocked.iter().filter(|n| **n > 0 && !placed.contains(n)).count();
    scale.saturating_add(u32::try_from(missing).unwrap_or(u32::MAX))
}

/// When a job runs, and what came of it; `None` for what is no job.
#[must_use]
pub(crate) fn job_row(service: &Service, status: Option<&ServiceStatus>) -> Option<JobRow> {
    let Mode::Job(spec) = &service.settings.mode else { return None };
    let runs = status.map(|s| s.runs.as_slice()).unwrap_or_default();
    let count = |outcome: &RunOutcome| runs.iter().filter(|run| run.outcome == *outcome).count();
    let since = status.map(|s| s.scheduled_to).filter(|at| *at != Timestamp::default());
    let next = spec.schedule.as_ref().filter(|_| service.goal == Goal::Run);
    Some(JobRow {
        schedule: spec.schedule.as_ref().map(|s| s.fields().to_owned()).unwrap_or_default(),
        zone: spec.schedule.as_ref().map(|s| s.zone().to_owned()).unwrap_or_default(),
        next: next.and_then(|schedule| schedule.after(since?)),
        running: count(&RunOutcome::Running),
        waiting: count(&RunOutcome::Waiting),
        last: runs.iter().rev().find(|run| run.outcome.is_over()).cloned(),
    })
}

fn scaled_row(service: &Service, status: Option<&ServiceStatus>) -> Option<ScaledRow> {
    let (min, max) = service.settings.scaling?.bounds();
    let scaled = status.and_then(|s| s.scaled.as_ref());
    let why = scaled.map(|scaled| scaled.why.clone()).unwrap_or_default();
    Some(ScaledRow { min, max, why, at: scaled.map(|scaled| scaled.at) })
}

/// Everything that keeps it from being as wanted.
fn reasons(rollout: &Rollout, blocked: &[Blocked], job: Option<&JobRow>) -> Vec<String> {
    let mut reasons: Vec<String> = blocked.iter().map(|b| b.reason.to_string()).collect();
    if let Rollout::Failed { why, target, .. } = rollout {
        let text = Reason::RolloutFailed { revision: target.revision, why: why.clone() };
        reasons.push(text.to_string());
    }
    if let Some(last) = job.and_then(|job| job.last.as_ref()) {
        match &last.outcome {
            RunOutcome::Failed { why } => {
                reasons.push(format!("run {} failed: {why}", last.number));
            }
            RunOutcome::Skipped { why } => {
                reasons.push(format!("run {} was left out: {why}", last.number));
            }
            RunOutcome::Waiting | RunOutcome::Running | RunOutcome::Succeeded => {}
        }
    }
    let mut told = BTreeSet::new();
    reasons.retain(|reason| told.insert(reason.clone()));
    reasons
}

/// One word for how a service is.
fn word(
    service: &Service,
    is_planned: bool,
    rollout: &Rollout,
    blocked: &[Blocked],
    lacks: bool,
) -> &'static str {
    let waits = |wanted: fn(&Reason) -> bool| blocked.iter().any(|b| wanted(&b.reason));
    match (service.goal, rollout) {
        (Goal::Remove, _) => "removing",
        (Goal::Stop, _) => "stopped",
        (Goal::Run, Rollout::Failed { .. }) => "failed",
        (Goal::Run, Rollout::Running { .. }) if waits(|r| matches!(r, Reason::Paused)) => "paused",
        (Goal::Run, Rollout::Running { .. })
            if waits(|r| matches!(r, Reason::CanaryWaits { .. })) =>
        {
            "canary"
        }
        (Goal::Run, Rollout::Finishing { target, .. })
            if service.orders.finished != Some(*target) =>
        {
            "upgraded"
        }
        (Goal::Run, Rollout::Running { .. } | Rollout::Finishing { .. }) => "updating",
        (Goal::Run, Rollout::Done) if !is_planned => "updating",
        (Goal::Run, Rollout::Done) if lacks => "degraded",
        (Goal::Run, Rollout::Done) => "healthy",
    }
}

fn job_word(
    service: &Service,
    is_planned: bool,
    job: &JobRow,
    blocked: &[Blocked],
) -> &'static str {
    let failed =
        job.last.as_ref().is_some_and(|run| matches!(run.outcome, RunOutcome::Failed { .. }));
    match service.goal {
        Goal::Remove => "removing",
        Goal::Stop => "stopped",
        Goal::Run if !is_planned => "updating",
        Goal::Run if failed || !blocked.is_empty() => "degraded",
        Goal::Run if job.running > 0 => "healthy",
        Goal::Run => "idle",
    }
}

/// The row of a service.
#[must_use]
pub(crate) fn service_row(cluster: &Cluster, service: &Service) -> ServiceRow {
    let status = cluster.service_status(&service.id).map(|status| &**status);
    let revision = cluster.revision(&service.id, service.target.revision);
    let template = revision.map(|r| &r.template);
    let (mut ready, mut serving) = (0, 0);
    for one in cluster.instances_of(&service.id) {
        let Some(seen) = cluster.instance_status(&one.id) else { continue };
        let done = seen.phase == Phase::Completed && one.goal == Goal::Run;
        if instance::is_ready(cluster, one) || done {
            serving += 1;
            if one.target == service.target {
                ready += 1;
            }
        }
    }
    let scale = wanted(cluster, service, template);
    let rollout = rollout_of(service, status);
    let blocked = blocked_of(service, status);
    let job = job_row(service, status);
    let planned = status.is_some();
    let word = match &job {
        Some(job) => job_word(service, planned, job, &blocked),
        None => word(service, planned, &rollout, &blocked, ready < scale),
    };
    let kind = match template.map(|template| &template.kind) {
        Some(Kind::Container(_)) | None => "container",
        Some(Kind::Balancer(_)) => "balancer",
        Some(Kind::External(_)) => "external",
        Some(Kind::Alias(_)) => "alias",
    };
    let mode = match service.settings.mode {
        Mode::Replicated => "replicated",
        Mode::Global => "global",
        Mode::Job(_) => "job",
    };
    let row = |b: &Blocked| BlockedRow { n: b.n, reason: b.reason.to_string() };
    let mut reasons = reasons(&rollout, &blocked, job.as_ref());
    reasons.extend(control::floating::blocked(cluster, service).map(|b| b.reason.to_string()));
    ServiceRow {
        name: service.id.to_string(),
        kind: kind.into(),
        mode: mode.into(),
        image: template.map(image_of).unwrap_or_default(),
        scale,
        scaled: scaled_row(service, status),
        ready,
        serving,
        revision: service.target.revision,
        status: word.into(),
        state: rancher::state(cluster, &service.id).into(),
        health: rancher::health(cluster, &service.id).into(),
        reasons,
        floating: floating_row(cluster, service),
        blocked: blocked.iter().map(row).collect(),
        rollout,
        advice: status.map(|status| status.advice.clone()).unwrap_or_default(),
        ports: template.map(|template| template.ports.clone()).unwrap_or_default(),
        job,
    }
}

/// A service whole. Contents of secrets are left out.
#[must_use]
pub(crate) fn service_detail(cluster: &Cluster, id: &ServiceId) -> Option<ServiceDetail> {
    let service = cluster.service(id)?;
    let mut template = cluster.revision(id, service.target.revision)?.template.clone();
    mask(&mut template);
    Some(ServiceDetail {
        service: service_row(cluster, service),
        spec: service.spec(template),
        revisions: crate::history::rows(cluster, id),
        instances: instance_rows(cluster, service),
    })
}

fn mask(template: &mut Template) {
    for container in template.containers_mut() {
        for file in container.files.iter_mut().filter(|file| file.secret) {
            file.content_base64.clear();
        }
    }
}

/// The words of services, the worst first: the first that one of them has is the stack's.
const WORST: [&str; 10] = [
    "removing", "failed", "degraded", "updating", "paused", "canary", "upgraded", "healthy",
    "idle", "stopped",
];

/// The row of a stack.
#[must_use]
pub(crate) fn stack_row(cluster: &Cluster, name: &StackName) -> Option<StackRow> {
    let stack = cluster.stack(name)?;
    let rows: Vec<ServiceRow> =
        cluster.services_of(name).map(|service| service_row(cluster, service)).collect();
    let worst = WORST
        .into_iter()
        .find(|word| rows.iter().any(|row| row.status == *word))
        .unwrap_or("healthy");
    Some(StackRow {
        name: name.clone(),
        services: rows.len(),
        wanted: rows.iter().map(|row| row.scale).sum(),
        // What serves counts, whichever version it is.
        ready: rows.iter().map(|row| row.serving.min(row.scale)).sum(),
        status: worst.to_owned(),
        reason: rows.iter().flat_map(|row| row.reasons.first().cloned()).next().unwrap_or_default(),
        created_at: stack.created_at,
    })
}

/// A stack whole.
#[must_use]
pub(crate) fn stack_detail(cluster: &Cluster, name: &StackName) -> Option<StackDetail> {
    let stack = stack_row(cluster, name)?;
    let services = cluster.services_of(name).map(|s| service_row(cluster, s)).collect();
    let volumes = cluster.stack(name)?.volumes.keys().cloned().collect();
    Some(StackDetail { stack, services, volumes, version: stack_version(cluster, name) })
}

/// Index of the newest change of the stack's wanted state.
#[must_use]
pub(crate) fn stack_version(cluster: &Cluster, name: &StackName) -> Index {
    cluster
        .services_of(name)
        .map(|s| RecordKey::Service(s.id.clone()))
        .chain(std::iter::once(RecordKey::Stack(name.clone())))
        .filter_map(|key| cluster.modified(&key))
        .max()
        .unwrap_or_default()
}
