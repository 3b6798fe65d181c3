//! Rows of instances: what each is and why it is not ready; slots that have none, and why.

use api::wire::{InstanceRow, SidekickRow};
use model::cluster::Cluster;
use model::id::ServiceName;
use model::instance::{Goal, Instance, InstanceStatus, Phase};
use model::limits::BLOCKED_ROWS_MAX;
use model::reason::{Blocked, Reason};
use model::record::{Rollout, Service};
use model::scaling::Mode;
use model::service::{PortMapping, Sidekick, Template};
use std::collections::{BTreeMap, BTreeSet};

/// May it take traffic: its processes run, none is known to be unwell, and it is to run?
#[must_use]
pub(super) fn is_ready(cluster: &Cluster, instance: &Instance) -> bool {
    let Some(seen) = cluster.instance_status(&instance.id) else { return false };
    let runs = |seen: &InstanceStatus| seen.phase == Phase::Running && seen.health.serves();
    let revision = cluster.revision(&instance.id.service, instance.target.revision);
    let mut sidekicks = revision.iter().flat_map(|r| r.template.sidekicks.keys());
    instance.goal == Goal::Run
        && runs(seen)
        && sidekicks.all(|name| {
            let seen = cluster.instance_status(&instance.id.container(Some(name)));
            seen.is_none_or(|seen| runs(seen) || seen.phase == Phase::Completed)
        })
}

/// The image of its primary; empty for what has none.
#[must_use]
pub(crate) fn image_of(template: &Template) -> String {
    template.container().map(|c| c.image.clone()).unwrap_or_default()
}

