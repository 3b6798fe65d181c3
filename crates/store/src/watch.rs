//! Watches: the change log, delivered in order, a transaction never split. A watch that cannot go
//! on says why; it never skips.

mod hub;

pub(crate) use hub::{Hub, HubFull, Live};

use crate::error::Error;
use crate::keys::{Key, Keys};
use crate::page::Kv;
use crate::status::Epoch;
use model::time::Index;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;

/// One transaction, or of it what touches the keys watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// Its index.
    pub index: Index,
    /// What it did, in its order; never empty.
    pub ops: Arc<[WatchOp]>,
}

/// What a transaction did to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchOp {
    /// The key.
    pub key: Key,
    /// What was there before.
    pub prev: Option<Kv>,
    /// What is there now; `None` when it was taken away.
    pub next: Option<Kv>,
}

impl WatchEvent {
    /// The part of it within `keys`, `None` when there is none.
    pub(crate) fn within(&self, keys: &Keys) -> Option<Self> {
        let inside = self.ops.iter().filter(|op| keys.contains(&op.key)).count();
        match inside {
            0 => None,
            all if all == self.ops.len() => Some(self.clone()),
            _ => {
                let ops = self.ops.iter().filter(|op| keys.contains(&op.key)).cloned();
                Some(Self { index: self.index, ops: ops.collect() })
            }
        }
    }

    /// About what it takes in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let both = |op: &WatchOp| {
            op.prev.as_ref().map_or(0, Kv::weight) + op.next.as_ref().map_or(0, Kv::weight)
        };
        self.ops.iter().map(both).sum()
    }
}

/// Why a watch ended. There is nothing after it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WatchEnd {
    /// What comes next is forgotten: read everything again.
    #[error("the history after index {after} is forgotten, the oldest still known is {compacted}")]
    Compacted {
        /// Where the watch was.
        after: Index,
        /// Oldest index that can be watched after.
        compacted: Index,
    },
    /// History may have been lost: read everything again.
    #[error("the store was restored, its epoch is now {epoch}")]
    EpochChanged {
        /// The new one.
        epoch: Epoch,
    },
    /// The reader was too slow: watch again from the last index delivered.
    #[error("more changes came than this watch could hold, index {after} was the last delivered")]
    Lagged {
        /// The last one delivered, or where the watch began.
        after: Index,
    },
    /// The history could not be read.
    #[error("the history after index {after} cannot be read")]
    Failed {
        /// Where the watch was.
        after: Index,
        /// Why.
        #[source]
        source: Error,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// What a driver gives for one step of catching up.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) events: Vec<WatchEvent>,
    /// Everything up to here is in `events`.
    pub(crate) upto: Index,
}

pub(crate) type Step = Pin<Box<dyn Future<Output = Result<Chunk, WatchEnd>> + Send>>;

/// Reads the log after an index, a bounded piece at a time.
pub(crate) type ReadLog = Box<dyn Fn(Index) -> Step + Send + Sync>;

/// The history between where a watch begins and where its live queue begins.
pub(crate) struct Backlog {
    pub(crate) until: Index,
    pub(crate) read: ReadLog,
}

/// A running watch.
pub struct Watch {
    /// The last index delivered to the caller, or where the watch began.
    after: Index,
    /// How far the backlog was read.
    read_upto: Index,
    backlog: Option<Backlog>,
    ready: VecDeque<WatchEvent>,
    live: Live,
    ended: Option<WatchEnd>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("after", &self.after).finish_non_exhaustive()
    }
}

impl Watch {
    pub(crate) fn new(after: Index, backlog: Option<Backlog>, live: Live) -> Self {
        let ready = VecDeque::new();
        Self { after, read_upto: after, backlog, ready, live, ended: None }
    }

    /// A watch that is over before it began.
    pub(crate) fn ended(after: Index, end: WatchEnd) -> Self {
        let (_never, live) = mpsc::channel(1);
        let mut watch = Self::new(after, None, Live::of(live));
        watch.ended = Some(end);
        watch
    }

    /// The last index delivered, or where the watch began.
    #[must_use]
    pub fn after(&self) -> Index {
        self.after
    }

    /// The next transaction. Nothing is lost when the future is dropped before it is ready.
    ///
    /// # Errors
    /// Why the watch ended; the same again when asked again.
    pub async fn next(&mut self) -> Result<WatchEvent, WatchEnd> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(self.delivered(event));
            }
            if let Some(end) = &self.ended {
                return Err(end.clone());
            }
            if let Some(backlog) = &self.backlog {
                match (backlog.read)(self.read_upto).await {
                    Ok(chunk) => {
                        self.read_upto = chunk.upto;
                        self.ready.extend(chunk.events);
                        if chunk.upto >= backlog.until {
                            self.backlog = None;
                        }
                    }
                    Err(end) => self.ended = Some(end),
                }
                continue;
            }
            match self.live.next().await {
                Some(event) => return Ok(self.delivered(event)),
                None => self.ended = Some(self.live.end(self.after)),
            }
        }
    }

    fn delivered(&mut self, event: WatchEvent) -> WatchEvent {
        self.after = event.index;
        event
    }
}
