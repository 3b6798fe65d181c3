//! Runs a prepared query on the catalog.

use super::definition::Definition;
use crate::acl::Access;
use crate::catalog::Shown;
use crate::catalog::document::{EntryDoc, list, worst};
use crate::serve::DATACENTER;
use control::catalog::CheckStatus;
use rand::seq::SliceRandom as _;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Head<'a> {
    service: &'a str,
    nodes: [u8; 0],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Tail<'a> {
    #[serde(rename = "DNS")]
    dns: &'a super::definition::Dns,
    datacenter: &'a str,
    failovers: u8,
}

/// The answer: those who fit, in any order, with what is near first; `limit` 0 is no limit.
pub(super) fn run(
    shown: &Shown,
    query: &Definition,
    near: &str,
    limit: usize,
    access: &Access,
) -> Vec<u8> {
    let wanted = &query.service;
    let entries = shown.services.get(&wanted.service).map(|service| service.entries.clone());
    let entries = entries.unwrap_or_default();
    let mut found: Vec<&Arc<EntryDoc>> =
        entries.values().filter(|entry| fits(query, entry) && sees(access, entry)).collect();
    found.shuffle(&mut rand::rng());
    if !near.is_empty() {
        found.sort_by_key(|entry| entry.row.value.node != near);
    }
    if limit > 0 {
        found.truncate(limit);
    }
    let nodes = list(found.into_iter(), |out, entry| entry.health(out));
    let text = |value: Result<Vec<u8>, serde_json::Error>| {
        value.expect("texts and numbers can always be written")
    };
    let mut body = text(serde_json::to_vec(&Head { service: &wanted.service, nodes: [] }));
    // The list is written already: it takes the place of the empty one.
    body.truncate(body.len().saturating_sub(b"[]}".len()));
    body.extend_from_slice(&nodes);
    body.push(b',');
    let tail = Tail { dns: &query.dns, datacenter: DATACENTER, failovers: 0 };
    body.extend_from_slice(text(serde_json::to_vec(&tail)).get(1..).unwrap_or_default());
    body
}

fn sees(access: &Access, entry: &EntryDoc) -> bool {
    access.sees_entry(&entry.row.value.node, &entry.row.value.service)
}

fn fits(query: &Definition, entry: &EntryDoc) -> bool {
    let wanted = &query.service;
    let (row, node) = (&entry.row.value, &entry.node.row.value);
    let checks = row.checks.iter().chain(&node.checks);
    let status = worst(checks.filter(|check| !wanted.ignore_check_ids.contains(&check.id)));
    let well = match wanted.only_passing {
        true => status == CheckStatus::Passing,
        false => status != CheckStatus::Critical,
    };
    let has = |tag: &str| row.tags.iter().any(|one| one.to_lowercase() == tag.to_lowercase());
    let tagged = wanted.tags.iter().all(|tag| match tag.strip_prefix('!') {
        Some(tag) => !has(tag),
        None => has(tag),
    });
    let node_meta = wanted.node_meta.iter().all(|(k, v)| node.meta.get(k) == Some(v));
    let meta = wanted.service_meta.iter().all(|(k, v)| row.meta.get(k) == Some(v));
    well && tagged && node_meta && meta
}
