//! First start: the environment's record, and an admin token that nobody has chosen.

use api::token;
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::host::Environment;
use model::record::{Record, RecordKey, Token, TokenRole};
use model::time::Timestamp;
use std::sync::Arc;

/// The environment of a new cluster.
#[must_use]
pub(crate) fn environment(subnet: ipnet::Ipv4Net) -> Environment {
    let id = token::hex(&rand::random::<[u8; 5]>());
    Environment::new(id, "default", subnet)
}

/// Writes the environment where there is none.
#[must_use]
pub(crate) fn found(environment: Environment) -> Proposal {
    Proposal {
        reads: vec![(RecordKey::Environment, None)],
        change: Change { edits: vec![Edit::Put(Record::Environment(Arc::new(environment)))] },
    }
}

/// Is this token (from the token file) good for the API?
#[must_use]
pub(crate) fn is_known(cluster: &Cluster, text: &str) -> bool {
    let known = || {
        let parts = token::parse(text)?;
        let kept = cluster.token(&parts.id)?;
        let hash = token::hash(cluster.environment()?, &parts.secret);
        Some(token::same(&hash, &kept.hash) && kept.role == TokenRole::Admin)
    };
    known().unwrap_or(false)
}

/// A new admin token: its text, and the proposal that makes its hash known.
#[must_use]
pub(crate) fn admin_token(environment: &Environment, now: Timestamp) -> (String, Proposal) {
    let (text, parts) = token::format(token::API_PREFIX, rand::random(), rand::random(), "");
    let record = Token {
        id: parts.id.clone(),
        hash: token::hash(environment, &parts.secret),
        role: TokenRole::Admin,
        expires_at: None,
        created_at: now,
        uses_max: None,
        used_by: [].into(),
        labels: [].into(),
        host: None,
    };
    let proposal = Proposal {
        reads: vec![(RecordKey::Token(parts.id), None)],
        change: Change { edits: vec![Edit::Put(Record::Token(Arc::new(record)))] },
    };
    (text, proposal)
}
