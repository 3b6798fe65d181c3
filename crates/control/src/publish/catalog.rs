//! The part of a view that is the same for every host: names, callers, instances.

use super::{RoutedPorts, links, plain, ready_ports};
use crate::host::search;
use crate::parts::{in_host_network, parts};
use crate::probing::Ring;
use model::cluster::Cluster;
use model::host_spec::Peer;
use model::id::{HostId, InstanceId, ServiceId, ServiceName};
use model::instance::{Goal, Instance, Phase};
use model::limits::DNS_TTL_S;
use model::record::Service;
use model::scaling::{Metric, Scaling};
use model::service::{Kind, Template};
use model::time::Timestamp;
use model::view::{Admit, Caller, DnsView, NameTarget, ViewInstance};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Zones that we answer with authority.
const ZONES: [&str; 2] = ["rancher.internal", "remuda.internal"];
/// Where metadata and DNS are found.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 250);

/// What every host of the environment may know, shared by their views.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Catalog {
    pub(super) dns: Arc<DnsView>,
    pub(super) callers: Arc<BTreeMap<Ipv4Addr, Caller>>,
    pub(super) instances: Arc<BTreeMap<InstanceId, ViewInstance>>,
    pub(super) peers: Arc<BTreeMap<HostId, Peer>>,
}

/// A catalog while it is made.
pub(super) struct Draft {
    pub(super) dns: DnsView,
    callers: BTreeMap<Ipv4Addr, Caller>,
    pub(super) instances: BTreeMap<InstanceId, ViewInstance>,
}

impl Catalog {
    /// Derives it. A part that is equal to that of `before` is the same one, so that who compares
    /// two views need not look inside.
    #[must_use]
    pub(super) fn of(
        cluster: &Cluster,
        routed: &RoutedPorts,
        ring: &Ring,
        before: Option<&Self>,
    ) -> Self {
        fn keep<T: PartialEq>(new: T, before: Option<&Arc<T>>) -> Arc<T> {
            match before {
                Some(before) if **before == new => Arc::clone(before),
                _ => Arc::new(new),
            }
        }
        let mut draft = Draft {
            dns: DnsView {
                zones: ZONES.iter().map(|zone| (*zone).to_owned()).collect(),
                ttl_s: DNS_TTL_S,
                names: BTreeMap::new(),
                cnames: BTreeMap::new(),
            },
            callers: BTreeMap::new(),
            instances: BTreeMap::new(),
        };
        add_instances(cluster, routed, ring, &mut draft);
        links::add_outside(cluster, &mut draft);
        plain::add_selected(cluster, &mut draft);
        add_names(cluster, &mut draft);
        add_plain(cluster, &mut draft);
        draft.dns.names.insert("rancher-metadata".into(), NameTarget::Address(METADATA));
        Self {
            dns: keep(draft.dns, before.map(|b| &b.dns)),
            callers: keep(draft.callers, before.map(|b| &b.callers)),
            instances: keep(draft.instances, before.map(|b| &b.instances)),
            peers: keep(super::peers(cluster), before.map(|b| &b.peers)),
        }
    }
}

impl Catalog {
    /// Through which host each part of the managed network is reached.
    pub(super) fn peers(&self) -> Arc<BTreeMap<HostId, Peer>> {
        Arc::clone(&self.peers)
    }
}

fn add_instances(cluster: &Cluster, routed: &RoutedPorts, ring: &Ring, catalog: &mut Draft) {
    let mut aliases: BTreeMap<&ServiceId, BTreeMap<String, String>> = BTreeMap::new();
    for instance in cluster.instances() {
        let service = &instance.id.service;
        let Some(revision) = cluster.revision(service, instance.target.revision) else { continue };
        let template = &revision.template;
        if let (Kind::Balancer(_), Some(address)) = (&template.kind, instance.address) {
            if let Some(listed) = listed(cluster, instance, &instance.id, address) {
                catalog
                    .instances
                    .insert(instance.id.clone(), ViewInstance { running: true, ..listed });
            }
            continue;
        }
        for part in parts(instance, template) {
            let hosts = || host_address(cluster, instance, template, part.name);
            let Some(address) = part.address.or_else(hosts) else { continue };
            let Some(mut listed) = listed(cluster, instance, &part.id, address) else { continue };
            if part.owns_address() {
                let search = search(&part.id, part.container);
                let known = || cluster.service(service).map(|s| links::aliases(cluster, s));
                let aliases =
                    aliases.entry(service).or_insert_with(|| known().unwrap_or_default()).clone();
                catalog
                    .callers
                    .insert(address, Caller { service: service.clone(), search, aliases });
            }
            listed.check = part.health_check.cloned();
            if listed.check.is_some() && part.owns_address() {
                listed.probers = ring.probers(&part.id, &instance.host);
                let seen = cluster.instance_status(&part.id).and_then(|seen| seen.started_at);
                listed.run = seen.unwrap_or_default();
            }
            listed.ready_ports = ready_ports(routed, service, &part);
            catalog.instances.insert(part.id, listed);
        }
    }
}

