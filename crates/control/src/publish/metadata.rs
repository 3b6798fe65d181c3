//! What views say to containers that ask for metadata: entries of services, containers, hosts and
//! plain containers, each from its own records.

mod follow;

pub(super) use follow::{follow, spread};

use super::relations::Relations;
use crate::cluster::scale_of;
use crate::host::search;
use crate::parts::{Part, in_host_network, parts};
use crate::probing::Ring;
use crate::rancher;
use model::cluster::Cluster;
use model::container_spec::{ContainerSpec, NetworkMode};
use model::host::{Host, HostLink, Scheduling};
use model::id::{HostId, InstanceId, ServiceId, ServiceName};
use model::instance::{Goal, Instance, InstanceStatus, Phase};
use model::metadata::{
    METADATA_NAME, MetaContainer, MetaEnvironment, MetaHost, MetaKind, MetaNetwork, MetaPart,
    MetaPlain, MetaService, MetaState, MetaView, Revisions, ServiceFacts, Shared,
};
use model::plain::{NETWORK, PlainContainer, PlainId, PlainState};
use model::record::{Revision, Service};
use model::scaling::Mode;
use model::service::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All metadata of the environment.
pub(super) fn whole(cluster: &Cluster, relations: &Relations, ring: &Ring) -> MetaView {
    let mut view = MetaView { environment: environment(cluster), ..MetaView::default() };
    for service in cluster.services() {
        let facts = Arc::new(facts(cluster, relations, service));
        let instances = cluster.instances_of(&service.id);
        let containers = instances.flat_map(|instance| containers(cluster, ring, instance));
        let containers: Shared<_, _> = containers.collect();
        let revisions = Arc::new(revisions(cluster, service));
        let one = MetaService { facts, revisions, containers };
        view.services.insert_mut(service.id.clone(), Arc::new(one));
    }
    for host in cluster.hosts() {
        view.hosts.insert_mut(host.id.clone(), Arc::new(host_entry(host)));
    }
    for (id, plain) in cluster.plains() {
        view.plain.insert_mut(id.to_string(), Arc::new(plain_entry(cluster, id, plain)));
    }
    view
}

fn environment(cluster: &Cluster) -> Arc<MetaEnvironment> {
    let environment = cluster.environment().map(|environment| MetaEnvironment {
        id: environment.id.clone(),
        name: environment.name.clone(),
        prefix: environment.subnet.prefix_len(),
        policy: environment.policy.clone(),
    });
    Arc::new(environment.unwrap_or_default())
}

/// What a host is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Everything.
    All,
    /// What it has to do with.
    Part(HostId, BTreeSet<ServiceId>),
}

impl Scope {
    /// Of a host that is not told everything, with the names that were asked for there.
    pub(super) fn of(
        host: &HostId,
        asked: &BTreeSet<String>,
        interest: BTreeSet<ServiceId>,
    ) -> Self {
        if asked.contains(METADATA_NAME) { Self::All } else { Self::Part(host.clone(), interest) }
    }

    /// What of the whole a host of this scope is told.
    pub(super) fn part(&self, whole: &MetaView) -> MetaView {
        let Self::Part(host, services) = self else { return whole.clone() };
        let environment = Arc::clone(&whole.environment);
        let mut part = MetaView { environment, partial: true, ..MetaView::default() };
        for id in services {
            if let Some(one) = whole.services.get(id) {
                part.services.insert_mut(id.clone(), Arc::clone(one));
            }
        }
        if let Some(one) = whole.hosts.get(host) {
            part.hosts.insert_mut(host.clone(), Arc::clone(one));
        }
        let own = |key: &str| key.split_once('/').is_some_and(|(of, _)| of == host.as_str());
        let from = format!("{host}/");
        for (key, one) in whole.plain.range(from..).take_while(|(key, _)| own(key)) {
            part.plain.insert_mut(key.clone(), Arc::clone(one));
        }
        part
    }
}

fn facts(cluster: &Cluster, relations: &Relations, service: &Service) -> ServiceFacts {
    let mut facts = ServiceFacts {
        state: rancher::state(cluster, &service.id).to_owned(),
        scale: scale_of(cluster, service),
        create_index: cluster.service_status(&service.id).map_or(0, |status| status.incarnations),
        metadata: service.settings.metadata.clone(),
        links: links(relations, service),
        revision: service.target.revision,
        selected: selected(cluster, service),
        ..ServiceFacts::default()
    };
    let target = cluster.revision(&service.id, service.target.revision);
    match target.map(|revision| &revision.template.kind) {
        Some(Kind::Container(_)) | None => {}
        Some(Kind::Balancer(balancer)) => {
            facts.kind = MetaKind::Balancer;
            facts.rules.clone_from(&balancer.rules);
        }
        Some(Kind::External(outside)) => {
            facts.kind = MetaKind::External;
            facts.external_ips.clone_from(&outside.addresses);
            facts.hostname.clone_from(&outside.hostname);
        }
        Some(Kind::Alias(_)) => facts.kind = MetaKind::Alias,
    }
    facts
}

