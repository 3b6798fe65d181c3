//! Health by several hosts: which other hosts probe an instance besides its own, and what their
//! words come to. As in Rancher: up to three, the instance's own among them; one that finds it
//! healthy is enough, and it is unhealthy only when nobody does.

use crate::placement::seed;
use model::cluster::Cluster;
use model::health::Health;
use model::host::{Host, HostLink};
use model::id::{HostId, InstanceId};
use model::limits::PROBERS_OTHER_MAX;
use model::record::RecordKey;
use model::time::Index;

/// A host with this label probes nothing of other hosts when it says `skip`: Rancher's label.
const STRATEGY: &str = "io.rancher.host.healthcheck.deploy_strategy";
/// Points that a host has on the ring: with more of them all have nearly as much to do.
const POINTS: u8 = 16;

/// The hosts that may probe instances of others, on a ring: who comes or goes changes the probers
/// of few instances.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    points: Vec<(u64, HostId)>,
    made_at: Option<Index>,
}

/// FNV-1a, and SplitMix64's last step, so that names that differ little lie far apart.
fn hash(parts: [&[u8]; 2]) -> u64 {
    let mut hash = seed(&parts);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn probes(host: &Host) -> bool {
    host.status == HostLink::Active && host.all_labels().get(STRATEGY).is_none_or(|w| w != "skip")
}

impl Ring {
    /// Of the hosts of a cluster that are connected.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let hosts: Vec<&HostId> =
            cluster.hosts().filter(|host| probes(host)).map(|host| &host.id).collect();
        let mut points: Vec<(u64, HostId)> = hosts
            .iter()
            .flat_map(|id| {
                (0..POINTS).map(|nth| (hash([id.as_str().as_bytes(), &[0, nth]]), (*id).clone()))
            })
            .collect();
        points.sort();
        Self { points, made_at: Some(cluster.index()) }
    }

    /// Brings it to a cluster that is not older than the last one.
    pub fn follow(&mut self, cluster: &Cluster) {
        let changed = self.made_at.and_then(|index| cluster.changed_since(index));
        let same =
            changed.is_some_and(|mut keys| !keys.any(|key| matches!(key, RecordKey::Host(_))));
        if same {
            self.made_at = Some(cluster.index());
        } else {
            *self = Self::of(cluster);
        }
    }

    /// Is this host on the ring of its cluster?
    #[must_use]
    pub fn holds(host: &Host) -> bool {
        probes(host)
    }

    /// The hosts that probe an instance besides its own, `PROBERS_OTHER_MAX` at most. Who is not
    /// there any more is replaced by the next one, and the others stay.
    #[must_use]
    pub fn probers(&self, instance: &InstanceId, own: &HostId) -> Vec<HostId> {
        let at = hash([instance.to_string().as_bytes(), b""]);
        let from = self.points.partition_point(|(point, _)| *point < at);
        let mut found: Vec<HostId> = vec![];
        for (_, host) in self.points[from..].iter().chain(&self.points[..from]) {
            if found.len() >= PROBERS_OTHER_MAX {
                break;
            }
            if host != own && !found.contains(host) {
                found.push(host.clone());
            }
        }
        found
    }
}

/// What one of the other hosts says of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It has said nothing at all since the server began.
    Silent,
    /// It has not said anything of this start of it.
    None,
    /// This.
    Says(Health),
}

