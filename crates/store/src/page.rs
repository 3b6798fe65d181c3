//! What a read asks and what it answers.

use crate::keys::Key;
use crate::lease::LeaseId;
use bytes::Bytes;
use model::limits::STORE_PAGE_BYTES_MAX;
use model::time::Index;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kv {
    /// The key.
    pub key: Key,
    /// Its value, at most `limits::STORE_VALUE_BYTES_MAX` bytes.
    pub value: Bytes,
    /// When it came to be (again).
    pub created: Index,
    /// When it was last put.
    pub modified: Index,
    /// The lease that takes it along when it ends.
    pub lease: Option<LeaseId>,
}

impl Kv {
    /// About what it takes in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        self.key.len() + self.value.len() + 64
    }
}

/// Which state a read sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The newest; nothing that was acknowledged before is missing.
    Latest,
    /// As it was at this index.
    At(Index),
}

/// Pairs as they were at one index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// At which index: the store's newest for `Read::Latest`, else the one asked for.
    pub index: Index,
    /// In key order.
    pub kvs: Vec<Kv>,
    /// Where the rest begins; `None` when this is all.
    pub next: Option<Key>,
}

impl Page {
    /// Takes pairs in key order until the page is full.
    pub(crate) fn fill<E>(
        index: Index,
        kvs: impl Iterator<Item = Result<Kv, E>>,
    ) -> Result<Self, E> {
        let mut page = Self { index, ..Self::default() };
        let mut bytes = 0;
        for kv in kvs {
            let kv = kv?;
            bytes += kv.weight();
            if bytes > STORE_PAGE_BYTES_MAX && !page.kvs.is_empty() {
                page.next = Some(kv.key);
                break;
            }
            page.kvs.push(kv);
        }
        Ok(page)
    }
}
