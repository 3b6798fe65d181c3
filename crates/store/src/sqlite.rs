//! The embedded driver: one SQLite file in a folder of its own, written by one thread in groups,
//! each flushed before it is acknowledged, and read beside it.

mod copy;
mod failure;
mod files;
mod folder;
mod group;
mod leases;
mod marker;
mod reader;
mod restore;
mod rows;
mod schema;
mod start;
mod sweep;
mod writer;

pub(crate) use copy::dump;
pub use restore::{Restored, restore};
pub(crate) use schema::SCHEMA;

use crate::Store;
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::lease::LeaseId;
use crate::page::{Page, Read};
use crate::status::{BackupMeta, Epoch, Status};
use crate::txn::{Txn, TxnOutcome};
use crate::watch::{Backlog, Step, Watch, WatchEnd};
use model::limits::{STORE_QUEUE_BYTES_MAX, STORE_QUEUE_MAX};
use model::time::Index;
use reader::Readers;
use rows::LogGap;
use schema::Migration;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use writer::{Begin, Job, Queued, Reply, Writer};

/// Room that the smallest job takes in the writer's queue, in bytes: it bounds their number.
const JOB_BYTES_MIN: usize = STORE_QUEUE_BYTES_MAX / STORE_QUEUE_MAX;

/// A store in a folder. A clone is the same store; the last one dropped closes it, which moves
/// the write-ahead log into the database and takes a moment.
#[derive(Clone, Debug)]
pub struct Sqlite {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    readers: Readers,
    queue: Option<SyncSender<Queued>>,
    /// Bytes of room in the queue.
    room: Arc<Semaphore>,
    /// One backup at a time: it takes a reader for as long as it lasts.
    backups: Semaphore,
    writer: Option<JoinHandle<()>>,
}

/// What the writer tells everybody without being asked.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    epoch: Epoch,
    index: AtomicU64,
    compacted: AtomicU64,
}

impl Shared {
    fn compacted(&self) -> Index {
        Index(self.compacted.load(Ordering::Acquire))
    }
}

impl Sqlite {
    /// Opens the store in the folder `dir`, which is made (0700) with an empty store when there
    /// was never one in it. Checks that the database is whole.
    ///
    /// # Errors
    /// `Locked` when another process has it open; `Corrupt`, `Missing`, `Behind`, `OtherEpoch`,
    /// `Foreign` or `NewerSchema` when it is not what was here before; `File` and `NoSpace`.
    pub async fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        Self::open_with(dir.into(), schema::MIGRATIONS).await
    }

    async fn open_with(dir: PathBuf, migrations: &'static [Migration]) -> Result<Self> {
        // One more place than permits: closing needs none.
        let (queue, jobs) = sync_channel::<Queued>(STORE_QUEUE_MAX + 1);
        let (reply, opened) = oneshot::channel();
        let name = "store-writer";
        let thread = std::thread::Builder::new().name(name.to_owned());
        let writer = thread.spawn(move || {
            let opened = start::start(&dir, migrations).and_then(|started| {
                let shared = Arc::new(Shared {
                    path: started.path.clone(),
                    epoch: started.meta.epoch,
                    index: AtomicU64::new(started.meta.index.0),
                    compacted: AtomicU64::new(started.meta.compacted.0),
                });
                let readers = Readers::start(&started.path)?;
                Ok((Writer::new(started, Arc::clone(&shared)), shared, readers))
            });
            match opened {
                Ok((writer, shared, readers)) => {
                    drop(reply.send(Ok((shared, readers))));
                    writer.run(&jobs);
                }
                Err(error) => drop(reply.send(Err(error))),
            }
        });
        let writer = writer.map_err(|e| Error::Thread { name, source: Arc::new(e) })?;
        let (shared, readers) = opened.await.map_err(|_writer_gone| Error::Closed)??;
        let room = Arc::new(Semaphore::new(STORE_QUEUE_BYTES_MAX));
        let (queue, writer, backups) = (Some(queue), Some(writer), Semaphore::new(1));
        Ok(Self { inner: Arc::new(Inner { shared, readers, queue, room, backups, writer }) })
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.shared.path
    }

    /// Takes no more work on any handle, finishes what is queued, closes the database and lets
    /// go of the folder.
    pub async fn close(self) {
        self.inner.room.close();
        self.inner.backups.close();
        self.inner.readers.close();
        let (reply, done) = oneshot::channel();
        if let Some(queue) = &self.inner.queue
            && queue.try_send((Job::Close { reply }, None)).is_ok()
        {
            // An error means that the writer has already ended.
            drop(done.await);
        }
    }

    async fn ask<T>(&self, bytes: usize, job: impl FnOnce(Reply<T>) -> Job) -> Result<T> {
        let bytes = u32::try_from(bytes.max(JOB_BYTES_MIN)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.inner.room).acquire_many_owned(bytes).await;
        let room = room.map_err(|_closed| Error::Closed)?;
        let (reply, answer) = oneshot::channel();
        let queue = self.inner.queue.as_ref().ok_or(Error::Closed)?;
        // There is a place for whoever has room.
        queue.try_send((job(reply), Some(room))).map_err(|_writer_gone| Error::Closed)?;
        answer.await.map_err(|_writer_gone| Error::Closed)?
    }
}