/// The health of a running instance. `own` is what its own host says, `None` while that is not
/// connected; `known` is what was known last of the same start.
#[must_use]
pub fn judge(own: Option<Health>, known: Health, others: &[Word]) -> Health {
    let anybody = |word: Word| others.contains(&word);
    let well = anybody(Word::Says(Health::Healthy));
    match own {
        Some(Health::Unhealthy) if well => Health::Healthy,
        // Who has not been heard yet may have found it healthy all the time.
        Some(Health::Unhealthy) if known == Health::Healthy && anybody(Word::Silent) => known,
        Some(health) => health,
        None => match known {
            Health::Unchecked | Health::Initializing => known,
            Health::Healthy | Health::Unhealthy if well => Health::Healthy,
            Health::Healthy | Health::Unhealthy => {
                let all = others.iter().all(|word| *word == Word::Says(Health::Unhealthy));
                if all && !others.is_empty() { Health::Unhealthy } else { known }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::change::{Change, Edit};
    use model::host::{HostFacts, Scheduling};
    use model::record::Record;
    use model::time::Timestamp;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn host(name: &str, status: HostLink, strategy: Option<&str>) -> Edit {
        let labels = strategy.map(|word| (STRATEGY.to_owned(), word.to_owned()));
        Edit::Put(Record::Host(Arc::new(Host {
            id: name.parse().unwrap(),
            facts: HostFacts::default(),
            status,
            changed_at: Timestamp(0),
            unheard_since: Timestamp(0),
            scheduling: Scheduling::Active,
            labels: labels.into_iter().collect(),
            reason: String::new(),
            membership: model::host::Membership::default(),
        })))
    }

    fn cluster(names: &[String]) -> Cluster {
        let mut cluster = Cluster::default();
        let edits = names.iter().map(|name| host(name, HostLink::Active, None)).collect();
        cluster.apply(Index(1), &Change { edits });
        cluster
    }

    fn all(ring: &Ring) -> BTreeMap<u32, Vec<HostId>> {
        let own = "h0".parse().unwrap();
        let of = |n| ring.probers(&format!("shop/web#{n}@{n}").parse().unwrap(), &own);
        (1..=600).map(|n| (n, of(n))).collect()
    }

    #[test]
    fn two_other_hosts_probe_and_few_change_when_one_goes() {
        let names: Vec<String> = (0..10).map(|n| format!("h{n}")).collect();
        let mut cluster = cluster(&names);
        let mut ring = Ring::of(&cluster);
        let before = all(&ring);
        let mut load: BTreeMap<&HostId, u32> = BTreeMap::new();
        for probers in before.values() {
            assert!(probers.len() == 2 && probers[0] != probers[1], "{probers:?}");
            assert!(probers.iter().all(|host| host.as_str() != "h0"), "its own host does anyway");
            probers.iter().for_each(|host| *load.entry(host).or_default() += 1);
        }
        assert!(load.len() == 9 && load.values().all(|n| (40..=300).contains(n)), "{load:?}");
        let gone: HostId = "h4".parse().unwrap();
        let edits = vec![host("h4", HostLink::Disconnected, None)];
        cluster.apply(Index(2), &Change { edits });
        ring.follow(&cluster);
        for (n, probers) in all(&ring) {
            let stay = before[&n].iter().filter(|host| **host != gone);
            assert!(stay.clone().all(|host| probers.contains(host)), "{n}: who is there stays");
            assert!(probers.len() == 2 && !probers.contains(&gone));
        }
    }

    #[test]
    fn few_hosts_have_few_probers_and_who_skips_is_none() {
        let mut cluster = cluster(&["h0".into(), "h1".into()]);
        let told = |cluster: &Cluster| {
            let own = "h0".parse().unwrap();
            let all = Ring::of(cluster).probers(&"shop/web#1@1".parse().unwrap(), &own);
            all.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(&cluster), ["h1"]);
        let edits = vec![host("h1", HostLink::Active, Some("skip"))];
        cluster.apply(Index(2), &Change { edits });
        assert!(told(&cluster).is_empty());
        assert!(told(&Cluster::default()).is_empty());
    }

    #[test]
    fn one_who_finds_it_healthy_is_enough_and_nobody_who_is_away_counts() {
        use Health::{Healthy, Initializing, Unchecked, Unhealthy};
        let (well, sick) = (Word::Says(Healthy), Word::Says(Unhealthy));
        let rows: [(Option<Health>, Health, &[Word], Health); 17] = [
            (Some(Healthy), Unhealthy, &[sick, sick], Healthy),
            (Some(Unhealthy), Healthy, &[], Unhealthy),
            (Some(Unhealthy), Healthy, &[well, sick], Healthy),
            (Some(Unhealthy), Unhealthy, &[well], Healthy),
            (Some(Unhealthy), Healthy, &[sick, Word::None], Unhealthy),
            (Some(Unhealthy), Healthy, &[sick, Word::Silent], Healthy),
            (Some(Unhealthy), Initializing, &[Word::Silent], Unhealthy),
            // Its own host says when it has begun, and what else keeps it.
            (Some(Initializing), Initializing, &[well, well], Initializing),
            (Some(Unchecked), Healthy, &[sick], Unchecked),
            (None, Healthy, &[sick, sick], Unhealthy),
            (None, Healthy, &[sick, well], Healthy),
            (None, Healthy, &[sick, Word::None], Healthy),
            (None, Healthy, &[sick, Word::Silent], Healthy),
            (None, Healthy, &[], Healthy),
            (None, Unhealthy, &[well, Word::None], Healthy),
            (None, Initializing, &[sick, sick], Initializing),
            (None, Unchecked, &[well], Unchecked),
        ];
        for (own, known, others, expect) in rows {
            assert_eq!(judge(own, known, others), expect, "{own:?} {known:?} {others:?}");
        }
    }
}
