//! The catalog followed change by change, with the index at which each part of it last changed: of
//! a service when something of its entries, their checks or their nodes did, and never when another
//! service did. A change costs what it touches, and a copy of the tables is free.
//!
//! What went before the first cluster that is seen here is not known, so that everything has at
//! least the index of that one: a client that comes back with an older one is answered at once.

mod touched;

use super::{Catalog, Check, Entry, Node, node_named, of_instance, of_node, of_plain};
use model::cluster::Cluster;
use model::id::{HostId, InstanceId};
use model::limits::CATALOG_GONE_MAX;
use model::plain::PlainId;
use model::time::Index;
use rpds::RedBlackTreeMapSync as Map;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use touched::Touched;

/// An entry in the list of its service: the name of its node, and its id there.
pub type EntryKey = (String, String);

/// When something came, and when it last changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// It came.
    pub created: Index,
    /// It changed.
    pub modified: Index,
}

/// A node or an entry with its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<T> {
    /// What it is.
    pub value: Arc<T>,
    /// Its own times, whatever its checks do.
    pub times: Times,
    /// Those of its checks, in their order.
    pub checks: Vec<Times>,
}

/// The entries of one service.
#[derive(Clone, Debug)]
pub struct ServiceRows {
    /// By node and id.
    pub rows: Map<EntryKey, Arc<Row<Entry>>>,
    /// When any of them, their checks or their nodes last changed, or one went.
    pub index: Index,
}

/// What changed in one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Services of which something changed; some may be gone.
    pub services: BTreeSet<String>,
    /// Entries that came, changed or went.
    pub entries: BTreeSet<(String, EntryKey)>,
    /// Nodes that came, changed or went.
    pub nodes: BTreeSet<String>,
    /// Nodes of which anything changed, what they offer too.
    pub places: BTreeSet<String>,
    /// Nodes came, went, or are others but for their checks.
    pub nodes_changed: bool,
    /// Entries came, went, or are others but for their checks.
    pub entries_changed: bool,
    /// Checks came, changed or went.
    pub checks_changed: bool,
}

impl News {
    /// Nothing changed?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Who offers an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// What clients registered on a node. What runs here is known better: it is believed first.
    Client(String),
    Instance(InstanceId),
    Plain(PlainId),
}

/// The catalog with its indexes.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    made_from: Option<Cluster>,
    nodes: Map<String, Arc<Row<Node>>>,
    services: Map<String, ServiceRows>,
    /// Names of services whose last entry has gone, with when.
    gone: Map<String, Index>,
    gone_by: Map<(Index, String), ()>,
    /// What is known of no other service's end.
    floor: Index,
    offered: Map<Source, Arc<[Arc<Entry>]>>,
    /// Who offers the same entry: the last of them is believed.
    claims: Map<(String, EntryKey), BTreeSet<Source>>,
    /// Service and id of all entries, by node.
    on_nodes: Map<(String, String, String), ()>,
    /// Plain containers in the network of another container.
    sharing: Map<HostId, BTreeSet<PlainId>>,
    /// When anything of a node last changed, what it offers too.
    places: Map<String, Index>,
    nodes_index: Index,
    entries_index: Index,
    checks_index: Index,
}

impl Tables {
    /// Index of the cluster that they were brought to last.
    #[must_use]
    pub fn index(&self) -> Index {
        self.made_from.as_ref().map_or(Index(0), Cluster::index)
    }

    /// Nodes by name.
    #[must_use]
    pub fn nodes(&self) -> &Map<String, Arc<Row<Node>>> {
        &self.nodes
    }

    /// Services that have entries, by name.
    #[must_use]
    pub fn services(&self) -> &Map<String, ServiceRows> {
        &self.services
    }

    /// When something of a service last changed; of one that is not there, when it went, or since
    /// when that is known.
    #[must_use]
    pub fn service_index(&self, name: &str) -> Index {
        let there = self.services.get(name).map(|rows| rows.index);
        there.or_else(|| self.gone.get(name).copied()).unwrap_or(self.floor)
    }

    /// When anything of a node last changed, what it offers too; of one that is not there, when a
    /// node last came or went.
    #[must_use]
    pub fn place_index(&self, node: &str) -> Index {
        self.places.get(node).copied().unwrap_or(self.nodes_index)
    }

