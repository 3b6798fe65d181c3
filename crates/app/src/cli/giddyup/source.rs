//! The metadata service as its clients read it.

use crate::exit::{Failure, Outcome};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// From a request to the whole answer, where it is not asked to wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where metadata is.
#[derive(Debug)]
pub(super) struct Source {
    authority: String,
    /// Path of the version, without a slash at its end.
    base: String,
}

/// A URL of http in its parts: authority with port, and path.
pub(super) fn split(url: &str) -> Outcome<(String, String)> {
    let no = || Failure::usage(format!("{url:?} is no URL: http://host[:port]/path is one"));
    let uri: http::Uri = url.parse().map_err(|_not_a_url| no())?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(no)?;
    let authority = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok((authority, path.to_owned()))
}

/// Status and body of a GET.
pub(super) async fn get(
    authority: &str,
    path: &str,
    patience: Duration,
) -> Result<(StatusCode, Bytes), String> {
    let fetched = tokio::time::timeout(patience, fetch(authority, path)).await;
    fetched.unwrap_or_else(|_elapsed| Err(format!("no answer within {patience:?}")))
}

async fn fetch(authority: &str, path: &str) -> Result<(StatusCode, Bytes), String> {
    let stream = TcpStream::connect(authority).await.map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
}

impl Source {
    /// At a URL that names a version.
    pub(super) fn new(url: &str) -> Outcome<Self> {
        let (authority, base) = split(url)?;
        Ok(Self { authority, base: base.trim_end_matches('/').to_owned() })
    }

    async fn ask(&self, path: &str, patience: Duration) -> Outcome<Value> {
        let (whole, at) = (format!("{}{path}", self.base), &self.authority);
        let failed = |why: String| {
            Failure::error(format!("metadata http://{at}{whole}: {why}"))
                .hint("is this a container of an environment? --metadata-url says where it asks")
        };
        let (status, body) = get(&self.authority, &whole, patience).await.map_err(failed)?;
        if status != StatusCode::OK {
            return Err(failed(format!("it answers {status}")));
        }
        serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))
    }

    /// The value at a path.
    pub(super) async fn get(&self, path: &str) -> Outcome<Value> {
        self.ask(path, PATIENCE).await
    }

    /// Waits until something is other than at version `old`, or for `seconds`; gives the version.
    pub(super) async fn changed(&self, old: &str, seconds: u64) -> Outcome<String> {
        let path =
            format!("/version?wait=true&value={}&maxWait={seconds}", api::routes::encode(old));
        let version = self.ask(&path, PATIENCE + Duration::from_secs(seconds)).await?;
        Ok(word(&version).to_owned())
    }

    /// The container that asks.
    pub(super) async fn own(&self) -> Outcome<Value> {
        self.get("/self/container").await
    }

    /// The containers of a service, by the names that metadata has; `None` is the caller's own.
    pub(super) async fn containers(&self, service: Option<&str>) -> Outcome<Vec<Value>> {
        let service = self.service(service).await?;
        let listed = service["containers"].as_array().cloned().unwrap_or_default();
        if listed.iter().all(Value::is_object) {
            return Ok(listed);
        }
        // The first version lists names.
        let all = self.get("/containers").await?;
        let of =
            |one: &Value| ["service_name", "stack_name"].map(|key| word(&one[key]).to_lowercase());
        let wanted = ["name", "stack_name"].map(|key| word(&service[key]).to_lowercase());
        let all = all.as_array().cloned().unwrap_or_default();
        Ok(all.into_iter().filter(|one| of(one) == wanted).collect())
    }

    /// A service: `stack/service`, `service` of the caller's stack, or the caller's own.
    pub(super) async fn service(&self, name: Option<&str>) -> Outcome<Value> {
        let Some(name) = name else {
            let own = self.get("/self/service").await?;
            if own.is_object() {
                return Ok(own);
            }
            return Err(Failure::error("this container is of no service").hint("name a service"));
        };
        let own_stack = self.get("/self/stack/name").await;
        let (stack, service) = match (name.split_once('/'), own_stack) {
            (Some((stack, service)), _) => (stack.to_owned(), service),
            (None, Ok(stack)) => (word(&stack).to_owned(), name),
            (None, Err(error)) => return Err(error),
        };
        let all = self.get("/services").await?;
        let mut all = all.as_array().cloned().unwrap_or_default().into_iter();
        let is = |one: &Value, key: &str, name: &str| word(&one[key]).eq_ignore_ascii_case(name);
        let found = all.find(|one| is(one, "stack_name", &stack) && is(one, "name", service));
        found.ok_or_else(|| Failure::error(format!("there is no service {stack}/{service}")))
    }

    /// What a container's host says of itself.
    pub(super) async fn of_host(&self, container: &Value, key: &str) -> Outcome<String> {
        let path = format!("/hosts/{}/{key}", word(&container["host_uuid"]));
        Ok(word(&self.get(&path).await?).to_owned())
    }
}

/// A text; empty for what is none.
pub(super) fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}
