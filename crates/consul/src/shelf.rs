//! A small part of the store that is held in memory whole: rows below one prefix, kept equal by a
//! watch. A write is answered once it has come back, so that whoever reads after it sees it.

use crate::answer::Answer;
use crate::state::refused;
use crate::waiters::{Topic, Waiters};
use arc_swap::ArcSwap;
use bytes::Bytes;
use model::limits::CONSUL_CONFLICTS_MAX;
use model::time::Index;
use rpds::RedBlackTreeMapSync as Map;
use std::sync::Arc;
use std::time::Duration;
use store::{Compare, Epoch, Keys, Op, Read, Store, Txn, WatchEnd};
use tokio::sync::{Mutex, watch};

/// Pause before a broken watch is taken up again.
const RETRY: Duration = Duration::from_millis(200);
/// Longest wait until an own write has come back.
const ECHO: Duration = Duration::from_secs(10);

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) value: Bytes,
    /// When it was made.
    pub(crate) created: u64,
    /// When it was last put.
    pub(crate) modified: u64,
}

/// All rows at one moment, by their key behind the prefix.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    pub(crate) all: Map<String, Row>,
    /// When one of them changed last, or went.
    pub(crate) changed: u64,
}

impl Rows {
    /// Rows whose key begins so, with the rest of it.
    pub(crate) fn below<'r>(&'r self, prefix: &'r str) -> impl Iterator<Item = (&'r str, &'r Row)> {
        let all = self.all.range(prefix.to_owned()..);
        all.map_while(move |(key, row)| Some((key.strip_prefix(prefix)?, row)))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Row> {
        self.all.get(key)
    }
}

/// A write of a row: what it is to be, `None` when it is to go.
pub(crate) type Write = (String, Option<Bytes>);

/// The rows. Clones are the same ones.
#[derive(Debug)]
pub(crate) struct Shelf<S> {
    store: S,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    prefix: &'static str,
    topic: Topic,
    waiters: Waiters,
    rows: ArcSwap<Rows>,
    /// Everything up to here is in the rows.
    applied: watch::Sender<u64>,
    /// There are few writes: they go one after the other.
    turn: Mutex<()>,
    epoch: Epoch,
}

