//! Health by several hosts: what the dataplanes of other hosts say of an instance, in memory only,
//! and what its health comes to with what its own host says (`control::probing`).

use crate::latest::Interest;
use crate::state::Shared;
use control::probing::{Ring, Word, judge};
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::health::Health;
use model::host::HostLink;
use model::host_status::{HostStatus, ProbeReport};
use model::id::{HostId, InstanceId};
use model::instance::{InstanceStatus, Phase};
use model::reason::within_limit;
use model::record::{Record, RecordKey};
use model::time::{Index, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::Store;

/// Healths that are written together.
const AT_ONCE: usize = 32;
/// Tries to write them when a record changes at the same time; the next word tries again.
const TRIES_MAX: usize = 5;

/// What was said last. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdicts(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    ring: Ring,
    /// By host: of instances elsewhere that it probes. Who is not here has said nothing yet.
    of_others: BTreeMap<HostId, BTreeMap<InstanceId, ProbeReport>>,
    /// By host: of its own.
    of_own: BTreeMap<HostId, BTreeMap<InstanceId, Own>>,
}

/// What a host says of an instance of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Own {
    health: Health,
    reason: String,
    started_at: Option<Timestamp>,
}

impl Verdicts {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a host says, whole; of which instances elsewhere it says something else than
    /// before. `own` are those of its instances that it may speak of.
    pub(crate) fn note(
        &self,
        status: &HostStatus,
        own: impl Fn(&InstanceId) -> bool,
    ) -> BTreeSet<InstanceId> {
        let mut said = self.said();
        let running = status.instances.iter().filter(|(id, seen)| {
            seen.phase == Phase::Running && seen.health != Health::Unchecked && own(id)
        });
        let own = running.map(|(id, seen)| {
            let (health, reason, started_at) = (seen.health, seen.reason.clone(), seen.started_at);
            (id.clone(), Own { health, reason, started_at })
        });
        let own = own.collect();
        said.of_own.insert(status.host.clone(), own);
        let probes = &status.probes;
        let before = said.of_others.insert(status.host.clone(), probes.clone());
        let before = before.unwrap_or_default();
        let health = |all: &BTreeMap<InstanceId, ProbeReport>, id: &InstanceId| {
            all.get(id).map(|report| (report.health, report.run))
        };
        let ids: BTreeSet<&InstanceId> = before.keys().chain(probes.keys()).collect();
        let changed = ids.into_iter().filter(|id| health(&before, id) != health(probes, id));
        changed.cloned().collect()
    }

    /// A status as its own host saw it, with the health that all its probers give it.
    pub(crate) fn judged(
        &self,
        cluster: &Cluster,
        id: &InstanceId,
        seen: InstanceStatus,
    ) -> InstanceStatus {
        let known = cluster.instance_status(id);
        let known = known.filter(|known| known.started_at == seen.started_at);
        let known = known.map_or(Health::Unchecked, |known| known.health);
        self.said().judged(cluster, id, true, known, seen)
    }

    /// What the record of an instance should say now; `None` when it says that.
    fn revised(&self, cluster: &Cluster, id: &InstanceId) -> Option<InstanceStatus> {
        let known = cluster.instance_status(id)?;
        let host = &cluster.instance(&id.instance())?.host;
        let present = cluster.host(host).is_some_and(|host| host.status == HostLink::Active);
        let mut said = self.said();
        let mut seen = (**known).clone();
        let own = said.of_own.get(host).and_then(|own| own.get(id));
        if let Some(own) = own.filter(|own| present && own.started_at == seen.started_at) {
            (seen.health, seen.reason) = (own.health, own.reason.clone());
        }
        let next = said.judged(cluster, id, present, known.health, seen);
        (next.health != known.health).then_some(next)
    }

    /// Instances of which a host has said something, or which are its own and probed by others.
    fn concerned(&self, host: &HostId) -> BTreeSet<InstanceId> {
        let said = self.said();
        let of_others = said.of_others.get(host).into_iter().flat_map(BTreeMap::keys);
        let of_own = said.of_own.get(host).into_iter().flat_map(BTreeMap::keys);
        of_others.chain(of_own).cloned().collect()
    }

