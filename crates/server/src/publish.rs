//! Keeps the publication of every connected host equal to the cluster. One loop for all hosts: what
//! is the same for all of them is derived once, and only what changed goes out. The first change
//! goes out at once, those of the next moment together.

use crate::hosts::Session;
use crate::latest::Interest;
use crate::state::Shared;
use api::link::Publication;
use control::publish::Catalog;
use model::cluster::Cluster;
use model::id::HostId;
use model::instance::Instance;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::time::Instant;

/// After a publication the next changes are gathered for this long.
const WINDOW: Duration = Duration::from_millis(5);
/// Everything is derived again at least this often, whatever the events say.
const PERIOD: Duration = Duration::from_secs(10);

/// Publishes for ever.
pub(crate) async fn run<S: Store>(shared: Shared<S>) {
    let mut clusters = shared.follow(Interest::Published);
    let mut catalog = None;
    loop {
        let arrived = shared.hosts.arrived();
        let began = Instant::now();
        let cluster = clusters.take();
        {
            let sessions = shared.hosts.sessions();
            if cluster.environment().is_some() && !sessions.is_empty() {
                let next = Catalog::of(&cluster, catalog.as_ref());
                publish(&cluster, &shared.epoch.to_string(), &next, &sessions);
                catalog = Some(next);
            }
        }
        // A cluster that takes long to derive is derived less often.
        tokio::time::sleep(WINDOW.max(began.elapsed())).await;
        tokio::select! {
            biased;
            () = clusters.changed() => {}
            () = arrived => {}
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

fn publish(
    cluster: &Cluster,
    epoch: &str,
    catalog: &Catalog,
    sessions: &BTreeMap<HostId, Session>,
) {
    let mut placed: BTreeMap<&HostId, Vec<&Arc<Instance>>> = BTreeMap::new();
    for instance in cluster.instances() {
        placed.entry(&instance.host).or_default().push(instance);
    }
    let routed = control::publish::routed_ports(cluster);
    for (host, session) in sessions {
        let placed = placed.get(host).map_or(&[][..], Vec::as_slice);
        let mut spec = control::host::spec_of(cluster, host, &routed, placed);
        spec.peers = catalog.peers();
        let view = control::publish::view_of(cluster, host, catalog, placed);
        let next =
            Publication { epoch: epoch.to_owned(), spec: Arc::new(spec), view: Arc::new(view) };
        session.publish.send_if_modified(|last| {
            if last.as_ref().is_some_and(|last| same(last, &next)) {
                return false;
            }
            *last = Some(Arc::new(next));
            true
        });
        session.published(cluster.index());
    }
}

/// Equal but for the marks of when it was made? What hosts share is the same or another one.
fn same(a: &Publication, b: &Publication) -> bool {
    a.epoch == b.epoch
        && Arc::ptr_eq(&a.view.dns, &b.view.dns)
        && Arc::ptr_eq(&a.view.callers, &b.view.callers)
        && Arc::ptr_eq(&a.view.instances, &b.view.instances)
        && a.spec.environment == b.spec.environment
        && a.spec.instances == b.spec.instances
        && a.spec.balancers == b.spec.balancers
        && a.spec.volumes == b.spec.volumes
        && Arc::ptr_eq(&a.spec.peers, &b.spec.peers)
        && a.spec.images_kept == b.spec.images_kept
        && a.view.upstreams == b.view.upstreams
        && a.view.listeners == b.view.listeners
}