impl<S: Clone> Clone for Shelf<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S: Store> Shelf<S> {
    /// Reads the rows below a prefix; who waits for `topic` is woken when one changes.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn open(
        store: S,
        prefix: &'static str,
        topic: Topic,
        waiters: Waiters,
    ) -> Result<Self, store::Error> {
        let epoch = store.status().await.epoch;
        let (rows, index) = load(&store, prefix).await?;
        let shared = Shared {
            prefix,
            topic,
            waiters,
            rows: ArcSwap::from_pointee(rows),
            applied: watch::Sender::new(index),
            turn: Mutex::new(()),
            epoch,
        };
        Ok(Self { store, shared: Arc::new(shared) })
    }

    /// The rows as they are.
    pub(crate) fn rows(&self) -> Arc<Rows> {
        self.shared.rows.load_full()
    }

    /// Tells each time that a row may have changed.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.shared.applied.subscribe()
    }

    /// Decides on the rows, writes, and waits until it is in the rows. Gives the index of the write;
    /// 0 when there was nothing to write.
    ///
    /// # Errors
    /// What `decide` says, or 500 when the store does not take it.
    pub(crate) async fn commit<T>(
        &self,
        decide: impl Fn(&Rows) -> Result<(T, Vec<Write>), Answer>,
    ) -> Result<(T, u64), Answer> {
        let _turn = self.shared.turn.lock().await;
        for _ in 0..CONSUL_CONFLICTS_MAX {
            let mut moves = self.moves();
            let rows = self.rows();
            let (outcome, writes) = decide(&rows)?;
            if writes.is_empty() {
                return Ok((outcome, 0));
            }
            match self.store.txn(self.txn(&rows, writes)).await {
                Ok(done) => {
                    self.has_applied(done.index.0).await?;
                    return Ok((outcome, done.index.0));
                }
                // A write whose client hung up has not come back yet.
                Err(store::Error::Conflict { .. }) => {
                    tokio::time::timeout(Duration::from_secs(1), moves.changed()).await.ok();
                }
                Err(error) => return Err(refused(&error)),
            }
        }
        Err(Answer::failed("what is written keeps changing while it is tried: try again"))
    }

    fn txn(&self, rows: &Rows, writes: Vec<Write>) -> Txn {
        let mut txn = Txn::default();
        for (key, value) in writes {
            let whole: store::Key = format!("{}{key}", self.shared.prefix).into();
            txn.compares.push(match rows.get(&key) {
                Some(row) => Compare::Modified(whole.clone(), Index(row.modified)),
                None => Compare::Absent(whole.clone()),
            });
            txn.ops.push(match value {
                Some(value) => Op::Put { key: whole, value, lease: None },
                None => Op::Delete(whole),
            });
        }
        txn
    }

    async fn has_applied(&self, index: u64) -> Result<(), Answer> {
        let mut applied = self.moves();
        match tokio::time::timeout(ECHO, applied.wait_for(|at| *at >= index)).await {
            Ok(_) => Ok(()),
            Err(_late) => Err(Answer::failed("the write is stored and cannot be read yet")),
        }
    }

    /// Follows the store for ever.
    pub(crate) async fn follow(&self) {
        let prefix = self.shared.prefix;
        loop {
            let after = Index(*self.shared.applied.borrow());
            match self.store.watch(Keys::prefix(prefix), after, self.shared.epoch).await {
                Ok(watch) => match self.take(watch).await {
                    WatchEnd::Compacted { .. } | WatchEnd::Lagged { .. } => self.reload().await,
                    end => tracing::error!(?end, prefix, "watch of rows ended"),
                },
                Err(error) => tracing::error!(%error, prefix, "watch of rows failed"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn take(&self, mut watch: store::Watch) -> WatchEnd {
        loop {
            let event = match watch.next().await {
                Ok(event) => event,
                Err(end) => return end,
            };
            let mut rows = (*self.rows()).clone();
            for op in event.ops.iter() {
                let Some(key) = op.key.strip_prefix(self.shared.prefix) else { continue };
                rows.changed = event.index.0;
                match &op.next {
                    Some(kv) => {
                        let (created, modified) = (kv.created.0, kv.modified.0);
                        let row = Row { value: kv.value.clone(), created, modified };
                        rows.all.insert_mut(key.to_owned(), row);
                    }
                    None => _ = rows.all.remove_mut(key),
                }
            }
            self.show(rows, event.index.0);
        }
    }

    fn show(&self, rows: Rows, index: u64) {
        self.shared.rows.store(Arc::new(rows));
        self.shared.applied.send_replace(index);
        self.shared.waiters.wake([&self.shared.topic]);
    }

    /// The watch was late: all of it is read again.
    async fn reload(&self) {
        match load(&self.store, self.shared.prefix).await {
            Ok((rows, index)) => self.show(rows, index),
            Err(error) => tracing::error!(%error, "rows cannot be loaded"),
        }
    }
}

async fn load<S: Store>(store: &S, prefix: &str) -> Result<(Rows, u64), store::Error> {
    'again: loop {
        let keys = Keys::prefix(prefix);
        let mut page = store.range(keys.clone(), Read::Latest).await?;
        let index = page.index;
        let mut rows = Rows::default();
        loop {
            for kv in &page.kvs {
                let Some(key) = kv.key.strip_prefix(prefix) else { continue };
                let (created, modified) = (kv.created.0, kv.modified.0);
                let row = Row { value: kv.value.clone(), created, modified };
                rows.all.insert_mut(key.to_owned(), row);
            }
            let Some(next) = page.next.take() else { break };
            page = match store.range(keys.starting_at(&next), Read::At(index)).await {
                Ok(page) => page,
                // Compacted between two pages: from the start again.
                Err(store::Error::Compacted { .. }) => continue 'again,
                Err(error) => return Err(error),
            };
        }
        // What was deleted is not known any more: no index may be below that.
        rows.changed = index.0;
        return Ok((rows, index.0));
    }
}
