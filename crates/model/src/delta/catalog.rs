//! What changed of the catalog that a view has: entries by service, so that one that changes moves
//! nothing else.

use super::{Changes, changes, members, put, put_shared};
use crate::catalog_view::{CatalogNode, CatalogView, Offer};
use crate::prepared::QueryNames;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// From one `CatalogView` to a newer one with the same settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CatalogDelta {
    /// Of `CatalogView::nodes`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: Changes<String, Arc<CatalogNode>>,
    /// Of each of `CatalogView::services`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, Changes<String, Arc<Offer>>>,
    /// Of `CatalogView::elsewhere`: is it in there now?
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub elsewhere: BTreeMap<String, bool>,
    /// Of `CatalogView::queries`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub queries: Changes<String, Arc<QueryNames>>,
}

impl CatalogDelta {
    /// What leads from one to another.
    #[must_use]
    pub(super) fn between(old: &CatalogView, new: &CatalogView) -> Self {
        let none = Arc::default();
        let mut services = BTreeMap::new();
        for name in old.services.keys().chain(new.services.keys()) {
            let of = |view: &'_ CatalogView| view.services.get(name).unwrap_or(&none).clone();
            let changed = changes(&of(old), &of(new));
            if !changed.is_empty() {
                services.insert(name.clone(), changed);
            }
        }
        Self {
            nodes: changes(&old.nodes, &new.nodes),
            services,
            elsewhere: members(&old.elsewhere, &new.elsewhere),
            queries: changes(&old.queries, &new.queries),
        }
    }

    /// Says it nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries() == 0
    }

    pub(super) fn entries(&self) -> usize {
        let offers: usize = self.services.values().map(BTreeMap::len).sum();
        self.nodes.len() + offers + self.elsewhere.len() + self.queries.len()
    }

    /// Makes the newer one.
    pub(super) fn apply(&self, catalog: &mut CatalogView) {
        put(&mut catalog.nodes, &self.nodes);
        put(&mut catalog.queries, &self.queries);
        for (name, changes) in &self.services {
            let known = catalog.services.entry(name.clone()).or_default();
            put_shared(known, changes);
            if known.is_empty() {
                catalog.services.remove(name);
            }
        }
        for (name, there) in &self.elsewhere {
            match there {
                true => _ = catalog.elsewhere.insert(name.clone()),
                false => _ = catalog.elsewhere.remove(name),
            }
        }
    }

    pub(super) fn merge(&mut self, newer: &Self) {
        self.nodes.extend(newer.nodes.clone());
        for (name, changes) in &newer.services {
            self.services.entry(name.clone()).or_default().extend(changes.clone());
        }
        self.elsewhere.extend(newer.elsewhere.clone());
        self.queries.extend(newer.queries.clone());
    }
}
