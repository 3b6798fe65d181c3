//! What serves, and what must not be taken away of it.

use super::{Flaw, Oracle};
use model::cluster::Cluster;
use model::container_spec::NetworkMode;
use model::health::Health;
use model::id::{InstanceId, ServiceId};
use model::instance::{Goal, Instance, InstanceStatus, Phase};
use model::limits::{ROLLOUT_PROVEN_AGAIN_MS, SETTLE_MS_DEFAULT};
use model::record::Service;
use model::rollout_policy::UpdateOrder;
use model::scaling::Mode;
use model::service::{LossPolicy, Template};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// The containers of an instance: its primary, then its sidekicks.
pub(super) fn containers_of(cluster: &Cluster, instance: &Instance) -> Vec<InstanceId> {
    let id = &instance.id;
    let template = template_of(cluster, instance);
    let sidekicks = template.into_iter().flat_map(|template| template.sidekicks.keys());
    std::iter::once(id.clone()).chain(sidekicks.map(|name| id.container(Some(name)))).collect()
}

/// What an instance is made from.
pub(super) fn template_of<'c>(cluster: &'c Cluster, instance: &Instance) -> Option<&'c Template> {
    cluster.revision(&instance.id.service, instance.target.revision).map(|of| &of.template)
}

/// Which goes first in a rollout: what was asked for, else what leaves room.
fn order(cluster: &Cluster, service: &Service) -> UpdateOrder {
    let settings = &service.settings;
    if matches!(settings.on_loss, Some(LossPolicy::StopAfter { .. })) {
        return UpdateOrder::StopFirst;
    }
    let revision = cluster.revision(&service.id, service.target.revision);
    let on_host = revision.is_some_and(|revision| {
        revision.template.containers().any(|(_, one)| one.network == NetworkMode::Host)
    });
    let alone = settings.retain_ip || !settings.requested_ips.is_empty() || on_host;
    let decided = if alone { UpdateOrder::StopFirst } else { UpdateOrder::StartFirst };
    settings.update.order.unwrap_or(decided)
}

impl Oracle {
    /// Instances of a running service were let go: enough others are ready, unless others than we
    /// had taken them away.
    pub(super) fn check_minimum(&mut self, was: usize, id: &ServiceId) {
        let Some(service) = self.cluster.service(id) else { return };
        // One on each host, or runs that end: how many there are is not promised.
        if service.goal != Goal::Run || service.settings.mode != Mode::Replicated {
            return;
        }
        let scale = control::cluster::scale_of(&self.cluster, service);
        let unavailable = match order(&self.cluster, service) {
            UpdateOrder::StopFirst => {
                let batch = service.settings.update.batch_size.unwrap_or(scale / 4).max(1);
                service.settings.update.max_unavailable.unwrap_or(batch)
            }
            UpdateOrder::StartFirst => 0,
        };
        let promised = scale.saturating_sub(unavailable) as usize;
        let is = self.slots_with(&self.cluster, id, |one| self.is_ready(&self.cluster, one)).len();
        if is < promised.min(was) {
            let text = format!("{id}: {is} of {scale} ready, {was} before, {promised} promised");
            self.flaw(Flaw::BelowMinimum(text));
        }
    }

    /// Is it ready, as far as the store knows? Each of its containers is: without a check it must
    /// have run for a while.
    pub(super) fn is_ready(&self, cluster: &Cluster, instance: &Instance) -> bool {
        let settle = Duration::from_millis(SETTLE_MS_DEFAULT).saturating_sub(self.server_skew);
        let settled = |id: &InstanceId| self.is_since(id, settle);
        let is_well = |id: InstanceId| {
            cluster.instance_status(&id).is_some_and(|seen| match seen.phase {
                Phase::Running if seen.health == Health::Unchecked => settled(&id),
                Phase::Running => seen.health.serves(),
                Phase::Completed => true,
                _ => false,
            })
        };
        // A primary that has run to its end has ended the unit.
        let is = |phase| cluster.instance_status(&instance.id).is_some_and(|s| s.phase == phase);
        instance.goal == Goal::Run
            && (is(Phase::Completed) || containers_of(cluster, instance).into_iter().all(is_well))
    }

    /// Has a container been as it is for so long?
    fn is_since(&self, id: &InstanceId, time: Duration) -> bool {
        self.since.get(id).map(Instant::elapsed).is_some_and(|since| since >= time)
    }

    /// Does it serve in truth, whatever the store knows: it is ready, its containers run, and are
    /// not between two of their crashes?
    pub(super) fn serves(&self, cluster: &Cluster, instance: &Instance) -> bool {
        let proven = |id: InstanceId| {
            let seen = cluster.instance_status(&id);
            let is = |what: fn(&InstanceStatus) -> bool| seen.is_some_and(|seen| what(seen));
            let over = id.sidekick.is_some() && is(|seen| seen.phase == Phase::Completed);
            let crashed = is(|seen| seen.restarts > 0);
            let least = if crashed { ROLLOUT_PROVEN_AGAIN_MS } else { SETTLE_MS_DEFAULT };
            // By its own clock the server may not know it yet.
            let least = Duration::from_millis(least) + self.server_skew;
            over || (self.engines.runs(&id) && self.is_since(&id, least))
        };
        self.is_ready(cluster, instance) && containers_of(cluster, instance).into_iter().all(proven)
    }

    /// Slots of a service, up to its scale, with an instance that is as asked.
    fn slots_with(
        &self,
        cluster: &Cluster,
        id: &ServiceId,
        is: impl Fn(&Instance) -> bool,
    ) -> BTreeSet<u32> {
        let service = self.cluster.service(id);
        let scale = service.map_or(0, |one| control::cluster::scale_of(&self.cluster, one));
        cluster
            .instances_of(id)
            .filter(|instance| {
                // What was said last of a host that is away counts for nothing.
                let host = cluster.host(&instance.host);
                host.is_some_and(|host| host.is_observed())
                    && instance.id.n <= scale
                    && is(instance)
            })
            .map(|instance| instance.id.n)
            .collect()
    }

    /// Slots of these instances' services that were served.
    pub(super) fn slots_of(
        &self,
        before: &Cluster,
        instances: &BTreeSet<InstanceId>,
    ) -> BTreeMap<ServiceId, usize> {
        let services: BTreeSet<&ServiceId> = instances.iter().map(|id| &id.service).collect();
        let count =
            |id: &ServiceId| self.slots_with(before, id, |one| self.serves(before, one)).len();
        services.into_iter().map(|id| (id.clone(), count(id))).collect()
    }
}