    /// When a node last came, went or changed but for its checks.
    #[must_use]
    pub fn nodes_index(&self) -> Index {
        self.nodes_index
    }

    /// When an entry last came, went or changed but for its checks.
    #[must_use]
    pub fn entries_index(&self) -> Index {
        self.entries_index
    }

    /// When a check last came, changed or went.
    #[must_use]
    pub fn checks_index(&self) -> Index {
        self.checks_index
    }

    /// Services and ids of the entries of a node, in this order.
    pub fn entries_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Arc<Row<Entry>>> {
        let from = (node.to_owned(), String::new(), String::new());
        let keys = self.on_nodes.range(from..).map(|(key, ())| key);
        keys.take_while(move |(on, _, _)| on == node).filter_map(|(node, service, id)| {
            let rows = &self.services.get(service)?.rows;
            rows.get(&(node.clone(), id.clone()))
        })
    }

    /// The catalog as it would be made from nothing.
    #[must_use]
    pub fn catalog(&self) -> Catalog {
        let nodes = self.nodes.iter().map(|(name, row)| (name.clone(), Arc::clone(&row.value)));
        let services = self.services.iter().map(|(name, service)| {
            let rows = service.rows.iter().map(|(key, row)| (key.clone(), Arc::clone(&row.value)));
            (name.clone(), rows.collect())
        });
        Catalog { nodes: nodes.collect(), services: services.collect() }
    }

    /// Brings the tables to a cluster that is never older than the last one.
    pub fn follow(&mut self, cluster: &Cluster) -> News {
        let now = cluster.index();
        let before = self.made_from.replace(cluster.clone());
        if before.is_none() {
            (self.floor, self.nodes_index) = (now, now);
            (self.entries_index, self.checks_index) = (now, now);
        }
        let touched = before.as_ref().and_then(|before| Touched::between(before, cluster));
        let mut touched = touched.unwrap_or_else(|| self.all(cluster));
        for host in &touched.neighbours {
            let shared = self.sharing.get(host).into_iter().flatten();
            touched.sources.extend(shared.cloned().map(Source::Plain));
        }
        let mut round = Round { now, news: News::default(), tables: self };
        for name in touched.nodes {
            round.set_node(&name, node_named(cluster, &name));
        }
        let mut keys = BTreeSet::new();
        for source in touched.sources {
            keys.extend(round.offer(source, cluster));
        }
        // When all have said what they offer: an entry that goes from one to the next never went.
        for key in keys {
            let entry = round.believed(&key);
            round.set_entry(key.0, key.1, entry);
        }
        round.news
    }

    /// Tables of a catalog that is known whole, all of one index: for who has no cluster to follow.
    #[must_use]
    pub fn of(catalog: &Catalog, index: Index) -> (Self, News) {
        let mut tables = Self { floor: index, ..Self::default() };
        (tables.nodes_index, tables.entries_index, tables.checks_index) = (index, index, index);
        let mut round = Round { now: index, news: News::default(), tables: &mut tables };
        for (name, node) in &catalog.nodes {
            round.set_node(name, Some((**node).clone()));
        }
        for (service, entries) in &catalog.services {
            for (at, entry) in entries {
                round.set_entry(service.clone(), at.clone(), Some(Arc::clone(entry)));
            }
        }
        let news = round.news;
        (tables, news)
    }

    /// Everything that there is and was.
    fn all(&self, cluster: &Cluster) -> Touched {
        let ours = cluster.instances().map(|one| Source::Instance(one.id.clone()));
        let plain = cluster.plains().map(|(id, _)| Source::Plain(id.clone()));
        let clients = cluster.client_services().map(|one| Source::Client(one.key.node.clone()));
        let was = self.offered.keys().cloned();
        let hosts = cluster.hosts().map(|host| host.id.to_string());
        let outside = cluster.client_nodes().map(|node| node.name.clone());
        Touched {
            sources: ours.chain(plain).chain(clients).chain(was).collect(),
            nodes: hosts.chain(outside).chain(self.nodes.keys().cloned()).collect(),
            neighbours: BTreeSet::new(),
        }
    }

    fn forget(&mut self) {
        while self.gone_by.size() > CATALOG_GONE_MAX {
            let Some(((index, name), ())) = self.gone_by.first() else { return };
            let (index, name) = (*index, name.clone());
            self.gone_by.remove_mut(&(index, name.clone()));
            self.gone.remove_mut(&name);
            self.floor = index;
        }
    }
}