/// The address of a container that is in its host's network.
fn host_address(
    cluster: &Cluster,
    instance: &Instance,
    template: &Template,
    name: Option<&ServiceName>,
) -> Option<Ipv4Addr> {
    let host = cluster.host(&instance.host).filter(|_| in_host_network(template, name))?;
    host.facts.address.parse().ok()
}

/// Does the scale of a service follow its requests?
fn follows_requests(service: &Service) -> bool {
    matches!(service.settings.scaling, Some(Scaling::Load { metric: Metric::Requests, .. }))
}

/// What a view says of one container; `None` when it is over.
pub(super) fn listed(
    cluster: &Cluster,
    instance: &Instance,
    id: &InstanceId,
    address: Ipv4Addr,
) -> Option<ViewInstance> {
    let seen = cluster.instance_status(id);
    let phase = seen.map_or(Phase::Pending, |s| s.phase);
    let over = matches!(phase, Phase::Absent | Phase::Stopped | Phase::Completed);
    if instance.goal != Goal::Run && over {
        return None;
    }
    Some(ViewInstance {
        address,
        host: instance.host.clone(),
        admit: if instance.goal == Goal::Run { Admit::Active } else { Admit::Draining },
        check: None,
        probers: vec![],
        run: Timestamp::default(),
        ready_ports: vec![],
        running: matches!(phase, Phase::Running | Phase::Draining),
        health: seen.map(|s| s.health).unwrap_or_default(),
        counted: cluster.service(&instance.id.service).is_some_and(|s| follows_requests(s)),
    })
}

fn add_names(cluster: &Cluster, catalog: &mut Draft) {
    let ids: Vec<InstanceId> = catalog.instances.keys().cloned().collect();
    let mut services: BTreeMap<String, Vec<InstanceId>> = BTreeMap::new();
    // Services without an instance have a name too: it is known and has no address.
    for service in cluster.services() {
        services.insert(dns_name(&service.id, None), vec![]);
        let revision = cluster.revision(&service.id, service.target.revision);
        for sidekick in revision.iter().flat_map(|r| r.template.sidekicks.keys()) {
            services.insert(dns_name(&service.id, Some(sidekick)), vec![]);
        }
    }
    for id in ids {
        if links::is_outside(&id) {
            services.entry(dns_name(&id.service, None)).or_default().push(id);
            continue;
        }
        let container = id.public_name().to_ascii_lowercase();
        let active = catalog.instances.get(&id).is_some_and(|i| i.admit == Admit::Active);
        // The instance that goes keeps its name until its successor is there.
        if active || !catalog.dns.names.contains_key(&container) {
            catalog.dns.names.insert(container, NameTarget::Instance(id.clone()));
        }
        services.entry(dns_name(&id.service, id.sidekick.as_ref())).or_default().push(id);
    }
    links::add_names(cluster, &mut services, catalog);
    for (name, ids) in services {
        catalog.dns.names.insert(name, NameTarget::Service(ids));
    }
}

/// Names of plain containers; what is ours goes before them.
fn add_plain(cluster: &Cluster, catalog: &mut Draft) {
    for (name, named) in plain::names(cluster) {
        if !catalog.dns.cnames.contains_key(&name) {
            catalog.dns.names.entry(name).or_insert(NameTarget::Address(named.address));
        }
    }
}

/// `service.stack`, or `sidekick.service.stack`.
pub(super) fn dns_name(id: &ServiceId, sidekick: Option<&ServiceName>) -> String {
    let name = match sidekick {
        None => format!("{}.{}", id.service, id.stack),
        Some(sidekick) => format!("{sidekick}.{}.{}", id.service, id.stack),
    };
    name.to_ascii_lowercase()
}
