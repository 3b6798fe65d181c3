//! Records to store transactions and back. Pure: what a proposal rests on becomes compares, its
//! edits puts and deletes; what a watch delivers becomes edits again. A record is JSON in an
//! envelope with a version, at its key's text under `PREFIX`.

use crate::Store;
use crate::error::{Error, Result};
use crate::keys::{Key, Keys};
use crate::page::{Kv, Page, Read};
use crate::status::Epoch;
use crate::txn::{Compare, Op, Txn};
use crate::watch::{WatchEvent, WatchOp};
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::record::{Record, RecordKey};
use model::time::Index;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where the records are; everything else in a store is somebody else's.
pub const PREFIX: &str = "state/";
/// Version of the envelope.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Envelope<'a> {
    v: u32,
    body: &'a Record,
}

#[derive(Deserialize)]
struct Head {
    v: u32,
}

#[derive(Deserialize)]
struct Body {
    v: u32,
    body: Record,
}

/// Every key that is a record's.
#[must_use]
pub fn keys() -> Keys {
    Keys::prefix(PREFIX)
}

/// Where a record is in the store.
#[must_use]
pub fn key(record: &RecordKey) -> Key {
    format!("{PREFIX}{record}").into()
}

/// The transaction that a proposal is. When it has several edits of one key, the last one counts.
///
/// # Errors
/// `Encode` when a record has no JSON; limits (also checked by the store) as in `Txn::check`.
pub fn encode(proposal: &Proposal) -> Result<Txn> {
    let compare = |(record, read): &(RecordKey, Option<Index>)| match read {
        None => Compare::Absent(key(record)),
        Some(index) => Compare::Modified(key(record), *index),
    };
    let mut last = BTreeMap::new();
    for (at, edit) in proposal.change.edits.iter().enumerate() {
        last.insert(edit.key(), at);
    }
    let mut ops = Vec::with_capacity(last.len());
    for (at, edit) in proposal.change.edits.iter().enumerate() {
        if last.get(&edit.key()) == Some(&at) {
            ops.push(op(edit)?);
        }
    }
    let txn = Txn { compares: proposal.reads.iter().map(compare).collect(), ops };
    txn.check()?;
    Ok(txn)
}

fn op(edit: &Edit) -> Result<Op> {
    let key = key(&edit.key());
    match edit {
        Edit::Delete(_) => Ok(Op::Delete(key)),
        Edit::Put(record) => match serde_json::to_vec(&Envelope { v: VERSION, body: record }) {
            Ok(value) => Ok(Op::Put { key, value: value.into(), lease: None }),
            Err(source) => Err(Error::Encode { key, source: Arc::new(source) }),
        },
    }
}

/// What a transaction did to records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Its index.
    pub index: Index,
    /// Each edit with the record that was there before.
    pub edits: Vec<(Option<Record>, Edit)>,
}

impl Decoded {
    /// The edits alone, for `Cluster::apply`.
    #[must_use]
    pub fn change(&self) -> Change {
        Change { edits: self.edits.iter().map(|(_, edit)| edit.clone()).collect() }
    }
}

/// What a watch delivered. Keys outside `PREFIX` and kinds of record that only a newer version
/// knows are passed over, the latter with a warning.
///
/// # Errors
/// `Record`, `RecordKey`, `MisplacedRecord` or `NewerRecord` when a record cannot be understood.
pub fn decode(event: &WatchEvent) -> Result<Decoded> {
    let mut edits = Vec::with_capacity(event.ops.len());
    for op in event.ops.iter() {
        let Some(record_key) = record_key(&op.key)? else { continue };
        let edit = match &op.next {
            Some(kv) => Edit::Put(record(kv, &record_key)?),
            None => Edit::Delete(record_key.clone()),
        };
        edits.push((before(op, &record_key), edit));
    }
    Ok(Decoded { index: event.index, edits })
}

/// What was there before only tells the story; damage that was written over is no trouble.
fn before(op: &WatchOp, record_key: &RecordKey) -> Option<Record> {
    let kv = op.prev.as_ref()?;
    match record(kv, record_key) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::warn!(key = %op.key, %error, "record before a change not understood");
            None
        }
    }
}

