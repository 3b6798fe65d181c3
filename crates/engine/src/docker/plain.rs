//! Containers that are nobody's of ours: listed, connected to a network, and never started,
//! stopped or removed.

use super::connection::Docker;
use crate::error::{Error, Result};
use crate::label;
use crate::reference::path_safe;
use crate::seen::{PlainList, SeenContainer};
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, EndpointIpamConfig,
    EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest,
};
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::{StreamExt, TryStreamExt, stream};
use model::limits;
use model::plain::{PlainPort, asks_for_network, is_told};
use model::service::Transport;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// Docker's network for those that have none.
const NONE: &str = "none";

impl Docker {
    pub(super) async fn plain_containers(&self) -> Result<PlainList> {
        let events = self.looks().events;
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let summaries = self
            .call("list all containers", self.deadlines().call_ms, |client| async move {
                client.bollard.list_containers(Some(options)).await
            })
            .await?;
        let (listed, left_out) = choose(summaries);
        let ids: HashSet<String> = listed.iter().filter_map(|s| s.id.clone()).collect();
        let mut containers: Vec<SeenContainer> = stream::iter(listed)
            .map(|summary| self.look(summary, events))
            .buffer_unordered(limits::ENGINE_INSPECTS_PARALLEL_MAX)
            .try_filter_map(|seen| async move { Ok(seen) })
            .try_collect()
            .await?;
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        self.looks().known.retain(|id, (_, seen)| seen.owner.is_some() || ids.contains(id));
        Ok(PlainList { containers, left_out })
    }

    pub(super) async fn connect_container(
        &self,
        id: &str,
        network: &str,
        address: Ipv4Addr,
    ) -> Result<()> {
        let id = path_safe("container", id)?;
        let network = path_safe("network name", network)?;
        let operation = format!("connect container {id} to network {network}");
        let Some(seen) = self.inspect_raw(id).await? else {
            let message = format!("No such container: {id}");
            return Err(Error::NotFound { operation, message });
        };
        let there = endpoints(&seen);
        match there.get(network) {
            Some(known) if *known == Some(address) => return Ok(()),
            Some(_) => self.disconnect_container(id, network).await?,
            None => {}
        }
        // Docker refuses any other network beside this one.
        if there.contains_key(NONE) {
            self.disconnect_container(id, NONE).await?;
        }
        let ipam = EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        };
        let request = NetworkConnectRequest {
            container: id.to_owned(),
            endpoint_config: Some(EndpointSettings {
                ipam_config: Some(ipam),
                ..EndpointSettings::default()
            }),
        };
        let answer = self
            .call(&operation, self.deadlines().container_ms, |client| async move {
                client.bollard.connect_network(network, request).await
            })
            .await;
        self.forget_look(id);
        answer
    }

    pub(super) async fn disconnect_container(&self, id: &str, network: &str) -> Result<()> {
        let id = path_safe("container", id)?;
        let network = path_safe("network name", network)?;
        let request = NetworkDisconnectRequest { container: id.to_owned(), force: None };
        let answer = self
            .call(
                &format!("disconnect container {id} from network {network}"),
                self.deadlines().container_ms,
                |client| async move { client.bollard.disconnect_network(network, request).await },
            )
            .await;
        self.forget_look(id);
        match answer {
            Err(Error::NotFound { .. }) => Ok(()),
            Err(Error::Docker { message, .. }) if message.contains("is not connected") => Ok(()),
            other => other,
        }
    }
}

/// The networks that a container is in, with the address that it has or is to have there.
fn endpoints(seen: &ContainerInspectResponse) -> BTreeMap<String, Option<Ipv4Addr>> {
    let networks = seen.network_settings.as_ref().and_then(|all| all.networks.as_ref());
    let address = |endpoint: &EndpointSettings| {
        // What is fixed comes back after a restart; what Docker chose may not.
        endpoint.ipam_config.as_ref()?.ipv4_address.as_ref()?.parse().ok()
    };
    let each = networks.into_iter().flatten();
    each.map(|(name, endpoint)| (name.clone(), address(endpoint))).collect()
}

/// Those that are nobody's of ours and run, or ask for the managed network; when they are too many,
/// those that ask and then the newest ones. The number is of those that are left out.
fn choose(all: Vec<ContainerSummary>) -> (Vec<ContainerSummary>, usize) {
    let asks = |summary: &ContainerSummary| {
        let labels = summary.labels.iter().flatten();
        asks_for_network(&labels.map(|(k, v)| (k.clone(), v.clone())).collect())
    };
    let is_ours = |summary: &ContainerSummary| {
        summary.labels.as_ref().is_some_and(|labels| labels.contains_key(label::ENVIRONMENT))
    };
    let is_up = |summary: &ContainerSummary| {
        use ContainerSummaryStateEnum as State;
        matches!(summary.state, Some(State::RUNNING | State::PAUSED | State::RESTARTING))
    };
    let mut found: Vec<(bool, ContainerSummary)> = all
        .into_iter()
        .filter(|summary| !is_ours(summary))
        .map(|summary| (asks(&summary), summary))
        .filter(|(asks, summary)| *asks || is_up(summary))
        .collect();
    found.sort_by_key(|(asks, one)| (!asks, std::cmp::Reverse(one.created), one.id.clone()));
    let left_out = found.len().saturating_sub(limits::PLAIN_CONTAINERS_MAX);
    found.truncate(limits::PLAIN_CONTAINERS_MAX);
    (found.into_iter().map(|(_, summary)| summary).collect(), left_out)
}

