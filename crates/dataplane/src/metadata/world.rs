//! What is told, at one moment: the entries of the view, what this host knows better of its own
//! containers, and by what name, UUID or address each is found. A change costs as much as it changes:
//! everything in here is shared with the moment before.

use model::health::Health;
use model::id::{HostId, InstanceId, ServiceId};
use model::metadata::{MetaDelta, MetaView, uuid};
use model::time::Timestamp;
use rpds::RedBlackTreeMapSync as Map;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A container, of a service or a plain one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// Of a service.
    Instance(InstanceId),
    /// By its key in the view.
    Plain(String),
}

/// What this host knows of a container of its own, newer than the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Docker's id of the one that runs; `None` when none does.
    pub(crate) container_id: Option<String>,
    /// Its last start; 0 when none is known.
    pub(crate) started_at: Timestamp,
    /// Its health.
    pub(crate) health: Health,
}

/// Containers of this host.
pub(crate) type SeenHere = BTreeMap<InstanceId, Seen>;

/// Keys under one name, UUID or address.
type Index<K, V> = Map<K, Arc<BTreeSet<V>>>;

/// What is told.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// The host; `None` before anything has been told.
    pub(super) host: Option<HostId>,
    pub(super) meta: MetaView,
    pub(super) seen: Arc<SeenHere>,
    /// Differs from that of every other moment.
    pub(super) version: Arc<str>,
    /// Containers by lower-case name and by UUID.
    containers: Index<Arc<str>, Who>,
    /// Containers of this host by their addresses.
    callers: Index<Ipv4Addr, Who>,
    /// Services and hosts by UUID.
    services: Map<Arc<str>, ServiceId>,
    hosts: Map<Arc<str>, HostId>,
}

fn add<K: Ord + Clone, V: Ord + Clone>(index: &mut Index<K, V>, key: K, value: &V) {
    let mut all = index.get(&key).map(|all| BTreeSet::clone(all)).unwrap_or_default();
    all.insert(value.clone());
    index.insert_mut(key, Arc::new(all));
}

fn take<K: Ord + Clone, V: Ord + Clone>(index: &mut Index<K, V>, key: &K, value: &V) {
    let Some(mut all) = index.get(key).map(|all| BTreeSet::clone(all)) else { return };
    all.remove(value);
    if all.is_empty() {
        index.remove_mut(key);
    } else {
        index.insert_mut(key.clone(), Arc::new(all));
    }
}

impl World {
    /// Of a host.
    pub(crate) fn new(host: Option<HostId>, meta: &MetaView) -> Self {
        let environment = Arc::clone(&meta.environment);
        let mut world = Self {
            host,
            meta: MetaView { environment, ..MetaView::default() },
            seen: Arc::default(),
            version: "0".into(),
            containers: Map::default(),
            callers: Map::default(),
            services: Map::default(),
            hosts: Map::default(),
        };
        // From nothing to all of it; only environments that differ have no delta.
        let all = MetaDelta::between(&world.meta, meta).unwrap_or_default();
        world.change(&all);
        world
    }

    /// Follows a change.
    pub(crate) fn change(&mut self, delta: &MetaDelta) {
        self.index(delta, false);
        delta.apply(&mut self.meta);
        self.index(delta, true);
    }

    /// Takes what a delta names out of the indexes, as it was, or puts it in, as it is.
    fn index(&mut self, delta: &MetaDelta, put: bool) {
        let meta = self.meta.clone();
        let environment = meta.environment.id.as_str();
        for id in delta.containers.keys() {
            let Some(one) = meta.container(id) else { continue };
            let who = Who::Instance(id.clone());
            let names = [
                id.public_name().to_ascii_lowercase(),
                uuid(environment, "container", &id.to_string()),
            ];
            let own = matches!(one.network, model::metadata::MetaNetwork::Managed);
            let address = one.address.filter(|_| own && self.host.as_ref() == Some(&one.host));
            self.find_by(names, address, &who, put);
        }
        for key in delta.plain.keys() {
            let Some(one) = meta.plain.get(key) else { continue };
            let who = Who::Plain(key.clone());
            let names = [one.name.to_ascii_lowercase(), uuid(environment, "plain", key)];
            let here = one.addresses.iter().filter(|_| self.host.as_ref() == Some(&one.host));
            let host: Option<Ipv4Addr> = one.host_address.parse().ok();
            let callers: Vec<Ipv4Addr> = here.copied().filter(|ip| Some(*ip) != host).collect();
            self.find_by(names, callers, &who, put);
        }
        for id in delta.services.keys().filter(|id| meta.services.contains_key(*id)) {
            let key: Arc<str> = uuid(environment, "service", &id.to_string()).into();
            match put {
                true => self.services.insert_mut(key, id.clone()),
                false => _ = self.services.remove_mut(&key),
            }
        }
        for id in delta.hosts.keys().filter(|id| meta.hosts.contains_key(*id)) {
            let key: Arc<str> = uuid(environment, "host", id.as_str()).into();
            match put {
                true => self.hosts.insert_mut(key, id.clone()),
                false => _ = self.hosts.remove_mut(&key),
            }
        }
    }

    fn find_by(
        &mut self,
        names: [String; 2],
        addresses: impl IntoIterator<Item = Ipv4Addr>,
        who: &Who,
        put: bool,
    ) {
        for name in names {
            let name: Arc<str> = name.into();
            match put {
                true => add(&mut self.containers, name, who),
                false => take(&mut self.containers, &name, who),
            }
        }
        for address in addresses {
            match put {
                true => add(&mut self.callers, address, who),
                false => take(&mut self.callers, &address, who),
            }
        }
    }

    /// Containers of this lower-case name, or of this UUID, in the order of lists.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &Who> + use<'_> {
        self.containers.get(name).into_iter().flat_map(|all| all.iter())
    }

    /// The container that has an address on this host; where an address went from one to the next
    /// it is that which runs, else the newest.
    pub(super) fn caller(&self, address: Ipv4Addr) -> Option<&Who> {
        let runs = |who: &&Who| match who {
            Who::Plain(_) => true,
            Who::Instance(id) => self.seen.get(id).is_none_or(|seen| seen.container_id.is_some()),
        };
        let all = self.callers.get(&address)?;
        all.iter().rev().find(runs).or_else(|| all.last())
    }

    /// The service of this UUID.
    pub(super) fn service(&self, uuid: &str) -> Option<&ServiceId> {
        self.services.get(uuid)
    }

    /// The host of this UUID.
    pub(super) fn host_of(&self, uuid: &str) -> Option<&HostId> {
        self.hosts.get(uuid)
    }
}
