//! The environment: what it is, and what is done when a host joins.

use super::extract;
use crate::state::Shared;
use api::error::ErrorInfo;
use api::routes;
use api::wire::{Accepted, RebalanceRequest};
use axum::Json;
use axum::extract::State;
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

/// Sets what is done when a host joins.
#[utoipa::path(put, path = routes::ENVIRONMENT, request_body = RebalanceRequest,
    responses((status = 200, body = Accepted)))]
pub(super) async fn put<S: Store>(
    State(shared): State<Shared<S>>,
    extract::Json(request): extract::Json<RebalanceRequest>,
) -> Result<Json<Accepted>, ErrorInfo> {
    let answer = shared
        .propose(|cluster, _| {
            let known = cluster.environment().ok_or_else(none)?;
            if known.rebalance == request.rebalance {
                return Ok(Proposal::default());
            }
            let next = Environment { rebalance: request.rebalance, ..(**known).clone() };
            let key = RecordKey::Environment;
            Ok(Proposal {
                reads: vec![(key.clone(), cluster.modified(&key))],
                change: Change { edits: vec![Edit::Put(Record::Environment(Arc::new(next)))] },
            })
        })
        .await?;
    Ok(Json(answer))
}
