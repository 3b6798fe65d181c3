//! The catalog as hosts are told of it: nodes, and what is offered at them, followed source by
//! source. One container that changes moves its own entries and no other.

use super::follow::Round;
use super::publisher::Publisher;
use crate::catalog::{CheckStatus, Entry, EntryKey, Node, Origin, Tables};
use model::catalog_view::{ASKED_PREFIX, CatalogNode, CatalogView, Fitness, Offer, Offers};
use model::cluster::Cluster;
use model::consul_access::ConsulAccess;
use model::delta::CatalogDelta;
use model::dns::ConsulNames;
use model::id::HostId;
use model::prepared::QueryNames;
use model::record::RecordKey;
use model::time::Index;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Directory {
    tables: Tables,
    nodes: BTreeMap<String, Arc<CatalogNode>>,
    /// Names of nodes as they are written, by what they are in lower case. In DNS they are one: the
    /// first of them has the name.
    spellings: BTreeMap<String, BTreeSet<String>>,
    services: BTreeMap<String, Arc<Offers>>,
    queries: BTreeMap<String, Arc<QueryNames>>,
    /// Up to where queries were followed.
    queries_at: Option<Index>,
}

/// What changed in one round.
#[derive(Debug, Default)]
struct Turn {
    delta: CatalogDelta,
    /// Services of which something changed: were they there before?
    there: BTreeMap<String, bool>,
}

impl Directory {
    /// From nothing.
    pub(super) fn of(cluster: &Cluster) -> Self {
        let mut made = Self::default();
        made.follow(cluster);
        made
    }

    /// Brings it to a cluster that is never older than the last one.
    pub(super) fn begin(&mut self, cluster: &Cluster) {
        self.follow(cluster);
    }

    fn follow(&mut self, cluster: &Cluster) -> Turn {
        let news = self.tables.follow(cluster);
        let mut turn = Turn::default();
        let mut doubles = self.doubles(&news.nodes);
        for name in &news.nodes {
            self.set_node(name, &mut turn);
        }
        doubles.extend(self.doubles(&news.nodes));
        let mut entries = news.entries;
        entries.extend(self.entries_of(&doubles));
        for (service, key) in entries {
            self.set(&service, &key, &mut turn);
        }
        turn.there.retain(|name, there| self.services.contains_key(name) != *there);
        self.follow_queries(cluster, &mut turn);
        turn
    }

    fn follow_queries(&mut self, cluster: &Cluster, turn: &mut Turn) {
        let since = self.queries_at.replace(cluster.index());
        let id = |key: &RecordKey| match key {
            RecordKey::Query(id) => Some(id.clone()),
            _ => None,
        };
        let ids: BTreeSet<String> = match since.and_then(|since| cluster.changed_since(since)) {
            Some(keys) => keys.filter_map(id).collect(),
            None => {
                let all = cluster.queries().map(|query| query.id.clone());
                all.chain(self.queries.keys().cloned()).collect()
            }
        };
        for id in ids {
            let names = cluster.query(&id).and_then(|query| query.names.clone());
            if self.queries.get(&id) == names.as_ref() {
                continue;
            }
            match &names {
                Some(names) => drop(self.queries.insert(id.clone(), Arc::clone(names))),
                None => drop(self.queries.remove(&id)),
            }
            turn.delta.queries.insert(id, names);
        }
    }

    /// What a host is told; `told` are the services of a host that is not told of all.
    pub(super) fn view(
        &self,
        settings: &ConsulNames,
        access: ConsulAccess,
        told: Option<&BTreeSet<String>>,
    ) -> CatalogView {
        let settings = settings.clone();
        if settings.domain.is_empty() {
            return CatalogView { settings, access, ..CatalogView::default() };
        }
        let is_told = |name: &String| told.is_none_or(|told| told.contains(name));
        let (known, others): (Vec<_>, Vec<_>) =
            self.services.iter().partition(|(name, _)| is_told(name));
        CatalogView {
            settings,
            access,
            nodes: self.nodes.clone(),
            services: known.into_iter().map(|(name, of)| (name.clone(), of.clone())).collect(),
            elsewhere: others.into_iter().map(|(name, _)| name.clone()).collect(),
            queries: self.queries.clone(),
        }
    }

