//! Records that nothing stands behind any more: stacks without services, statuses without
//! instances, instances without a service, addresses of plain containers that are gone, and what
//! was seen on a host that has left.

use super::attach;
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::instance::Phase;
use model::limits::DECISIONS_PER_PLAN_MAX;
use model::record::RecordKey;
use std::collections::BTreeSet;

/// Every record that may be one.
pub(super) fn all(cluster: &Cluster) -> BTreeSet<RecordKey> {
    let stacks = cluster.stacks().map(|stack| RecordKey::Stack(stack.name.clone()));
    let statuses = cluster.instance_statuses().map(|(id, _)| RecordKey::InstanceStatus(id.clone()));
    let instances = cluster.instances().map(|instance| RecordKey::Instance(instance.id.clone()));
    let plains = cluster.plains().map(|(id, _)| RecordKey::Plain(id.clone()));
    let attachments = cluster.attachments().map(|one| RecordKey::Attachment(one.id.clone()));
    let all = stacks.chain(statuses).chain(instances).chain(plains).chain(attachments);
    all.filter(|key| is_leftover(cluster, key)).collect()
}

fn is_leftover(cluster: &Cluster, key: &RecordKey) -> bool {
    if cluster.modified(key).is_none() {
        return false;
    }
    match key {
        RecordKey::Stack(name) => cluster.services_of(name).next().is_none(),
        RecordKey::InstanceStatus(id) => cluster.instance(&id.instance()).is_none(),
        RecordKey::Instance(id) => cluster.service(&id.service).is_none(),
        RecordKey::Plain(id) => cluster.host(&id.host).is_none(),
        RecordKey::Attachment(id) => attach::is_over(cluster, id),
        _ => false,
    }
}

/// May it go now? An instance goes when all of its containers are gone.
fn may_go(cluster: &Cluster, key: &RecordKey) -> bool {
    match key {
        RecordKey::Instance(id) => {
            let mut seen = cluster.statuses_of(id).peekable();
            seen.peek().is_some() && seen.all(|seen| seen.phase == Phase::Absent)
        }
        _ => true,
    }
}

/// Takes away what may go; what is no leftover is no suspect any more.
pub(super) fn sweep(cluster: &Cluster, suspects: &mut BTreeSet<RecordKey>) -> Option<Proposal> {
    suspects.retain(|key| is_leftover(cluster, key));
    let keys: Vec<RecordKey> = suspects
        .iter()
        .filter(|key| may_go(cluster, key))
        .take(DECISIONS_PER_PLAN_MAX)
        .cloned()
        .collect();
    if keys.is_empty() {
        return None;
    }
    Some(Proposal {
        reads: keys.iter().map(|key| (key.clone(), cluster.modified(key))).collect(),
        change: Change { edits: keys.into_iter().map(Edit::Delete).collect() },
    })
}
