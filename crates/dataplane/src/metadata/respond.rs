//! One request: which path in which form, whether to wait for a change, and whether this host knows
//! enough to answer.

use super::Shared;
use super::path::{Question, segments};
use super::render::{Format, render, scalar};
use super::tree::{Node, Reader, VERSIONS, Version};
use super::world::World;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use model::limits::{METADATA_LATER_MS_MAX, METADATA_WAIT_S_DEFAULT, METADATA_WAIT_S_MAX};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

/// Answers up to this size are not counted, in bytes.
const SMALL: usize = 64 * 1024;

/// What is asked.
struct Wanted {
    version: Version,
    segments: Vec<String>,
    question: Question,
    format: Format,
    source: IpAddr,
}

/// The answer.
pub(super) async fn respond(
    request: Request<Incoming>,
    source: IpAddr,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::of(accept.unwrap_or_default());
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = error(format, StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    let uri = request.uri();
    let Some(segments) = segments(uri.path()) else { return Ok(not_found(format)) };
    let question = Question::of(uri.query().unwrap_or_default());
    let Some((name, rest)) = segments.split_first() else {
        return Ok(versions(&shared, source, format));
    };
    let Some((_, version)) = VERSIONS.iter().find(|(known, _)| known == name) else {
        return Ok(error(format, StatusCode::NOT_FOUND, "Invalid version"));
    };
    let wanted = Wanted { version: *version, segments: rest.to_vec(), question, format, source };
    Ok(answer(&wanted, &shared).await)
}

fn not_found(format: Format) -> Response<Full<Bytes>> {
    error(format, StatusCode::NOT_FOUND, "Not found")
}

fn error(format: Format, status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    response(format, status, format.error(status.as_u16(), message).into())
}

fn response(format: Format, status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn versions(shared: &Shared, source: IpAddr, format: Format) -> Response<Full<Bytes>> {
    let all = VERSIONS.iter().map(|(name, _)| ((*name).into(), Node::text(format!("/{name}"))));
    let world = shared.world.borrow().clone();
    let reader = Reader { world: &world, version: Version::V3, source };
    let body = render(reader, Node::Map(all.collect()), format);
    response(format, StatusCode::OK, body.into())
}

impl Wanted {
    /// Is more asked for than the caller itself and what it belongs to? A listing of the root says
    /// nothing of what is in it.
    fn needs_all(&self) -> bool {
        match self.segments.first().map(String::as_str) {
            None => self.format != Format::Text,
            Some(first) => {
                let first = first.to_lowercase();
                ["containers", "hosts", "services", "stacks"].contains(&first.as_str())
            }
        }
    }

    fn reader<'w>(&self, world: &'w World) -> Reader<'w> {
        Reader { world, version: self.version, source: self.source }
    }

    /// Is there a value, and is it another one than that which the caller has?
    fn has_news(&self, world: &World, old: &str) -> bool {
        let reader = self.reader(world);
        let Some(node) = reader.walk(&self.segments) else { return false };
        let is_null = matches!(node, Node::Null | Node::Json(serde_json::Value::Null));
        // A map or a list never is what anybody has sent.
        let Some(text) = scalar(reader, node) else { return true };
        text != old && !(is_null && old == "<nil>")
    }
}

async fn answer(wanted: &Wanted, shared: &Shared) -> Response<Full<Bytes>> {
    if wanted.needs_all() && !known_whole(shared).await {
        let why = "The server has not told this host of the whole environment yet";
        return error(wanted.format, StatusCode::SERVICE_UNAVAILABLE, why);
    }
    if let Some(old) = wanted.question.until_not.as_ref().filter(|_| !wanted.segments.is_empty()) {
        wait(wanted, shared, old).await;
    }
    let world = shared.world.borrow().clone();
    let reader = wanted.reader(&world);
    let Some(node) = reader.walk(&wanted.segments) else { return not_found(wanted.format) };
    let body = render(reader, node, wanted.format);
    match held(body, shared) {
        Some(body) => response(wanted.format, StatusCode::OK, body),
        None => error(
            wanted.format,
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many large answers are under way; ask for less or again",
        ),
    }
}

/// Waits until the value is another one, or the time is over.
async fn wait(wanted: &Wanted, shared: &Shared, old: &str) {
    let Ok(_place) = shared.waits.try_acquire() else { return };
    let seconds = match wanted.question.max_wait {
        None | Some(0) => METADATA_WAIT_S_DEFAULT,
        Some(seconds) => seconds.min(METADATA_WAIT_S_MAX),
    };
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut worlds = shared.world.subscribe();
    loop {
        let world = worlds.borrow_and_update().clone();
        if wanted.has_news(&world, old) {
            return;
        }
        drop(world);
        let Ok(Ok(())) = timeout_at(deadline, worlds.changed()).await else { return };
    }
}

/// Is the whole environment known here? If not, it is asked for.
async fn known_whole(shared: &Shared) -> bool {
    let partial = shared.world.borrow().meta.partial;
    shared.ask(partial);
    if !partial {
        return true;
    }
    let deadline = Instant::now() + Duration::from_millis(METADATA_LATER_MS_MAX);
    let mut worlds = shared.world.subscribe();
    loop {
        if !worlds.borrow_and_update().meta.partial {
            return true;
        }
        let Ok(Ok(())) = timeout_at(deadline, worlds.changed()).await else { return false };
    }
}

/// A large answer, which counts as long as somebody has it.
struct Large {
    body: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// `None` when there are too many large ones.
fn held(body: Vec<u8>, shared: &Shared) -> Option<Bytes> {
    if body.len() <= SMALL {
        return Some(body.into());
    }
    let size = u32::try_from(body.len() / 1024).unwrap_or(u32::MAX);
    let permit = Arc::clone(&shared.answers).try_acquire_many_owned(size).ok()?;
    Some(Bytes::from_owner(Large { body, _permit: permit }))
}
