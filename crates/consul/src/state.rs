//! The map and the store: the follower keeps them equal, writes go to the store and are answered
//! once they have come back.

use crate::answer::Answer;
use crate::kv::{
    Draft, Map, Origin, PREFIX, Past, delay_key, encode_past, kv_key, past_key, put_past,
};
use crate::waiters::Waiters;
use futures_util::FutureExt as _;
use model::limits::{
    CONSUL_APPLIED_AT_ONCE, CONSUL_CONFLICTS_MAX, CONSUL_FORGOTTEN_AT_ONCE,
    CONSUL_PAST_AT_ONCE_BYTES, CONSUL_PAST_BYTES_MAX, CONSUL_PAST_MAX, CONSUL_TOMBSTONES_MAX,
};
use model::time::{Clock, Index};
use std::collections::{BTreeSet, hash_map::RandomState};
use std::hash::BuildHasher as _;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use store::{Epoch, Keys, Op, Read, Store, Txn, WatchEnd, WatchEvent};
use tokio::sync::{Mutex, MutexGuard, watch};

/// Pause before a broken watch is taken up again.
const RETRY: Duration = Duration::from_millis(200);
/// Longest wait until an own write has come back.
const ECHO: Duration = Duration::from_secs(10);
/// Longest wait for the change that a write conflicted with.
const NEWER: Duration = Duration::from_secs(1);
/// Writers of one key go one after the other; so many turns are there for all keys.
const TURNS: usize = 1_024;

/// The state. Clones are the same one.
#[derive(Debug)]
pub(crate) struct State<S> {
    store: S,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Held for a read or for applying, never across an await.
    map: RwLock<Map>,
    /// Everything up to here is in the map.
    applied: watch::Sender<u64>,
    turns: Vec<Mutex<()>>,
    hash: RandomState,
    epoch: Epoch,
    clock: Clock,
    waiters: Waiters,
}

