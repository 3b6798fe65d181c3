//! Which hosts are there: written down when an agent comes, when it has been silent for a while
//! (disconnected), and when it has been so for long (lost). What follows from it is the planner's.

use crate::latest::Interest;
use crate::state::Shared;
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::host::{Host, HostFacts, HostLink, Scheduling};
use model::id::HostId;
use model::limits::{HOST_DISCONNECTED_MS, HOST_LOST_MS};
use model::record::{Record, RecordKey};
use model::time::Timestamp;
use model::wireguard::PublicKey;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// Tries to write a host's record that others change at the same time.
const TRIES_MAX: usize = 10;
/// Pause after the store refused.
const PAUSE: Duration = Duration::from_secs(1);

/// An agent has said what its host is. One that had to join first is not made known by that: it
/// may have been removed a moment ago.
pub(crate) async fn note_facts<S: Store>(
    shared: &Shared<S>,
    id: &HostId,
    facts: &HostFacts,
    joins: bool,
) {
    // A copy of a machine has the keys of the first one: they stay that one's.
    let cluster = shared.cluster();
    let taken = |key: &PublicKey| {
        cluster.hosts().any(|other| other.id != *id && other.facts.wireguard.contains(key))
    };
    write(shared, id, |old, now| {
        if joins && old.is_none() {
            return None;
        }
        // An agent that has just started and whose engine is away does not know them.
        let mut facts = facts.clone();
        if old.is_none_or(|old| old.facts.wireguard != facts.wireguard) {
            facts.wireguard.retain(|key| !taken(key));
        }
        if let Some(old) = old {
            facts.keep_what_the_engine_said(&old.facts);
        }
        let known = old.filter(|old| old.status == HostLink::Active);
        if known.is_some_and(|old| old.facts == facts) {
            return None;
        }
        Some(Host {
            id: id.clone(),
            facts,
            status: HostLink::Active,
            changed_at: known.map_or(now, |old| old.changed_at),
            unheard_since: known.map_or(now, |old| old.unheard_since),
            scheduling: old.map_or(Scheduling::Active, |old| old.scheduling),
            labels: old.map(|old| old.labels.clone()).unwrap_or_default(),
            reason: String::new(),
            membership: old.map(|old| old.membership.clone()).unwrap_or_default(),
        })
    })
    .await;
}

/// A session has ended and no other one began in time.
pub(crate) async fn note_silence<S: Store>(shared: &Shared<S>, id: &HostId, heard: Timestamp) {
    write(shared, id, |old, now| {
        let old = old.filter(|old| old.status == HostLink::Active)?;
        Some(Host {
            status: HostLink::Disconnected,
            changed_at: now,
            unheard_since: heard,
            reason: "its agent is not connected; what runs there goes on".into(),
            ..old.clone()
        })
    })
    .await;
}

/// A server that starts knows nothing of what was heard before: nobody has been away for longer than
/// it has been there. Nothing may be planned before that is written down.
pub(crate) async fn begin<S: Store>(shared: &Shared<S>) {
    let start = shared.now();
    let hosts: Vec<HostId> = shared.cluster().hosts().map(|host| host.id.clone()).collect();
    for id in &hosts {
        write(shared, id, |old, _| {
            let old = old.filter(|old| old.status != HostLink::Active)?;
            (old.unheard_since < start).then(|| Host { unheard_since: start, ..old.clone() })
        })
        .await;
    }
}

