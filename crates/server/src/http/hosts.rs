//! Hosts: show, cordon, drain, label, remove.

use super::extract::{self, Path};
use crate::members;
use crate::rows;
use crate::state::Shared;
use api::error::ErrorInfo;
use api::routes;
use api::wire::{Accepted, DrainRequest, HostDetail, HostRemoveQuery, HostRow};
use axum::Json;
use axum::extract::State;
use control::operate::{Refused, host as verbs};
use model::change::Proposal;
use model::cluster::Cluster;
use model::host::Host;
use model::id::HostId;
use model::limits::DRAIN_DEADLINE_MS_DEFAULT;
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Store;

/// A host id from a path.
fn host_id(text: &str) -> Result<HostId, ErrorInfo> {
    HostId::parse(text).map_err(|e| ErrorInfo::invalid(e.to_string()))
}

/// All hosts.
#[utoipa::path(get, path = routes::HOSTS, responses((status = 200, body = Vec<HostRow>)))]
pub(super) async fn list<S: Store>(State(shared): State<Shared<S>>) -> Json<Vec<HostRow>> {
    let cluster = shared.cluster();
    let now = shared.now();
    let row = |host: &Arc<Host>| {
        rows::host_row(&cluster, host, &members::trouble(&shared, &cluster, &host.id, now))
    };
    Json(cluster.hosts().map(row).collect())
}

/// One host with its instances, and what has not left it yet when it drains.
#[utoipa::path(get, path = routes::HOST, params(("host" = String, Path)),
    responses((status = 200, body = HostDetail)))]
pub(super) async fn show<S: Store>(
    State(shared): State<Shared<S>>,
    Path(host): Path<String>,
) -> Result<Json<HostDetail>, ErrorInfo> {
    let id = host_id(&host)?;
    let cluster = shared.cluster();
    let missing = || super::missing::host(&cluster, id.as_str());
    let trouble = members::trouble(&shared, &cluster, &id, shared.now());
    rows::host_detail(&cluster, &id, &trouble).map(Json).ok_or_else(missing)
}

async fn operate<S: Store>(
    shared: &Shared<S>,
    host: &str,
    decide: impl Fn(&Cluster, &HostId, Timestamp) -> Result<Proposal, Refused>,
) -> Result<Json<Accepted>, ErrorInfo> {
    let id = host_id(host)?;
    shared
        .propose(|cluster, now| {
            cluster.host(&id).ok_or_else(|| super::missing::host(cluster, id.as_str()))?;
            decide(cluster, &id, now).map_err(super::services::refused)
        })
        .await
        .map(Json)
}

/// It gets no new instances; what is there stays.
#[utoipa::path(post, path = routes::HOST_CORDON, params(("host" = String, Path)),
    responses((status = 200, body = Accepted)))]
pub(super) async fn cordon<S: Store>(
    State(shared): State<Shared<S>>,
    Path(host): Path<String>,
) -> Result<Json<Accepted>, ErrorInfo> {
    operate(&shared, &host, |cluster, id, _| Ok(verbs::cordon(cluster, id))).await
}

/// It gets instances again; a drain ends.
#[utoipa::path(post, path = routes::HOST_UNCORDON, params(("host" = String, Path)),
    responses((status = 200, body = Accepted)))]
pub(super) async fn uncordon<S: Store>(
    State(shared): State<Shared<S>>,
    Path(host): Path<String>,
) -> Result<Json<Accepted>, ErrorInfo> {
    operate(&shared, &host, |cluster, id, _| Ok(verbs::uncordon(cluster, id))).await
}

/// Its instances move to other hosts, none before another one has its place.
#[utoipa::path(post, path = routes::HOST_DRAIN, params(("host" = String, Path)),
    request_body = DrainRequest, responses((status = 200, body = Accepted)))]
pub(super) async fn drain<S: Store>(
    State(shared): State<Shared<S>>,
    Path(host): Path<String>,
    extract::OptionalJson(request): extract::OptionalJson<DrainRequest>,
) -> Result<Json<Accepted>, ErrorInfo> {
    let deadline = request.deadline_ms.unwrap_or(DRAIN_DEADLINE_MS_DEFAULT);
    let deadline = (deadline > 0).then_some(deadline);
    operate(&shared, &host, |cluster, id, now| {
        Ok(verbs::drain(cluster, id, deadline, request.force, now))
    })
    .await
}

/// Sets labels; those with null are taken away.
#[utoipa::path(post, path = routes::HOST_LABELS, params(("host" = String, Path)),
    request_body = BTreeMap<String, Option<String>>, responses((status = 200, body = Accepted)))]
pub(super) async fn label<S: Store>(
    State(shared): State<Shared<S>>,
    Path(host): Path<String>,
    extract::Json(labels): extract::Json<BTreeMap<String, Option<String>>>,
) -> Result<Json<Accepted>, ErrorInfo> {
    operate(&shared, &host, |cluster, id, _| verbs::label(cluster, id, &labels)).await
}

/// The host leaves the cluster: its agent is cut off, and its certificate is worth nothing.
#[utoipa::path(delete, path = routes::HOST, params(("host" = String, Path), HostRemoveQuery),
    responses((status = 200, body = Accepted)))]
pub(super) async fn remove<S: Store>(
    State(shared): State<Shared<S>>,
    Path(host): Path<String>,
    extract::Query(query): extract::Query<HostRemoveQuery>,
) -> Result<Json<Accepted>, ErrorInfo> {
    operate(&shared, &host, |cluster, id, _| verbs::remove(cluster, id, query.force)).await
}
