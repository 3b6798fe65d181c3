//! Names, callers and instances of views: what follows from one instance, from one service, and of
//! all of them from nothing.

use super::relations::Relations;
use super::{links, ready_ports};
use crate::host::search;
use crate::parts::{in_host_network, parts};
use crate::probing::Ring;
use model::cluster::Cluster;
use model::consul_access::ConsulAccess;
use model::dns::{DnsSettings, LABEL_NOBODY_HEALTHY, NobodyHealthy, ZONES};
use model::id::{HostId, InstanceId, ServiceId, ServiceName};
use model::instance::{Goal, Instance, Phase};
use model::limits::DNS_OWN_SERVERS_MAX;
use model::metadata::{METADATA_ADDRESS, METADATA_NAME};
use model::record::Service;
use model::scaling::{Metric, Scaling};
use model::service::{Kind, Template};
use model::time::Timestamp;
use model::view::{Admit, Caller, DnsView, NameTarget, ViewInstance};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// What views say of the containers of one instance.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) instances: BTreeMap<InstanceId, Arc<ViewInstance>>,
    /// For the view of its host.
    pub(super) callers: BTreeMap<Ipv4Addr, Caller>,
}

/// What views say of the names of services.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) names: BTreeMap<String, NameTarget>,
    pub(super) cnames: BTreeMap<String, String>,
}

impl Names {
    /// With the names that there are without any service, and those to ask for.
    pub(super) fn view(
        mut self,
        cluster: &Cluster,
        elsewhere: BTreeSet<String>,
        plain: BTreeMap<String, NameTarget>,
    ) -> DnsView {
        self.names.extend(plain);
        self.names.insert(METADATA_NAME.into(), NameTarget::Address(METADATA_ADDRESS));
        let zones = ZONES.iter().map(|zone| (*zone).to_owned()).collect();
        let Self { names, cnames } = self;
        let DnsSettings { ttl_s, nobody_healthy, .. } = settings(cluster);
        DnsView { zones, ttl_s, names, cnames, elsewhere, nobody_healthy }
    }
}

/// What the environment says of names.
pub(super) fn settings(cluster: &Cluster) -> DnsSettings {
    cluster.environment().map(|known| known.dns.clone()).unwrap_or_default()
}

/// Who may do what over the Consul API.
pub(super) fn access(cluster: &Cluster) -> ConsulAccess {
    cluster.environment().map(|known| known.consul).unwrap_or_default()
}

/// What a service says that its names answer when nobody is healthy.
fn nobody_healthy(template: &Template) -> Option<NobodyHealthy> {
    template.container()?.labels.get(LABEL_NOBODY_HEALTHY)?.trim().parse().ok()
}

/// The resolvers that a container is given by its user; ours, and those on its own loopback, are
/// none that could be asked from here.
fn own_servers(servers: &[String]) -> Vec<IpAddr> {
    let servers = servers.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    let others = servers.filter(|ip| {
        !ip.is_loopback() && !ip.is_unspecified() && *ip != IpAddr::V4(METADATA_ADDRESS)
    });
    others.take(DNS_OWN_SERVERS_MAX).collect()
}

/// Is what is said of a container no more than that it is over?
fn is_over(cluster: &Cluster, instance: &Instance, id: &InstanceId) -> bool {
    let phase = cluster.instance_status(id).map_or(Phase::Pending, |seen| seen.phase);
    let over = matches!(phase, Phase::Absent | Phase::Stopped | Phase::Completed);
    instance.goal != Goal::Run && over
}

fn admit(instance: &Instance) -> Admit {
    if instance.goal == Goal::Run { Admit::Active } else { Admit::Draining }
}

/// Which containers of an instance views list.
pub(super) fn listing(cluster: &Cluster, instance: &Instance) -> Vec<(InstanceId, Admit)> {
    let revision = cluster.revision(&instance.id.service, instance.target.revision);
    let Some(revision) = revision else { return vec![] };
    let template = &revision.template;
    let ids: Vec<InstanceId> = match (&template.kind, instance.address) {
        (Kind::Balancer(_), Some(_)) => vec![instance.id.clone()],
        _ => {
            let hosts = |name| host_address(cluster, instance, template, name);
            let all = parts(instance, template).into_iter();
            all.filter(|part| part.address.or_else(|| hosts(part.name)).is_some())
                .map(|part| part.id)
                .collect()
        }
    };
    let ids = ids.into_iter().filter(|id| !is_over(cluster, instance, id));
    ids.map(|id| (id, admit(instance))).collect()
}

/// Everything of a service that views list: its containers, and its addresses outside.
pub(super) fn listed(cluster: &Cluster, service: &ServiceId) -> BTreeMap<InstanceId, Admit> {
    let outside = links::outside(cluster, service).into_iter().map(|(id, one)| (id, one.admit));
    let instances = cluster.instances_of(service).flat_map(|one| listing(cluster, one));
    outside.chain(instances).collect()
}