fn revisions(cluster: &Cluster, service: &Service) -> Revisions {
    let all = cluster.revisions_of(&service.id);
    all.map(|revision| (revision.number, revision_parts(service, revision))).collect()
}

/// Those that were written, and those that a selector finds.
fn links(relations: &Relations, service: &Service) -> BTreeMap<String, String> {
    let found = relations.linked.get(&service.id).into_iter().flatten();
    let mut links: BTreeMap<String, String> =
        found.map(|target| (target.to_string(), target.service.to_string())).collect();
    let written = service.settings.links.iter();
    links.extend(written.map(|link| (link.service.to_string(), link.alias.clone())));
    links
}

/// Plain containers that count as a service's own.
fn selected(cluster: &Cluster, service: &Service) -> Vec<String> {
    let selector = service.settings.selector_container.as_ref();
    let Some(selector) = selector.filter(|_| service.goal == Goal::Run) else { return vec![] };
    let found = cluster.plains().filter(|(id, plain)| {
        let reached = plain.state.is_up() && cluster.attachment(id).is_some();
        reached && selector.matches(&plain.labels)
    });
    found.map(|(id, _)| id.to_string()).collect()
}

fn revision_parts(service: &Service, revision: &Revision) -> BTreeMap<String, MetaPart> {
    let template = &revision.template;
    let global = service.settings.mode == Mode::Global;
    let pinned = global || template.placement.requested_host.is_some();
    let mut all = BTreeMap::new();
    let primary = template.container().map(|spec| part(&service.id, None, spec));
    let primary = primary.unwrap_or_default();
    let (ports, health_check) = (template.ports.clone(), template.health_check.clone());
    all.insert(String::new(), MetaPart { ports, health_check, pinned, ..primary });
    for (name, sidekick) in &template.sidekicks {
        let one = part(&service.id, Some(name), &sidekick.container);
        let (ports, health_check) = (sidekick.ports.clone(), sidekick.health_check.clone());
        all.insert(name.to_string(), MetaPart { ports, health_check, pinned, ..one });
    }
    all
}

fn part(service: &ServiceId, name: Option<&ServiceName>, spec: &ContainerSpec) -> MetaPart {
    let id = InstanceId::new(service.clone(), 0, 0).container(name);
    let mut dns_search = search(&id, spec);
    let users = spec.dns_search.iter().filter(|domain| !dns_search.contains(domain)).cloned();
    let users: Vec<String> = users.collect();
    dns_search.extend(users);
    MetaPart {
        labels: spec.labels.clone(),
        hostname: spec.hostname.clone().unwrap_or_default(),
        mac: spec.mac_address.clone().unwrap_or_default(),
        memory_reservation: spec.resources.memory_reserved,
        milli_cpu_reservation: spec.resources.cpu_reserved_milli,
        dns: spec.dns.clone(),
        dns_search,
        ..MetaPart::default()
    }
}

/// The containers of an instance that are there, or are to be.
fn containers(
    cluster: &Cluster,
    ring: &Ring,
    instance: &Instance,
) -> Vec<(InstanceId, Arc<MetaContainer>)> {
    let id = &instance.id.service;
    let known = cluster.service(id).zip(cluster.revision(id, instance.target.revision));
    let Some((service, revision)) = known else { return vec![] };
    let template = &revision.template;
    let host = cluster.host(&instance.host);
    let host_address: Arc<str> = host.map_or("", |host| &host.facts.address).into();
    let entry = |id: &InstanceId| {
        let seen = cluster.instance_status(id).map(|seen| (**seen).clone()).unwrap_or_default();
        is_listed(service, instance, &seen).then(|| MetaContainer {
            host: instance.host.clone(),
            host_address: Arc::clone(&host_address),
            address: instance.address,
            network: MetaNetwork::Managed,
            revision: instance.target.revision,
            ports: instance.ports.clone(),
            state: state(instance, seen.phase),
            health: seen.health,
            starts: seen.restarts + u32::from(seen.started_at.is_some()),
            container_id: seen.container_id,
            started_at: seen.started_at,
            probers: vec![],
        })
    };
    if matches!(template.kind, Kind::Balancer(_)) {
        let one = entry(&instance.id).filter(|_| instance.address.is_some());
        return one.into_iter().map(|one| (instance.id.clone(), Arc::new(one))).collect();
    }
    let mut all = vec![];
    for part in parts(instance, template) {
        let Some(one) = entry(&part.id) else { continue };
        let in_host = in_host_network(template, part.name);
        let address = match in_host {
            true => host_address.parse().ok(),
            false => part.address,
        };
        let one = MetaContainer {
            address,
            network: network(&part, in_host),
            ports: part.ports.iter().map(|port| (*port).clone()).collect(),
            probers: probers(ring, instance, &part),
            ..one
        };
        all.push((part.id, Arc::new(one)));
    }
    all
}

