//! Stacks: list, show, plan, put, remove.

use super::extract::{self, Path};
use crate::rows;
use crate::state::Shared;
use api::error::{ErrorInfo, Kind};
use api::routes;
use api::stream::StreamRequest;
use api::wire::{Accepted, Plan, StackDetail, StackRequest, StackRow};
use axum::Json;
use axum::extract::State;
use model::id::{HostId, StackName};
use model::service::{Kind as ServiceKind, Transport};
use model::stack::StackSpec;
use std::collections::BTreeMap;
use std::net::IpAddr;
use store::Store;

/// A stack name from a path.
pub(super) fn stack_name(text: &str) -> Result<StackName, ErrorInfo> {
    StackName::parse(text).map_err(|e| ErrorInfo::invalid(e.to_string()))
}

/// All stacks.
#[utoipa::path(get, path = routes::STACKS, responses((status = 200, body = Vec<StackRow>)))]
pub(super) async fn list<S: Store>(State(shared): State<Shared<S>>) -> Json<Vec<StackRow>> {
    let cluster = shared.cluster();
    Json(cluster.stacks().filter_map(|s| rows::stack_row(&cluster, &s.name)).collect())
}

/// One stack.
#[utoipa::path(get, path = routes::STACK, params(("stack" = String, Path)),
    responses((status = 200, body = StackDetail)))]
pub(super) async fn show<S: Store>(
    State(shared): State<Shared<S>>,
    Path(stack): Path<String>,
) -> Result<Json<StackDetail>, ErrorInfo> {
    let name = stack_name(&stack)?;
    let cluster = shared.cluster();
    let missing = || super::missing::stack(&cluster, name.as_str());
    rows::stack_detail(&cluster, &name).map(Json).ok_or_else(missing)
}

/// What a PUT would do. Nothing is changed.
#[utoipa::path(post, path = routes::STACK_PLAN, params(("stack" = String, Path)),
    request_body = StackRequest, responses((status = 200, body = Plan)))]
pub(super) async fn plan<S: Store>(
    State(shared): State<Shared<S>>,
    Path(stack): Path<String>,
    extract::Json(request): extract::Json<StackRequest>,
) -> Result<Json<Plan>, ErrorInfo> {
    let name = stack_name(&stack)?;
    crate::preview::validate(&request.spec)?;
    let foreign = foreign_ports(&shared, &request.spec).await;
    let cluster = shared.cluster();
    crate::preview::plan(&cluster, &name, &request, &foreign, shared.now()).map(Json)
}

/// Makes the stack as the spec says.
#[utoipa::path(put, path = routes::STACK, params(("stack" = String, Path)),
    request_body = StackRequest, responses((status = 200, body = Accepted)))]
pub(super) async fn put<S: Store>(
    State(shared): State<Shared<S>>,
    Path(stack): Path<String>,
    extract::Json(request): extract::Json<StackRequest>,
) -> Result<Json<Accepted>, ErrorInfo> {
    let name = stack_name(&stack)?;
    crate::preview::validate(&request.spec)?;
    let answer = shared
        .propose(|cluster, now| {
            let version = rows::stack_version(cluster, &name);
            if request.check_version.is_some_and(|expected| expected != version) {
                return Err(ErrorInfo::new(
                    Kind::Conflict,
                    format!("stack {name} changed meanwhile: it is at version {version}"),
                )
                .hint("look at it with `remuda plan` and try again"));
            }
            Ok(crate::preview::changes(cluster, &name, &request, now)?.proposal)
        })
        .await?;
    Ok(Json(answer))
}

/// Removes the stack with its containers. Named volumes stay.
#[utoipa::path(delete, path = routes::STACK, params(("stack" = String, Path)),
    responses((status = 200, body = Accepted)))]
pub(super) async fn remove<S: Store>(
    State(shared): State<Shared<S>>,
    Path(stack): Path<String>,
) -> Result<Json<Accepted>, ErrorInfo> {
    let name = stack_name(&stack)?;
    let answer = shared
        .propose(|cluster, _| {
            let missing = || super::missing::stack(cluster, name.as_str());
            cluster.stack(&name).ok_or_else(missing)?;
            Ok(control::operate::remove_stack(cluster, &name))
        })
        .await?;
    Ok(Json(answer))
}

/// Host ports of the spec that programs other than ours hold, host by host. A host that does not
/// answer is left out: its ports are found taken when they are bound, with the same reason.
async fn foreign_ports<S: Store>(
    shared: &Shared<S>,
    spec: &StackSpec,
) -> BTreeMap<(HostId, Transport, u16), String> {
    let mut wanted: Vec<(Transport, u16, Option<IpAddr>)> = vec![];
    for service in spec.services.values() {
        let sidekicks = service.template.sidekicks.values().flat_map(|s| &s.ports);
        for port in service.template.ports.iter().chain(sidekicks) {
            wanted.extend(port.host_port.map(|p| (port.protocol, p, port.host_ip)));
        }
        if let ServiceKind::Balancer(balancer) = &service.template.kind {
            wanted.extend(balancer.rules.iter().map(|r| (Transport::Tcp, r.source_port, None)));
        }
    }
    wanted.sort();
    wanted.dedup();
    let mut found = BTreeMap::new();
    if wanted.is_empty() {
        return found;
    }
    for host in shared.hosts.connected() {
        let request = StreamRequest::Ports { wanted: wanted.clone() };
        match shared.hosts.ask::<Vec<api::stream::PortHolder>>(&host, request).await {
            Ok(holders) => {
                for holder in holders {
                    found.insert((host.clone(), holder.transport, holder.port), holder.by);
                }
            }
            Err(error) => tracing::warn!(%host, %error, "ports of the host cannot be asked"),
        }
    }
    found
}
