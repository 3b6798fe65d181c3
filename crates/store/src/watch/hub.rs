//! Hands every committed transaction to the watchers. A slow one is cut off, never waited for.

use super::{WatchEnd, WatchEvent};
use crate::keys::Keys;
use model::limits::{WATCH_QUEUE_BYTES_MAX, WATCH_QUEUE_MAX, WATCHES_MAX};
use model::time::Index;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// The watchers of one store. Owned by whoever commits.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    watchers: Vec<Watcher>,
}

/// There are `limits::WATCHES_MAX` watches.
#[derive(Debug)]
pub(crate) struct HubFull;

#[derive(Debug)]
struct Watcher {
    keys: Keys,
    queue: mpsc::Sender<WatchEvent>,
    shared: Arc<Shared>,
}

/// Between a watcher and its watch.
#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    end: OnceLock<WatchEnd>,
}

/// The watch's side of a live queue.
#[derive(Debug)]
pub(crate) struct Live {
    queue: mpsc::Receiver<WatchEvent>,
    shared: Arc<Shared>,
}

impl Hub {
    /// A new watcher of what is committed from now on.
    pub(crate) fn add(&mut self, keys: Keys) -> Result<Live, HubFull> {
        self.watchers.retain(|watcher| !watcher.queue.is_closed());
        if self.watchers.len() >= WATCHES_MAX {
            return Err(HubFull);
        }
        let (sender, queue) = mpsc::channel(WATCH_QUEUE_MAX);
        let shared = Arc::new(Shared::default());
        self.watchers.push(Watcher { keys, queue: sender, shared: Arc::clone(&shared) });
        Ok(Live { queue, shared })
    }

    /// Hands on one transaction; to be called in the order of indexes.
    pub(crate) fn publish(&mut self, event: &WatchEvent) {
        self.watchers.retain(|watcher| watcher.offer(event));
    }

    /// Ends every watch after what it has queued.
    pub(crate) fn end_all(&mut self, end: &WatchEnd) {
        for watcher in self.watchers.drain(..) {
            watcher.shared.end.get_or_init(|| end.clone());
        }
    }
}

impl Watcher {
    /// False when the watcher is to be dropped.
    fn offer(&self, event: &WatchEvent) -> bool {
        if self.queue.is_closed() {
            return false;
        }
        let Some(event) = event.within(&self.keys) else { return true };
        let lagged = WatchEnd::Lagged { after: event.index };
        let weight = event.weight();
        let queued = self.shared.queued_bytes.fetch_add(weight, Ordering::Relaxed);
        let fits = queued == 0 || queued + weight <= WATCH_QUEUE_BYTES_MAX;
        if fits && self.queue.try_send(event).is_ok() {
            return true;
        }
        self.shared.end.get_or_init(|| lagged);
        false
    }
}

impl Live {
    /// A queue that nobody fills.
    pub(super) fn of(queue: mpsc::Receiver<WatchEvent>) -> Self {
        Self { queue, shared: Arc::default() }
    }

    /// What was queued, in order; `None` when the watcher was dropped.
    pub(super) async fn next(&mut self) -> Option<WatchEvent> {
        let event = self.queue.recv().await?;
        self.shared.queued_bytes.fetch_sub(event.weight(), Ordering::Relaxed);
        Some(event)
    }

    /// Why there is nothing more, for a watch that has delivered up to `after`.
    pub(super) fn end(&self, after: Index) -> WatchEnd {
        match self.shared.end.get() {
            Some(WatchEnd::Lagged { .. }) => WatchEnd::Lagged { after },
            Some(end) => end.clone(),
            None => WatchEnd::Closed,
        }
    }
}
