//! What a dataplane serves: a pure function of the View, of what is known of this host's
//! containers, and of the probes. Local knowledge may take an endpoint out, bring back one that
//! the View lists and give it its next start; it never adds one that the View does not list.

#[cfg(test)]
mod tests;

use crate::probe::is_probed;
use crate::protocol::{Local, ProbeVerdict, Probes};
use model::dns::NobodyHealthy;
use model::health::Health;
use model::id::InstanceId;
use model::time::Timestamp;
use model::view::{Admit, HostView, NameTarget, ViewInstance};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

/// What is served: addresses by name, endpoints by upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// Addresses of each name of the View, in its order, without doubles. A name whose instances
    /// all left has none.
    pub names: BTreeMap<String, Vec<Ipv4Addr>>,
    /// Endpoints of each upstream of the View, in its order.
    pub upstreams: BTreeMap<String, Vec<ServedEndpoint>>,
    /// Instances that take nothing new, by all that is known here: names of Consul leave them out.
    pub unfit: BTreeSet<InstanceId>,
}

/// An endpoint as it is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServedEndpoint {
    /// Which instance.
    pub instance: InstanceId,
    /// Which start of it; 0 when nobody told.
    pub run: Timestamp,
    /// Where it listens.
    pub addr: SocketAddrV4,
    /// Relative share; 0 takes nothing new.
    pub weight: u32,
    /// May it take traffic?
    pub turn: Turn,
}

/// May an endpoint take traffic?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// Yes.
    Up,
    /// Only when no other one may: its last probe failed, not yet often enough to be unfit.
    Doubtful,
    /// Nothing new; what is in flight ends.
    Draining,
    /// Nothing: it does not run, or is not fit.
    Down,
}

/// What is known of an instance, all sources taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    active: bool,
    running: bool,
    health: Health,
    /// Healthy so far, but its last probe failed.
    doubtful: bool,
    run: Timestamp,
}

impl Known {
    fn serves(self) -> bool {
        self.active && self.running && self.health.serves()
    }

    fn serves_well(self) -> bool {
        self.serves() && !self.doubtful
    }

    /// Was fit since its start, and no longer is: better than nothing. One that never was since
    /// its start does not listen yet, so that waiting for it is better than asking it.
    fn may_serve_alone(self) -> bool {
        self.active && self.running && self.health == Health::Unhealthy
    }
}

/// What is served of `view`.
#[must_use]
pub fn effective(view: &HostView, local: &Local, probes: &Probes) -> Effective {
    let known: BTreeMap<&InstanceId, Known> = view
        .instances
        .iter()
        .map(|(id, instance)| (id, known(view, id, instance, local, probes)))
        .collect();
    let names = view.dns.names.iter();
    let names = names.map(|(name, target)| (name.clone(), addresses(view, target, &known)));
    let upstreams = view.upstreams.iter();
    let upstreams = upstreams.map(|(id, upstream)| {
        let listed: Vec<_> = upstream
            .endpoints
            .iter()
            .filter_map(|endpoint| {
                let (instance, known) =
                    (view.instances.get(&endpoint.instance)?, known.get(&endpoint.instance)?);
                Some((endpoint, instance.address, *known))
            })
            .collect();
        let none_up = !listed.iter().any(|(_, _, known)| known.serves());
        let served = listed.into_iter().map(|(endpoint, address, known)| ServedEndpoint {
            instance: endpoint.instance.clone(),
            run: known.run,
            addr: SocketAddrV4::new(address, endpoint.port),
            weight: endpoint.weight,
            turn: turn(known, none_up),
        });
        (id.clone(), served.collect())
    });
    let (names, upstreams) = (names.collect(), upstreams.collect());
    let unfit = known.iter().filter(|(_, known)| !known.serves());
    let unfit = unfit.map(|(id, _)| (*id).clone()).collect();
    Effective { names, upstreams, unfit }
}

/// What is known of the health of a container of this host, newer than the view.
pub(crate) fn health_here(
    view: &HostView,
    id: &InstanceId,
    local: &Local,
    probes: &Probes,
) -> Option<Health> {
    let instance = view.instances.get(id);
    let by_docker = || local.get(id).map(|local| local.docker_health);
    instance.map(|instance| known(view, id, instance, local, probes).health).or_else(by_docker)
}

