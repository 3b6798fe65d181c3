//! Which slots a service has: 1 to its scale, or one a host for a global service.

use super::draft::Draft;
use crate::ledger::{Ask, Ledger};
use model::cluster::Cluster;
use model::host::{Host, HostLink, Scheduling};
use model::id::HostId;
use model::instance::{Goal, Phase};
use model::mutation::{Mutation, is_in};
use model::record::{Service, ServiceStatus};
use model::scaling::Mode;
use std::collections::{BTreeMap, BTreeSet};

/// Instances that a service should have now. A global one has as many as hosts that take it, which
/// its instances tell; names and jobs have none.
#[must_use]
pub fn scale_of(cluster: &Cluster, service: &Service) -> u32 {
    let status = cluster.service_status(&service.id);
    let template = cluster.revision(&service.id, service.target.revision).map(|r| &r.template);
    match service.settings.mode {
        _ if template.is_some_and(|template| !template.has_instances()) => 0,
        Mode::Replicated => replicas(service, status.map(|s| &**s)),
        Mode::Job(_) => 0,
        Mode::Global => {
            let slots: BTreeSet<u32> = cluster
                .instances_of(&service.id)
                .filter(|i| i.goal == Goal::Run)
                .map(|i| i.id.n)
                .collect();
            u32::try_from(slots.len()).unwrap_or(u32::MAX)
        }
    }
}

fn replicas(service: &Service, status: Option<&ServiceStatus>) -> u32 {
    let Some(scaling) = service.settings.scaling else { return service.scale };
    let (min, max) = scaling.bounds();
    status.and_then(|s| s.scaled.as_ref()).map_or(min, |scaled| scaled.to.clamp(min, max))
}

/// Finds the slots, and for a global service their hosts.
pub(super) fn settle(draft: &mut Draft<'_>, ledger: &Ledger<'_>) {
    let has_instances =
        draft.template(draft.service.target).is_none_or(model::service::Template::has_instances);
    draft.pins.clear();
    draft.slots = match draft.service.settings.mode {
        _ if !has_instances => vec![],
        Mode::Job(_) => vec![],
        Mode::Replicated => (1..=replicas(draft.service, Some(&draft.status))).collect(),
        Mode::Global => {
            draft.pins = global(draft, ledger);
            draft.pins.keys().copied().collect()
        }
    };
}

/// Slots of a global service: a host that takes it keeps its number, a new one gets the lowest
/// free.
fn global(draft: &Draft<'_>, ledger: &Ledger<'_>) -> BTreeMap<u32, HostId> {
    let Some(template) = draft.template(draft.service.target) else { return BTreeMap::new() };
    let mut known: BTreeMap<&HostId, (bool, u32)> = BTreeMap::new();
    let mut taken: BTreeSet<u32> = BTreeSet::new();
    for member in &draft.members {
        let instance = &member.instance;
        let gone = instance.goal == Goal::Remove && member.seen.phase == Phase::Absent;
        taken.insert(instance.id.n);
        if !gone {
            // One that is to run is stronger than one that goes.
            let rank = (instance.goal == Goal::Run, instance.id.n);
            let best = known.entry(&instance.host).or_insert(rank);
            *best = (*best).max(rank);
        }
    }
    let service = draft.service;
    let fit: BTreeSet<HostId> = ledger.eligible(&Ask {
        service: &service.id,
        revision: service.target.revision,
        template,
        n: 0,
        before: None,
        pin: None,
        prefer: vec![],
        more: 1,
    });
    let mut pins = BTreeMap::new();
    let mut next = (1..).filter(|n| !taken.contains(n));
    let first = usize::from(is_in(Mutation::SkipHost));
    for host in draft.cluster.hosts().skip(first) {
        let has = known.get(&host.id).map(|(_, n)| *n);
        if !fit.contains(&host.id) || !takes_global(host, has.is_some()) {
            continue;
        }
        if let Some(n) = has.or_else(|| next.next()) {
            pins.insert(n, host.id.clone());
        }
    }
    pins
}

/// Does a host take an instance of a global service? One that it has already stays on a host that
/// is cordoned or away.
fn takes_global(host: &Host, has_one: bool) -> bool {
    match (host.scheduling, host.status) {
        (Scheduling::Draining { .. }, _) => false,
        (Scheduling::Active, HostLink::Active) => true,
        (Scheduling::Active | Scheduling::Cordoned, _) => has_one,
    }
}
