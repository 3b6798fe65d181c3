//! Which endpoint has a path, and which methods it knows: tables, one of each part of the dialect.

use crate::answer::Answer;
use crate::request::{Request, unknown};
use http::header::{ALLOW, HeaderValue};
use http::{Method, StatusCode};

/// A row: an endpoint of type `E`.
#[derive(Clone, Copy, Debug)]
pub struct Route<E> {
    /// Path behind `/v1/`. With a `/` at its end it has everything below it.
    pub path: &'static str,
    /// Methods in the order in which `Allow` names them.
    pub methods: &'static [Method],
    /// The endpoint.
    pub to: E,
}

/// All tables of rows.
#[derive(Clone, Copy, Debug)]
pub struct Tables<E: 'static>(pub &'static [&'static [Route<E>]]);

impl<E: Copy> Tables<E> {
    /// The endpoint of a request. The longest path that fits counts.
    ///
    /// # Errors
    /// 404 for a path that there is not, 405 with `Allow` for another method; 200 with `Allow` for
    /// OPTIONS.
    pub fn find(&self, request: &Request) -> Result<E, Answer> {
        let fits = |route: &&Route<E>| {
            route.path == request.path
                || (route.path.ends_with('/') && request.path.starts_with(route.path))
        };
        let rows = self.0.iter().flat_map(|table| table.iter()).filter(fits);
        let route = rows.max_by_key(|route| route.path.len()).ok_or_else(unknown)?;
        if route.methods.contains(&request.method) {
            return Ok(route.to);
        }
        let names: Vec<&str> = [Method::OPTIONS.as_str()]
            .into_iter()
            .chain(route.methods.iter().map(Method::as_str))
            .collect();
        let allow = HeaderValue::from_str(&names.join(",")).unwrap_or(HeaderValue::from_static(""));
        if request.method == Method::OPTIONS {
            return Err(Answer::empty(StatusCode::OK).with(ALLOW, allow));
        }
        let text = format!("method {} not allowed", request.method);
        Err(Answer::error(StatusCode::METHOD_NOT_ALLOWED, text).with(ALLOW, allow))
    }

    /// Every path with each of its methods.
    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let rows = self.0.iter().flat_map(|table| table.iter());
        rows.flat_map(|row| row.methods.iter().map(|method| (row.path, method.as_str())))
    }

    /// Path of the row that a request finds.
    #[cfg(test)]
    pub(crate) fn path_of(&self, request: &Request) -> Option<&'static str> {
        let paths = self.0.iter().flat_map(|table| table.iter()).map(|row| row.path);
        let fits = |path: &&str| {
            *path == request.path || (path.ends_with('/') && request.path.starts_with(*path))
        };
        paths.filter(fits).max_by_key(|path| path.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const TABLES: Tables<u8> = Tables(&[
        &[Route { path: "kv/", methods: &[Method::GET, Method::PUT], to: 1 }],
        &[
            Route { path: "agent/service/", methods: &[Method::GET], to: 2 },
            Route { path: "agent/service/register", methods: &[Method::PUT], to: 3 },
        ],
    ]);

    fn find(method: Method, path: &str) -> Result<u8, (u16, String)> {
        let uri = format!("/v1/{path}");
        let request = http::Request::builder().method(method).uri(uri).body(()).unwrap();
        let request = Request::read(&request.into_parts().0, Bytes::new(), "n").unwrap();
        TABLES.find(&request).map_err(|answer| {
            let allow = answer.headers.get(ALLOW).map(|v| v.to_str().unwrap().to_owned());
            (answer.status.as_u16(), allow.unwrap_or_default())
        })
    }

    #[test]
    fn the_longest_path_counts_and_its_methods() {
        for (method, path, want) in [
            (Method::GET, "kv/a/b", Ok(1)),
            (Method::GET, "kv/", Ok(1)),
            (Method::GET, "agent/service/x", Ok(2)),
            (Method::PUT, "agent/service/register", Ok(3)),
            (Method::GET, "agent/service/register", Err((405, "OPTIONS,PUT".to_owned()))),
            (Method::DELETE, "kv/a", Err((405, "OPTIONS,GET,PUT".to_owned()))),
            (Method::OPTIONS, "kv/a", Err((200, "OPTIONS,GET,PUT".to_owned()))),
            (Method::GET, "kv", Err((404, String::new()))),
            (Method::OPTIONS, "nothing", Err((404, String::new()))),
        ] {
            assert_eq!(find(method.clone(), path), want, "{method} {path}");
        }
    }
}
