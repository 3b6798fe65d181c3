//! What changed of metadata: entries by their keys. A removal is an entry as well; what a delta does
//! not name stays as it is.

use super::{
    MetaContainer, MetaHost, MetaPlain, MetaService, MetaView, Revisions, ServiceFacts, Shared,
};
use crate::delta::Changes;
use crate::id::{HostId, InstanceId, ServiceId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// From one `MetaView` to a newer one of the same environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetaDelta {
    /// What is said of services. With a service its containers go, and each is named as well.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: Changes<ServiceId, Arc<ServiceFacts>>,
    /// What containers have in common; of a service that is not known it is left out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub revisions: Changes<ServiceId, Arc<Revisions>>,
    /// Containers; those of a service that is not known are left out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub containers: Changes<InstanceId, Arc<MetaContainer>>,
    /// Hosts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: Changes<HostId, Arc<MetaHost>>,
    /// Plain containers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plain: Changes<String, Arc<MetaPlain>>,
    /// `MetaView::partial`, when it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial: Option<bool>,
}

/// Compares two maps in order. What both share is not looked into.
fn compare<K: Clone + Ord, V: PartialEq>(
    old: &Shared<K, V>,
    new: &Shared<K, V>,
    mut found: impl FnMut(&K, Option<&Arc<V>>, Option<&Arc<V>>),
) {
    if old.ptr_eq(new) {
        return;
    }
    let (mut olds, mut news) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (olds.peek(), news.peek()) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return,
        };
        let was = olds.next_if(|_| order.is_le());
        let is = news.next_if(|_| order.is_ge());
        match (was, is) {
            (Some((_, a)), Some((_, b))) if Arc::ptr_eq(a, b) || a == b => {}
            (was, is) => {
                if let Some((key, _)) = was.or(is) {
                    found(key, was.map(|(_, value)| value), is.map(|(_, value)| value));
                }
            }
        }
    }
}

fn put<K: Clone + Ord, V>(map: &mut Shared<K, V>, changes: &Changes<K, Arc<V>>) {
    for (key, value) in changes {
        match value {
            Some(value) => map.insert_mut(key.clone(), Arc::clone(value)),
            None => _ = map.remove_mut(key),
        }
    }
}

impl MetaDelta {
    /// What leads from one to another; `None` when no delta can say it.
    #[must_use]
    pub fn between(old: &MetaView, new: &MetaView) -> Option<Self> {
        if old.environment != new.environment {
            return None;
        }
        let partial = (old.partial != new.partial).then_some(new.partial);
        let mut delta = Self { partial, ..Self::default() };
        compare(&old.services, &new.services, |id, was, is| {
            let (facts_were, facts) = (was.map(|one| &one.facts), is.map(|one| &one.facts));
            if facts_were != facts {
                delta.services.insert(id.clone(), facts.cloned());
            }
            let (were, are) = (was.map(|one| &one.revisions), is.map(|one| &one.revisions));
            if were != are {
                delta.revisions.insert(id.clone(), are.cloned());
            }
            let none = MetaService::default();
            let was = was.map_or(&none, |one| one);
            let is = is.map_or(&none, |one| one);
            compare(&was.containers, &is.containers, |id, _, is| {
                delta.containers.insert(id.clone(), is.cloned());
            });
        });
        compare(&old.hosts, &new.hosts, |id, _, is| {
            delta.hosts.insert(id.clone(), is.cloned());
        });
        compare(&old.plain, &new.plain, |id, _, is| {
            delta.plain.insert(id.clone(), is.cloned());
        });
        Some(delta)
    }