impl<S: Clone> Clone for State<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S: Store> State<S> {
    /// Reads everything.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn open(
        store: S,
        clock: Clock,
        waiters: Waiters,
    ) -> Result<Self, store::Error> {
        let epoch = store.status().await.epoch;
        let (map, index) = load(&store).await?;
        let shared = Shared {
            map: RwLock::new(map),
            applied: watch::Sender::new(index),
            turns: (0..TURNS).map(|_| Mutex::new(())).collect(),
            hash: RandomState::new(),
            epoch,
            clock,
            waiters,
        };
        Ok(Self { store, shared: Arc::new(shared) })
    }

    /// The map as it is. Not to be held across an await.
    pub(crate) fn map(&self) -> RwLockReadGuard<'_, Map> {
        self.shared.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn map_mut(&self) -> RwLockWriteGuard<'_, Map> {
        self.shared.map.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.shared.clock.now().0
    }

    /// Tells each time that the map has moved.
    pub(crate) fn moves(&self) -> watch::Receiver<u64> {
        self.shared.applied.subscribe()
    }

    /// The turn of a key: without it, many writers of one key would only undo each other's work.
    pub(crate) async fn turn(&self, key: &str) -> MutexGuard<'_, ()> {
        let hash = self.shared.hash.hash_one(key) % TURNS as u64;
        let at = usize::try_from(hash).unwrap_or(0);
        self.shared.turns[at].lock().await
    }

    /// Decides on the map, writes for `by`, and waits until it is in the map. Decides again when what it
    /// rested on has changed meanwhile. Gives the index of the write, none when there was nothing
    /// to write.
    ///
    /// # Errors
    /// What `decide` says, or 500 when the store does not take it.
    pub(crate) async fn commit<T>(
        &self,
        by: &Arc<str>,
        decide: impl Fn(&mut Draft<'_>) -> Result<T, Answer>,
    ) -> Result<(T, Option<u64>), Answer> {
        let mut has_left = false;
        for _ in 0..CONSUL_CONFLICTS_MAX {
            let (outcome, mut write, moves) = {
                let moves = self.moves();
                let map = self.map();
                let mut draft = Draft::new(&map);
                let outcome = decide(&mut draft)?;
                (outcome, draft.write(self.now(), by), moves)
            };
            if write.txn.ops.is_empty() {
                return Ok((outcome, None));
            }
            if write.past_bytes() > CONSUL_PAST_AT_ONCE_BYTES {
                let pasts = std::mem::take(&mut write.pasts);
                if !has_left {
                    self.leave(pasts).await?;
                    has_left = true;
                    continue;
                }
            }
            match self.store.txn(write.whole()).await {
                Ok(done) => {
                    self.has_applied(done.index.0).await?;
                    return Ok((outcome, Some(done.index.0)));
                }
                Err(store::Error::Conflict { .. }) => newer(moves).await,
                Err(error) => return Err(refused(&error)),
            }
        }
        Err(Answer::failed("what is written keeps changing while it is tried: try again"))
    }

    /// Writes former versions, some at a time, before the change that makes them so.
    async fn leave(&self, pasts: Vec<(store::Key, bytes::Bytes)>) -> Result<(), Answer> {
        let mut pasts = pasts.into_iter().peekable();
        while pasts.peek().is_some() {
            let (mut txn, mut bytes) = (Txn::default(), 0);
            while txn.ops.len() < CONSUL_FORGOTTEN_AT_ONCE && bytes < CONSUL_PAST_AT_ONCE_BYTES {
                let Some(past) = pasts.next() else { break };
                bytes += past.0.len() + past.1.len();
                txn.ops.push(put_past(past));
            }
            let done = self.store.txn(txn).await.map_err(|error| refused(&error))?;
            self.has_applied(done.index.0).await?;
        }
        Ok(())
    }

    /// Waits until the map has everything up to `index`.
    async fn has_applied(&self, index: u64) -> Result<(), Answer> {
        let mut applied = self.moves();
        let wait = tokio::time::timeout(ECHO, applied.wait_for(|at| *at >= index)).await;
        if wait.is_ok() {
            return Ok(());
        }
        tracing::error!(index, "own write has not come back from the store");
        Err(Answer::failed("the write is stored and cannot be read yet"))
    }

    /// Forgets some keys that were deleted before `at`, or are more than are remembered, and with
    /// what they leave of `CONSUL_FORGOTTEN_AT_ONCE` some former versions that are more than are
    /// kept, then lock-delays that are over. Gives whether there may be more to forget.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn forget(&self, at: i64) -> Result<bool, store::Error> {
        let (mut txn, max) = (Txn::default(), CONSUL_FORGOTTEN_AT_ONCE);
        // Former versions that are put here are not taken away in the same transaction.
        let mut said = BTreeSet::new();
        {
            let map = self.map();
            for (key, gone) in map.gone_before(at, CONSUL_TOMBSTONES_MAX, max) {
                let (name, version) = (kv_key(key), map.version(key));
                txn.compares.push(store::Compare::Modified(name.clone(), Index(gone.index)));
                txn.ops.push(Op::Delete(name));
                // Its history goes on to say that it was deleted.
                if !map.pasts().of(key).is_empty() {
                    let origin = Origin { version, ..gone.origin.clone() };
                    let past = Past { origin, flags: 0, value: None };
                    said.insert(past_key(key, version));
                    txn.ops.push(put_past((past_key(key, version), encode_past(&past))));
                }
            }
            // Deletes that never cease do not keep the others from being forgotten.
            let left = max.saturating_sub(txn.ops.len());
            let old = map.pasts().too_old((CONSUL_PAST_MAX, CONSUL_PAST_BYTES_MAX), left);
            let old = old.iter().map(|(key, version)| past_key(key, *version));
            txn.ops.extend(old.filter(|name| !said.contains(name)).map(Op::Delete));
            let (now, left) = (self.now(), max.saturating_sub(txn.ops.len()));
            let over = map.delays().filter(|(_, delay)| delay.until <= now).take(left);
            txn.ops.extend(over.map(|(id, _)| Op::Delete(delay_key(id))));
        }
        if txn.ops.is_empty() {
            return Ok(false);
        }
        let is_full = txn.ops.len() >= max;
        let moves = self.moves();
        match self.store.txn(txn).await {
            Ok(done) => {
                // What is not seen to be gone is not tried again at once.
                Ok(self.has_applied(done.index.0).await.is_ok() && is_full)
            }
            // One of them was written again: the next look leaves it out.
            Err(store::Error::Conflict { .. }) => {
                newer(moves).await;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Follows the store for ever.
    pub(crate) async fn follow(&self) {
        loop {
            let after = Index(*self.shared.applied.borrow());
            match self.store.watch(Keys::prefix(PREFIX), after, self.shared.epoch).await {
                Ok(watch) => match self.take(watch).await {
                    WatchEnd::Compacted { .. } | WatchEnd::Lagged { .. } => self.reload().await,
                    end => tracing::error!(?end, "watch of keys ended"),
                },
                Err(error) => tracing::error!(%error, "watch of keys failed"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn take(&self, mut watch: store::Watch) -> WatchEnd {
        loop {
            let first = match watch.next().await {
                Ok(event) => event,
                Err(end) => return end,
            };
            let mut events = vec![first];
            let mut end = None;
            // What was committed together is applied and told together.
            while events.len() < CONSUL_APPLIED_AT_ONCE {
                match watch.next().now_or_never() {
                    Some(Ok(event)) => events.push(event),
                    Some(Err(ended)) => {
                        end = Some(ended);
                        break;
                    }
                    None => break,
                }
            }
            self.apply(&events);
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn apply(&self, events: &[WatchEvent]) {
        let mut topics = Vec::new();
        let mut map = self.map_mut();
        for event in events {
            for op in event.ops.iter() {
                let value = op.next.as_ref().map(|kv| &kv.value);
                topics.extend(map.apply(&op.key, value, event.index.0));
            }
        }
        drop(map);
        if let Some(last) = events.last() {
            self.shared.applied.send_replace(last.index.0);
        }
        self.shared.waiters.wake(&topics);
    }

    /// The watch was late: all of it is read again.
    async fn reload(&self) {
        match load(&self.store).await {
            Ok((map, index)) => {
                tracing::warn!(index, "watch of keys was late, all of them loaded anew");
                *self.map_mut() = map;
                self.shared.applied.send_replace(index);
                self.shared.waiters.wake_all();
            }
            Err(error) => tracing::error!(%error, "keys cannot be loaded"),
        }
    }
}

/// Until the map has moved: what was conflicted with is newer than it was.
async fn newer(mut moves: watch::Receiver<u64>) {
    tokio::time::timeout(NEWER, moves.changed()).await.ok();
}

async fn load<S: Store>(store: &S) -> Result<(Map, u64), store::Error> {
    'again: loop {
        let keys = Keys::prefix(PREFIX);
        let mut page = store.range(keys.clone(), Read::Latest).await?;
        let index = page.index;
        let mut map = Map::default();
        loop {
            for kv in &page.kvs {
                map.apply(&kv.key, Some(&kv.value), kv.modified.0);
            }
            let Some(next) = page.next.take() else { break };
            page = match store.range(keys.starting_at(&next), Read::At(index)).await {
                Ok(page) => page,
                // Compacted between two pages: from the start again.
                Err(store::Error::Compacted { .. }) => continue 'again,
                Err(error) => return Err(error),
            };
        }
        map.loaded(index.0);
        return Ok((map, index.0));
    }
}

/// What a client hears of a store that does not take its write.
pub(crate) fn refused(error: &store::Error) -> Answer {
    tracing::warn!(%error, "a write of a client was not stored");
    Answer::failed(format!("the store cannot take it: {error}"))
}
