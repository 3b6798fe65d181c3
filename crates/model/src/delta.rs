//! What changed from one spec or view of a host to the next: entries by their keys. A removal is an
//! entry as well; what a delta does not name stays as it is. It fits on one base and says so.

mod catalog;
#[cfg(test)]
mod tests;

pub use catalog::CatalogDelta;

use crate::floating::FloatingSeat;
use crate::host_spec::{BalancerPlacement, HostAttachment, HostSpec, InstanceSpec, Peer};
use crate::id::{HostId, InstanceId};
use crate::metadata::MetaDelta;
use crate::plain::ContainerId;
use crate::policy::{Guard, HostPolicy, Unlisted};
use crate::registration::CheckWish;
use crate::stack::VolumeSpec;
use crate::time::{Generation, Index};
use crate::view::{Caller, HostView, Listener, NameTarget, Upstream, ViewInstance};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Entries that are new or other than before; `None` is one that is gone.
pub type Changes<K, V> = BTreeMap<K, Option<V>>;

/// From one `HostView` to a newer one of the same host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDelta {
    /// Index of the view that it fits on.
    pub from: Index,
    /// Index of the view that it makes.
    pub to: Index,
    /// Of `DnsView::names`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: Changes<String, NameTarget>,
    /// Of `DnsView::cnames`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cnames: Changes<String, String>,
    /// Of `DnsView::elsewhere`: is it in there now?
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub elsewhere: BTreeMap<String, bool>,
    /// Of `HostView::callers`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub callers: Changes<Ipv4Addr, Caller>,
    /// Of `HostView::instances`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: Changes<InstanceId, Arc<ViewInstance>>,
    /// Of `HostView::upstreams`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub upstreams: Changes<String, Upstream>,
    /// Of `HostView::listeners`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub listeners: Changes<String, Listener>,
    /// Of `HostView::floating`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub floating: Changes<Ipv4Addr, FloatingSeat>,
    /// Of `HostView::checks`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: Changes<String, Arc<CheckWish>>,
    /// Of `HostView::catalog`.
    #[serde(default, skip_serializing_if = "CatalogDelta::is_empty")]
    pub catalog: CatalogDelta,
    /// Of `HostView::meta`.
    #[serde(default, skip_serializing_if = "MetaDelta::is_empty")]
    pub meta: MetaDelta,
}

/// From one `HostSpec` to a newer one of the same host and environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecDelta {
    /// Generation of the spec that it fits on.
    pub from: Generation,
    /// Generation of the spec that it makes.
    pub to: Generation,
    /// Of `HostSpec::instances`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: Changes<InstanceId, InstanceSpec>,
    /// Of `HostSpec::balancers`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub balancers: Changes<InstanceId, BalancerPlacement>,
    /// Of `HostSpec::volumes`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: Changes<String, VolumeSpec>,
    /// All of `HostSpec::images_kept`, when it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images_kept: Option<BTreeSet<String>>,
    /// Of `HostSpec::attachments`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attachments: Changes<ContainerId, HostAttachment>,
    /// All of `HostSpec::labels`, when they are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Arc<BTreeMap<String, String>>>,
    /// Of `HostSpec::peers`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: Changes<HostId, Peer>,
    /// Of `HostSpec::policy`.
    #[serde(default, skip_serializing_if = "PolicyDelta::is_empty")]
    pub policy: PolicyDelta,
}

/// From one `HostPolicy` to a newer one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyDelta {
    /// `HostPolicy::unlisted`, when it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unlisted: Option<Unlisted>,
    /// Of `HostPolicy::guarded`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub guarded: Changes<Ipv4Addr, String>,
    /// Of `HostPolicy::guards`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub guards: Changes<String, Guard>,
    /// Of `HostPolicy::sources`: is the address among them now?
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, BTreeMap<Ipv4Addr, bool>>,
}

/// What changed for one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Of its spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<SpecDelta>,
    /// Of its view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<ViewDelta>,
}

