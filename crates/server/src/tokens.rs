//! Join tokens: their text is made here, once; only a hash is kept.

use crate::http::refusal;
use crate::state::Shared;
use api::error::ErrorInfo;
use api::wire::{JoinToken, JoinTokenRequest};
use control::operate::token as verbs;
use model::limits::{JOIN_TOKEN_MS_DEFAULT, JOIN_TOKEN_MS_MAX, JOIN_TOKEN_MS_MIN};
use model::record::{Token, TokenRole};
use store::Store;

/// Makes a join token.
///
/// # Errors
/// When something of the request is out of bounds, there are too many, or the store refuses.
pub(crate) async fn make<S: Store>(
    shared: &Shared<S>,
    request: JoinTokenRequest,
) -> Result<JoinToken, ErrorInfo> {
    let ttl_ms = request.ttl_ms.unwrap_or(JOIN_TOKEN_MS_DEFAULT);
    if !(JOIN_TOKEN_MS_MIN..=JOIN_TOKEN_MS_MAX).contains(&ttl_ms) {
        return Err(ErrorInfo::invalid(format!("a join token cannot be good for {ttl_ms} ms"))
            .hint("from one minute to 30 days"));
    }
    if request.uses == Some(0) {
        return Err(ErrorInfo::invalid("a join token for no host at all")
            .hint("leave `uses` out for any number of hosts"));
    }
    let (prefix, pin) = (api::token::JOIN_PREFIX, &shared.authority.pin);
    let (text, parts) = api::token::format(prefix, rand::random(), rand::random(), pin);
    let now = shared.now();
    let expires_at = now.plus_ms(ttl_ms);
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
                uses_max: request.uses,
                used_by: [].into(),
                labels: request.labels.clone(),
                host: request.host.clone(),
            };
            verbs::create(cluster, token, now).map_err(refusal)
        })
        .await?;
    Ok(JoinToken { id: parts.id, token: text, expires_at })
}
