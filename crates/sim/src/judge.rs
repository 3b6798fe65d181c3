//! Who watches: every change of the store and every call of an engine passes here, into the trace
//! and to the oracle.

use crate::oracle::{Flaw, Oracle};
use crate::trace::{FNV_START, Trace, fnv};
use engine::fake::Tap;
use model::change::Edit;
use model::cluster::Cluster;
use model::record::Record;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::{Memory, Store as _, Watch, WatchEvent, codec};

/// The judge of a run. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    pub(crate) trace: Trace,
    oracle: Arc<Mutex<Oracle>>,
}

impl Judge {
    pub(crate) fn new(trace: Trace) -> Self {
        Self { trace, oracle: Arc::default() }
    }

    fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the oracle's books.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Oracle) -> T) -> T {
        look(&mut self.oracle())
    }

    /// The state as the store has told it.
    pub(crate) fn cluster(&self) -> Cluster {
        self.oracle().cluster().clone()
    }

    /// What has been found until now.
    pub(crate) fn flaws(&self) -> Vec<Flaw> {
        self.oracle().flaws.clone()
    }

    /// Something that happened on the engine of a host.
    pub(crate) fn engine(&self, host: usize, tap: &Tap<'_>) {
        match tap {
            Tap::Call(op, subject, container) => {
                self.trace.line(format_args!("h{host} {op:?} {subject}"));
                self.oracle().call(host, *op, *container);
            }
            Tap::Event(event) => {
                self.trace.line(format_args!("h{host} . {:?} {}", event.action, event.name));
                self.oracle().event(host, event);
            }
        }
    }

    /// Watches a store from its beginning, for ever.
    pub(crate) async fn watch(self, store: Memory) {
        let status = store.status().await;
        let watch = store.watch(codec::keys(), status.compacted, status.epoch).await;
        let mut watch: Watch = watch.expect("a store in memory can be watched");
        while let Ok(event) = watch.next().await {
            self.change(&event);
        }
        self.oracle().note("the watch of the judge ended early".into());
    }

    fn change(&self, event: &WatchEvent) {
        let decoded = match codec::decode(event) {
            Ok(decoded) => decoded,
            Err(error) => return self.oracle().note(format!("a change cannot be read: {error}")),
        };
        for (op, (_, edit)) in event.ops.iter().zip(&decoded.edits) {
            match (&op.next, edit) {
                (Some(kv), Edit::Put(record)) => {
                    let (index, key) = (event.index, &op.key);
                    let hash = fnv(FNV_START, &kv.value);
                    self.trace.line(format_args!("{index} {key} {hash:016x} {}", brief(record)));
                }
                _ => self.trace.line(format_args!("{} {} gone", event.index, op.key)),
            }
        }
        self.oracle().commit(&decoded);
    }
}

/// What a record says, as far as it helps to follow a story.
fn brief(record: &Record) -> String {
    match record {
        Record::Host(host) => {
            format!("{:?} {:?} {}", host.status, host.scheduling, host.facts.engine_problem)
        }
        Record::Service(service) => {
            format!("{:?} x{} at {:?}", service.goal, service.scale, service.target)
        }
        Record::ServiceStatus(status) => format!("{:?} {:?}", status.rollout, status.blocked),
        Record::Instance(one) => {
            let leaving = if one.leaving { " leaving" } else { "" };
            format!("{:?}{leaving} on {} at {:?}: {}", one.goal, one.host, one.target, one.reason)
        }
        Record::InstanceStatus(_, seen) => {
            format!("{:?} {:?} restarts {} {}", seen.phase, seen.health, seen.restarts, seen.reason)
        }
        _ => String::new(),
    }
}