/// Ports of a container: published ones, and those that are only exposed.
pub(super) fn ports(seen: &ContainerInspectResponse) -> Vec<PlainPort> {
    let read = |text: &str| {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return None,
        };
        Some((number.parse::<u16>().ok()?, protocol))
    };
    let mut ports: BTreeSet<PlainPort> = BTreeSet::new();
    let published = seen.network_settings.as_ref().and_then(|all| all.ports.as_ref());
    for (text, bindings) in published.into_iter().flatten() {
        let Some((container_port, protocol)) = read(text) else { continue };
        for binding in bindings.iter().flatten() {
            let host_port = binding.host_port.as_ref().and_then(|port| port.parse().ok());
            let ip = binding.host_ip.as_ref().and_then(|ip| ip.parse::<IpAddr>().ok());
            let host_ip = ip.filter(|ip| !ip.is_unspecified());
            ports.insert(PlainPort { container_port, protocol, host_port, host_ip });
        }
    }
    let exposed = seen.config.as_ref().and_then(|config| config.exposed_ports.as_ref());
    for text in exposed.into_iter().flatten() {
        let Some((container_port, protocol)) = read(text) else { continue };
        let known = |p: &PlainPort| (p.container_port, p.protocol) == (container_port, protocol);
        if !ports.iter().any(known) {
            ports.insert(PlainPort { container_port, protocol, host_port: None, host_ip: None });
        }
    }
    ports.into_iter().collect()
}

/// Those environment variables that may leave the host; of the others not even the names are kept.
pub(super) fn variables(environment: &[String]) -> BTreeMap<String, String> {
    let pairs = environment.iter().filter_map(|text| text.split_once('='));
    let told = pairs.filter(|(name, _)| is_told(name));
    told.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Docker's own file of the container, or nothing: a file that the user put there is his.
pub(super) fn own_file(path: &str, id: &str, name: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let end = Path::new("containers").join(id).join(name);
    (path.is_absolute() && !id.is_empty() && path.ends_with(end)).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::plain::LABEL_NETWORK;

    fn summary(id: &str, state: &str, created: i64, labels: &str) -> ContainerSummary {
        let text = format!(
            r#"{{"Id":"{id}","State":"{state}","Created":{created},"Labels":{{{labels}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_runs_or_asks_is_listed_and_nothing_of_ours() {
        let asks = format!("\"{LABEL_NETWORK}\":\"true\"");
        let ours = format!("\"{}\":\"e1\"", label::ENVIRONMENT);
        let all = vec![
            summary("a", "running", 1, ""),
            summary("b", "exited", 2, ""),
            summary("c", "exited", 3, &asks),
            summary("d", "running", 4, &ours),
            summary("e", "paused", 5, "\"x\":\"y\""),
        ];
        let (found, left_out) = choose(all);
        let ids: Vec<_> = found.iter().filter_map(|one| one.id.as_deref()).collect();
        assert_eq!((ids, left_out), (vec!["c", "e", "a"], 0));
    }

    #[test]
    fn of_too_many_those_stay_that_ask_and_then_the_newest() {
        let asks = format!("\"{LABEL_NETWORK}\":\"true\"");
        let max = i64::try_from(limits::PLAIN_CONTAINERS_MAX).unwrap();
        let many = (1..=max + 3).map(|n| summary(&format!("c{n}"), "running", n, ""));
        let (found, left_out) = choose(many.chain([summary("old", "running", 0, &asks)]).collect());
        assert_eq!((found.len(), left_out), (limits::PLAIN_CONTAINERS_MAX, 4));
        assert_eq!(found[0].id.as_deref(), Some("old"));
        assert_eq!(found.last().unwrap().id.as_deref(), Some("c5"));
    }

    #[test]
    fn ports_are_those_that_are_published_and_those_that_are_exposed() {
        let seen: ContainerInspectResponse = serde_json::from_str(
            r#"{"Config":{"ExposedPorts":{"80/tcp":{},"81/tcp":{},"82/sctp":{}}},
            "NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"},
            {"HostIp":"::","HostPort":"8080"},{"HostIp":"127.0.0.1","HostPort":"9"}],
            "81/tcp":null,"53/udp":[{"HostIp":"","HostPort":"5353"}]}}}"#,
        )
        .unwrap();
        let told: Vec<String> = ports(&seen)
            .iter()
            .map(|p| {
                format!("{}/{} {:?} {:?}", p.container_port, p.protocol, p.host_port, p.host_ip)
            })
            .collect();
        assert_eq!(
            told,
            [
                "53/udp Some(5353) None",
                "80/tcp Some(9) Some(127.0.0.1)",
                "80/tcp Some(8080) None",
                "81/tcp None None",
            ]
        );
    }

    #[test]
    fn only_docker_s_own_file_is_written() {
        let id = "0123abcd";
        let own = format!("/var/lib/docker/containers/{id}/resolv.conf");
        assert!(own_file(&own, id, "resolv.conf").is_some());
        assert_eq!(own_file(&own, id, "hosts"), None);
        for (path, id) in [
            ("/etc/resolv.conf", id),
            ("/var/lib/docker/containers/other/resolv.conf", id),
            ("containers/0123abcd/resolv.conf", id),
            (own.as_str(), ""),
            ("", id),
        ] {
            assert_eq!(own_file(path, id, "resolv.conf"), None, "{path}");
        }
    }

    #[test]
    fn of_the_environment_only_registrator_s_words_are_read() {
        let all = ["SERVICE_NAME=web", "PASSWORD=x", "SERVICE_DB_PASSWORD=y", "BROKEN"];
        let told = variables(&all.map(ToOwned::to_owned));
        assert_eq!(told.into_iter().collect::<Vec<_>>(), [("SERVICE_NAME".into(), "web".into())]);
    }
}
