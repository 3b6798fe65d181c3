//! What measured instances use, in memory only, and the loop that lets it decide on the scale.

use crate::state::Shared;
use control::autoscale::{Sample, decide};
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::host_status::{HostStatus, Usage};
use model::id::{InstanceId, ServiceId};
use model::instance::{Goal, Instance};
use model::record::{Record, RecordKey, Scaled, Service, ServiceStatus};
use model::scaling::{Metric, Scaling};
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::Store;

/// The scale is looked at this often.
const PERIOD: Duration = Duration::from_secs(5);
/// What was measured longer ago says nothing of now, in milliseconds.
const STALE_MS: u64 = 15_000;
/// Samples kept beyond the longest time that a policy looks back, in milliseconds.
const SLACK_MS: u64 = 60_000;

/// The newest use of each measured container, with when it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usages(Arc<Mutex<BTreeMap<InstanceId, Known>>>);

#[derive(Clone, Copy, Debug)]
struct Known {
    usage: Usage,
    /// By the server's clock.
    at: Timestamp,
    /// Requests per second since the one before.
    rate: Option<u64>,
}

impl Usages {
    /// Takes what a host says.
    pub(crate) fn note(&self, status: &HostStatus, now: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.retain(|_, known| now.since_ms(known.at) < STALE_MS);
        for (id, usage) in &status.usage {
            let before = all.get(id).copied();
            if before.is_some_and(|before| before.usage.at == usage.at) {
                continue;
            }
            let rate = before.and_then(|before| {
                let ms = usage.at.since_ms(before.usage.at).max(1);
                let more = usage.requests?.checked_sub(before.usage.requests?)?;
                Some(more.saturating_mul(1_000) / ms)
            });
            all.insert(id.clone(), Known { usage: *usage, at: now, rate });
        }
    }

    fn of(&self, id: &InstanceId) -> Option<Known> {
        let all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.get(id).copied()
    }
}

/// What one instance uses, in the metric's unit; `None` when it was not measured.
fn value(cluster: &Cluster, instance: &Instance, known: Known, metric: Metric) -> Option<u64> {
    let revision = cluster.revision(&instance.id.service, instance.target.revision)?;
    let resources = &revision.template.container()?.resources;
    let bytes = |value: i64| u64::try_from(value).ok().filter(|bytes| *bytes > 0);
    match metric {
        Metric::Cpu => {
            let reserved = Some(resources.cpu_reserved_milli).filter(|milli| *milli > 0);
            let base = reserved.or(resources.cpu_limit_milli).unwrap_or(1_000).max(1);
            Some(known.usage.cpu_milli.saturating_mul(100) / base)
        }
        Metric::Memory => {
            let of_host = || cluster.host(&instance.host).map(|host| host.facts.memory);
            let limit = resources.memory_limit.and_then(bytes);
            let base = bytes(resources.memory_reserved).or(limit).or_else(of_host)?.max(1);
            Some(known.usage.memory.saturating_mul(100) / base)
        }
        Metric::Requests => known.rate,
    }
}

/// Decides for ever.
pub(crate) async fn run<S: Store>(shared: Shared<S>) {
    let mut samples: BTreeMap<ServiceId, Vec<Sample>> = BTreeMap::new();
    let mut period = tokio::time::interval(PERIOD);
    loop {
        period.tick().await;
        let (cluster, now) = (shared.cluster(), shared.now());
        samples.retain(|id, _| cluster.service(id).is_some_and(|service| is_scaled(service)));
        for service in cluster.services().filter(|service| is_scaled(service)) {
            let seen = samples.entry(service.id.clone()).or_default();
            let Some(status) = look(&shared.usages, &cluster, service, seen, now) else { continue };
            let keys = [
                RecordKey::Service(service.id.clone()),
                RecordKey::ServiceStatus(service.id.clone()),
            ];
            let reads = keys.map(|key| (key.clone(), cluster.modified(&key))).into();
            let change = Change { edits: vec![Edit::Put(Record::ServiceStatus(Arc::new(status)))] };
            if let Err(error) = shared.commit(Proposal { reads, change }).await {
                // The load is looked at again; nothing is lost but time.
                tracing::debug!(service = %service.id, %error, "scale not stored");
            }
        }
    }
}

fn is_scaled(service: &Service) -> bool {
    service.goal == Goal::Run && matches!(service.settings.scaling, Some(Scaling::Load { .. }))
}

/// Takes a sample; the service's status with another scale, when the load asks for one.
fn look(
    usages: &Usages,
    cluster: &Cluster,
    service: &Service,
    seen: &mut Vec<Sample>,
    now: Timestamp,
) -> Option<ServiceStatus> {
    let policy = service.settings.scaling?;
    let Scaling::Load { metric, down_after_ms, up_after_ms, .. } = policy else { return None };
    let running = cluster.instances_of(&service.id).filter(|i| i.goal == Goal::Run);
    let values: Vec<u64> = running
        .filter_map(|instance| {
            let known = usages.of(&instance.id).filter(|k| now.since_ms(k.at) < STALE_MS)?;
            value(cluster, instance, known, metric)
        })
        .collect();
    if !values.is_empty() {
        let total = values.iter().fold(0_u64, |sum, value| sum.saturating_add(*value));
        let instances = u32::try_from(values.len()).unwrap_or(u32::MAX);
        seen.push(Sample { at: now, total, instances });
    }
    let keep_ms = down_after_ms.max(up_after_ms).saturating_add(SLACK_MS);
    seen.retain(|sample| now.since_ms(sample.at) <= keep_ms);
    let mut status = (**cluster.service_status(&service.id)?).clone();
    let (min, max) = policy.bounds();
    let current = status.scaled.as_ref().map_or(min, |scaled| scaled.to.clamp(min, max));
    let changed_at = status.scaled.as_ref().map_or(service.created_at, |scaled| scaled.at);
    let (to, why) = decide(&policy, current, changed_at, seen, now)?;
    tracing::info!(service = %service.id, to, why, "scaled by load");
    status.scaled = Some(Scaled { to, why, at: now });
    Some(status)
}
