//! A request as endpoints see it: path cleaned and unescaped, query, token, body, and the options
//! that every read has.

use crate::acl::Access;
use crate::answer::Answer;
use crate::duration;
use crate::query::{Query, unescape};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use model::limits::{CONSUL_WAIT_MS_DEFAULT, CONSUL_WAIT_MS_MAX};
use std::sync::Arc;
use std::time::Duration;

/// Where every path begins.
const ROOT: &str = "/v1/";

/// In the extensions of a request: whoever sent it has shown already that he may do everything.
#[derive(Clone, Copy, Debug)]
pub struct Trusted;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// GET, PUT, DELETE …
    pub method: Method,
    /// Path behind `/v1/`, unescaped, `//` cleaned to `/`; a `/` at its end is kept.
    pub path: String,
    /// The query.
    pub query: Query,
    /// The token; empty when there is none.
    pub token: String,
    /// It came by a way on which everything may be done: no token is asked for.
    pub trusted: bool,
    /// What it may do: everything, until whoever answers has looked at its token.
    pub(crate) access: Access,
    /// The body, whole; its type is not looked at.
    pub body: Bytes,
    /// The node whose agent was asked.
    pub node: String,
    /// Who asks, for the history of what is written.
    pub by: Arc<str>,
}

/// Who asks, as whoever took the request knows it: an extension of its head. Without one it is the
/// host whose agent was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By(pub Arc<str>);

/// How fresh a read must be. One server: all of them see everything that was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Nothing was said.
    #[default]
    Default,
    /// Any server may answer.
    Stale,
    /// As of now, proven.
    Consistent,
}

/// The options of a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// How fresh.
    pub consistency: Consistency,
    /// Answer when the index is greater than this; 0 answers at once.
    pub index: u64,
    /// Longest wait, without its jitter.
    pub wait: Duration,
    /// The agent's cache may answer.
    pub cached: bool,
}

impl Request {
    /// Reads the head of a request that came to the agent of `node`.
    ///
    /// # Errors
    /// The answer to a path that is none of ours or is broken.
    pub fn read(parts: &Parts, body: Bytes, node: &str) -> Result<Self, Answer> {
        let path = unescape(parts.uri.path(), false)
            .ok_or_else(|| Answer::bad("Invalid URL escape in the path"))?;
        if path.chars().any(char::is_control) {
            return Err(Answer::bad("Bad Request: the path has a character that is not printable"));
        }
        let path = clean(&path);
        let rest = path.strip_prefix(ROOT).ok_or_else(unknown)?;
        let query = Query::parse(parts.uri.query().unwrap_or(""));
        let by = parts.extensions.get::<By>().map(|By(by)| Arc::clone(by));
        Ok(Self {
            by: by.unwrap_or_else(|| format!("host {node}").into()),
            method: parts.method.clone(),
            path: rest.to_owned(),
            token: token(&query, &parts.headers),
            query,
            trusted: parts.extensions.get::<Trusted>().is_some(),
            access: Access::default(),
            body,
            node: node.to_owned(),
        })
    }

    /// The path behind `prefix`: `kv/a/b` behind `kv/` is `a/b`. Empty when it does not begin so.
    #[must_use]
    pub fn after(&self, prefix: &str) -> &str {
        self.path.strip_prefix(prefix).unwrap_or("")
    }

    /// The parts of the path between its slashes. A name may have `:` and anything else.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter(|part| !part.is_empty())
    }

    /// The options that every read has, checked.
    ///
    /// # Errors
    /// 400 for what makes no sense, in the words that clients know.
    pub fn read_options(&self) -> Result<ReadOptions, Answer> {
        let (stale, consistent) = (self.query.has("stale"), self.query.has("consistent"));
        let cached = self.query.has("cached");
        let consistency = match (stale, consistent) {
            (true, true) => {
                return Err(Answer::bad(
                    "Cannot specify ?stale with ?consistent, conflicting semantics.",
                ));
            }
            (true, false) => Consistency::Stale,
            (false, true) => Consistency::Consistent,
            (false, false) => Consistency::Default,
        };
        if cached && consistent {
            return Err(Answer::bad(
                "Cannot specify ?cached with ?consistent, conflicting semantics.",
            ));
        }
        let index = match self.query.text("index") {
            None => 0,
            Some(text) => text.parse().map_err(|_no_number| Answer::bad("Invalid index"))?,
        };
        let wait = match self.query.text("wait") {
            None => Duration::from_millis(CONSUL_WAIT_MS_DEFAULT),
            Some(text) => duration::parse(text).ok_or_else(|| Answer::bad("Invalid wait time"))?,
        };
        if let Some(text) = self.query.text("max_stale")
            && duration::parse(text).is_none()
        {
            return Err(Answer::bad("Invalid max_stale value"));
        }
        let wait = match wait.is_zero() {
            true => Duration::from_millis(CONSUL_WAIT_MS_DEFAULT),
            false => wait.min(Duration::from_millis(CONSUL_WAIT_MS_MAX)),
        };
        Ok(ReadOptions { consistency, index, wait, cached })
    }

    /// The datacenter that is asked for; none when it was not said.
    #[must_use]
    pub fn datacenter(&self) -> Option<&str> {
        self.query.text("dc").or_else(|| self.query.text("datacenter"))
    }

    /// The answer is wanted with indentation.
    #[must_use]
    pub fn is_pretty(&self) -> bool {
        self.query.has("pretty")
    }
}