/// What has ended is listed while it is its service that was stopped: what was replaced is not, so
/// that nobody takes it for the one that leads.
fn is_listed(service: &Service, instance: &Instance, seen: &InstanceStatus) -> bool {
    let over = matches!(seen.phase, Phase::Absent | Phase::Stopped | Phase::Completed);
    let kept = instance.goal == Goal::Stop
        && seen.phase != Phase::Absent
        && instance.target.revision == service.target.revision;
    instance.goal == Goal::Run || !over || kept
}

fn state(instance: &Instance, phase: Phase) -> MetaState {
    match phase {
        Phase::Pending => MetaState::Requested,
        Phase::Pulling => MetaState::Creating,
        Phase::Starting => MetaState::Starting,
        Phase::Running if instance.goal == Goal::Run => MetaState::Running,
        Phase::Running | Phase::Draining => MetaState::Stopping,
        Phase::Backoff | Phase::Stopped | Phase::Completed | Phase::Absent => MetaState::Stopped,
        Phase::Failed => MetaState::Error,
    }
}

fn network(part: &Part<'_>, in_host: bool) -> MetaNetwork {
    match &part.container.network {
        NetworkMode::Sibling(of) => MetaNetwork::Of(of.clone()),
        _ if in_host => MetaNetwork::Host,
        NetworkMode::None => MetaNetwork::None,
        _ => MetaNetwork::Managed,
    }
}

/// Hosts that probe it; its own is the last.
fn probers(ring: &Ring, instance: &Instance, part: &Part<'_>) -> Vec<HostId> {
    if part.health_check.is_none() {
        return vec![];
    }
    let mut hosts = match part.owns_address() {
        true => ring.probers(&part.id, &instance.host),
        false => vec![],
    };
    hosts.push(instance.host.clone());
    hosts
}

fn host_entry(host: &Host) -> MetaHost {
    let mut labels = host.all_labels();
    let facts = &host.facts;
    for (key, value) in [
        ("io.rancher.host.docker_version", &facts.docker_version),
        ("io.rancher.host.linux_kernel_version", &facts.kernel),
    ] {
        // Major and minor, as Rancher has them.
        let mut numbers = value.split(|c: char| !c.is_ascii_digit());
        if let (Some(major), Some(minor)) = (numbers.next(), numbers.next())
            && !major.is_empty()
        {
            labels.entry(key.into()).or_insert_with(|| format!("{major}.{minor}"));
        }
    }
    MetaHost {
        hostname: facts.hostname.clone(),
        address: facts.address.clone(),
        active: host.scheduling == Scheduling::Active,
        connected: host.status == HostLink::Active,
        labels,
        memory: facts.memory,
        cpus: facts.cpus,
        disk: facts.disk.as_ref().map_or(0, |disk| disk.total),
    }
}

fn plain_entry(cluster: &Cluster, id: &PlainId, plain: &PlainContainer) -> MetaPlain {
    let host_address = cluster.host(&id.host).map_or("", |host| &host.facts.address);
    let attached = cluster.attachment(id).map(|attachment| attachment.address);
    let ours = plain.addresses.get(NETWORK).copied();
    let mut addresses: Vec<_> = attached.or(ours).into_iter().collect();
    if plain.network == "host" {
        addresses.extend(host_address.parse::<std::net::Ipv4Addr>().ok());
    }
    for address in plain.addresses.values() {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    let state = match plain.state {
        PlainState::Exited | PlainState::Created | PlainState::Dead => "stopped",
        PlainState::Restarting => "starting",
        PlainState::Running => "running",
        PlainState::Paused => "paused",
    };
    MetaPlain {
        host: id.host.clone(),
        host_address: host_address.into(),
        name: plain.name.clone(),
        container_id: id.container.to_string(),
        hostname: plain.hostname.clone(),
        addresses,
        managed: attached.is_some(),
        labels: plain.labels.clone(),
        ports: plain.ports.iter().filter(|port| port.host_port.is_some()).cloned().collect(),
        state: state.to_owned(),
        health: plain.health,
        started: plain.started_at.0 > 0,
    }
}
