//! Metadata, followed change by change: the entries that a change can have touched are made again,
//! and each host is told those that are others and that it is told of at all.

use super::{Scope, containers, facts, host_entry, plain_entry, revisions};
use crate::probing::Ring;
use crate::publish::publisher::Publisher;
use crate::publish::relations::Relations;
use model::cluster::Cluster;
use model::delta::Delta;
use model::id::{HostId, InstanceId, ServiceId};
use model::metadata::{MetaContainer, MetaDelta, MetaView};
use model::plain::PlainId;
use model::record::RecordKey;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What changes can have touched.
#[derive(Default)]
struct Touched {
    services: BTreeSet<ServiceId>,
    /// Those whose records or revisions were written.
    revised: BTreeSet<ServiceId>,
    /// By `InstanceId::instance`.
    units: BTreeSet<InstanceId>,
    hosts: BTreeSet<HostId>,
    plain: BTreeSet<PlainId>,
}

impl Touched {
    fn between(before: &Cluster, now: &Cluster) -> Option<Self> {
        let mut touched = Self::default();
        let mut moved: BTreeSet<&HostId> = BTreeSet::new();
        for key in now.changed_since(before.index())? {
            match key {
                RecordKey::Environment | RecordKey::Token(_) | RecordKey::Stack(_) => {}
                RecordKey::Floating(_) => {}
                RecordKey::ClientNode(_)
                | RecordKey::ClientService(_)
                | RecordKey::ClientCheck(_)
                | RecordKey::CheckState(_)
                | RecordKey::Query(_) => {}
                RecordKey::Host(id) => {
                    touched.hosts.insert(id.clone());
                    let address = |c: &Cluster| c.host(id).map(|h| h.facts.address.clone());
                    if address(before) != address(now) {
                        moved.insert(id);
                    }
                }
                RecordKey::Service(id) | RecordKey::Revision(id, _) => {
                    touched.revised.insert(id.clone());
                }
                RecordKey::ServiceStatus(id) => _ = touched.services.insert(id.clone()),
                RecordKey::Instance(id) | RecordKey::InstanceStatus(id) => {
                    touched.services.insert(id.service.clone());
                    touched.units.insert(id.instance());
                }
                RecordKey::Plain(id) | RecordKey::Attachment(id) => {
                    touched.plain.insert(id.clone());
                }
            }
        }
        for id in &touched.revised {
            touched.services.insert(id.clone());
            let all = [before, now].into_iter().flat_map(|c| c.instances_of(id));
            touched.units.extend(all.map(|instance| instance.id.clone()));
        }
        for host in moved {
            touched.units.extend(now.instances_on(host).map(|one| one.id.clone()));
            touched.plain.extend(now.plains_on(host).map(|(id, _)| id.clone()));
        }
        Some(touched)
    }
}

/// What leads from `old`, which is the metadata of `before`, to that of `now`; `None` when all is to
/// be made again. `rings` and `relations` are those of before and now.
pub(in crate::publish) fn follow(
    old: &MetaView,
    (before, now): (&Cluster, &Cluster),
    (were, relations): (&Arc<Relations>, &Arc<Relations>),
    (ring_was, ring): (&Arc<Ring>, &Arc<Ring>),
) -> Option<MetaDelta> {
    let mut touched = Touched::between(before, now)?;
    if !Arc::ptr_eq(were, relations) {
        let all = were.linked.keys().chain(relations.linked.keys());
        let other = all.filter(|id| were.linked.get(*id) != relations.linked.get(*id));
        touched.services.extend(other.cloned());
    }
    if !touched.plain.is_empty() {
        touched.services.extend(relations.selecting.iter().cloned());
    }
    if !Arc::ptr_eq(ring_was, ring) {
        // Few of those that are probed have other probers, and which is not known.
        for (_, service) in &old.services {
            let probed = service.containers.iter().filter(|(_, one)| !one.probers.is_empty());
            touched.units.extend(probed.map(|(id, _)| id.instance()));
        }
    }
    let mut delta = MetaDelta::default();
    for id in touched.services {
        let new = now.service(&id).map(|service| Arc::new(facts(now, relations, service)));
        let known = old.services.get(&id).map(|one| &one.facts);
        if known != new.as_ref() {
            if new.is_none() || known.is_none() {
                // With a service its containers come and go.
                let containers =
                    old.services.get(&id).into_iter().flat_map(|one| one.containers.keys());
                touched.units.extend(containers.map(InstanceId::instance));
                touched.units.extend(now.instances_of(&id).map(|one| one.id.clone()));
            }
            delta.services.insert(id, new);
        }
    }
    for id in touched.revised {
        let new = now.service(&id).map(|service| Arc::new(revisions(now, service)));
        if old.services.get(&id).map(|one| &one.revisions) != new.as_ref() {
            delta.revisions.insert(id, new);
        }
    }
    for id in &touched.units {
        unit(old, now, ring, id, &mut delta);
    }
    for id in touched.hosts {
        let new = now.host(&id).map(|host| Arc::new(host_entry(host)));
        if old.hosts.get(&id) != new.as_ref() {
            delta.hosts.insert(id, new);
        }
    }
    for id in touched.plain {
        let new = now.plain(&id).map(|plain| Arc::new(plain_entry(now, &id, plain)));
        let key = id.to_string();
        if old.plain.get(&key) != new.as_ref() {
            delta.plain.insert(key, new);
        }
    }
    Some(delta)
}

