//! `Store`: durable, ordered state with etcd's data model, and its drivers `Sqlite` and `Memory`.
//!
//! One index counts every change. A transaction compares, then writes, all or nothing; a watch
//! delivers transactions whole and in order and says explicitly when it cannot go on. Nothing
//! that was acknowledged is ever lost in silence, and an empty store is made only where there
//! never was one.

pub mod codec;
mod error;
mod keys;
mod lease;
mod memory;
mod page;
mod sqlite;
mod status;
mod txn;
mod watch;

pub use error::{Error, Kind, Result};
pub use keys::{Key, Keys};
pub use lease::LeaseId;
pub use memory::{Fault, Gate, Memory};
pub use page::{Kv, Page, Read};
pub use sqlite::{Restored, Sqlite, restore};
pub use status::{BackupMeta, Epoch, Status};
pub use txn::{Compare, Op, Txn, TxnOutcome};
pub use watch::{Watch, WatchEnd, WatchEvent, WatchOp};

use model::time::Index;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

/// How far the index jumps when a store is restored, so that no client sees time go back.
pub const RESTORE_INDEX_JUMP: u64 = 1_000_000_000;

/// Durable, ordered state. A handle is cheap to clone; all clones are one store.
pub trait Store: Clone + Send + Sync + 'static {
    /// Where the store is now.
    fn status(&self) -> impl Future<Output = Status> + Send;

    /// The pairs of `keys` in key order, at one index. A page is bounded by
    /// `limits::STORE_PAGE_BYTES_MAX`: `Page::next` says where the rest begins, to be read with
    /// `Read::At(page.index)`. A read that starts after a `txn` was acknowledged sees it.
    ///
    /// # Errors
    /// `Compacted` or `Future` for an index that is not there, `Read` and `Corrupt` of the disk.
    fn range(&self, keys: Keys, read: Read) -> impl Future<Output = Result<Page>> + Send;

    /// All compares, then all operations, at one new index; durable when it returns. Without any
    /// effect (only deletes of absent keys) there is no new index. Dropping the future does not
    /// take the transaction back.
    ///
    /// # Errors
    /// `Conflict` when a compare failed, and nothing was changed; `NoSpace` likewise;
    /// `Ambiguous` when it is not known whether it happened; limits and leases.
    fn txn(&self, txn: Txn) -> impl Future<Output = Result<TxnOutcome>> + Send;

    /// Every transaction after `after` that touches `keys`, in order and whole. `epoch` is the
    /// one under which `after` was read. Whatever ends the watch comes out of `Watch::next`.
    ///
    /// # Errors
    /// `Closed`, and `TooManyWatches` beyond `limits::WATCHES_MAX`.
    fn watch(
        &self,
        keys: Keys,
        after: Index,
        epoch: Epoch,
    ) -> impl Future<Output = Result<Watch>> + Send;

    /// A lease that ends `ttl` from now unless it is kept alive.
    ///
    /// # Errors
    /// `LeaseTtl` and `TooManyLeases` for the limits, and as for `txn`.
    fn lease_grant(&self, ttl: Duration) -> impl Future<Output = Result<LeaseId>> + Send;

    /// Starts the lease's time again; gives what is left, which is the whole time to live.
    ///
    /// # Errors
    /// `LeaseGone` when it has ended.
    fn lease_keepalive(&self, id: LeaseId) -> impl Future<Output = Result<Duration>> + Send;

    /// Ends a lease now: its keys go in one transaction.
    ///
    /// # Errors
    /// `LeaseGone` when it has ended, and as for `txn`.
    fn lease_revoke(&self, id: LeaseId) -> impl Future<Output = Result<()>> + Send;

    /// Forgets the history before `keep_from`, the oldest index that can then still be read with
    /// `Read::At` or watched after. Returns when the room is free. An index that is already
    /// forgotten changes nothing.
    ///
    /// # Errors
    /// `Future` for an index that is not there yet, and as for `txn`.
    fn compact(&self, keep_from: Index) -> impl Future<Output = Result<()>> + Send;

    /// Writes a whole, checked copy to a new file of mode 0600, while reads and writes go on.
    /// Both drivers write the same format, which `restore` takes.
    ///
    /// # Errors
    /// `Exists` when there is a file, `Backup` and `NoSpace` when it cannot be written.
    fn backup(&self, path: &Path) -> impl Future<Output = Result<BackupMeta>> + Send;
}
