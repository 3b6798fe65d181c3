//! The in-memory driver, for tests and simulation. It starts no thread or task and reads no
//! clock: its time moves only by `advance`. What it does is a function of the calls made to it.

mod state;

use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::lease::LeaseId;
use crate::page::{Page, Read};
use crate::sqlite;
use crate::status::{BackupMeta, Epoch, Status};
use crate::txn::{Txn, TxnOutcome};
use crate::watch::{Backlog, Watch, WatchEnd};
use crate::{RESTORE_INDEX_JUMP, Store};
use model::time::Index;
use state::State;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// State in memory. A clone is the same store; the last one dropped closes it.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Guards all of the state: every operation is one short critical section.
    state: Arc<Mutex<State>>,
    /// Transactions through this handle wait here.
    gate: Option<Arc<Gate>>,
}

/// Holds the transactions of one handle of a store, as a network would that is slow: when they go
/// on, the state may be another one. Tests wait for it; it reads no clock.
#[derive(Debug, Default)]
pub struct Gate {
    closed: AtomicBool,
    opened: Notify,
}

impl Gate {
    /// Transactions wait from now on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// They go on, in the order in which they came.
    pub fn open(&self) {
        self.closed.store(false, Ordering::Relaxed);
        self.opened.notify_waiters();
    }

    async fn pass(&self) {
        loop {
            let opened = self.opened.notified();
            if !self.closed.load(Ordering::Relaxed) {
                return;
            }
            opened.await;
        }
    }
}

/// A failure to be had by the next transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It answers `NoSpace` and changes nothing.
    NoSpace,
    /// It answers `Ambiguous` and has happened.
    AmbiguousDone,
    /// It answers `Ambiguous` and has not happened.
    AmbiguousLost,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(Epoch::default())
    }
}

impl Memory {
    /// An empty store of this epoch at index 0 and time 0.
    #[must_use]
    pub fn new(epoch: Epoch) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(epoch))), gate: None }
    }

    /// A handle of the same store whose transactions wait while the gate is closed.
    #[must_use]
    pub fn behind(&self, gate: Arc<Gate>) -> Self {
        Self { state: Arc::clone(&self.state), gate: Some(gate) }
    }

    /// Lets time pass: leases that run out end, the earliest first, each at its own index.
    pub fn advance(&self, by: Duration) {
        lock(&self.state).advance(by);
    }

    /// The next transaction that would change something has this fault; several queue up.
    pub fn inject(&self, fault: Fault) {
        lock(&self.state).faults.push_back(fault);
    }

    /// What a restore does to everybody who watches: a new epoch, a jump of the index, no history.
    pub fn restored_as(&self, epoch: Epoch) {
        lock(&self.state).restored_as(epoch, RESTORE_INDEX_JUMP);
    }
}

/// A panic elsewhere cannot leave the state half changed: it is changed in one go.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for Memory {
    async fn status(&self) -> Status {
        lock(&self.state).status()
    }

    async fn range(&self, keys: Keys, read: Read) -> Result<Page> {
        lock(&self.state).range(&keys, read)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        txn.check()?;
        if let Some(gate) = &self.gate {
            gate.pass().await;
        }
        lock(&self.state).txn(&txn)
    }

    async fn watch(&self, keys: Keys, after: Index, epoch: Epoch) -> Result<Watch> {
        let mut state = lock(&self.state);
        // An index that this history does not have belongs to another one.
        if epoch != state.epoch || after > state.index {
            return Ok(Watch::ended(after, WatchEnd::EpochChanged { epoch: state.epoch }));
        }
        if after < state.compacted {
            let compacted = state.compacted;
            return Ok(Watch::ended(after, WatchEnd::Compacted { after, compacted }));
        }
        let live = state.watch(keys.clone())?;
        let backlog = (after < state.index)
            .then(|| backlog(Arc::downgrade(&self.state), keys, epoch, state.index));
        Ok(Watch::new(after, backlog, live))
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId> {
        lock(&self.state).lease_grant(ttl)
    }

    async fn lease_keepalive(&self, id: LeaseId) -> Result<Duration> {
        lock(&self.state).lease_keepalive(id)
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<()> {
        lock(&self.state).lease_revoke(id)
    }

    async fn compact(&self, keep_from: Index) -> Result<()> {
        lock(&self.state).compact(keep_from)
    }

    async fn backup(&self, path: &Path) -> Result<BackupMeta> {
        let (status, kvs, leases) = {
            let state = lock(&self.state);
            (state.status(), state.all(), state.leases())
        };
        sqlite::dump(path, status.epoch, status.index, &kvs, &leases)
    }
}

/// Holds the state only while it reads, so that a watch does not keep a store alive.
fn backlog(state: Weak<Mutex<State>>, keys: Keys, epoch: Epoch, until: Index) -> Backlog {
    let read = move |after: Index| {
        let chunk = match state.upgrade() {
            Some(state) => lock(&state).log_after(&keys, epoch, after, until),
            None => Err(WatchEnd::Closed),
        };
        Box::pin(std::future::ready(chunk)) as crate::watch::Step
    };
    Backlog { until, read: Box::new(read) }
}

/// What `AmbiguousDone` and `AmbiguousLost` answer.
fn ambiguous() -> Error {
    let failed = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
    let source = Arc::new(rusqlite::Error::SqliteFailure(failed, None));
    Error::Ambiguous { path: "memory".into(), source }
}

#[cfg(test)]
mod tests;
