//! Until when somebody must have said something of the checks that wait for a word. In memory only:
//! a server that starts gives all of them their whole time. Nothing ends while a host is not
//! connected: nobody can be heard from there.

use super::{Said, is_old};
use control::catalog::checks;
use model::cluster::Cluster;
use model::host::HostLink;
use model::id::HostId;
use model::record::RecordKey;
use model::registration::{CheckPlan, CheckProbe, ClientKey};
use model::time::{Index, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// One that waits for a word.
#[derive(Debug)]
struct Ttl {
    run: Timestamp,
    ttl: Duration,
    /// `None` once it is over, until somebody speaks again.
    deadline: Option<Instant>,
    last: Option<String>,
    written: Option<Instant>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Ttls {
    all: BTreeMap<ClientKey, Ttl>,
    /// Hosts that are not connected.
    away: BTreeSet<HostId>,
    seen: Option<Index>,
}

impl Ttls {
    /// Brings it to a cluster that is not older than the last one.
    pub(super) fn follow(&mut self, cluster: &Cluster, now: Instant) {
        let changed = self.seen.and_then(|index| cluster.changed_since(index));
        self.seen = Some(cluster.index());
        let Some(changed) = changed else {
            let nodes: Vec<HostId> = cluster.hosts().map(|host| host.id.clone()).collect();
            self.all.retain(|key, _| key.node.parse().is_ok_and(|id| cluster.host(&id).is_some()));
            nodes.iter().for_each(|host| self.follow_host(cluster, host, now));
            return;
        };
        let of = |key: &RecordKey| match key {
            RecordKey::ClientCheck(key) => key.node.parse::<HostId>().ok(),
            RecordKey::Plain(id) => Some(id.host.clone()),
            RecordKey::Host(id) => Some(id.clone()),
            _ => None,
        };
        let mut hosts: Vec<HostId> = changed.filter_map(of).collect();
        hosts.sort();
        hosts.dedup();
        hosts.iter().for_each(|host| self.follow_host(cluster, host, now));
    }

    fn follow_host(&mut self, cluster: &Cluster, host: &HostId, now: Instant) {
        let here = cluster.host(host).is_some_and(|host| host.status == HostLink::Active);
        if !here {
            self.away.insert(host.clone());
        } else if self.away.remove(host) {
            // Who could not be heard has its whole time again.
            let from = ClientKey::new(host.as_str(), "");
            let all = self.all.range_mut(from..);
            for (_, one) in all.take_while(|(key, _)| key.node == host.as_str()) {
                one.deadline = one.deadline.and_then(|_| now.checked_add(one.ttl));
            }
        }
        let known = checks::known(cluster, host);
        let from = ClientKey::new(host.as_str(), "");
        let here = self.all.range(from..).take_while(|(key, _)| key.node == host.as_str());
        let gone = here.filter(|(key, _)| !known.contains_key(&key.id));
        let gone: Vec<ClientKey> = gone.map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| _ = self.all.remove(key));
        for (id, wish) in known {
            let key = ClientKey::new(host.as_str(), &id);
            let CheckPlan { probe: CheckProbe::Ttl(ms), .. } = wish.plan else {
                self.all.remove(&key);
                continue;
            };
            let ttl = Duration::from_millis(ms);
            let same = self.all.get(&key).is_some_and(|one| (one.run, one.ttl) == (wish.run, ttl));
            if !same {
                let deadline = now.checked_add(ttl);
                let new = Ttl { run: wish.run, ttl, deadline, last: None, written: None };
                self.all.insert(key, new);
            }
        }
    }

    /// Somebody has spoken, at this time; it is not written yet.
    pub(super) fn arrived(&mut self, key: &ClientKey, at: Instant) {
        let Some(one) = self.all.get_mut(key) else { return };
        let later = at.checked_add(one.ttl);
        one.deadline = one.deadline.and_then(|known| later.map(|later| later.max(known)));
    }

    /// What somebody said at `at` has been taken.
    pub(super) fn heard(&mut self, said: Said, at: Instant, now: Instant) {
        let Said { telling, ttl_ms, written } = said;
        // One that is not known yet comes with the cluster.
        let Some(one) = self.all.get_mut(&telling.key) else { return };
        let until = at.checked_add(Duration::from_millis(ttl_ms));
        one.deadline = one.deadline.max(until);
        one.last = Some(telling.output);
        if written {
            one.written = Some(now);
        }
    }

    /// May another output alone be written?
    pub(super) fn may_write(&self, key: &ClientKey, now: Instant) -> bool {
        self.all.get(key).is_none_or(|one| is_old(one.written, now))
    }

    /// Ends when the next one is due; never while there is none.
    pub(super) async fn due(&self) {
        match self.all.values().filter_map(|one| one.deadline).min() {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Those whose time is over, with what was said last. Where nobody can be heard it begins anew.
    pub(super) fn late(
        &mut self,
        cluster: &Cluster,
        now: Instant,
    ) -> Vec<(ClientKey, Option<String>)> {
        let mut late = vec![];
        for (key, one) in &mut self.all {
            if one.deadline.is_none_or(|deadline| deadline > now) {
                continue;
            }
            let host = key.node.parse::<HostId>().ok().and_then(|id| cluster.host(&id));
            if host.is_some_and(|host| host.status == HostLink::Active) {
                one.deadline = None;
                late.push((key.clone(), one.last.clone()));
            } else {
                one.deadline = now.checked_add(one.ttl);
            }
        }
        late
    }
}
