//! What people are shown of exposure: each service that is served, where, by how many containers, and
//! what keeps it from being served.

use super::{Exposure, Front, FrontKind};
use crate::ledger::wanted_ports;
use model::cluster::Cluster;
use model::health::Health;
use model::id::{HostId, InstanceId};
use model::instance::{Goal, Phase};
use model::service::Transport;
use model::view::Admit;
use std::collections::{BTreeMap, BTreeSet};

/// A service that is, or should be, served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Which, and how.
    pub front: Front,
    /// `http://web.example.internal/`, `*:9999/tcp`; none when it is not served.
    pub at: Vec<String>,
    /// Its endpoints.
    pub endpoints: usize,
    /// Those that may take traffic, as far as the server knows.
    pub ready: usize,
    /// Instances of stacks and plain containers that it leads to.
    pub members: BTreeSet<InstanceId>,
    /// Why it is not served as it should be.
    pub problems: Vec<String>,
}

/// Everything that is exposed, by kind and name.
#[must_use]
pub fn shown(cluster: &Cluster) -> Vec<Shown> {
    let exposure = Exposure::of(cluster);
    if exposure.is_off() {
        return vec![];
    }
    let taken = Taken::of(cluster, &exposure);
    let refused = exposure.problems();
    exposure.fronts.keys().map(|front| one(cluster, &exposure, &taken, &refused, front)).collect()
}

fn one(
    cluster: &Cluster,
    exposure: &Exposure,
    taken: &Taken,
    refused: &BTreeMap<Front, BTreeSet<String>>,
    front: &Front,
) -> Shown {
    let upstream = exposure.upstreams.get(&front.upstream());
    let endpoints = upstream.map(|upstream| upstream.endpoints.as_slice()).unwrap_or_default();
    let ready = endpoints.iter().filter(|end| is_ready(cluster, exposure, &end.instance)).count();
    let port = exposure.settings.http_port;
    let suffix = if port == 80 { String::new() } else { format!(":{port}") };
    let at: Vec<&String> = exposure.served.at(front).collect();
    let mut problems: Vec<String> = refused.get(front).into_iter().flatten().cloned().collect();
    if !at.is_empty() {
        let number = match front.kind {
            FrontKind::Http => port,
            _ => at[0].parse().unwrap_or(0),
        };
        let transport = if front.kind == FrontKind::Udp { Transport::Udp } else { Transport::Tcp };
        problems.extend(taken.on(number, transport));
    }
    let at = at.into_iter().map(|at| match front.kind {
        FrontKind::Http => format!("http://{at}{suffix}/"),
        kind => format!("*:{at}/{}", kind.as_str()),
    });
    Shown {
        front: front.clone(),
        at: at.collect(),
        endpoints: endpoints.len(),
        ready,
        members: endpoints.iter().map(|end| end.instance.clone()).collect(),
        problems,
    }
}

fn is_ready(cluster: &Cluster, exposure: &Exposure, id: &InstanceId) -> bool {
    if let Some(one) = exposure.instances.get(id) {
        return one.admit == Admit::Active && one.running && one.health.serves();
    }
    let runs = cluster.instance(&id.instance()).is_some_and(|one| one.goal == Goal::Run);
    let seen = cluster.instance_status(id);
    runs && seen.is_some_and(|seen| seen.phase == Phase::Running && seen.health.serves())
        && seen.is_none_or(|seen| seen.health != Health::Initializing)
}

/// Ports that hosts cannot serve, with the reason.
struct Taken(BTreeMap<(u16, Transport), Vec<(HostId, String)>>);

impl Taken {
    fn of(cluster: &Cluster, exposure: &Exposure) -> Self {
        let mut taken: BTreeMap<(u16, Transport), Vec<(HostId, String)>> = BTreeMap::new();
        let wanted: BTreeSet<(u16, Transport)> =
            exposure.served.listeners.values().map(|one| (one.port, one.transport)).collect();
        let hosts = cluster.hosts().filter(|host| exposure.is_served_by(cluster, &host.id));
        for host in hosts {
            for (port, transport, of) in ports_of_stacks(cluster, &host.id) {
                if wanted.contains(&(port, transport)) {
                    let why = format!("it is that of {of}");
                    taken.entry((port, transport)).or_default().push((host.id.clone(), why));
                }
            }
            for (port, why) in &host.facts.expose_refused {
                let Some((number, transport)) = port.split_once('/') else { continue };
                let transport = if transport == "udp" { Transport::Udp } else { Transport::Tcp };
                let Ok(number) = number.parse() else { continue };
                let entry = taken.entry((number, transport)).or_default();
                if !entry.iter().any(|(id, _)| *id == host.id) {
                    entry.push((host.id.clone(), why.clone()));
                }
            }
        }
        Self(taken)
    }

    fn on(&self, port: u16, transport: Transport) -> Option<String> {
        let hosts = self.0.get(&(port, transport))?;
        let each = hosts.iter().map(|(host, why)| format!("{host} ({why})"));
        let each: Vec<String> = each.collect();
        Some(format!("port {port}/{transport} cannot be served on {}", each.join(", ")))
    }
}

/// Ports of a host that stacks have there.
fn ports_of_stacks(cluster: &Cluster, host: &HostId) -> Vec<(u16, Transport, String)> {
    let mut all = vec![];
    for instance in cluster.instances_on(host) {
        let service = instance.id.service.to_string();
        let revision = cluster.revision(&instance.id.service, instance.target.revision);
        let fixed = revision.map(|revision| wanted_ports(&revision.template)).unwrap_or_default();
        let ports = instance.ports.iter().cloned().chain(fixed);
        for port in ports {
            let Some(number) = port.host_port else { continue };
            let one = (number, port.protocol, service.clone());
            if !all.contains(&one) {
                all.push(one);
            }
        }
    }
    all
}
