//! Containers: seen, started, stopped, removed. What cannot have changed is not asked for twice.

use super::connection::Docker;
use super::plain;
use crate::error::{Error, Result, shown};
use crate::label;
use crate::moment;
use crate::reference::path_safe;
use crate::seen::{RunState, SeenContainer};
use crate::signal;
use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryStateEnum, HealthStatusEnum,
};
use bollard::query_parameters::{
    KillContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use model::health::Health;
use model::limits;
use std::collections::{BTreeMap, HashMap, HashSet};

impl Docker {
    pub(super) async fn list_containers(&self, owner: &str) -> Result<Vec<SeenContainer>> {
        let events = self.looks().events;
        let filters =
            HashMap::from([("label".to_owned(), vec![format!("{}={owner}", label::ENVIRONMENT)])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let summaries = self
            .call("list containers", self.deadlines().call_ms, |client| async move {
                client.bollard.list_containers(Some(options)).await
            })
            .await?;
        let listed: HashSet<String> = summaries.iter().filter_map(|s| s.id.clone()).collect();
        let mut found: Vec<SeenContainer> = stream::iter(summaries)
            .map(|summary| self.look(summary, events))
            .buffer_unordered(limits::ENGINE_INSPECTS_PARALLEL_MAX)
            .try_filter_map(|seen| async move { Ok(seen) })
            .try_collect()
            .await?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let ours = |seen: &SeenContainer| seen.owner.as_deref() == Some(owner);
        self.looks().known.retain(|id, (_, seen)| !ours(seen) || listed.contains(id));
        Ok(found)
    }

    /// A listed container in full: as it was seen before when nothing can have changed since.
    pub(super) async fn look(
        &self,
        summary: ContainerSummary,
        events: u64,
    ) -> Result<Option<SeenContainer>> {
        let Some(id) = summary.id.as_deref() else { return Ok(None) };
        let print = print(&summary);
        if let Some(print) = &print
            && let Some((for_print, seen)) = self.looks().known.get(id)
            && for_print == print
        {
            return Ok(Some(seen.clone()));
        }
        let seen = self.inspect_container(id).await?;
        if let (Some(print), Some(seen)) = (print, &seen)
            && seen.state == RunState::Running
        {
            let mut looks = self.looks();
            if looks.events == events {
                looks.known.insert(id.to_owned(), (print, seen.clone()));
            }
        }
        Ok(seen)
    }

    /// Something happened to a container. Docker tells of an end before its list shows it, while
    /// inspect waits until all is settled: the next `list` must ask it.
    pub(super) fn forget_look(&self, id: &str) {
        let mut looks = self.looks();
        looks.events += 1;
        looks.known.remove(id);
    }

    pub(super) async fn inspect_container(&self, id: &str) -> Result<Option<SeenContainer>> {
        Ok(self.inspect_raw(id).await?.map(from_inspect))
    }

    pub(super) async fn inspect_raw(&self, id: &str) -> Result<Option<ContainerInspectResponse>> {
        let id = path_safe("container", id)?;
        let answer = self
            .call(
                &format!("inspect container {id}"),
                self.deadlines().call_ms,
                |client| async move { client.bollard.inspect_container(id, None).await },
            )
            .await;
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn start_container(&self, id: &str) -> Result<()> {
        let id = path_safe("container", id)?;
        // 304 (runs already) is a success to bollard.
        self.call(
            &format!("start container {id}"),
            self.deadlines().container_ms,
            |client| async move { client.bollard.start_container(id, None).await },
        )
        .await
    }

    pub(super) async fn stop_container(&self, id: &str, grace_ms: u64) -> Result<()> {
        let id = path_safe("container", id)?;
        let seconds = i32::try_from(grace_ms.div_ceil(1_000)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let deadline_ms = grace_ms.saturating_add(self.deadlines().stop_slack_ms);
        let answer = self
            .call(&format!("stop container {id}"), deadline_ms, |client| async move {
                client.bollard.stop_container(id, Some(options)).await
            })
            .await;
        absent_is_fine(answer)
    }

    pub(super) async fn kill_container(&self, id: &str, signal: &str) -> Result<()> {
        let id = path_safe("container", id)?;
        let signal = path_safe("signal", signal)?;
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let answer = self
            .call(
                &format!("send {signal} to container {id}"),
                self.deadlines().call_ms,
                |client| async move { client.bollard.kill_container(id, Some(options)).await },
            )
            .await;
        match answer {
            // 409: it does not run.
            Err(Error::Docker { status: 409, .. }) => Ok(()),
            other => absent_is_fine(other),
        }
    }

    pub(super) async fn remove_container(&self, id: &str) -> Result<()> {
        let id = path_safe("container", id)?;
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let answer = self
            .call(
                &format!("remove container {id}"),
                self.deadlines().container_ms,
                |client| async move { client.bollard.remove_container(id, Some(options)).await },
            )
            .await;
        match answer {
            // Somebody else is at it already.
            Err(Error::Docker { status: 409, message, .. }) if message.contains("in progress") => {}
            other => absent_is_fine(other)?,
        }
        self.drop_files_of(id).await
    }
}

fn absent_is_fine(answer: Result<()>) -> Result<()> {
    match answer {
        Err(Error::NotFound { .. }) => Ok(()),
        other => other,
    }
}

/// What must differ in the list's answer when a running container is not what it was: each start
/// makes new endpoints, and the status text tells health and pause. `None` when the list does not
/// tell enough: stopped, failing its checks, or without an endpoint.
fn print(summary: &ContainerSummary) -> Option<String> {
    if summary.state != Some(ContainerSummaryStateEnum::RUNNING) {
        return None;
    }
    let status = summary.status.as_deref().unwrap_or_default();
    let verdict = status.rsplit_once('(').map_or("", |(_, verdict)| verdict);
    if !matches!(verdict, "" | "healthy)") {
        return None;
    }
    let networks = summary.network_settings.as_ref()?.networks.as_ref()?;
    let mut endpoints = vec![];
    for (name, endpoint) in networks {
        let id = endpoint.endpoint_id.as_deref().filter(|id| !id.is_empty())?;
        let address = endpoint.ip_address.as_deref().unwrap_or_default();
        endpoints.push(format!("{name}={id}={address}"));
    }
    if endpoints.is_empty() {
        return None;
    }
    endpoints.sort();
    let names = summary.names.as_deref().unwrap_or_default().join(",");
    Some(format!("{verdict} {names} {}", endpoints.join(" ")))
}

pub(super) fn from_inspect(found: ContainerInspectResponse) -> SeenContainer {
    let ports = plain::ports(&found);
    let config = found.config.unwrap_or_default();
    let labels: BTreeMap<String, String> = config.labels.unwrap_or_default().into_iter().collect();
    let addresses = found
        .network_settings
        .and_then(|settings| settings.networks)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(name, endpoint)| Some((name, endpoint.ip_address?.parse().ok()?)))
        .collect();
    let host = found.host_config.unwrap_or_default();
    let mut seen = SeenContainer {
        id: found.id.unwrap_or_default(),
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        owner: labels.get(label::ENVIRONMENT).cloned(),
        instance: labels.get(label::INSTANCE).cloned(),
        labels,
        image: config.image.unwrap_or_default(),
        image_id: found.image.unwrap_or_default(),
        created_at: found.created.as_deref().and_then(moment::parse),
        addresses,
        network_mode: host.network_mode.unwrap_or_default(),
        pid_mode: host.pid_mode.unwrap_or_default(),
        ipc_mode: host.ipc_mode.unwrap_or_default(),
        hostname: config.hostname.unwrap_or_default(),
        stop_signal: config.stop_signal.as_deref().and_then(signal::number),
        ports,
        variables: plain::variables(&config.env.unwrap_or_default()),
        restart_count: found.restart_count.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        ..SeenContainer::default()
    };
    let own = |path: Option<String>, name| plain::own_file(&path?, &seen.id, name);
    let (resolv_conf, hosts) =
        (own(found.resolv_conf_path, "resolv.conf"), own(found.hosts_path, "hosts"));
    (seen.resolv_conf, seen.hosts) = (resolv_conf, hosts);
    if let Some(state) = found.state {
        add_state(&mut seen, state);
    }
    seen
}

fn add_state(seen: &mut SeenContainer, state: ContainerState) {
    seen.state = run_state(&state);
    seen.pid = state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    seen.started_at = state.started_at.as_deref().and_then(moment::parse);
    seen.finished_at = state.finished_at.as_deref().and_then(moment::parse);
    seen.oom_killed = state.oom_killed.unwrap_or(false);
    seen.error = shown(&state.error.unwrap_or_default());
    // A container that could not be started has an exit code without having ended.
    if !seen.running() && (seen.finished_at.is_some() || !seen.error.is_empty()) {
        seen.exit_code = state.exit_code;
    }
    if let Some(health) = state.health {
        seen.docker_health = match health.status {
            None | Some(HealthStatusEnum::EMPTY | HealthStatusEnum::NONE) => Health::Unchecked,
            Some(HealthStatusEnum::STARTING) => Health::Initializing,
            Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
            Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
        };
        let last = health.log.and_then(|log| log.into_iter().last());
        seen.health_output = shown(&last.and_then(|check| check.output).unwrap_or_default());
    }
}

fn run_state(state: &ContainerState) -> RunState {
    match state.status {
        Some(ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING) => {
            RunState::Running
        }
        Some(ContainerStateStatusEnum::PAUSED) => RunState::Paused,
        Some(ContainerStateStatusEnum::RESTARTING) => RunState::Restarting,
        Some(ContainerStateStatusEnum::REMOVING) => RunState::Removing,
        Some(ContainerStateStatusEnum::EXITED) => RunState::Exited,
        Some(ContainerStateStatusEnum::DEAD) => RunState::Dead,
        Some(ContainerStateStatusEnum::CREATED) => RunState::Created,
        None | Some(ContainerStateStatusEnum::EMPTY) => {
            if state.running.unwrap_or(false) {
                RunState::Running
            } else {
                RunState::Exited
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(json: &str) -> ContainerSummary {
        serde_json::from_str(json).unwrap()
    }

    fn running(status: &str, endpoint: &str) -> ContainerSummary {
        summary(&format!(
            r#"{{"Id":"1","Names":["/a"],"State":"running","Status":"{status}",
            "NetworkSettings":{{"Networks":{{"n":{{"EndpointID":"{endpoint}","IPAddress":""}}}}}}}}"#
        ))
    }

    #[test]
    fn a_print_changes_with_what_matters_and_only_with_that() {
        let at = print(&running("Up 2 minutes", "e1"));
        assert!(at.is_some());
        assert_eq!(at, print(&running("Up 3 minutes", "e1")), "time alone is no change");
        assert_ne!(at, print(&running("Up 2 minutes", "e2")), "a restart is");
        assert_ne!(at, print(&running("Up 2 minutes (healthy)", "e1")), "a verdict is");
        for unsure in
            ["Up 1 second (health: starting)", "Up 1 hour (unhealthy)", "Up 1 hour (Paused)"]
        {
            assert_eq!(print(&running(unsure, "e1")), None, "{unsure}");
        }
        assert_eq!(print(&running("Up 2 minutes", "")), None);
        assert_eq!(print(&summary(r#"{"Id":"1","State":"exited"}"#)), None);
    }

    #[test]
    fn a_container_that_never_ran_has_no_exit_code() {
        let seen = from_inspect(
            serde_json::from_str(
                r#"{"Id":"1","Name":"/a","State":{"Status":"created","ExitCode":0,
                "StartedAt":"0001-01-01T00:00:00Z","FinishedAt":"0001-01-01T00:00:00Z"}}"#,
            )
            .unwrap(),
        );
        assert_eq!((seen.exit_code, seen.started_at, seen.finished_at), (None, None, None));
        assert_eq!((seen.name.as_str(), seen.state), ("a", RunState::Created));
    }

    #[test]
    fn a_failing_healthcheck_shows_what_it_wrote_last() {
        let seen = from_inspect(
            serde_json::from_str(
                r#"{"Id":"1","State":{"Status":"running","Pid":7,"Health":{"Status":"unhealthy",
                "Log":[{"ExitCode":0,"Output":"old"},{"ExitCode":1,"Output":"connection refused\n"}]}}}"#,
            )
            .unwrap(),
        );
        assert_eq!(seen.docker_health, Health::Unhealthy);
        assert_eq!(seen.health_output, "connection refused");
        assert_eq!((seen.pid, seen.running(), seen.exit_code), (Some(7), true, None));
    }
}
