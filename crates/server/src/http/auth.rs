//! Who may call: a bearer token whose hash the store knows.

use crate::state::Shared;
use api::error::{ErrorInfo, Kind};
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use model::cluster::Cluster;
use model::record::TokenRole;
use model::time::Timestamp;
use store::Store;

/// Lets a request through when its token is an admin token.
pub(super) async fn require<S: Store>(
    State(shared): State<Shared<S>>,
    request: Request,
    next: Next,
) -> Result<Response, ErrorInfo> {
    let header = request.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    let token = header.and_then(|h| h.strip_prefix("Bearer ")).unwrap_or_default();
    allowed(&shared.cluster(), token, TokenRole::Admin, shared.now())?;
    Ok(next.run(request).await)
}

/// Is the token known, not expired and of this role?
///
/// # Errors
/// `Kind::Unauthorized`, the same text for every reason but expiry.
pub(crate) fn allowed(
    cluster: &Cluster,
    token: &str,
    role: TokenRole,
    now: Timestamp,
) -> Result<(), ErrorInfo> {
    let refused = || {
        ErrorInfo::new(Kind::Unauthorized, "the token is missing or not known here").hint(
            "on the server's machine run the command as the user that started it; \
             elsewhere set REMUDA_ADDR and REMUDA_TOKEN",
        )
    };
    let parts = api::token::parse(token).ok_or_else(refused)?;
    let environment = cluster.environment().ok_or_else(refused)?;
    let kept = cluster.token(&parts.id).ok_or_else(refused)?;
    if !api::token::same(&api::token::hash(environment, &parts.secret), &kept.hash)
        || kept.role != role
    {
        return Err(refused());
    }
    if kept.expires_at.is_some_and(|end| now >= end) {
        return Err(ErrorInfo::new(Kind::Unauthorized, "the token has expired")
            .hint("make a new one: `remuda host token create`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::change::{Change, Edit};
    use model::host::Environment;
    use model::record::{Record, Token};
    use model::time::Index;
    use std::sync::Arc;

    #[test]
    fn only_the_right_token_of_the_right_role_in_its_time_is_allowed() {
        let environment = Environment {
            id: "e1".into(),
            name: "default".into(),
            subnet: "10.42.0.0/16".parse().unwrap(),
            rebalance: model::host::Rebalance::default(),
            overlay: model::host::OverlayMode::default(),
            policy: model::policy::NetworkPolicy::default(),
            keys: Default::default(),
            dns: Default::default(),
            expose: Default::default(),
            consul: Default::default(),
        };
        let (text, parts) = api::token::format(api::token::API_PREFIX, [1; 6], [2; 32], "");
        let (other, _) = api::token::format(api::token::API_PREFIX, [1; 6], [3; 32], "");
        let token = Token {
            id: parts.id.clone(),
            hash: api::token::hash(&environment, &parts.secret),
            role: TokenRole::Admin,
            expires_at: Some(Timestamp(100)),
            created_at: Timestamp(0),
            uses_max: None,
            used_by: [].into(),
            labels: [].into(),
            host: None,
        };
        let mut cluster = Cluster::default();
        let edits = vec![
            Edit::Put(Record::Environment(Arc::new(environment))),
            Edit::Put(Record::Token(Arc::new(token))),
        ];
        cluster.apply(Index(1), &Change { edits });
        let check = |token: &str, role, now| allowed(&cluster, token, role, Timestamp(now)).is_ok();
        assert!(check(&text, TokenRole::Admin, 99));
        assert!(!check(&text, TokenRole::Admin, 100), "expired");
        assert!(!check(&text, TokenRole::Join, 99), "other role");
        assert!(!check(&other, TokenRole::Admin, 99), "other secret");
        assert!(!check("", TokenRole::Admin, 99), "none");
    }
}
