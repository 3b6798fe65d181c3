//! Plain containers that ask for the managed network: each gets an address there, which it keeps
//! until it is gone.

use crate::placement::Fleet;
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::limits::DECISIONS_PER_PLAN_MAX;
use model::plain::{Attachment, PlainId};
use model::record::{Record, RecordKey};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Every one that asks and has no address.
pub(super) fn all(cluster: &Cluster) -> BTreeSet<PlainId> {
    cluster.plains().map(|(id, _)| id).filter(|id| lacks(cluster, id)).cloned().collect()
}

/// Does it ask for an address that it does not have?
pub(super) fn lacks(cluster: &Cluster, id: &PlainId) -> bool {
    let asks = cluster.plain(id).is_some_and(|plain| plain.is_to_join() && plain.state.is_up());
    asks && cluster.attachment(id).is_none() && cluster.host(&id.host).is_some()
}

/// May its address go? Not while it is there, whether it runs or not.
pub(super) fn is_over(cluster: &Cluster, id: &PlainId) -> bool {
    cluster.host(&id.host).is_none() || cluster.plain(id).is_none_or(|plain| !plain.is_to_join())
}

/// Gives addresses; who got one is noted in the fleet. Who finds none stays in `open`.
pub(super) fn decide(
    cluster: &Cluster,
    fleet: &mut Fleet,
    open: &mut BTreeSet<PlainId>,
) -> Vec<(PlainId, Proposal)> {
    open.retain(|id| lacks(cluster, id));
    let mut proposals = vec![];
    for id in open.iter().take(DECISIONS_PER_PLAN_MAX) {
        let Some(plain) = cluster.plain(id) else { continue };
        let Some(address) = fleet.address_for(id, &plain.wanted_addresses()) else { continue };
        let attachment = Attachment { id: id.clone(), address };
        fleet.attach(&attachment);
        let keys = [RecordKey::Plain(id.clone()), RecordKey::Attachment(id.clone())];
        let reads = keys.map(|key| {
            let read = cluster.modified(&key);
            (key, read)
        });
        let edits = vec![Edit::Put(Record::Attachment(Arc::new(attachment)))];
        proposals.push((id.clone(), Proposal { reads: reads.to_vec(), change: Change { edits } }));
    }
    proposals
}
