//! What clients read, written when it changes: a node, an entry, and all entries of a service. A
//! read that asks for a whole service copies bytes that are there.

use super::json;
use bytes::Bytes;
use control::catalog::{Check, CheckStatus, Entry, EntryKey, Node, Row};
use rpds::RedBlackTreeMapSync as Map;
use std::sync::{Arc, OnceLock};

/// A node.
#[derive(Debug)]
pub(crate) struct NodeDoc {
    /// What it says.
    pub(crate) row: Arc<Row<Node>>,
    /// An object of `/v1/catalog/nodes`.
    pub(crate) json: String,
    /// Its checks, each an object of `/v1/health/node`.
    pub(crate) checks: Vec<String>,
    head: String,
}

impl NodeDoc {
    pub(super) fn new(row: Arc<Row<Node>>) -> Self {
        let (json, checks) = (json::node(&row), json::node_checks(&row));
        let head = json::catalog_node(&row.value);
        Self { row, json, checks, head }
    }
}

/// An entry with its node.
#[derive(Debug)]
pub(crate) struct EntryDoc {
    /// What it says.
    pub(crate) row: Arc<Row<Entry>>,
    /// Where it is.
    pub(crate) node: Arc<NodeDoc>,
    /// The service in an object of `/v1/health/service`.
    pub(crate) service: String,
    /// Its own checks, each an object of `/v1/health/checks`.
    pub(crate) checks: Vec<String>,
    /// The worst of its checks and its node's.
    pub(crate) worst: CheckStatus,
    tail: String,
}

impl EntryDoc {
    pub(super) fn new(row: Arc<Row<Entry>>, node: Arc<NodeDoc>) -> Self {
        let worst = worst(row.value.checks.iter().chain(&node.row.value.checks));
        Self {
            service: json::service(&row),
            checks: json::entry_checks(&row),
            tail: json::catalog_service(&row),
            row,
            node,
            worst,
        }
    }

    /// Writes an object of `/v1/health/service`.
    pub(crate) fn health(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"Node\":");
        out.extend_from_slice(self.node.json.as_bytes());
        out.extend_from_slice(b",\"Service\":");
        out.extend_from_slice(self.service.as_bytes());
        out.extend_from_slice(b",\"Checks\":[");
        join(out, self.node.checks.iter().chain(&self.checks), |out, check| {
            out.extend_from_slice(check.as_bytes());
        });
        out.extend_from_slice(b"]}");
    }

    /// Writes an object of `/v1/catalog/service`.
    pub(crate) fn catalog(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.node.head.as_bytes());
        out.extend_from_slice(self.tail.as_bytes());
    }
}

/// The worst of checks.
pub(crate) fn worst<'a>(checks: impl Iterator<Item = &'a Check>) -> CheckStatus {
    checks.map(|check| check.status).max().unwrap_or_default()
}

/// Writes things with commas between them.
pub(crate) fn join<T>(
    out: &mut Vec<u8>,
    all: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    for (at, one) in all.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, one);
    }
}

/// A JSON list of things.
pub(crate) fn list<T>(all: impl Iterator<Item = T>, write: impl FnMut(&mut Vec<u8>, T)) -> Bytes {
    let mut out = vec![b'['];
    join(&mut out, all, write);
    out.push(b']');
    out.into()
}

/// A service: its entries, and whole answers of it, each written when it is first asked for.
#[derive(Debug)]
pub(crate) struct ServiceDoc {
    /// By node and id.
    pub(crate) entries: Map<EntryKey, Arc<EntryDoc>>,
    health: OnceLock<Bytes>,
    passing: OnceLock<Bytes>,
    catalog: OnceLock<Bytes>,
}

impl ServiceDoc {
    pub(super) fn new(entries: Map<EntryKey, Arc<EntryDoc>>) -> Self {
        let (health, passing) = (OnceLock::new(), OnceLock::new());
        Self { entries, health, passing, catalog: OnceLock::new() }
    }

    /// All of `/v1/health/service`, or those that pass.
    pub(crate) fn health(&self, passing: bool) -> Bytes {
        let whole = if passing { &self.passing } else { &self.health };
        let wanted = |one: &&Arc<EntryDoc>| !passing || one.worst == CheckStatus::Passing;
        let write = || list(self.entries.values().filter(wanted), |out, entry| entry.health(out));
        whole.get_or_init(write).clone()
    }

    /// All of `/v1/catalog/service`.
    pub(crate) fn catalog(&self) -> Bytes {
        let write = || list(self.entries.values(), |out, entry| entry.catalog(out));
        self.catalog.get_or_init(write).clone()
    }
}