/// One round, at one index.
struct Round<'a> {
    now: Index,
    news: News,
    tables: &'a mut Tables,
}

impl Round<'_> {
    /// Looks what a source offers now. Where that is another thing, the entries that it offers or
    /// did, which are to be settled.
    fn offer(&mut self, source: Source, cluster: &Cluster) -> BTreeSet<(String, EntryKey)> {
        let entries: Vec<Entry> = match &source {
            Source::Client(name) => match node_named(cluster, name) {
                Some(_) => of_node(cluster, name),
                None => vec![],
            },
            Source::Instance(id) => {
                cluster.instance(id).map(|one| of_instance(cluster, one)).unwrap_or_default()
            }
            Source::Plain(id) => {
                let plain = cluster.plain(id);
                self.shares(id, plain.is_some_and(|one| one.network.starts_with("container:")));
                plain.map(|one| of_plain(cluster, id, one)).unwrap_or_default()
            }
        };
        let old = self.tables.offered.get(&source).cloned().unwrap_or_default();
        if old.iter().map(|one| &**one).eq(entries.iter()) {
            return BTreeSet::new();
        }
        let key = |entry: &Entry| (entry.service.clone(), (entry.node.clone(), entry.id.clone()));
        let gone = old.iter().map(|entry| key(entry));
        let mut keys: BTreeSet<_> = gone.collect();
        keys.iter().for_each(|key| self.claim(key, &source, false));
        for entry in &entries {
            let key = key(entry);
            self.claim(&key, &source, true);
            keys.insert(key);
        }
        match entries.is_empty() {
            true => _ = self.tables.offered.remove_mut(&source),
            false => {
                let entries = entries.into_iter().map(Arc::new).collect();
                self.tables.offered.insert_mut(source, entries);
            }
        }
        keys
    }

    fn shares(&mut self, id: &PlainId, yes: bool) {
        let known = self.tables.sharing.get(&id.host);
        if known.is_some_and(|known| known.contains(id)) == yes {
            return;
        }
        let mut known = known.cloned().unwrap_or_default();
        let _changed = if yes { known.insert(id.clone()) } else { known.remove(id) };
        match known.is_empty() {
            true => _ = self.tables.sharing.remove_mut(&id.host),
            false => self.tables.sharing.insert_mut(id.host.clone(), known),
        }
    }

    fn claim(&mut self, key: &(String, EntryKey), source: &Source, yes: bool) {
        let mut who = self.tables.claims.get(key).cloned().unwrap_or_default();
        let _changed = if yes { who.insert(source.clone()) } else { who.remove(source) };
        match who.is_empty() {
            true => _ = self.tables.claims.remove_mut(key),
            false => self.tables.claims.insert_mut(key.clone(), who),
        }
    }

    /// The entry at a key, from the last who offers it.
    fn believed(&self, key: &(String, EntryKey)) -> Option<Arc<Entry>> {
        let source = self.tables.claims.get(key)?.last()?;
        let offered = self.tables.offered.get(source)?;
        let (service, (node, id)) = key;
        let fits =
            |one: &&Arc<Entry>| one.service == *service && one.node == *node && one.id == *id;
        offered.iter().rfind(fits).cloned()
    }

    fn set_entry(&mut self, service: String, at: EntryKey, entry: Option<Arc<Entry>>) {
        let rows = self.tables.services.get(&service).map(|rows| rows.rows.clone());
        let mut rows = rows.unwrap_or_default();
        let old = rows.get(&at).cloned();
        if old.as_ref().map(|row| &row.value) == entry.as_ref() {
            return;
        }
        let new = entry.map(|entry| row(old.as_deref(), entry, self.now));
        let times = |row: Option<&Row<Entry>>| row.map(|row| row.times);
        let same = times(old.as_deref()) == times(new.as_ref());
        let same_checks = same_checks(old.as_deref(), new.as_ref());
        let place = (at.0.clone(), service.clone(), at.1.clone());
        match new {
            Some(new) => {
                rows.insert_mut(at.clone(), Arc::new(new));
                self.tables.on_nodes.insert_mut(place, ());
            }
            None => {
                rows.remove_mut(&at);
                self.tables.on_nodes.remove_mut(&place);
            }
        }
        self.put_service(service.clone(), rows);
        if !same {
            self.tables.entries_index = self.now;
            self.news.entries_changed = true;
        }
        self.checks(same_checks);
        self.place(&at.0);
        self.news.entries.insert((service, at));
    }

    fn put_service(&mut self, service: String, rows: Map<EntryKey, Arc<Row<Entry>>>) {
        self.news.services.insert(service.clone());
        let tables = &mut *self.tables;
        if let Some(went) = tables.gone.get(&service).copied() {
            tables.gone.remove_mut(&service);
            tables.gone_by.remove_mut(&(went, service.clone()));
        }
        if rows.is_empty() {
            tables.services.remove_mut(&service);
            tables.gone.insert_mut(service.clone(), self.now);
            tables.gone_by.insert_mut((self.now, service), ());
            return tables.forget();
        }
        tables.services.insert_mut(service, ServiceRows { rows, index: self.now });
    }

    fn set_node(&mut self, name: &str, node: Option<Node>) {
        let old = self.tables.nodes.get(name).cloned();
        if old.as_ref().map(|row| &*row.value) == node.as_ref() {
            return;
        }
        let new = node.map(|node| row(old.as_deref(), Arc::new(node), self.now));
        self.checks(same_checks(old.as_deref(), new.as_ref()));
        if old.as_ref().map(|row| row.times) != new.as_ref().map(|row| row.times) {
            self.tables.nodes_index = self.now;
            self.news.nodes_changed = true;
        }
        match new {
            Some(new) => self.tables.nodes.insert_mut(name.to_owned(), Arc::new(new)),
            None => _ = self.tables.nodes.remove_mut(name),
        }
        self.news.nodes.insert(name.to_owned());
        self.place(name);
        let offered: Vec<_> =
            self.tables.entries_on(name).map(|row| row.value.service.clone()).collect();
        for service in offered {
            if let Some(rows) = self.tables.services.get_mut(&service) {
                rows.index = self.now;
            }
            self.news.services.insert(service);
        }
    }

    fn checks(&mut self, same: bool) {
        if !same {
            self.tables.checks_index = self.now;
            self.news.checks_changed = true;
        }
    }

    fn place(&mut self, node: &str) {
        self.news.places.insert(node.to_owned());
        match self.tables.nodes.contains_key(node) {
            true => self.tables.places.insert_mut(node.to_owned(), self.now),
            false => _ = self.tables.places.remove_mut(node),
        }
    }
}

