//! The View and what is served of it in the words of the proxy, and back. Pure.

use crate::effective::{Effective, ServedEndpoint, Turn, health_here};
use crate::metadata::{Seen, SeenHere};
use crate::protocol::{ListenerStatus, Local, Probes, Report};
use crate::proxy::{EndpointConfig, EndpointState, ProxyConfig, ProxyStatus, UpstreamConfig};
use model::host_status::Requests;
use model::id::InstanceId;
use model::limits::PROXY_STOP_MS_MAX;
use model::time::Index;
use model::view::HostView;
use std::collections::BTreeSet;
use std::time::Duration;

/// What the proxy is told.
pub(crate) fn proxy_config(view: &HostView, served: &Effective) -> ProxyConfig {
    let upstreams = view.upstreams.iter().map(|(id, upstream)| {
        let endpoints = served.upstreams.get(id).map_or(&[][..], Vec::as_slice);
        let config = UpstreamConfig {
            endpoints: endpoints.iter().map(endpoint).collect(),
            connect_timeout: Duration::from_millis(upstream.connect_timeout_ms),
            drain: Duration::from_millis(upstream.drain_ms),
            stop: Duration::from_millis(PROXY_STOP_MS_MAX),
            balance: upstream.balance,
            outlier: upstream.outlier,
        };
        (id.clone(), config)
    });
    ProxyConfig { listeners: view.listeners.clone(), upstreams: upstreams.collect() }
}

fn endpoint(served: &ServedEndpoint) -> EndpointConfig {
    EndpointConfig {
        key: served.instance.to_string(),
        run: u64::try_from(served.run.0).unwrap_or(0),
        addr: served.addr.into(),
        weight: served.weight,
        state: match served.turn {
            Turn::Up => EndpointState::Up,
            Turn::Doubtful => EndpointState::Doubtful,
            Turn::Draining => EndpointState::Draining,
            Turn::Down => EndpointState::Down,
        },
    }
}

/// What is reported, once the view of `in_force` is.
pub(crate) fn report(
    view: Option<&HostView>,
    in_force: Index,
    served: &Effective,
    probes: &Probes,
    status: &ProxyStatus,
    requests: Option<&Requests>,
    asked: BTreeSet<String>,
) -> Report {
    let listed = status.listeners.iter();
    let listeners = listed
        .filter(|(id, _)| view.is_some_and(|view| view.listeners.contains_key(*id)))
        .map(|(id, status)| {
            let error = status.error.clone().unwrap_or_default();
            let ok = error.is_empty() && !status.bound.is_empty();
            (id.clone(), ListenerStatus { ok, error })
        });
    let endpoints = served.upstreams.values().flatten();
    let taking: BTreeSet<&InstanceId> =
        endpoints.filter(|e| takes(e.turn)).map(|e| &e.instance).collect();
    let active = status.in_flight.iter().filter_map(|(key, count)| {
        let id: InstanceId = key.parse().ok()?;
        (!taking.contains(&id)).then_some((id, *count))
    });
    Report {
        view: in_force,
        probes: probes.clone(),
        listeners: listeners.collect(),
        active: active.collect(),
        requests: requests.cloned(),
        asked,
        // Whoever encrypts, and who keeps floating addresses, say so themselves.
        ..Report::default()
    }
}

/// What is known of the containers of this host, for who asks for metadata.
pub(crate) fn seen_here(view: &HostView, local: &Local, probes: &Probes) -> SeenHere {
    let all = local.iter().filter_map(|(id, one)| {
        let health = health_here(view, id, local, probes)?;
        let run = one.run.as_ref();
        let started_at = run.map(|run| run.started_at).unwrap_or_default();
        let container_id = run.map(|run| run.container_id.clone());
        Some((id.clone(), Seen { container_id, started_at, health }))
    });
    all.collect()
}

/// Keys of the endpoints whose requests the view wants counted.
pub(crate) fn counted(view: &HostView, served: &Effective) -> BTreeSet<String> {
    let endpoints = served.upstreams.values().flatten().map(|endpoint| &endpoint.instance);
    let counted = |id: &&InstanceId| view.instances.get(*id).is_some_and(|one| one.counted);
    endpoints.filter(counted).map(ToString::to_string).collect()
}

/// Does it take new requests?
fn takes(turn: Turn) -> bool {
    matches!(turn, Turn::Up | Turn::Doubtful)
}