/// What views say of an instance.
pub(super) fn unit(
    cluster: &Cluster,
    relations: &Relations,
    ring: &Ring,
    instance: &Instance,
) -> Unit {
    let mut unit = Unit::default();
    let service = &instance.id.service;
    let Some(revision) = cluster.revision(service, instance.target.revision) else { return unit };
    let template = &revision.template;
    if let (Kind::Balancer(_), Some(address)) = (&template.kind, instance.address) {
        if let Some(listed) = told(cluster, instance, &instance.id, address) {
            let listed = ViewInstance { running: true, ..listed };
            unit.instances.insert(instance.id.clone(), Arc::new(listed));
        }
        return unit;
    }
    for part in parts(instance, template) {
        let hosts = || host_address(cluster, instance, template, part.name);
        let Some(address) = part.address.or_else(hosts) else { continue };
        let Some(mut listed) = told(cluster, instance, &part.id, address) else { continue };
        if part.owns_address() {
            let search = search(&part.id, part.container);
            let aliases = relations.aliases.get(service).cloned().unwrap_or_default();
            let (service, servers) = (service.clone(), own_servers(&part.container.dns));
            unit.callers.insert(address, Caller { service, search, aliases, servers });
        }
        listed.check = part.health_check.cloned();
        if listed.check.is_some() && part.owns_address() {
            listed.probers = ring.probers(&part.id, &instance.host);
            let seen = cluster.instance_status(&part.id).and_then(|seen| seen.started_at);
            listed.run = seen.unwrap_or_default();
        }
        listed.nobody_healthy = nobody_healthy(template);
        listed.ready_ports = ready_ports(&relations.routed, service, &part);
        unit.instances.insert(part.id, Arc::new(listed));
    }
    unit
}

/// Who asks on a host.
pub(super) fn callers(
    cluster: &Cluster,
    relations: &Relations,
    host: &HostId,
) -> BTreeMap<Ipv4Addr, Caller> {
    let none = Ring::default();
    let units = cluster.instances_on(host).map(|one| unit(cluster, relations, &none, one));
    units.flat_map(|unit| unit.callers).collect()
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
fn told(
    cluster: &Cluster,
    instance: &Instance,
    id: &InstanceId,
    address: Ipv4Addr,
) -> Option<ViewInstance> {
    if is_over(cluster, instance, id) {
        return None;
    }
    let seen = cluster.instance_status(id);
    let phase = seen.map_or(Phase::Pending, |s| s.phase);
    Some(ViewInstance {
        address,
        host: instance.host.clone(),
        admit: admit(instance),
        check: None,
        probers: vec![],
        run: Timestamp::default(),
        ready_ports: vec![],
        running: matches!(phase, Phase::Running | Phase::Draining),
        health: seen.map(|s| s.health).unwrap_or_default(),
        counted: cluster.service(&instance.id.service).is_some_and(|s| follows_requests(s)),
        nobody_healthy: None,
    })
}

/// The names of services, all of whose kin are among them.
pub(super) fn names<'a>(
    cluster: &Cluster,
    relations: &Relations,
    of: impl Iterator<Item = &'a ServiceId> + Clone,
) -> Names {
    let mut made = Names::default();
    let mut services: BTreeMap<String, Vec<InstanceId>> = BTreeMap::new();
    // Services without an instance have a name too: it is known and has no address.
    for service in of.clone().filter_map(|id| cluster.service(id)) {
        services.insert(dns_name(&service.id, None), vec![]);
        let revision = cluster.revision(&service.id, service.target.revision);
        for sidekick in revision.iter().flat_map(|r| r.template.sidekicks.keys()) {
            services.insert(dns_name(&service.id, Some(sidekick)), vec![]);
        }
    }
    for (id, admit) in of.clone().flat_map(|id| listed(cluster, id)) {
        if links::is_outside(&id) {
            services.entry(dns_name(&id.service, None)).or_default().push(id);
            continue;
        }
        let container = id.public_name().to_ascii_lowercase();
        // The instance that goes keeps its name until its successor is there.
        if admit == Admit::Active || !made.names.contains_key(&container) {
            made.names.insert(container, NameTarget::Instance(id.clone()));
        }
        services.entry(dns_name(&id.service, id.sidekick.as_ref())).or_default().push(id);
    }
    links::add_names(cluster, relations, of, &mut services, &mut made);
    for (name, ids) in services {
        made.names.insert(name, NameTarget::Service(ids));
    }
    made
}

/// `service.stack`, or `sidekick.service.stack`.
pub(super) fn dns_name(id: &ServiceId, sidekick: Option<&ServiceName>) -> String {
    let name = match sidekick {
        None => format!("{}.{}", id.service, id.stack),
        Some(sidekick) => format!("{sidekick}.{}.{}", id.service, id.stack),
    };
    name.to_ascii_lowercase()
}
