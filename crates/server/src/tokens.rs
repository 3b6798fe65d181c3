//! Join tokens: their text is made here, once; only a hash is kept.

use crate::http::refusal;
use crate::state::Shared;
use api::error::ErrorInfo;
use api::wire::{JoinToken, JoinTokenRequest};
use control::operate::token as verbs;
use model::cluster::Cluster;
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

/// The file of the token that is shown at the start, for the next start.
const FIRST: &str = "join.token";
/// A token that is good for less than this is not shown again, in milliseconds.
const WORTH_MS: u64 = 10 * 60_000;

/// The token that is shown at the start while no host has joined.
///
/// # Errors
/// As `make`.
pub(crate) async fn first<S: Store>(shared: &Shared<S>) -> Result<JoinToken, ErrorInfo> {
    let file = shared.scratch.join(FIRST);
    // One that cannot be read is of no use.
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    if let Some(known) = still_good(shared, text.trim()) {
        return Ok(known);
    }
    if let Some(old) = api::token::parse(&text) {
        let gone = |cluster: &Cluster, _| Ok(verbs::revoke(cluster, &old.id).unwrap_or_default());
        shared.propose(gone).await?;
    }
    let made = make(shared, JoinTokenRequest::default()).await?;
    if let Err(error) = crate::write_private(&file, &made.token) {
        tracing::warn!(file = %file.display(), %error, "the next start will make another join token");
    }
    Ok(made)
}

fn still_good<S: Store>(shared: &Shared<S>, text: &str) -> Option<JoinToken> {
    let (cluster, now) = (shared.cluster(), shared.now());
    crate::http::allowed(&cluster, text, TokenRole::Join, now.plus_ms(WORTH_MS)).ok()?;
    let parts = api::token::parse(text).filter(|parts| parts.pin == shared.authority.pin)?;
    let expires_at = cluster.token(&parts.id)?.expires_at?;
    Some(JoinToken { id: parts.id, token: text.to_owned(), expires_at })
}

#[cfg(test)]
mod tests {
    use crate::{Options, Server};
    use model::limits::JOIN_TOKEN_MS_DEFAULT;
    use model::time::{Clock, Timestamp};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
    use store::Memory;

    #[tokio::test]
    async fn a_server_that_starts_again_and_again_has_one_token_for_its_first_host() {
        let (dir, time) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(1_000_000)));
        let read = Arc::clone(&time);
        let options = Options {
            dir: dir.path().to_owned(),
            subnet: "10.42.0.0/16".parse().unwrap(),
            names: vec![],
            environment: None,
            clock: Clock::new(move || Timestamp(read.load(Relaxed))),
        };
        let server = Server::open(Memory::default(), options).await.unwrap();
        tokio::task::spawn(crate::follow::run(server.shared.clone()));
        let first = server.join_token().await.unwrap();
        assert_eq!(server.join_token().await.unwrap().token, first.token);
        time.fetch_add(i64::try_from(JOIN_TOKEN_MS_DEFAULT).unwrap() - 60_000, Relaxed);
        let second = server.join_token().await.unwrap();
        assert_ne!(second.token, first.token, "that one is nearly over");
        let cluster = server.shared.cluster();
        assert!(cluster.token(&first.id).is_none() && cluster.token(&second.id).is_some());
    }
}