/// What has checks.
trait Checked: Clone + PartialEq {
    fn checks(&self) -> &[Check];
    /// The same without them.
    fn bare(&self) -> Self;
}

impl Checked for Entry {
    fn checks(&self) -> &[Check] {
        &self.checks
    }

    fn bare(&self) -> Self {
        Self { checks: vec![], ..self.clone() }
    }
}

impl Checked for Node {
    fn checks(&self) -> &[Check] {
        &self.checks
    }

    fn bare(&self) -> Self {
        Self { checks: vec![], ..self.clone() }
    }
}

fn row<T: Checked>(old: Option<&Row<T>>, value: Arc<T>, now: Index) -> Row<T> {
    let new = Times { created: now, modified: now };
    let Some(old) = old else {
        let checks = vec![new; value.checks().len()];
        return Row { value, times: new, checks };
    };
    let times = match old.value.bare() == value.bare() {
        true => old.times,
        false => Times { modified: now, ..old.times },
    };
    let known: BTreeMap<&str, (&Check, Times)> = {
        let known = old.value.checks().iter().zip(&old.checks);
        known.map(|(check, times)| (check.id.as_str(), (check, *times))).collect()
    };
    let checks = value.checks().iter().map(|check| match known.get(check.id.as_str()) {
        Some((was, times)) if *was == check => *times,
        Some((_, times)) => Times { modified: now, ..*times },
        None => new,
    });
    let checks = checks.collect();
    Row { value, times, checks }
}

fn same_checks<T: Checked>(old: Option<&Row<T>>, new: Option<&Row<T>>) -> bool {
    let checks = |row: Option<&Row<T>>| row.map(|row| row.value.checks().to_vec());
    checks(old).unwrap_or_default() == checks(new).unwrap_or_default()
}

#[cfg(test)]
mod tests;
