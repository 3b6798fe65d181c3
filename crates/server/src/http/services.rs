//! Services: show, scale, restart, stop, start, remove.

use super::extract::{self, Path};
use crate::rows;
use crate::state::Shared;
use api::error::{ErrorInfo, Kind};
use api::routes;
use api::wire::{Accepted, ScaleRequest, ServiceDetail};
use axum::Json;
use axum::extract::State;
use control::operate::Refused;
use model::change::Proposal;
use model::cluster::Cluster;
use model::id::{ServiceId, ServiceName, StackName};
use model::limits::SCALE_MAX;
use store::Store;

type Place = Path<(String, String)>;

fn service_id(Path((stack, service)): &Place) -> Result<ServiceId, ErrorInfo> {
    let bad = |e: model::id::InvalidName| ErrorInfo::invalid(e.to_string());
    Ok(ServiceId {
        stack: StackName::parse(stack).map_err(bad)?,
        service: ServiceName::parse(service).map_err(bad)?,
    })
}

fn missing(cluster: &Cluster, id: &ServiceId) -> ErrorInfo {
    super::missing::service(cluster, id.stack.as_str(), id.service.as_str())
}

async fn operate<S: Store>(
    shared: &Shared<S>,
    id: &ServiceId,
    decide: impl Fn(&Cluster, &ServiceId) -> Result<Proposal, Refused>,
) -> Result<Json<Accepted>, ErrorInfo> {
    shared
        .propose(|cluster, _| {
            cluster.service(id).ok_or_else(|| missing(cluster, id))?;
            decide(cluster, id).map_err(refused)
        })
        .await
        .map(Json)
}

/// What people asked for means nothing now.
fn refused(refused: Refused) -> ErrorInfo {
    ErrorInfo::new(Kind::Conflict, refused.why).hint(refused.hint)
}

/// One service.
#[utoipa::path(get, path = routes::SERVICE, responses((status = 200, body = ServiceDetail)),
    params(("stack" = String, Path), ("service" = String, Path)))]
pub(super) async fn show<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
) -> Result<Json<ServiceDetail>, ErrorInfo> {
    let id = service_id(&place)?;
    let cluster = shared.cluster();
    rows::service_detail(&cluster, &id).map(Json).ok_or_else(|| missing(&cluster, &id))
}

/// Sets the scale.
#[utoipa::path(post, path = routes::SERVICE_SCALE, request_body = ScaleRequest,
    params(("stack" = String, Path), ("service" = String, Path)),
    responses((status = 200, body = Accepted)))]
pub(super) async fn scale<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
    extract::Json(request): extract::Json<ScaleRequest>,
) -> Result<Json<Accepted>, ErrorInfo> {
    let id = service_id(&place)?;
    let scale = request.scale;
    if scale > SCALE_MAX {
        return Err(ErrorInfo::invalid(format!("scale {scale} is over the limit {SCALE_MAX}")));
    }
    operate(&shared, &id, |cluster, id| control::operate::scale(cluster, id, scale)).await
}

/// Makes every instance anew, a batch at a time, with nothing dropped.
#[utoipa::path(post, path = routes::SERVICE_RESTART, responses((status = 200, body = Accepted)),
    params(("stack" = String, Path), ("service" = String, Path)))]
pub(super) async fn restart<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
) -> Result<Json<Accepted>, ErrorInfo> {
    operate(&shared, &service_id(&place)?, |cluster, id| Ok(control::operate::restart(cluster, id)))
        .await
}

/// Stops it; its containers are kept.
#[utoipa::path(post, path = routes::SERVICE_STOP, responses((status = 200, body = Accepted)),
    params(("stack" = String, Path), ("service" = String, Path)))]
pub(super) async fn stop<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
) -> Result<Json<Accepted>, ErrorInfo> {
    operate(&shared, &service_id(&place)?, |cluster, id| Ok(control::operate::stop(cluster, id)))
        .await
}

/// Starts it again.
#[utoipa::path(post, path = routes::SERVICE_START, responses((status = 200, body = Accepted)),
    params(("stack" = String, Path), ("service" = String, Path)))]
pub(super) async fn start<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
) -> Result<Json<Accepted>, ErrorInfo> {
    operate(&shared, &service_id(&place)?, |cluster, id| Ok(control::operate::start(cluster, id)))
        .await
}

/// Removes it with its containers. Named volumes stay.
#[utoipa::path(delete, path = routes::SERVICE, responses((status = 200, body = Accepted)),
    params(("stack" = String, Path), ("service" = String, Path)))]
pub(super) async fn remove<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
) -> Result<Json<Accepted>, ErrorInfo> {
    operate(&shared, &service_id(&place)?, |cluster, id| {
        Ok(control::operate::remove_service(cluster, id))
    })
    .await
}
