//! The checks that clients of the catalog ask for: a thread of its own that asks, one task a check,
//! and tells what it found. When a status changes is decided in `verdict`, which knows no clock.

mod ask;
mod grpc;
mod resolve;
mod tls;
mod verdict;

#[cfg(test)]
mod tests;

use crate::dns::Listening;
use crate::error::Error;
use model::limits::{CHECKS_PARALLEL_MAX, DATAPLANE_QUEUE_MAX};
use model::registration::{CheckSeen, CheckWish};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use verdict::Machine;

/// What is asked, by the id of the check.
pub(crate) type Wishes = BTreeMap<String, Arc<CheckWish>>;

/// What was found, by the id of the check.
pub(crate) type Found = BTreeMap<String, CheckSeen>;

/// Something new that was found.
pub(crate) type News = (String, CheckSeen);

/// The running checker. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Checker {
    wishes: Option<watch::Sender<Arc<Wishes>>>,
    thread: Option<JoinHandle<()>>,
}

impl Checker {
    /// Starts without checks. What is in `known` of the same run is where a check goes on from.
    /// Names are asked of `names`, our own DNS.
    pub(crate) fn start(
        known: Found,
        names: watch::Receiver<Listening>,
    ) -> Result<(Self, mpsc::Receiver<News>), Error> {
        let failed = |source| Error::Thread { name: "checks".into(), source };
        let (sender, news) = mpsc::channel(DATAPLANE_QUEUE_MAX);
        let (wishes, changes) = watch::channel(Arc::default());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let thread = std::thread::Builder::new().name("checks".into()).spawn(move || {
            let permits = Arc::new(Semaphore::new(CHECKS_PARALLEL_MAX));
            let began = Instant::now();
            let asker = Asker { permits, names, sender, began };
            let rounds = Rounds { asker, known, running: BTreeMap::new(), tasks: JoinSet::new() };
            runtime.block_on(rounds.run(changes));
        });
        let thread = thread.map_err(failed)?;
        Ok((Self { wishes: Some(wishes), thread: Some(thread) }, news))
    }

    /// Carries these out from now on; one that is unchanged keeps its turn.
    pub(crate) fn set(&self, wishes: &Wishes) {
        if let Some(sender) = &self.wishes {
            sender.send_if_modified(|current| {
                let changed = **current != *wishes;
                if changed {
                    *current = Arc::new(wishes.clone());
                }
                changed
            });
        }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.wishes = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("check thread panicked");
        }
    }
}

/// Who asks now.
struct Rounds {
    asker: Asker,
    known: Found,
    running: BTreeMap<String, (Arc<CheckWish>, AbortHandle)>,
    tasks: JoinSet<()>,
}

impl Rounds {
    async fn run(mut self, mut changes: watch::Receiver<Arc<Wishes>>) {
        loop {
            tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(()) => {
                        let wishes = changes.borrow_and_update().clone();
                        self.take(&wishes);
                    }
                    Err(_checker_dropped) => return,
                },
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended
                        && error.is_panic()
                    {
                        tracing::error!(%error, "check failed to run");
                    }
                }
            }
        }
    }

    fn take(&mut self, wishes: &Wishes) {
        self.running.retain(|id, (wish, task)| {
            let stays = wishes.get(id) == Some(wish);
            if !stays {
                task.abort();
            }
            stays
        });
        for (id, wish) in wishes {
            if self.running.contains_key(id) {
                continue;
            }
            let known = self.known.remove(id).filter(|known| known.run == wish.run);
            let task = self.asker.clone().ask_for_ever(id.clone(), wish.clone(), known);
            let handle = self.tasks.spawn(task);
            self.running.insert(id.clone(), (wish.clone(), handle));
        }
        self.known.clear();
    }
}

/// What every check needs.
#[derive(Clone)]
struct Asker {
    permits: Arc<Semaphore>,
    names: watch::Receiver<Listening>,
    sender: mpsc::Sender<News>,
    began: Instant,
}

impl Asker {
    async fn ask_for_ever(self, id: String, wish: Arc<CheckWish>, known: Option<CheckSeen>) {
        let interval = Duration::from_millis(wish.plan.interval_ms.max(1));
        // After our own start not all of them are asked at the same time.
        let chance = f64::from(rand::random::<u16>()) / f64::from(u16::MAX);
        let delay = if known.is_some() { interval.mul_f64(chance) } else { Duration::ZERO };
        let mut next = Instant::now() + delay;
        let mut machine = Machine::new(&wish, known);
        loop {
            tokio::time::sleep_until(next).await;
            let Ok(permit) = self.permits.acquire().await else { return };
            let (status, output) = ask::ask(&wish.plan, &self.names).await;
            drop(permit);
            let elapsed = self.began.elapsed().as_millis();
            let now_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
            if let Some(seen) = machine.observe(status, output, now_ms)
                && self.sender.send((id.clone(), seen)).await.is_err()
            {
                return;
            }
            next = (next + interval).max(Instant::now());
        }
    }
}