impl Store for Sqlite {
    async fn status(&self) -> Status {
        let shared = &self.inner.shared;
        let size = |path: &Path| path.metadata().map_or(0, |file| file.len());
        Status {
            epoch: shared.epoch,
            index: Index(shared.index.load(Ordering::Acquire)),
            compacted: shared.compacted(),
            driver: "sqlite",
            schema: SCHEMA,
            bytes: size(&shared.path) + size(&shared.path.with_extension("db-wal")),
        }
    }

    async fn range(&self, keys: Keys, read: Read) -> Result<Page> {
        let path = self.inner.shared.path.clone();
        self.inner.readers.read(move |conn| rows::range(conn, &path, &keys, read)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        txn.check()?;
        self.ask(txn.bytes(), |reply| Job::Txn { txn, reply }).await
    }

    async fn watch(&self, keys: Keys, after: Index, epoch: Epoch) -> Result<Watch> {
        let watched = keys.clone();
        let begin = self.ask(0, |reply| Job::Watch { keys, after, epoch, reply }).await?;
        Ok(match begin {
            Begin::Ended(end) => Watch::ended(after, end),
            Begin::Live(live, now) => {
                let inner = Arc::downgrade(&self.inner);
                let backlog = (after < now).then(|| backlog(inner, watched, now));
                Watch::new(after, backlog, live)
            }
        })
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId> {
        self.ask(0, |reply| Job::Grant { ttl, reply }).await
    }

    async fn lease_keepalive(&self, id: LeaseId) -> Result<Duration> {
        self.ask(0, |reply| Job::Keepalive { id, reply }).await
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<()> {
        self.ask(0, |reply| Job::Revoke { id, reply }).await
    }

    async fn compact(&self, keep_from: Index) -> Result<()> {
        self.ask(0, |reply| Job::Compact { keep_from, reply }).await
    }

    async fn backup(&self, path: &Path) -> Result<BackupMeta> {
        let path = path.to_owned();
        let alone = self.inner.backups.acquire().await;
        let _alone = alone.map_err(|_closed| Error::Closed)?;
        self.inner.readers.read(move |conn| copy::vacuum_into(conn, &path)).await
    }
}

/// Holds the store only while it reads, so that a watch does not keep it open.
fn backlog(inner: Weak<Inner>, keys: Keys, until: Index) -> Backlog {
    let read = move |after: Index| {
        let (inner, keys) = (inner.upgrade(), keys.clone());
        Box::pin(async move {
            let inner = inner.ok_or(WatchEnd::Closed)?;
            let path = inner.shared.path.clone();
            let task = move |conn: &mut rusqlite::Connection| {
                Ok(rows::log_after(conn, &path, &keys, after, until))
            };
            let failed = |source| WatchEnd::Failed { after, source };
            match inner.readers.read(task).await {
                Ok(Ok(chunk)) => Ok(chunk),
                Ok(Err(LogGap::Compacted(compacted))) => {
                    Err(WatchEnd::Compacted { after, compacted })
                }
                Ok(Err(LogGap::Failed(error))) => Err(failed(error)),
                Err(Error::Closed) => Err(WatchEnd::Closed),
                Err(error) => Err(failed(error)),
            }
        }) as Step
    };
    Backlog { until, read: Box::new(read) }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The readers first: the writer's last act is to move the log, which they must not use.
        self.readers.end();
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("store writer panicked");
        }
    }
}
