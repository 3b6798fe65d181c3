//! Transactions, and the pure decision what one does to the state. Drivers only carry it out.

use crate::error::{Error, Result};
use crate::keys::Key;
use crate::lease::LeaseId;
use crate::page::Kv;
use crate::watch::WatchOp;
use bytes::Bytes;
use model::limits::{
    LEASE_KEYS_MAX, STORE_KEY_BYTES_MAX, STORE_TXN_BYTES_MAX, STORE_TXN_OPS_MAX,
    STORE_VALUE_BYTES_MAX,
};
use model::time::Index;
use std::collections::{BTreeMap, BTreeSet};

/// Compares, then operations, all or nothing, at one index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold.
    pub compares: Vec<Compare>,
    /// What then happens; no key twice.
    pub ops: Vec<Op>,
}

/// What must hold of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// It is not there.
    Absent(Key),
    /// It was last put at this index.
    Modified(Key, Index),
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Puts a value.
    Put {
        /// Where.
        key: Key,
        /// What.
        value: Bytes,
        /// The lease it goes with; `None` detaches it from any.
        lease: Option<LeaseId>,
    },
    /// Takes a key away; absent is fine.
    Delete(Key),
}

/// What a transaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnOutcome {
    /// Its index; the store's index when nothing changed.
    pub index: Index,
    /// Keys put or taken away.
    pub changed: usize,
}

impl Compare {
    /// The key it looks at.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Absent(key) | Self::Modified(key, _) => key,
        }
    }
}

impl Op {
    /// The key it touches.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete(key) => key,
        }
    }
}

impl Txn {
    /// Adds: the key is absent.
    #[must_use]
    pub fn if_absent(mut self, key: &str) -> Self {
        self.compares.push(Compare::Absent(key.into()));
        self
    }

    /// Adds: the key was last put at `index`.
    #[must_use]
    pub fn if_modified(mut self, key: &str, index: Index) -> Self {
        self.compares.push(Compare::Modified(key.into(), index));
        self
    }

    /// Adds a put.
    #[must_use]
    pub fn put(mut self, key: &str, value: impl Into<Bytes>) -> Self {
        self.ops.push(Op::Put { key: key.into(), value: value.into(), lease: None });
        self
    }

    /// Adds a put that goes with a lease.
    #[must_use]
    pub fn put_leased(mut self, key: &str, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        self.ops.push(Op::Put { key: key.into(), value: value.into(), lease: Some(lease) });
        self
    }

    /// Adds a delete.
    #[must_use]
    pub fn delete(mut self, key: &str) -> Self {
        self.ops.push(Op::Delete(key.into()));
        self
    }

    /// Keys and values together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let keys = self.compares.iter().map(|compare| compare.key().len()).sum::<usize>();
        let ops = self.ops.iter().map(|op| match op {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Delete(key) => key.len(),
        });
        keys + ops.sum::<usize>()
    }

    /// Is it within the limits? Needs no store.
    ///
    /// # Errors
    /// The limit that it breaks.
    pub fn check(&self) -> Result<()> {
        let ops = self.compares.len() + self.ops.len();
        if ops > STORE_TXN_OPS_MAX {
            return Err(Error::TxnTooLarge {
                found: ops,
                unit: "operations",
                max: STORE_TXN_OPS_MAX,
            });
        }
        let bytes = self.bytes();
        if bytes > STORE_TXN_BYTES_MAX {
            return Err(Error::TxnTooLarge {
                found: bytes,
                unit: "bytes",
                max: STORE_TXN_BYTES_MAX,
            });
        }
        for key in self.compares.iter().map(Compare::key).chain(self.ops.iter().map(Op::key)) {
            if key.is_empty() || key.len() > STORE_KEY_BYTES_MAX {
                let shown = key.chars().take(80).collect();
                return Err(Error::InvalidKey {
                    shown,
                    bytes: key.len(),
                    max: STORE_KEY_BYTES_MAX,
                });
            }
        }
        let mut seen = BTreeSet::new();
        for op in &self.ops {
            if !seen.insert(op.key()) {
                return Err(Error::DuplicateKey { key: op.key().clone() });
            }
            if let Op::Put { key, value, .. } = op
                && value.len() > STORE_VALUE_BYTES_MAX
            {
                let (bytes, max) = (value.len(), STORE_VALUE_BYTES_MAX);
                return Err(Error::ValueTooLarge { key: key.clone(), bytes, max });
            }
        }
        Ok(())
    }
}

/// What the decision needs to see of the state.
pub(crate) trait State {
    fn get(&self, key: &str) -> Result<Option<Kv>>;
    /// Keys that the lease holds, `None` when there is no such lease.
    fn lease_keys(&self, id: LeaseId) -> Result<Option<usize>>;
}

/// What `txn` does to `state` when it takes `index`. Empty when nothing changes.
pub(crate) fn decide(txn: &Txn, index: Index, state: &impl State) -> Result<Vec<WatchOp>> {
    for compare in &txn.compares {
        let found = state.get(compare.key())?.map(|kv| kv.modified);
        let wanted = match compare {
            Compare::Absent(_) => None,
            Compare::Modified(_, index) => Some(*index),
        };
        if found != wanted {
            return Err(Error::Conflict { key: compare.key().clone() });
        }
    }
    let mut attached: BTreeMap<LeaseId, usize> = BTreeMap::new();
    let mut done = Vec::with_capacity(txn.ops.len());
    for op in &txn.ops {
        let prev = state.get(op.key())?;
        match op {
            Op::Delete(_) if prev.is_none() => {}
            Op::Delete(key) => done.push(WatchOp { key: key.clone(), prev, next: None }),
            Op::Put { key, value, lease } => {
                if let Some(id) = *lease {
                    let held = state.lease_keys(id)?.ok_or(Error::LeaseGone { id })?;
                    let new = attached.entry(id).or_insert(held);
                    *new += usize::from(prev.as_ref().is_none_or(|kv| kv.lease != Some(id)));
                    if *new > LEASE_KEYS_MAX {
                        return Err(Error::LeaseFull { id, max: LEASE_KEYS_MAX });
                    }
                }
                let created = prev.as_ref().map_or(index, |kv| kv.created);
                let (key, value) = (key.clone(), value.clone());
                let next = Kv { key: key.clone(), value, created, modified: index, lease: *lease };
                done.push(WatchOp { key, prev, next: Some(next) });
            }
        }
    }
    Ok(done)
}
