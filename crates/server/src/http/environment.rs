//! The environment: what it is, what is done when a host joins, how packets get from host to host.

use super::extract;
use crate::state::Shared;
use api::error::ErrorInfo;
use api::routes;
use api::wire::{Accepted, EnvironmentRequest};
use axum::Json;
use axum::extract::State;
use control::operate::network;
use model::change::{Change, Edit, Proposal};
use model::host::Environment;
use model::record::{Record, RecordKey};
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
    let answer = shared
        .propose(|cluster, _| {
            let known = cluster.environment().ok_or_else(none)?;
            let rebalance = request.rebalance.unwrap_or(known.rebalance);
            let overlay = request.overlay.unwrap_or(known.overlay);
            if overlay != known.overlay {
                network::can_be(cluster, overlay).map_err(super::services::refused)?;
            }
            let next = Environment { rebalance, overlay, ..(**known).clone() };
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