/// Follows the hosts that are away, for ever.
pub(crate) async fn run<S: Store>(shared: Shared<S>) {
    let start = shared.now();
    let hosts: Vec<HostId> = shared.cluster().hosts().map(|host| host.id.clone()).collect();
    tokio::time::sleep(Duration::from_millis(HOST_DISCONNECTED_MS)).await;
    let connected = shared.hosts.connected();
    for id in hosts.iter().filter(|id| !connected.contains(id)) {
        note_silence(&shared, id, start).await;
    }
    let mut clusters = shared.follow(Interest::Every);
    loop {
        let cluster = clusters.take();
        let now = shared.now();
        let (lost, next) = overdue(&cluster, now);
        for id in &lost {
            write(&shared, id, |old, now| {
                let old = old.filter(|old| is_overdue(old, now))?;
                let s = HOST_LOST_MS / 1_000;
                let reason = format!("its agent has not been heard for {s} s");
                Some(Host { status: HostLink::Lost, changed_at: now, reason, ..old.clone() })
            })
            .await;
        }
        let wait = next.map_or(Duration::from_secs(3_600), |at| {
            Duration::from_millis(at.since_ms(now).max(10))
        });
        tokio::select! {
            biased;
            () = clusters.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn lost_at(host: &Host) -> Timestamp {
    host.unheard_since.plus_ms(HOST_LOST_MS)
}

fn is_overdue(host: &Host, now: Timestamp) -> bool {
    host.status == HostLink::Disconnected && now >= lost_at(host)
}

/// Hosts that are lost by now, and when the next one will be.
fn overdue(cluster: &Cluster, now: Timestamp) -> (Vec<HostId>, Option<Timestamp>) {
    let away = cluster.hosts().filter(|host| host.status == HostLink::Disconnected);
    let mut due: BTreeMap<Timestamp, Vec<HostId>> = BTreeMap::new();
    for host in away {
        due.entry(lost_at(host)).or_default().push(host.id.clone());
    }
    let later = due.split_off(&Timestamp(now.0.saturating_add(1)));
    (due.into_values().flatten().collect(), later.keys().next().copied())
}

/// Writes what `decide` makes of the newest record; people may label or drain it meanwhile.
async fn write<S: Store>(
    shared: &Shared<S>,
    id: &HostId,
    decide: impl Fn(Option<&Host>, Timestamp) -> Option<Host>,
) {
    for _ in 0..TRIES_MAX {
        let cluster = shared.cluster();
        let old = cluster.host(id).map(|host| &**host);
        let Some(host) = decide(old, shared.now()) else { return };
        let key = RecordKey::Host(id.clone());
        let proposal = Proposal {
            reads: vec![(key.clone(), cluster.modified(&key))],
            change: Change { edits: vec![Edit::Put(Record::Host(Arc::new(host)))] },
        };
        match shared.commit(proposal).await {
            Ok(_) => return,
            Err(store::Error::Conflict { .. }) => {
                shared.newer_than(cluster.index(), PAUSE).await;
            }
            Err(error) => {
                tracing::warn!(host = %id, error = api::error::chain(&error), "host record not stored");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_lost_ten_seconds_after_it_was_last_heard() {
        let host = |id: &str, status, heard| Host {
            id: id.parse().unwrap(),
            facts: HostFacts::default(),
            status,
            changed_at: Timestamp(heard),
            unheard_since: Timestamp(heard),
            scheduling: Scheduling::Active,
            labels: BTreeMap::new(),
            reason: String::new(),
            membership: model::host::Membership::default(),
        };
        let mut cluster = Cluster::default();
        let hosts = [
            host("a", HostLink::Active, 0),
            host("b", HostLink::Disconnected, 1_000),
            host("c", HostLink::Disconnected, 5_000),
            host("d", HostLink::Lost, 0),
        ];
        let edits = hosts.into_iter().map(|h| Edit::Put(Record::Host(Arc::new(h)))).collect();
        cluster.apply(model::time::Index(1), &Change { edits });
        for (now, lost, next) in [
            (10_999, vec![], Some(11_000)),
            (11_000, vec!["b"], Some(15_000)),
            (15_000, vec!["b", "c"], None),
        ] {
            let (ids, at) = overdue(&cluster, Timestamp(now));
            let ids: Vec<&str> = ids.iter().map(HostId::as_str).collect();
            assert_eq!((ids, at), (lost, next.map(Timestamp)), "at {now}");
        }
    }
}
