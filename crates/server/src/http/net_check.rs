//! A check of the network between hosts, as it goes on.

use super::extract::Query;
use super::relay::ndjson;
use crate::net_check::{self, Wanted};
use crate::state::Shared;
use api::error::{ErrorInfo, Kind};
use api::routes;
use api::wire::{NetCheckQuery, NetCheckStep};
use axum::extract::State;
use axum::response::Response;
use futures_util::stream::{self, StreamExt as _};
use model::id::HostId;
use std::sync::Arc;
use store::Store;
use tokio::sync::mpsc;

/// Steps that wait for their reader.
const STEPS_QUEUE_MAX: usize = 64;

/// Each pair of hosts, both ways: NDJSON of `NetCheckStep`, the last one is the report. Hosts put
/// their own network right first. It ends with its reader.
#[utoipa::path(post, path = routes::NET_CHECK, params(NetCheckQuery),
    responses((status = 200, content_type = "application/x-ndjson", body = NetCheckStep)))]
pub(super) async fn check<S: Store>(
    State(shared): State<Shared<S>>,
    Query(query): Query<NetCheckQuery>,
) -> Result<Response, ErrorInfo> {
    let cluster = shared.cluster();
    let mut wanted = Wanted { all: query.all, ..Wanted::default() };
    for text in query.hosts.split(',').filter(|text| !text.is_empty()) {
        let host = HostId::parse(text).map_err(|e| ErrorInfo::invalid(e.to_string()))?;
        cluster.host(&host).ok_or_else(|| super::missing::host(&cluster, text))?;
        wanted.hosts.insert(host);
    }
    let turn = Arc::clone(&shared.hosts.net_checks).try_acquire_owned().map_err(|_taken| {
        ErrorInfo::new(Kind::Conflict, "the network is being checked already")
            .hint("wait for a few seconds and try again")
    })?;
    let (steps, rx) = mpsc::channel(STEPS_QUEUE_MAX);
    // Driven by the answer's reader, so that it ends with it.
    let work = async move {
        net_check::check(shared, wanted, steps).await;
        drop(turn);
    };
    let work = stream::once(work).filter_map(async |()| None::<NetCheckStep>);
    let told = stream::unfold(rx, async |mut rx| Some((rx.recv().await?, rx)));
    Ok(ndjson(stream::select(told.boxed(), work.boxed()).boxed()))
}
