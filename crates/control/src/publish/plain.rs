//! Names of plain containers, and services that count them as theirs: which address others reach
//! each of them at, and who has a name that several would like to have.

use crate::placement::seed;
use model::cluster::Cluster;
use model::host::HostLink;
use model::id::{InstanceId, ServiceId};
use model::instance::Goal;
use model::plain::{ContainerId, NETWORK, PlainContainer, PlainId, PlainState};
use model::record::Service;
use model::time::Timestamp;
use model::view::{Admit, ViewInstance};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Who has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Which container.
    pub id: PlainId,
    /// What the name answers.
    pub address: Ipv4Addr,
}

/// How a plain container is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// At its own address in the managed network, from everywhere.
    Own(Ipv4Addr),
    /// At its host's address, by the ports that it publishes or binds there.
    Host(Ipv4Addr),
    /// By nobody but its own host.
    Nowhere,
}

/// How others reach it.
#[must_use]
pub fn reach(cluster: &Cluster, id: &PlainId, plain: &PlainContainer) -> Reach {
    if let Some(attachment) = cluster.attachment(id) {
        let connected = plain.addresses.get(NETWORK) == Some(&attachment.address);
        // One that is starting again has the same address in a moment.
        if connected || !plain.state.is_up() {
            return Reach::Own(attachment.address);
        }
    }
    if !plain.state.is_up() {
        return Reach::Nowhere;
    }
    if let Some(other) = plain.network.strip_prefix("container:") {
        return through(cluster, id, other);
    }
    let published = plain.ports.iter().any(|port| {
        port.host_port.is_some() && !port.host_ip.is_some_and(|ip: IpAddr| ip.is_loopback())
    });
    let address = cluster.host(&id.host).and_then(|host| host.facts.address.parse().ok());
    match address {
        Some(address) if published || plain.network == "host" => Reach::Host(address),
        _ => Reach::Nowhere,
    }
}

/// One that shares the network of another container is where that one is.
fn through(cluster: &Cluster, id: &PlainId, other: &str) -> Reach {
    let Ok(container) = ContainerId::parse(other) else { return Reach::Nowhere };
    let owner = PlainId { host: id.host.clone(), container };
    if let Some(plain) = cluster.plain(&owner).filter(|p| !p.network.starts_with("container:")) {
        return reach(cluster, &owner, plain);
    }
    let owner = cluster.instances_on(&id.host).find(|instance| {
        cluster.instance_status(&instance.id).is_some_and(|seen| seen.container_id == other)
    });
    owner.and_then(|instance| instance.address).map_or(Reach::Nowhere, Reach::Own)
}

/// The name of a container in DNS, below our zones: Docker's name in lower case. A dot becomes a
/// hyphen: a container is never taken for a service of a stack, or for a name of the internet.
#[must_use]
pub fn dns_name(container: &str) -> String {
    container.to_ascii_lowercase().replace('.', "-")
}

/// All names of plain containers. Docker's names are unique on one host only: one that has an
/// address of its own goes before one that has not, then the host and the id decide.
#[must_use]
pub fn names(cluster: &Cluster) -> BTreeMap<String, Named> {
    let mut names: BTreeMap<String, (bool, Named)> = BTreeMap::new();
    for (id, plain) in cluster.plains() {
        let (own, address) = match reach(cluster, id, plain) {
            Reach::Own(address) => (true, address),
            Reach::Host(address) => (false, address),
            Reach::Nowhere => continue,
        };
        let named = (own, Named { id: id.clone(), address });
        let name = dns_name(&plain.name);
        match names.get(&name) {
            Some((known, _)) if *known || !own => {}
            _ => drop(names.insert(name, named)),
        }
    }
    names.into_iter().map(|(name, (_, named))| (name, named)).collect()
}

/// Lists plain containers that a service selects by their labels as if each were an instance of it.
/// Only those count that have an address of their own: the ports of the service are theirs there.
pub(super) fn add_selected(
    cluster: &Cluster,
    service: &Service,
    listed: &mut BTreeMap<InstanceId, Arc<ViewInstance>>,
) {
    let selector = service.settings.selector_container.as_ref();
    let Some(selector) = selector.filter(|_| service.goal == Goal::Run) else { return };
    let fits = |plain: &PlainContainer| plain.state.is_up() && selector.matches(&plain.labels);
    for (id, plain) in cluster.plains().filter(|(_, plain)| fits(plain)) {
        let Reach::Own(address) = reach(cluster, id, plain) else { continue };
        let lost = cluster.host(&id.host).is_none_or(|host| host.status == HostLink::Lost);
        let one = ViewInstance {
            address,
            host: id.host.clone(),
            admit: Admit::Active,
            check: None,
            probers: vec![],
            run: Timestamp::default(),
            ready_ports: vec![],
            running: plain.state == PlainState::Running && !lost,
            health: plain.health,
            counted: false,
            nobody_healthy: None,
        };
        listed.insert(selected_id(&service.id, id, listed), Arc::new(one));
    }
}

/// The same one for as long as the container is there, whatever comes and goes beside it.
fn selected_id(
    service: &ServiceId,
    id: &PlainId,
    listed: &BTreeMap<InstanceId, Arc<ViewInstance>>,
) -> InstanceId {
    let seed = seed(&[id.host.as_str().as_bytes(), id.container.as_str().as_bytes()]);
    let mut n = u32::try_from(seed >> 33).unwrap_or(0);
    loop {
        n = n.wrapping_add(1);
        let id = InstanceId::new(service.clone(), n, 0);
        if !listed.contains_key(&id) {
            return id;
        }
    }
}