    /// Forgets hosts that are none any more.
    fn forget(&self, cluster: &Cluster) {
        let mut said = self.said();
        said.of_others.retain(|host, _| cluster.host(host).is_some());
        said.of_own.retain(|host, _| cluster.host(host).is_some());
    }
}

impl Said {
    /// `present`: the instance's own host is connected, and `seen` is what it says.
    fn judged(
        &mut self,
        cluster: &Cluster,
        id: &InstanceId,
        present: bool,
        known: Health,
        mut seen: InstanceStatus,
    ) -> InstanceStatus {
        let Some(instance) = cluster.instance(&id.instance()) else { return seen };
        if seen.phase != Phase::Running || seen.health == Health::Unchecked {
            return seen;
        }
        self.ring.follow(cluster);
        let run = seen.started_at.unwrap_or_default();
        let probers = self.ring.probers(id, &instance.host);
        let words: Vec<(HostId, Word, &str)> = probers
            .into_iter()
            .map(|host| {
                let (word, detail) = match self.of_others.get(&host).map(|said| said.get(id)) {
                    None => (Word::Silent, ""),
                    Some(Some(report)) if report.run == run => {
                        (Word::Says(report.health), report.detail.as_str())
                    }
                    Some(_) => (Word::None, ""),
                };
                (host, word, detail)
            })
            .collect();
        let others: Vec<Word> = words.iter().map(|(_, word, _)| *word).collect();
        let health = judge(present.then_some(seen.health), known, &others);
        if health == seen.health {
            return seen;
        }
        seen.reason = match health {
            Health::Unhealthy => {
                let (hosts, details): (Vec<&str>, Vec<&str>) =
                    words.iter().map(|(host, _, detail)| (host.as_str(), *detail)).unzip();
                let detail = details.first().copied().unwrap_or_default();
                within_limit(format!("health check from {}: {detail}", hosts.join(", ")))
            }
            _ => String::new(),
        };
        seen.health = health;
        seen
    }
}

/// Writes what the health of these instances comes to now, many at once: a host that comes or goes
/// may be the prober of hundreds.
pub(crate) async fn revise<S: Store>(shared: &Shared<S>, ids: BTreeSet<InstanceId>) {
    let ids: Vec<InstanceId> = ids.into_iter().collect();
    for some in ids.chunks(AT_ONCE) {
        for _ in 0..TRIES_MAX {
            let cluster = shared.cluster();
            let (mut reads, mut edits) = (vec![], vec![]);
            for id in some {
                let Some(mut next) = shared.verdicts.revised(&cluster, id) else { continue };
                next.changed_at = shared.now();
                let key = RecordKey::InstanceStatus(id.clone());
                reads.push((key.clone(), cluster.modified(&key)));
                edits.push(Edit::Put(Record::InstanceStatus(id.clone(), Arc::new(next))));
            }
            if edits.is_empty() {
                break;
            }
            match shared.commit(Proposal { reads, change: Change { edits } }).await {
                Ok(_) => break,
                Err(store::Error::Conflict { .. }) => {}
                Err(error) => {
                    let error = api::error::chain(&error);
                    tracing::warn!(error, "health by other hosts not stored");
                    break;
                }
            }
        }
    }
}

/// Who is away has no say: looks again when a host comes or goes, for ever.
pub(crate) async fn run<S: Store>(shared: Shared<S>) {
    let mut clusters = shared.follow(Interest::Published);
    let mut links: BTreeMap<HostId, HostLink> = BTreeMap::new();
    let mut seen: Option<Index> = None;
    loop {
        let cluster = clusters.take();
        let changed = seen.and_then(|index| cluster.changed_since(index));
        let hosts = changed.is_none_or(|mut keys| keys.any(|k| matches!(k, RecordKey::Host(_))));
        seen = Some(cluster.index());
        if hosts {
            shared.verdicts.forget(&cluster);
            let now: BTreeMap<HostId, HostLink> =
                cluster.hosts().map(|host| (host.id.clone(), host.status)).collect();
            let moved = now.iter().filter(|(id, link)| links.get(*id) != Some(*link));
            let moved: BTreeSet<InstanceId> =
                moved.flat_map(|(id, _)| shared.verdicts.concerned(id)).collect();
            links = now;
            revise(&shared, moved).await;
        }
        clusters.changed().await;
    }
}

#[cfg(test)]
mod tests;