fn turn(known: Known, none_up: bool) -> Turn {
    if !known.running {
        Turn::Down
    } else if !known.active {
        Turn::Draining
    } else if known.serves() {
        if known.doubtful { Turn::Doubtful } else { Turn::Up }
    } else if none_up && known.may_serve_alone() {
        Turn::Up
    } else {
        Turn::Down
    }
}

fn known(
    view: &HostView,
    id: &InstanceId,
    instance: &ViewInstance,
    local: &Local,
    probes: &Probes,
) -> Known {
    let told = local.get(id);
    let active = instance.admit == Admit::Active && !told.is_some_and(|local| local.stopping);
    let (running, run) = match told {
        Some(local) => (local.run.is_some(), local.run.as_ref().map(|run| run.started_at)),
        None => (instance.running, None),
    };
    let run = run.unwrap_or_default();
    let own = instance.host == view.host;
    let probed = is_probed(view, instance);
    let docker = told.map_or(instance.health, |local| local.docker_health);
    let start = if own { run } else { instance.run };
    let verdict = probes.get(id).filter(|verdict| probed && verdict.run_started_at == start);
    let doubtful = verdict.is_some_and(|v| v.health == Health::Healthy && !v.detail.is_empty());
    let health = if !own {
        // The View has what all its probers found; what this host itself finds counts more here: it
        // is from here that it is asked.
        let found = verdict.map(|verdict| verdict.health).filter(|h| *h != Health::Initializing);
        found.unwrap_or(instance.health)
    } else if !probed {
        docker
    } else {
        let probe = probe_health(probes.get(id), run, instance.health);
        // A check of ours decides alone; a port that listens is not yet what HEALTHCHECK asks for.
        if instance.check.is_some() || probe != Health::Healthy || told.is_none() {
            probe
        } else {
            docker
        }
    };
    Known { active, running, health, doubtful, run }
}

/// Health by the probes of this host. A verdict of another start says nothing of this one; without
/// any, as after the loss of our state, the View's word counts.
fn probe_health(verdict: Option<&ProbeVerdict>, run: Timestamp, by_view: Health) -> Health {
    match verdict {
        Some(verdict) if verdict.run_started_at == run => verdict.health,
        None if matches!(by_view, Health::Healthy | Health::Unhealthy) => by_view,
        Some(_) | None => Health::Initializing,
    }
}

fn addresses(
    view: &HostView,
    target: &NameTarget,
    known: &BTreeMap<&InstanceId, Known>,
) -> Vec<Ipv4Addr> {
    let instances = match target {
        NameTarget::Address(address) => return vec![*address],
        NameTarget::Instance(id) => {
            return view.instances.get(id).map(|i| i.address).into_iter().collect();
        }
        NameTarget::Service(instances) => instances,
    };
    let that = |fits: fn(Known) -> bool| -> Vec<Ipv4Addr> {
        let mut found: Vec<Ipv4Addr> = vec![];
        for id in instances {
            let (Some(instance), Some(known)) = (view.instances.get(id), known.get(id)) else {
                continue;
            };
            if fits(*known) {
                found.push(instance.address);
            }
        }
        let mut seen = BTreeSet::new();
        found.retain(|address| seen.insert(*address));
        found
    };
    // Fail open: a name never loses its last address to a check, nor to a drain: who asks while the
    // last one ends may still reach it, and without an address reaches nobody.
    let steps: [fn(Known) -> bool; 5] = [
        Known::serves_well,
        Known::serves,
        |known| known.active && known.running,
        |known| known.active,
        |_any| true,
    ];
    // Unless the service, or else the environment, would rather have none.
    let said = instances.iter().find_map(|id| view.instances.get(id)?.nobody_healthy);
    let steps = match said.unwrap_or(view.dns.nobody_healthy) {
        NobodyHealthy::All => &steps[..],
        NobodyHealthy::None => &steps[..2],
    };
    steps.iter().copied().map(that).find(|found| !found.is_empty()).unwrap_or_default()
}
