//! What the reconciler has seen, put into the words of `control` and `dataplane`. Pure.

use crate::dataplane::{DataplaneState, Local};
use crate::stopping::Stopping;
use api::link::Publication;
use control::catalog::registrator;
use control::host::{Joined, Probe, SeenContainer};
use control::publish::exposure;
use dataplane::{LocalInstance, Run};
use engine::seen::SeenContainer as EngineContainer;
use model::health::Health;
use model::host_spec::BalancerPlacement;
use model::host_status::ProbeReport;
use model::id::{HostId, InstanceId};
use model::instance::{Goal, InstanceStatus, Phase};
use model::limits::EXPOSE_REFUSED_TOLD_MAX;
use model::plain::{ContainerId, PlainId};
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
    stopping: &Stopping,
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
            let stopping = running.is_some_and(|c| stopping.is(c));
            (id.clone(), LocalInstance { run, docker_health, stopping })
        })
        .collect()
}

/// What the dataplane is told of plain containers that are, or may soon be, served by balancers:
/// those with tags, and those that the view lists and that are no more. Nothing while they are not
/// known.
pub(crate) fn exposed(
    host: &HostId,
    known: Option<&BTreeMap<ContainerId, EngineContainer>>,
    view: Option<&HostView>,
    stopping: &Stopping,
) -> Local {
    let Some(known) = known else { return Local::new() };
    let listed = view.iter().flat_map(|view| view.instances.iter());
    let listed = listed.filter(|(id, one)| one.host == *host && exposure::is_plain(id));
    let mut local: Local = listed.map(|(id, _)| (id.clone(), LocalInstance::default())).collect();
    for (container, seen) in known {
        let id =
            exposure::id_of_plain(&PlainId { host: host.clone(), container: container.clone() });
        let Some(id) = id.filter(|id| local.contains_key(id) || has_tags(seen)) else { continue };
        let runs = seen.running() && !seen.paused();
        let run = runs.then(|| Run {
            started_at: seen.started_at.unwrap_or_default(),
            container_id: seen.id.clone(),
        });
        let docker_health = if runs { seen.docker_health } else { Health::Unchecked };
        local.insert(id, LocalInstance { run, docker_health, stopping: stopping.is(seen) });
    }
    local
}

fn has_tags(seen: &EngineContainer) -> bool {
    registrator::words(&seen.variables, &seen.labels).keys().any(|key| key.ends_with("tags"))
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
    let is_other =
        |id: &InstanceId| !publication.spec.instances.contains_key(id) && !exposure::is_plain(id);
    let others = state.report.probes.iter().filter(|(id, _)| is_other(id));
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
    let listeners = state.report.listeners.iter().filter(|(id, _)| !exposure::is_listener(id));
    for (id, status) in listeners.filter(|(_, status)| !status.ok) {
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

/// Ports of exposed services that cannot be listened on, and why.
pub(crate) fn expose_refused(
    view: Option<&HostView>,
    state: &DataplaneState,
) -> BTreeMap<String, String> {
    let refused = state.report.listeners.iter().filter_map(|(id, status)| {
        let listener = view?.listeners.get(id).filter(|_| exposure::is_listener(id))?;
        let port = format!("{}/{}", listener.port, listener.transport);
        (!status.ok && !status.error.is_empty()).then(|| (port, status.error.clone()))
    });
    refused.take(EXPOSE_REFUSED_TOLD_MAX).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use engine::seen::RunState;
    use model::view::{Admit, ViewInstance};

    #[test]
    fn plain_containers_with_tags_are_told_and_those_that_the_view_lists_and_are_gone() {
        let host: HostId = "h1".parse().unwrap();
        let id = |text: &str| exposure::id_of_plain(&text.parse().unwrap()).unwrap();
        let seen = |label: &str, state| EngineContainer {
            id: "c".into(),
            state,
            started_at: Some(Timestamp(5)),
            labels: [(label.to_owned(), "http".to_owned())].into(),
            ..EngineContainer::default()
        };
        let known: BTreeMap<ContainerId, EngineContainer> = [
            ("tagged", seen("SERVICE_TAGS", RunState::Running)),
            ("port", seen("SERVICE_80_TAGS", RunState::Paused)),
            ("other", seen("tier", RunState::Running)),
            ("listed", seen("tier", RunState::Running)),
        ]
        .into_iter()
        .map(|(id, seen)| (id.parse().unwrap(), seen))
        .collect();
        let instance = |host: &str| ViewInstance {
            address: std::net::Ipv4Addr::LOCALHOST,
            host: host.parse().unwrap(),
            admit: Admit::Active,
            check: None,
            probers: vec![],
            run: Timestamp::default(),
            ready_ports: vec![],
            running: true,
            health: Health::Unchecked,
            counted: false,
            nobody_healthy: None,
        };
        let mut view = HostView::empty("e1", &host);
        let of = [("h1/listed", "h1"), ("h1/gone", "h1"), ("h2/far", "h2")];
        let of = of.map(|(text, host)| (id(text), Arc::new(instance(host))));
        view.instances = Arc::new(of.into());
        let stopping = Stopping::default();
        let local = exposed(&host, Some(&known), Some(&view), &stopping);
        let told: BTreeMap<String, bool> =
            local.iter().map(|(id, one)| (id.service.to_string(), one.run.is_some())).collect();
        let wanted =
            [("h1/gone", false), ("h1/listed", true), ("h1/port", false), ("h1/tagged", true)];
        assert_eq!(told, wanted.map(|(text, runs)| (text.to_owned(), runs)).into());
        assert!(exposed(&host, None, Some(&view), &stopping).is_empty(), "not known is not gone");
    }
}