/// One word for goal and phase together.
fn status_word(goal: Goal, status: &InstanceStatus) -> String {
    let word = match (goal, status.phase) {
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

fn sidekick_rows(cluster: &Cluster, instance: &Instance) -> Vec<SidekickRow> {
    let revision = cluster.revision(&instance.id.service, instance.target.revision);
    let sidekicks = revision.iter().flat_map(|r| &r.template.sidekicks);
    let row = |(name, sidekick): (&ServiceName, &Sidekick)| {
        let id = instance.id.container(Some(name));
        let seen = cluster.instance_status(&id).map(|s| (**s).clone()).unwrap_or_default();
        let address = instance.sidekick_addresses.get(name);
        SidekickRow {
            name: name.to_string(),
            status: status_word(instance.goal, &seen),
            health: seen.health,
            address: address.map(ToString::to_string).unwrap_or_default(),
            image: sidekick.container.image.clone(),
            container_id: seen.container_id,
            restarts: seen.restarts,
            exit_code: seen.exit_code,
            started_at: seen.started_at,
            reason: seen.reason,
        }
    };
    sidekicks.map(row).collect()
}

/// The row of one instance.
fn instance_row(cluster: &Cluster, instance: &Instance) -> InstanceRow {
    let status = cluster.instance_status(&instance.id).map(|s| (**s).clone()).unwrap_or_default();
    let service = &instance.id.service;
    let revision = cluster.revision(service, instance.target.revision);
    let ready = is_ready(cluster, instance);
    let sidekicks = sidekick_rows(cluster, instance);
    // One that serves may have a reason too, e.g. a file that stays as it was.
    let leaves = ready && instance.goal != Goal::Run;
    let mut reason = if leaves { String::new() } else { reason_of(instance, &status) };
    if !ready && reason.is_empty() {
        // The primary has nothing to say: one beside it may have.
        let guilty = sidekicks.iter().find(|one| !one.reason.is_empty());
        reason = guilty.map(|one| format!("{}: {}", one.name, one.reason)).unwrap_or_default();
    }
    InstanceRow {
        stack: service.stack.to_string(),
        service: service.service.to_string(),
        name: format!("{service}#{}", instance.id.n),
        n: instance.id.n,
        incarnation: instance.id.incarnation,
        host: instance.host.to_string(),
        status: status_word(instance.goal, &status),
        health: status.health,
        ready,
        address: instance.address.map(|a| a.to_string()).unwrap_or_default(),
        ports: instance.ports.iter().map(port_text).collect(),
        revision: instance.target.revision,
        image: revision.map(|r| image_of(&r.template)).unwrap_or_default(),
        container_name: instance.container_name.clone(),
        container_id: status.container_id.clone(),
        restarts: status.restarts,
        exit_code: status.exit_code,
        started_at: status.started_at,
        reason,
        leaving: instance.leaving,
        dropped: instance.dropped.clone(),
        sidekicks,
    }
}

/// A row for what has no instance because it is blocked.
fn blocked_row(cluster: &Cluster, service: &Service, n: u32, reason: String) -> InstanceRow {
    let revision = cluster.revision(&service.id, service.target.revision);
    InstanceRow {
        stack: service.id.stack.to_string(),
        service: service.id.service.to_string(),
        name: match n {
            0 => service.id.to_string(),
            n => format!("{}#{n}", service.id),
        },
        n,
        status: "blocked".into(),
        revision: service.target.revision,
        image: revision.map(|r| image_of(&r.template)).unwrap_or_default(),
        reason,
        ..InstanceRow::default()
    }
}

/// Does the row stand for something that is to run, now or again?
fn is_live(row: &InstanceRow) -> bool {
    !matches!(row.status.as_str(), "removing" | "stopped" | "stopping" | "draining" | "failed")
}

/// The rows of a service: its instances, and the slots that are blocked. What is blocked of a slot
/// is told at its instance when it has one.
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
    if service.goal == Goal::Run {
        tell_blocked(cluster, service, &super::blocked_of(service, Some(status)), &mut rows);
    }
    rows.sort_by_key(|row| (row.n, row.incarnation));
    rows
}

fn tell_blocked(
    cluster: &Cluster,
    service: &Service,
    blocked: &[Blocked],
    rows: &mut Vec<InstanceRow>,
) {
    let is_job = matches!(service.settings.mode, Mode::Job(_));
    let placed: BTreeSet<u32> = rows.iter().filter(|row| is_live(row)).map(|row| row.n).collect();
    let mut missing: BTreeMap<u32, &Reason> = BTreeMap::new();
    for one in blocked {
        let text = one.reason.to_string();
        match &one.reason {
            // Those that are not at the new version wait, and nobody else.
            Reason::Paused | Reason::CanaryWaits { .. } => {
                let old = rows
                    .iter_mut()
                    .filter(|row| is_live(row) && row.revision != service.target.revision);
                old.for_each(|row| add_reason(row, &text));
            }
            // What has no room for one has none for the next: the planner says it once.
            Reason::DrainWaits { host, .. } => {
                let newest = |n: u32| rows.iter().filter(|r| r.n == n).map(|r| r.incarnation).max();
                let alone: BTreeSet<u64> = rows.iter().filter_map(|row| newest(row.n)).collect();
                let stays = rows.iter_mut().filter(|row| {
                    let of_host = row.leaving && row.host == host.as_str();
                    is_live(row) && alone.contains(&row.incarnation) && (of_host || row.n == one.n)
                });
                stays.for_each(|row| add_reason(row, &text));
            }
            Reason::FinishWaits { .. } | Reason::ScaleHeld { .. } if one.n == 0 => {}
            _ if one.n == 0 && is_job => {
                rows.push(blocked_row(cluster, service, 0, text));
            }
            reason if one.n > 0 && !placed.contains(&one.n) => {
                missing.entry(one.n).or_insert(reason);
            }
            reason if one.n == 0 && placed.is_empty() => {
                missing.entry(1).or_insert(reason);
            }
            _ => {
                let at = rows
                    .iter_mut()
                    .filter(|row| is_live(row) && (row.n == one.n || (one.n == 0 && !row.ready)));
                at.for_each(|row| add_reason(row, &text));
            }
        }
    }
    // What has no room for one has none for the next: the planner says it once.
    let all = match service.settings.mode {
        Mode::Replicated => control::cluster::scale_of(cluster, service),
        Mode::Global | Mode::Job(_) => 0,
    };
    let mut last = None;
    let mut told = 0;
    let slots: BTreeSet<u32> =
        missing.keys().copied().chain((1..=all).filter(|n| !placed.contains(n))).collect();
    let total = slots.len();
    for n in slots {
        let Some(reason) = missing.get(&n).copied().or(last) else { continue };
        last = Some(reason);
        told += 1;
        if told == BLOCKED_ROWS_MAX && total > told {
            let more = total - told;
            let text = format!("{reason} (and {more} more after it)");
            rows.push(blocked_row(cluster, service, n, text));
            break;
        }
        rows.push(blocked_row(cluster, service, n, reason.to_string()));
    }
}

fn add_reason(row: &mut InstanceRow, text: &str) {
    if row.reason.contains(text) {
        return;
    }
    if !row.reason.is_empty() {
        row.reason.push_str("; ");
    }
    row.reason.push_str(text);
}
