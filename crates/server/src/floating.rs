//! Floating addresses as the hosts say: who has one, and which voters have heard of the last change
//! of the voters. Only transitions reach the store.

use crate::authority::Authority;
use crate::state::Shared;
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::floating::{Floating, FloatingSeen};
use model::id::HostId;
use model::record::{Record, RecordKey};
use model::time::Timestamp;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// Tries to write a record that others change at the same time.
const TRIES_MAX: usize = 10;

/// What the keys of floating addresses are made of: it lasts as long as the CA, and nobody who does
/// not have its key can know it.
pub(crate) fn secret(authority: &Authority) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(b"remuda floating addresses");
    hash.chain_update(authority.ca.key_pem.as_bytes()).finalize().into()
}

/// Writes what a host says that is news.
pub(crate) async fn ingest<S: Store>(
    shared: &Shared<S>,
    host: &HostId,
    seen: &BTreeMap<Ipv4Addr, FloatingSeen>,
) {
    for (address, seen) in seen {
        for _ in 0..TRIES_MAX {
            let cluster = shared.cluster();
            let Some(proposal) = news(&cluster, *address, host, seen, shared.now()) else { break };
            match shared.commit(proposal).await {
                Ok(_) => break,
                Err(store::Error::Conflict { .. }) => {
                    shared.newer_than(cluster.index(), Duration::from_secs(1)).await;
                }
                Err(error) => {
                    // It is told again with every status.
                    let error = api::error::chain(&error);
                    tracing::warn!(%host, %address, error, "word on a floating address not stored");
                    break;
                }
            }
        }
    }
}

fn news(
    cluster: &Cluster,
    address: Ipv4Addr,
    host: &HostId,
    seen: &FloatingSeen,
    now: Timestamp,
) -> Option<Proposal> {
    let known: &Arc<Floating> = cluster.floating(address)?;
    let next = control::floating::heard(known, host, seen, now)?;
    let key = RecordKey::Floating(address);
    let reads = vec![(key.clone(), cluster.modified(&key))];
    let edits = vec![Edit::Put(Record::Floating(Arc::new(next)))];
    Some(Proposal { reads, change: Change { edits } })
}
