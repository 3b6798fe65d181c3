//! What services have to do with each other, derived from their records alone: who leads to whom,
//! who is another name for whom, and whose names can be the same. Endpoints that come and go
//! change nothing of it.

use super::catalog::dns_name;
use super::{RoutedPorts, links, routed_ports};
use model::cluster::Cluster;
use model::id::{InstanceId, ServiceId, ServiceName};
use model::service::Kind;
use std::collections::{BTreeMap, BTreeSet};

/// From a service to others.
type To = BTreeMap<ServiceId, BTreeSet<ServiceId>>;

/// Of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Relations {
    /// Target ports that balancers route to.
    pub(super) routed: RoutedPorts,
    /// The further names by which a service's containers know others; only where there are some.
    pub(super) aliases: BTreeMap<ServiceId, BTreeMap<String, String>>,
    /// The services that are meant by them.
    pub(super) linked: To,
    /// The services that are other names for a service, or for what it is another name for.
    pub(super) aliased_by: To,
    /// Balancers of any kept revision that lead to a service, or by way of it.
    pub(super) led_by: To,
    /// Services that count plain containers as theirs.
    pub(super) selecting: BTreeSet<ServiceId>,
    /// Services some of whose names are the same, each with all of them; only where there are some.
    kin: BTreeMap<ServiceId, BTreeSet<ServiceId>>,
    /// Services by what is asked for when a host has nothing to do with them.
    pub(super) named: BTreeMap<String, BTreeSet<ServiceId>>,
}

impl Relations {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let mut made = Self { routed: routed_ports(cluster), ..Self::default() };
        let mut bearers: BTreeMap<String, BTreeSet<ServiceId>> = BTreeMap::new();
        for service in cluster.services() {
            let id = &service.id;
            if service.settings.selector_container.is_some() {
                made.selecting.insert(id.clone());
            }
            let (names, targets) = links::aliases(cluster, service);
            if !names.is_empty() {
                made.aliases.insert(id.clone(), names);
            }
            if !targets.is_empty() {
                made.linked.insert(id.clone(), targets);
            }
            let target = cluster.revision(id, service.target.revision);
            if let Some(Kind::Alias(_)) = target.map(|revision| &revision.template.kind) {
                for target in links::met(cluster, id) {
                    made.aliased_by.entry(target).or_default().insert(id.clone());
                }
            }
            for revision in cluster.revisions_of(id) {
                if let Kind::Balancer(balancer) = &revision.template.kind {
                    let rules = balancer.rules.iter();
                    for target in rules.flat_map(|rule| links::met(cluster, &rule.service)) {
                        made.led_by.entry(target).or_default().insert(id.clone());
                    }
                }
                for sidekick in revision.template.sidekicks.keys() {
                    bear(&mut bearers, id, Some(sidekick));
                }
            }
            bear(&mut bearers, id, None);
        }
        for (_, same) in bearers.iter().filter(|(_, same)| same.len() > 1) {
            made.relate(same);
        }
        made.named = bearers;
        made
    }

    /// These have a name in common: so have all that have one in common with one of them.
    fn relate(&mut self, same: &BTreeSet<ServiceId>) {
        let known = same.iter().filter_map(|id| self.kin.get(id)).flatten();
        let all: BTreeSet<ServiceId> = known.chain(same).cloned().collect();
        for id in &all {
            self.kin.insert(id.clone(), all.clone());
        }
    }

    /// The service and all whose names can be the same as one of its.
    pub(super) fn kin(&self, service: &ServiceId) -> BTreeSet<ServiceId> {
        self.kin.get(service).cloned().unwrap_or_else(|| [service.clone()].into())
    }

    /// Services whose containers are told otherwise than with `other`, whatever changed itself.
    pub(super) fn other_than(&self, other: &Self) -> BTreeSet<ServiceId> {
        let mut found = BTreeSet::new();
        differing(&self.routed, &other.routed, &mut found);
        differing(&self.aliases, &other.aliases, &mut found);
        found
    }

    /// Names whose bearers are others than in `other`.
    pub(super) fn renamed(&self, other: &Self) -> BTreeSet<String> {
        let both = self.named.keys().chain(other.named.keys());
        both.filter(|name| self.named.get(*name) != other.named.get(*name)).cloned().collect()
    }

    /// What a host that has to do with these services is told of the others: names to ask for.
    pub(super) fn elsewhere(&self, known: &BTreeSet<ServiceId>) -> BTreeSet<String> {
        self.elsewhere_of(known, None)
    }

    /// The same of some names only.
    pub(super) fn elsewhere_of(
        &self,
        known: &BTreeSet<ServiceId>,
        among: Option<&BTreeSet<String>>,
    ) -> BTreeSet<String> {
        let unknown = |of: &BTreeSet<ServiceId>| of.iter().any(|id| !known.contains(id));
        match among {
            Some(names) => {
                let is_unknown = |name: &&String| self.named.get(*name).is_some_and(unknown);
                names.iter().filter(is_unknown).cloned().collect()
            }
            None => {
                let named = self.named.iter().filter(|(_, of)| unknown(of));
                named.map(|(name, _)| name.clone()).collect()
            }
        }
    }
}

fn differing<V: PartialEq>(
    a: &BTreeMap<ServiceId, V>,
    b: &BTreeMap<ServiceId, V>,
    found: &mut BTreeSet<ServiceId>,
) {
    let both = a.keys().chain(b.keys());
    found.extend(both.filter(|id| a.get(*id) != b.get(*id)).cloned());
}

/// Its name, and what its containers' names begin with.
fn bear(
    bearers: &mut BTreeMap<String, BTreeSet<ServiceId>>,
    id: &ServiceId,
    sidekick: Option<&ServiceName>,
) {
    let container = InstanceId::new(id.clone(), 0, 0).container(sidekick).public_name();
    let begins = container.trim_end_matches('0').to_ascii_lowercase();
    for name in [dns_name(id, sidekick), begins] {
        bearers.entry(name).or_default().insert(id.clone());
    }
}

/// Can the change of a service's records from one cluster to the next alter any of it?
pub(super) fn may_alter(before: &Cluster, now: &Cluster, id: &ServiceId) -> bool {
    let of = |cluster: &Cluster| {
        let service = cluster.service(id)?;
        let settings = &service.settings;
        let selectors = (settings.selector_link.clone(), settings.selector_container.clone());
        Some((service.target.revision, settings.links.clone(), selectors))
    };
    let revisions = |cluster: &Cluster| -> Vec<_> { cluster.revisions_of(id).cloned().collect() };
    of(before) != of(now) || revisions(before) != revisions(now)
}
