//! The OpenAPI document, generated from the handlers.

use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Remuda",
        description = "One error shape (ErrorBody). All routes but /api/v1/ping want \
                       `Authorization: Bearer <token>`."
    ),
    paths(
        super::admin::ping,
        super::admin::status,
        super::admin::backup,
        super::stacks::list,
        super::stacks::show,
        super::stacks::plan,
        super::stacks::put,
        super::stacks::remove,
        super::services::show,
        super::services::scale,
        super::services::restart,
        super::services::stop,
        super::services::start,
        super::services::remove,
        super::instances::list,
        super::events::list,
        super::hosts::list,
        super::hosts::token,
        super::relay::logs,
        super::relay::exec,
        super::relay::stats,
        super::relay::build,
        super::relay::pull,
        get,
    ),
    components(schemas(
        api::error::ErrorBody,
        api::wire::LogLine,
        api::wire::Progress,
        api::wire::StatsRow,
    ))
)]
struct Document;

/// The document as data.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// This document.
#[utoipa::path(get, path = api::routes::OPENAPI, responses((status = 200, body = Object)))]
pub(super) async fn get() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
