//! What people see of a cluster: rows of stacks, services and instances. Pure.

use api::wire::{InstanceRow, RevisionRow, ServiceDetail, ServiceRow, StackDetail, StackRow};
use model::cluster::Cluster;
use model::health::Health;
use model::id::{ServiceId, StackName};
use model::instance::{Goal, Instance, InstanceStatus, Phase};
use model::record::{RecordKey, Rollout, Service};
use model::service::{Kind, PortMapping, Template};
use model::time::Index;

/// May it take traffic: its process runs, it is not known to be unwell, and it is to run?
#[must_use]
pub(crate) fn is_ready(instance: &Instance, status: &InstanceStatus) -> bool {
    instance.goal == Goal::Run && status.phase == Phase::Running && status.health.serves()
}

fn image_of(template: &Template) -> String {
    template.container().map(|c| c.image.clone()).unwrap_or_default()
}

/// One word for goal and phase together.
fn status_word(instance: &Instance, status: &InstanceStatus) -> String {
    let word = match (instance.goal, status.phase) {
        (Goal::Run, phase) => return phase.to_string(),
        (Goal::Stop, Phase::Stopped | Phase::Absent | Phase::Pending) => "stopped",
        (Goal::Stop | Goal::Remove, Phase::Failed) => "failed",
        (Goal::Stop | Goal::Remove, Phase::Draining) => "draining",
        (Goal::Stop, _) => "stopping",
        (Goal::Remove, _) => "removing",
    };
    word.to_owned()
}

fn reason_of(instance: &Instance, status: &InstanceStatus) -> String {
    if is_ready(instance, status) {
        return String::new();
    }
    match (instance.goal, status.reason.is_empty()) {
        (Goal::Run, _) => status.reason.clone(),
        (_, true) => instance.reason.clone(),
        (_, false) if instance.reason.contains(&status.reason) => instance.reason.clone(),
        (_, false) => format!("{}; {}", instance.reason, status.reason),
    }
}

fn port_text(port: &PortMapping) -> String {
    let host = match (port.host_ip, port.host_port) {
        (Some(ip), Some(p)) => format!("{ip}:{p}->"),
        (None, Some(p)) => format!("{p}->"),
        _ => String::new(),
    };
    format!("{host}{}/{}", port.container_port, port.protocol)
}

/// The row of one instance.
#[must_use]
pub(crate) fn instance_row(cluster: &Cluster, instance: &Instance) -> InstanceRow {
    let status = cluster.instance_status(&instance.id).map(|s| (**s).clone()).unwrap_or_default();
    let service = &instance.id.service;
    let revision = cluster.revision(service, instance.target.revision);
    InstanceRow {
        stack: service.stack.to_string(),
        service: service.service.to_string(),
        name: format!("{service}#{}", instance.id.n),
        n: instance.id.n,
        incarnation: instance.id.incarnation,
        host: instance.host.to_string(),
        status: status_word(instance, &status),
        health: status.health,
        ready: is_ready(instance, &status),
        address: instance.address.map(|a| a.to_string()).unwrap_or_default(),
        ports: instance.ports.iter().map(port_text).collect(),
        revision: instance.target.revision,
        image: revision.map(|r| image_of(&r.template)).unwrap_or_default(),
        container_name: instance.container_name.clone(),
        container_id: status.container_id.clone(),
        restarts: status.restarts,
        exit_code: status.exit_code,
        started_at: status.started_at,
        reason: reason_of(instance, &status),
    }
}