/// The containers of one instance, as they were and as they are.
fn unit(old: &MetaView, now: &Cluster, ring: &Ring, id: &InstanceId, delta: &mut MetaDelta) {
    let known = old.services.get(&id.service).map(|service| &service.containers);
    let of = known.into_iter().flat_map(|all| all.range(id.clone()..));
    let of = of.take_while(|(one, _)| one.instance() == *id);
    let was: BTreeMap<&InstanceId, &Arc<MetaContainer>> = of.collect();
    let instance = now.instance(id);
    let is: BTreeMap<InstanceId, Arc<MetaContainer>> =
        instance.map(|one| containers(now, ring, one)).unwrap_or_default().into_iter().collect();
    for id in was.keys().filter(|id| !is.contains_key(**id)) {
        delta.containers.insert((*id).clone(), None);
    }
    for (id, one) in is {
        if was.get(&id).is_none_or(|known| **known != one) {
            delta.containers.insert(id, Some(one));
        }
    }
}

/// Tells hosts what has changed of the metadata, from `old` to what the publisher has now.
pub(in crate::publish) fn spread(
    publisher: &mut Publisher,
    old: &MetaView,
    delta: &MetaDelta,
    told: &mut BTreeMap<HostId, Delta>,
) {
    let mut tell = |host: &HostId, delta: MetaDelta| {
        if !delta.is_empty() {
            let pending = told.entry(host.clone()).or_default();
            pending.view.get_or_insert_default().meta = delta;
        }
    };
    if !publisher.partial {
        for host in publisher.hosts.keys() {
            tell(host, delta.clone());
        }
        return;
    }
    // Those whose scope may be another one, and those who are told of what has changed.
    let mut turned = publisher.asked_anew.clone();
    turned.extend(std::mem::take(&mut publisher.turned));
    let mut hosts: BTreeSet<HostId> = turned.iter().cloned().collect();
    if !delta.is_empty() {
        hosts.extend(publisher.meta_whole.iter().cloned());
    }
    let of_containers = delta.containers.keys().map(|id| &id.service);
    for id in delta.services.keys().chain(delta.revisions.keys()).chain(of_containers) {
        hosts.extend(publisher.interested.get(id).into_iter().flatten().cloned());
    }
    hosts.extend(delta.hosts.keys().cloned());
    let of_plain = delta.plain.keys().filter_map(|key| key.split_once('/')?.0.parse().ok());
    hosts.extend(of_plain);
    for host in hosts {
        let Some(followed) = publisher.hosts.get_mut(&host) else { continue };
        if turned.contains(&host) {
            let new = Scope::of(&host, &followed.asked, followed.interest.clone());
            let was = std::mem::replace(&mut followed.scope, new.clone());
            if new == Scope::All {
                publisher.meta_whole.insert(host.clone());
            } else {
                publisher.meta_whole.remove(&host);
            }
            if was != new {
                let both = MetaDelta::between(&was.part(old), &new.part(&publisher.meta));
                tell(&host, both.unwrap_or_default());
                continue;
            }
        }
        tell(&host, followed.scope.of_delta(&host, delta));
    }
}

impl Scope {
    /// What of a delta a host of this scope is told.
    fn of_delta(&self, host: &HostId, delta: &MetaDelta) -> MetaDelta {
        let Self::Part(_, services) = self else { return delta.clone() };
        let mut part = MetaDelta::default();
        let of = delta.services.iter().filter(|(id, _)| services.contains(*id));
        part.services = of.map(|(id, one)| (id.clone(), one.clone())).collect();
        let of = delta.revisions.iter().filter(|(id, _)| services.contains(*id));
        part.revisions = of.map(|(id, one)| (id.clone(), one.clone())).collect();
        let of = delta.containers.iter().filter(|(id, _)| services.contains(&id.service));
        part.containers = of.map(|(id, one)| (id.clone(), one.clone())).collect();
        if let Some(one) = delta.hosts.get(host) {
            part.hosts.insert(host.clone(), one.clone());
        }
        let own = |key: &str| key.split_once('/').is_some_and(|(of, _)| of == host.as_str());
        let of = delta.plain.iter().filter(|(key, _)| own(key));
        part.plain = of.map(|(key, one)| (key.clone(), one.clone())).collect();
        part
    }
}
