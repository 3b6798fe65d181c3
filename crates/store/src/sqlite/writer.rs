//! The one writer: a thread that owns the database, the leases and the watchers. It takes what is
//! queued, commits it as one group, tells the watchers, and only then the callers.

use super::files::Files;
use super::folder::Folder;
use super::group::{Group, refuses};
use super::leases::Leases;
use super::marker::Marker;
use super::start::Started;
use super::sweep::Sweep;
use super::{Shared, failure};
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::lease::{LeaseId, admit};
use crate::status::Epoch;
use crate::txn::{Txn, TxnOutcome};
use crate::watch::{Hub, HubFull, Live, WatchEnd, WatchEvent};
use model::limits::{STORE_COMMIT_BATCH_MAX, WATCHES_MAX};
use model::time::Index;
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Wait before a lease that could not be ended is tried again.
const LEASE_RETRY: Duration = Duration::from_secs(1);

pub(super) type Reply<T> = oneshot::Sender<Result<T>>;

/// What the writer is asked to do.
pub(super) enum Job {
    Txn { txn: Txn, reply: Reply<TxnOutcome> },
    Grant { ttl: Duration, reply: Reply<LeaseId> },
    Revoke { id: LeaseId, reply: Reply<()> },
    Keepalive { id: LeaseId, reply: Reply<Duration> },
    Watch { keys: Keys, after: Index, epoch: Epoch, reply: Reply<Begin> },
    Compact { keep_from: Index, reply: Reply<()> },
    Close { reply: Reply<()> },
}

/// How a watch begins.
pub(super) enum Begin {
    /// It is over.
    Ended(WatchEnd),
    /// It is live behind this index.
    Live(Live, Index),
}

/// A job, and its room in the queue until it is done.
pub(super) type Queued = (Job, Option<OwnedSemaphorePermit>);

/// An answer that waits for the commit.
enum Answer {
    Txn(Reply<TxnOutcome>, Result<TxnOutcome>),
    Grant(Reply<LeaseId>, Result<(LeaseId, u64)>),
    Revoke(Reply<()>, Result<LeaseId>),
    Expired(LeaseId),
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    conn: Connection,
    index: Index,
    last_lease: u64,
    leases: Leases,
    hub: Hub,
    marker: Marker,
    files: Files,
    sweep: Sweep,
    /// Keeps other processes out for as long as the database is open.
    _folder: Folder,
}

impl Writer {
    pub(super) fn new(started: Started, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let mut leases = Leases::default();
        for (id, ttl_ms) in started.leases {
            leases.start(id, ttl_ms, now);
        }
        Self {
            files: Files::new(&started.path),
            // Rows that an earlier compaction had no time to take away.
            sweep: Sweep::begun(started.meta.compacted),
            shared,
            conn: started.conn,
            index: started.meta.index,
            last_lease: started.meta.last_lease,
            leases,
            hub: Hub::default(),
            marker: started.marker,
            _folder: started.folder,
        }
    }

    /// Works until it is told to close or nobody can ask any more.
    pub(super) fn run(mut self, queue: &Receiver<Queued>) {
        let mut closing = None;
        while closing.is_none() {
            let first = match self.wait(queue) {
                Ok(first) => first,
                Err(Gone) => break,
            };
            let more = queue.try_iter().take(STORE_COMMIT_BATCH_MAX - 1);
            let jobs: Vec<Queued> = first.into_iter().chain(more).collect();
            closing = self.turn(jobs);
            self.sweep.step(&mut self.conn, &self.shared.path);
        }
        self.hub.end_all(&WatchEnd::Closed);
        self.finish();
        if let Some(reply) = closing {
            drop(reply.send(Ok(())));
        }
    }

