//! What a proxy changes in the heads that it passes on. Pure.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri, Version};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What is said of a client to endpoints, made once for each of its connections.
#[derive(Clone, Debug)]
pub(super) struct Forwarded {
    /// Its address.
    pub(super) client: HeaderValue,
    /// Port of the listener.
    pub(super) port: HeaderValue,
}

/// Why a request is not for this proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// The `Host` header is missing, doubled, or not text.
    Host,
    /// CONNECT is for forward proxies.
    Connect,
    /// The target is not of a form that servers take.
    Target,
}

/// Checks the target and puts it into origin form, with its authority as `Host`.
pub(super) fn normalize<B>(request: &mut Request<B>) -> Result<(), Unfit> {
    if request.method() == Method::CONNECT {
        return Err(Unfit::Connect);
    }
    if request.uri().scheme().is_some() {
        let authority = request.uri().authority().ok_or(Unfit::Target)?;
        if authority.as_str().contains('@') {
            return Err(Unfit::Target);
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_not_text| Unfit::Target)?;
        let path = match request.uri().path_and_query() {
            Some(path) if path.as_str().starts_with('/') => Uri::from(path.clone()),
            Some(query) => {
                format!("/{}", query.as_str()).parse().map_err(|_not_a_path| Unfit::Target)?
            }
            None => Uri::from_static("/"),
        };
        *request.uri_mut() = path;
        request.headers_mut().insert(header::HOST, host);
        return Ok(());
    }
    let path = request.uri().path();
    if request.uri().authority().is_some() || !(path.starts_with('/') || path == "*") {
        return Err(Unfit::Target);
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.to_str().is_ok() => Ok(()),
        (None, None) if request.version() == Version::HTTP_10 => Ok(()),
        _ => Err(Unfit::Host),
    }
}

/// Prepares the head of a request for an endpoint. `upgrade` keeps the wish to change protocol.
/// `body_chunked`: the body's length is not known.
pub(super) fn to_endpoint(
    headers: &mut HeaderMap,
    from: &Forwarded,
    upgrade: bool,
    body_chunked: bool,
) {
    let seen = Seen::of(headers);
    let protocol = if upgrade { headers.get(header::UPGRADE).cloned() } else { None };
    remove_hop_by_hop(headers, seen);
    if seen.expect {
        headers.remove(header::EXPECT);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    if body_chunked {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let chain = if seen.forwarded { chain(headers, &from.client) } else { from.client.clone() };
    headers.insert(X_FORWARDED_FOR, chain);
    if !seen.proto {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !seen.port {
        headers.insert(X_FORWARDED_PORT, from.port.clone());
    }
}

/// Prepares the head of an answer for a client. `upgrade`: it is a 101 that was asked for.
pub(super) fn to_client(headers: &mut HeaderMap, upgrade: bool) {
    let protocol = if upgrade { headers.get(header::UPGRADE).cloned() } else { None };
    remove_hop_by_hop(headers, Seen::of(headers));
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

/// Does this head ask to change protocol, or agree to?
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(tokens)
            .any(|token| token.eq_ignore_ascii_case("upgrade"))
}

/// Which headers that matter are there: found in one pass, since most heads have none.
#[derive(Clone, Copy, Default)]
struct Seen {
    connection: bool,
    keep_alive: bool,
    proxy_connection: bool,
    te: bool,
    transfer_encoding: bool,
    upgrade: bool,
    expect: bool,
    forwarded: bool,
    proto: bool,
    port: bool,
}

impl Seen {
    fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for name in headers.keys() {
            match *name {
                header::CONNECTION => seen.connection = true,
                header::TE => seen.te = true,
                header::TRANSFER_ENCODING => seen.transfer_encoding = true,
                header::UPGRADE => seen.upgrade = true,
                header::EXPECT => seen.expect = true,
                _ => match name.as_str() {
                    "keep-alive" => seen.keep_alive = true,
                    "proxy-connection" => seen.proxy_connection = true,
                    "x-forwarded-for" => seen.forwarded = true,
                    "x-forwarded-proto" => seen.proto = true,
                    "x-forwarded-port" => seen.port = true,
                    _ => {}
                },
            }
        }
        seen
    }
}

/// Removes what is for one connection only, and all that `Connection` names. What frames the
/// body or says whose request it is stays, whatever `Connection` says.
fn remove_hop_by_hop(headers: &mut HeaderMap, seen: Seen) {
    if seen.connection && names_others(headers) {
        remove_named(headers);
    }
    if seen.connection {
        headers.remove(header::CONNECTION);
    }
    if seen.keep_alive {
        headers.remove(KEEP_ALIVE);
    }
    if seen.proxy_connection {
        headers.remove(PROXY_CONNECTION);
    }
    if seen.te {
        headers.remove(header::TE);
    }
    if seen.transfer_encoding {
        headers.remove(header::TRANSFER_ENCODING);
    }
    if seen.upgrade {
        headers.remove(header::UPGRADE);
    }
}

/// Does `Connection` name a header, besides the usual words?
fn names_others(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        let value = value.as_bytes();
        !(value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close"))
    })
}

fn remove_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter_map(|token| token.parse().ok())
        .filter(|name| {
            *name != header::HOST
                && *name != header::CONTENT_LENGTH
                && *name != X_FORWARDED_FOR
                && *name != X_FORWARDED_PROTO
                && *name != X_FORWARDED_PORT
        })
        .collect();
    for name in named {
        headers.remove(name);
    }
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

/// `X-Forwarded-For` with `client` at its end; several headers become one.
fn chain(headers: &HeaderMap, client: &HeaderValue) -> HeaderValue {
    let mut bytes = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b", ");
    }
    bytes.extend_from_slice(client.as_bytes());
    HeaderValue::from_bytes(&bytes).unwrap_or_else(|_too_long| client.clone())
}

#[cfg(test)]
mod tests;