    /// Names, in lower case, that several nodes have, of those that changed.
    fn doubles(&self, changed: &BTreeSet<String>) -> BTreeSet<String> {
        let lower = changed.iter().map(|name| name.to_ascii_lowercase());
        let has_several = |name: &String| self.spellings.get(name).is_some_and(|all| all.len() > 1);
        lower.filter(has_several).collect()
    }

    /// What is offered at the nodes of these names: what it says of its node may be another thing now.
    fn entries_of<'a>(
        &'a self,
        doubles: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = (String, EntryKey)> + 'a {
        let nodes = doubles.iter().filter_map(|name| self.spellings.get(name)).flatten();
        nodes.flat_map(|node| self.tables.entries_on(node)).map(|row| {
            let entry = &row.value;
            (entry.service.clone(), (entry.node.clone(), entry.id.clone()))
        })
    }

    /// The node that has a name in DNS, of those whose names differ by case alone.
    fn owner(&self, lower: &str) -> Option<&String> {
        self.spellings.get(lower)?.first()
    }

    fn set_node(&mut self, name: &str, turn: &mut Turn) {
        let lower = name.to_ascii_lowercase();
        let spellings = self.spellings.entry(lower.clone()).or_default();
        match self.tables.nodes().contains_key(name) {
            true => drop(spellings.insert(name.to_owned())),
            false => drop(spellings.remove(name)),
        }
        if spellings.is_empty() {
            self.spellings.remove(&lower);
        }
        let row = self.owner(&lower).and_then(|name| self.tables.nodes().get(name));
        let node = row.map(|row| Arc::new(told_node(&row.value)));
        let name = lower;
        if self.nodes.get(&name) == node.as_ref() {
            return;
        }
        match &node {
            Some(node) => drop(self.nodes.insert(name.clone(), Arc::clone(node))),
            None => drop(self.nodes.remove(&name)),
        }
        turn.delta.nodes.insert(name, node);
    }

    fn set(&mut self, service: &str, at: &EntryKey, turn: &mut Turn) {
        let rows = self.tables.services().get(service);
        let row = rows.and_then(|service| service.rows.get(at));
        let offer = row.map(|row| {
            let mut offer = offer(&row.value);
            if self.owner(&offer.node).is_some_and(|owner| *owner != row.value.node) {
                let node = self.tables.nodes().get(&row.value.node);
                at_its_node(&mut offer, node.map(|node| told_node(&node.value)).as_ref());
            }
            Arc::new(offer)
        });
        // Names that differ by their case alone are one in DNS.
        let (name, key) = (service.to_ascii_lowercase(), format!("{service}\n{}\n{}", at.0, at.1));
        let known = self.services.get(&name).and_then(|offers| offers.get(&key));
        if known == offer.as_ref() {
            return;
        }
        turn.there.entry(name.clone()).or_insert_with(|| self.services.contains_key(&name));
        let offers = Arc::make_mut(self.services.entry(name.clone()).or_default());
        match &offer {
            Some(offer) => drop(offers.insert(key.clone(), Arc::clone(offer))),
            None => drop(offers.remove(&key)),
        }
        if offers.is_empty() {
            self.services.remove(&name);
        }
        turn.delta.services.entry(name).or_default().insert(key, offer);
    }
}

/// An offer at a node that has no name in DNS: it says itself where it is and how its node is.
fn at_its_node(offer: &mut Offer, node: Option<&CatalogNode>) {
    offer.node.clear();
    let Some(node) = node else { return };
    if offer.address.is_empty() {
        offer.address.clone_from(&node.address);
    }
    offer.fitness = offer.fitness.max(node.fitness);
}

fn told_node(node: &Node) -> CatalogNode {
    let fitness = node.checks.iter().map(|check| fitness(check.status)).max();
    CatalogNode {
        address: node.address.clone(),
        meta: node.meta.clone(),
        fitness: fitness.unwrap_or_default(),
    }
}

fn fitness(status: CheckStatus) -> Fitness {
    match status {
        CheckStatus::Passing => Fitness::Passing,
        CheckStatus::Warning => Fitness::Warning,
        CheckStatus::Critical => Fitness::Critical,
    }
}

