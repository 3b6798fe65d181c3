//! The catalog as clients read it. One follower brings it to each new cluster: it rewrites what
//! changed, shows it to all readers at once, and wakes who waits for that.

mod alone;
pub(crate) mod document;
pub(crate) mod endpoints;
pub(crate) mod json;
pub(crate) mod select;

use crate::coordinate::Coordinates;
use crate::waiters::{Topic, Waiters};
use arc_swap::ArcSwap;
use control::catalog::{News, Tables};
use document::{EntryDoc, NodeDoc, ServiceDoc};
use model::cluster::Cluster;
use model::time::Index;
use rpds::RedBlackTreeMapSync as Map;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The catalog at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) tables: Tables,
    pub(crate) nodes: Map<String, Arc<NodeDoc>>,
    pub(crate) services: Map<String, Arc<ServiceDoc>>,
}

impl Shown {
    /// Entries of a node by service and id.
    pub(crate) fn entries_on<'a>(
        &'a self,
        node: &'a str,
    ) -> impl Iterator<Item = &'a Arc<EntryDoc>> {
        self.tables.entries_on(node).filter_map(|row| {
            let service = self.services.get(&row.value.service)?;
            service.entries.get(&(row.value.node.clone(), row.value.id.clone()))
        })
    }

    /// An entry of a node by its id alone.
    pub(crate) fn entry_on<'a>(&'a self, node: &'a str, id: &str) -> Option<&'a Arc<EntryDoc>> {
        self.entries_on(node).find(|entry| entry.row.value.id == id)
    }

    fn follow(&mut self, cluster: &Cluster) -> News {
        let news = self.tables.follow(cluster);
        self.rewrite(&news);
        news
    }

    /// Writes anew what changed.
    fn rewrite(&mut self, news: &News) {
        let mut entries = news.entries.clone();
        for name in &news.nodes {
            match self.tables.nodes().get(name) {
                Some(row) => {
                    self.nodes.insert_mut(name.clone(), Arc::new(NodeDoc::new(Arc::clone(row))));
                }
                None => _ = self.nodes.remove_mut(name),
            }
            let there = self.tables.entries_on(name).map(|row| &row.value);
            entries
                .extend(there.map(|one| (one.service.clone(), (one.node.clone(), one.id.clone()))));
        }
        for service in &news.services {
            let Some(rows) = self.tables.services().get(service) else {
                self.services.remove_mut(service);
                continue;
            };
            let known = self.services.get(service).map(|known| known.entries.clone());
            let mut docs = known.unwrap_or_default();
            let first = (service.clone(), (String::new(), String::new()));
            let mine = entries.range(first..).take_while(|(name, _)| name == service);
            for (_, key) in mine {
                let node = self.nodes.get(&key.0);
                match rows.rows.get(key).zip(node) {
                    Some((row, node)) => {
                        let doc = EntryDoc::new(Arc::clone(row), Arc::clone(node));
                        docs.insert_mut(key.clone(), Arc::new(doc));
                    }
                    None => _ = docs.remove_mut(key),
                }
            }
            let doc = ServiceDoc::new(docs);
            self.services.insert_mut(service.clone(), Arc::new(doc));
        }
    }
}

/// What is shown now. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    shown: Arc<ArcSwap<Shown>>,
    coordinates: Coordinates,
    /// Held by who follows, while it does: readers never wait for it.
    following: Arc<Mutex<()>>,
}

impl Catalog {
    pub(crate) fn shown(&self) -> Arc<Shown> {
        self.shown.load_full()
    }

    pub(crate) fn coordinates(&self) -> &Coordinates {
        &self.coordinates
    }

    /// Shows a catalog that is known whole, all of one index: for who has no cluster to follow.
    pub fn show(&self, whole: &control::catalog::Catalog, index: Index) {
        let turn = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        let (tables, news) = Tables::of(whole, index);
        let mut next = Shown { tables, ..Shown::default() };
        next.rewrite(&news);
        self.shown.store(Arc::new(next));
        drop(turn);
    }

    /// Brings the catalog to a cluster, and wakes who waits for what changed. One that is older than
    /// the last one is passed over.
    pub fn follow(&self, cluster: &Cluster, waiters: &Waiters) {
        let turn = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = (*self.shown()).clone();
        if next.tables.index() > cluster.index() {
            return;
        }
        let news = next.follow(cluster);
        self.shown.store(Arc::new(next));
        drop(turn);
        waiters.wake(&topics(&news));
    }
}

fn topics(news: &News) -> BTreeSet<Topic> {
    let services = news.services.iter().map(|name| Topic::Service(name.as_str().into()));
    let places = news.places.iter().map(|name| Topic::Node(name.as_str().into()));
    let lists = [
        (news.entries_changed, Topic::Services),
        (news.nodes_changed, Topic::Nodes),
        (news.checks_changed, Topic::AllChecks),
    ];
    let lists = lists.into_iter().filter_map(|(changed, topic)| changed.then_some(topic));
    services.chain(places).chain(lists).collect()
}

#[cfg(test)]
pub(crate) mod tests;