/// A delta was made for another base: the whole is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the delta is for {what} {base}, and {known} is known")]
pub struct WrongBase {
    what: &'static str,
    base: u64,
    known: u64,
}

fn fits(what: &'static str, base: u64, known: u64) -> Result<(), WrongBase> {
    if base == known { Ok(()) } else { Err(WrongBase { what, base, known }) }
}

/// Entries of `new` that are not so in `old`, and those that are gone.
#[must_use]
pub fn changes<K: Clone + Ord, V: Clone + PartialEq>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> Changes<K, V> {
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), None));
    let other = new.iter().filter(|(key, value)| old.get(*key) != Some(*value));
    gone.chain(other.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

fn members<T: Clone + Ord>(old: &BTreeSet<T>, new: &BTreeSet<T>) -> BTreeMap<T, bool> {
    let gone = old.difference(new).map(|name| (name.clone(), false));
    gone.chain(new.difference(old).map(|name| (name.clone(), true))).collect()
}

fn put<K: Clone + Ord, V: Clone>(map: &mut BTreeMap<K, V>, changes: &Changes<K, V>) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(map.insert(key.clone(), value.clone())),
            None => drop(map.remove(key)),
        }
    }
}

/// The same for a map that others may hold: it is copied only when something of it changes.
fn put_shared<K: Clone + Ord, V: Clone>(map: &mut Arc<BTreeMap<K, V>>, changes: &Changes<K, V>) {
    if !changes.is_empty() {
        put(Arc::make_mut(map), changes);
    }
}

impl ViewDelta {
    /// What leads from one view to another; `None` when no delta can say it.
    #[must_use]
    pub fn between(old: &HostView, new: &HostView) -> Option<Self> {
        let same = (old.format, &old.environment, &old.host, old.partial)
            == (new.format, &new.environment, &new.host, new.partial)
            && (&old.dns.zones, old.dns.ttl_s) == (&new.dns.zones, new.dns.ttl_s)
            && old.dns.nobody_healthy == new.dns.nobody_healthy
            && old.catalog.settings == new.catalog.settings
            && old.catalog.access == new.catalog.access;
        let meta = MetaDelta::between(&old.meta, &new.meta).filter(|_| same)?;
        Some(Self {
            from: old.index,
            to: new.index,
            names: changes(&old.dns.names, &new.dns.names),
            cnames: changes(&old.dns.cnames, &new.dns.cnames),
            elsewhere: members(&old.dns.elsewhere, &new.dns.elsewhere),
            callers: changes(&old.callers, &new.callers),
            instances: changes(&old.instances, &new.instances),
            upstreams: changes(&old.upstreams, &new.upstreams),
            listeners: changes(&old.listeners, &new.listeners),
            floating: changes(&old.floating, &new.floating),
            checks: changes(&old.checks, &new.checks),
            catalog: CatalogDelta::between(&old.catalog, &new.catalog),
            meta,
        })
    }

    /// Makes the newer view of the one that it fits on.
    ///
    /// # Errors
    /// `WrongBase` when it is made for another one, which stays as it is.
    pub fn apply(&self, view: &mut HostView) -> Result<(), WrongBase> {
        fits("a view of index", self.from.0, view.index.0)?;
        if !(self.names.is_empty() && self.cnames.is_empty() && self.elsewhere.is_empty()) {
            let dns = Arc::make_mut(&mut view.dns);
            put(&mut dns.names, &self.names);
            put(&mut dns.cnames, &self.cnames);
            for (name, there) in &self.elsewhere {
                match there {
                    true => _ = dns.elsewhere.insert(name.clone()),
                    false => _ = dns.elsewhere.remove(name),
                }
            }
        }
        put_shared(&mut view.callers, &self.callers);
        put_shared(&mut view.instances, &self.instances);
        put(&mut view.upstreams, &self.upstreams);
        put(&mut view.listeners, &self.listeners);
        put(&mut view.floating, &self.floating);
        put(&mut view.checks, &self.checks);
        if !self.catalog.is_empty() {
            self.catalog.apply(Arc::make_mut(&mut view.catalog));
        }
        self.meta.apply(&mut view.meta);
        view.index = self.to;
        Ok(())
    }

