//! `Change`: the only way state moves. `Proposal`: a change with the records it rests on.

use crate::record::{Record, RecordKey};
use crate::time::Index;

/// Edits that take effect together at one index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    /// In order.
    pub edits: Vec<Edit>,
}

/// One edit.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Put the record at its key.
    Put(Record),
    /// Take away what is at the key.
    Delete(RecordKey),
}

impl Edit {
    /// Which key it touches.
    #[must_use]
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Put(record) => record.key(),
            Self::Delete(key) => key.clone(),
        }
    }
}

/// A change that is to happen only if the records it rests on are as they were read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proposal {
    /// Each key with the index at which it was last modified, `None` when it must not exist.
    pub reads: Vec<(RecordKey, Option<Index>)>,
    /// What then happens.
    pub change: Change,
}

impl Proposal {
    /// Nothing to do?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.change.edits.is_empty()
    }

    /// Number of store operations, against `limits::TXN_OPS_MAX`.
    #[must_use]
    pub fn ops(&self) -> usize {
        self.reads.len() + self.change.edits.len()
    }
}
