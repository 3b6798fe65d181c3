//! Events: a page, or a stream that goes on and is taken up again after an index.

use super::extract::Query;
use crate::state::Shared;
use api::routes;
use api::wire::{EventPage, EventQuery};
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use model::event::Event;
use model::time::Index;
use std::collections::VecDeque;
use store::Store;

fn selected(event: &Event, query: &EventQuery) -> bool {
    query.stack.is_empty() || event.stack.as_ref().is_some_and(|s| s.as_str() == query.stack)
}

/// Events after an index, or the last ones; with `follow` as server-sent events. Their id is the
/// index, given with the last event of a change: who goes on after it misses and repeats none.
#[utoipa::path(get, path = routes::EVENTS, params(EventQuery),
    responses((status = 200, content((EventPage = "application/json"),
        (Event = "text/event-stream")))))]
pub(super) async fn list<S: Store>(
    State(shared): State<Shared<S>>,
    headers: HeaderMap,
    Query(query): Query<EventQuery>,
) -> Response {
    shared.events.replayed().await;
    let last_id = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = Index(last_id.unwrap_or(query.after));
    let (mut events, index) = shared.events.after(after);
    let forgotten = shared.events.forgotten();
    events.retain(|event| selected(event, &query));
    if let Some(tail) = query.tail {
        let skip = events.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX));
        events.drain(..skip);
    }
    if !query.follow {
        return Json(EventPage { events, index, forgotten }).into_response();
    }
    let start = (VecDeque::from(events), index, shared, query);
    let stream =
        futures_util::stream::unfold(start, |(mut queue, mut seen, shared, query)| async move {
            loop {
                if let Some(event) = queue.pop_front() {
                    let more = queue.front().is_some_and(|next| next.index == event.index);
                    let item = Ok::<_, std::convert::Infallible>(render(&event, !more));
                    return Some((item, (queue, seen, shared, query)));
                }
                let (newer, index) = shared.events.wait_after(seen).await?;
                seen = index;
                queue.extend(newer.into_iter().filter(|event| selected(event, &query)));
            }
        });
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

fn render(event: &Event, last_of_change: bool) -> SseEvent {
    let data = serde_json::to_string(event).unwrap_or_default();
    let item = SseEvent::default().data(data);
    if last_of_change { item.id(event.index.to_string()) } else { item }
}