    fn merge(&mut self, newer: &Self) -> Result<(), WrongBase> {
        fits("a view of index", newer.from.0, self.to.0)?;
        self.to = newer.to;
        self.names.extend(newer.names.clone());
        self.cnames.extend(newer.cnames.clone());
        self.elsewhere.extend(newer.elsewhere.clone());
        self.callers.extend(newer.callers.clone());
        self.instances.extend(newer.instances.clone());
        self.upstreams.extend(newer.upstreams.clone());
        self.listeners.extend(newer.listeners.clone());
        self.floating.extend(newer.floating.clone());
        self.checks.extend(newer.checks.clone());
        self.catalog.merge(&newer.catalog);
        self.meta.merge(&newer.meta);
        Ok(())
    }

    /// Number of entries.
    #[must_use]
    pub fn entries(&self) -> usize {
        let dns = self.names.len() + self.cnames.len() + self.elsewhere.len();
        dns + self.callers.len()
            + self.instances.len()
            + self.upstreams.len()
            + self.listeners.len()
            + self.floating.len()
            + self.checks.len()
            + self.catalog.entries()
            + self.meta.entries()
    }
}

impl PolicyDelta {
    /// What leads from one to another.
    #[must_use]
    pub fn between(old: &HostPolicy, new: &HostPolicy) -> Self {
        let none = BTreeSet::new();
        let mut sources = BTreeMap::new();
        for name in old.sources.keys().chain(new.sources.keys()) {
            let of = |policy: &HostPolicy| policy.sources.get(name).unwrap_or(&none).clone();
            let changed = members(&of(old), &of(new));
            if !changed.is_empty() {
                sources.insert(name.clone(), changed);
            }
        }
        Self {
            unlisted: (old.unlisted != new.unlisted).then_some(new.unlisted),
            guarded: changes(&old.guarded, &new.guarded),
            guards: changes(&old.guards, &new.guards),
            sources,
        }
    }

    /// Says it nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries() == 0
    }

    fn entries(&self) -> usize {
        let sources: usize = self.sources.values().map(BTreeMap::len).sum();
        usize::from(self.unlisted.is_some()) + self.guarded.len() + self.guards.len() + sources
    }

    fn apply(&self, policy: &mut HostPolicy) {
        policy.unlisted = self.unlisted.unwrap_or(policy.unlisted);
        put(&mut policy.guarded, &self.guarded);
        put(&mut policy.guards, &self.guards);
        for (name, members) in &self.sources {
            let known = policy.sources.entry(name.clone()).or_default();
            for (address, there) in members {
                match there {
                    true => _ = known.insert(*address),
                    false => _ = known.remove(address),
                }
            }
            // One that is empty is told of like one that is not there.
            if known.is_empty() {
                policy.sources.remove(name);
            }
        }
    }

    fn merge(&mut self, newer: &Self) {
        self.unlisted = newer.unlisted.or(self.unlisted);
        self.guarded.extend(newer.guarded.clone());
        self.guards.extend(newer.guards.clone());
        for (name, members) in &newer.sources {
            self.sources.entry(name.clone()).or_default().extend(members);
        }
    }
}

impl SpecDelta {
    /// What leads from one spec to another; `None` when no delta can say it.
    #[must_use]
    pub fn between(old: &HostSpec, new: &HostSpec) -> Option<Self> {
        let same = (&old.host, &old.environment) == (&new.host, &new.environment);
        same.then(|| Self {
            from: old.generation,
            to: new.generation,
            instances: changes(&old.instances, &new.instances),
            balancers: changes(&old.balancers, &new.balancers),
            volumes: changes(&old.volumes, &new.volumes),
            images_kept: (old.images_kept != new.images_kept).then(|| new.images_kept.clone()),
            attachments: changes(&old.attachments, &new.attachments),
            labels: (old.labels != new.labels).then(|| Arc::clone(&new.labels)),
            peers: changes(&old.peers, &new.peers),
            policy: PolicyDelta::between(&old.policy, &new.policy),
        })
    }

