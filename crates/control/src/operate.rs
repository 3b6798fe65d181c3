//! What people ask of a service besides its spec: scale, restart, stop, start, remove.

use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::id::{ServiceId, StackName};
use model::instance::Goal;
use model::record::{Record, RecordKey, Service};
use std::sync::Arc;

fn change(cluster: &Cluster, id: &ServiceId, edit: impl FnOnce(&mut Service)) -> Proposal {
    let Some(known) = cluster.service(id) else { return Proposal::default() };
    let mut service = (**known).clone();
    edit(&mut service);
    if service == **known {
        return Proposal::default();
    }
    let key = RecordKey::Service(id.clone());
    Proposal {
        reads: vec![(key.clone(), cluster.modified(&key))],
        change: Change { edits: vec![Edit::Put(Record::Service(Arc::new(service)))] },
    }
}

/// Sets the scale.
#[must_use]
pub fn scale(cluster: &Cluster, id: &ServiceId, scale: u32) -> Proposal {
    change(cluster, id, |service| service.scale = scale)
}

/// Makes every instance anew; a service that is stopped starts.
#[must_use]
pub fn restart(cluster: &Cluster, id: &ServiceId) -> Proposal {
    change(cluster, id, |service| {
        service.target.restart += 1;
        if service.goal == Goal::Stop {
            service.goal = Goal::Run;
        }
    })
}

/// Stops it, its containers are kept.
#[must_use]
pub fn stop(cluster: &Cluster, id: &ServiceId) -> Proposal {
    change(cluster, id, |service| {
        if service.goal == Goal::Run {
            service.goal = Goal::Stop;
        }
    })
}

/// Starts it again.
#[must_use]
pub fn start(cluster: &Cluster, id: &ServiceId) -> Proposal {
    change(cluster, id, |service| {
        if service.goal == Goal::Stop {
            service.goal = Goal::Run;
        }
    })
}

/// Removes it with its instances. Named volumes stay.
#[must_use]
pub fn remove_service(cluster: &Cluster, id: &ServiceId) -> Proposal {
    change(cluster, id, |service| service.goal = Goal::Remove)
}

/// Removes all services of a stack; its record goes with the last of them.
#[must_use]
pub fn remove_stack(cluster: &Cluster, stack: &StackName) -> Proposal {
    let mut all = Proposal::default();
    for service in cluster.services_of(stack) {
        let one = remove_service(cluster, &service.id);
        all.reads.extend(one.reads);
        all.change.edits.extend(one.change.edits);
    }
    all
}
