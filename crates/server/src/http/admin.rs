//! Ping, status of the roles, and a copy of the store.

use crate::rows;
use crate::state::Shared;
use api::error::ErrorInfo;
use api::routes;
use api::wire::{Ping, RoleStatus, SystemStatus};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use model::host::{Host, HostLink};
use store::Store;

/// Liveness; the only route without a token.
#[utoipa::path(get, path = routes::PING, responses((status = 200, body = Ping)))]
pub(super) async fn ping<S: Store>(State(shared): State<Shared<S>>) -> Json<Ping> {
    let cluster = shared.cluster();
    Json(Ping {
        version: env!("CARGO_PKG_VERSION").into(),
        environment: cluster.environment().map(|e| e.id.clone()).unwrap_or_default(),
        index: cluster.index(),
    })
}

fn host_roles(host: &Host) -> Vec<RoleStatus> {
    let connected = host.status == HostLink::Active;
    let facts = &host.facts;
    let role = |role: &str, problem: &str, fine: &str| {
        let ok = connected && problem.is_empty();
        let detail = if !connected {
            host.reason.clone()
        } else if ok {
            fine.to_owned()
        } else {
            problem.to_owned()
        };
        RoleStatus { role: role.into(), host: host.id.to_string(), ok, detail }
    };
    vec![
        role("agent", "", &facts.agent_version),
        role("engine", &facts.engine_problem, &format!("docker {}", facts.docker_version)),
        role("network", &facts.network_problem, ""),
        role("dataplane", &facts.dataplane_problem, ""),
    ]
}

/// Every role, and why one does not answer.
#[utoipa::path(get, path = routes::STATUS, responses((status = 200, body = SystemStatus)))]
pub(super) async fn status<S: Store>(State(shared): State<Shared<S>>) -> Json<SystemStatus> {
    let cluster = shared.cluster();
    let problem = shared.store_problem();
    let mut roles = vec![RoleStatus {
        role: "server".into(),
        host: String::new(),
        ok: problem.is_empty(),
        detail: if problem.is_empty() { env!("CARGO_PKG_VERSION").into() } else { problem },
    }];
    if cluster.hosts().next().is_none() {
        roles.push(RoleStatus {
            role: "agent".into(),
            host: String::new(),
            ok: false,
            detail: "no host has joined yet".into(),
        });
    }
    roles.extend(cluster.hosts().flat_map(|host| host_roles(host)));
    let audit_violations = control::audit::audit(&cluster).len();
    Json(SystemStatus { roles, audit_violations, blocked: rows::blocked_things(&cluster) })
}

/// A consistent copy of the store, as one SQLite file.
#[utoipa::path(get, path = routes::BACKUP,
    responses((status = 200, content_type = "application/vnd.sqlite3")))]
pub(super) async fn backup<S: Store>(
    State(shared): State<Shared<S>>,
) -> Result<Response, ErrorInfo> {
    let file = shared.backup().await?;
    let stream = futures_util::stream::unfold(file, |mut file| async {
        use tokio::io::AsyncReadExt as _;
        let mut buffer = vec![0; 64 * 1024];
        match file.read(&mut buffer).await {
            Ok(0) => None,
            Ok(n) => {
                buffer.truncate(n);
                Some((Ok(buffer), file))
            }
            Err(error) => Some((Err(error), file)),
        }
    });
    let headers = [(CONTENT_TYPE, "application/vnd.sqlite3")];
    Ok((headers, Body::from_stream(stream)).into_response())
}
