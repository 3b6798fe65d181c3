//! What measured instances use, in memory only, and the loop that lets it decide on the scale.

use crate::state::Shared;
use control::autoscale::{Sample, decide};
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::host_status::{HostStatus, Requests, Usage};
use model::id::{HostId, InstanceId, ServiceId};
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

/// What was said last of each measured instance, with when it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usages(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    usage: BTreeMap<InstanceId, (Usage, Timestamp)>,
    /// Requests that came through one host: an instance gets them through several.
    requests: BTreeMap<InstanceId, BTreeMap<HostId, Counted>>,
}

/// What one host counted for one instance.
#[derive(Clone, Copy, Debug)]
struct Counted {
    /// By its dataplane's own clock.
    at_ms: u64,
    count: u64,
    /// When it came, by the server's clock.
    at: Timestamp,
    /// Thousandths of a request per second since the number before it.
    milli: Option<u64>,
}

impl Usages {
    /// Takes what a host says.
    pub(crate) fn note(&self, status: &HostStatus, now: Timestamp) {
        let mut all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let fresh = |at: Timestamp| now.since_ms(at) < STALE_MS;
        all.usage.retain(|_, (_, at)| fresh(*at));
        for (id, usage) in &status.usage {
            let before = all.usage.get(id);
            if before.is_none_or(|(before, _)| before.at != usage.at) {
                all.usage.insert(id.clone(), (*usage, now));
            }
        }
        all.requests.retain(|_, hosts| {
            hosts.retain(|_, counted| fresh(counted.at));
            !hosts.is_empty()
        });
        if let Some(requests) = &status.requests {
            all.note_requests(&status.host, requests, now);
        }
    }

    /// What the instance used, when that is not long ago.
    fn usage(&self, id: &InstanceId, now: Timestamp) -> Option<Usage> {
        let all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (usage, at) = all.usage.get(id)?;
        (now.since_ms(*at) < STALE_MS).then_some(*usage)
    }

    /// Requests per second through all hosts; `None` when no host has counted for long enough.
    fn requests(&self, id: &InstanceId, now: Timestamp) -> Option<u64> {
        let all = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let hosts = all.requests.get(id)?.values();
        let fresh = hosts.filter(|counted| now.since_ms(counted.at) < STALE_MS);
        let rates = fresh.filter_map(|counted| counted.milli);
        let milli = rates.reduce(u64::saturating_add)?;
        Some(milli.saturating_add(500) / 1_000)
    }
}

impl Known {
    /// Takes the numbers of one host. The containers of an instance count as one.
    fn note_requests(&mut self, host: &HostId, requests: &Requests, now: Timestamp) {
        let mut counts: BTreeMap<InstanceId, u64> = BTreeMap::new();
        for (id, count) in &requests.of {
            let sum = counts.entry(id.instance()).or_default();
            *sum = sum.saturating_add(*count);
        }
        for (id, count) in counts {
            let hosts = self.requests.entry(id).or_default();
            let before = hosts.get(host);
            if before.is_some_and(|before| before.at_ms == requests.at_ms) {
                continue;
            }
            // Less than before: the dataplane or the instance began anew.
            let milli = before.and_then(|before| {
                let ms = requests.at_ms.checked_sub(before.at_ms)?.max(1);
                let more = count.checked_sub(before.count)?;
                Some(more.saturating_mul(1_000_000) / ms)
            });
            let counted = Counted { at_ms: requests.at_ms, count, at: now, milli };
            hosts.insert(host.clone(), counted);
        }
    }
}

/// What one instance uses, in the metric's unit; `None` when it was not measured.
fn value(
    usages: &Usages,
    cluster: &Cluster,
    instance: &Instance,
    metric: Metric,
    now: Timestamp,
) -> Option<u64> {
    let revision = cluster.revision(&instance.id.service, instance.target.revision)?;
    let resources = &revision.template.container()?.resources;
    let bytes = |value: i64| u64::try_from(value).ok().filter(|bytes| *bytes > 0);
    match metric {
        Metric::Cpu => {
            let reserved = Some(resources.cpu_reserved_milli).filter(|milli| *milli > 0);
            let base = reserved.or(resources.cpu_limit_milli).unwrap_or(1_000).max(1);
            Some(usages.usage(&instance.id, now)?.cpu_milli.saturating_mul(100) / base)
        }
        Metric::Memory => {
            let of_host = || cluster.host(&instance.host).map(|host| host.facts.memory);
            let limit = resources.memory_limit.and_then(bytes);
            let base = bytes(resources.memory_reserved).or(limit).or_else(of_host)?.max(1);
            Some(usages.usage(&instance.id, now)?.memory.saturating_mul(100) / base)
        }
        Metric::Requests => usages.requests(&instance.id, now),
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
    let values: Vec<u64> =
        running.filter_map(|instance| value(usages, cluster, instance, metric, now)).collect();
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

#[cfg(test)]
mod tests;
