//! The Consul API of this host: what clients of it ask goes to the server, over the one port that
//! agents dial, and comes back as the server sends it. Without a server reads of the catalog are
//! answered from this host's view, and said to be of no leader; all else is refused.

mod known;

use ::consul::{Answer, Arrived, Body, Gate, Handler, Request, respond};
use api::grpc::GrpcLink;
use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::{Method, Uri};
use http_body_util::BodyExt as _;
use known::Known;
use model::consul_access::ContainerAccess;
use model::limits::{CONSUL_CONTAINER_CONNECTIONS_MAX, CONSUL_SNAPSHOTS_AT_ONCE};
use model::view::HostView;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// Headers that belong to one connection and do not go on to the next.
const OF_CONNECTION: [HeaderName; 5] =
    [CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("keep-alive")];

/// Listens for ever on `address`; while somebody else has that port, and be it the server of this
/// machine, it waits until it is free. `view` is this host's newest one.
pub async fn serve_consul(
    address: SocketAddr,
    link: GrpcLink,
    view: watch::Receiver<Option<Arc<HostView>>>,
) {
    let room = Arc::new(Semaphore::new(CONSUL_SNAPSHOTS_AT_ONCE));
    ::consul::serve(address, Gateway { link, known: Known::new(view), room }).await;
}

/// Answers containers for ever, as far as the environment lets them.
pub async fn serve_containers(link: GrpcLink, view: watch::Receiver<Option<Arc<HostView>>>) {
    let known = view.clone();
    // Before the first view nobody knows what they may.
    let may = move || {
        let view = known.borrow();
        view.as_ref().map_or(ContainerAccess::Off, |view| view.catalog.access.containers)
    };
    // What containers put back holds up nobody else of the host.
    let room = Arc::new(Semaphore::new(CONSUL_SNAPSHOTS_AT_ONCE));
    let gateway = Gateway { link, known: Known::new(view), room };
    let address = SocketAddr::from((network::LINK_LOCAL, network::CONSUL_PORT));
    let most = CONSUL_CONTAINER_CONNECTIONS_MAX;
    ::consul::serve_at_most(most, address, Gate::new(gateway, may)).await;
}

#[derive(Clone, Debug)]
struct Gateway {
    link: GrpcLink,
    known: Known,
    /// For bodies of snapshots.
    room: Arc<Semaphore>,
}

impl Handler for Gateway {
    fn snapshot_room(&self) -> &Semaphore {
        &self.room
    }

    async fn handle(&self, arrived: Arrived) -> http::Response<Body> {
        let Arrived { mut parts, body, .. } = arrived;
        let path = parts.uri.path().to_owned();
        let is_read = parts.method == Method::GET;
        // Only what is behind the address goes on.
        let beyond = parts.uri.path_and_query().cloned();
        parts.uri = beyond.map(Uri::from).unwrap_or_default();
        if !parts.uri.path().starts_with("/v1/") {
            return respond(Answer::not_found("404 page not found\n"));
        }
        // A read can be answered without a server, and is kept for that.
        let read = is_read.then(|| Request::read(&parts, Bytes::new(), &self.known.node()).ok());
        for name in OF_CONNECTION {
            parts.headers.remove(name);
        }
        parts.version = http::Version::HTTP_2;
        match self.link.forward(http::Request::from_parts(parts, body)).await {
            Ok(mut answer) => {
                *answer.version_mut() = http::Version::HTTP_11;
                answer.map(|body| body.map_err(Into::into).boxed_unsync())
            }
            Err(error) => {
                tracing::debug!(%error, path, "question of a client not answered");
                let known = match read.flatten() {
                    Some(read) => self.known.answer(&read).await,
                    None => None,
                };
                respond(known.unwrap_or_else(|| alone(is_read, &path)))
            }
        }
    }
}

/// What is answered while no server can be reached.
fn alone(is_read: bool, path: &str) -> Answer {
    match path {
        "/v1/status/leader" if is_read => Answer::json(""),
        "/v1/status/peers" if is_read => Answer::json::<[&str]>(&[]),
        _ => Answer::no_leader(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_server_there_is_no_leader() {
        for (is_read, path, status, body) in [
            (true, "/v1/status/leader", 200, "\"\""),
            (true, "/v1/status/peers", 200, "[]"),
            (true, "/v1/kv/a", 500, "No cluster leader"),
            (false, "/v1/kv/a", 500, "No cluster leader"),
            (false, "/v1/status/leader", 500, "No cluster leader"),
        ] {
            let answer = alone(is_read, path);
            assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, body.as_bytes()));
        }
    }
}
