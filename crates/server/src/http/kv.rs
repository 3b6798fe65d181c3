//! What keys of the Consul API were. They are read and written at `routes::CONSUL`; Consul itself knows
//! no history, so that this is a route of our own.

use super::extract;
use crate::state::Shared;
use ::consul::Version;
use api::error::ErrorInfo;
use api::routes;
use api::wire::{KvHistory, KvHistoryQuery, KvVersion};
use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::limits::{CONSUL_KEY_BYTES_MAX, CONSUL_PAST_ROWS_MAX};
use model::time::Timestamp;
use store::Store;

/// Versions of a key, or of all keys that begin so.
#[utoipa::path(get, path = routes::KV_HISTORY, params(KvHistoryQuery),
    responses((status = 200, body = KvHistory)))]
pub(super) async fn history<S: Store>(
    State(shared): State<Shared<S>>,
    extract::Query(query): extract::Query<KvHistoryQuery>,
) -> Result<Json<KvHistory>, ErrorInfo> {
    let KvHistoryQuery { key, below, version, values } = query;
    if key.len() > CONSUL_KEY_BYTES_MAX || (key.is_empty() && !below) {
        return Err(ErrorInfo::invalid(format!("a key has 1 to {CONSUL_KEY_BYTES_MAX} bytes")));
    }
    if below && (values || version.is_some()) {
        return Err(ErrorInfo::invalid("a version and values are of one key, and not of several"));
    }
    let Some(consul) = shared.consul() else {
        return Err(ErrorInfo::unavailable("this server does not answer for Consul"));
    };
    // Before the versions: who writes with it conflicts with what came after them.
    let modified = if below { 0 } else { consul.modified(&key) };
    let found = consul.history(&key, below, CONSUL_PAST_ROWS_MAX).await;
    let found = found.map_err(|error| crate::state::store_error(&error))?;
    let wanted = found.iter().filter(|row| version.is_none_or(|n| row.origin.version == n));
    let versions = wanted.map(|row| shown(row, values || version.is_some())).collect();
    Ok(Json(KvHistory { modified, versions }))
}

fn shown(version: &Version, with_value: bool) -> KvVersion {
    let Version { key, origin, is_current, flags, value } = version;
    KvVersion {
        key: key.to_string(),
        version: origin.version,
        index: origin.index,
        at: Timestamp(origin.at),
        by: origin.by.as_deref().unwrap_or_default().to_owned(),
        deleted: value.is_none(),
        current: *is_current,
        flags: *flags,
        bytes: value.as_ref().map_or(0, bytes::Bytes::len),
        value: value.as_ref().filter(|_| with_value).map(|value| STANDARD.encode(value)),
    }
}