    /// Makes the newer one.
    pub fn apply(&self, view: &mut MetaView) {
        for (id, facts) in &self.services {
            let Some(facts) = facts else {
                view.services.remove_mut(id);
                continue;
            };
            let known = view.services.get(id).map(|known| MetaService::clone(known));
            let service = MetaService { facts: Arc::clone(facts), ..known.unwrap_or_default() };
            view.services.insert_mut(id.clone(), Arc::new(service));
        }
        for (id, revisions) in &self.revisions {
            let Some(known) = view.services.get(id) else { continue };
            let revisions = revisions.clone().unwrap_or_default();
            let service = MetaService { revisions, ..MetaService::clone(known) };
            view.services.insert_mut(id.clone(), Arc::new(service));
        }
        let mut changes = self.containers.iter().peekable();
        while let Some((id, value)) = changes.next() {
            let Some(known) = view.services.get(&id.service) else { continue };
            let mut service = MetaService::clone(known);
            let mut change = Some((id, value));
            while let Some((id, value)) = change {
                match value {
                    Some(value) => service.containers.insert_mut(id.clone(), Arc::clone(value)),
                    None => _ = service.containers.remove_mut(id),
                }
                change = changes.next_if(|(next, _)| next.service == id.service);
            }
            view.services.insert_mut(id.service.clone(), Arc::new(service));
        }
        put(&mut view.hosts, &self.hosts);
        put(&mut view.plain, &self.plain);
        view.partial = self.partial.unwrap_or(view.partial);
    }

    /// One delta for this one and the next.
    pub fn merge(&mut self, newer: &Self) {
        self.services.extend(newer.services.clone());
        self.revisions.extend(newer.revisions.clone());
        self.containers.extend(newer.containers.clone());
        self.hosts.extend(newer.hosts.clone());
        self.plain.extend(newer.plain.clone());
        self.partial = newer.partial.or(self.partial);
    }

    /// Number of entries.
    #[must_use]
    pub fn entries(&self) -> usize {
        let others = self.hosts.len() + self.plain.len() + usize::from(self.partial.is_some());
        self.services.len() + self.revisions.len() + self.containers.len() + others
    }

    /// Says it nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Health;
    use crate::metadata::{MetaNetwork, MetaState};
    use proptest::prelude::*;

    fn container(starts: u32) -> Arc<MetaContainer> {
        Arc::new(MetaContainer {
            host: "a".parse().unwrap(),
            host_address: "".into(),
            address: None,
            network: MetaNetwork::None,
            revision: 1,
            ports: vec![],
            state: MetaState::Running,
            health: Health::Unchecked,
            container_id: String::new(),
            started_at: None,
            starts,
            probers: vec![],
        })
    }

    /// Of three services with up to four containers, each in one of three versions.
    fn views() -> impl Strategy<Value = MetaView> {
        let service = proptest::option::of((
            0..3u32,
            proptest::collection::btree_map(1..5u32, 0..3u32, 0..4),
        ));
        (proptest::collection::vec(service, 3), 0..3u64, any::<bool>()).prop_map(
            |(services, memory, partial)| {
                let mut view = MetaView { partial, ..MetaView::default() };
                for (name, service) in ["s/a", "s/b", "t/a"].iter().zip(services) {
                    let Some((scale, slots)) = service else { continue };
                    let id: ServiceId = name.parse().unwrap();
                    let facts = Arc::new(ServiceFacts { scale, ..ServiceFacts::default() });
                    let revisions = Arc::new((1..=scale).map(|n| (n, BTreeMap::new())).collect());
                    let mut made = MetaService { facts, revisions, ..MetaService::default() };
                    for (n, starts) in slots {
                        made.containers
                            .insert_mut(InstanceId::new(id.clone(), n, 1), container(starts));
                    }
                    view.services.insert_mut(id, Arc::new(made));
                }
                view.hosts.insert_mut(
                    "a".parse().unwrap(),
                    Arc::new(MetaHost { memory, ..MetaHost::default() }),
                );
                view
            },
        )
    }

    proptest! {
        #[test]
        fn a_delta_leads_from_one_view_to_the_next_and_two_of_them_are_one(a in views(), b in views(), c in views()) {
            let mut delta = MetaDelta::between(&a, &b).unwrap();
            let mut made = a.clone();
            delta.apply(&mut made);
            prop_assert_eq!(&made, &b);
            let next = MetaDelta::between(&b, &c).unwrap();
            let text = serde_json::to_string(&next).unwrap();
            let next: MetaDelta = serde_json::from_str(&text).unwrap();
            delta.merge(&next);
            let mut made = a;
            delta.apply(&mut made);
            prop_assert_eq!(&made, &c);
            prop_assert!(MetaDelta::between(&made, &c).unwrap().is_empty());
        }
    }
}