    /// The next job; none when a lease ends first or there is sweeping to do.
    fn wait(&self, queue: &Receiver<Queued>) -> Result<Option<Queued>, Gone> {
        if self.sweep.is_due() {
            return match queue.try_recv() {
                Ok(job) => Ok(Some(job)),
                Err(TryRecvError::Empty) => Ok(None),
                Err(TryRecvError::Disconnected) => Err(Gone),
            };
        }
        let Some(end) = self.leases.next_end() else {
            return queue.recv().map(Some).map_err(|_all_handles_dropped| Gone);
        };
        match queue.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(job) => Ok(Some(job)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }

    /// All that was queued: first the leases that live on, then the writes as one group, then
    /// what must see their result.
    fn turn(&mut self, jobs: Vec<Queued>) -> Option<Reply<()>> {
        let now = Instant::now();
        let (mut writes, mut after, mut closing) = (Vec::new(), Vec::new(), None);
        // The room is given back when this turn is over.
        let mut rooms = Vec::with_capacity(jobs.len());
        for (job, room) in jobs {
            rooms.push(room);
            match job {
                Job::Keepalive { id, reply } => drop(reply.send(self.leases.keepalive(id, now))),
                Job::Txn { .. } | Job::Grant { .. } | Job::Revoke { .. } => writes.push(job),
                Job::Watch { .. } | Job::Compact { .. } => after.push(job),
                Job::Close { reply } => closing = Some(reply),
            }
        }
        let over = self.leases.over(now);
        if !writes.is_empty() || !over.is_empty() {
            self.commit(writes, &over);
        }
        for job in after {
            match job {
                Job::Watch { keys, after, epoch, reply } => {
                    drop(reply.send(self.watch(keys, after, epoch)));
                }
                Job::Compact { keep_from, reply } => self.compact(keep_from, reply),
                _ => {}
            }
        }
        closing
    }

    /// One group commit.
    fn commit(&mut self, writes: Vec<Job>, over: &[LeaseId]) {
        let mut answers = Vec::with_capacity(writes.len() + over.len());
        let mut writes = writes.into_iter();
        let result = self.files.check(&self.conn).and_then(|()| {
            let mut leases = self.leases.len();
            let mut group = Group::begin(&mut self.conn, &self.shared.path, self.index)?;
            for id in over {
                match group.end_lease(*id) {
                    Ok(()) | Err(Error::LeaseGone { .. }) => answers.push(Answer::Expired(*id)),
                    Err(error) => return Err(error),
                }
            }
            let mut last_lease = self.last_lease;
            for job in writes.by_ref() {
                let (answer, fatal) = ask(&mut group, job, &mut leases, &mut last_lease);
                answers.extend(answer);
                fatal.map_or(Ok(()), Err)?;
            }
            group.commit().map(|events| (events, last_lease))
        });
        match result {
            Ok((events, last_lease)) => {
                self.last_lease = last_lease;
                self.committed(&events);
                self.answer(answers);
            }
            Err(error) => {
                tracing::error!(%error, "store could not commit");
                self.leases.postpone(over, Instant::now() + LEASE_RETRY);
                answers.into_iter().for_each(|answer| fail(answer, &error));
                writes.for_each(|job| fail_job(job, &error));
            }
        }
    }

    /// It is durable: remember, publish.
    fn committed(&mut self, events: &[WatchEvent]) {
        let Some(last) = events.last() else { return };
        self.index = last.index;
        self.marker.advance(last.index);
        self.shared.index.store(last.index.0, Ordering::Release);
        for event in events {
            self.hub.publish(event);
        }
    }

    fn answer(&mut self, answers: Vec<Answer>) {
        let now = Instant::now();
        for answer in answers {
            match answer {
                Answer::Txn(reply, result) => drop(reply.send(result)),
                Answer::Grant(reply, result) => {
                    if let Ok((id, ttl_ms)) = result {
                        self.leases.start(id, ttl_ms, now);
                    }
                    drop(reply.send(result.map(|(id, _)| id)));
                }
                Answer::Revoke(reply, result) => {
                    if let Ok(id) = result {
                        self.leases.end(id);
                    }
                    drop(reply.send(result.map(drop)));
                }
                Answer::Expired(id) => self.leases.end(id),
            }
        }
    }

    fn watch(&mut self, keys: Keys, after: Index, epoch: Epoch) -> Result<Begin> {
        // An index that this history does not have belongs to another one.
        if epoch != self.shared.epoch || after > self.index {
            return Ok(Begin::Ended(WatchEnd::EpochChanged { epoch: self.shared.epoch }));
        }
        let compacted = self.shared.compacted();
        if after < compacted {
            return Ok(Begin::Ended(WatchEnd::Compacted { after, compacted }));
        }
        let full = |HubFull| Error::TooManyWatches { max: WATCHES_MAX };
        self.hub.add(keys).map(|live| Begin::Live(live, self.index)).map_err(full)
    }

    fn compact(&mut self, keep_from: Index, reply: Reply<()>) {
        if keep_from > self.index {
            let refused = Error::Future { asked: keep_from, index: self.index };
            drop(reply.send(Err(refused)));
            return;
        }
        if keep_from > self.shared.compacted() {
            let rev = super::schema::int(keep_from.0);
            let update = self.conn.execute("UPDATE meta SET compacted = ?1", [rev]);
            if let Err(error) = update {
                drop(reply.send(Err(failure::of_write(&self.shared.path, error))));
                return;
            }
            self.shared.compacted.store(keep_from.0, Ordering::Release);
        }
        self.sweep.add(self.shared.compacted(), reply);
    }

    /// Moves the write-ahead log into the database. A failure costs nothing: the next start does
    /// the same.
    fn finish(mut self) {
        self.sweep.abandon();
        self.marker.sync();
        let moved = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = moved {
            tracing::warn!(path = %self.shared.path.display(), %error, "store log kept at close");
        }
        if let Err((_, error)) = self.conn.close() {
            tracing::warn!(path = %self.shared.path.display(), %error, "store closed with trouble");
        }
    }
}

/// Nobody can ask any more.
struct Gone;

/// Does one job in the group. The answer waits for the commit, unless the group is lost.
fn ask(
    group: &mut Group<'_>,
    job: Job,
    leases: &mut usize,
    last_lease: &mut u64,
) -> (Option<Answer>, Option<Error>) {
    fn fatal<T>(result: &Result<T>) -> Option<Error> {
        result.as_ref().err().filter(|error| !refuses(error)).cloned()
    }
    match job {
        Job::Txn { txn, reply } => {
            let result = group.txn(&txn);
            let fatal = fatal(&result);
            (Some(Answer::Txn(reply, result)), fatal)
        }
        Job::Grant { ttl, reply } => {
            let result = admit(ttl, *leases).and_then(|ttl_ms| {
                let id = LeaseId(*last_lease + 1);
                group.grant(id, ttl_ms)?;
                *last_lease = id.0;
                *leases += 1;
                Ok((id, ttl_ms))
            });
            let fatal = fatal(&result);
            (Some(Answer::Grant(reply, result)), fatal)
        }
        Job::Revoke { id, reply } => {
            let result = group.end_lease(id).map(|()| id);
            let fatal = fatal(&result);
            (Some(Answer::Revoke(reply, result)), fatal)
        }
        Job::Keepalive { .. } | Job::Watch { .. } | Job::Compact { .. } | Job::Close { .. } => {
            (None, None)
        }
    }
}

/// The group is lost: everybody in it hears why, also who had been refused for a reason of their
/// own, since that reason may rest on what the group had done before.
fn fail(answer: Answer, error: &Error) {
    match answer {
        Answer::Txn(reply, _) => drop(reply.send(Err(error.clone()))),
        Answer::Grant(reply, _) => drop(reply.send(Err(error.clone()))),
        Answer::Revoke(reply, _) => drop(reply.send(Err(error.clone()))),
        Answer::Expired(_) => {}
    }
}

fn fail_job(job: Job, error: &Error) {
    match job {
        Job::Txn { reply, .. } => drop(reply.send(Err(error.clone()))),
        Job::Grant { reply, .. } => drop(reply.send(Err(error.clone()))),
        Job::Revoke { reply, .. } => drop(reply.send(Err(error.clone()))),
        Job::Keepalive { .. } | Job::Watch { .. } | Job::Compact { .. } | Job::Close { .. } => {}
    }
}
