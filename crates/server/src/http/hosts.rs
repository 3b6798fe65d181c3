//! Hosts, and tokens to join one.

use crate::state::Shared;
use api::error::{ErrorInfo, Kind};
use api::routes;
use api::wire::{HostRow, JoinToken};
use axum::Json;
use axum::extract::State;
use model::change::{Change, Edit, Proposal};
use model::host::{Host, HostLink};
use model::limits::{JOIN_TOKENS_MAX, TXN_OPS_MAX};
use model::record::{Record, RecordKey, Token, TokenRole};
use model::time::Timestamp;
use std::sync::Arc;
use store::Store;

/// A join token is good for an hour.
const JOIN_TOKEN_MS: u64 = 3_600_000;
const REMEMBERED_MS: u64 = 24 * 3_600_000;

/// An expired token is remembered for a day, to say that it has expired.
fn is_old(token: &Token, now: Timestamp) -> bool {
    token.expires_at.is_some_and(|end| now >= end.plus_ms(REMEMBERED_MS))
}

fn strays(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(
            "no stack knows the containers {}; `docker rm -f` removes what is not wanted",
            names.join(", ")
        ),
    }
}

fn reason(host: &Host) -> String {
    let facts = &host.facts;
    let strays = strays(&facts.strays);
    [&strays, &host.reason, &facts.engine_problem, &facts.network_problem, &facts.dataplane_problem]
        .into_iter()
        .filter(|text| !text.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join("; ")
}

/// All hosts.
#[utoipa::path(get, path = routes::HOSTS, responses((status = 200, body = Vec<HostRow>)))]
pub(super) async fn list<S: Store>(State(shared): State<Shared<S>>) -> Json<Vec<HostRow>> {
    let cluster = shared.cluster();
    let row = |host: &Arc<Host>| HostRow {
        id: host.id.to_string(),
        status: match host.status {
            HostLink::Active => "active".into(),
            HostLink::Disconnected => "disconnected".into(),
            HostLink::Lost => "lost".into(),
        },
        reason: reason(host),
        instances: cluster.instances().filter(|i| i.host == host.id).count(),
        facts: host.facts.clone(),
    };
    Json(cluster.hosts().map(row).collect())
}

/// Makes a join token. It is shown here and never again.
#[utoipa::path(post, path = routes::HOST_TOKENS, responses((status = 200, body = JoinToken)))]
pub(super) async fn token<S: Store>(
    State(shared): State<Shared<S>>,
) -> Result<Json<JoinToken>, ErrorInfo> {
    let (text, parts) = api::token::format(
        api::token::JOIN_PREFIX,
        rand::random(),
        rand::random(),
        &shared.authority.pin,
    );
    let now = shared.now();
    let expires_at = now.plus_ms(JOIN_TOKEN_MS);
    shared
        .propose(|cluster, _| {
            let environment = cluster
                .environment()
                .ok_or_else(|| ErrorInfo::unavailable("the server is still starting"))?;
            let token = Token {
                id: parts.id.clone(),
                hash: api::token::hash(environment, &parts.secret),
                role: TokenRole::Join,
                expires_at: Some(expires_at),
                created_at: now,
            };
            let joins = || cluster.tokens().filter(|token| token.role == TokenRole::Join);
            if joins().filter(|token| !is_old(token, now)).count() >= JOIN_TOKENS_MAX {
                return Err(ErrorInfo::new(
                    Kind::Conflict,
                    format!("there are {JOIN_TOKENS_MAX} join tokens already"),
                )
                .hint("each ends an hour after it was made"));
            }
            let old = joins().filter(|token| is_old(token, now));
            let mut edits: Vec<Edit> = old
                .take(TXN_OPS_MAX / 4)
                .map(|t| Edit::Delete(RecordKey::Token(t.id.clone())))
                .collect();
            edits.push(Edit::Put(Record::Token(Arc::new(token))));
            let reads = vec![(RecordKey::Token(parts.id.clone()), None)];
            Ok(Proposal { reads, change: Change { edits } })
        })
        .await?;
    Ok(Json(JoinToken { token: text, expires_at }))
}
