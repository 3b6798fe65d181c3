//! What every host holds and may publish, kept up to date change by change: what a change cannot
//! have touched is not derived again.

use super::{Catalog, RoutedPorts, routed_ports, view_of};
use crate::host::spec_of;
use crate::probing::Ring;
use model::cluster::Cluster;
use model::host_spec::HostSpec;
use model::id::{HostId, InstanceId, ServiceId};
use model::instance::Instance;
use model::record::RecordKey;
use model::service::Kind;
use model::time::Generation;
use model::view::HostView;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What one host holds and may publish. Each of the two is the same one until something of it
/// changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// What it should hold.
    pub spec: Arc<HostSpec>,
    /// What it may publish.
    pub view: Arc<HostView>,
}

/// The publications of many hosts, with the cluster that they were made from.
#[derive(Debug, Default)]
pub struct Publisher {
    made_from: Option<Cluster>,
    catalog: Option<Catalog>,
    routed: RoutedPorts,
    ring: Ring,
    hosts: BTreeMap<HostId, Published>,
}

/// Hosts whose own part is derived again.
#[derive(Debug)]
enum Touched {
    All,
    These(BTreeSet<HostId>),
}

impl Touched {
    fn holds(&self, host: &HostId) -> bool {
        match self {
            Self::All => true,
            Self::These(these) => these.contains(host),
        }
    }
}

impl Publisher {
    /// Brings the publications of these hosts to the cluster, which is never older than the last
    /// one; those of others are forgotten. With `whole` everything is derived, whatever the
    /// changes say.
    pub fn follow<'a>(
        &mut self,
        cluster: &Cluster,
        hosts: impl Iterator<Item = &'a HostId>,
        whole: bool,
    ) {
        let routed = routed_ports(cluster);
        self.ring.follow(cluster);
        let catalog = Catalog::of(cluster, &routed, &self.ring, self.catalog.as_ref());
        let before = self.made_from.as_ref().filter(|_| !whole);
        let touched = before.map_or(Touched::All, |before| {
            touched(before, cluster, &other_ports(&self.routed, &routed))
        });
        let mut known = std::mem::take(&mut self.hosts);
        for host in hosts {
            let next = match known.remove(host) {
                Some(last) if !touched.holds(host) => last.in_new_company(cluster, &catalog),
                last => {
                    let next = Published::of(cluster, host, &routed, &catalog);
                    match last {
                        Some(last) => next.or_known(last, cluster),
                        None => next,
                    }
                }
            };
            self.hosts.insert(host.clone(), next);
        }
        self.catalog = Some(catalog);
        self.routed = routed;
        self.made_from = Some(cluster.clone());
    }

    /// What a host holds and may publish; `None` when it was not among the last hosts.
    #[must_use]
    pub fn of(&self, host: &HostId) -> Option<&Published> {
        self.hosts.get(host)
    }
}

impl Published {
    fn of(cluster: &Cluster, host: &HostId, routed: &RoutedPorts, catalog: &Catalog) -> Self {
        let placed: Vec<&Arc<Instance>> = cluster.instances_on(host).collect();
        let mut spec = spec_of(cluster, host, routed, &placed);
        spec.peers = catalog.peers();
        let view = view_of(cluster, host, catalog, &placed);
        Self { spec: Arc::new(spec), view: Arc::new(view) }
    }

    /// Nothing of the host's own has changed; what it shares with the others may have.
    fn in_new_company(self, cluster: &Cluster, catalog: &Catalog) -> Self {
        let Self { mut spec, mut view } = self;
        if !Arc::ptr_eq(&spec.peers, &catalog.peers) {
            let spec = Arc::make_mut(&mut spec);
            spec.peers = catalog.peers();
            spec.generation = Generation(cluster.index().0);
        }
        let same = Arc::ptr_eq(&view.dns, &catalog.dns)
            && Arc::ptr_eq(&view.callers, &catalog.callers)
            && Arc::ptr_eq(&view.instances, &catalog.instances);
        if !same {
            let view = Arc::make_mut(&mut view);
            view.dns = Arc::clone(&catalog.dns);
            view.callers = Arc::clone(&catalog.callers);
            view.instances = Arc::clone(&catalog.instances);
            view.index = cluster.index();
        }
        Self { spec, view }
    }

