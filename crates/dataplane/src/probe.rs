//! Health probes of this host's instances: a thread of its own that connects, asks, and tells
//! verdicts. When and how often is decided in `verdict`, which knows no clock.

mod ask;
mod target;
mod verdict;

#[cfg(test)]
mod tests;

pub(crate) use target::{Target, Targets, is_probed, targets};

use crate::error::Error;
use crate::protocol::{ProbeVerdict, Probes};
use model::id::InstanceId;
use model::limits::{DATAPLANE_QUEUE_MAX, PROBES_PARALLEL_MAX};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use verdict::Machine;

/// The running prober. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Prober {
    targets: Option<watch::Sender<Arc<Targets>>>,
    thread: Option<JoinHandle<()>>,
}

/// A verdict that is new or changed.
pub(crate) type Verdict = (InstanceId, ProbeVerdict);

impl Prober {
    /// Starts without targets. Verdicts in `known` of the same start are where it goes on from.
    pub(crate) fn start(known: Probes) -> Result<(Self, mpsc::Receiver<Verdict>), Error> {
        let failed = |source| Error::Thread { name: "probes".into(), source };
        let (sender, verdicts) = mpsc::channel(DATAPLANE_QUEUE_MAX);
        let (targets, changes) = watch::channel(Arc::default());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let thread = std::thread::Builder::new().name("probes".into()).spawn(move || {
            let schedule = Schedule { known, ..Schedule::default() };
            runtime.block_on(schedule.run(changes, sender));
        });
        let thread = thread.map_err(failed)?;
        Ok((Self { targets: Some(targets), thread: Some(thread) }, verdicts))
    }

    /// Probes these from now on; one that is unchanged keeps its verdict and its turn.
    pub(crate) fn set(&self, targets: Targets) {
        if let Some(sender) = &self.targets {
            sender.send_if_modified(|current| {
                let changed = **current != targets;
                if changed {
                    *current = Arc::new(targets);
                }
                changed
            });
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.targets = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("probe thread panicked");
        }
    }
}

/// When which target is next.
#[derive(Debug, Default)]
struct Schedule {
    known: Probes,
    slots: HashMap<InstanceId, Slot>,
    /// By time; an entry whose number is not its slot's is of the past.
    due: BinaryHeap<Reverse<(Instant, u64, InstanceId)>>,
    next_number: u64,
    under_way: JoinSet<(InstanceId, u64, Result<(), String>)>,
}

#[derive(Debug)]
struct Slot {
    target: Arc<Target>,
    machine: Machine,
    began: Instant,
    number: u64,
}

impl Schedule {
    async fn run(
        mut self,
        mut targets: watch::Receiver<Arc<Targets>>,
        verdicts: mpsc::Sender<Verdict>,
    ) {
        loop {
            let room = self.under_way.len() < PROBES_PARALLEL_MAX;
            let next = self.due.peek().map(|Reverse((at, ..))| *at);
            let next = next.filter(|_| room);
            tokio::select! {
                changed = targets.changed() => match changed {
                    Ok(()) => {
                        let new = targets.borrow_and_update().clone();
                        self.take(&new);
                    }
                    Err(_prober_dropped) => return,
                },
                Some(done) = self.under_way.join_next() => {
                    let (id, number, result) = match done {
                        Ok(done) => done,
                        Err(error) => {
                            tracing::error!(%error, "probe failed to run");
                            continue;
                        }
                    };
                    if let Some(verdict) = self.done(&id, number, result)
                        && verdicts.send((id, verdict)).await.is_err()
                    {
                        return;
                    }
                }
                () = until(next), if next.is_some() => self.start_due(Instant::now()),
            }
        }
    }

    fn take(&mut self, targets: &Targets) {
        self.slots.retain(|id, _| targets.contains_key(id));
        for (id, target) in targets {
            if self.slots.get(id).is_some_and(|slot| slot.target == *target) {
                continue;
            }
            let machine = Machine::new(target, self.known.remove(id).as_ref());
            let slot = Slot { target: target.clone(), machine, began: Instant::now(), number: 0 };
            let delay = slot.machine.first_delay(rand::random());
            self.slots.insert(id.clone(), slot);
            self.schedule(id, delay);
        }
        self.known.retain(|id, _| targets.contains_key(id));
    }

    fn schedule(&mut self, id: &InstanceId, delay: Duration) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        self.next_number += 1;
        slot.number = self.next_number;
        self.due.push(Reverse((Instant::now() + delay, slot.number, id.clone())));
    }

    fn start_due(&mut self, now: Instant) {
        while self.under_way.len() < PROBES_PARALLEL_MAX
            && self.due.peek().is_some_and(|Reverse((at, ..))| *at <= now)
        {
            let Some(Reverse((_, number, id))) = self.due.pop() else { return };
            let Some(slot) = self.slots.get(&id).filter(|slot| slot.number == number) else {
                continue;
            };
            let (target, starting) = (slot.target.clone(), slot.machine.is_starting());
            self.under_way.spawn(async move {
                let result = ask::ask(&target, starting).await;
                (id, number, result)
            });
        }
    }

    /// Takes a result in; the verdict, when it is another one than before.
    fn done(
        &mut self,
        id: &InstanceId,
        number: u64,
        result: Result<(), String>,
    ) -> Option<ProbeVerdict> {
        let slot = self.slots.get_mut(id).filter(|slot| slot.number == number)?;
        let elapsed = slot.began.elapsed();
        let (verdict, delay) = slot.machine.observe(result, elapsed, rand::random());
        if let Some(delay) = delay {
            self.schedule(id, delay);
        }
        verdict
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