/// The records of a page as changes, each at the index at which it was last put, in their order.
///
/// # Errors
/// As `decode`.
pub fn load(page: &Page) -> Result<BTreeMap<Index, Change>> {
    let mut changes: BTreeMap<Index, Change> = BTreeMap::new();
    for kv in &page.kvs {
        if let Some(record_key) = record_key(&kv.key)? {
            let record = record(kv, &record_key)?;
            changes.entry(kv.modified).or_default().edits.push(Edit::Put(record));
        }
    }
    Ok(changes)
}

/// The record of a key; `None` for what is not ours, or of a kind that only a newer version knows.
///
/// # Errors
/// As `decode`.
pub fn read(kv: &Kv) -> Result<Option<Record>> {
    let found = record_key(&kv.key)?;
    found.map(|record_key| record(kv, &record_key)).transpose()
}

/// All records of a store as they are now, and the epoch under which to watch on from
/// `Cluster::index`.
///
/// # Errors
/// As `decode` and `Store::range`.
pub async fn cluster<S: Store>(store: &S) -> Result<(Cluster, Epoch)> {
    loop {
        let epoch = store.status().await.epoch;
        match load_all(store).await {
            // Compacted between two pages: from the start again.
            Err(Error::Compacted { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) if store.status().await.epoch != epoch => {}
            Ok(cluster) => return Ok((cluster, epoch)),
        }
    }
}

async fn load_all<S: Store>(store: &S) -> Result<Cluster> {
    let mut page = store.range(keys(), Read::Latest).await?;
    let index = page.index;
    let mut changes = load(&page)?;
    while let Some(next) = page.next.take() {
        page = store.range(keys().starting_at(&next), Read::At(index)).await?;
        for (index, change) in load(&page)? {
            changes.entry(index).or_default().edits.extend(change.edits);
        }
    }
    let mut cluster = Cluster::default();
    for (index, change) in &changes {
        cluster.apply(*index, change);
    }
    cluster.apply(index, &Change::default());
    Ok(cluster)
}

/// The record's key; none for what is not ours or of a kind that only a newer version knows.
fn record_key(key: &Key) -> Result<Option<RecordKey>> {
    let Some(text) = key.strip_prefix(PREFIX) else { return Ok(None) };
    match text.parse::<RecordKey>() {
        Ok(record_key) => Ok(Some(record_key)),
        Err(_) if !KINDS.contains(&text.split('/').next().unwrap_or(text)) => {
            tracing::warn!(%key, "record of a newer version kept and not used");
            Ok(None)
        }
        Err(source) => Err(Error::RecordKey { key: key.clone(), source }),
    }
}

fn record(kv: &Kv, record_key: &RecordKey) -> Result<Record> {
    let broken = |source| Error::Record { key: kv.key.clone(), source: Arc::new(source) };
    let newer = |found| Error::NewerRecord { key: kv.key.clone(), found, known: VERSION };
    let found = match serde_json::from_slice::<Body>(&kv.value) {
        Ok(Body { v: VERSION, body }) => body,
        Ok(Body { v, .. }) => return Err(newer(v)),
        // Only now is it worth looking whether the version explains it.
        Err(error) => match serde_json::from_slice::<Head>(&kv.value) {
            Ok(Head { v }) if v != VERSION => return Err(newer(v)),
            _ => return Err(broken(error)),
        },
    };
    if found.key() != *record_key {
        return Err(Error::MisplacedRecord { key: kv.key.clone(), found: key(&found.key()) });
    }
    Ok(found)
}

/// First words of the keys that this version knows.
const KINDS: [&str; 17] = [
    "environment",
    "stack",
    "service",
    "revision",
    "service-status",
    "instance",
    "instance-status",
    "host",
    "token",
    "plain",
    "attachment",
    "floating",
    "client-node",
    "client-service",
    "client-check",
    "check-state",
    "query",
];

#[cfg(test)]
mod tests;
