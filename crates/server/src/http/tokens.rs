//! Tokens to join a host: make, list, revoke.

use super::extract::{self, Path};
use crate::state::Shared;
use crate::tokens;
use api::error::ErrorInfo;
use api::routes;
use api::wire::{Accepted, JoinToken, JoinTokenRequest, JoinTokenRow};
use axum::Json;
use axum::extract::State;
use control::operate::token as verbs;
use model::record::Token;
use store::Store;

/// Makes a join token. It is shown here and never again.
#[utoipa::path(post, path = routes::HOST_TOKENS, request_body = JoinTokenRequest,
    responses((status = 200, body = JoinToken)))]
pub(super) async fn create<S: Store>(
    State(shared): State<Shared<S>>,
    extract::OptionalJson(request): extract::OptionalJson<JoinTokenRequest>,
) -> Result<Json<JoinToken>, ErrorInfo> {
    tokens::make(&shared, request).await.map(Json)
}

/// Join tokens; their secrets are not kept.
#[utoipa::path(get, path = routes::HOST_TOKENS,
    responses((status = 200, body = Vec<JoinTokenRow>)))]
pub(super) async fn list<S: Store>(State(shared): State<Shared<S>>) -> Json<Vec<JoinTokenRow>> {
    let (cluster, now) = (shared.cluster(), shared.now());
    let row = |token: &Token| JoinTokenRow {
        id: token.id.clone(),
        created_at: token.created_at,
        expires_at: token.expires_at,
        expired: token.expires_at.is_some_and(|end| now >= end),
        uses: token.uses_max,
        host: token.host.clone(),
        used_by: token.used_by.iter().map(ToString::to_string).collect(),
        labels: token.labels.clone(),
    };
    Json(verbs::list(&cluster, now).map(|token| row(token)).collect())
}

/// Nobody joins with it any more; who has joined stays.
#[utoipa::path(delete, path = routes::HOST_TOKEN, params(("token" = String, Path)),
    responses((status = 200, body = Accepted)))]
pub(super) async fn revoke<S: Store>(
    State(shared): State<Shared<S>>,
    Path(token): Path<String>,
) -> Result<Json<Accepted>, ErrorInfo> {
    // Who has the whole text at hand need not take it apart.
    let id = api::token::parse(&token).map_or(token, |parts| parts.id);
    shared
        .propose(|cluster, _| {
            verbs::revoke(cluster, &id).ok_or_else(|| {
                let shown: String = id.chars().take(60).collect();
                ErrorInfo::not_found(format!("there is no join token {shown}"))
                    .hint("`remuda host token ls` shows them")
            })
        })
        .await
        .map(Json)
}
