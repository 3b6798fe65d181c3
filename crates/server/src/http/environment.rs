//! The environment: what it is, what is done when a host joins, how packets get from host to host,
//! who may connect to whom, names in DNS, what of the catalog is exposed, and the order to make new
//! keys.

use super::extract;
use crate::rows;
use crate::state::Shared;
use api::error::ErrorInfo;
use api::routes;
use api::wire::{Accepted, EnvironmentRequest, ExposedRow, PolicyQuery};
use axum::Json;
use axum::extract::State;
use control::operate::network;
use control::policy;
use model::change::{Change, Edit, Proposal};
use model::consul_access::ConsulAccess;
use model::expose::Expose;
use model::host::{Environment, OverlayMode};
use model::policy::{InvalidPorts, PolicyPorts, PolicyVerdict};
use model::record::{Record, RecordKey};
use model::service::Transport;
use std::sync::Arc;
use store::Store;

fn none() -> ErrorInfo {
    ErrorInfo::unavailable("the environment has not been founded yet")
}

/// The environment.
#[utoipa::path(get, path = routes::ENVIRONMENT, responses((status = 200, body = Environment)))]
pub(super) async fn show<S: Store>(
    State(shared): State<Shared<S>>,
) -> Result<Json<Environment>, ErrorInfo> {
    let cluster = shared.cluster();
    cluster.environment().map(|known| Json((**known).clone())).ok_or_else(none)
}

/// Sets what is said of it; the rest stays.
#[utoipa::path(put, path = routes::ENVIRONMENT, request_body = EnvironmentRequest,
    responses((status = 200, body = Accepted)))]
pub(super) async fn put<S: Store>(
    State(shared): State<Shared<S>>,
    extract::Json(request): extract::Json<EnvironmentRequest>,
) -> Result<Json<Accepted>, ErrorInfo> {
    if let Some(policy) = &request.policy {
        policy.check().map_err(ErrorInfo::invalid)?;
    }
    if let Some(dns) = &request.dns {
        dns.check().map_err(ErrorInfo::invalid)?;
    }
    let expose = request.expose.clone().map(Expose::normal);
    if let Some(expose) = &expose {
        expose.check().map_err(ErrorInfo::invalid)?;
    }
    let answer = shared
        .propose(|cluster, now| {
            let known = cluster.environment().ok_or_else(none)?;
            let rebalance = request.rebalance.unwrap_or(known.rebalance);
            let overlay = request.overlay.unwrap_or(known.overlay);
            let mut keys = known.keys;
            if overlay != known.overlay {
                network::can_be(cluster, overlay).map_err(super::services::refused)?;
                // From here on they are used, and grow old.
                if overlay == OverlayMode::Wireguard {
                    keys.at = now;
                }
            }
            let policy = request.policy.as_ref().unwrap_or(&known.policy).clone();
            if request.rotate_keys {
                keys = network::next_keys(keys, now);
            }
            let dns = request.dns.as_ref().unwrap_or(&known.dns).clone();
            let expose = expose.as_ref().unwrap_or(&known.expose).clone();
            let consul = ConsulAccess {
                acl: request.acl.unwrap_or(known.consul.acl),
                containers: request.containers.unwrap_or(known.consul.containers),
            };
            let kept = (**known).clone();
            let next =
                Environment { rebalance, overlay, policy, keys, dns, expose, consul, ..kept };
            if next == **known {
                return Ok(Proposal::default());
            }
            let key = RecordKey::Environment;
            Ok(Proposal {
                reads: vec![(key.clone(), cluster.modified(&key))],
                change: Change { edits: vec![Edit::Put(Record::Environment(Arc::new(next)))] },
            })
        })
        .await?;
    Ok(Json(answer))
}

/// Services of the catalog that the hosts' balancers serve, and what keeps them from it.
#[utoipa::path(get, path = routes::EXPOSED, responses((status = 200, body = Vec<ExposedRow>)))]
pub(super) async fn exposed<S: Store>(State(shared): State<Shared<S>>) -> Json<Vec<ExposedRow>> {
    Json(rows::exposed_rows(&shared.cluster()))
}

/// What the network policy says of one connection, and which rule says it.
#[utoipa::path(get, path = routes::POLICY_VERDICT, params(PolicyQuery),
    responses((status = 200, body = PolicyVerdict)))]
pub(super) async fn verdict<S: Store>(
    State(shared): State<Shared<S>>,
    extract::Query(query): extract::Query<PolicyQuery>,
) -> Result<Json<PolicyVerdict>, ErrorInfo> {
    let invalid = |error: InvalidPorts| ErrorInfo::invalid(error.to_string());
    let port = match query.port.as_str() {
        "" => None,
        text => Some(text.parse::<PolicyPorts>().map_err(invalid)?),
    };
    if port.is_some_and(|port| port.first != port.last) {
        return Err(ErrorInfo::invalid("one connection has one port, not a range of them"));
    }
    let port = port.map(|port| (port.first, port.transport.unwrap_or(Transport::Tcp)));
    let verdict = policy::explain(&shared.cluster(), &query.from, &query.to, port);
    let hint = "services are stack/service, see `remuda ps`; containers by their name in Docker";
    verdict.map(Json).map_err(|why| ErrorInfo::not_found(why).hint(hint))
}
