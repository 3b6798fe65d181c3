//! Events: a page, or a stream that goes on.

use crate::state::Shared;
use api::routes;
use api::wire::{EventPage, EventQuery};
use axum::Json;
use axum::extract::{Query, State};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use model::event::Event;
use model::time::Index;
use std::collections::VecDeque;
use store::Store;

fn selected(event: &Event, query: &EventQuery) -> bool {
    query.stack.is_empty() || event.stack.as_ref().is_some_and(|s| s.as_str() == query.stack)
}

/// Events after an index, or the last ones; with `follow` as server-sent events.
#[utoipa::path(get, path = routes::EVENTS, params(EventQuery),
    responses((status = 200, body = EventPage)))]
pub(super) async fn list<S: Store>(
    State(shared): State<Shared<S>>,
    Query(query): Query<EventQuery>,
) -> Response {
    // The index is read first: what comes between is delivered twice to nobody and lost to nobody.
    let index = shared.cluster().index();
    let mut events = shared.events.after(Index(query.after));
    events.retain(|event| event.index <= index && selected(event, &query));
    if let Some(tail) = query.tail {
        let skip = events.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX));
        events.drain(..skip);
    }
    if !query.follow {
        return Json(EventPage { events, index }).into_response();
    }
    let start = (VecDeque::from(events), index, shared, query);
    let stream =
        futures_util::stream::unfold(start, |(mut queue, mut seen, shared, query)| async move {
            loop {
                if let Some(event) = queue.pop_front() {
                    let data = serde_json::to_string(&event).unwrap_or_default();
                    let item = SseEvent::default().id(event.index.to_string()).data(data);
                    return Some((
                        Ok::<_, std::convert::Infallible>(item),
                        (queue, seen, shared, query),
                    ));
                }
                let newer = shared.events.wait_after(seen).await?;
                seen = newer.last().map_or(seen, |event| event.index);
                queue.extend(newer.into_iter().filter(|event| selected(event, &query)));
            }
        });
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}