/// The rows of a service: its instances, and the slots that are blocked.
#[must_use]
pub(crate) fn instance_rows(cluster: &Cluster, service: &Service) -> Vec<InstanceRow> {
    let mut rows: Vec<InstanceRow> =
        cluster.instances_of(&service.id).map(|i| instance_row(cluster, i)).collect();
    let Some(status) = cluster.service_status(&service.id) else { return rows };
    if let Rollout::Failed { target, why, .. } = &status.rollout {
        let silent = rows
            .iter_mut()
            .filter(|row| !row.ready && row.reason.is_empty() && row.revision == target.revision);
        silent.for_each(|row| row.reason = format!("its rollout failed: {why}"));
    }
    for blocked in &status.blocked {
        let n = blocked.n.max(1);
        let covered = if blocked.n == 0 {
            !rows.is_empty()
        } else {
            rows.iter().any(|row| {
                row.n == blocked.n && !["removing", "stopped"].contains(&row.status.as_str())
            })
        };
        if covered {
            continue;
        }
        rows.push(InstanceRow {
            stack: service.id.stack.to_string(),
            service: service.id.service.to_string(),
            name: format!("{}#{n}", service.id),
            n,
            incarnation: 0,
            host: String::new(),
            status: "blocked".into(),
            health: Health::Unchecked,
            ready: false,
            address: String::new(),
            ports: vec![],
            revision: service.target.revision,
            image: cluster
                .revision(&service.id, service.target.revision)
                .map(|r| image_of(&r.template))
                .unwrap_or_default(),
            container_name: String::new(),
            container_id: String::new(),
            restarts: 0,
            exit_code: None,
            started_at: None,
            reason: blocked.reason.to_string(),
        });
    }
    rows.sort_by_key(|row| (row.n, row.incarnation));
    rows
}

/// The row of a service.
#[must_use]
pub(crate) fn service_row(cluster: &Cluster, service: &Service) -> ServiceRow {
    let status = cluster.service_status(&service.id);
    let revision = cluster.revision(&service.id, service.target.revision);
    let (mut ready, mut serving) = (0, 0);
    for instance in cluster.instances_of(&service.id) {
        let Some(seen) = cluster.instance_status(&instance.id) else { continue };
        let done = seen.phase == Phase::Completed && instance.goal == Goal::Run;
        if is_ready(instance, seen) || done {
            serving += 1;
            if instance.target == service.target {
                ready += 1;
            }
        }
    }
    let rollout = match status.map(|s| s.rollout.clone()).unwrap_or_default() {
        // A failure of an earlier target or try: the planner has not looked at the new one yet.
        Rollout::Failed { target, before, attempt, at, .. }
            if target != service.target || attempt != service.attempt =>
        {
            Rollout::Running { target: service.target, before, since: at }
        }
        rollout => rollout,
    };
    let mut reasons: Vec<String> = status
        .map(|s| s.blocked.iter().map(|b| b.reason.to_string()).collect())
        .unwrap_or_default();
    if let Rollout::Failed { why, target, .. } = &rollout {
        let text =
            model::reason::Reason::RolloutFailed { revision: target.revision, why: why.clone() };
        reasons.push(text.to_string());
    }
    reasons.dedup();
    let word = match (service.goal, &rollout) {
        (Goal::Remove, _) => "removing",
        (Goal::Stop, _) => "stopped",
        (Goal::Run, Rollout::Failed { .. }) => "failed",
        (Goal::Run, Rollout::Running { .. }) => "updating",
        (Goal::Run, Rollout::Finishing { .. }) => "upgraded",
        (Goal::Run, Rollout::Done) if status.is_none() => "updating",
        (Goal::Run, Rollout::Done) if ready < service.scale => "degraded",
        (Goal::Run, Rollout::Done) => "healthy",
    };
    let (kind, image, ports) = match revision.map(|r| &r.template) {
        Some(template) => (
            match template.kind {
                Kind::Container(_) => "container",
                Kind::Balancer(_) => "balancer",
                Kind::External(_) => "external",
                Kind::Alias(_) => "alias",
            },
            image_of(template),
            template.ports.clone(),
        ),
        None => ("container", String::new(), vec![]),
    };
    ServiceRow {
        name: service.id.to_string(),
        kind: kind.into(),
        image,
        scale: service.scale,
        ready,
        serving,
        revision: service.target.revision,
        rollout,
        status: word.into(),
        reasons,
        ports,
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
        revisions: cluster
            .revisions_of(id)
            .map(|r| RevisionRow {
                number: r.number,
                image: image_of(&r.template),
                created_at: r.created_at,
            })
            .collect(),
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

/// The row of a stack.
#[must_use]
pub(crate) fn stack_row(cluster: &Cluster, name: &StackName) -> Option<StackRow> {
    let stack = cluster.stack(name)?;
    let rows: Vec<ServiceRow> =
        cluster.services_of(name).map(|service| service_row(cluster, service)).collect();
    let worst = ["removing", "failed", "updating", "upgraded", "degraded", "healthy", "stopped"]
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
