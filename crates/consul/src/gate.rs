//! What containers may: the door before another handler.

use crate::answer::Answer;
use crate::listen::{Arrived, Body, Handler};
use crate::request::Request;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode};
use model::consul_access::ContainerAccess;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Lets through what containers may.
#[derive(Clone)]
pub struct Gate<H> {
    inner: H,
    may: Arc<dyn Fn() -> ContainerAccess + Send + Sync>,
}

impl<H> std::fmt::Debug for Gate<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("may", &(self.may)()).finish_non_exhaustive()
    }
}

impl<H> Gate<H> {
    /// Before `inner`; `may` is asked at each request.
    pub fn new(inner: H, may: impl Fn() -> ContainerAccess + Send + Sync + 'static) -> Self {
        Self { inner, may: Arc::new(may) }
    }
}

impl<H> Gate<H> {
    /// Why a read is not let through: an archive of all keys is large, and is kept until it was taken.
    fn withholds(&self, parts: &Parts) -> Option<&'static str> {
        let asked = Request::read(parts, Bytes::new(), "");
        let is_snapshot = asked.is_ok_and(|asked| asked.path == "snapshot");
        (is_snapshot && (self.may)() != ContainerAccess::Write)
            .then_some("Permission denied: snapshots are not for containers that may only read")
    }
}

/// Why a request is not let through; `None` when it is.
fn refusal(may: ContainerAccess, method: &Method) -> Option<&'static str> {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    match may {
        ContainerAccess::Write => None,
        ContainerAccess::Read if reads => None,
        ContainerAccess::Read => Some(
            "Permission denied: containers may only read here; `remuda net consul --containers \
             write` lets them write",
        ),
        ContainerAccess::Off => Some(
            "Permission denied: nothing is answered to containers here; `remuda net consul \
             --containers read` lets them read",
        ),
    }
}

impl<H: Handler> Handler for Gate<H> {
    fn refuses(&self, parts: &Parts) -> Option<Answer> {
        let why = refusal((self.may)(), &parts.method);
        let why = why.or_else(|| self.withholds(parts));
        let forbidden = why.map(|why| Answer::error(StatusCode::FORBIDDEN, why));
        forbidden.or_else(|| self.inner.refuses(parts))
    }

    fn snapshot_room(&self) -> &Semaphore {
        self.inner.snapshot_room()
    }

    async fn handle(&self, arrived: Arrived) -> http::Response<Body> {
        self.inner.handle(arrived).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_read_unless_more_or_less_is_said() {
        use ContainerAccess::{Off, Read, Write};
        for (may, method, passes) in [
            (Off, Method::GET, false),
            (Off, Method::PUT, false),
            (Read, Method::GET, true),
            (Read, Method::OPTIONS, true),
            (Read, Method::PUT, false),
            (Read, Method::POST, false),
            (Read, Method::DELETE, false),
            (Write, Method::PUT, true),
            (Write, Method::DELETE, true),
        ] {
            assert_eq!(refusal(may, &method).is_none(), passes, "{may:?} {method}");
        }
    }
}