fn offer(entry: &Entry) -> Offer {
    let worst = entry.checks.iter().map(|check| fitness(check.status)).max();
    Offer {
        node: entry.node.to_ascii_lowercase(),
        address: entry.address.clone(),
        port: entry.port,
        tags: entry.tags.clone(),
        passing: entry.weights.passing,
        warning: entry.weights.warning,
        fitness: worst.unwrap_or_default(),
        instance: match &entry.origin {
            Origin::Instance(id) => Some(id.clone()),
            Origin::Plain(_) | Origin::Client => None,
        },
    }
}

/// The services of the catalog among what is asked for on a host.
pub(super) fn asked(names: &BTreeSet<String>) -> BTreeSet<String> {
    names.iter().filter_map(|name| name.strip_prefix(ASKED_PREFIX)).map(str::to_owned).collect()
}

impl Round<'_> {
    /// What hosts know of the catalog.
    pub(super) fn directory(&mut self, publisher: &mut Publisher) {
        let mut directory = std::mem::take(&mut publisher.directory);
        let before = match publisher.asked_anew.is_empty() {
            true => BTreeMap::new(),
            false => directory.services.clone(),
        };
        let cluster = self.now.cluster;
        let turn = directory.follow(cluster);
        if !super::catalog::settings(cluster).consul.domain.is_empty() {
            self.tell_catalog(publisher, &directory, &turn);
            self.tell_asked(publisher, &directory, &before);
        }
        publisher.directory = directory;
    }

    fn tell_catalog(
        &mut self,
        publisher: &Publisher,
        directory: &Directory,
        Turn { delta, there: named }: &Turn,
    ) {
        if delta.is_empty() {
            return;
        }
        let hosts: Vec<(HostId, BTreeSet<String>)> =
            publisher.hosts.iter().map(|(id, known)| (id.clone(), known.told.clone())).collect();
        for (host, told) in hosts {
            let (nodes, queries) = (delta.nodes.clone(), delta.queries.clone());
            let mut own = CatalogDelta { nodes, queries, ..CatalogDelta::default() };
            if publisher.partial {
                for name in &told {
                    let of = delta.services.get(name).cloned();
                    own.services.extend(of.map(|of| (name.clone(), of)));
                }
                let others = named.keys().filter(|name| !told.contains(*name));
                let there = |name: &String| directory.services.contains_key(name);
                own.elsewhere = others.map(|name| (name.clone(), there(name))).collect();
            } else {
                own.services.clone_from(&delta.services);
            }
            if own.is_empty() {
                continue;
            }
            if let Some(pending) = self.tell(&host, publisher) {
                pending.view().catalog = own;
            }
        }
    }

    /// Services that hosts have asked for since, or not for long: they are told all of them, or that
    /// they are elsewhere.
    fn tell_asked(
        &mut self,
        publisher: &mut Publisher,
        directory: &Directory,
        before: &BTreeMap<String, Arc<Offers>>,
    ) {
        if !publisher.partial {
            return;
        }
        for host in publisher.asked_anew.clone() {
            let Some(followed) = publisher.hosts.get_mut(&host) else { continue };
            let new = asked(&followed.asked);
            let old = std::mem::replace(&mut followed.told, new.clone());
            let Some(pending) = self.tell(&host, publisher) else { continue };
            let catalog = &mut pending.view().catalog;
            for name in new.difference(&old) {
                let offers = directory.services.get(name).map(|of| (**of).clone());
                let offers = offers.unwrap_or_default().into_iter();
                let all = offers.map(|(key, offer)| (key, Some(offer))).collect();
                catalog.services.insert(name.clone(), all);
                catalog.elsewhere.insert(name.clone(), false);
            }
            for name in old.difference(&new) {
                let known = before.get(name).map(|of| (**of).clone()).unwrap_or_default();
                let gone = known.into_keys().map(|key| (key, None)).collect();
                catalog.services.insert(name.clone(), gone);
                let there = directory.services.contains_key(name);
                catalog.elsewhere.insert(name.clone(), there);
            }
            catalog.services.retain(|_, changes| !changes.is_empty());
        }
    }
}
