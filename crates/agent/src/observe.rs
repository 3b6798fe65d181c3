//! What the reconciler has seen, put into the words of `control` and `dataplane`. Pure.

use crate::dataplane::{DataplaneState, Local};
use api::link::Publication;
use control::host::{Joined, Probe, SeenContainer};
use dataplane::{LocalInstance, Run};
use engine::seen::SeenContainer as EngineContainer;
use model::health::Health;
use model::host_spec::BalancerPlacement;
use model::host_status::ProbeReport;
use model::id::InstanceId;
use model::instance::{Goal, InstanceStatus, Phase};
use model::time::{Index, Timestamp};
use model::view::{HostView, ListenerMode};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A container of the engine in the words of the planner.
pub(crate) fn container(seen: &EngineContainer) -> SeenContainer {
    SeenContainer {
        id: seen.id.clone(),
        running: seen.running(),
        started_at: seen.started_at,
        finished_at: seen.finished_at,
        exit_code: seen.exit_code,
        oom_killed: seen.oom_killed,
        docker_health: seen.docker_health,
        health_output: seen.health_output.clone(),
        image_id: seen.image_id.clone(),
        joined: Joined {
            network: joined(&seen.network_mode),
            pid: joined(&seen.pid_mode),
            ipc: joined(&seen.ipc_mode),
        },
    }
}

/// The container of `container:<id>`.
fn joined(mode: &str) -> String {
    mode.strip_prefix("container:").unwrap_or_default().to_owned()
}

/// What the dataplane is told of the containers. One that is not plugged in answers nobody.
pub(crate) fn local<'a>(
    containers: impl Iterator<Item = (&'a InstanceId, &'a Vec<Arc<EngineContainer>>)>,
    unplugged: &BTreeSet<&str>,
) -> Local {
    containers
        .map(|(id, all)| {
            // One that is paused answers nobody until it goes on.
            let of = |c: &EngineContainer| joined(&c.network_mode);
            let is_plugged = |c: &EngineContainer| {
                !unplugged.contains(c.id.as_str()) && !unplugged.contains(of(c).as_str())
            };
            let running = all.iter().find(|c| c.running() && !c.paused() && is_plugged(c));
            let run = running.map(|c| Run {
                started_at: c.started_at.unwrap_or_default(),
                container_id: c.id.clone(),
            });
            let docker_health = running.map_or(Health::Unchecked, |c| c.docker_health);
            (id.clone(), LocalInstance { run, docker_health })
        })
        .collect()
}

/// Somebody froze the container that runs: what to do.
pub(crate) fn paused(containers: &[Arc<EngineContainer>]) -> Option<String> {
    let frozen = containers.iter().find(|c| c.running()).filter(|c| c.paused())?;
    Some(format!("its container is paused: `docker unpause {}` lets it go on", frozen.name))
}

/// The dataplane's verdict of the run that is seen; an older run's verdict is none.
pub(crate) fn probe(
    state: &DataplaneState,
    id: &InstanceId,
    started_at: Option<Timestamp>,
) -> Option<Probe> {
    let verdict = state.report.probes.get(id)?;
    (Some(verdict.run_started_at) == started_at)
        .then(|| Probe { health: verdict.health, detail: verdict.detail.clone() })
}

/// What the dataplane found of instances on other hosts; nothing while it does not answer.
pub(crate) fn probes_of_others(
    publication: Option<&Publication>,
    state: &DataplaneState,
) -> BTreeMap<InstanceId, ProbeReport> {
    let Some(publication) = publication.filter(|_| state.problem.is_empty()) else {
        return BTreeMap::new();
    };
    let others =
        state.report.probes.iter().filter(|(id, _)| !publication.spec.instances.contains_key(*id));
    others
        .map(|(id, verdict)| {
            let (health, detail) = (verdict.health, verdict.detail.clone());
            (id.clone(), ProbeReport { health, detail, run: verdict.run_started_at })
        })
        .collect()
}

/// Host ports that cannot be bound, by the instance that they lead to.
pub(crate) fn port_troubles(
    view: Option<&HostView>,
    state: &DataplaneState,
) -> BTreeMap<InstanceId, String> {
    let mut troubles = BTreeMap::new();
    let Some(view) = view else { return troubles };
    for (id, status) in state.report.listeners.iter().filter(|(_, status)| !status.ok) {
        let Some(listener) = view.listeners.get(id) else { continue };
        let (ListenerMode::Forward { upstream } | ListenerMode::Port { upstream }) = &listener.mode
        else {
            continue;
        };
        let Some(upstream) = view.upstreams.get(upstream) else { continue };
        for endpoint in &upstream.endpoints {
            let text = format!("port {}/{}: {}", listener.port, listener.transport, status.error);
            troubles.insert(endpoint.instance.clone(), text);
        }
    }
    troubles
}

/// The status of a balancer: its listeners are its process.
pub(crate) fn balancer(
    placement: &BalancerPlacement,
    state: &DataplaneState,
    view: Index,
    now: Timestamp,
) -> InstanceStatus {
    let in_force = state.report.view >= view && state.problem.is_empty();
    let (phase, reason) = if placement.goal == Goal::Run {
        let failed = placement.listeners.iter().find_map(|id| {
            let status = state.report.listeners.get(id).filter(|status| !status.ok)?;
            Some(format!("port {id}: {}", status.error))
        });
        let missing =
            placement.listeners.iter().find(|id| !state.report.listeners.contains_key(*id));
        match (failed, missing) {
            _ if !state.problem.is_empty() => {
                (Phase::Starting, format!("dataplane: {}", state.problem))
            }
            (Some(why), _) => (Phase::Failed, why),
            (None, Some(_)) => (Phase::Starting, String::new()),
            (None, None) => (Phase::Running, String::new()),
        }
    } else if in_force {
        (Phase::Absent, String::new())
    } else {
        (Phase::Draining, String::new())
    };
    InstanceStatus { phase, reason, changed_at: now, ..InstanceStatus::default() }
}

/// A status keeps the time of its last change while phase and health stay.
pub(crate) fn keep_time(
    before: Option<&InstanceStatus>,
    mut new: InstanceStatus,
) -> InstanceStatus {
    if let Some(before) = before
        && before.phase == new.phase
        && before.health == new.health
    {
        new.changed_at = before.changed_at;
    }
    new
}
