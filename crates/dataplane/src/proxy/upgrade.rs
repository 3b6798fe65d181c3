//! After a 101: bytes both ways, until both ends, the endpoint's time to drain, or the shard's.

use super::endpoint::Lease;
use super::shard::Shard;
use super::socket::{Io, Socket};
use super::tunnel;
use bytes::Bytes;
use futures_util::future::{Either, select, try_join};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

/// Waits until both sides have changed protocol and passes their bytes on. The shard's runtime
/// owns the task, which holds `lease` as long as it runs.
pub(super) fn start(shard: Rc<Shard>, client: OnUpgrade, endpoint: OnUpgrade, lease: Lease) {
    let open = shard.open();
    tokio::task::spawn_local(async move {
        let (client, endpoint) = match try_join(client, endpoint).await {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "a change of protocol broke off");
                return;
            }
        };
        let (Some((client, from_client)), Some((endpoint, from_endpoint))) =
            (open_up(client), open_up(endpoint))
        else {
            tracing::error!("a changed connection is not one of the proxy's own");
            return;
        };
        let copy =
            tunnel::copy(&shard, client.stream(), endpoint.stream(), from_client, from_endpoint);
        if let Some(Err(error)) = until_cut(&shard, &lease, copy).await {
            tracing::trace!(%error, "a tunnel broke");
        }
        drop((lease, open));
    });
}

/// Runs `copy` until it ends or must end, which is `None`.
pub(super) async fn until_cut<T>(
    shard: &Shard,
    lease: &Lease,
    copy: impl Future<Output = T>,
) -> Option<T> {
    match select(pin!(copy), select(lease.cut(), shard.cut.after(0))).await {
        Either::Left((result, _)) => Some(result),
        Either::Right(_) => None,
    }
}

fn open_up(upgraded: Upgraded) -> Option<(Arc<Socket>, Bytes)> {
    let parts = upgraded.downcast::<TokioIo<Io>>().ok()?;
    Some((parts.io.into_inner().0, parts.read_buf))
}