/// The answer to a path that there is not.
#[must_use]
pub(crate) fn unknown() -> Answer {
    Answer::error(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Query, header, bearer: in this order.
fn token(query: &Query, headers: &HeaderMap) -> String {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = || {
        let (kind, token) = header(header::AUTHORIZATION.as_str())?.split_once(' ')?;
        kind.eq_ignore_ascii_case("bearer").then(|| token.trim())
    };
    let token = query.text("token").or_else(|| header("x-consul-token")).or_else(bearer);
    token.unwrap_or("").to_owned()
}

/// `//` to `/`.
fn clean(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str, headers: &[(&str, &str)]) -> Result<Request, Answer> {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Request::read(&parts, Bytes::new(), "n1")
    }

    #[test]
    fn a_path_is_cleaned_and_unescaped_once() {
        for (uri, path) in [
            ("/v1/kv/dou//ble", "kv/dou/ble"),
            ("//v1///kv/a/", "kv/a/"),
            ("/v1/kv/a%2Fb", "kv/a/b"),
            ("/v1/kv/a%252Fb", "kv/a%2Fb"),
            ("/v1/kv/a+b%20c", "kv/a+b c"),
            (
                "/v1/agent/service/deregister/host:web:80:udp",
                "agent/service/deregister/host:web:80:udp",
            ),
            ("/v1/agent/service/deregister/host%3Aweb", "agent/service/deregister/host:web"),
        ] {
            assert_eq!(read(uri, &[]).unwrap().path, path, "{uri}");
        }
        for (uri, status) in
            [("/v2/kv/a", 404), ("/", 404), ("/v1/kv/%zz", 400), ("/v1/kv/%00", 400)]
        {
            assert_eq!(read(uri, &[]).unwrap_err().status, status, "{uri}");
        }
    }

    #[test]
    fn a_token_of_the_query_is_before_the_header_and_that_before_the_bearer() {
        let both = [("x-consul-token", "h"), ("authorization", "Bearer b")];
        for (uri, headers, token) in [
            ("/v1/kv/a?token=q", &both[..], "q"),
            ("/v1/kv/a?token=", &both[..], "h"),
            ("/v1/kv/a", &both[1..], "b"),
            ("/v1/kv/a", &[("authorization", "Basic b")][..], ""),
        ] {
            assert_eq!(read(uri, headers).unwrap().token, token, "{uri}");
        }
    }

    #[test]
    fn options_of_reads_are_checked() {
        let cap = Duration::from_millis(CONSUL_WAIT_MS_MAX);
        let default = Duration::from_millis(CONSUL_WAIT_MS_DEFAULT);
        let s = Duration::from_secs;
        for (query, index, wait) in [
            ("", 0, default),
            ("index=7&wait=5s", 7, s(5)),
            ("index=7&wait=60000ms", 7, s(60)),
            ("wait=20m", 0, cap),
            ("wait=0s", 0, default),
            ("index=18446744073709551615", u64::MAX, default),
            ("recurse=&stale=", 0, default),
        ] {
            let options = read(&format!("/v1/kv/a?{query}"), &[]).unwrap().read_options().unwrap();
            assert_eq!((options.index, options.wait), (index, wait), "{query}");
        }
        for (query, text) in [
            ("index=x", "Invalid index"),
            ("index=-1", "Invalid index"),
            ("index=1&wait=x", "Invalid wait time"),
            ("wait=-1s", "Invalid wait time"),
            ("max_stale=x", "Invalid max_stale value"),
            ("stale&consistent", "Cannot specify ?stale with ?consistent, conflicting semantics."),
            (
                "cached&consistent",
                "Cannot specify ?cached with ?consistent, conflicting semantics.",
            ),
        ] {
            let refused = read(&format!("/v1/kv/a?{query}"), &[]).unwrap().read_options();
            let refused = refused.unwrap_err();
            assert_eq!(
                (refused.status.as_u16(), &refused.body[..]),
                (400, text.as_bytes()),
                "{query}"
            );
        }
    }
}
