//! Which route a request takes: the first of the list that matches. Pure.

use model::view::{HostMatch, Route};
use std::borrow::Cow;
use std::collections::HashMap;

/// Routes prepared for look-up: exact hosts by hash, all others in order.
#[derive(Debug, Default)]
pub(super) struct Table {
    exact: HashMap<Box<str>, Vec<usize>>,
    other: Vec<usize>,
    routes: Vec<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    host: HostMatch,
    path_prefix: String,
}

impl Table {
    /// Prepares `routes`.
    pub(super) fn new(routes: &[Route]) -> Self {
        let mut table = Self::default();
        for (index, route) in routes.iter().enumerate() {
            let host = match &route.host {
                HostMatch::Any => HostMatch::Any,
                HostMatch::Exact(text) => HostMatch::Exact(text.to_ascii_lowercase()),
                HostMatch::Suffix(text) => HostMatch::Suffix(text.to_ascii_lowercase()),
                HostMatch::Prefix(text) => HostMatch::Prefix(text.to_ascii_lowercase()),
            };
            match &host {
                HostMatch::Exact(name) => {
                    table.exact.entry(name.as_str().into()).or_default().push(index);
                }
                _ => table.other.push(index),
            }
            table.routes.push(Prepared { host, path_prefix: route.path_prefix.clone() });
        }
        table
    }

    /// Position of the first route for `authority` (a `Host` header, port or not, any case) and
    /// `path`.
    pub(super) fn find(&self, authority: &str, path: &str) -> Option<usize> {
        let host = lower(host_of(authority));
        let exact = if self.exact.is_empty() { None } else { self.exact.get(&*host) };
        let exact = exact.and_then(|list| list.iter().copied().find(|&i| self.has_path(i, path)));
        let before = exact.unwrap_or(usize::MAX);
        let other = self
            .other
            .iter()
            .copied()
            .take_while(|&i| i < before)
            .find(|&i| self.has_host(i, &host) && self.has_path(i, path));
        other.or(exact)
    }

    fn has_host(&self, index: usize, host: &str) -> bool {
        match &self.routes[index].host {
            HostMatch::Any => true,
            HostMatch::Exact(name) => host == name,
            HostMatch::Suffix(end) => host.ends_with(end.as_str()),
            HostMatch::Prefix(start) => host.starts_with(start.as_str()),
        }
    }

    /// Paths are compared in any case, as HAProxy's `path_beg -i` did for Rancher.
    fn has_path(&self, index: usize, path: &str) -> bool {
        let prefix = self.routes[index].path_prefix.as_bytes();
        path.as_bytes().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    }
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`, without a last dot.
fn host_of(authority: &str) -> &str {
    let bytes = authority.as_bytes();
    let end = if bytes.first() == Some(&b'[') {
        bytes.iter().position(|&b| b == b']').map_or(bytes.len(), |end| end + 1)
    } else {
        bytes.iter().position(|&b| b == b':').unwrap_or(bytes.len())
    };
    let host = &authority[..end];
    host.strip_suffix('.').unwrap_or(host)
}

fn lower(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        host.to_ascii_lowercase().into()
    } else {
        host.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: HostMatch, path: &str) -> Route {
        Route { host, path_prefix: path.into(), upstream: String::new() }
    }

    #[test]
    fn the_first_route_that_matches_wins() {
        let table = Table::new(&[
            route(HostMatch::Exact("Foo.com".into()), "/api"), // 0
            route(HostMatch::Suffix(".foo.com".into()), ""),   // 1
            route(HostMatch::Exact("foo.com".into()), ""),     // 2
            route(HostMatch::Exact("a.foo.com".into()), ""),   // 3: hidden by 1
            route(HostMatch::Prefix("bar.".into()), "/x"),     // 4
            route(HostMatch::Exact("[::1]".into()), ""),       // 5
            route(HostMatch::Any, "/any"),                     // 6
            route(HostMatch::Exact("late.com".into()), ""),    // 7
        ]);
        for (host, path, want) in [
            ("foo.com", "/api/v1", Some(0)),
            ("FOO.com:8080", "/API", Some(0)),
            ("foo.com.", "/ap", Some(2)),
            ("foo.com", "/", Some(2)),
            ("a.foo.com", "/", Some(1)),
            ("xfoo.com", "/", None),
            ("bar.org", "/x", Some(4)),
            ("bar.org", "/", None),
            ("bar.org", "/anywhere", Some(6)),
            ("[::1]:80", "/", Some(5)),
            ("[::1]", "/", Some(5)),
            ("late.com", "/any", Some(6)),
            ("late.com", "/other", Some(7)),
            ("", "/any", Some(6)),
            ("", "", None),
            ("]", "/any", Some(6)),
        ] {
            assert_eq!(table.find(host, path), want, "{host} {path}");
        }
    }

    #[test]
    fn no_routes_match_nothing() {
        assert_eq!(Table::new(&[]).find("a", "/"), None);
    }
}
