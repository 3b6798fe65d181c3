//! Readers: threads with a read-only connection each, beside the writer and never in its way.

use super::schema;
use crate::error::{Error, Result};
use model::limits::{STORE_READ_QUEUE_MAX, STORE_READERS};
use rusqlite::Connection;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

type Task = Box<dyn FnOnce(&mut Connection) + Send>;
type Queued = (Task, OwnedSemaphorePermit);

/// The readers of an open store. Dropping it ends them once they are done.
#[derive(Debug)]
pub(super) struct Readers {
    queue: Option<SyncSender<Queued>>,
    /// One permit for each place in the queue.
    room: Arc<Semaphore>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(super) fn start(path: &Path) -> Result<Self> {
        let (sender, queue) = sync_channel::<Queued>(STORE_READ_QUEUE_MAX);
        // Guards the end of the queue: whoever waits for the next task holds it.
        let queue = Arc::new(Mutex::new(queue));
        let room = Arc::new(Semaphore::new(STORE_READ_QUEUE_MAX));
        let mut readers = Self { queue: Some(sender), room, threads: Vec::new() };
        for _ in 0..STORE_READERS {
            let (conn, queue) = (schema::open_reader(path)?, Arc::clone(&queue));
            let name = "store-reader";
            let thread = std::thread::Builder::new().name(name.to_owned());
            let thread = thread.spawn(move || read(conn, &queue));
            let failed = |e| Error::Thread { name, source: Arc::new(e) };
            readers.threads.push(thread.map_err(failed)?);
        }
        Ok(readers)
    }

    /// Does `task` on a reader's connection.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.map_err(|_closed| Error::Closed)?;
        let (reply, answer) = oneshot::channel();
        let task: Task = Box::new(move |conn| drop(reply.send(task(conn))));
        let queue = self.queue.as_ref().ok_or(Error::Closed)?;
        // There is a place for whoever has a permit.
        queue.try_send((task, room)).map_err(|_readers_gone| Error::Closed)?;
        answer.await.map_err(|_reader_gone| Error::Closed)?
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        self.room.close();
    }

    /// Does what is queued and ends.
    pub(super) fn end(&mut self) {
        self.close();
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("store reader panicked");
            }
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.end();
    }
}
fn read(mut conn: Connection, queue: &Mutex<Receiver<Queued>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((task, room)) = next else { return };
        task(&mut conn);
        drop(room);
    }
}
