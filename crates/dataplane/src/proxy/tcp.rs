//! TCP forward: one connection to one endpoint.

use super::connect;
use super::endpoint::Lease;
use super::listening::Target;
use super::shard::{Open, Shard};
use super::socket::reset_on_close;
use super::tunnel;
use super::upgrade::until_cut;
use super::upstream::Unavailable;
use bytes::Bytes;
use model::limits::PROXY_TRIES_MAX;
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Serves one client's connection to its end. One that no endpoint takes is reset.
pub(super) async fn serve(shard: Rc<Shard>, target: Rc<Target>, client: TcpStream, open: Open) {
    let Some((endpoint, lease)) = reach(&shard, &target).await else {
        shard.counters.tcp_failed.count();
        reset_on_close(&client);
        return;
    };
    pass(&shard, client, endpoint, lease).await;
    drop(open);
}

/// Passes bytes both ways until both ends, or until the endpoint's time is over.
pub(super) async fn pass(shard: &Shard, client: TcpStream, endpoint: TcpStream, lease: Lease) {
    lease.0.shared.count_request();
    let copy = tunnel::copy(shard, &client, &endpoint, Bytes::new(), Bytes::new());
    if let Some(Err(error)) = until_cut(shard, &lease, copy).await {
        tracing::trace!(%error, "a forwarded connection broke");
    }
    // The count goes down only once the endpoint's socket is closed.
    drop((client, endpoint));
    drop(lease);
}

/// A connection to an endpoint of `target`; `None` when nobody takes one in time.
pub(super) async fn reach(shard: &Rc<Shard>, target: &Target) -> Option<(TcpStream, Lease)> {
    let upstream = target.upstream.borrow().clone()?;
    let mut deadline: Option<Instant> = None;
    let mut tried = Vec::new();
    let mut tries = 0;
    while tries < PROXY_TRIES_MAX {
        let lease = match upstream.acquire(&tried, !tried.is_empty(), &mut deadline).await {
            Ok(endpoint) => Lease::new(endpoint),
            Err(Unavailable::Pause) => {
                tried.clear();
                continue;
            }
            Err(why) => {
                tracing::debug!(upstream = %target.name, ?why, "no endpoint for a connection");
                return None;
            }
        };
        match connect::tcp(shard, &lease.0, upstream.connect_timeout()).await {
            Ok(stream) => return Some((stream, lease)),
            Err(_logged) => {
                shard.counters.retries.count();
                tries += 1;
                tried.push(Rc::clone(&lease.0));
            }
        }
    }
    None
}