    /// The last ones where they say the same, but for the marks of when they were made.
    fn or_known(self, last: Self, cluster: &Cluster) -> Self {
        // An order that changes nothing here is one that the host has to have heard all the same:
        // what it says of the instance counts only then.
        let heard = |id: &InstanceId| {
            let ordered = cluster.modified(&RecordKey::Instance(id.instance()));
            ordered.is_none_or(|ordered| ordered.0 <= last.spec.generation.0)
        };
        let mut ordered = last.spec.instances.keys().chain(last.spec.balancers.keys());
        let spec = match same_spec(&self.spec, &last.spec) && ordered.all(heard) {
            true => last.spec,
            false => self.spec,
        };
        let view = if same_view(&self.view, &last.view) { last.view } else { self.view };
        Self { spec, view }
    }
}

fn same_spec(a: &HostSpec, b: &HostSpec) -> bool {
    a.environment == b.environment
        && a.instances == b.instances
        && a.balancers == b.balancers
        && a.volumes == b.volumes
        && a.attachments == b.attachments
        && Arc::ptr_eq(&a.peers, &b.peers)
        && a.images_kept == b.images_kept
}

/// What hosts share is the same or another one.
fn same_view(a: &HostView, b: &HostView) -> bool {
    Arc::ptr_eq(&a.dns, &b.dns)
        && Arc::ptr_eq(&a.callers, &b.callers)
        && Arc::ptr_eq(&a.instances, &b.instances)
        && a.environment == b.environment
        && a.upstreams == b.upstreams
        && a.listeners == b.listeners
}

/// Services to whose containers balancers lead otherwise than before.
fn other_ports(before: &RoutedPorts, now: &RoutedPorts) -> BTreeSet<ServiceId> {
    let both = before.keys().chain(now.keys());
    both.filter(|service| before.get(*service) != now.get(*service)).cloned().collect()
}

/// Hosts that the changes from one cluster to the next can have touched.
fn touched(before: &Cluster, now: &Cluster, rerouted: &BTreeSet<ServiceId>) -> Touched {
    let many = |cluster: &Cluster| cluster.hosts().nth(1).is_some();
    let whole = before.environment() != now.environment() || many(before) != many(now);
    let changed = now.changed_since(before.index());
    let (false, Some(changed)) = (whole, changed) else { return Touched::All };
    let mut hosts: BTreeSet<HostId> = BTreeSet::new();
    let mut services: BTreeSet<&ServiceId> = rerouted.iter().collect();
    let mut any = !rerouted.is_empty();
    let both = [before, now];
    for key in changed {
        match key {
            RecordKey::Environment | RecordKey::Token(_) => continue,
            // Who can be reached where is shared by all hosts; balancers lead there as well.
            RecordKey::Host(_) => {}
            // A service may count it as one of its own, and balancers lead there.
            RecordKey::Plain(id) | RecordKey::Attachment(id) => {
                hosts.insert(id.host.clone());
            }
            RecordKey::Stack(name) => {
                services.extend(both.iter().flat_map(|c| c.services_of(name)).map(|s| &s.id));
            }
            RecordKey::Service(id) | RecordKey::Revision(id, _) => _ = services.insert(id),
            RecordKey::ServiceStatus(id) => {
                let images = both.map(|c| c.service_status(id).map(|status| &status.revisions));
                if images[0] != images[1] {
                    services.insert(id);
                }
            }
            RecordKey::Instance(id) | RecordKey::InstanceStatus(id) => {
                let id = id.instance();
                let records = both.iter().filter_map(|c| c.instance(&id));
                hosts.extend(records.map(|instance| instance.host.clone()));
            }
        }
        any = true;
    }
    if any {
        services.extend(balancers(now));
    }
    for service in services {
        let instances = both.iter().flat_map(|c| c.instances_of(service));
        hosts.extend(instances.map(|instance| instance.host.clone()));
    }
    Touched::These(hosts)
}

/// Services that are balancers at any kept revision: to what they lead may change with everything.
fn balancers(cluster: &Cluster) -> impl Iterator<Item = &ServiceId> {
    let revisions = cluster.services().flat_map(|service| cluster.revisions_of(&service.id));
    revisions
        .filter(|revision| matches!(revision.template.kind, Kind::Balancer(_)))
        .map(|revision| &revision.service)
}
