//! Instances: a list that can wait for a change.

use super::extract::Query;
use crate::rows;
use crate::state::Shared;
use api::error::ErrorInfo;
use api::routes;
use api::wire::{InstancePage, InstanceQuery};
use axum::Json;
use axum::extract::State;
use model::time::Index;
use std::time::Duration;
use store::Store;

const WAIT_MAX: Duration = Duration::from_secs(300);

/// Instances and their services, filtered, and without a filter plain containers too; with `after` and `wait_ms` a blocking query.
#[utoipa::path(get, path = routes::INSTANCES, params(InstanceQuery),
    responses((status = 200, body = InstancePage)))]
pub(super) async fn list<S: Store>(
    State(shared): State<Shared<S>>,
    Query(query): Query<InstanceQuery>,
) -> Result<Json<InstancePage>, ErrorInfo> {
    let wait = Duration::from_millis(query.wait_ms).min(WAIT_MAX);
    let cluster = shared.newer_than(Index(query.after), wait).await;
    let services = cluster.services().filter(|service| {
        (query.stack.is_empty() || service.id.stack.as_str() == query.stack)
            && (query.service.is_empty() || service.id.service.as_str() == query.service)
    });
    let mut page = InstancePage { index: cluster.index(), ..InstancePage::default() };
    if query.stack.is_empty() && query.service.is_empty() {
        page.standalone = rows::standalone_rows(&cluster);
    }
    for service in services {
        page.instances.extend(rows::instance_rows(&cluster, service));
        page.services.push(rows::service_row(&cluster, service));
    }
    rows::add_reasons(&cluster, &mut page);
    Ok(Json(page))
}