    /// Makes the newer spec of the one that it fits on.
    ///
    /// # Errors
    /// `WrongBase` when it is made for another one, which stays as it is.
    pub fn apply(&self, spec: &mut HostSpec) -> Result<(), WrongBase> {
        fits("a spec of generation", self.from.0, spec.generation.0)?;
        put(&mut spec.instances, &self.instances);
        put(&mut spec.balancers, &self.balancers);
        put(&mut spec.volumes, &self.volumes);
        if let Some(images) = &self.images_kept {
            spec.images_kept.clone_from(images);
        }
        put(&mut spec.attachments, &self.attachments);
        if let Some(labels) = &self.labels {
            spec.labels = Arc::clone(labels);
        }
        put_shared(&mut spec.peers, &self.peers);
        if !self.policy.is_empty() {
            self.policy.apply(Arc::make_mut(&mut spec.policy));
        }
        spec.generation = self.to;
        Ok(())
    }

    fn merge(&mut self, newer: &Self) -> Result<(), WrongBase> {
        fits("a spec of generation", newer.from.0, self.to.0)?;
        self.to = newer.to;
        self.instances.extend(newer.instances.clone());
        self.balancers.extend(newer.balancers.clone());
        self.volumes.extend(newer.volumes.clone());
        if newer.images_kept.is_some() {
            self.images_kept.clone_from(&newer.images_kept);
        }
        self.attachments.extend(newer.attachments.clone());
        if newer.labels.is_some() {
            self.labels.clone_from(&newer.labels);
        }
        self.peers.extend(newer.peers.clone());
        self.policy.merge(&newer.policy);
        Ok(())
    }

    /// Number of entries.
    #[must_use]
    pub fn entries(&self) -> usize {
        let images = self.images_kept.as_ref().map_or(0, BTreeSet::len);
        let held = self.instances.len() + self.balancers.len() + self.volumes.len();
        let labels = self.labels.as_ref().map_or(0, |labels| 1 + labels.len());
        let others = self.attachments.len() + self.peers.len() + self.policy.entries();
        held + images + labels + others
    }
}

impl Delta {
    /// Says it anything?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spec.is_none() && self.view.is_none()
    }

    /// Number of entries, for limits: one of a spec is worth some of a view.
    #[must_use]
    pub fn weight(&self) -> usize {
        let spec = self.spec.as_ref().map_or(0, |spec| 1 + spec.entries() * 8);
        spec + self.view.as_ref().map_or(0, |view| 1 + view.entries())
    }

    /// One delta for this one and the next: the newest word on each entry stays.
    ///
    /// # Errors
    /// `WrongBase` when the other one does not follow on this one; half of it may be merged then.
    pub fn merge(&mut self, newer: &Self) -> Result<(), WrongBase> {
        match (&mut self.spec, &newer.spec) {
            (Some(spec), Some(newer)) => spec.merge(newer)?,
            (spec @ None, Some(newer)) => *spec = Some(newer.clone()),
            (_, None) => {}
        }
        match (&mut self.view, &newer.view) {
            (Some(view), Some(newer)) => view.merge(newer)?,
            (view @ None, Some(newer)) => *view = Some(newer.clone()),
            (_, None) => {}
        }
        Ok(())
    }

    /// Makes the newer spec and view of those that it fits on.
    ///
    /// # Errors
    /// `WrongBase` when it is made for others; both stay as they are.
    pub fn apply(
        &self,
        spec: &mut Arc<HostSpec>,
        view: &mut Arc<HostView>,
    ) -> Result<(), WrongBase> {
        if let Some(delta) = &self.spec {
            fits("a spec of generation", delta.from.0, spec.generation.0)?;
        }
        if let Some(delta) = &self.view {
            fits("a view of index", delta.from.0, view.index.0)?;
        }
        if let Some(delta) = &self.spec {
            delta.apply(Arc::make_mut(spec))?;
        }
        if let Some(delta) = &self.view {
            delta.apply(Arc::make_mut(view))?;
        }
        Ok(())
    }
}
